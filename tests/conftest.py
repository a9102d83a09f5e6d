"""What every test gets: checked shapes, one thread, a fixed seed, no window, and nothing left behind."""

import os
import random
import signal
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
os.environ["SDL_VIDEODRIVER"] = "dummy"

from jaxtyping import install_import_hook

# Shapes and dtypes in the annotations of these modules are checked on every call. The hook comes before any import.
CHECKED = ["imitate.losses", "imitate.distributions", "imitate.core.scan"]
assert not [module for module in CHECKED if module in sys.modules], "a plugin imported imitate before its hook"
install_import_hook(CHECKED, "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job: tests of Ctrl-C need it
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # one worker a core: more threads than cores only wait for each other
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _modes():
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "directory": Path.cwd(),
        "numpy errors": tuple(sorted(np.geterr().items())),
    }


@pytest.fixture(autouse=True)
def isolated():
    """The same global seed for each test, restored after it; and no mode of a library left changed."""
    modes, torch_state, numpy_state, python_state = (
        _modes(),
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002
        random.getstate(),
    )
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    yield
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)
    assert _modes() == modes, "this test left a global mode changed"


@pytest.fixture
def generator():
    """A torch generator with a fixed seed, for the numbers of a test."""
    return torch.Generator().manual_seed(20)
