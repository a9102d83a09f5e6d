"""Stable-Baselines3's files read as data: no object in them is rebuilt and no code of theirs runs.

A model is a zip of a JSON document and weights. The JSON holds pickled values in base64 under ":serialized:",
which are never decoded; beside them stand readable forms of the same, and those are read. A VecNormalize is a
pickle, read by an unpickler that knows one class: a stand-in that keeps the arguments and the state of
whatever it stands for.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from imitate_envs.base import Space
from imitate_envs.gymnasium import from_gymnasium

__all__ = ["SavedModel", "Statistics", "of_model", "of_vec_normalize", "read_model", "read_vec_normalize"]

REMEDY = "use teachers.from_callable(lambda obs: model.predict(obs, deterministic=True)[0], source) instead"

_LIBRARIES = ("stable_baselines3", "sb3_contrib")
_CLASS = re.compile(r"<class '([\w.]+)'>")
_SPACE = re.compile(r"(?:gym|gymnasium)\.spaces\.\w+\.(\w+)")
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
    kind = type(model.policy)
    _check_code(label, kind.__module__, _name(model.policy.features_extractor_class))
    weights = {name: value.detach().cpu() for name, value in model.policy.state_dict().items()}
    activation = _name(getattr(model.policy, "activation_fn", None))
    return SavedModel(
        label, weights, _space(label, model.observation_space), _space(label, model.action_space), activation
    )


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
    try:
        with zipfile.ZipFile(path) as archive:
            text, content = archive.read("data"), archive.read("policy.pth")
        data = json.loads(text)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, ValueError) as error:
        raise ValueError(f"{label} is truncated or no model of Stable-Baselines3: {_line(error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd pickle protocol, just before it is refused
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise almost anything
        raise ValueError(f"{label}: policy.pth does not hold plain weights: {_line(error)}") from error
    readable = ("policy_class", "observation_space", "action_space", "policy_kwargs")
    if not isinstance(data, dict) or not all(isinstance(data.get(key), dict) for key in readable):
        raise ValueError(f"{label} is no model of Stable-Baselines3: its data lack {', '.join(readable)}.")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{label}: policy.pth is not a state dict.")
    options = data["policy_kwargs"]
    extractor = options.get("features_extractor_class")
    _check_code(label, str(data["policy_class"].get("__module__")), extractor and _class(extractor))
    activation = options.get("activation_fn")
    return SavedModel(
        label,
        weights,
        _space(label, _readable_space(label, data["observation_space"])),
        _space(label, _readable_space(label, data["action_space"])),
        None if activation is None else _class(activation),
    )


def _line(error: Exception) -> str:
    """The first sentence or so of an error, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_code(label: str, module: str, extractor: str | None) -> None:
    """Weights alone do not say what custom code does with them."""
    if module.partition(".")[0] not in _LIBRARIES:
        raise ValueError(f"{label}: a policy class of your own (in {module}) is not supported; {REMEDY}.")
    if extractor not in (None, _FLATTEN):
        raise ValueError(f"{label}: the features extractor {extractor} is not supported; {REMEDY}.")


def _name(kind: Any) -> str | None:
    return None if kind is None else f"{getattr(kind, '__module__', '?')}.{getattr(kind, '__qualname__', kind)}"


def _class(text: Any) -> str:
    """The name in "<class 'a.b.C'>"; the text itself where it is something else."""
    match = _CLASS.fullmatch(str(text))
    return match[1] if match else str(text)


def _space(label: str, space: Any) -> Space:
    if isinstance(space, spaces.Box):
        _refuse_bytes(label, space.shape, str(space.dtype))
    try:
        return from_gymnasium(space)
    except ValueError as error:
        raise ValueError(f"{label}: a space {space} is not supported; {REMEDY}.") from error


def _refuse_bytes(label: str, shape: tuple[int, ...], dtype: str) -> None:
    if len(shape) == 3 or dtype == "uint8":
        raise ValueError(f"{label}: observations of shape {shape} and type {dtype} are not supported; {REMEDY}.")


