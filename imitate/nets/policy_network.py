"""A population of policy networks: observation -> normaliser -> network -> distribution.

Letters: M members, N environments of one member, B batch, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.noise import Stream
from imitate.core.rollout import bounds, clip
from imitate.core.types import Source
from imitate.distributions.actions import Categorical, Distribution, Normal, TanhNormal
from imitate.nets.layers import ACTIVATIONS, MLP, Activation, Population, RunningNorm, features, network
from imitate_envs.base import Box, Discrete, Space

__all__ = ["Architecture", "NetworkPolicy", "load", "policy", "space_from_json", "space_to_json"]


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a policy network again.

    Args:
        hidden: Widths of the hidden layers; ignored for images, which take those of the papers, see `Convolutions`.
        activation: Of the hidden layers.
        normalise: Standardise observations by running statistics, saved with the policy.
        squash: For a bounded Box: a tanh-Gaussian that stays inside the bounds, with a standard deviation that depends
            on the state. Otherwise a Gaussian with one standard deviation a dimension, clipped by the environment.
        clip_obs: Bound on a standardised observation.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    normalise: bool = False
    squash: bool = False
    clip_obs: float = 10.0


class NetworkPolicy(nn.Module):
    """M policies, one network: a `Teacher` and a `Policy`.

    Args:
        observation: Space of observations.
        action: Space of actions: Discrete gives a categorical, a Box a (tanh-)Gaussian.
        members: M.
        architecture: What it is made of.
        init: Stream of the initialisation; its device is where the policy lives.
        network: A network of your own, [M, B, *obs] -> [M, B, outputs], instead of the one of `architecture`.
            A file of such a policy holds the weights and not the code.
        env: Id of the environment it was made for, if known; recorded in files.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        members: int,
        architecture: Architecture,
        init: Stream,
        *,
        network: nn.Module | None = None,
        env: str | None = None,
    ) -> None:
        super().__init__()
        if architecture.squash and not (isinstance(action, Box) and action.bounded):
            raise ValueError(f"squash: a tanh-Gaussian needs a Box with finite bounds, not {action}.")
        if isinstance(action, Box) and len(action.shape) != 1:
            raise ValueError(f"action: policies act in Discrete spaces and flat Boxes, not in {action}.")
        if architecture.activation not in ACTIVATIONS:
            raise ValueError(f"activation: '{architecture.activation}' is none of {', '.join(ACTIVATIONS)}.")
        if architecture.normalise and isinstance(observation, Discrete):
            raise ValueError(f"normalise: observations of {observation} are one-hot; there is nothing to standardise.")
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env, self.custom = architecture, env, network is not None
        norm = RunningNorm(members, observation.shape, clip=architecture.clip_obs) if architecture.normalise else None
        self.normaliser = norm
        self.network = network if network is not None else _network(observation, action, members, architecture, init)
        if isinstance(action, Box) and not architecture.squash:
            self.log_std = nn.Parameter(torch.zeros(members, 1, *action.shape))
        self.to(init.generator.device)

    @property
    def noise(self) -> int:
        """One uniform draws a choice; a Gaussian takes one a dimension."""
        return 1 if isinstance(self.action, Discrete) else self.action.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def parameters_per_member(self) -> int:
        """Learnable numbers of one member."""
        return sum(p.numel() for p in self.parameters()) // self.members

    @property
    def plain(self) -> bool:
        """Whether it chooses by a multilayer perceptron whose gradients can be written out."""
        return isinstance(self.network, MLP) and self.network.plain and isinstance(self.action, Discrete)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def features(self, obs: Tensor) -> Tensor:
        """Observations [M, B, *obs] as the network takes them: normalised, flat."""
        if self.normaliser is not None:
            obs = self.normaliser(obs)
        return features(self.observation, obs)

    def on_features(self, x: Tensor) -> Distribution:
        """The distribution at prepared observations."""
        out = self.network(x)
        if isinstance(self.action, Discrete):
            return Categorical(out)
        if not self.architecture.squash:
            return Normal(out, self.log_std.exp().expand_as(out))
        loc, log_std = out.chunk(2, -1)
        low, high = bounds(self.action, out.device)
        return TanhNormal(loc, log_std.clamp(-20, 2).exp(), low.expand_as(loc), high.expand_as(loc))

    def distribution(self, obs: Tensor) -> Distribution:
        """The distribution at observations [M, B, *obs]."""
        return self.on_features(self.features(obs))

    def act(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, noise]."""
        return self.distribution(obs).sample(noise), None, {}

    @torch.no_grad()
    def predict(
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        *,
        member: int = 0,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Act as in Stable-Baselines3: numpy in, numpy out, one observation or a batch of them.

        Args:
            observation: [*obs] or [B, *obs].
            state: Passed through; there is no memory.
            episode_start: Ignored, for the same reason.
            deterministic: The mode instead of a draw (from torch's global generator).
            member: Which member of the population answers.

        Returns:
            The action, [*action] or [B, *action], clipped to the bounds of a Box, and `state`.
        """
        return predict(self, observation, deterministic, member), state

    def member(self, index: int) -> NetworkPolicy:
        """One member as a policy of its own, with copies of its weights."""
        if self.custom:
            raise ValueError("member: a policy around a network of your own cannot be rebuilt for one member.")
        if not -self.members <= index < self.members:
            raise ValueError(f"member: {index} is not one of the {self.members} members.")
        alone = NetworkPolicy(
            self.observation, self.action, 1, self.architecture, Stream(0, "init", self.device), env=self.env
        )
        alone.load_state_dict({name: value[index].unsqueeze(0) for name, value in self.state_dict().items()})
        return alone

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        description = {
            "kind": "NetworkPolicy",
            "env": self.env,
            "members": self.members,
            "observation": space_to_json(self.observation),
            "action": space_to_json(self.action),
            "architecture": asdict(self.architecture),
            "custom_network": self.custom,
        }
        checkpoint.write(directory, "policy", dict(self.state_dict()), description)


