"""Policies as code: trees as text, pictures, Python and C, networks as C."""

from imitate.export.code import c_header, python_module
from imitate.export.picture import draw_tree
from imitate.export.trees import tree_text

__all__ = ["c_header", "draw_tree", "python_module", "tree_text"]
