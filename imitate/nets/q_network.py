"""Value networks: a body and a head of return distributions, a population of M.

Letters: M members, N environments of one member, B batch, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core import checkpoint
from imitate.core.actions import action_mask, unmasked
from imitate.core.config import check, checked
from imitate.core.noise import Stream
from imitate.core.parts import Parts
from imitate.core.types import Obs
from imitate.distributions.actions import Categorical, decide
from imitate.distributions.returns import EnsembleReturn, ExpectedReturn, QuantileReturn, ReturnDistribution
from imitate.nets import dense, saving
from imitate.nets.body import Body
from imitate.nets.inputs import Inputs
from imitate.nets.layers import ACTIVATIONS, Activation
from imitate.nets.measure import admit_network
from imitate.nets.predict import predict
from imitate.nets.q_head import QHead
from imitate.nets.return_heads import Ensemble, FixedHead, Quantiles, ReturnHead, Scalar
from imitate_envs.base import Discrete, Space

__all__ = ["QArchitecture", "QNetwork", "admitted", "best"]


@dataclass(frozen=True)
class QArchitecture:
    """All that is needed to build a value network again.

    Args:
        hidden: Widths of the hidden layers; an image alone takes those of the papers, see `Convolutions`.
        activation: Of the hidden layers.
        head: What is said about a return.
        dueling: A state's value and the actions' advantages, by layers of their own (Wang et al. 2016, eq. 9).
        noisy: Learnable noise on all weights but those of the first layer, or of convolutions, for exploration
            (Fortunato et al. 2018).
        normalise: Standardise observations by running statistics, saved with the network.
        temperature: Of the softmax over values that `distribution` answers with, in units of return.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    head: ReturnHead = field(default_factory=Scalar)
    dueling: bool = False
    noisy: bool = False
    normalise: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check(self)


