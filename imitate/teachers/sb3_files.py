"""Stable-Baselines3's files read as data: no object in them is rebuilt and no code of theirs runs.

A model is a zip of a JSON document and weights. The JSON holds pickled values in base64 under ":serialized:",
which are never decoded; beside them stand readable forms of the same, and those are read. Weights and a
VecNormalize are pickles, which `core/pickles.py` reads as data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import pickles
from imitate.core.pickles import Made
from imitate.core.reading import Archive, content, decoded, line, refusing, sound
from imitate.teachers.sb3_weights import read_weights
from imitate_envs.base import Space
from imitate_envs.gymnasium import from_gymnasium

__all__ = [
    "SavedModel",
    "Statistics",
    "of_model",
    "of_vec_normalize",
    "read_model",
    "read_vec_normalize",
    "unsupported",
]

REMEDY = "use teachers.from_callable(lambda obs: model.predict(obs, deterministic=True)[0], source) instead"

_LIBRARIES = ("stable_baselines3", "sb3_contrib")
_CLASS = re.compile(r"<class '([\w.]+)'>")
_SPACE = re.compile(r"(?:gym|gymnasium)\.spaces\.\w+\.(\w+)")
_VEC_NORMALIZE = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"
_ALLOWED = re.compile(
    r"stable_baselines3\.common\.(vec_env\.vec_normalize\.VecNormalize|running_mean_std\.RunningMeanStd)"
    r"|(gym|gymnasium)\.spaces\.\w+\.\w+"
    r"|numpy\.(dtype|ndarray)|numpy\._?core\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)"
    r"|numpy\.random\.(_pickle\.__(bit_generator|generator|randomstate)_ctor|_\w+\.\w+"
    r"|bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence))"
)
_NUMBERS = ("b1", "f2", "f4", "f8", "i4", "i8")
_AXES = 8  # of an observation or an action
_LARGEST = 2**26  # bytes of a pickle, which holds the last observations too
_LEAST = 1e-14  # of a variance: what is left of it in float32 beside our own epsilon
_FLATTEN = "stable_baselines3.common.torch_layers.FlattenExtractor"


@dataclass(frozen=True)
class SavedModel:
    """What is needed of a model.

    Args:
        label: How messages name it.
        weights: The state dict of its policy, on the CPU.
        observation: Space of observations.
        action: Space of actions.
        activation: Full name of the class of its activation function; None for the default of its algorithm.
    """

    label: str
    weights: dict[str, Tensor]
    observation: Space
    action: Space
    activation: str | None


@dataclass(frozen=True)
class Statistics:
    """What a VecNormalize does to observations: clip((obs − mean)/√(var + epsilon)) to ±clip, in float64."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    count: float
    epsilon: float
    clip: float


def of_model(model: Any) -> SavedModel:
    """What is needed of a model in memory."""
    label = type(model).__name__
    with refusing(label):
        _check_code(type(model.policy).__module__, _name(model.policy.features_extractor_class))
        weights = {name: value.detach().cpu() for name, value in model.policy.state_dict().items()}
        activation = _name(getattr(model.policy, "activation_fn", None))
        return SavedModel(label, weights, _space(model.observation_space), _space(model.action_space), activation)


