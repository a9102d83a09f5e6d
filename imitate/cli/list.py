"""The command `imitate list`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from imitate.cli.common import OUT
from imitate.configs import available

__all__ = ["List", "command"]


@dataclass(frozen=True)
class List:
    """List algorithms, environments and teachers."""

    def __call__(self) -> None:
        """Print what there is."""
        from imitate.losses.distillation import LOSSES
        from imitate.registry import BASELINES, REDUCTIONS
        from imitate_envs import ENVS

        table = Table(show_header=False, box=None)
        table.add_row("baselines", ", ".join(BASELINES), "imitate train NAME --env ID")
        students = "airl, clone, dagger, dart, distill, gail, generations, jumpstart, qdagger, viper"
        table.add_row("students", students, "imitate NAME --teacher RUN")
        table.add_row("students behind a gate", "safe, lazy, ensemble, thrifty, hg", "imitate gated NAME --teacher RUN")
        table.add_row("reductions", ", ".join(REDUCTIONS), "imitate reduce NAME --teacher RUN")
        table.add_row("from a policy on", "finetune", "imitate finetune RUN --env ID")
        table.add_row("data sets", "condense", "imitate condense --env ID, or --teacher RUN")
        table.add_row("of several tasks", "tasks", "imitate tasks --teachers RUN RUN")
        table.add_row("of each other", "together", "imitate together --env ID")
        table.add_row("inverse RL", "mce-irl, maxent-irl, apprenticeship, max-margin", "imitate inverse NAME")
        table.add_row("smaller", "students of many sizes, int8, pruning", "imitate compress RUN --sizes 4 8 16")
        table.add_row("environments", ", ".join(ENVS), "ours; any other Gymnasium id works too")
        table.add_row("tuned settings", ", ".join(available()), "used by default")
        table.add_row("teachers", "a run, an SB3 .zip, control, plan", "--teacher")
        table.add_row(
            "formats", "c, c-int8, onnx, python, text, png", "imitate export RUN --format; the last three for trees"
        )
        table.add_row("losses", ", ".join(LOSSES), "imitate distill --loss")
        OUT.print(table)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return List, List()
