"""Rescorla-Wagner is the delta rule, and TD with a discount of 0: three programs, one path of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from imitate.conditioning.model import Model, Theta, Trial
from imitate.conditioning.models import Course, RescorlaWagner, TemporalDifference, TrialTemporalDifference
from imitate.core.noise import Stream, normal
from imitate_envs.stimuli import Presence

__all__ = ["identities"]

RATE, CUES = 0.05, 4


def identities(seed: int, trials: int = 1000) -> dict[str, float]:
    """Largest difference of any weight at any time over random trials, in float64."""
    drawn = normal(Stream(seed, "trials").uniform(trials, CUES + 1)).double()
    x, outcome = drawn[:, :CUES], drawn[:, CUES:]
    number = torch.tensor(RATE, dtype=torch.float64)
    one, zero = torch.ones_like(number), torch.zeros_like(number)
    theirs = _path(RescorlaWagner(), {"alpha": number.expand(CUES), "beta_on": one, "beta_off": one}, x, outcome)
    # A cue of one step, and the outcome in the next.
    step = TrialTemporalDifference(Presence(), Course(durations=1, rest=0), TemporalDifference(clip=False))
    ours = _path(step, {"alpha": number.expand(CUES), "gamma": zero, "lam": zero}, x, outcome)
    sgd = _gradient_descent(x, outcome)
    return {
        "rescorla_wagner_lms": float((theirs - sgd).abs().max()),
        "rescorla_wagner_td": float((theirs - ours).abs().max()),
        "largest_weight": float(theirs.abs().max()),
    }


def _path(model: Model, theta: Theta, x: Tensor, outcome: Tensor) -> Tensor:
    """Weights after each trial, [T, C]."""
    state, path = model.initial(theta, (), CUES, 1), []
    for cues, magnitude in zip(x, outcome, strict=True):
        state = model.update(theta, state, Trial(cues, magnitude))
        path.append(state[:, 0])
    return torch.stack(path)


def _gradient_descent(x: Tensor, outcome: Tensor) -> Tensor:
    """Weights after each step of torch's SGD on (λ − w·x)²/2, [T, C]."""
    weights = torch.zeros(CUES, dtype=x.dtype, requires_grad=True)
    optimizer, path = torch.optim.SGD([weights], lr=RATE), []
    for cues, magnitude in zip(x, outcome, strict=True):
        optimizer.zero_grad()
        ((magnitude[0] - weights @ cues).square() / 2).backward()
        optimizer.step()
        path.append(weights.detach().clone())
    return torch.stack(path)
