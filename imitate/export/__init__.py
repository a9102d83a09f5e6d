"""Policies as code: trees as text, pictures, Python and C, networks as C and ONNX; and how long those take."""

from imitate.export.code import c_header, python_module
from imitate.export.onnx import onnx_model
from imitate.export.picture import draw_tree
from imitate.export.timing import Latency, compiled, latency
from imitate.export.trees import tree_text

__all__ = [
    "Latency",
    "c_header",
    "compiled",
    "draw_tree",
    "latency",
    "onnx_model",
    "python_module",
    "tree_text",
]
