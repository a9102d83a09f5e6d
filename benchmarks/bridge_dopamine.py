"""The prediction error of TD moves from the reward to the cue (Schultz, Dayan & Montague 1997)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from envs.stimuli import CompleteSerialCompound, Presence, Representation
from imitate.conditioning.model import Trial
from imitate.conditioning.models import Course, TrialTemporalDifference

__all__ = ["dopamine", "draw"]

BEFORE = 5  # steps without a cue, to see its onset
COURSE = Course(onsets=BEFORE, durations=25, rest=10)
REPRESENTATIONS: dict[str, Representation] = {
    "complete serial compound": CompleteSerialCompound(),
    "presence": Presence(),
}


def dopamine(trials: int = 500) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Errors by representation, [trials + 1, steps]: those of training, and of a trial whose reward is omitted.

    Nothing is random. The cue comes 25 steps before the reward; γ = .97, λ = .95, rate .05.
    """
    numbers, errors = {}, {}
    cue = BEFORE  # an error belongs to the step at which something turned out
    reward = COURSE.outcome(1)
    for name, representation in REPRESENTATIONS.items():
        model = TrialTemporalDifference(representation, COURSE)
        theta = {key: torch.tensor(p.default, dtype=torch.float64) for key, p in model.parameters.items()}
        on = torch.ones(1, dtype=torch.float64)
        state, seen = model.initial(theta, (), 1, 1), []
        for _ in range(trials):
            state, error = model.run(theta, state, Trial(on, on))
            seen.append(error[:, 0])
        seen.append(model.run(theta, state, Trial(on, 0 * on))[1][:, 0])
        course = errors[name] = torch.stack(seen)
        numbers[name] = {
            "first_at_reward": float(course[0, reward]),
            "last_at_reward": float(course[-2, reward]),
            "last_at_cue": float(course[-2, cue]),
            "omitted_at_reward": float(course[-1, reward]),
            "value_at_cue": float(model.values(state, on)[cue, 0]),
        }
    return numbers, errors


def draw(path: Path, errors: dict[str, Tensor]) -> None:
    """Errors over trials, and those of the first trial, the last one, and an omission."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained", dpi=110)
    axes = figure.subplots(2, len(errors), squeeze=False, sharex=True)
    steps = {"cue": BEFORE, "reward": COURSE.outcome(1)}
    for (name, course), above, below in zip(errors.items(), *axes, strict=True):
        image = above.imshow(
            course[:-1].numpy(), aspect="auto", cmap="RdBu_r", vmin=-0.6, vmax=0.6, interpolation="nearest"
        )
        above.set_title(name, fontsize=10)
        for row, label, colour in (
            (0, "first trial", "#1f78b4"),
            (-2, "last trial", "#33a02c"),
            (-1, "reward omitted", "#e31a1c"),
        ):
            below.plot(course[row].numpy(), color=colour, label=label, linewidth=1.6)
        below.set_xlabel("time step")
        for label, at in steps.items():
            below.axvline(at, color="#999999", linewidth=0.8, linestyle=":")
            below.annotate(label, (at, 1.02), fontsize=8, ha="center", annotation_clip=False)
        below.set_ylim(-1.1, 1.1)
    axes[0, 0].set_ylabel("trial")
    axes[1, 0].set_ylabel("prediction error δ")
    axes[1, 0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.colorbar(image, ax=axes[0].tolist(), label="δ")
    figure.savefig(path)
