"""Headers of C, compiled without a warning and called."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

COMPILER = shutil.which("cc")
needs_a_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler named cc")
SOURCE = """
#include "policy.h"
void choices(const float *obs, int features, int count, int *out) {
    for (int i = 0; i < count; i++) out[i] = policy_act(obs + (long)i * features);
}
"""
CONTINUOUS = """
#include "policy.h"
void actions(const float *obs, int features, int count, float *out, int width) {
    for (int i = 0; i < count; i++) policy_act(obs + (long)i * features, out + (long)i * width);
}
"""


def _library(header, source, folder):
    folder = Path(tempfile.mkdtemp(dir=folder))  # a library of one path is loaded once
    (folder / "policy.h").write_text(header, "utf-8")
    (folder / "main.c").write_text(source, "utf-8")
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([COMPILER, *strict, "main.c", "-o", "policy.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "policy.so"))


def choices(header, obs, folder):
    """What a header chooses at observations [B, F] of float32: [B]."""
    obs, out = np.ascontiguousarray(obs, np.float32), np.empty(len(obs), np.int32)
    places = [ctypes.c_void_p(array.ctypes.data) for array in (obs, out)]
    _library(header, SOURCE, folder).choices(places[0], obs.shape[1], len(obs), places[1])
    return out


def actions(header, obs, width, folder):
    """What a header does at observations [B, F] of float32: [B, A]."""
    obs, out = np.ascontiguousarray(obs, np.float32), np.empty((len(obs), width), np.float32)
    places = [ctypes.c_void_p(array.ctypes.data) for array in (obs, out)]
    _library(header, CONTINUOUS, folder).actions(places[0], obs.shape[1], len(obs), places[1], width)
    return out
