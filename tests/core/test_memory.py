import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from imitate.core.memory import keep_freed

torch.set_num_threads(1)

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(1_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before = faults()
assert keep_freed()
faults()  # the first block is new in any case
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_not_faulted_in_again():
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, found.stdout.split())
    assert before > 1000
    assert after < before / 10
