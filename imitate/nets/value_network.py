"""Populations of value networks, and the policies they make: observation -> law of the return of each action.

Letters: M members, N environments of one member, B batch, F features, H hidden, A actions, K parameters of a law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.base import Discrete, Space
from imitate.core import checkpoint, tree
from imitate.core.noise import Stream, normal
from imitate.distributions import Categorical
from imitate.laws import AtomsLaw, Expected, Law, QuantileLaw
from imitate.nets.layers import ACTIVATIONS, Activation, Linear, RunningNorm, features
from imitate.nets.policy_network import predict, space_from_json, space_to_json

__all__ = ["Atoms", "Head", "Implicit", "NoisyLinear", "Quantiles", "Scalar", "ValueArchitecture", "ValuePolicy"]


@dataclass(frozen=True)
class Scalar:
    """The expected return alone (DQN)."""


@dataclass(frozen=True)
class Atoms:
    """Probabilities of `count` returns from `low` to `high`, evenly spaced (C51; Bellemare, Dabney & Munos 2017)."""

    count: int = 51
    low: float = -10.0
    high: float = 10.0


@dataclass(frozen=True)
class Quantiles:
    """Quantiles at the midpoints of `count` equal shares of probability (QR-DQN; Dabney et al. 2018a).

    Args:
        count: Quantiles.
        kappa: κ of the loss, in units of return; see `QuantileLaw`.
    """

    count: int = 51
    kappa: float = 1.0


@dataclass(frozen=True)
class Implicit:
    """Quantiles at any levels, `count` uniform ones at a time (IQN; Dabney et al. 2018b).

    Args:
        count: Levels drawn for a loss, and midpoints used to act.
        cosines: Width of the levels' embedding (eq. 4).
        kappa: κ of the loss, in units of return; see `QuantileLaw`.
    """

    count: int = 32
    cosines: int = 64
    kappa: float = 1.0


Head = Scalar | Atoms | Quantiles | Implicit
_HEADS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Scalar, Atoms, Quantiles, Implicit)}


@dataclass(frozen=True)
class ValueArchitecture:
    """All that is needed to build a value policy again.

    Args:
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        head: What is said about a return.
        dueling: A state's value and the actions' advantages, by layers of their own (Wang et al. 2016, eq. 9).
        noisy: Learnable noise on all weights but the first layer's, for exploration (Fortunato et al. 2018).
        normalise: Standardise observations by running statistics, saved with the policy.
        temperature: Of the softmax over values that `distribution` answers with, in units of return.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    head: Head = Scalar()
    dueling: bool = False
    noisy: bool = False
    normalise: bool = False
    temperature: float = 1.0


