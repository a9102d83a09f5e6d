"""Functions of tensors recorded as CUDA graphs: launched as one, instead of operation by operation.

On a GPU a step of small networks costs what it launches. A recording launches everything at once, and computes what
the function computes: the same kernels on the same numbers. What can be recorded is a function of a tree of tensors
that draws no random numbers (they are an input), waits for no result and keeps no count of its own in Python; tensors
that it finds elsewhere, such as parameters, it may change in place, and others may change in place between two calls.
Anything else runs eagerly, and `path` says why. So do learners and rollouts while a module of theirs has a hook, a
parametrisation or a `forward` of its own, which a recording would not call.

Numbers are exactly those of float32 unless `torch.set_float32_matmul_precision("high")` is called before a run: TF32
is faster on large networks and rounds the factors to 10 bits. `IMITATE_CAPTURE=0` in the environment, or `disabled()`,
switches recordings off.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.compiled import Compiled, uncompiled
from imitate.core.watch import Watch

__all__ = ["Captured", "CudaGraphs", "Recorder", "capture", "disabled", "paths", "recorder"]

X = TypeVar("X")
Y = TypeVar("Y")

LIMIT = 8  # recordings of one function, and times that it is recorded anew since its tensors have moved


class Recorder(Protocol):
    """What records a function; the tests have one for the CPU."""

    @property
    def name(self) -> str:
        """What a recording is called."""

    def aside(self, run: Callable[[], Y]) -> tuple[Y, bool]:
        """Run for real, where recordings are made; and whether it waited for the device."""

    def record(self, run: Callable[[], Y]) -> tuple[Callable[[], object], Y]:
        """Record without running: what replays it, and the results as each replay fills them."""


class CudaGraphs:
    """Records CUDA graphs on a stream of its own, where the libraries' workspaces are then there already."""

    name = "CUDA graph"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def aside(self, run: Callable[[], Y]) -> tuple[Y, bool]:
        """Run on the side stream, in order with all that comes before and behind."""
        here, side = torch.cuda.current_stream(self.device), _side(self.device)
        side.wait_stream(here)
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                torch.cuda.set_sync_debug_mode("warn")
                with torch.cuda.stream(side):
                    found = run()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
                here.wait_stream(side)
        waits = [w for w in caught if "synchronizing" in str(w.message).lower()]
        for warning in caught:
            if warning not in waits:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        # The first is about the mode itself, and comes but once.
        return found, any("prototype" not in str(warning.message) for warning in waits)

    def record(self, run: Callable[[], Y]) -> tuple[Callable[[], object], Y]:
        """Record one graph with memory of its own."""
        graph = torch.cuda.CUDAGraph()
        # Were an older graph collected in the midst of it, the recording would fail.
        gc.collect()
        collects = gc.isenabled()
        gc.disable()
        try:
            with torch.cuda.device(self.device), torch.cuda.graph(graph, stream=_side(self.device)):
                found = run()
        finally:
            if collects:
                gc.enable()
        return graph.replay, found