def read_model(path: Path | str) -> SavedModel:
    """What is needed of a model that `model.save` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, not a model of Stable-Baselines3, or of a kind that is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file '{path}'.")
    label = f"'{path}'"
    with refusing(f"{label} is truncated or no model of Stable-Baselines3"):
        with path.open("rb") as file, Archive(file) as archive:
            data, packed = decoded(archive.read("data")), archive.read("policy.pth")
        readable = ("policy_class", "observation_space", "action_space", "policy_kwargs")
        if not isinstance(data, dict) or not all(isinstance(data.get(key), dict) for key in readable):
            raise ValueError(f"its data lack {', '.join(readable)}")
    with refusing(f"{label}: policy.pth does not hold plain weights"):
        weights = read_weights(packed)
    with refusing(label):
        for key in readable:
            sound(data[key])
        options, numbers = data["policy_kwargs"], sum(value.numel() for value in weights.values())
        extractor, activation = options.get("features_extractor_class"), options.get("activation_fn")
        _check_code(str(data["policy_class"].get("__module__")), extractor and _class(extractor))
        return SavedModel(
            label,
            weights,
            _space(_readable_space(data["observation_space"], numbers)),
            _space(_readable_space(data["action_space"], numbers)),
            None if activation is None else _class(activation),
        )


def unsupported(what: str) -> ValueError:
    """What to say of a model of a kind that is not supported."""
    return ValueError(f"{line(what)[:85]} is not supported; {REMEDY}")


def _check_code(module: str, extractor: str | None) -> None:
    """Weights alone do not say what custom code does with them."""
    if module.partition(".")[0] not in _LIBRARIES:
        raise unsupported(f"a policy class of your own (in {module})")
    if extractor not in (None, _FLATTEN):
        raise unsupported(f"the features extractor {extractor}")


def _name(kind: Any) -> str | None:
    return None if kind is None else f"{getattr(kind, '__module__', '?')}.{getattr(kind, '__qualname__', kind)}"


def _class(text: Any) -> str:
    """The name in "<class 'a.b.C'>"; the text itself where it is something else."""
    match = _CLASS.fullmatch(str(text))
    return match[1] if match else str(text)


def _space(space: Any) -> Space:
    if isinstance(space, spaces.Box):
        _refuse_bytes(space.shape, str(space.dtype))
    try:
        return from_gymnasium(space)
    except ValueError as error:
        raise unsupported(f"a space {space}") from error


def _refuse_bytes(shape: tuple[int, ...], dtype: str) -> None:
    if len(shape) == 3 or dtype == "uint8":
        raise unsupported(f"a space of observations of shape {shape} and type {dtype}")


def _readable_space(document: dict[str, Any], most: int) -> spaces.Space[Any]:
    """A space from its readable entries, of at most so many numbers or choices as there are weights."""
    match = _SPACE.fullmatch(_class(document.get(":type:")))
    kind = match[1] if match else _class(document.get(":type:"))
    if kind not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
        raise unsupported(f"a space of kind {kind}")
    with refusing(f"the readable form of a {kind} is not understood"):
        if kind == "Discrete":
            count, start = _whole(document["n"]), _whole(document.get("start", 0))
            _at_most(most, count)
            return spaces.Discrete(count, start=start)
        sizes = document["_shape"]
        if not isinstance(sizes, list) or len(sizes) > _AXES:
            raise ValueError(f"a shape of {line(sizes)}")
        shape = tuple(map(_whole, sizes))
        _at_most(most, math.prod(shape))
        if kind == "MultiDiscrete":
            nvec, starts = (_integers(document[name], shape) for name in ("nvec", "start"))
            _at_most(most, *nvec.flat)
            return spaces.MultiDiscrete(nvec, start=starts)
        if kind == "MultiBinary":
            return spaces.MultiBinary(shape)
        low, high = _numbers(document["low"], shape, -np.inf), _numbers(document["high"], shape, np.inf)
        if not (low <= high).all():
            raise ValueError("its bounds do not enclose anything")
        box = spaces.Box(low, high, dtype=np.float32)
    _refuse_bytes(shape, str(document.get("dtype")))
    return box


def _whole(number: Any) -> int:
    if type(number) not in (int, str):
        raise ValueError(f"{line(number)} is no whole number")
    return int(number)


def _at_most(most: int, *sizes: int) -> None:
    """What has no weights is not made: a size in a document costs its writer nothing."""
    if min(sizes, default=0) < 1 or sum(map(int, sizes)) > most:
        raise ValueError(f"a size of {sum(map(int, sizes)):,} does not fit {most:,} weights")


def _numbers(text: str, shape: tuple[int, ...], unknown: float) -> NDArray[np.float32]:
    """An array from numpy's text of it, exact to 5·10⁻⁹; above 1,000 entries the text leaves most out."""
    if "..." in text:
        return np.full(shape, unknown, np.float32)
    if len(text) > 64 * (math.prod(shape) + 1):
        raise ValueError(f"a bound of {len(text):,} characters")
    with np.errstate(over="ignore"):
        return np.array([float(n) for n in re.sub(r"[\[\]]", " ", text).split()], np.float32).reshape(shape)


