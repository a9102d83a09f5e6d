"""The command `imitate export`: a policy as code, as text or as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import must_exist, say

__all__ = ["Export", "command"]


@dataclass(frozen=True)
class Export:
    """Write a policy as C, a network as ONNX, and a tree as Python, text or a picture.

    Args:
        policy: A run, a folder with a policy, or an SB3 .zip.
        format: c is a header without dependencies, c-int8 one with weights of eight bits; onnx is for networks, too;
            python, text and png are for trees.
        out: The file; by default text is printed.
        member: Which member of the population.
        name: What all names in C and Python begin with.
        features: Names of the numbers of an observation, for text and png.
        actions: Names of the actions, for text and png.
    """

    policy: Annotated[Positional[str], arg(metavar="POLICY")]
    format: Literal["c", "c-int8", "onnx", "python", "text", "png"] = "c"
    out: Path | None = None
    member: int = 0
    name: str = "policy"
    features: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Export."""
        from imitate import export, nets, teachers

        must_exist("policy", self.policy)
        policy = teachers.load(self.policy)
        if self.format == "onnx":
            if self.out is None:
                raise ValueError("out: a model of ONNX goes to a file; pass --out, as in --out policy.onnx.")
            self.out.write_bytes(export.onnx_model(policy, member=self.member))
            text = ""
        elif self.format in ("c", "c-int8"):
            text = export.c_header(policy, member=self.member, name=self.name, int8=self.format == "c-int8")
        elif self.format == "python":
            text = export.python_module(policy, member=self.member, name=self.name)
        elif not isinstance(policy, nets.TreePolicy):
            raise ValueError(f"format: only a tree is shown as {self.format}; a network is written as c.")
        elif self.format == "text":
            text = export.tree_text(policy, member=self.member, features=self.features, actions=self.actions)
        else:
            if self.out is None or self.out.suffix != ".png":
                raise ValueError("out: a picture goes to a file that ends in .png; pass --out, as in --out tree.png.")
            export.draw_tree(self.out, policy, member=self.member, features=self.features, actions=self.actions)
            text = ""
        if self.out is None:
            return say(text.rstrip("\n"))
        if text:
            self.out.write_text(text, "utf-8")
        return say(f"export: member {self.member} of '{self.policy}' is in {self.out}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return Export, Export(tyro.MISSING)
