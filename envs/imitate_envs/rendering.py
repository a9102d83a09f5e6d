"""Pictures of our environments, drawn by Gymnasium's of the same id."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from imitate_envs import ENVS
from imitate_envs.base import Env

__all__ = ["Renderer", "metadata"]


def metadata(env: Env) -> dict[str, Any]:
    """The `metadata` of Gymnasium: whether the environment can be drawn, and frames per second."""
    modes = [] if _id(env) is None else ["rgb_array"]
    return {"render_modes": modes, "render_fps": round(1 / getattr(env, "dt", 1 / 30))}  # real time


class Renderer:
    """Gymnasium's drawing of a state of ours: of the state only, so always with Gymnasium's lengths."""

    def __init__(self, env: Env) -> None:
        self._id = _id(env)
        self._viewer: Any = None

    def __call__(self, state: Tensor, action: Tensor | None) -> NDArray[Any]:
        """An RGB image [H, W, 3]; `action` is the episode's last one, None before the first."""
        if self._viewer is None:
            if self._id is None:
                raise NotImplementedError("Gymnasium has no environment of this kind, so none of its drawings.")
            self._viewer = gymnasium.make(self._id, render_mode="rgb_array").unwrapped
        if hasattr(self._viewer, "P"):  # toy_text: a cell, and the last action
            self._viewer.s, self._viewer.lastaction = int(state), None if action is None else int(action)
            return np.asarray(self._viewer.render())
        self._viewer.state = state.numpy()
        if isinstance(self._viewer.action_space, spaces.Box):  # Pendulum draws its torque
            bound = self._viewer.action_space.high.item()
            self._viewer.last_u = None if action is None else action.clamp(-bound, bound).item()
        return np.asarray(self._viewer.render())

    def close(self) -> None:
        """Free what the drawings are made with."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None


def _id(env: Env) -> str | None:
    """The id under which Gymnasium has this environment too; it knows no other map than ours has by default."""
    same = ((name, kind) for name, kind in ENVS.items() if type(env) is kind and name in gymnasium.registry)
    # Not a namesake that another package has registered.
    named = ((n, kind) for n, kind in same if str(gymnasium.registry[n].entry_point).startswith("gymnasium."))
    return next((name for name, kind in named if getattr(env, "desc", None) == getattr(kind, "desc", None)), None)