class NoisyLinear(nn.Module):
    """M affine maps whose weights carry factorised Gaussian noise, drawn anew for each row of the batch.

        y = (μ_w + σ_w ⊙ f(ε_out) f(ε_in)ᵀ) x + μ_b + σ_b ⊙ f(ε_out),   f(x) = sgn(x) √|x|

    Source: Fortunato et al. (2018), eqs. 9-11. Rows are independent, so the noise of a batch costs one more product.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, init: Stream, sigma: float = 0.5) -> None:
        super().__init__()
        self.mean = Linear(members, inputs, outputs, init=init, gain=1.0)
        scale = torch.full_like(self.mean.weight, sigma / math.sqrt(inputs))
        self.sigma_weight = nn.Parameter(scale)
        self.sigma_bias = nn.Parameter(scale[:, :1].clone())
        self.noise = inputs + outputs  # uniforms of one row
        self.inputs = inputs

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """[M, B, inputs] and uniforms [M, B, inputs + outputs] -> [M, B, outputs]; without noise the mean weights."""
        out = cast(Tensor, self.mean(x))
        if noise is None:
            return out
        z = normal(noise)
        z = z.sign() * z.abs().sqrt()
        into, out_of = z[..., : self.inputs], z[..., self.inputs :]
        return out + ((x * into) @ self.sigma_weight + self.sigma_bias) * out_of


class _Plain(nn.Module):
    """A Linear that takes noise, and ignores it."""

    noise = 0

    def __init__(self, members: int, inputs: int, outputs: int, *, init: Stream, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.linear = Linear(members, inputs, outputs, init=init, gain=gain)

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        return cast(Tensor, self.linear(x))


class ValuePolicy(nn.Module):
    """M value networks as a `Teacher` and a `Policy`: it answers with softmax(Q/temperature), and its mode is greedy.

    Args:
        observation: Space of observations: Discrete, or a Box that is taken flat.
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
        if isinstance(head, (Atoms, Quantiles, Implicit)) and head.count < 1 + isinstance(head, Atoms):
            raise ValueError(f"head: {head.count} are too few for {type(head).__name__}.")
        if isinstance(head, (Quantiles, Implicit)) and head.kappa <= 0:
            raise ValueError(f"head: kappa must be positive, not {head.kappa}.")
        if isinstance(head, Atoms) and head.low >= head.high:
            raise ValueError(f"head: the support must increase, not go from {head.low} to {head.high}.")
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env = architecture, env
        self.normaliser = RunningNorm(members, observation.shape) if architecture.normalise else None
        inputs = observation.n if isinstance(observation, Discrete) else math.prod(observation.shape)
        widths = [inputs, *architecture.hidden]
        first = _Plain(members, widths[0], widths[1], init=init)
        later = NoisyLinear if architecture.noisy else _Plain
        hidden = [later(members, i, o, init=init) for i, o in pairwise(widths[1:])]
        self.hidden = nn.ModuleList([first, *hidden])
        width, outputs = widths[-1], _outputs(head)
        last = {} if architecture.noisy else {"gain": 1.0}
        self.advantage = later(members, width, action.n * outputs, init=init, **last)
        self.state_value = later(members, width, outputs, init=init, **last) if architecture.dueling else None
        if isinstance(head, Implicit):
            self.embedding = Linear(members, head.cosines, widths[1], init=init)
        if isinstance(head, Atoms):
            self.register_buffer("support", torch.linspace(head.low, head.high, head.count), persistent=False)
        self.to(init.generator.device)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """All layers that may take noise, in order."""
        return [*self.hidden, self.advantage, *([self.state_value] if self.state_value is not None else [])]

    @property
    def law_noise(self) -> int:
        """Uniforms of one row that `law` takes: levels of an implicit head, then those of noisy weights."""
        head = self.architecture.head
        return (head.count if isinstance(head, Implicit) else 0) + sum(cast(int, layer.noise) for layer in self.layers)

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
        return sum(p.numel() for p in self.parameters()) // self.members

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def law(self, obs: Tensor, noise: Tensor | None = None) -> Law:
        """Laws of the return [M, B, A] at observations [M, B, *obs].

        Args:
            obs: Observations.
            noise: Uniforms [M, B, law_noise]; without them weights are at their means and levels at midpoints.
        """
        if self.normaliser is not None:
            obs = self.normaliser(obs)
        x = features(self.observation, obs).flatten(2)
        head = self.architecture.head
        tau = None
        if isinstance(head, Implicit):
            if noise is None:
                tau = _midpoints(head.count, x).expand(*x.shape[:2], -1)
            else:
                tau, noise = noise[..., : head.count], noise[..., head.count :]
        widths = [cast(int, layer.noise) for layer in self.layers]
        parts = [None] * len(widths) if noise is None or not self.architecture.noisy else list(noise.split(widths, -1))
        activation = ACTIVATIONS[self.architecture.activation]
        for i, layer in enumerate(self.hidden):
            x = activation(layer(x, parts[i]))
            if i == 0 and tau is not None:
                x, parts = self._at_levels(x, tau, parts)
        out = self.advantage(x, parts[len(self.hidden)]).unflatten(-1, (self.action.n, -1))
        if self.state_value is not None:
            out = out + self.state_value(x, parts[-1]).unsqueeze(-2) - out.mean(-2, keepdim=True)
        if isinstance(head, Scalar):
            return Expected(out.squeeze(-1))
        if isinstance(head, Atoms):
            return AtomsLaw(out.log_softmax(-1), cast(Tensor, self.support))
        if tau is None:
            return QuantileLaw(out, _midpoints(out.shape[-1], out), head.kappa)
        # [M, B·K, A, 1] -> [M, B, A, K]
        values = out.squeeze(-1).unflatten(1, tau.shape[1:]).transpose(-1, -2)
        return QuantileLaw(values, tau.unsqueeze(-2), head.kappa)

    def _at_levels(self, x: Tensor, tau: Tensor, parts: list[Any]) -> tuple[Tensor, list[Any]]:
        """Features modulated by each level, [M, B, H] -> [M, B·K, H] (Dabney et al. 2018b, eq. 4); noise likewise."""
        count = cast(Implicit, self.architecture.head).cosines
        harmonics = math.pi * torch.arange(count, device=x.device, dtype=x.dtype)
        cosines = torch.cos(tau.unsqueeze(-1) * harmonics).flatten(1, 2)
        levels = tau.shape[-1]
        each = x.unsqueeze(2).expand(-1, -1, levels, -1).flatten(1, 2)
        repeated = [part if part is None else part.repeat_interleave(levels, 1) for part in parts]
        return each * torch.relu(self.embedding(cosines)), repeated

    def distribution(self, obs: Tensor) -> Categorical:
        """Softmax of the mean returns over the temperature, at observations [M, B, *obs]."""
        return Categorical(self.law(obs).mean / self.architecture.temperature)

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
        fields |= {"hidden": tuple(fields["hidden"]), "head": _HEADS[head.pop("kind")](**head)}
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


def _outputs(head: Head) -> int:
    """Parameters of the law of one action."""
    return head.count if isinstance(head, (Atoms, Quantiles)) else 1


def _midpoints(count: int, like: Tensor) -> Tensor:
    """Midpoints of `count` equal shares of [0, 1]."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