class QNetwork(nn.Module):
    """M value networks as a `Teacher` and a `Policy`: it answers with softmax(Q/temperature), and its mode is greedy.

    Args:
        observation: Space of observations.
        action: A Discrete space.
        members: M.
        architecture: What it is made of.
        init: Stream of the initialisation; its device is where the network lives.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The actions are no choices, or a number of the architecture does not fit.
    """

    noise = 1  # one uniform draws a choice

    @checked
    def __init__(
        self,
        observation: Space,
        action: Space,
        members: int,
        architecture: QArchitecture,
        init: Stream,
        *,
        env: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(action, Discrete):
            raise ValueError(f"action: a value is learnt for each of finitely many actions, not for {action}.")
        if architecture.temperature <= 0:
            raise ValueError(f"temperature: must be positive, not {architecture.temperature}.")
        if not architecture.hidden:
            raise ValueError("hidden: a value network has at least one hidden layer.")
        admit_network(
            lambda init: QNetwork(observation, action, 1, architecture, init),
            members,
            init,
            {"members": members, "hidden": architecture.hidden, **architecture.head.sizes},
        )
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env = architecture, env
        first, later = architecture.hidden[:1], architecture.hidden[1:]
        self.body = Body(
            observation,
            members,
            hidden=first if not _one_image(observation) else (),
            activation=architecture.activation,
            init=init,
            normalise=architecture.normalise,
            spread=True,
        )
        self.head = QHead(
            members,
            self.body.width,
            later if not _one_image(observation) else (cast(Any, self.body.images[0]).hidden,),
            action.n,
            architecture.head,
            activation=ACTIVATIONS[architecture.activation],
            dueling=architecture.dueling,
            noisy=architecture.noisy,
            init=init,
        )
        self.prior = None
        if isinstance(architecture.head, Ensemble) and architecture.head.prior > 0:
            head = Ensemble(architecture.head.count)
            alike = replace(architecture, head=head, dueling=False, noisy=False, normalise=False)
            self.prior = QNetwork(observation, action, members, alike, init).requires_grad_(False)
        self.to(init.device)
        # Where nothing but affine maps follow on each other they are one operation: weight, bias, weight, …
        chained = self.body.flat and self.head.affine
        self._chain = [*self.body.chain, *self.head.parameters()] if chained else []
        self._parts = Parts([self])

    @property
    def estimators(self) -> Sequence[nn.Module]:
        """What the loss of the values trains: neither the proposals, which have a loss of their own, nor the prior."""
        return [self.body, *(child for child in self.head.children() if child is not self.head.proposal)]

    @property
    def return_noise(self) -> int:
        """Uniforms of one row that `returns` takes: levels of an implicit head, then those of noisy weights."""
        return self.head.noise

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def parameters_per_member(self) -> int:
        """Learnable numbers of one member."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad) // self.members

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    @property
    def plain(self) -> bool:
        """Whether `returns_and_gradients` knows the gradient: multilayer perceptrons for means and quantiles."""
        known = isinstance(self.architecture.head, Scalar | Quantiles)
        return known and dense.written(self, QNetwork, self._parts, self._chain, self.body.activation)

    def observe(self, obs: Obs) -> None:
        """Let the normaliser, if there is one, learn from observations [M, B, ...]."""
        self.body.observe(obs)

    def returns(self, obs: Obs, noise: Tensor | None = None) -> ReturnDistribution:
        """Return distributions [M, B, A] at observations [M, B, ...].

        Args:
            obs: Observations.
            noise: Uniforms [M, B, return_noise], or [M, 1, return_noise] for noisy weights that all rows share; without
                them weights are at their means and levels at midpoints.
        """
        x = self.body.prepare(obs)
        learnt = self._learnt(x, noise)
        if self.prior is None:
            return learnt
        beta = cast(Ensemble, self.architecture.head).prior
        own, random = cast(EnsembleReturn, learnt), cast(EnsembleReturn, self.prior._learnt(x, None))
        return EnsembleReturn(own.values + beta * random.values)

    def features(self, obs: Obs) -> Tensor:
        """What the last layer stands on, at observations [M, B, ...]: [M, B, H]; noisy weights are at their means.

        Of an implicit head: what its levels are mixed into.
        """
        return self.head.features(self.body(self.body.prepare(obs))[0])

    def _learnt(self, x: Any, noise: Tensor | None) -> ReturnDistribution:
        """What the weights say at prepared observations."""
        if self._chain and self._parts.untouched():
            out = dense.dense(x, self._chain, self.body.activation)
            return cast(FixedHead, self.head.kind).returns(out.unflatten(-1, (self.head.actions, -1)), self.head.points)
        return cast(ReturnDistribution, self.head(self.body(x)[0], noise))

    def returns_and_gradients(
        self, obs: Obs, action: Tensor, target: ReturnDistribution, weight: Tensor
    ) -> tuple[ExpectedReturn | QuantileReturn, Tensor, list[Tensor]]:
        """Return distributions of the chosen actions, their losses against a target, and the gradient, written out.

        Args:
            obs: Observations [M, B, ...].
            action: Choices [M, B].
            target: Constant distributions [M, B] of the same kind.
            weight: Of each loss in the sum over the batch, [M, B].

        Returns:
            The distributions [M, B], the losses [M, B], and one gradient a parameter.
        """
        found = dense.outputs(self.body.prepare(obs), self._chain, self.body.activation)
        out = found[-1].unflatten(-1, (self.head.actions, -1))
        kind = cast("Scalar | Quantiles", self.head.kind)
        taken = cast("ExpectedReturn | QuantileReturn", kind.returns(out, self.head.points).take(action))
        loss, grad = taken.loss_and_grad(cast(Any, target))
        index = action.view(*action.shape, 1, 1).expand(-1, -1, 1, out.shape[-1])
        spread = torch.zeros_like(out).scatter_(2, index, (grad * weight.unsqueeze(-1)).unsqueeze(2))
        return taken, loss, dense.gradients(found, self._chain[::2], spread.flatten(2), self.body.activation)[0]

    def action_values(self, obs: Obs) -> Tensor:
        """Mean returns [M, B, A] at observations [M, B, ...], −∞ where the observations forbid an action."""
        return admitted(self.returns(obs).mean, obs)

    def distribution(self, obs: Obs) -> Categorical:
        """Softmax of the mean returns over the temperature, at observations [M, B, ...]; what is masked has none."""
        return Categorical(self.action_values(obs) / self.architecture.temperature)

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, 1]; take the greedy one without them."""
        return decide(self.distribution(obs), noise), None, {}

    predict = predict  # as in Stable-Baselines3: arrays in, arrays out

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Weights, and what is to be known of them, as a run commits them with its checkpoint."""
        return saving.record(self)

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        checkpoint.write(directory, "policy", *self.record())


def admitted(values: Tensor, obs: Obs) -> Tensor:
    """Values [M, B, A], −∞ where the mask of the observations forbids an action."""
    mask = action_mask(obs)
    return values if mask is None else values.masked_fill(~mask, -torch.inf)


def best(values: Tensor, obs: Obs) -> Tensor:
    """The admitted action [M, B] of greatest value [M, B, A]."""
    return admitted(values, obs).argmax(-1)


def _one_image(observation: Space) -> bool:
    return Inputs(unmasked(observation)).one_image
