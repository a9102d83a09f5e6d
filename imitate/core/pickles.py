"""Pickles read as data: nothing in them is imported, called, hashed or compared, and nothing recurses.

`pickle.Unpickler` trusts its input even where classes are forbidden: eight bytes make it take gigabytes for its memo,
a nested tuple as a key ends the interpreter, a tuple that holds itself twice over and over is never hashed to the end.
Here every opcode takes as much as its argument in the file, so a reader is bounded by the length of the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from imitate.core.reading import line

__all__ = ["Made", "Named", "Persistent", "load"]

T = TypeVar("T")

_OPCODES = 50_000  # a model or a normaliser has some hundreds
# Opcodes whose argument is what they put.
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


@dataclass(eq=False, repr=False)
class Named:
    """A class or a function, by its full name."""

    name: str


@dataclass(eq=False, repr=False)
class Persistent:
    """What lies outside of the pickle, by its key."""

    key: Any


@dataclass(eq=False, repr=False)
class Made:
    """An object that was not made: of what, from what, and what was put into it.

    Args:
        kind: Full name of its class or function; "dict" of a plain dict.
        args: What it would have been called with.
        state: What it would have been given afterwards.
        items: Pairs of a dict, in order; a key may come twice.
    """

    kind: str
    args: Any = ()
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        """The last value under a key that is text."""
        for found, value in reversed(self.items):
            if type(found) is str and found == key:
                return value
        raise KeyError(key)


def load(content: bytes, allowed: Callable[[str], bool]) -> Any:
    """The object of a pickle: numbers, text, bytes, tuples and lists as they are, sets as lists, the rest as `Made`.

    Args:
        content: The pickle.
        allowed: Whether it may speak of a class or a function, by its full name.

    Raises:
        ValueError: It is no pickle, is very long, or speaks of what is not allowed.
        IndexError: It takes what it has not put.
    """
    machine = _Machine(allowed)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if count == _OPCODES:
            raise ValueError(f"it has more than {_OPCODES:,} opcodes")
        machine.step(opcode.name, argument)
    return machine.pop()


class _Machine:
    """The stack machine of a pickle, over values that do nothing."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """One opcode, by the name that `pickletools` gives it."""
        put, pop, above = self.stack.append, self.pop, self.above
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                put({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_TUPLE":
                put(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                put(tuple(self.top(int(opcode[-1]))))
            case "TUPLE":
                put(tuple(above()))
            case "EMPTY_LIST" | "EMPTY_SET":
                put([])
            case "LIST" | "FROZENSET":
                put(above())
            case "EMPTY_DICT":
                put(Made("dict"))
            case "DICT":
                put(Made("dict", items=_pairs(above())))
            case "APPEND":
                self.extend(self.top(1))
            case "APPENDS" | "ADDITEMS":
                self.extend(above())
            case "SETITEM":
                self.update(self.top(2))
            case "SETITEMS":
                self.update(above())
            case "MARK":
                self.marks.append(len(self.stack))
            case "POP":
                pop()
            case "POP_MARK":
                above()
            case "DUP":
                put(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.remember(len(self.memo) if argument is None else argument)
            case "GET" | "BINGET" | "LONG_BINGET":
                put(self.memo[argument])
            case "GLOBAL":
                put(self.named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                put(self.named(*self.top(2)))
            case "REDUCE" | "NEWOBJ":
                put(_made(*self.top(2)))
            case "NEWOBJ_EX":
                put(_made(*self.top(3)[:2]))
            case "INST":
                put(_made(self.named(*argument.split(" ", 1)), tuple(above())))
            case "OBJ":
                kind, *args = above()
                put(_made(kind, tuple(args)))
            case "BUILD":
                state = pop()
                self.last(Made).state = state
            case "PERSID":
                put(Persistent(argument))
            case "BINPERSID":
                put(Persistent(pop()))
            case _ if opcode in _VALUES:
                put(argument)
            case _:
                raise ValueError(f"it has the opcode {opcode}, which such a file has no need of")

    def top(self, count: int) -> list[Any]:
        """Take the last values of the stack, in their order."""
        if len(self.stack) < count:
            raise ValueError("it takes what it has not put")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop(self) -> Any:
        """Take the last value of the stack."""
        return self.top(1)[0]

    def above(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("it has no mark")
        height = self.marks.pop()
        taken = self.stack[height:]
        del self.stack[height:]
        return taken

    def last(self, kind: type[T]) -> T:
        """The last value of the stack, which stays."""
        found = self.stack[-1] if self.stack else None
        if not isinstance(found, kind):
            raise ValueError(f"it puts something into a {type(found).__name__}")
        return found

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        self.last(list).extend(values)

    def update(self, values: list[Any]) -> None:
        """Put pairs into the dict on the stack."""
        self.last(Made).items += _pairs(values)

    def remember(self, index: int) -> None:
        """Keep the last value under a number."""
        if not 0 <= index <= _OPCODES:  # a pickler counts from 0
            raise ValueError(f"its memo reaches to {line(index)}")
        self.memo[index] = self.last(object)

    def named(self, module: Any, name: Any) -> Named:
        """A class or a function that it may speak of."""
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name in it is no text")
        if not self.allowed(f"{module}.{name}"):
            raise ValueError(f"it asks for {line(f'{module}.{name}')}, which such a file has no need of")
        return Named(f"{module}.{name}")


def _made(kind: Any, args: Any) -> Made:
    if not isinstance(kind, Named):
        raise ValueError(f"it calls a {type(kind).__name__}")
    return Made(kind.name, args)


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))
