"""The loop around an algorithm: reports, evaluations, checkpoints, logs, a clean stop.

Letters: M members.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imitate.core import checkpoint as records
from imitate.core.config import checked
from imitate.core.finite import flaw
from imitate.core.lock import locked
from imitate.core.options import agreed, plain
from imitate.core.reading import line, refusing
from imitate.core.types import Algorithm, Metrics
from imitate.distributions.actions import Teacher
from imitate.experiment.evaluate import Evaluation, Evaluator, brackets, percent_text, short
from imitate.experiment.log import Log, Progress

__all__ = ["Report", "load_checkpoint", "run", "save_checkpoint"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RECORDS = ("policy", "checkpoint")


@dataclass(frozen=True)
class Report:
    """What happened since the last report.

    Args:
        steps: Progress of the algorithm: environment steps of a member (gradient steps for behaviour cloning).
        seconds: Spent in the algorithm so far by this run; evaluations and checkpoints are not counted.
        steps_per_second: Since the last report, all members and environments together.
        labels: Teacher labels that a member has used so far, on average.
        metrics: Of each member, [M], averaged over the iterations since the last report.
        evaluation: If one was due.
    """

    steps: int
    seconds: float
    steps_per_second: float
    labels: float
    metrics: dict[str, NDArray[np.float64]]
    evaluation: Evaluation | None = None

    def __str__(self) -> str:
        parts = [f"{self.steps:>9,} steps", f"{self.steps_per_second:>9,.0f} steps/s"]
        if self.labels:
            parts.append(f"{self.labels:,.0f} labels")
        if self.evaluation is not None:
            parts.append(f"return {short(self.evaluation.mean)} {brackets(self.evaluation.ci)}")
            if self.evaluation.percent_of_teacher is not None:
                parts.append(percent_text(self.evaluation.percent_of_teacher))
        else:
            parts += [f"{name} {values.mean():.4g}" for name, values in list(self.metrics.items())[:3]]
        return "  ".join(parts)

    def row(self) -> dict[str, float | None]:
        """Numbers for a table: means over members; None for a percentage of a teacher that is no better than chance."""
        row: dict[str, float | None] = {
            "steps": float(self.steps),
            "seconds": self.seconds,
            "steps_per_second": self.steps_per_second,
            "labels": self.labels,
        }
        row |= {name: float(values.mean()) for name, values in self.metrics.items()}
        if self.evaluation is not None:
            low, high = self.evaluation.ci
            row |= {"return": self.evaluation.mean, "return_low": low, "return_high": high}
            percent = self.evaluation.percent_of_teacher
            if percent is not None:
                row["percent_of_teacher"] = None if math.isnan(percent) else percent
        return row


@checked
def run(
    algorithm: Algorithm,
    steps: int | None = None,
    *,
    evaluate_every: int | None = None,
    episodes: int = 20,
    teacher: Teacher | None = None,
    report_every: int | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    changed: Collection[str] = (),
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Iterator[Report]:
    """Step an algorithm until it is finished, yielding reports.

    Ctrl-C (SIGINT) and SIGTERM let the iteration under way end, write the checkpoint and end the run, so that
    `algorithm.progress.finished` is still false; a second one interrupts at once. A run may also be killed at any time:
    one that is resumed first yields the report that its checkpoint owes, if that was not written.

    Args:
        algorithm: What to run.
        steps: Where to stop, in the algorithm's steps; when it is finished if None.
        evaluate_every: Steps between evaluations; also at the end. None: no evaluation.
        episodes: Of each evaluation.
        teacher: For percentages of the teacher's return.
        report_every: Steps between reports; by default those between evaluations, or each iteration.
        checkpoint: Folder for checkpoints, the policy, `progress.csv` and TensorBoard events.
        checkpoint_every: Steps between checkpoints; by default at every report. One is always written at the end.
        resume: Go on from the checkpoint in the folder, if there is one.
        changed: Hyper-parameters that may differ from those of the checkpoint; see `load_checkpoint`.
        about: What is to be known of the run, as JSON holds it: `run.json` in the folder.
        progress: A progress bar on a terminal, plain lines elsewhere.

    Yields:
        A report at each `report_every`.

    Raises:
        FloatingPointError: A loss, its gradient, what was learnt or what an environment gave is not finite. The
            checkpoint before, if there is one, is kept.
        ValueError: A number does not fit, the folder holds a run and `resume` is false, another run writes there, or
            the checkpoint is of another run, or damaged.
    """
    periods = {"evaluate_every": evaluate_every, "report_every": report_every, "checkpoint_every": checkpoint_every}
    for name, number in {**periods, "episodes": episodes}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}: at least 1, not {number}.")
    folder = Path(checkpoint) if checkpoint is not None else None
    report_every = report_every or evaluate_every or 1
    evaluator = Evaluator(algorithm.source, episodes, teacher=teacher)
    pending: list[Metrics] = []
    with ExitStack() as stack:
        owed = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            stack.enter_context(_kept(folder))
            owed = _begun(algorithm, folder, resume, changed)
            if about is not None:
                records.replace(folder / "run.json", (json.dumps(about, indent=2) + "\n").encode())
        start = began = int(algorithm.progress.steps)
        total = algorithm.progress.budget if steps is None else steps
        clock = _Clock(start)
        due = _Due(start, report=report_every, evaluation=evaluate_every, checkpoint=checkpoint_every or report_every)
        log = stack.enter_context(Log(folder, start))
        bar = stack.enter_context(Progress(progress, total, start))
        interrupted = stack.enter_context(_interruptible())

        def told(report: Report, evaluate: bool) -> Report:
            if evaluate:
                report = replace(report, evaluation=evaluator(algorithm.policy))
            log.write(report.row(), report.steps)
            bar.report(str(report), report.steps)
            return report

        if owed is not None and not log.holds(start):
            yield told(*owed)
        while True:
            stop = (
                algorithm.progress.finished
                or (steps is not None and int(algorithm.progress.steps) >= steps)
                or interrupted.is_set()
            )
            now = int(algorithm.progress.steps)
            if pending and (stop or due("report", now)):
                metrics = _read(pending, clock, algorithm, began)
                evaluate = evaluate_every is not None and (
                    due("evaluation", now) or (stop and not interrupted.is_set())
                )
                labels = float(algorithm.progress.labels.double().mean())
                rate = clock.rate(now, algorithm.source.spec.members)
                report = Report(now, clock.seconds, rate, labels, metrics)
                if folder is not None:
                    records.settle(folder, *_RECORDS)  # the run has gone on well from the checkpoint
                    if stop or due("checkpoint", now):
                        # First, with what it owes: an evaluation may be long, and interrupted.
                        # The next iteration tells whether there is a way on from here; until then there is one back.
                        owes = {"owed": _as_json(report, evaluate)}
                        _commit(algorithm, folder, owes, revertible=not algorithm.progress.finished)
                pending, began = [], now
                yield told(report, evaluate)
            if stop:
                break
            with clock:
                pending.append(algorithm.step())
            bar.advance(int(algorithm.progress.steps))


@checked
def save_checkpoint(algorithm: Algorithm, folder: Path | str) -> None:
    """Write everything that changes during a run with its config, and the policy by itself: both, or none."""
    _commit(algorithm, folder, {})


def _commit(algorithm: Algorithm, folder: Path | str, more: Mapping[str, Any], *, revertible: bool = False) -> None:
    policy = algorithm.policy
    description = {
        "algorithm": type(algorithm).__name__,
        "env": algorithm.source.spec.id,
        "steps": int(algorithm.progress.steps),
        **_options(algorithm),
        **more,
    }
    both = {"checkpoint": (records.state_of(algorithm), description)}
    if hasattr(policy, "record"):
        both = {"policy": policy.record(), **both}
    elif hasattr(policy, "save"):  # one of somebody else's, before the checkpoint: it may be new, and never old
        policy.save(folder)
    records.commit(folder, both, revertible=revertible)


def _begun(algorithm: Algorithm, folder: Path, resume: bool, changed: Collection[str]) -> tuple[Report, bool] | None:
    """Put an algorithm where the run in a folder is, if there is one; what that owes: a report, and its evaluation.

    Raises:
        ValueError: There is a run that is not to be resumed, or it cannot be.
    """
    records.recover(folder, *_RECORDS)
    if not records.exists(folder, "checkpoint"):
        return None
    if not resume:
        raise ValueError(
            f"checkpoint: '{folder}' holds a run already; pass resume=True to go on with it, or another folder."
        )
    load_checkpoint(algorithm, folder, changed=changed)
    owed = records.describe(folder, "checkpoint").get("owed")  # those of earlier versions owe nothing
    if owed is None:
        return None
    try:
        metrics = {str(name): np.array(values, np.float64) for name, values in owed["metrics"].items()}
        seconds, rate, labels = (float(owed[name]) for name in ("seconds", "steps_per_second", "labels"))
        return Report(int(algorithm.progress.steps), seconds, rate, labels, metrics), bool(owed["evaluate"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint: '{folder}' owes a report that is none ({error}).") from error


def _as_json(report: Report, evaluate: bool) -> dict[str, Any]:
    """A report that is yet to be written, and whether it is to be evaluated."""
    parts = {name: getattr(report, name) for name in ("seconds", "steps_per_second", "labels", "metrics")}
    return {**{name: plain(part) for name, part in parts.items()}, "evaluate": evaluate}


@checked
def load_checkpoint(algorithm: Algorithm, folder: Path | str, *, changed: Collection[str] = ()) -> None:
    """Put an algorithm, made with the same arguments, where its checkpoint was.

    The hyper-parameters that count from then on are those of the algorithm, not those of the file. So they have to be
    the same, except that `steps` may be more, which extends the run. A checkpoint of the first format, which stored
    none, is refused; the policy beside it still loads.

    Args:
        algorithm: What continues.
        folder: Where `save_checkpoint` wrote.
        changed: Names of hyper-parameters that may differ, such as "lr".

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is damaged, of another algorithm or environment, of other hyper-parameters or of other shapes.
    """
    state, description = records.read(folder, "checkpoint")
    for what, mine in (("algorithm", type(algorithm).__name__), ("env", algorithm.source.spec.id)):
        if description.get(what) != mine:
            found = line(description.get(what))
            raise ValueError(f"checkpoint: '{folder}' is of {what} {found}, this run is of {mine}.")
    now = _options(algorithm)
    if not now.keys() <= description.keys():
        raise ValueError(f"checkpoint: '{folder}' was written by an earlier version; only its policy can be loaded.")
    before = {name: description[name] for name in now}
    agreed(before, now, changed, refusal=f"checkpoint: '{folder}' was made with other options")
    with refusing(f"checkpoint: '{folder}'"):
        records.load_state(algorithm, state)


def _options(algorithm: Algorithm) -> dict[str, Any]:
    """The hyper-parameters of an algorithm and the shape of its network, as JSON; what it does not have is left out."""
    parts = {
        "config": getattr(algorithm, "config", None),
        "architecture": getattr(algorithm.policy, "architecture", None),
    }
    return {name: plain(part) for name, part in parts.items() if part is not None}


class _DivergedError(FloatingPointError):
    """What is learnt is not finite.

    Args:
        reason: What is not.
        steps: How far the run has come.
        leads: A step from which the very next iteration led there, if that is known.
    """

    def __init__(self, reason: str, steps: int, leads: int | None) -> None:
        super().__init__(f"{reason} before step {steps:,}: lower the learning rate, or look at the data.")
        self.leads = leads


def _read(pending: list[Metrics], clock: _Clock, algorithm: Algorithm, began: int) -> dict[str, NDArray[np.float64]]:
    """Metrics since the last report as numpy, after making sure that nothing was lost on the way: the only syncs.

    Raises:
        FloatingPointError: Something is not finite.
    """
    with clock:
        values = {
            name: torch.stack([m[name] for m in pending if name in m]).double().cpu().numpy()
            for name in dict.fromkeys(name for m in pending for name in m)
        }
    # The gradient too: one that is not finite has spoilt the parameters, though the loss before it was well.
    bad = np.any([~np.isfinite(values[name]) for name in ("loss", "grad_norm") if name in values], axis=0)
    if bad.any():
        first = int(bad.any(1).argmax())
        members = ", ".join(map(str, np.flatnonzero(bad[first])))
        reason = f"loss or gradient is not finite (member {members}) at iteration {first + 1} of the {len(bad)}"
        raise _DivergedError(reason, int(algorithm.progress.steps), began if first == 0 else None)
    found = flaw(algorithm)
    if found is not None:
        raise _DivergedError(found, int(algorithm.progress.steps), None)
    return {name: value.mean(0) for name, value in values.items()}


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Let an error about what is not finite say what there is to go on from.

    The checkpoint is not good if the very next iteration was lost: then the one before it takes its place.
    """
    try:
        yield
    except FloatingPointError as error:
        if not records.exists(folder, "checkpoint"):
            raise FloatingPointError(f"{error} No checkpoint was written yet.") from error
        step = records.describe(folder, "checkpoint")["steps"]
        if isinstance(error, _DivergedError) and error.leads == step:
            if not records.revert(folder, "checkpoint"):
                raise FloatingPointError(
                    f"{error} The only checkpoint, of step {step:,}, is kept; if it leads there again, begin anew."
                ) from error
            step = records.describe(folder, "checkpoint")["steps"]
        raise FloatingPointError(f"{error} The last good checkpoint, of step {step:,}, is kept.") from error


class _Due:
    """Whether a multiple of a period was passed since the last time that it was."""

    def __init__(self, start: int, **periods: int | None) -> None:
        self.periods = {name: period for name, period in periods.items() if period is not None}
        self.last = {name: start // period for name, period in self.periods.items()}

    def __call__(self, name: str, now: int) -> bool:
        passed = now // self.periods[name]
        due = passed > self.last[name]
        self.last[name] = passed
        return due


class _Clock:
    """Seconds spent in the algorithm: runs inside `with clock` only."""

    def __init__(self, start: int) -> None:
        self.seconds = 0.0
        self._last = (start, 0.0)

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._entered

    def rate(self, now: int, members: int) -> float:
        """Steps a second of all members since the last call."""
        (steps, seconds), self._last = self._last, (now, self.seconds)
        return members * (now - steps) / max(self.seconds - seconds, 1e-9)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one does what it would have done without this."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def first(signum: int, frame: FrameType | None) -> None:
        event.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # A handler that Python did not install cannot be read, nor put back: such a signal is left to whoever did. So is
    # one that is ignored, as Ctrl-C is in the background jobs of a script: it is not meant for the run.
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, first)
    try:
        yield event
    finally:
        restore()