def _readable_space(label: str, document: dict[str, Any]) -> spaces.Space[Any]:
    """A space from its readable entries."""
    match = _SPACE.fullmatch(_class(document.get(":type:")))
    kind = match[1] if match else document.get(":type:")
    if kind not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
        raise ValueError(f"{label}: a space of kind {kind} is not supported; {REMEDY}.")
    try:
        if kind == "Discrete":
            return spaces.Discrete(int(document["n"]), start=int(document.get("start", 0)))
        shape = tuple(int(size) for size in document["_shape"])
        if kind == "MultiDiscrete":
            nvec, start = (_integers(document[name], shape) for name in ("nvec", "start"))
            return spaces.MultiDiscrete(nvec, start=start)
        if kind == "MultiBinary":
            return spaces.MultiBinary(shape)
        low, high = _numbers(document["low"], shape, -np.inf), _numbers(document["high"], shape, np.inf)
        box = spaces.Box(low, high, dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{label}: the readable form of a {kind} is not understood: {_line(error)}") from error
    _refuse_bytes(label, shape, str(document.get("dtype")))
    return box


def _numbers(text: str, shape: tuple[int, ...], unknown: float) -> NDArray[np.float32]:
    """An array from numpy's text of it, exact to 5·10⁻⁹; above 1,000 entries the text leaves most out."""
    if "..." in text:
        return np.full(shape, unknown, np.float32)
    return np.array([float(n) for n in re.sub(r"[\[\]]", " ", text).split()], np.float32).reshape(shape)


def _integers(text: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """An array from numpy's text of it."""
    return np.array([int(n) for n in re.sub(r"[\[\]]", " ", text).split()], np.int64).reshape(shape)


def of_vec_normalize(vec: Any) -> Statistics | None:
    """The statistics of a VecNormalize in memory; None if it leaves observations alone."""
    return _statistics("vec_normalize", vars(vec), lambda rms: vars(rms), lambda x: np.asarray(x, np.float64))


def read_vec_normalize(path: Path | str) -> Statistics | None:
    """The statistics that `VecNormalize.save` wrote; None if it leaves observations alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, holds something else, or names what such a file has no need of.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file '{path}'.")
    label = f"vec_normalize: '{path}'"
    try:
        saved = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # damaged pickles raise almost anything
        raise ValueError(f"{label} is not a VecNormalize: {_line(error)}") from error
    if not isinstance(saved, _StandIn) or type(saved).__name__ != "VecNormalize":
        raise ValueError(f"{label} is not a VecNormalize.")
    return _statistics(label, saved.state, lambda rms: rms.state, _array)


def _statistics(label: str, state: Any, inside: Any, number: Any) -> Statistics | None:
    try:
        if not state["norm_obs"]:
            return None
        if isinstance(state["obs_rms"], dict):
            raise ValueError("statistics of Dict observations are not supported")
        rms = inside(state["obs_rms"])
        mean, var, count = (number(rms[key]) for key in ("mean", "var", "count"))
        epsilon, clip = number(state["epsilon"]), number(state["clip_obs"])
        if mean.shape != var.shape or not all((np.abs(x) < 1e37).all() for x in (mean, var)):
            raise ValueError("its mean and variance do not match or are not finite in float32")
        return Statistics(mean, var, float(count), float(epsilon), float(clip))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{label} does not hold statistics of observations: {_line(error)}") from error


class _StandIn:
    """Stands for an object of a pickle: holds what it was made from and does nothing."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _StandIn:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Makes stand-ins, and only of what a VecNormalize holds."""

    allowed = re.compile(
        r"stable_baselines3\.common\.(vec_env\.vec_normalize\.VecNormalize|running_mean_std\.RunningMeanStd)"
        r"|(gym|gymnasium)\.spaces\.\w+\.\w+"
        r"|numpy\.(dtype|ndarray)|numpy\._?core\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)"
        r"|numpy\.random\.(_pickle\.__(bit_generator|generator|randomstate)_ctor|_\w+\.\w+"
        r"|bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence))"
    )

    def find_class(self, module: str, name: str) -> type[_StandIn]:
        if not self.allowed.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which such a file has no need of")
        return type(name, (_StandIn,), {})


def _array(x: Any) -> NDArray[np.float64]:
    """A number, or the array or numpy scalar behind a stand-in."""
    if isinstance(x, (bool, int, float)):
        return np.asarray(x, np.float64)
    kind = type(x).__name__
    if kind == "_reconstruct":
        _, shape, dtype, fortran, content = x.state
    elif kind == "_frombuffer":
        content, dtype, shape, order = x.args
        fortran = order == "F"
    elif kind == "scalar":
        (dtype, content), shape, fortran = x.args, (), False
    else:
        raise ValueError(f"a {kind} where a number should be")
    code, byte_order = dtype.args[0], dtype.state[1]
    if code not in ("f2", "f4", "f8", "i4", "i8") or byte_order not in ("<", ">", "=", "|"):
        raise ValueError(f"numbers of type {byte_order}{code}")
    values: NDArray[np.float64] = np.frombuffer(content, np.dtype(byte_order + code)).astype(np.float64)
    return np.reshape(values, tuple(shape), order="F" if fortran else "C")
