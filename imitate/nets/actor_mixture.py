"""Several actors, one of which acts at each step.

Letters: M members, N environments of one member, K actors of one member, R rows of weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.config import Count, checked
from imitate.core.noise import Stream, categorical
from imitate.core.types import Memory, Obs
from imitate.distributions.actions import Categorical
from imitate.nets.actor import Actor
from imitate.nets.predict import predict
from imitate_envs.base import Discrete, Space

__all__ = ["ActorMixture"]

_ROUNDING = 1e-4  # of a sum of weights
_OFF = -30.0  # log-probability of what nobody does, as in `Categorical.certain`


class ActorMixture(nn.Module):
    """Of K actors one acts at each step, drawn anew; what it does is its mode.

        π(a|s, t) = Σ_k w_k(t) 1[a = mode π_k(·|s)]

    Row t of the weights holds at step t of an episode, the last row from there on. One row gives a stationary mixture.
    Rows with a single 1 give a policy that changes with time.

    Args:
        actors: K actors of each member in one population: number m·K + k is the k-th of member m.
        weights: w, [M, R, K]; change them in place.

    Raises:
        ValueError: The weights are no probabilities or of other actors, or the actors have a memory or a network of
            your own.
    """

    weights: Tensor

    @checked
    def __init__(self, actors: Actor, weights: Tensor) -> None:
        super().__init__()
        if weights.dim() != 3 or weights.numel() == 0 or weights.shape[0] * weights.shape[2] != actors.members:
            raise ValueError(f"weights: [M, R, K] with M·K = {actors.members}, not {tuple(weights.shape)}.")
        if bool((weights < 0).any()) or not bool(((weights.sum(-1) - 1).abs() <= _ROUNDING).all()):
            raise ValueError("weights: each row holds probabilities, of sum 1.")
        if actors.recurrent or actors.network is not None:
            raise ValueError("student: a mixture takes hidden layers of ours without a memory; take gru=0 and lstm=0.")
        self.actors = actors
        self.register_buffer("weights", weights)
        self.members, self.count = weights.shape[0], weights.shape[2]

    @classmethod
    def of(cls, student: Actor, count: Count, rows: Count = 1) -> ActorMixture:
        """K copies of a student of M members, the first of which acts."""
        init = Stream(0, "init", student.device)
        actors = Actor(
            student.observation, student.action, student.members * count, student.architecture, init, env=student.env
        )
        weights = torch.zeros(student.members, rows, count, device=student.device)
        weights[..., 0] = 1
        made = cls(actors, weights)
        for place in range(count):
            made.put(place, student)
        return made

    @property
    def env(self) -> str | None:
        """Id of the environment that the actors were made for, if known."""
        return self.actors.env

    @property
    def architecture(self) -> Any:
        """Of each actor."""
        return self.actors.architecture

    @property
    def observation(self) -> Space:
        """Space of observations."""
        return self.actors.observation

    @property
    def action(self) -> Space:
        """Space of actions."""
        return self.actors.action

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.actors.device

    @property
    def noise(self) -> int:
        """One uniform draws who acts."""
        return 1

    @torch.no_grad()
    def put(self, place: int, student: Actor) -> None:
        """Make the actor at a place, of each member, what a student is now."""
        for name, mine in self.actors.state_dict().items():
            mine.unflatten(0, (self.members, self.count))[:, place] = student.state_dict()[name]

    def take(self, place: int, student: Actor) -> None:
        """Make a student what the actor at a place is."""
        state = self.actors.state_dict()
        student.load_state_dict(
            {name: x.unflatten(0, (self.members, self.count))[:, place] for name, x in state.items()}
        )

    def memory(self, *shape: int) -> Memory:
        """Steps since the episode began; None where the weights do not depend on them."""
        return None if self.weights.shape[1] == 1 else torch.zeros(shape, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Draw who acts at observations [M, N, ...] from uniforms [M, N, 1].

        Without noise they vote: the action with most weight behind it. In a Box, where no two say the same, that is
        the action of the actor with most weight.
        """
        each, weights = self._modes(obs), self._weights(memory)
        if noise is None:
            says = each.flatten(3) if each.dim() > 3 else each.unsqueeze(3)
            agree = (says.unsqueeze(2) == says.unsqueeze(3)).all(-1)  # [M, N, K, K]
            index = (agree * weights.unsqueeze(2)).sum(-1).argmax(-1)
        else:
            index = categorical(weights.log().expand(-1, each.shape[1], -1), noise[..., 0])
        place = index.reshape(*index.shape, *(1,) * (each.dim() - 2)).expand(-1, -1, 1, *each.shape[3:])
        return each.gather(2, place).squeeze(2), None if memory is None else memory + 1, {"actor": index}

    @torch.no_grad()
    def distribution(self, obs: Obs) -> Categorical:
        """The distribution over choices at observations [M, B, ...], at the first step of an episode.

        Raises:
            ValueError: Its actions are in a Box, where a mixture of single actions has no density.
        """
        if not isinstance(self.action, Discrete):
            raise ValueError(f"teacher: a mixture of actors has no density over {self.action}; take one of its actors.")
        each, weights = self._modes(obs), self._weights(None)
        probs = torch.zeros(*each.shape[:2], self.action.n, device=self.device)
        probs.scatter_add_(2, each, weights.expand_as(each))
        return Categorical(probs.log().clamp(min=_OFF))

    def _modes(self, obs: Obs) -> Tensor:
        """What each actor would do at observations [M, N, ...]: [M, N, K, ...]."""
        spread = tree.map(lambda x: x.repeat_interleave(self.count, 0), obs)
        modes: Tensor = self.actors.act(spread, None, None)[0].unflatten(0, (self.members, self.count))
        return modes.transpose(1, 2)

    def _weights(self, memory: Memory) -> Tensor:
        """The rows that hold at the steps of a memory [M, N]: [M, N, K]; without one the first, [M, 1, K]."""
        if memory is None:
            return self.weights[:, :1]
        row = memory.clamp(max=self.weights.shape[1] - 1)
        return self.weights.gather(1, row.unsqueeze(-1).expand(-1, -1, self.count))

    predict = predict  # as in Stable-Baselines3: arrays in, arrays out

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Weights of both kinds, and what is to be known of them, as a run commits them with its checkpoint."""
        state, description = self.actors.record()
        return {"actors": state, "mixing": self.weights}, {**description, "kind": "ActorMixture"}

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        checkpoint.write(directory, "policy", *self.record())
