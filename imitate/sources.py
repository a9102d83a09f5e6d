"""One call from an environment, or its name, to the source of its experience."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import gymnasium
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from imitate.core.config import Told, checked
from imitate.core.errors import WorkerError
from imitate.core.gymnasium import GymnasiumSource
from imitate.core.rollout import TensorSource
from imitate.core.room import admit
from imitate.core.workers import Workers
from imitate_envs import ENVS
from imitate_envs.base import Env

__all__ = ["make", "resolve_device"]

AnyEnv = gymnasium.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]
Build = Callable[[], AnyEnv]

_PACKAGES = {"gymnasium.envs.box2d": "'gymnasium[box2d]'", "gymnasium.envs.mujoco": "'gymnasium[mujoco]'"}
_ALE = "ALE/"
# What its vector environment does otherwise and Gymnasium's wrappers do not: an algorithm clips what it learns from.
_ATARI = {"reward_clipping": False, "use_fire_reset": False}
_SAME_STEP: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}


@checked
def make(
    env: Told[str | Env | type | AnyEnv | AnyVectorEnv | Callable[..., AnyEnv]],
    num_envs: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: Told[torch.device | str] = "cpu",
    *,
    native: bool = True,
    asynchronous: bool = False,
    timeout: float = 300.0,
    compile: bool = False,  # noqa: A002 - torch's word
    action_masks: bool | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    make_envs: Callable[[int], AnyVectorEnv] | None = None,
) -> TensorSource | GymnasiumSource:
    """The source of experience in an environment.

    Args:
        env: An id: ours where we have it (`imitate_envs.ENVS`), otherwise Gymnasium's; `module:Id-v0` imports a module
            first, also one in the working directory. Games of the Arcade Learning Environment, `ALE/<Game>-v5`, show
            four grey frames of 84x84 pixels, one in four, with sticky actions, as Machado et al. (2018) recommend;
            rewards are as in the game. Or a class of environments; a function that builds a fresh one at each call; an
            environment of Gymnasium's, of which others are built by its spec, wrappers included; a VectorEnv that
            auto-resets in mode SAME_STEP; or an environment of ours.
        num_envs: N, environments of one member; 8 by default. A VectorEnv has N·M and says so itself.
        members: M.
        seed: Seed of all that is drawn.
        device: Where the experience lives; "auto" is the GPU if there is one. Gymnasium simulates on the CPU.
        native: Whether an id that both we and Gymnasium have means ours.
        asynchronous: Run every Gymnasium environment in a process of its own. A step then costs about 0.1 ms
            more, so it pays where one takes several times that and there are as many cores.
        timeout: Seconds in which environments in processes of their own must answer.
        compile: Run rollouts of our environments through `torch.compile`, see `TensorSource`. It pays in long runs.
        action_masks: Whether observations carry masks of valid actions, see `GymnasiumSource`; None: where the
            environment gives them.
        env_kwargs: Options of the environment, as its class or function names them.
        make_envs: Builds as many fresh environments as asked for `play`; needed for a VectorEnv alone that Gymnasium
            did not build and that is not built of functions.

    Raises:
        ValueError: An argument cannot be met; the message begins with its name.
    """
    where, options = resolve_device(device), dict(env_kwargs or {})
    for argument, number in (("num_envs", num_envs), ("members", members)):
        if number is not None and number < 1:
            raise ValueError(f"{argument}: must be at least 1, not {number}.")
    if timeout <= 0:
        raise ValueError(f"timeout: must be positive, not {timeout}.")
    if isinstance(env, str) and native and (known := env.removeprefix("imitate/")) in ENVS:
        env, options = _configured(ENVS[known], known, options), {}
    elif inspect.isclass(env) and not issubclass(env, gymnasium.Env) and hasattr(env, "step_noise"):
        kind: Any = env
        env, options = _configured(kind, kind.__name__, options), {}
    if _is_ours(env):
        for argument, given, why in (
            ("env_kwargs", options, "that is already built takes none"),
            ("asynchronous", asynchronous, "of ours is simulated in one batch; for Gymnasium's own pass native=False"),
            ("action_masks", action_masks, "of ours has none beyond what it shows"),
            ("make_envs", make_envs, "of ours needs none"),
        ):
            if given:
                raise ValueError(f"{argument}: an environment {why}.")
        same = (known for known, ours in ENVS.items() if type(env) is ours and env == ours())
        name, count = next(same, type(env).__name__), 8 if num_envs is None else num_envs
        return TensorSource(env, id=name, num_envs=count, members=members, seed=seed, device=where, compile=compile)
    if compile:
        raise ValueError(f"compile: {_name(env)} is simulated by Gymnasium; only what we have of our own is compiled.")
    if isinstance(env, VectorEnv):
        for argument, given in (("env_kwargs", options), ("asynchronous", asynchronous)):
            if given:
                raise ValueError(f"{argument}: a VectorEnv that is already built takes none.")
        if num_envs is not None and num_envs * members != env.num_envs:
            raise ValueError(f"num_envs: {members} members of {num_envs} are not the {env.num_envs} of the VectorEnv.")
        envs = env
    else:
        side = 8 if num_envs is None else num_envs
        count = members * side
        # What the leanest environment takes at the least, in this process or in one of its own.
        each = 2**20 if asynchronous else 2**12
        admit("the environments", count * each, {"num_envs": side, "members": members}, "cpu")
        envs = _vector(env, count, timeout if asynchronous else None, options)
    try:
        return GymnasiumSource(
            envs, members=members, seed=seed, device=where, make_envs=make_envs, action_masks=action_masks
        )
    except BaseException:
        if envs is not env:
            envs.close()
        raise


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


def _configured(kind: Callable[..., Env], name: str, options: dict[str, Any]) -> Env:
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise ValueError(
                f"env_kwargs: our {name} has no '{option}'{_hint(option, known)} It takes "
                f"{', '.join(known)}; native=False is Gymnasium's, with its own options."
            )
    return kind(**options)


def _is_ours(env: Any) -> TypeGuard[Env]:
    """Whether it is an environment of tensors."""
    return not isinstance(env, gymnasium.Env) and hasattr(env, "observe") and hasattr(env, "step_noise")


def _name(env: Any) -> str:
    """What a message calls it."""
    if isinstance(env, gymnasium.Env):
        env = env.unwrapped
    return env if isinstance(env, str) else str(getattr(env, "__name__", type(env).__name__))


def _vector(env: Any, count: int, timeout: float | None, options: dict[str, Any]) -> AnyVectorEnv:
    """Environments of Gymnasium's in SAME_STEP, each in a process of its own if there is a timeout."""
    if isinstance(env, str):
        _check_id(env)
        if env.startswith(_ALE):
            if timeout is not None:
                raise ValueError("asynchronous: the games of ALE already run in threads of their own.")
            with _remedies(env, options):
                return gymnasium.make_vec(env, count, "vector_entry_point", **{**_ATARI, **_SAME_STEP, **options})
        build: Build = partial(gymnasium.make, env, **options)
    elif isinstance(env, gymnasium.Env):
        if options:
            raise ValueError("env_kwargs: an environment that is already built takes none.")
        build = _rebuild(env)
    else:
        build = _function(env, options)
    with _remedies(env, options):
        if timeout is None:
            return SyncVectorEnv([build] * count, **_SAME_STEP)
        return Workers([build] * count, timeout, _name(env))


