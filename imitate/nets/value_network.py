"""Populations of value networks, and the policies they make: observation -> return distribution of each action.

Letters: M members, N environments of one member, B batch, F features, H hidden, A actions, K parameters of a
distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.noise import Stream
from imitate.distributions.actions import Categorical
from imitate.distributions.returns import EnsembleReturn, ExpectedReturn, QuantileReturn, ReturnDistribution
from imitate.nets import dense
from imitate.nets.convolution import Convolutions
from imitate.nets.ensemble import Ensemble
from imitate.nets.heads import HEADS, CosineEmbedding, Fractions, Head, Implicit, Proposal, Quantiles, Scalar
from imitate.nets.layers import ACTIVATIONS, Activation, RunningNorm, features, image_shape
from imitate.nets.noisy import NoisyLinear, PlainLinear
from imitate.nets.policy_network import predict, space_from_json, space_to_json
from imitate_envs.base import Discrete, Space

__all__ = ["ValueArchitecture", "ValuePolicy", "load_values"]


@dataclass(frozen=True)
class ValueArchitecture:
    """All that is needed to build a value policy again.

    Args:
        hidden: Widths of the hidden layers; ignored for images, which take those of the papers, see `Convolutions`.
        activation: Of the hidden layers.
        head: What is said about a return.
        dueling: A state's value and the actions' advantages, by layers of their own (Wang et al. 2016, eq. 9).
        noisy: Learnable noise on all weights but those of the first layer, or of convolutions, for exploration
            (Fortunato et al. 2018).
        normalise: Standardise observations by running statistics, saved with the policy.
        temperature: Of the softmax over values that `distribution` answers with, in units of return.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    head: Head = field(default_factory=Scalar)
    dueling: bool = False
    noisy: bool = False
    normalise: bool = False
    temperature: float = 1.0


