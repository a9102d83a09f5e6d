"""One call of a function, watched operation by operation: what it takes from elsewhere, and what it may not do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Watch", "memory", "tensors", "written_by"]


class Watch(TorchDispatchMode):
    """Looks at every operation of a call: which tensors come from elsewhere, and what forbids a recording."""

    def __init__(self, inputs: Sequence[Tensor], device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.reason: str | None = None
        self.found: dict[int, Tensor] = {}  # what comes from elsewhere, by identity
        self._inputs = {memory(x) for x in inputs}
        self._made: set[int] = set()  # memory
        self._results: set[int] = set()  # identities

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what is compiled runs eagerly under watch, and importing the compiler takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors([args, list(kwargs.values())]))
        theirs = {memory(x) for x in given} - self._made
        for x in given:
            if memory(x) in theirs - self._inputs and id(x) not in self._results:
                self.found[id(x)] = x
        result = func(*args, **kwargs)
        returned = list(tensors([result]))
        if self.reason is None:
            self.reason = self._objection(func, given, returned, written_by(func, args, kwargs))
        self._made |= {memory(x) for x in returned} - theirs
        self._results |= {id(x) for x in returned}
        return result

    def _objection(
        self, func: Any, given: Sequence[Tensor], returned: Sequence[Tensor], written: Sequence[Tensor]
    ) -> str | None:
        for x in [*given, *returned]:
            if x.device.type != self.device.type:
                return f"a tensor on the {x.device.type} ({func})"
        if any(memory(x) in self._inputs for x in written):
            return f"it writes to its input ({func})"
        if torch.Tag.nondeterministic_seeded in func.tags:
            return f"it draws random numbers ({func})"
        if torch.Tag.data_dependent_output in func.tags:
            return f"it waits for a result ({func})"
        # Of an index by numbers the shape is known; only one by a mask depends on the data.
        if torch.Tag.dynamic_output_shape in func.tags and (
            func is not torch.ops.aten.index.Tensor or any(x.dtype in (torch.bool, torch.uint8) for x in given[1:])
        ):
            return f"shapes depend on the data ({func})"
        if func is torch.ops.aten.lift_fresh.default:
            return "it makes a tensor of Python numbers at every call"
        return None


def written_by(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation changes in place."""
    schema = func._schema.arguments
    changed = {argument.name for argument in schema if argument.alias_info is not None and argument.alias_info.is_write}
    named = {argument.name: value for argument, value in zip(schema, args, strict=False)} | kwargs
    return list(tensors([value for name, value in named.items() if name in changed]))


def tensors(things: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results of an operation."""
    for thing in things:
        if isinstance(thing, Tensor):
            yield thing
        elif isinstance(thing, (tuple, list)):
            yield from tensors(thing)


def memory(x: Tensor) -> int:
    """The memory of a tensor, as a number; views share it."""
    return int(x.untyped_storage()._cdata)