@lru_cache(maxsize=16)
def _side(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def recorder(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing does."""
    return CudaGraphs(device) if device.type == "cuda" and os.environ.get("IMITATE_CAPTURE") != "0" else None


def capture(function: Callable[[X], Y], device: torch.device | str) -> Callable[[X], Y]:
    """The same function, recorded on a GPU from its third call with inputs of one kind on; itself on the CPU.

    Its results are copies that belong to the caller, and its inputs are copied: nothing is shared with a recording.

    Args:
        function: Maps a tree of tensors to a tree of tensors; see the head of this file.
        device: Where all its tensors are.
    """
    found = recorder(torch.device(device))
    return function if found is None else Captured(function, torch.device(device), found)


@dataclass(frozen=True)
class _Recording:
    inputs: list[Tensor]
    replay: Callable[[], object]
    outputs: Any
    held: list[tuple[Tensor, int]]

    def fits(self) -> bool:
        """Whether all tensors that it works on are where they were."""
        return all(tensor.data_ptr() == pointer for tensor, pointer in self.held)


class Captured(Generic[X, Y]):
    """A function that records itself; see `capture`.

    The first two calls with inputs of one kind are calls like any other, so that there is nothing to undo, but on the
    side stream and on copies of the inputs, laid out in memory as those of the recording will be. The first fills what
    is made once, such as constants; the second is watched. It finds the tensors that the function takes from elsewhere,
    which a recording must keep alive, and everything that cannot be recorded, before it is tried: a recording that is
    begun and fails leaves torch's allocator damaged. The third is recorded.
    """

    def __init__(self, function: Callable[[X], Y], device: torch.device, recorder: Recorder) -> None:
        self.function, self.device, self.recorder = function, device, recorder
        self.reason: str | None = None  # why it is not recorded
        self._known: dict[Hashable, Watch | _Recording | None] = {}
        self._moves = 0

    @property
    def path(self) -> str:
        """Which path the function takes, in words."""
        if self.reason is not None:
            return f"eager: {self.reason}"
        recorded = sum(isinstance(found, _Recording) for found in self._known.values())
        return f"{self.recorder.name}{f' ({recorded} shapes)' if recorded > 1 else ''}" if recorded else "eager so far"

    def __call__(self, x: X) -> Y:
        """Replay, or run eagerly."""
        if self.reason is not None or _State.off:
            return self.function(x)
        try:
            # A recording keeps the modes that it was made under.
            key = (_kind(x), torch.is_grad_enabled(), torch.is_autocast_enabled(self.device.type))
            leaves, known, found = tree.leaves(x), key in self._known, self._known.get(key)
        except TypeError as error:
            self._give_up(_line(error))
            return self.function(x)
        if isinstance(found, _Recording) and not found.fits():
            self._moves += 1
            if self._moves > LIMIT:
                self._give_up("tensors that it works on keep moving")
                return self.function(x)
            known, found = True, None
        if not known:
            if len(self._known) >= LIMIT:
                return self.function(x)
            self._known[key] = None
            return self._aside(tree.map(Tensor.clone, x))[0]
        if found is None:
            return self._watched(tree.map(Tensor.clone, x), key)
        if isinstance(found, Watch):
            try:
                found = self._known[key] = self._record(x, leaves, found)
            except Exception as error:
                self._give_up(f"recording failed: {_line(error)}")
                return self.function(x)
        with torch.no_grad():
            torch._foreach_copy_(found.inputs, leaves)
            found.replay()
            copies: Y = tree.map(Tensor.clone, found.outputs)
        return copies

    def _aside(self, x: X) -> tuple[Y, bool]:
        with _alone():
            found, waited = self.recorder.aside(lambda: self.function(x))
        # Memory of the side stream is not handed on.
        return tree.map(Tensor.clone, found), waited

    def _watched(self, x: X, key: Hashable) -> Y:
        leaves = tree.leaves(x)
        watch = Watch(leaves, self.device)
        with uncompiled(), watch:
            found, waited = self._aside(x)
        reason = watch.reason
        if reason is None and waited:
            reason = "it waits for the device"
        if reason is None and any(leaf.requires_grad for leaf in [*leaves, *tree.leaves(found)]):
            reason = "a gradient flows through it"
        self._known[key] = watch
        if reason is not None:
            self._give_up(reason)
        return found

    def _give_up(self, reason: str) -> None:
        self.reason = reason
        self._known.clear()

    def _record(self, x: X, leaves: Sequence[Tensor], watch: Watch) -> _Recording:
        inputs = [leaf.clone() for leaf in leaves]
        each = iter(inputs)
        static = tree.map(lambda _: next(each), x)
        with _alone():
            replay, outputs = self.recorder.record(lambda: self.function(static))
        return _Recording(inputs, replay, outputs, [(x, x.data_ptr()) for x in watch.found.values()])


class _State:
    """Whether functions run eagerly now: asked for, or inside of one that is being recorded as a whole."""

    off = False


@contextmanager
def disabled() -> Iterator[None]:
    """Inside of it every captured function runs eagerly."""
    before, _State.off = _State.off, True
    try:
        yield
    finally:
        _State.off = before


_alone = disabled  # a function inside of another is a part of the recording of that


def _kind(x: Any) -> Hashable:
    """What a recording holds for: structure, shapes, types, and all that is no tensor."""
    if isinstance(x, Tensor):
        return x.shape, x.dtype, x.device, x.requires_grad
    if isinstance(x, dict):
        return tuple((key, _kind(value)) for key, value in x.items())
    if isinstance(x, (tuple, list)):
        return type(x), tuple(_kind(value) for value in x)
    if is_dataclass(x):
        return type(x), tuple(_kind(getattr(x, field.name)) for field in fields(x))
    hash(x)
    found: Hashable = x
    return found


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def paths(thing: Any) -> dict[str, str]:
    """Which path the captured and compiled functions of an object's attributes took, by attribute."""
    found: dict[str, str] = {}
    for name, value in vars(thing).items():
        own = [x.path for x in getattr(value, "__dict__", {}).values() if isinstance(x, (Captured, Compiled))]
        if own:
            found[name] = ", ".join(own)
    return found
