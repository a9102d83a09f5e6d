"""A file imports only from its own layer or below; and no file executes what it reads."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Low to high.
LAYERS = [
    ["imitate_envs"],
    ["imitate.core"],
    ["imitate.distributions"],
    ["imitate.losses", "imitate.nets"],
    ["imitate.policies", "imitate.sources"],
    ["imitate.teachers", "imitate.data"],
    ["imitate.conditioning"],
    ["imitate.experiment", "imitate.export", "imitate.fitting", "imitate.inverse"],
    ["imitate.rewards"],
    ["imitate.students", "imitate.baselines"],
    ["imitate.registry", "imitate.configs", "imitate.demo", "imitate.compress"],
    ["imitate"],
    ["imitate.cli", "imitate.__main__"],
]


def layer(module):
    """Number of the layer of a module of ours, None for any other module."""
    if module.split(".")[0] not in ("imitate_envs", "imitate"):
        return None
    while module:
        for number, names in enumerate(LAYERS):
            if module in names:
                return number
        module = module.rpartition(".")[0]
    return None


def module_of(path):
    base = ROOT / "envs" if path.is_relative_to(ROOT / "envs") else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name):
    paths = [base / Path(*name.split(".")) for base in (ROOT, ROOT / "envs")]
    return any(path.with_suffix(".py").is_file() or path.is_dir() for path in paths)


def imports(source, package):
    """Every module of ours that a source imports, wherever in it, as (line, name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            # `from imitate import nets` imports the module imitate.nets, `from imitate import PPO` the package
            found = [f"{base}.{a.name}" if is_module(f"{base}.{a.name}") else base for a in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            found = [node.args[0].value] if node.args and isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        yield from ((node.lineno, name) for name in found if layer(name) is not None)


def upward(source, module, package):
    own = layer(module)
    return [f"{module}:{line} imports {name}" for line, name in imports(source, package) if layer(name) > own]


SOURCES = sorted([*(ROOT / "imitate").rglob("*.py"), *(ROOT / "envs" / "imitate_envs").rglob("*.py")])


def test_every_module_has_a_layer():
    homeless = [module_of(p) for p in SOURCES if module_of(p) != "imitate" and layer(module_of(p)) == layer("imitate")]
    assert not homeless, f"add to LAYERS: {homeless}"
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_file_imports_from_above(path):
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    assert not upward(path.read_text("utf-8"), module, package)


@pytest.mark.parametrize(
    "source",
    [
        "import imitate.students.dagger",
        "import imitate.students as s",
        "from imitate.students import DAgger",
        "from imitate import students",
        "import imitate",
        "from imitate import DAgger",
        "from ..students.dagger import DAgger",
        "from .. import students",
        "def f():\n    from imitate.students import DAgger",
        "class A:\n    def f(self):\n        if True:\n            import imitate.students",
        "if TYPE_CHECKING:\n    from imitate.students import DAgger",
        "import importlib\nimportlib.import_module('imitate.students')",
        "x = __import__('imitate.students')",
        "import torch, imitate.students",
    ],
)
def test_an_upward_import_is_found(source):
    assert upward(source, "imitate.nets.layers", "imitate.nets")


@pytest.mark.parametrize(
    "source",
    [
        "import torch.nn",
        "from imitate.core import tree",
        "from imitate import core",
        "from . import policy_network",
        "from .policy_network import policy",
        "from imitate.losses import mse",
        "from imitate_envs.base import Box",
        "import stable_baselines3.dqn",
    ],
)
def test_a_level_or_downward_import_passes(source):
    assert not upward(source, "imitate.nets.layers", "imitate.nets")


def executes(source):
    """Lines that could run code out of a file: pickle and kin, and loaders that fall back on it."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and {a.name.split(".")[0] for a in node.names} & MODULES:
            lines.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            lines.append(node.lineno)
        if isinstance(node, ast.Call):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            name = ast.unparse(node.func)
            if (
                name in ("eval", "exec")
                or name.endswith(("torch.load", "read_pickle"))
                or (name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False")
            ):
                lines.append(node.lineno)
    return lines


MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_file_executes_what_it_reads(path):
    assert not executes(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "def f():\n    import cloudpickle",
        "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=True)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "eval('1')",
    ],
)
def test_what_executes_is_found(source):
    assert executes(source)


def test_safe_loaders_pass():
    assert not executes("np.load('x', allow_pickle=False)\njson.load(f)\nmodel.eval()")
