"""Actors: a body and an action head, a population of M.

Letters: T time, M members, N environments of one member, B batch, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.actions import action_mask, observed, unmasked, width
from imitate.core.config import NonNegative, check, checked
from imitate.core.noise import Stream
from imitate.core.parts import Parts
from imitate.core.tasks import tasks_in
from imitate.core.types import Memory, Obs, Source, fold, unfold
from imitate.distributions.actions import Distribution, TanhNormal, decide
from imitate.nets import dense, saving
from imitate.nets.action_heads import GAIN, CategoricalHead, action_head, linear_of, outputs_of
from imitate.nets.body import Body
from imitate.nets.inputs import Inputs
from imitate.nets.layers import Activation, Linear, Population
from imitate.nets.measure import admit_network
from imitate.nets.predict import predict
from imitate_envs.base import Space, Tuple

__all__ = ["Actor", "Architecture", "fresh", "policy"]

STUDENT = "init-student"  # stream of what imitates, so that it never begins as its teacher of the same seed did


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build an actor again.

    Args:
        hidden: Widths of the hidden layers; an image alone takes those of the papers, see `Convolutions`.
        activation: Of the hidden layers.
        normalise: Standardise observations by running statistics, saved with the actor.
        squash: For a bounded Box: a tanh-Gaussian that stays inside the bounds, with a standard deviation that depends
            on the state. Otherwise a Gaussian with one standard deviation a dimension, clipped by the environment.
        clip_obs: Bound on a standardised observation.
        gru: Units of a gated recurrent unit behind the hidden layers; 0: no such memory.
        lstm: Units of a long short-term memory behind them; 0: no such memory.
        scaled: For a bounded Box: outputs count in half ranges from its centre, so that any bounds are as easy as ±1.
        heads: Tasks, each with a head of its own on one body; 0: one head for all. Observations then are those of
            `Tasks`, which tell the number of the task; the body does not see it.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    normalise: bool = False
    squash: bool = False
    clip_obs: float = 10.0
    gru: int = 0
    lstm: int = 0
    scaled: bool = True
    heads: NonNegative[int] = 0

    def __post_init__(self) -> None:
        check(self)


class Actor(nn.Module):
    """M policies, one network: a `Policy` and, without a memory, a `Teacher`.

    Args:
        observation: Space of observations.
        action: Space of actions: choices give categoricals, a Box a (tanh-)Gaussian.
        members: M.
        architecture: What it is made of.
        init: Stream of the initialisation; its device is where the actor lives.
        network: A network of your own, prepared observations -> outputs [M, B, outputs], instead of body and linear
            map. A file of such an actor holds the weights and not the code.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The architecture does not suit the spaces.
    """

    @checked
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
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env, self.network = architecture, env, network
        heads = architecture.heads
        if network is not None and (architecture.gru or architecture.lstm):
            raise ValueError("gru, lstm: a network of your own brings no memory of ours.")
        if heads and (network is not None or architecture.gru or architecture.lstm):
            raise ValueError("heads: a head for each task stands on hidden layers of ours, without a memory.")
        if heads and (tasks := tasks_in(observation)) != heads:
            told = "do not tell a task" if tasks is None else f"tell {tasks} tasks"
            raise ValueError(f"heads: observations of {observation} {told}; take those of Tasks, and a head for each.")
        if network is None:
            admit_network(
                lambda init: Actor(observation, action, 1, architecture, init),
                members,
                init,
                {"members": members, "hidden": architecture.hidden, "gru": architecture.gru, "lstm": architecture.lstm},
            )
        self.body = Body(
            cast(Tuple, observation).spaces[0] if heads else observation,
            members,
            hidden=architecture.hidden if network is None else None,
            activation=architecture.activation,
            init=init,
            normalise=architecture.normalise,
            clip_obs=architecture.clip_obs,
            gru=architecture.gru,
            lstm=architecture.lstm,
        )
        self.head = action_head(
            action,
            members,
            self.body.width if network is None else None,
            squash=architecture.squash,
            scaled=architecture.scaled,
            init=init,
        )
        if heads:
            outputs = heads * outputs_of(action, architecture.squash)
            self.head.linear = Linear(members, self.body.width, outputs, init=init, gain=GAIN)
        self._inputs = Inputs(observation) if heads else self.body.inputs
        if heads and self._inputs.images:
            raise ValueError("heads: images cannot be told apart by task; take one head, which is told the task.")
        self.noise = width(action)
        self.to(init.device)
        # Where nothing but affine maps follow on each other they are one operation: weight, bias, weight, …
        chained = network is None and self.body.flat and not heads
        self._chain = [*self.body.chain, *linear_of(self.head).parameters()] if chained else []
        self._logits = isinstance(self.head, CategoricalHead) and unmasked(observation) is observation
        self._parts = Parts([self])

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def parameters_per_member(self) -> int:
        """Learnable numbers of one member."""
        return sum(p.numel() for p in self.parameters()) // self.members

    @property
    def recurrent(self) -> bool:
        """Whether it has a memory."""
        return self.body.cell is not None

    @property
    def plain(self) -> bool:
        """Whether it chooses by a multilayer perceptron whose gradient `gradients` knows.

        Whatever a subclass, a hook or a parametrisation changes, only autograd sees.
        """
        return self._logits and dense.written(self, Actor, self._parts, self._chain, self.body.activation)

    def memory(self, *shape: int) -> Memory:
        """Nothing remembered; None without a memory."""
        return self.body.memory(*shape)

    def prepare(self, obs: Obs) -> Any:
        """Observations [M, B, ...] as the network takes them: normalised, flat, images apart."""
        return self._inputs(observed(obs), self.body.normaliser)

    def observe(self, obs: Obs, mask: Tensor | None = None) -> None:
        """Let the normaliser, if there is one, learn from observations [M, B, ...], where a mask [M, B] says so."""
        self.body.observe(obs[0] if self.architecture.heads else obs, mask)

    def on_features(self, x: Any, mask: Tensor | None = None) -> Distribution:
        """The distribution at prepared observations [M, B, ...], of what a mask [M, B, choices] admits."""
        if self._chain and self._parts.untouched():
            return self.head.of(dense.dense(x, self._chain, self.body.activation), mask)
        if self.network is not None:
            # A copy, for a network of the user's may work in place, and this may be what a source collected.
            return self.head.of(self.network(tree.map(Tensor.clone, x)), mask)
        out = linear_of(self.head)(self._features(x))
        if (heads := self.architecture.heads) > 0:
            task = x[..., -heads:].argmax(-1)  # numbers come first, and the last choice is the task
            out = out.unflatten(-1, (heads, -1))
            out = out.gather(-2, task[..., None, None].expand(*task.shape, 1, out.shape[-1])).squeeze(-2)
        return self.head.of(out, mask)

    def _features(self, x: Any) -> Tensor:
        """What the head stands on, at prepared observations; a body with heads does not see the task."""
        features: Tensor = self.body(x[..., : -self.architecture.heads] if self.architecture.heads else x)[0]
        return features

    def distribution(self, obs: Obs) -> Distribution:
        """The distribution at observations [M, B, ...]; of a recurrent actor that at the beginning of an episode."""
        return self.on_features(self.prepare(obs), action_mask(obs))

    def features(self, obs: Obs) -> Tensor:
        """What the head stands on, at observations [M, B, ...]: [M, B, H].

        Raises:
            ValueError: It has a memory, so that one observation does not tell; or a network of your own.
        """
        self._refuse_features(self.recurrent)
        return self._features(self.prepare(obs))

    def feature_maps(self, obs: Obs) -> list[Tensor]:
        """What each convolution makes of observations [M, B, ...]: [M, B, C, height, width].

        Raises:
            ValueError: There are no images among the observations; or it has a network of your own.
        """
        self._refuse_features(False)
        found = self.body.maps(self.prepare(obs))
        if not found:
            raise ValueError(f"feature_maps: observations of {self.observation} hold no images; take features.")
        return found

    def _refuse_features(self, remembers: bool) -> None:
        if remembers or self.network is not None:
            whose = "a memory" if remembers else "a network of your own"
            raise ValueError(f"features: this actor has {whose}; give a function of your own that tells them.")

    def unroll(self, obs: Obs, memory: Memory, starts: Tensor) -> tuple[Distribution, Memory]:
        """What it says at every step of sequences, with gradients through time.

        Args:
            obs: [T, M, B, ...].
            memory: Before the first step, [M, B, ...]; None: nothing.
            starts: Where an episode begins, [T, M, B] (bool): there the memory is empty before the step.

        Returns:
            The distribution [T, M, B, ...], and the memory behind each step, [T, M, B, ...].
        """
        time, mask = len(starts), action_mask(obs)
        folded = self.prepare(fold(obs))
        if not self.recurrent:
            return unfold(self.on_features(folded, None if mask is None else fold(mask)), time), None
        features, memories = self.body.unroll(unfold(folded, time), memory, starts)
        out = unfold(linear_of(self.head)(fold(features)), time)
        return self.head.of(out, mask), memories

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Draw an action from uniforms [M, N, noise]; take the mode without them.

        With a squashed action goes its `draw` before the tanh [M, N, A], by which alone its density can be told.
        """
        if self.recurrent:
            features, memory = self.body(self.prepare(obs), memory)
            distribution: Distribution = self.head.of(linear_of(self.head)(features), action_mask(obs))
        else:
            distribution, memory = self.distribution(obs), None
        if noise is None or not isinstance(distribution, TanhNormal):
            return decide(distribution, noise), memory, {}
        action, draw = distribution.sample_and_draw(noise)
        return action, memory, {"draw": draw}

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What each layer of a `plain` actor makes of prepared observations, for `gradients`; the last are logits."""
        return dense.outputs(x, self._chain, self.body.activation)

    def gradients(self, found: list[Tensor], grad: Tensor) -> list[Tensor]:
        """Gradients of all parameters of a `plain` actor in their order, given that of the logits."""
        return dense.gradients(found, self._chain[::2], grad, self.body.activation)[0]

    predict = predict  # as in Stable-Baselines3: arrays in, arrays out

    def member(self, index: int) -> Actor:
        """One member as an actor of its own, with copies of its weights."""
        if self.network is not None:
            raise ValueError("member: an actor around a network of your own cannot be rebuilt for one member.")
        if not -self.members <= index < self.members:
            raise ValueError(f"member: {index} is not one of the {self.members} members.")
        init = Stream(0, "init", self.device)
        alone = Actor(self.observation, self.action, 1, self.architecture, init, env=self.env)
        alone.load_state_dict({name: value[index].unsqueeze(0) for name, value in self.state_dict().items()})
        return alone

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Weights, and what is to be known of them, as a run commits them with its checkpoint."""
        return saving.record(self, custom_network=self.network is not None)

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        checkpoint.write(directory, "policy", *self.record())


