"""What the commands share: common options, how a run is driven, and whom a name on the command line means.

What takes long to import is imported where it is used: a mistyped option is told before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from imitate.cli.resuming import document_of, folder
from imitate.core import reading

if TYPE_CHECKING:
    from imitate.core.types import Algorithm, Source
    from imitate.data import Demonstrations
    from imitate.distributions.actions import Teacher

__all__ = [
    "OUT",
    "Common",
    "Device",
    "demonstrations_for",
    "env_of",
    "members_of",
    "must_exist",
    "say",
    "teacher_for",
]

Device = Literal["auto", "cpu", "cuda"]
# A file or a pipe has no width to keep to.
OUT = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)


def say(line: str) -> None:
    """Print a line as it is."""
    OUT.print(line, markup=False, soft_wrap=True)


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
        resume: Go on from the checkpoint in that folder, with the options in its run.json. With more --steps the run
            is extended, and what depends on --steps, such as a falling learning rate, follows the new total.
        change: With --resume, hyper-parameters that are others from here on: --change lr=1e-4, or lr=1e-4,1e-3 for
            two members.
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
    change: tuple[str, ...] = ()
    evaluate_every: int | None = None
    episodes: int = 20

    def source(self, env: str, num_envs: int) -> Source:
        """Where the command acts."""
        from imitate.sources import make

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
        if teacher is not None:
            must_exist("teacher", teacher)
        if self.env is None:
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        return self.env

    def run(self, algorithm: Algorithm, name: str, options: Mapping[str, Any], teacher: Teacher | None = None) -> None:
        """Run an algorithm to its end and say where the results are.

        Raises:
            KeyboardInterrupt: It was interrupted; its checkpoint is written.
        """
        from imitate.core.capture import paths
        from imitate.experiment.run import load_checkpoint, run

        out = self.out or folder(name, algorithm.source.spec.id)
        begun = (out / "checkpoint.json").exists()
        if self.change and not (begun and self.resume):
            raise ValueError("change: only a run that is resumed has something to change; pass --resume and its --out.")
        if begun and not self.resume:
            raise ValueError(f"out: '{out}' holds a run already; pass --resume to go on with it, or another --out.")
        about = {
            "command": name,
            "env": algorithm.source.spec.id,
            "members": self.members,
            "seed": self.seed,
            "num_envs": algorithm.source.spec.num_envs,
            **options,
        }
        document = document_of(out, about, [one.partition("=")[0].replace("-", "_") for one in self.change])
        if begun:
            # Also what was changed before: a run that was killed at once has it in run.json, and not in a checkpoint.
            ever = {change["option"] for change in document.get("changes", ())}
            load_checkpoint(algorithm, out, changed=ever)
        out.mkdir(parents=True, exist_ok=True)
        (out / "run.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        for note in getattr(algorithm, "notes", ()):
            say(f"{name}: {note}")
        rounding = _rounding(algorithm)
        if rounding is not None:
            say(f"{name}: {rounding}")
        every = max(1, algorithm.progress.budget // 10) if self.evaluate_every is None else self.evaluate_every
        last = None
        for report in run(
            algorithm,
            evaluate_every=every,
            episodes=self.episodes,
            teacher=teacher,
            checkpoint=out,
            progress=True,
        ):
            last = report
        for part, path in paths(algorithm).items():  # on a GPU, or compiled
            say(f"{name}: {part}: {path}")
        if last is not None and last.evaluation is not None:
            say(f"{name}: {last.evaluation}")
        elif last is None and algorithm.progress.finished:
            say(f"{name}: nothing left to do; the run in '{out}' is finished.")
        if not algorithm.progress.finished:
            say(f"stopped at step {int(algorithm.progress.steps):,}; go on with --resume.")
        say(f"policy, checkpoint and logs are in {out}")
        if not algorithm.progress.finished:
            raise KeyboardInterrupt


def _rounding(algorithm: Algorithm) -> str | None:
    """What became of the configured steps, if the algorithm ends at another number."""
    if algorithm.progress.budget == algorithm.progress.total:
        return None
    rollout = getattr(getattr(algorithm, "config", None), "rollout", None)
    reason = (
        "an iteration is not cut"
        if rollout is None
        else f"a rollout takes {rollout * algorithm.source.spec.num_envs:,}"
    )
    return f"{algorithm.progress.budget:,} steps: {reason}"


def teacher_for(name: str, source: Source, vec_normalize: Path | None) -> Teacher:
    """The teacher that a name on the command line means."""
    from imitate import teachers

    built = _built(name)
    loaded = teachers.load(
        name if built else Path(name), source, vec_normalize=vec_normalize, device=source.spec.device
    )
    members = getattr(loaded, "members", 1)
    if members not in (1, source.spec.members):
        raise ValueError(f"members: '{name}' has {members}, this run {source.spec.members}; pass --members {members}.")
    return loaded


def demonstrations_for(
    common: Common,
    env: str,
    teacher: str | None,
    vec_normalize: Path | None,
    data: Path | None,
    episodes: int,
    clip_actions: bool,
) -> tuple[Source, Teacher | None, Demonstrations]:
    """Demonstrations of a teacher, or those of a file.

    Args:
        common: Options of the run.
        env: Environment id.
        teacher: Name of a teacher; None with `data`.
        vec_normalize: VecNormalize statistics of an SB3 teacher.
        data: An .npz; None with `teacher`.
        episodes: That the teacher shows each member.
        clip_actions: Move the actions of the file inside their bounds.

    Returns:
        Where they were made, the teacher if there is one, and the demonstrations.

    Raises:
        ValueError: There is not one of both, or less than one episode.
    """
    from imitate.data import Demonstrations, demonstrate

    if (teacher is None) == (data is None):
        raise ValueError("teacher: pass either --teacher or --data.")
    if episodes < 1:
        raise ValueError(f"demonstrations: at least 1, not {episodes}.")
    source = common.source(env, episodes)
    if data is not None:
        return source, None, Demonstrations.from_npz(data, source, clip_actions=clip_actions)
    assert teacher is not None
    loaded = teacher_for(teacher, source, vec_normalize)
    return source, loaded, demonstrate(source, loaded, episodes)


def _built(name: str) -> bool:
    """Whether a name means a control law or a planner, which are in no file."""
    return name.startswith(("control", "plan")) and not Path(name).exists()


def must_exist(what: str, name: str) -> None:
    """Refuse a name that is mistyped, and the folder of a run that has not written its policy yet.

    Raises:
        FileNotFoundError: There is no such file or directory.
        ValueError: There is no policy in the folder yet.
    """
    path = Path(name)
    if _built(name):
        return
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no file or directory '{name}'.")
    if (path / "run.json").is_file() and not (path / "policy.json").is_file():
        raise ValueError(f"{what}: no policy in this folder yet: '{name}'; its run has written no checkpoint.")


def env_of(name: str | None) -> str | None:
    """The environment that a policy of ours was made for, if its folder says so."""
    path = Path(name) / "policy.json" if name is not None else None
    if path is None or not path.is_file():
        return None
    try:
        value = reading.document(path).get("env")
    except ValueError:
        return None  # whoever loads the policy says what is wrong with it
    return value if isinstance(value, str) else None


def members_of(name: str) -> int | None:
    """Members of a policy of ours: as many as there are weights of, whatever its description says."""
    from imitate.nets.files import load

    return load(name).members if (Path(name) / "policy.json").is_file() else None