def _function(env: Any, options: dict[str, Any]) -> Build:
    """A class or function as one that builds an environment and says so if it does not."""
    if not callable(env) or (isinstance(env, type) and not issubclass(env, gymnasium.Env)):
        what = f"the class {env.__name__}" if isinstance(env, type) else f"a {type(env).__name__}"
        raise ValueError(
            "env: must be an id, a class of gymnasium.Env, a function that builds one, an environment or a VectorEnv, "
            f"not {what}."
        )
    try:
        inspect.signature(env).bind(**options)
    except TypeError as error:
        raise ValueError(f"env_kwargs: {_name(env)}: {error}.") from None
    except ValueError:  # it has no signature to ask
        pass
    return partial(_built, env, options)


def _built(function: Callable[..., Any], options: dict[str, Any]) -> AnyEnv:
    env = function(**options)
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"env: {_name(function)} gave a {type(env).__name__}, not a gymnasium.Env.")
    return env


def _rebuild(env: AnyEnv) -> Build:
    """How to build another environment like this one, by its spec.

    Raises:
        ValueError: It has none, or a wrapper that Gymnasium cannot put on again.
    """
    remedy = "pass a function that builds one."
    if env.unwrapped.spec is None:
        raise ValueError(f"env: a {_name(env)} without a spec cannot be built again; {remedy}")
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        kind = type(inner)
        found = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
        if found is not kind or not isinstance(inner, RecordConstructorArgs):
            raise ValueError(f"env: the wrapper {kind.__name__} cannot be put on again by its spec; {remedy}")
        inner = inner.env
    spec = env.spec
    if spec is None:  # as Gymnasium has it where options of a wrapper cannot be copied
        raise ValueError(f"env: the spec of this {_name(env)} cannot be copied; {remedy}")
    return partial(gymnasium.make, spec)


def _check_id(name: str) -> None:
    """Whether Gymnasium knows an id, after the import of the module before its colon."""
    module, _, bare = name.rpartition(":")
    if name.startswith(_ALE):
        try:
            importlib.import_module("ale_py")  # it registers the games
        except ModuleNotFoundError as error:
            raise ValueError(f"env: '{name}' cannot be imported; pip install ale-py.") from error
    elif module:
        _import(module, name)
    if bare in gymnasium.registry:
        return
    hint = _hint(bare, {*ENVS, *gymnasium.registry})
    if hint == "." and not module:
        hint = f"; if a package registers it when imported, write 'package:{bare}'."
    raise ValueError(f"env: '{bare}' is unknown{hint}")


def _import(module: str, name: str) -> None:
    """Import the module of an id, if need be from the working directory, where a console script does not look."""
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)  # last, and to stay: the environment's own module may be imported later
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"env: '{name}': {error}.") from error


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


@contextlib.contextmanager
def _remedies(env: Any, options: dict[str, Any]) -> Iterator[None]:
    """Whatever keeps environments from being built is a ValueError that says what to do."""
    name = _name(env)
    try:
        with warnings.catch_warnings():
            # Box2D's bindings, at their first import.
            warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
            yield
    except WorkerError as error:
        raise ValueError(str(error)) from error
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        spec = gymnasium.registry.get(name.rpartition(":")[2])
        where = str(spec.entry_point) if spec is not None else ""
        package = next((package for module, package in _PACKAGES.items() if where.startswith(module)), None)
        remedy = f"; pip install {package}." if package and _is_missing(error) else f": {error}"
        raise ValueError(f"env: '{name}' cannot be imported{remedy}") from error
    except (TypeError, AssertionError) as error:
        if not options:
            raise
        raise ValueError(f"env_kwargs: {str(error).split(' was raised from')[0]}.") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"env: {error}") from error


def _is_missing(error: Exception) -> bool:
    """Whether a package is not there, rather than there and refusing."""
    return isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
