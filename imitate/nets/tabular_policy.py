"""Policies that are a table of action values. Letters: M members, N environments of one member, S states, A actions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imitate.core import checkpoint
from imitate.core.config import checked
from imitate.core.schema import of_json
from imitate.distributions.actions import Categorical, decide
from imitate.nets.predict import predict
from imitate_envs.base import Discrete

__all__ = ["TabularPolicy", "read_table"]

_OFF = -30.0  # log-odds of an action that is not greedy, as in `Categorical.certain`
_TIE = 1e-6  # of the size of a value: what differs less differs by rounding


class TabularPolicy(nn.Module):
    """M tables of action values as a `Teacher` and a `Policy`.

    Its distribution is softmax(Q/temperature); at temperature 0 it is uniform over the greedy actions, so that ties are
    broken at random (all others have e⁻³⁰, which keeps divergences finite). Either way its mode is greedy.

    Args:
        q: Action values [M, S, A], kept as they are: a learner may go on changing them. One member serves
            observations of any leading shape, several those of shape [M, B].
        temperature: In units of the values.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The temperature is negative or not finite, or `q` has not three dimensions.
    """

    q: Tensor

    @checked
    def __init__(self, q: Tensor, *, temperature: float = 0.0, env: str | None = None) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature: at least 0 and finite, not {temperature}.")
        if q.dim() != 3:
            raise ValueError(f"q: a table [M, S, A], not {tuple(q.shape)}.")
        self.register_buffer("q", q)
        self.temperature, self.env = temperature, env
        self.members = len(q)
        self.observation, self.action = Discrete(q.shape[1]), Discrete(q.shape[2])

    @property
    def noise(self) -> int:
        """One uniform draws a choice."""
        return 1

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.q.device

    @property
    def values(self) -> Tensor:
        """Values of the states, max Q over actions: [M, S]."""
        return self.q.amax(-1)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def at(self, obs: Tensor) -> Tensor:
        """Action values [..., A] of states [...]."""
        if self.members == 1:
            return self.q[0][obs]
        member = torch.arange(self.members, device=obs.device)
        return self.q[member.reshape(-1, *(1,) * (obs.dim() - 1)), obs]

    def action_values(self, obs: Tensor) -> Tensor:
        """Action values [..., A] of states [...]: what a student is told by them, see `Valued`."""
        return self.at(obs)

    def distribution(self, obs: Tensor) -> Categorical:
        """The distribution at states [M, B]."""
        q = self.at(obs)
        if self.temperature > 0:
            return Categorical(q / self.temperature)
        best = q.amax(-1, keepdim=True)
        greedy = q >= best - _TIE * best.abs()
        return Categorical(torch.where(greedy, 0.0, _OFF).to(q.dtype))

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, 1]; take the greedy one without them."""
        return decide(self.distribution(obs), noise), None, {}

    predict = predict  # as in Stable-Baselines3: arrays in, arrays out

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The table, and what is to be known of it, as a run commits them with its checkpoint."""
        description = {
            "kind": "TabularPolicy",
            "env": self.env,
            "members": self.members,
            "temperature": self.temperature,
        }
        return {"q": self.q}, description

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        checkpoint.write(directory, "policy", *self.record())


def read_table(state: dict[str, Any], description: dict[str, Any]) -> TabularPolicy:
    """A policy that `TabularPolicy.save` wrote, from its record.

    Raises:
        ValueError: The record is incomplete, or no table of finite numbers.
    """
    q, temperature = state.get("q"), of_json(float, description.get("temperature"), "temperature")
    if state.keys() != {"q"} or not isinstance(q, Tensor) or q.dtype not in (torch.float32, torch.float64):
        raise ValueError("it holds no table of real numbers")
    if q.dim() != 3 or not q.numel() or not bool(q.isfinite().all()):
        raise ValueError(f"its table is {tuple(q.shape)}, or not finite")
    if len(q) != of_json(int, description.get("members"), "members"):
        raise ValueError(f"its table has {len(q)} members")
    return TabularPolicy(q, temperature=temperature, env=of_json(str | None, description.get("env"), "env"))
