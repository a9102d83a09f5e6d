"""What a dopamine neuron would say: the prediction error of a critic, step by step.

Letters: T time, M members, N environments of one member, E events, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.core.spec import Spec
from imitate.core.types import Policy, Rollout, Source, Stateful, Transition, fold, unfold
from imitate.nets.q_network import QNetwork
from imitate.nets.tabular_policy import TabularPolicy

__all__ = ["Critic", "DopamineProbe", "around", "prediction_errors"]

Values = Callable[[Tensor], Tensor]  # observations [M, B, *obs] -> values [M, B]


@runtime_checkable
class Critic(Protocol):
    """Whatever tells the value of an observation."""

    def value(self, obs: Tensor) -> Tensor:
        """Values [M, B] of observations [M, B, *obs]."""


AnyCritic: TypeAlias = Critic | QNetwork | TabularPolicy | Values


@checked
@torch.no_grad()
def prediction_errors(critic: AnyCritic, seen: Transition, gamma: float) -> Tensor:
    """Temporal-difference errors of a critic on what was seen.

        δ = r + γ V(s') − V(s),   without V(s') where the episode terminated

    The error of a step belongs to its end: to the moment of its reward and of `next_obs`.

    Source: Schultz, Dayan & Montague (1997); Sutton & Barto (1990).

    Args:
        critic: Has a method `value`, or is a function of observations [M, B, *obs]. A policy that knows the values of
            actions has V = max Q.
        seen: [T, M, N].
        gamma: Discount γ.

    Returns:
        δ [T, M, N].
    """
    values = _values(critic)
    now, then = (unfold(values(fold(obs)), len(obs)) for obs in (seen.obs, seen.next_obs))
    return seen.reward + gamma * then * ~seen.terminated - now


@checked
def around(errors: Tensor, event: Tensor, before: int, after: int) -> Tensor:
    """Errors in windows around events, as a peri-stimulus plot shows them.

    Args:
        errors: [T, M, N].
        event: Where events are, [T, M, N] (bool).
        before: Steps of a window before its event.
        after: Steps after it.

    Returns:
        [E, before + 1 + after] in order of time; windows that reach beyond the record are left out.
    """
    time, member, env = event.nonzero(as_tuple=True)
    inside = (time >= before) & (time + after < len(errors))
    window = torch.arange(-before, after + 1, device=errors.device)
    time, member, env = (index[inside].unsqueeze(-1) for index in (time, member, env))
    return errors[time + window, member, env]


class DopamineProbe:
    """A source that keeps what it collects, with the prediction errors of a critic at that moment.

    It stands between a source and an algorithm: the critic is asked before the algorithm learns from the steps.

        probe = DopamineProbe(imitate.make("TimedConditioning-v0", num_envs=1), gamma=0.98)
        dqn = DQN(probe, DQNConfig(gamma=0.98))
        probe.watch(dqn.policy)
        …
        probe.record.extras["error"]                              # [T, M, N]

    Args:
        source: Where experience comes from.
        gamma: Discount γ of the critic.
    """

    @checked
    def __init__(self, source: Source, gamma: float) -> None:
        self.source, self.gamma = source, gamma
        self._critic: AnyCritic | None = None
        self._seen: list[Transition] = []

    def watch(self, critic: AnyCritic | None) -> None:
        """Record the errors of this critic from now on, see `prediction_errors`; None: record nothing."""
        self._critic = critic

    @property
    def record(self) -> Transition:
        """All that was collected under watch, [T, M, N], with `error` in the extras.

        Raises:
            ValueError: Nothing was.
        """
        if not self._seen:
            raise ValueError("record: nothing was collected yet under watch; call watch with a critic first.")
        return tree.map(lambda *parts: torch.cat(parts), self._seen[0], *self._seen[1:])

    def clear(self) -> None:
        """Forget what was recorded."""
        self._seen.clear()

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """That of the source."""
        rollout = self.source.collect(policy, steps)
        if self._critic is not None:
            error = prediction_errors(self._critic, rollout, self.gamma)
            kept = tree.map(Tensor.clone, replace(rollout.steps, extras={}))
            self._seen.append(kept.with_extras(error=error))
        return rollout

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """That of the source; it is not recorded."""
        return self.source.play(policy, episodes, seed)

    @property
    def spec(self) -> Spec:
        """That of the source."""
        return self.source.spec

    def state_dict(self) -> dict[str, Any]:
        """That of the source; the record is not part of it."""
        return self.source.state_dict() if isinstance(self.source, Stateful) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the source."""
        if isinstance(self.source, Stateful):
            self.source.load_state_dict(state)


def _values(critic: AnyCritic) -> Values:
    if isinstance(critic, QNetwork):
        return lambda obs: critic.returns(obs).mean.amax(-1)
    if isinstance(critic, TabularPolicy):
        return lambda obs: critic.at(obs).amax(-1)
    return critic.value if isinstance(critic, Critic) else critic
