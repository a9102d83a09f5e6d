"""Policies with a memory: a gated recurrent unit in front of the head.

Letters: T time, M members, N environments of one member, B batch, F features, H hidden units, A actions.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.noise import Stream
from imitate.core.types import Source, fold, unfold
from imitate.distributions.actions import Categorical
from imitate.nets.layers import Linear, features
from imitate.nets.policy_network import space_from_json, space_to_json
from imitate_envs.base import Box, Discrete, Space

__all__ = ["GRU", "RecurrentArchitecture", "RecurrentPolicy", "load_recurrent", "recurrent_policy"]


class GRU(nn.Module):
    """M gated recurrent units.

        r = σ(W_r x + U_r h + b_r),   z = σ(W_z x + U_z h + b_z)
        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n)),   h ← (1 − z) ⊙ n + z ⊙ h

    The equations, the order of the gates (r, z, n) and the two biases are those of `torch.nn.GRU`; the matrices of all
    gates are orthogonal at first, the biases 0.

    Source: Cho et al. (2014), with the reset gate after the product as in cuDNN.

    Args:
        members: M.
        inputs: F.
        hidden: H.
        init: Stream of the initialisation.
    """

    def __init__(self, members: int, inputs: int, hidden: int, *, init: Stream) -> None:
        super().__init__()
        self.hidden = hidden
        self.inward = _gates(members, inputs, hidden, init)
        self.recurrent = _gates(members, hidden, hidden, init)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step: x [M, B, F] and h [M, B, H] -> h [M, B, H]."""
        return self._step(self.inward(x), h)

    def unroll(self, x: Tensor, h: Tensor, starts: Tensor | None = None) -> Tensor:
        """Many steps: x [T, M, B, F] -> h after each, [T, M, B, H].

        Args:
            x: Inputs.
            h: Before the first step, [M, B, H].
            starts: Where an episode begins, [T, M, B] (bool): there the memory is zero before the step.
        """
        inward = unfold(self.inward(fold(x)), len(x))  # one product for all steps
        states = []
        for t, gates in enumerate(inward):
            if starts is not None:
                h = h.masked_fill(starts[t].unsqueeze(-1), 0.0)
            h = self._step(gates, h)
            states.append(h)
        return torch.stack(states)

    def _step(self, inward: Tensor, h: Tensor) -> Tensor:
        recurrent = self.recurrent(h)
        split = 2 * self.hidden
        reset, keep = torch.sigmoid(inward[..., :split] + recurrent[..., :split]).chunk(2, -1)
        new = torch.tanh(torch.addcmul(inward[..., split:], reset, recurrent[..., split:]))
        return torch.lerp(new, h, keep)


def _gates(members: int, inputs: int, hidden: int, init: Stream) -> Linear:
    """A Linear to three gates, each of them orthogonal by itself."""
    linear = Linear(members, inputs, 3 * hidden, init=init, gain=1.0)
    with torch.no_grad():
        for weight in linear.weight:
            for gate in weight.split(hidden, -1):
                nn.init.orthogonal_(gate, generator=init.generator)
    return linear


@dataclass(frozen=True)
class RecurrentArchitecture:
    """All that is needed to build a recurrent policy again.

    Args:
        hidden: H.
    """

    hidden: int = 32


