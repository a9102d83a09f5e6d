"""What the commands share: common options, how a run is driven, and whom a name on the command line means.

What takes long to import is imported where it is used: a mistyped option is told before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from imitate.cli.resuming import changed, document_of, folder, learning_rate, options_of
from imitate.core.config import Count

if TYPE_CHECKING:
    from imitate.core.types import Algorithm, Source
    from imitate.data import Demonstrations
    from imitate.distributions.actions import Teacher

__all__ = [
    "AT_ONCE",
    "OUT",
    "Common",
    "Device",
    "demonstrations_for",
    "env_of",
    "learn_from_demonstrations",
    "members_of",
    "must_exist",
    "say",
    "shown",
    "teacher_for",
    "views_of",
]

Device = Literal["auto", "cpu", "cuda"]
AT_ONCE = 1024  # episodes of a member that are shown side by side
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
    members: Count = 8
    seed: int = 0
    device: Device = "auto"
    num_envs: Count | None = None
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
            FloatingPointError: Something is not finite; the line says how to go on.
            KeyboardInterrupt: It was interrupted; its checkpoint is written.
        """
        from imitate.core.capture import paths
        from imitate.core.checkpoint import exists
        from imitate.experiment.run import run

        out = self.out or folder(name, algorithm.source.spec.id)
        begun = exists(out, "checkpoint")
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
        for note in getattr(algorithm, "notes", ()):
            say(f"{name}: {note}")
        rounding = _rounding(algorithm)
        if rounding is not None:
            say(f"{name}: {rounding}")
        every = max(1, algorithm.progress.budget // 10) if self.evaluate_every is None else self.evaluate_every
        last = None
        try:
            for report in run(
                algorithm,
                evaluate_every=every,
                episodes=self.episodes,
                teacher=teacher,
                checkpoint=out,
                resume=self.resume,
                # Also what was changed before: a run that was killed at once has it in run.json, not in a checkpoint.
                changed={change["option"] for change in document.get("changes", ())},
                about=document,
                progress=True,
            ):
                last = report
        except FloatingPointError as error:
            rate = learning_rate(getattr(algorithm, "config", None))
            raise FloatingPointError(
                f"{error} --resume --out {out} --change {rate}=VALUE goes on from there with another learning rate."
                if exists(out, "checkpoint")
                else f"{error} Begin again with another --{rate}."
            ) from error
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


def teacher_for(name: str, source: Source, vec_normalize: Path | None = None, *, ensemble: bool = False) -> Teacher:
    """The teacher that a name on the command line means; with `ensemble` the mean of its members."""
    from imitate import teachers
    from imitate.policies import Ensemble

    built = _built(name)
    loaded = teachers.load(
        name if built else Path(name), source, vec_normalize=vec_normalize, device=source.spec.device
    )
    if ensemble:
        return Ensemble(loaded)
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
    student_view: Sequence[str] = (),
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
        student_view: Views of the student, who learns from them; what a file holds is seen through them already.

    Returns:
        Where they were made, the teacher if there is one, and the demonstrations.

    Raises:
        ValueError: There is not one of both, or the demonstrations do not fit into memory.
    """
    from imitate.cli.views import viewed
    from imitate.data import Demonstrations

    if (teacher is None) == (data is None):
        raise ValueError("teacher: pass either --teacher or --data.")
    if episodes < 1:
        raise ValueError(f"demonstrations: at least 1, not {episodes}.")
    source = common.source(env, min(episodes, AT_ONCE))
    loaded = None if teacher is None else teacher_for(teacher, source, vec_normalize)
    source = viewed(source, student_view)
    if data is not None:
        return source, None, Demonstrations.from_npz(data, source, clip_actions=clip_actions)
    assert loaded is not None
    return source, loaded, shown(source, loaded, episodes)


def learn_from_demonstrations(
    command: Any, name: str, algorithm: Callable[[Source, Demonstrations, Any], Algorithm], num_envs: int
) -> None:
    """Run an algorithm that learns from demonstrations and acts itself.

    Args:
        command: Has a teacher or data, how many demonstrations, which of their steps, common options and a config.
        name: Of the command.
        algorithm: Made of where it acts, of demonstrations and of the config.
        num_envs: Environments of a member where the command does not say.
    """
    common, env = command.common, command.common.known_env(command.teacher)
    # A place of their own, so that the policy begins with whole episodes.
    _, teacher, demonstrations = demonstrations_for(
        replace(common, num_envs=None),
        env,
        command.teacher,
        command.vec_normalize,
        command.data,
        command.demonstrations,
        command.clip_actions,
    )
    config = changed(command.config, common.change)
    learner = algorithm(common.source(env, num_envs), demonstrations.thinned(command.every), config)
    common.run(learner, name, options_of(replace(command, config=config)), teacher)


def shown(source: Source, teacher: Teacher, episodes: int) -> Demonstrations:
    """That many episodes of a teacher, for each member.

    Raises:
        ValueError: They do not fit into memory.
    """
    from imitate.core.room import admit_steps
    from imitate.data import demonstrate

    admit_steps(source.spec, {"demonstrations": episodes, "members": source.spec.members})
    return demonstrate(source, teacher, episodes)


def _built(name: str) -> bool:
    """Whether a name means a control law or a planner, which are in no file."""
    return name.startswith(("control", "plan")) and not Path(name).exists()


def must_exist(what: str, name: str) -> None:
    """Refuse a name that is mistyped, and the folder of a run that has not written its policy yet.

    Raises:
        FileNotFoundError: There is no such file or directory.
        ValueError: There is no policy in the folder yet.
    """
    from imitate.core.checkpoint import exists

    path = Path(name)
    if _built(name):
        return
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no file or directory '{name}'.")
    if path.is_dir() and not exists(path, "policy"):
        if (path / "run.json").is_file():
            raise ValueError(f"{what}: no policy in this folder yet: '{name}'; its run has written no checkpoint.")
        raise ValueError(f"{what}: No policy.json in '{name}'.")


def env_of(name: str | None) -> str | None:
    """The environment that a policy of ours was made for, if its folder says so."""
    value = _description(name).get("env")
    return value if isinstance(value, str) else None


def views_of(name: str) -> tuple[str, ...]:
    """The views that the student of a run saw through; none where nothing tells of any."""
    from imitate.core import reading

    path = Path(name) / "run.json"
    with reading.refusing(f"policy: '{path}' was not written by imitate"):
        found = reading.document(path).get("student_view", ()) if path.is_file() else ()
        return tuple(map(str, found))


def members_of(name: str) -> int | None:
    """Members of a policy of ours: as many as there are weights of, whatever its description says."""
    from imitate.nets.files import load

    return load(name).members if _description(name) else None


def _description(name: str | None) -> dict[str, Any]:
    from imitate.core.checkpoint import describe

    try:
        return {} if name is None else describe(name, "policy")
    except (OSError, ValueError):
        return {}  # whoever loads the policy says what is wrong with it
