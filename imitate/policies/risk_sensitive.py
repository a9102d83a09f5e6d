"""The policy that is greedy by a risk measure. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from imitate.core.config import checked
from imitate.core.types import Obs
from imitate.distributions.actions import Categorical, decide
from imitate.distributions.risk import Risk, risk
from imitate.nets.q_network import QNetwork, admitted
from imitate.nets.return_heads import Scalar

__all__ = ["RiskSensitive", "risk_sensitive"]


@checked
def risk_sensitive(policy: object, text: str) -> RiskSensitive:
    """A policy that goes by the risk measure `text`, see `risk`.

    Raises:
        ValueError: The policy has learnt no distribution of the return.
    """
    if not isinstance(policy, QNetwork) or isinstance(policy.architecture.head, Scalar):
        raise ValueError("risk: this policy has learnt no distribution of the return.")
    return RiskSensitive(policy, risk(text))


class RiskSensitive:
    """A value policy that goes by a risk measure of each action's return instead of its mean.

    Args:
        policy: Whose distributions are scored.
        risk: The measure.
    """

    @checked
    def __init__(self, policy: QNetwork, risk: Risk) -> None:
        self.policy, self.risk = policy, risk
        self.members, self.device = policy.members, policy.device

    @property
    def noise(self) -> int:
        """One uniform draws a choice."""
        return 1

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def distribution(self, obs: Obs) -> Categorical:
        """Softmax of the scores over the policy's temperature; the mode is greedy."""
        scores = admitted(self.risk(self.policy.returns(obs)), obs)
        return Categorical(scores / self.policy.architecture.temperature)

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, 1]; take the greedy one without them."""
        return decide(self.distribution(obs), noise), None, {}