class _Predicting(Protocol):
    """What `predict` needs of a policy."""

    members: int

    @property
    def observation(self) -> Space: ...

    @property
    def action(self) -> Space: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def noise(self) -> int: ...

    def distribution(self, obs: Tensor) -> Distribution: ...


@torch.no_grad()
def predict(policy: _Predicting, observation: Any, deterministic: bool, member: int) -> NDArray[Any]:
    """One member's actions for observations in numpy, [*obs] or [B, *obs]; see `NetworkPolicy.predict`.

    Raises:
        ValueError: The shape does not fit.
    """
    observation = np.asarray(observation)
    shape = policy.observation.shape
    if observation.shape[max(0, observation.ndim - len(shape)) :] != shape or observation.ndim > len(shape) + 1:
        raise ValueError(f"observation: shape {observation.shape} is neither {shape} nor a batch of it.")
    single = observation.ndim == len(shape)
    obs = torch.as_tensor(observation, device=policy.device).unsqueeze(0)
    obs = (obs.unsqueeze(0) if single else obs).expand(policy.members, *(-1,) * (len(shape) + 1))
    if isinstance(policy.observation, Box) and obs.dtype != torch.uint8:
        obs = obs.float()
    distribution = policy.distribution(obs)
    noise = torch.rand(policy.members, obs.shape[1], policy.noise, device=policy.device)
    action = distribution.mode if deterministic else distribution.sample(noise)
    answer = clip(policy.action, action)[member].cpu().numpy()
    return cast("NDArray[Any]", answer[0] if single else answer)


def _network(observation: Space, action: Space, members: int, architecture: Architecture, init: Stream) -> nn.Module:
    outputs = action.n if isinstance(action, Discrete) else action.shape[0] * (2 if architecture.squash else 1)
    return network(
        observation,
        outputs,
        members=members,
        hidden=architecture.hidden,
        activation=architecture.activation,
        init=init,
        last_gain=0.01,
    )


def policy(
    source: Source,
    hidden: Sequence[int] = (64, 64),
    *,
    activation: Activation = "tanh",
    normalise: bool = False,
    squash: bool = False,
    seed: int | None = None,
    build: Callable[[], nn.Module] | None = None,
) -> NetworkPolicy:
    """A fresh population of policies for a source: its spaces, members and device.

    Args:
        source: Where it will act.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        normalise: Standardise observations by running statistics.
        squash: A tanh-Gaussian instead of a Gaussian; needs a bounded Box.
        seed: Of the initialisation; the source's by default.
        build: Makes one plain `nn.Module` mapping observations [B, *obs] to logits or means (with `squash`: means and
            log standard deviations, concatenated); called once a member, instead of an MLP or CNN of ours.
    """
    init = Stream(source.seed if seed is None else seed, "init", source.device)
    return NetworkPolicy(
        source.observation,
        source.action,
        source.members,
        Architecture(tuple(hidden), activation, normalise, squash),
        init,
        network=None if build is None else Population(build, source.members, init),
        env=source.id,
    )


def load(
    directory: Path | str, device: torch.device | str = "cpu", *, build: Callable[[], nn.Module] | None = None
) -> NetworkPolicy:
    """Read a policy that `NetworkPolicy.save` wrote.

    Args:
        directory: Where it was saved: a run, or a folder with `policy.json`.
        device: Where it is to live.
        build: As in `policy`, for a policy around a network of your own.

    Raises:
        FileNotFoundError: There is no policy in `directory`.
        ValueError: The files are truncated, changed, not ours, or need `build`.
    """
    state, description = checkpoint.read(directory, "policy", device)
    try:
        members = int(description["members"])
        architecture = dict(description["architecture"])
        architecture["hidden"] = tuple(architecture["hidden"])
        spaces = space_from_json(description["observation"]), space_from_json(description["action"])
        custom = bool(description["custom_network"])
        made = Architecture(**architecture)
    except (KeyError, TypeError) as error:
        raise ValueError(f"'{directory}': policy.json is incomplete or foreign ({error}).") from error
    if custom and build is None:
        raise ValueError(f"build: '{directory}' holds a network of your own; pass the function that builds it.")
    inside = Population(build, members, Stream(0, "init")) if custom and build is not None else None
    loaded = NetworkPolicy(
        *spaces, members, made, Stream(0, "init", device), network=inside, env=description.get("env")
    )
    try:
        loaded.load_state_dict(dict(tree.flatten(state)))
    except RuntimeError as error:
        raise ValueError(
            f"'{directory}': the weights do not fit policy.json: {str(error).splitlines()[-1].strip()}"
        ) from error
    return loaded


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as JSON; infinite bounds become strings, for JSON has no infinity."""
    if isinstance(space, Discrete):
        return {"discrete": space.n}

    def plain(bound: float | tuple[float, ...]) -> Any:
        if isinstance(bound, tuple):
            return [plain(b) for b in bound]
        return bound if math.isfinite(bound) else str(bound)

    return {"box": list(space.shape), "low": plain(space.low), "high": plain(space.high)}


def space_from_json(document: dict[str, Any]) -> Space:
    """The inverse of `space_to_json`."""
    if "discrete" in document:
        return Discrete(int(document["discrete"]))

    def number(bound: Any) -> float | tuple[float, ...]:
        return tuple(cast(float, number(b)) for b in bound) if isinstance(bound, list) else float(bound)

    return Box(tuple(document["box"]), number(document["low"]), number(document["high"]))
