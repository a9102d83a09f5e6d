"""Functions over trees of tensors: a tensor, None, or a dataclass, tuple, list or dict of trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

__all__ = ["as_dicts", "flatten", "leaves", "map", "of_dicts", "stack", "unbind", "unflatten", "where"]

Tree = Any
T = TypeVar("T")


def map(function: Callable[..., Any], tree: T, *rest: Tree) -> T:  # noqa: A001 - always written tree.map
    """Apply `function` leaf by leaf to trees of one structure.

    Fields of a dataclass that hold neither tensors nor trees (numbers, spaces) are kept from the first tree.

    Raises:
        TypeError: A leaf is neither a tensor nor None.
    """
    if isinstance(tree, Tensor):
        return cast(T, function(tree, *rest))
    if tree is None:
        return tree
    if isinstance(tree, dict):
        return cast(T, {key: map(function, value, *(r[key] for r in rest)) for key, value in tree.items()})
    if isinstance(tree, (tuple, list)):
        mapped = [map(function, value, *(r[i] for r in rest)) for i, value in enumerate(tree)]
        return cast(T, type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped))
    if is_dataclass(tree):
        changed = {
            field.name: map(function, value, *(getattr(r, field.name) for r in rest))
            if _is_tree(value := getattr(tree, field.name))
            else value
            for field in fields(tree)
        }
        rebuild: Callable[..., Any] = type(tree)
        return cast(T, rebuild(**changed))
    raise TypeError(f"A tree holds tensors, None, dataclasses, tuples, lists and dicts; found {type(tree).__name__}.")


def _is_tree(value: Any) -> bool:
    return value is None or isinstance(value, (Tensor, dict, tuple, list)) or is_dataclass(value)


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors of a tree, in order."""
    found: list[Tensor] = []

    def keep(leaf: Tensor) -> Tensor:
        found.append(leaf)
        return leaf

    map(keep, tree)
    return found


def stack(trees: Sequence[T], dim: int = 0) -> T:
    """Stack trees of one structure along a new dimension."""
    return map(lambda *tensors: torch.stack(tensors, dim), trees[0], *trees[1:])


def unbind(tree: T) -> list[T]:
    """The inverse of `stack`: one tree for each entry of the leaves' first dimension.

    Raises:
        ValueError: The tree has no tensors.
    """
    if isinstance(tree, Tensor):
        return cast("list[T]", list(tree.unbind(0)))
    columns = [leaf.unbind(0) for leaf in leaves(tree)]
    if not columns:
        raise ValueError("A tree without tensors has no first dimension.")

    def refill(row: tuple[Tensor, ...]) -> T:
        each = iter(row)
        return map(lambda _: next(each), tree)

    return [refill(row) for row in zip(*columns, strict=True)]


def where(mask: Tensor, new: T, old: T) -> T:
    """Choose between two trees; `mask` [...] covers the leading dimensions of every leaf [..., *]."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(mask.reshape(mask.shape + (1,) * (a.dim() - mask.dim())), a, b)

    return map(choose, new, old)


def flatten(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested dicts, yielding ("a.b.c", leaf) for each leaf that is not a dict."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def unflatten(items: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`.

    Raises:
        ValueError: A name is both a leaf and the beginning of another.
    """
    tree: dict[str, Any] = {}
    for path, value in items.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path}: {parent} is a leaf")
        if last in node:
            raise ValueError(f"{path} is a leaf and has parts")
        node[last] = value
    return tree


def as_dicts(tree: Tree) -> Tree:
    """A tree of dicts and tuples as one of dicts alone, as a file holds it: a tuple's keys are (0), (1), …."""
    if isinstance(tree, tuple):
        return {f"({i})": as_dicts(value) for i, value in enumerate(tree)}
    if isinstance(tree, dict):
        return {key: as_dicts(value) for key, value in tree.items()}
    return tree


def of_dicts(tree: Tree) -> Tree:
    """The inverse of `as_dicts`."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(key == f"({i})" for i, key in enumerate(sorted(tree, key=lambda key: (len(key), key)))):
        return tuple(of_dicts(tree[f"({i})"]) for i in range(len(tree)))
    return {key: of_dicts(value) for key, value in tree.items()}
