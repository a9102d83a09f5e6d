"""Teachers: whatever can say what to do at a state. `load` takes any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from imitate import nets
from imitate.core.actions import bounds
from imitate.core.config import checked
from imitate.core.types import Source
from imitate.distributions.actions import Teacher
from imitate.teachers.control import LAWS, ControlLaw, control_law
from imitate.teachers.costs import Branching, Told, costs_of, costs_to_go
from imitate.teachers.functions import CallableTeacher, ModuleTeacher, from_callable, from_module, spaces_of
from imitate.teachers.planning import (
    Plan,
    planner,
    policy_iteration,
    policy_values,
    soft_policy_iteration,
    value_iteration,
)
from imitate.teachers.sb3 import from_sb3
from imitate_envs import ENVS, Tabular
from imitate_envs.base import Box, Space

__all__ = [
    "LAWS",
    "Branching",
    "CallableTeacher",
    "ControlLaw",
    "ModuleTeacher",
    "Plan",
    "Told",
    "control_law",
    "costs_of",
    "costs_to_go",
    "from_callable",
    "from_module",
    "from_sb3",
    "load",
    "planner",
    "policy_iteration",
    "policy_values",
    "soft_policy_iteration",
    "value_iteration",
]


@checked
def load(
    what: Any,
    source: Source | None = None,
    *,
    vec_normalize: Any = None,
    device: torch.device | str | None = None,
) -> Teacher:
    """A teacher, made of whatever there is; for more options call the function that makes it.

    Args:
        what: One of

            * a directory that a run or a policy of ours was saved to (`nets.load`);
            * a model of Stable-Baselines3, or the path of its `.zip` (`from_sb3`);
            * "control:CartPole-v1" or another id of `LAWS`, or "control" for that of the source
              (`control_law`);
            * "plan:FrozenLake-v1" or another of our environments with finitely many states, or "plan" for that
              of the source (`planner`);
            * an `nn.Module` that gives logits or means (`from_module`), or a function on numpy arrays
              (`from_callable`): both need `source`;
            * anything that has `distribution` already, which is returned as it is.
        source: Where it is to teach. Spaces that do not match are refused, and so is a directory made for
            another environment: pass `nets.load(directory)` itself for that.
        vec_normalize: For Stable-Baselines3: a VecNormalize or the path of its `.pkl`.
        device: Where it is to live: the source's device by default, or the CPU.

    Raises:
        FileNotFoundError: There is no such file or directory.
        ValueError: It cannot be read, is none of these, or does not fit the source.
    """
    where = device if device is not None else "cpu" if source is None else source.spec.device
    baseline = hasattr(what, "policy") and hasattr(what, "observation_space")
    law = isinstance(what, str) and what.partition(":")[0] in ("control", "plan")
    path = isinstance(what, (str, Path)) and not law
    if vec_normalize is not None and not (baseline or (path and str(what).endswith(".zip"))):
        raise ValueError("vec_normalize: only a model of Stable-Baselines3 takes one.")
    if path:
        made = _read(Path(what), source, vec_normalize, where)
    elif law:
        made = _by_name(what, source, where)
    elif callable(getattr(what, "distribution", None)):
        made = cast(Teacher, what)
    elif baseline:
        made = from_sb3(what, vec_normalize, device=where)
    elif callable(what):
        if source is None:
            raise ValueError(f"teacher: a {type(what).__name__} does not tell its spaces; pass the source too.")
        made = from_module(what, source, device=where) if isinstance(what, nn.Module) else from_callable(what, source)
    else:
        raise ValueError(
            f"teacher: a {type(what).__name__} is none of: a saved policy, a model of Stable-Baselines3, "
            "'control:<id>', 'plan:<id>', an nn.Module, a function, an object with `distribution`."
        )
    if source is not None:
        _check_spaces(made, source)
    return made


def _by_name(what: str, source: Source | None, device: torch.device | str) -> Teacher:
    """A control law, or a planner, for the id after the colon or else for the source."""
    kind, _, name = what.partition(":")
    if not name and source is None:
        example = "CartPole-v1" if kind == "control" else "FrozenLake-v1"
        raise ValueError(f"teacher: '{kind}' needs an id, as in '{kind}:{example}', or a source.")
    env_id = (name or cast(Source, source).spec.id).removeprefix("imitate/")
    if kind == "control":
        return control_law(env_id)
    # The source's own environment where it has one of ours: its map may be another than the default one.
    env = ENVS[env_id]() if name and env_id in ENVS else None if name else getattr(source, "env", None)
    if not isinstance(env, Tabular):
        raise ValueError(f"teacher: {env_id} has no model to plan with.")
    return planner(env, env_id=env_id, device=device)


def _read(path: Path, source: Source | None, vec_normalize: Any, device: torch.device | str) -> Teacher:
    if path.suffix == ".zip":
        return from_sb3(path, vec_normalize, device=device)
    if not path.exists():
        raise FileNotFoundError(f"teacher: there is no file or directory '{path}'.")
    if not path.is_dir():
        raise ValueError(f"teacher: '{path}' is neither a directory of ours nor a .zip of Stable-Baselines3.")
    made = nets.load(path, device)
    if source is not None and made.env is not None:
        _check_spaces(made, source)
        if made.env.removeprefix("imitate/") != source.spec.id.removeprefix("imitate/"):
            raise ValueError(
                f"teacher: '{path}' was made for {made.env}, not for {source.spec.id}; "
                "to use it all the same, pass imitate.nets.load of it."
            )
    return made


def _check_spaces(teacher: Any, source: Source) -> None:
    """Compare the spaces of a teacher, where it tells them, with those of the source."""
    for name, wanted in zip(("observation", "action"), spaces_of(source), strict=True):
        mine = getattr(teacher, name, None)
        if not isinstance(mine, Space):
            continue
        if str(mine) != str(wanted):
            raise ValueError(f"teacher: made for {name}s {mine}, but {source.spec.id} gives {wanted}.")
        if name == "action" and isinstance(mine, Box) and isinstance(wanted, Box):
            mine_low, mine_high, low, high = (b for box in (mine, wanted) for b in bounds(box, torch.device("cpu")))
            if not (torch.allclose(mine_low, low) and torch.allclose(mine_high, high)):
                raise ValueError(
                    f"teacher: made for actions from {mine_low.tolist()} to {mine_high.tolist()}, "
                    f"but those of {source.spec.id} go from {low.tolist()} to {high.tolist()}."
                )
