"""Teach a policy with a policy: behaviour cloning, DAgger and distillation beside RL baselines, on one batched core.

A name is imported when it is first used: `import imitate` itself takes no time. The stub `__init__.pyi` is the one
table of names, which type checkers read as it is and this file at run time (as in Scientific Python's SPEC 1).
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_HOMES = {name.name: node.module for node in _STUB.body if isinstance(node, ast.ImportFrom) for name in node.names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imitate' has no attribute '{name}'")
    home = _HOMES[name]
    value = import_module(f"imitate.{name}") if home == "imitate" else getattr(import_module(str(home)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
