"""A function by `torch.compile`, or itself where that fails."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import torch

__all__ = ["Compiled", "uncompiled"]

Y = TypeVar("Y")


# Compilations of one function by all that use it in a process. Beyond its own limit, 8, torch runs eagerly, and says so
# in its log alone.
LIMIT = 256


class Compiled(Generic[Y]):
    """A pure function by `torch.compile`, or itself where that fails; compiling takes seconds for each kind of inputs.

    Its results are within rounding of those of the function, for fused operations round less often.
    """

    def __init__(self, function: Callable[..., Y]) -> None:
        from torch._dynamo import config, exc  # here, for they take seconds to import

        config.recompile_limit = max(config.recompile_limit, LIMIT)
        self.function = function
        self.reason: str | None = None
        self._compiled: Callable[..., Y] = torch.compile(function, dynamic=False)
        self._error: type[Exception] = exc.TorchDynamoException
        self._called = False

    @property
    def path(self) -> str:
        """Which path the function takes, in words."""
        return "torch.compile" if self.reason is None else f"eager: {self.reason}"

    def __call__(self, *args: Any) -> Y:
        """Run what was compiled."""
        if self.reason is not None:
            return self.function(*args)
        try:
            if self._called:
                return self._compiled(*args)
            self._called = True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler, about itself
                return self._compiled(*args)
        except self._error as error:
            self.reason = f"torch.compile failed: {next(iter(str(error).strip().splitlines()), type(error).__name__)}"
            return self.function(*args)


def uncompiled() -> AbstractContextManager[Any]:
    """What is compiled runs eagerly inside of it, so that its operations are seen."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
