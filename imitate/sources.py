"""One call from the name of an environment to the source of its experience."""

from __future__ import annotations

import difflib
import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from imitate.core.gymnasium import GymnasiumSource
from imitate.core.rollout import TensorSource
from imitate_envs import ENVS
from imitate_envs.base import Env

__all__ = ["make", "resolve_device"]

_PACKAGES = {"gymnasium.envs.box2d": "'gymnasium[box2d]'", "gymnasium.envs.mujoco": "'gymnasium[mujoco]'"}
_ALE = "ALE/"
# What its vector environment does otherwise and Gymnasium's wrappers do not: an algorithm clips what it learns from.
_ATARI = {"reward_clipping": False, "use_fire_reset": False}


def make(
    env: str | Env | VectorEnv[Any, Any, Any],
    num_envs: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    *,
    native: bool = True,
    asynchronous: bool = False,
    compile: bool = False,  # noqa: A002 - torch's word
    env_kwargs: Mapping[str, Any] | None = None,
) -> TensorSource | GymnasiumSource:
    """The source of experience in an environment.

    Args:
        env: An id: ours where we have it (`imitate_envs.ENVS`), otherwise Gymnasium's. Or an environment of ours, or
            a Gymnasium VectorEnv that auto-resets in mode SAME_STEP. Games of the Arcade Learning Environment,
            `ALE/<Game>-v5`, show four grey frames of 84x84 pixels, one in four, with sticky actions, as
            Machado et al. (2018) recommend; rewards are as in the game.
        num_envs: N, environments of one member; 8 by default. A VectorEnv has N·M and says so itself.
        members: M.
        seed: Seed of all that is drawn.
        device: Where the experience lives; "auto" is the GPU if there is one. Gymnasium simulates on the CPU.
        native: Whether an id that both we and Gymnasium have means ours.
        asynchronous: Run every Gymnasium environment in a process of its own. A step then costs about 0.1 ms
            more, so it pays where one takes several times that and there are as many cores.
        compile: Run rollouts of our environments through `torch.compile`, see `TensorSource`. It pays in long runs.
        env_kwargs: Options of the environment, as its class names them.

    Raises:
        ValueError: An argument cannot be met; the message begins with its name.
    """
    where, options = resolve_device(device), dict(env_kwargs or {})
    for argument, number in (("num_envs", num_envs), ("members", members)):
        if number is not None and number < 1:
            raise ValueError(f"{argument}: must be at least 1, not {number}.")
    count = 8 if num_envs is None else num_envs
    if isinstance(env, str):
        name = env.removeprefix("imitate/")
        if not native or name not in ENVS:
            if compile:
                raise ValueError(f"compile: {env} is simulated by Gymnasium; only what we have of our own is compiled.")
            return _theirs(env, count * members, asynchronous, options, members=members, seed=seed, device=where)
        if asynchronous:
            raise ValueError(f"asynchronous: our {name} is simulated in one batch; pass native=False.")
        env = _ours(name, options)
    else:
        if options or asynchronous:
            argument = "env_kwargs" if options else "asynchronous"
            raise ValueError(f"{argument}: an environment that is already built takes none.")
        if isinstance(env, VectorEnv):
            if compile:
                raise ValueError("compile: a VectorEnv is not compiled; only environments of ours are.")
            if num_envs is not None and num_envs * members != env.num_envs:
                raise ValueError(
                    f"num_envs: {members} members of {num_envs} are not the {env.num_envs} of the VectorEnv."
                )
            return GymnasiumSource(env, members=members, seed=seed, device=where)
        same = (known for known, kind in ENVS.items() if type(env) is kind and env == kind())
        name = next(same, type(env).__name__)
    return TensorSource(env, id=name, num_envs=count, members=members, seed=seed, device=where, compile=compile)


def resolve_device(device: torch.device | str) -> torch.device:
    """A device by its name; "auto" is the GPU if there is one, else the CPU.

    Raises:
        ValueError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"device: '{device}' cannot be used here: {reason}.") from None


def _ours(name: str, options: dict[str, Any]) -> Env:
    kind: Callable[..., Env] = ENVS[name]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise ValueError(
                f"env_kwargs: our {name} has no '{option}'{_hint(option, known)} It takes "
                f"{', '.join(known)}; native=False is Gymnasium's, with its own options."
            )
    return kind(**options)


def _check_id(name: str) -> None:
    """Whether Gymnasium knows an id, after the import of the module before its colon."""
    module, _, bare = name.rpartition(":")
    if name.startswith(_ALE):
        try:
            importlib.import_module("ale_py")  # it registers the games
        except ModuleNotFoundError as error:
            raise ValueError(f"env: '{name}' cannot be imported; pip install ale-py.") from error
    elif module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"env: '{name}': {error}.") from error
    if bare in gymnasium.registry:
        return
    hint = _hint(bare, {*ENVS, *gymnasium.registry})
    if hint == "." and not module:
        hint = f"; if a package registers it when imported, write 'package:{bare}'."
    raise ValueError(f"env: '{bare}' is unknown{hint}")


def _hint(name: str, known: Iterable[str]) -> str:
    """A full stop, after the known name that is closest, if one is close; of several versions the latest."""
    stems = {_split(candidate)[0].lower(): candidate for candidate in sorted(known, key=_version)}
    close = difflib.get_close_matches(_split(name)[0].lower(), stems, n=1)
    return f"; did you mean {stems[close[0]]}?" if close else "."


def _split(name: str) -> tuple[str, int]:
    """Hopper-v5 -> Hopper and 5; -1 stands for no version."""
    match = re.fullmatch(r"(.+)-v(\d+)", name)
    return (match[1], int(match[2])) if match else (name, -1)


def _version(name: str) -> int:
    return _split(name)[1]


def _theirs(name: str, count: int, asynchronous: bool, options: dict[str, Any], **how: Any) -> GymnasiumSource:
    """Gymnasium environments in SAME_STEP; whatever keeps them from being built is a ValueError."""
    _check_id(name)
    same_step: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
    if name.startswith(_ALE):
        if asynchronous:
            raise ValueError("asynchronous: the games of ALE already run in threads of their own.")
        how_made = {"vectorization_mode": "vector_entry_point", **_ATARI, **same_step}
    else:
        how_made = {"vectorization_mode": "async" if asynchronous else "sync", "vector_kwargs": same_step}
    try:
        with warnings.catch_warnings():
            # Box2D's bindings, at their first import.
            warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
            envs = gymnasium.make_vec(name, num_envs=count, **{**how_made, **options})
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        where = str(gymnasium.registry[name.rpartition(":")[2]].entry_point)
        package = next((package for module, package in _PACKAGES.items() if where.startswith(module)), None)
        remedy = f"; pip install {package}." if package and _is_missing(error) else f": {error}"
        raise ValueError(f"env: '{name}' cannot be imported{remedy}") from error
    except (TypeError, AssertionError) as error:
        if not options:
            raise
        raise ValueError(f"env_kwargs: {str(error).split(' was raised from')[0]}.") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"env: {error}") from error
    try:
        return GymnasiumSource(envs, **how)
    except ValueError:
        envs.close()
        raise


def _is_missing(error: Exception) -> bool:
    """Whether a package is not there, rather than there and refusing."""
    return isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
