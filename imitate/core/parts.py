"""What modules are made of, compared with what they were: for whoever relies on it without calling them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import is_

from torch import nn
from torch.nn.modules.module import _has_any_global_hook

__all__ = ["Parts", "touched"]


class Parts:
    """The modules inside of some modules, and their parameters, as they are now.

    Both questions are asked at every step, so loops run in C: a few microseconds for a network of three layers.

    Args:
        modules: The outermost ones.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        found = list(dict.fromkeys(part for module in modules for part in module.modules()))
        self._registers = [register for part in found for register in (part._parameters, part._modules)]
        held = [(register, *item) for register in self._registers for item in register.items()]
        self._owners, self._names, self._parts = ([each[i] for each in held] for i in range(3))
        # Containers are not called, whatever is hooked to them.
        self._called = [part for part in found if type(part).forward is not nn.Module.forward]
        self._types = list(map(type, self._called))
        self._hooks = [hooks for part in self._called for hooks in _hooks(part)]

    def unchanged(self) -> bool:
        """Whether no module and no parameter was replaced, added or removed."""
        same = all(map(is_, map(dict.get, self._owners, self._names), self._parts))
        return same and sum(map(len, self._registers)) == len(self._parts)

    def untouched(self) -> bool:
        """Whether, besides, calling them does what their classes say: no hook, no `forward` set on one.

        A parametrisation gives a module another class.
        """
        return (
            self.unchanged()
            and list(map(type, self._called)) == self._types
            and not (any(self._hooks) or _has_any_global_hook())
            and not any(["forward" in part.__dict__ for part in self._called])  # noqa: C419 - faster than one by one
        )


def touched(thing: object) -> bool:
    """Whether a module in a policy, or in what that is made of, has a hook, a parametrisation or its own `forward`.

    What was recorded or compiled does not ask for them, and never calls a hook.
    """
    return _has_any_global_hook() or any(
        any(_hooks(module)) or "forward" in vars(module) or "parametrizations" in module._modules
        for module in _modules_in(thing)
    )


def _hooks(module: nn.Module) -> tuple[Mapping[int, object], ...]:
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks


def _modules_in(thing: object) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield from thing.modules()
    elif isinstance(thing, (list, tuple)):
        for each in thing:
            yield from _modules_in(each)
    elif hasattr(thing, "act"):
        for each in vars(thing).values():
            yield from _modules_in(each)
