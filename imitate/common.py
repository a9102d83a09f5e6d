"""What the commands share: their common options, the run folder, and whom a name on the command line means."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from imitate import teachers
from imitate.core import tree
from imitate.core.capture import paths
from imitate.core.noise import Stream
from imitate.core.types import Algorithm, Source
from imitate.distributions.actions import Teacher
from imitate.experiment.run import run
from imitate.make import make
from imitate.nets.policy_network import Architecture, NetworkPolicy

__all__ = ["OUT", "Common", "Device", "env_of", "fresh", "members_of", "must_exist", "options_of", "teacher_for"]

Device = Literal["auto", "cpu", "cuda"]
# A file or a pipe has no width to keep to.
OUT = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)


@dataclass(frozen=True)
class Common:
    """Options of every command that trains.

    Args:
        env: Environment id; by default the teacher's.
        members: Independent copies trained together: seeds, for intervals.
        seed: Of everything.
        device: Where it all runs.
        num_envs: Environments of each member.
        compile: Run rollouts through torch.compile, which takes some ten seconds: for long runs.
        out: Folder for the policy, the checkpoint, progress.csv and TensorBoard events.
        resume: Go on from the checkpoint in that folder.
        evaluate_every: Steps between evaluations; a tenth of the run by default.
        episodes: Of each member in an evaluation.
    """

    env: str | None = None
    members: int = 8
    seed: int = 0
    device: Device = "auto"
    num_envs: int | None = None
    compile: bool = False
    out: Path | None = None
    resume: bool = False
    evaluate_every: int | None = None
    episodes: int = 20

    def source(self, env: str, num_envs: int) -> Source:
        """Where the command acts."""
        return make(
            env,
            num_envs=self.num_envs or num_envs,
            members=self.members,
            seed=self.seed,
            device=self.device,
            compile=self.compile,
        )

    def known_env(self, teacher: str | None = None) -> str:
        """The id, or one line about its lack."""
        if self.env is None:
            must_exist("teacher", teacher)
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        return self.env

    def run(self, algorithm: Algorithm, name: str, options: Mapping[str, Any], teacher: Teacher | None = None) -> None:
        """Run an algorithm to its end and say where the results are."""
        out = self.out or Path("runs") / f"{name}-{algorithm.source.id.replace('/', '-')}"
        checkpoint = out / "checkpoint.json"
        if checkpoint.exists() and not self.resume:
            raise ValueError(f"out: '{out}' holds a run already; pass --resume to go on with it, or another --out.")
        _remember(
            out,
            {
                "command": name,
                "env": algorithm.source.id,
                "members": self.members,
                "seed": self.seed,
                **options,
            },
        )
        for note in getattr(algorithm, "notes", ()):
            OUT.print(f"{name}: {note}", markup=False, soft_wrap=True)
        every = max(1, algorithm.budget // 10) if self.evaluate_every is None else self.evaluate_every
        last = None
        for report in run(
            algorithm,
            evaluate_every=every,
            episodes=self.episodes,
            teacher=teacher,
            checkpoint=out,
            resume=self.resume,
            progress=True,
        ):
            last = report
        for part, path in paths(algorithm).items():  # on a GPU, or compiled
            OUT.print(f"{name}: {part}: {path}", markup=False, soft_wrap=True)
        if last is not None and last.evaluation is not None:
            OUT.print(f"{name}: {last.evaluation}", markup=False, soft_wrap=True)
        elif last is None:
            OUT.print(f"{name}: nothing left to do; the run in '{out}' is finished.", markup=False, soft_wrap=True)
        if not algorithm.finished:
            OUT.print(f"stopped at step {int(algorithm.steps):,}; go on with --resume.", markup=False)
        OUT.print(f"policy, checkpoint and logs are in {out}", markup=False, soft_wrap=True)


def fresh(source: Source, architecture: Architecture) -> NetworkPolicy:
    """A new student."""
    init = Stream(source.seed, "init", source.device)
    return NetworkPolicy(source.observation, source.action, source.members, architecture, init, env=source.id)


def teacher_for(name: str, source: Source, vec_normalize: Path | None) -> Teacher:
    """The teacher that a name on the command line means."""
    law = name.startswith(("control", "plan")) and not Path(name).exists()
    loaded = teachers.load(name if law else Path(name), source, vec_normalize=vec_normalize, device=source.device)
    members = getattr(loaded, "members", 1)
    if members not in (1, source.members):
        raise ValueError(f"members: '{name}' has {members}, this run {source.members}; pass --members {members}.")
    return loaded


def must_exist(what: str, name: str | None) -> None:
    """A name that is mistyped is what is wrong, rather than that no environment can be read from it."""
    if name is not None and not name.startswith(("control", "plan")) and not Path(name).exists():
        raise ValueError(f"{what}: there is no file or directory '{name}'.")


def env_of(name: str | None) -> str | None:
    """The environment that a policy of ours was made for, if its folder says so."""
    value = _description(name).get("env")
    return value if isinstance(value, str) else None


def members_of(name: str | None) -> int | None:
    """Members of a policy of ours, if its folder says so."""
    value = _description(name).get("members")
    return value if isinstance(value, int) else None


def _description(name: str | None) -> dict[str, Any]:
    path = Path(name) / "policy.json" if name is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError:
        return {}  # whoever loads the policy says what is wrong with it
    return document if isinstance(document, dict) else {}


def options_of(command: Any) -> dict[str, Any]:
    """What shapes the run, for run.json: all but the common options."""
    options = {key: value for key, value in asdict(command).items() if key != "common"}
    beta = getattr(getattr(command, "config", None), "beta", None)
    if beta is not None:
        options["config"]["beta"] = {"kind": type(beta).__name__, **asdict(beta)}
    return {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}


def _remember(out: Path, options: dict[str, Any]) -> None:
    """Write run.json; a run that is resumed must have the same options.

    Raises:
        ValueError: The folder holds a run with other options.
    """
    path = out / "run.json"
    document = json.loads(json.dumps(options))  # tuples become lists, as they will be when read back
    if (out / "checkpoint.json").exists() and path.exists():
        before, now = (dict(tree.flatten(d)) for d in (json.loads(path.read_text("utf-8")), document))
        different = [f"{key} {before.get(key)}, now {now[key]}" for key in now if now[key] != before.get(key)]
        if different:
            raise ValueError(f"resume: '{out}' was made with other options: {'; '.join(different)}.")
        return
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
