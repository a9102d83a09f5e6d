"""The command `imitate demo`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imitate.cli.common import OUT, Device, say
from imitate.core.config import Count

__all__ = ["Demo", "command"]


@dataclass(frozen=True)
class Demo:
    """The main job, end to end: a PPO teacher and four students, a table and a picture.

    Args:
        env: Environment id.
        members: Independent copies trained together: seeds, for intervals.
        seed: Of everything.
        device: Where it all runs.
        episodes: Of each member in the last evaluation.
        out: Folder for the report and the policies.
    """

    env: str = "CartPole-v1"
    members: Count = 8
    seed: int = 0
    device: Device = "auto"
    episodes: Count = 100
    out: Path = Path("runs/demo")

    def __call__(self) -> None:
        """Run the demo."""
        from imitate.demo import demo

        experiment = demo(
            self.env,
            seed=self.seed,
            members=self.members,
            episodes=self.episodes,
            device=self.device,
            out=self.out,
            say=say,
        )
        OUT.print(experiment.table(wide=OUT.width >= 130))
        say(f"wrote {self.out / 'report.json'} and {self.out / 'report.png'}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return Demo, Demo()
