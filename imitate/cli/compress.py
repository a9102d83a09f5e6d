"""The command `imitate compress`: how small a student may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import OUT, Device, env_of, must_exist, say, teacher_for
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, folder, run_before
from imitate.compress import CompressConfig, compress, default_config
from imitate.core.config import Count
from imitate.sources import make

__all__ = ["Compress", "command"]


@dataclass(frozen=True)
class Compress:
    """Distil a teacher into students of many sizes, and compare what they cost and how they act.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        env: Environment id; by default the teacher's.
        members: Independent copies trained together: seeds, for intervals.
        seed: Of everything.
        device: Where it all runs.
        num_envs: Environments of each member.
        episodes: Of each member in the evaluation.
        out: Folder for the students, report.json and report.png.
        resume: Go on in that folder, with the options in its run.json: what is trained is kept.
        config: What is made.
    """

    teacher: Annotated[Positional[str], arg(metavar="RUN")]
    vec_normalize: Path | None = None
    env: str | None = None
    members: Count = 8
    seed: int = 0
    device: Device = "auto"
    num_envs: Count | None = None
    episodes: Count = 100
    out: Path | None = None
    resume: bool = False
    config: CompressConfig = field(default_factory=CompressConfig)

    def __call__(self) -> None:
        """Compress."""
        must_exist("teacher", self.teacher)
        if self.env is None:
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        out = self.out or folder("compress", self.env)
        source = make(self.env, num_envs=1, members=self.members, seed=self.seed, device=self.device)
        found = compress(
            teacher_for(self.teacher, source, self.vec_normalize),
            self.env,
            self.config,
            seed=self.seed,
            members=self.members,
            num_envs=self.num_envs,
            episodes=self.episodes,
            device=self.device,
            out=out,
            resume=self.resume,
            say=say,
        )
        OUT.print(found.table(wide=OUT.width >= 150))
        say(f"wrote {out / 'report.json'} and {out / 'report.png'}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = next(filter(None, [option(arguments, "--env"), *map(env_of, arguments)]), None)
    default = Compress(tyro.MISSING, env=env, config=default_config(env or ""))
    return flat(Compress), as_before(default, run_before(arguments, "compress", env))
