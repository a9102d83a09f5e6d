"""The prediction error of TD moves from the reward to the cue (Schultz, Dayan & Montague 1997)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from imitate.conditioning.model import Trial
from imitate.conditioning.models import Course, TrialTemporalDifference

__all__ = ["dopamine", "draw"]

CUE = 5  # steps without a cue, to see its onset
COURSE = Course(onsets=CUE, durations=25, rest=5)
REWARD = COURSE.outcome(1)
TRACES = {"traces, λ = .95": 0.95, "no traces, λ = 0": 0.0}


def dopamine(trials: int = 1000) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Errors with and without traces, [trials + 1, steps]: those of training, and of a trial without the reward.

    A complete serial compound; the cue comes 25 steps before the reward; γ = .97, rate .05. Nothing is random.
    """
    model = TrialTemporalDifference(course=COURSE)
    numbers, errors = {}, {}
    for name, lam in TRACES.items():
        theta = {key: torch.tensor(p.default, dtype=torch.float64) for key, p in model.parameters.items()}
        theta["lam"] = torch.tensor(lam, dtype=torch.float64)
        on = torch.ones(1, dtype=torch.float64)
        state, seen = model.initial(theta, (), 1, 1), []
        for _ in range(trials):
            state, error = model.run(theta, state, Trial(on, on))
            seen.append(error[:, 0])
        seen.append(model.run(theta, state, Trial(on, 0 * on))[1][:, 0])
        course = errors[name] = torch.stack(seen)
        numbers[name] = {
            "first_at_reward": float(course[0, REWARD]),
            "last_at_reward": float(course[-2, REWARD]),
            "last_at_cue": float(course[-2, CUE]),
            "omitted_at_reward": float(course[-1, REWARD]),
            "value_at_cue": float(model.values(state, on)[CUE, 0]),
        }
    return numbers, errors


def draw(path: Path, errors: dict[str, Tensor]) -> None:
    """Errors over trials, and those of the first trial, the last one, and one without the reward."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained", dpi=110)
    axes = figure.subplots(2, len(errors), squeeze=False, sharex=True)
    lines = (
        (0, "first trial", "#1f78b4", "-"),
        (-2, "last trial", "#33a02c", "-"),
        (-1, "reward omitted", "#e31a1c", "--"),
    )
    for (name, course), above, below in zip(errors.items(), *axes, strict=True):
        image = above.imshow(
            course[:-1].numpy(), aspect="auto", cmap="RdBu_r", vmin=-0.5, vmax=0.5, interpolation="nearest"
        )
        above.set_title(name, fontsize=10)
        for row, label, colour, style in lines:
            below.plot(course[row].numpy(), style, color=colour, label=label, linewidth=1.6)
        below.set_xlabel("time step")
        for label, at in (("cue", CUE), ("reward", REWARD)):
            below.axvline(at, color="#999999", linewidth=0.8, linestyle=":")
            below.annotate(label, (at, 1.12), fontsize=8, ha="center", annotation_clip=False)
        below.set_ylim(-1.1, 1.1)
    axes[0, 0].set_ylabel("trial")
    axes[1, 0].set_ylabel("prediction error δ")
    axes[1, 0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.colorbar(image, ax=axes[0].tolist(), label="δ")
    figure.savefig(path)
