"""How small a student may be: `imitate.compress` on CartPole-v1, taught by PPO.

The teacher is PPO with the settings of the environment. Students of five sizes are distilled from it; each is also
evaluated with weights of eight bits; the largest is pruned and distilled again; PPO learns from scratch at each size.
The source seed is none that settings were chosen with.

    OMP_NUM_THREADS=1 python -m benchmarks.compress

The report goes to benchmarks/results/compress.json, its picture to docs/compress.png. Microseconds are medians, on
whatever machine it was; compare them within one report.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

import imitate
from imitate.compress import compress
from imitate.configs import config_for


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        env: Environment id.
        members: Seeds of each row.
        seed: Of all sources.
        episodes: Of each member in the evaluation.
        folder: Where the students go; a temporary folder by default. One that holds some of them is gone on with.
        out: Where to write the report.
        picture: Where to draw it.
    """

    env: str = "CartPole-v1"
    members: int = 8
    seed: int = 100
    episodes: int = 100
    folder: Path | None = None
    out: Path = Path("benchmarks/results/compress.json")
    picture: Path = Path("docs/compress.png")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        source = imitate.make(options.env, num_envs=16, members=options.members, seed=options.seed)
        ppo = imitate.PPO(source, config_for(imitate.PPOConfig, "ppo", options.env))
        for _ in imitate.run(ppo, report_every=10_000, checkpoint=folder / "teacher", resume=True):
            pass
        found = compress(
            ppo.policy,
            options.env,
            seed=options.seed + 1,
            members=options.members,
            episodes=options.episodes,
            out=folder / "compress",
            resume=True,
            say=lambda line: print(line, flush=True),
        )
        Console(width=160).print(found.table())
        shutil.copy(folder / "compress" / "report.json", options.out)
        shutil.copy(folder / "compress" / "report.png", options.picture)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
