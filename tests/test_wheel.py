"""The package as a user gets it: built, installed, and run from a project with modules of common names."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*(ROOT / "imitate").rglob("*.py"), *(ROOT / "envs" / "imitate_envs").rglob("*.py")]
# What a user's project may be called; those of this repository are not for import by the package.
THEIRS = ("envs", "tests", "benchmarks", "common", "utils")
SNIPPET = """
import imitate

source = imitate.make("CartPole-v1", num_envs=4, members=2)
ppo = imitate.PPO(source, imitate.PPOConfig(steps=256, rollout=16, epochs=1, batch_size=32))
for report in imitate.run(ppo):
    pass
evaluation = imitate.evaluate(ppo.policy, "CartPole-v1", episodes=2)
assert evaluation.returns.shape == (2, 2)
"""


def roots(source):
    """First names of the modules that a source imports absolutely."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_nothing_is_imported_by_a_name_that_a_project_may_have():
    assert len(SOURCES) > 100
    assert set(roots("import envs.base\nfrom tests import a\nfrom .utils import b")) == {"envs", "tests"}
    for path in SOURCES:
        assert not set(roots(path.read_text("utf-8"))) & set(THEIRS), path


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package in it, from a wheel of the working tree."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling builds the wheel; it is in the extra 'test'")
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("imitate_suite-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    assert {path.name for path in target.iterdir() if path.suffix != ".dist-info"} <= {"imitate", "imitate_envs", "bin"}
    return target


@pytest.fixture
def project(tmp_path):
    """A folder in which whatever has a common name fails on import."""
    for name in THEIRS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise AssertionError('{name} of the project was imported')")
    for name in ("common", "utils"):  # a module beside a package of one name would never be found
        (tmp_path / name / "__init__.py").unlink()
        (tmp_path / name).rmdir()
        (tmp_path / f"{name}.py").write_text(f"raise AssertionError('{name} of the project was imported')")
    return tmp_path


def isolated(code, project, installed):
    """Run code with the project first on the path, the installed package second, and no path of this repository."""
    prologue = f"""
import sys

sys.path = [path for path in sys.path if not path.startswith({str(ROOT)!r}) or "site-packages" in path]
sys.path[:0] = [{str(project)!r}, {str(installed)!r}]
"""
    epilogue = f"""
import imitate, imitate_envs

assert imitate.__file__.startswith({str(installed)!r}) and imitate_envs.__file__.startswith({str(installed)!r})
assert not {set(THEIRS)} & sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", prologue + code + epilogue],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(*arguments):
    return f"from imitate.cli.main import main\nassert main({list(arguments)!r}) == 0\n"


@pytest.mark.slow
def test_the_wheel_lists(project, installed):
    assert "CartPole-v1" in isolated(command("list"), project, installed)


@pytest.mark.slow
def test_the_wheel_is_a_library(project, installed):
    isolated(SNIPPET, project, installed)


@pytest.mark.slow
def test_the_wheel_has_the_demo(project, installed):
    """Its smallest form: two members, two episodes of each."""
    out = isolated(command("demo", "--members", "2", "--episodes", "2", "--device", "cpu"), project, installed)
    assert "wrote runs/demo/report.json" in out
    assert (project / "runs" / "demo" / "report.png").exists()