def _integers(text: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """An array from numpy's text of it."""
    return np.array([int(n) for n in re.sub(r"[\[\]]", " ", text).split()], np.int64).reshape(shape)


def of_vec_normalize(vec: Any) -> Statistics | None:
    """The statistics of a VecNormalize in memory; None if it leaves observations alone."""
    with refusing("vec_normalize does not hold statistics of observations"):
        return _statistics(vars(vec), vars, lambda x: np.asarray(x, np.float64))


def read_vec_normalize(path: Path | str) -> Statistics | None:
    """The statistics that `VecNormalize.save` wrote; None if it leaves observations alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, holds something else, or names what such a file has no need of.
    """
    path = Path(path)
    label = f"vec_normalize: '{path}'"
    with refusing(f"{label} is not a VecNormalize"):
        saved = pickles.load(content(path, _LARGEST), lambda name: _ALLOWED.fullmatch(name) is not None)
        if not isinstance(saved, Made) or saved.kind != _VEC_NORMALIZE:
            raise ValueError("it holds something else")
    with refusing(f"{label} does not hold statistics of observations"):
        return _statistics(saved.state, lambda rms: rms.state, _array)


def _statistics(
    state: Any, inside: Callable[[Any], Any], number: Callable[[Any], NDArray[np.float64]]
) -> Statistics | None:
    if not number(state["norm_obs"]):
        return None
    rms = state["obs_rms"]
    if isinstance(rms, dict) or (isinstance(rms, Made) and rms.kind == "dict"):
        raise ValueError("statistics of Dict observations are not supported")
    mean, var, count = (number(inside(rms)[key]) for key in ("mean", "var", "count"))
    epsilon, clip = number(state["epsilon"]), number(state["clip_obs"])
    if mean.shape != var.shape or not all((np.abs(x) < 1e37).all() for x in (mean, var)):
        raise ValueError("its mean and variance do not match or are not finite in float32")
    if (var < 0).any() or not (var + epsilon > _LEAST).all():
        raise ValueError("its variance is negative, or 0 together with epsilon")
    if not (0 <= float(count) < np.inf and 0 <= float(epsilon) < 1e37 and float(clip) > 0):
        raise ValueError(f"a count of {count}, an epsilon of {epsilon} and a clip_obs of {clip} make no sense")
    # A bound that no number of float32 reaches is none.
    return Statistics(mean, var, float(count), float(epsilon), min(float(clip), float(np.finfo(np.float32).max)))


def _array(x: Any) -> NDArray[np.float64]:
    """A number, or the array or numpy scalar that a pickle describes."""
    if isinstance(x, (bool, int, float)):
        return np.asarray(float(x))
    kind = x.kind.rpartition(".")[2] if isinstance(x, Made) else type(x).__name__
    if kind == "_reconstruct":
        _, shape, dtype, fortran, packed = x.state
    elif kind == "_frombuffer":
        packed, dtype, shape, order = x.args
        fortran = order == "F"
    elif kind == "scalar":
        (dtype, packed), shape, fortran = x.args, (), False
    else:
        raise ValueError(f"a {kind} where a number should be")
    code, byte_order = dtype.args[0], dtype.state[1]
    if not (type(code) is type(byte_order) is str and code in _NUMBERS and byte_order in tuple("<>=|")):
        raise ValueError(f"numbers of type {line(code)}" if type(code) is str else "numbers of no type")
    if not (type(shape) is tuple and len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)):
        raise ValueError("an array without a shape")
    values: NDArray[np.float64] = np.frombuffer(packed, np.dtype(byte_order + code)).astype(np.float64)
    return np.reshape(values, shape, order="F" if fortran else "C")