class ValuePolicy(nn.Module):
    """M value networks as a `Teacher` and a `Policy`: it answers with softmax(Q/temperature), and its mode is greedy.

    Args:
        observation: Space of observations: Discrete, images [C, H, W] or [H, W, C], or a Box that is taken flat.
        action: A Discrete space.
        members: M.
        architecture: What it is made of.
        init: Stream of the initialisation; its device is where the policy lives.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The actions are continuous, or a number of the architecture does not fit.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        members: int,
        architecture: ValueArchitecture,
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
        if architecture.activation not in ACTIVATIONS:
            raise ValueError(f"activation: '{architecture.activation}' is none of {', '.join(ACTIVATIONS)}.")
        if architecture.normalise and isinstance(observation, Discrete):
            raise ValueError(f"normalise: observations of {observation} are one-hot; there is nothing to standardise.")
        head = architecture.head
        head.check()
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env = architecture, env
        self.normaliser = RunningNorm(members, observation.shape) if architecture.normalise else None
        inputs = observation.n if isinstance(observation, Discrete) else math.prod(observation.shape)
        widths = [inputs, *architecture.hidden]

        def later(inputs: int, outputs: int) -> NoisyLinear | PlainLinear:
            if architecture.noisy:
                return NoisyLinear(members, inputs, outputs, init=init)
            return PlainLinear(members, inputs, outputs, init=init)

        image = image_shape(observation)
        self.trunk = None if image is None else Convolutions(members, image, init=init)
        if self.trunk is not None:
            widths = [inputs, self.trunk.outputs, self.trunk.hidden]
            first = []
        else:
            first = [PlainLinear(members, widths[0], widths[1], init=init)]
        self.hidden = nn.ModuleList([*first, *(later(i, o) for i, o in pairwise(widths[1:]))])
        self.advantage = later(widths[-1], action.n * head.outputs)
        self.state_value = later(widths[-1], head.outputs) if architecture.dueling else None
        self.embedding = self.proposal = None
        if isinstance(head, Implicit | Fractions):
            self.embedding = CosineEmbedding(members, head.cosines, widths[1], init=init)
        if isinstance(head, Fractions):
            self.proposal = Proposal(members, widths[1], head.count, init=init)
        self.register_buffer("points", head.points(), persistent=False)
        # Where nothing but affine maps follow on each other they are one operation: weight, bias, weight, …
        plain = not (architecture.noisy or architecture.dueling or image or isinstance(head, Implicit | Fractions))
        self._chain = list(self.parameters()) if plain else []
        self.prior = None
        if isinstance(head, Ensemble) and head.prior > 0:
            alike = replace(architecture, head=Ensemble(head.count), dueling=False, noisy=False, normalise=False)
            self.prior = ValuePolicy(observation, action, members, alike, init).requires_grad_(False)
        self.to(init.generator.device)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """All layers that may take noise, in order."""
        return [*self.hidden, self.advantage, *([self.state_value] if self.state_value is not None else [])]

    @property
    def estimators(self) -> Sequence[nn.Module]:
        """What the loss of the values trains: neither the proposals, which have a loss of their own, nor the prior."""
        return [child for child in self.children() if child is not self.proposal and child is not self.prior]

    @property
    def return_noise(self) -> int:
        """Uniforms of one row that `distribution` takes: levels of an implicit head, then those of noisy weights."""
        return self.levels + sum(cast(int, layer.noise) for layer in self.layers)

    @property
    def levels(self) -> int:
        """Levels that are drawn for a row."""
        head = self.architecture.head
        return head.count if isinstance(head, Implicit) else 0

    @property
    def noise(self) -> int:
        """One uniform draws a choice."""
        return 1

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
    def has_slopes(self) -> bool:
        """Whether `slopes` knows the gradient: multilayer perceptrons for means and quantiles."""
        known = isinstance(self.architecture.head, Scalar | Quantiles)
        learnt = bool(self._chain) and all(p.requires_grad for p in self._chain)
        return known and learnt and ACTIVATIONS[self.architecture.activation] in dense.FUSED

    def features(self, obs: Tensor) -> Tensor:
        """Observations [M, B, *obs] as the network takes them: normalised, flat unless they are images."""
        if self.normaliser is not None:
            obs = self.normaliser(obs)
        x = features(self.observation, obs)
        return x if self.trunk is not None else x.flatten(2)

    def slopes(
        self, obs: Tensor, action: Tensor, target: ReturnDistribution, weight: Tensor
    ) -> tuple[ExpectedReturn | QuantileReturn, Tensor, list[Tensor]]:
        """The distributions of the chosen actions, their distances to a target, and the gradient of these, written out.

        Args:
            obs: Observations [M, B, *obs].
            action: Choices [M, B].
            target: Constant distributions [M, B] of the same kind.
            weight: Of each distance in the sum over the batch, [M, B].

        Returns:
            The distributions [M, B], the distances [M, B], and one gradient a parameter.
        """
        activation, head = ACTIVATIONS[self.architecture.activation], self.architecture.head
        found = dense.outputs(self.features(obs), self._chain, activation)
        out = found[-1].unflatten(-1, (self.action.n, -1))
        taken = cast(
            "ExpectedReturn | QuantileReturn",
            cast(Scalar | Quantiles, head).returns(out, cast(Tensor, self.points)).take(action),
        )
        distance, slope = taken.loss_and_grad(cast(Any, target))
        index = action.view(*action.shape, 1, 1).expand(-1, -1, 1, out.shape[-1])
        grad = torch.zeros_like(out).scatter_(2, index, (slope * weight.unsqueeze(-1)).unsqueeze(2))
        return taken, distance, dense.gradients(found, self._chain[::2], grad.flatten(2), activation)[0]

    def returns(self, obs: Tensor, noise: Tensor | None = None) -> ReturnDistribution:
        """Return distributions [M, B, A] at observations [M, B, *obs].

        Args:
            obs: Observations.
            noise: Uniforms [M, B, return_noise]; without them weights are at their means and levels at midpoints.
        """
        distribution = self._learnt(obs, noise)
        if self.prior is None:
            return distribution
        obs = obs if self.normaliser is None else self.normaliser(obs)
        beta = cast(Ensemble, self.architecture.head).prior
        return EnsembleReturn(
            cast(EnsembleReturn, distribution).values + beta * cast(EnsembleReturn, self.prior.returns(obs)).values
        )

    def _learnt(self, obs: Tensor, noise: Tensor | None) -> ReturnDistribution:
        """What the weights that are learnt say."""
        x = self.features(obs)
        head, points = self.architecture.head, cast(Tensor, self.points)
        if self._chain and not isinstance(head, Implicit | Fractions):
            out = dense.dense(x, self._chain, ACTIVATIONS[self.architecture.activation])
            return head.returns(out.unflatten(-1, (self.action.n, -1)), points)
        drawn = None
        if noise is not None:
            drawn, *parts = noise.split([self.levels, *(cast(int, layer.noise) for layer in self.layers)], -1)
        if noise is None or not self.architecture.noisy:
            parts = [None] * len(self.layers)
        x = self.trunk(x) if self.trunk is not None else self._activation(self.hidden[0](x, parts[0]))
        if not isinstance(head, Implicit | Fractions):
            return head.returns(self._outputs(x, parts), points)
        weights = None
        if self.proposal is not None:
            shares: Tensor = self.proposal(x)
            weights, shares = shares.unsqueeze(-2), shares.detach()
            tau = shares.cumsum(-1) - shares / 2
        else:
            tau = points.expand(*x.shape[:2], -1) if drawn is None else drawn
        values = self._at_levels(x, parts, tau)
        return QuantileReturn(values, tau.unsqueeze(-2), head.kappa, weights, partial(self._quantile, x, parts))

    def _activation(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.architecture.activation](x)

    def _outputs(self, x: Tensor, parts: Sequence[Tensor | None]) -> Tensor:
        """What the layers behind the first, or the convolutions, make of their features: [M, B, H] -> [M, B, A, K]."""
        behind = slice(0 if self.trunk is not None else 1, len(self.hidden))
        for layer, part in zip(self.hidden[behind], parts[behind], strict=True):
            x = self._activation(layer(x, part))
        out: Tensor = self.advantage(x, parts[len(self.hidden)]).unflatten(-1, (self.action.n, -1))
        if self.state_value is not None:
            out = out + self.state_value(x, parts[-1]).unsqueeze(-2) - out.mean(-2, keepdim=True)
        return out

    def _at_levels(self, x: Tensor, parts: Sequence[Tensor | None], tau: Tensor) -> Tensor:
        """Quantiles [M, B, A, K] at levels [M, B, K], from the first layer's features; a row has its noise once."""
        repeated = [part if part is None else part.repeat_interleave(tau.shape[-1], 1) for part in parts]
        assert self.embedding is not None
        out = self._outputs(self.embedding(x, tau), repeated)  # [M, B·K, A, 1]
        values: Tensor = out.squeeze(-1).unflatten(1, tau.shape[1:])
        return values.transpose(-1, -2)

    def _quantile(self, x: Tensor, parts: Sequence[Tensor | None], tau: Tensor) -> Tensor:
        """The same at levels that broadcast to [M, B, A, K]; each action may have its own."""
        own = tau.shape[-2] if tau.dim() > 1 else 1
        values = self._at_levels(x, parts, tau.expand(*x.shape[:2], own, -1).flatten(2))
        return values if own == 1 else values.unflatten(-1, (own, -1)).diagonal(dim1=2, dim2=3).transpose(-1, -2)

    def distribution(self, obs: Tensor) -> Categorical:
        """Softmax of the mean returns over the temperature, at observations [M, B, *obs]."""
        return Categorical(self.returns(obs).mean / self.architecture.temperature)

    def act(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, 1]."""
        return self.distribution(obs).sample(noise), None, {}

    def predict(
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        *,
        member: int = 0,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Act as in Stable-Baselines3: see `NetworkPolicy.predict`."""
        return predict(self, observation, deterministic, member), state

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        architecture = {**asdict(self.architecture), "head": {"kind": type(self.architecture.head).__name__}}
        architecture["head"] |= asdict(self.architecture.head)
        description = {
            "kind": "ValuePolicy",
            "env": self.env,
            "members": self.members,
            "observation": space_to_json(self.observation),
            "action": space_to_json(self.action),
            "architecture": architecture,
        }
        checkpoint.write(directory, "policy", dict(self.state_dict()), description)


def load_values(directory: Path | str, device: torch.device | str = "cpu") -> ValuePolicy:
    """Read a policy that `ValuePolicy.save` wrote.

    Raises:
        FileNotFoundError: There is no policy in `directory`.
        ValueError: The files are truncated, changed, or not ours.
    """
    state, description = checkpoint.read(directory, "policy", device)
    try:
        fields = dict(description["architecture"])
        head = dict(fields["head"])
        fields |= {"hidden": tuple(fields["hidden"]), "head": HEADS[head.pop("kind")](**head)}
        loaded = ValuePolicy(
            space_from_json(description["observation"]),
            space_from_json(description["action"]),
            int(description["members"]),
            ValueArchitecture(**fields),
            Stream(0, "init", device),
            env=description.get("env"),
        )
        loaded.load_state_dict(dict(tree.flatten(state)))
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"'{directory}': policy.json is incomplete or does not fit its weights: {reason}") from error
    return loaded