class RecurrentPolicy(nn.Module):
    """M policies that remember: observation -> GRU -> logits. Its memory is h [M, N, H].

    Args:
        observation: Space of observations: Discrete, or a Box that is taken flat.
        action: A Discrete space.
        members: M.
        architecture: What it is made of.
        init: Stream of the initialisation; its device is where the policy lives.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The actions are continuous, or there is no hidden unit.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        members: int,
        architecture: RecurrentArchitecture,
        init: Stream,
        *,
        env: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(action, Discrete):
            raise ValueError(f"action: a recurrent policy chooses among finitely many actions, not in {action}.")
        if architecture.hidden < 1:
            raise ValueError(f"hidden: at least one unit, not {architecture.hidden}.")
        self.observation, self.action, self.members = observation, action, members
        self.architecture, self.env = architecture, env
        inputs = observation.n if isinstance(observation, Discrete) else math.prod(observation.shape)
        self.core = GRU(members, inputs, architecture.hidden, init=init)
        self.head = Linear(members, architecture.hidden, action.n, init=init, gain=0.01)
        self.to(init.generator.device)

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

    def memory(self, *shape: int) -> Tensor:
        """Nothing remembered: zeros [M, N, H]."""
        return torch.zeros(*shape, self.architecture.hidden, device=self.device)

    def act(self, obs: Tensor, noise: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Remember obs [M, N, *obs], then draw an action from uniforms [M, N, 1]."""
        memory = self.core(self._inputs(obs), memory)
        return Categorical(self.head(memory)).sample(noise), memory, {}

    def distributions(self, obs: Tensor, starts: Tensor, memory: Tensor | None = None) -> Categorical:
        """What it says at every step of sequences, with gradients through time.

        Args:
            obs: [T, M, B, *obs].
            starts: Where an episode begins, [T, M, B] (bool).
            memory: Before the first step, [M, B, H]; nothing by default.

        Returns:
            Logits [T, M, B, A].
        """
        time = len(obs)
        inputs = unfold(self._inputs(fold(obs)), time)
        states = self.core.unroll(inputs, self.memory(*obs.shape[1:3]) if memory is None else memory, starts)
        return Categorical(unfold(self.head(fold(states)), time))

    @torch.no_grad()
    def predict(
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        *,
        member: int = 0,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Act as in Stable-Baselines3: numpy in, numpy out, one observation or a batch of them.

        Args:
            observation: [*obs] or [B, *obs].
            state: What the last call gave; None at the first step.
            episode_start: Where an episode begins, [B] (bool): the memory is zero there.
            deterministic: The mode instead of a draw (from torch's global generator).
            member: Which member of the population answers.

        Returns:
            The action, [] or [B], and the state for the next call.
        """
        observation = np.asarray(observation)
        single = observation.ndim == len(self.observation.shape)
        obs = torch.as_tensor(observation, device=self.device)
        obs = (obs.unsqueeze(0) if single else obs).unsqueeze(0).expand(self.members, -1, *self.observation.shape)
        if isinstance(self.observation, Box) and obs.dtype != torch.uint8:
            obs = obs.float()
        memory = self.memory(self.members, obs.shape[1])
        if state is not None:
            memory = torch.as_tensor(state[0], device=self.device)
        if episode_start is not None:
            started = torch.as_tensor(episode_start, device=self.device).reshape(1, -1, 1)
            memory = memory.masked_fill(started, 0.0)
        memory = self.core(self._inputs(obs), memory)
        distribution = Categorical(self.head(memory))
        noise = torch.rand(*obs.shape[:2], 1, device=self.device)
        action = (distribution.mode if deterministic else distribution.sample(noise))[member].cpu().numpy()
        return (action[0] if single else action), (memory.cpu().numpy(),)

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `load_recurrent` reads them."""
        description = {
            "kind": "RecurrentPolicy",
            "env": self.env,
            "members": self.members,
            "observation": space_to_json(self.observation),
            "action": space_to_json(self.action),
            "architecture": asdict(self.architecture),
        }
        checkpoint.write(directory, "policy", dict(self.state_dict()), description)

    def _inputs(self, obs: Tensor) -> Tensor:
        """[M, B, *obs] -> [M, B, F]."""
        return features(self.observation, obs).flatten(2)


def recurrent_policy(source: Source, hidden: int = 32, *, seed: int | None = None) -> RecurrentPolicy:
    """A fresh population of recurrent policies for a source: its spaces, members and device.

    Args:
        source: Where it will act.
        hidden: H.
        seed: Of the initialisation; the source's by default.
    """
    init = Stream(source.seed if seed is None else seed, "init", source.device)
    made = RecurrentArchitecture(hidden)
    return RecurrentPolicy(source.observation, source.action, source.members, made, init, env=source.id)


def load_recurrent(directory: Path | str, device: torch.device | str = "cpu") -> RecurrentPolicy:
    """Read a policy that `RecurrentPolicy.save` wrote.

    Raises:
        FileNotFoundError: There is no policy in `directory`.
        ValueError: The files are truncated, changed, or not ours.
    """
    state, description = checkpoint.read(directory, "policy", device)
    try:
        loaded = RecurrentPolicy(
            space_from_json(description["observation"]),
            space_from_json(description["action"]),
            int(description["members"]),
            RecurrentArchitecture(**description["architecture"]),
            Stream(0, "init", device),
            env=description.get("env"),
        )
        loaded.load_state_dict(dict(tree.flatten(state)))
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"'{directory}': policy.json is incomplete or does not fit its weights: {reason}") from error
    return loaded