@checked
def policy(
    source: Source,
    hidden: Sequence[int] = (64, 64),
    *,
    activation: Activation = "tanh",
    normalise: bool = False,
    squash: bool = False,
    gru: int = 0,
    lstm: int = 0,
    seed: int | None = None,
    build: Callable[[], nn.Module] | None = None,
) -> Actor:
    """A fresh population of actors for a source: its spaces, members and device.

    The initialisation is a stream of its own: whatever the seed, it is not where PPO or SAC began that teaches it.

    Args:
        source: Where it will act.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        normalise: Standardise observations by running statistics.
        squash: A tanh-Gaussian instead of a Gaussian; needs a bounded Box.
        gru: Units of a gated recurrent unit behind the hidden layers; 0: none.
        lstm: Units of a long short-term memory there; 0: none.
        seed: Of the initialisation; the source's by default.
        build: Makes one plain `nn.Module` mapping observations [B, *obs] to logits or means (with `squash`: means and
            log standard deviations, concatenated); called once a member, instead of a network of ours.
    """
    spec = source.spec
    init = Stream(spec.seed if seed is None else seed, STUDENT, spec.device)
    network = None if build is None else Population(build, spec.members, init)
    made = Architecture(tuple(hidden), activation, normalise, squash, gru=gru, lstm=lstm)
    return Actor(spec.observation, spec.action, spec.members, made, init, network=network, env=spec.id)


def fresh(source: Source, architecture: Architecture, stream: str = STUDENT) -> Actor:
    """A fresh population of actors of an architecture for a source; an algorithm's own are of another stream."""
    spec = source.spec
    init = Stream(spec.seed, stream, spec.device)
    return Actor(spec.observation, spec.action, spec.members, architecture, init, env=spec.id)
