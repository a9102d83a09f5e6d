"""Fit two-parameter Q-learning to many subjects at once, and check it subject by subject against SciPy's L-BFGS-B.

One thread: the tensors of a step are too small to share, and on a busy machine threads wait for each other.

    OMP_NUM_THREADS=1 python -m benchmarks.fit --out benchmarks/results/fit.json
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from scipy import optimize

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.values import QLearning
from imitate.core.noise import Stream
from imitate.experiment.report import versions
from imitate.fitting.fit import fit
from imitate.fitting.likelihood import log_likelihood
from imitate_envs.bandits import StationaryBandit


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        subjects: Simulated on the bandit of Wilson and Collins (2019), α ~ U(0, 1), β ~ U(1, 10).
        trials: Of each.
        starts: Of each.
        compared: Subjects that SciPy fits as well.
        seed: Of parameters and choices.
        device: Where to fit.
        out: Where to write.
    """

    subjects: int = 1_000
    trials: int = 200
    starts: int = 8
    compared: int = 1_000
    seed: int = 0
    device: str = "cpu"
    out: Path = Path("benchmarks/results/fit.json")


def scipy_fit(action: list[int], reward: list[float], starts: NDArray[np.float64]) -> float:
    """The lowest negative log-likelihood of L-BFGS-B over the starts (logit α, log β), with its exact gradient."""

    def nll(z: NDArray[np.float64]) -> tuple[float, list[float]]:
        alpha, beta = 1 / (1 + math.exp(-z[0])), math.exp(z[1])
        q, slope = [0.5, 0.5], [0.0, 0.0]  # values, and their derivatives with respect to α
        total = by_alpha = by_beta = 0.0
        for a, r in zip(action, reward, strict=True):
            gap, gap_slope = q[a] - q[1 - a], slope[a] - slope[1 - a]
            x = beta * gap
            total += math.log1p(math.exp(-abs(x))) + max(-x, 0.0)
            wrong = 1 / (1 + math.exp(min(x, 700.0)))
            by_beta -= wrong * gap
            by_alpha -= wrong * beta * gap_slope
            error = r - q[a]
            slope[a] += error - alpha * slope[a]
            q[a] += alpha * error
        return total, [by_alpha * alpha * (1 - alpha), by_beta * beta]

    ends = (optimize.minimize(nll, z, jac=True, method="L-BFGS-B", bounds=[(-20, 20)] * 2) for z in starts)
    return float(min(end.fun for end in ends))


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    model, fixed = Softmax(QLearning()), {"Q0": torch.tensor(0.5, dtype=torch.float64)}
    u = Stream(options.seed, "truth").uniform(2, options.subjects).double()
    truth = {"alpha": u[0], "beta": 1 + 9 * u[1], **fixed}
    bandit = StationaryBandit((0.2, 0.8))
    data = simulate_choices(model, truth, bandit, options.trials, seed=options.seed).to(options.device)

    begin = time.perf_counter()
    found = fit(model, data, fixed=fixed, starts=options.starts, seed=options.seed)
    errors = {name: error.cpu() for name, error in found.se.items()}
    seconds = time.perf_counter() - begin

    lanes = Choices(data.action.repeat(1, options.starts), data.reward.repeat(1, options.starts), 2)

    def gradient() -> float:
        """Seconds of one value and gradient of all lanes."""
        each = torch.ones(options.subjects * options.starts, dtype=torch.float64, device=options.device)
        theta = {"alpha": (0.3 * each).requires_grad_(), "beta": (3 * each).requires_grad_()}
        begin = time.perf_counter()
        value = log_likelihood(model, {**theta, "Q0": each.new_tensor(0.5)}, lanes).sum()
        float(torch.autograd.grad(value, list(theta.values()))[0].sum())  # waits for the device
        return time.perf_counter() - begin

    once = statistics.median(gradient() for _ in range(5))

    starts = found.unknowns.starts(options.starts, options.seed, data.units).numpy()
    action, reward = (x[:, : options.compared].T.tolist() for x in (data.action, data.reward))
    begin = time.perf_counter()
    theirs = [scipy_fit(a, r, starts) for a, r in zip(action, reward, strict=True)]
    scipy_seconds = time.perf_counter() - begin
    difference = -found.log_likelihood_[: options.compared] - theirs

    result = {
        "subjects": options.subjects,
        "trials": options.trials,
        "starts": options.starts,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "trial_updates_per_second_with_gradient": options.subjects * options.trials * options.starts / once,
        "scipy_subjects": len(theirs),
        "scipy_seconds": scipy_seconds,
        "largest_nll_above_scipy": float(difference.max()),
        "largest_nll_below_scipy": float(-difference.min()),
        "share_within_1e-4": float((np.abs(difference) <= 1e-4).mean()),
        "identified": float(found.identified.double().mean()),
        "agreement_of_a_quarter_of_starts": float((found.agreement >= 0.25).double().mean()),
        "median_se": {name: float(error.nanmedian()) for name, error in errors.items()},
        "versions": versions(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:34} {value}")


if __name__ == "__main__":
    main(tyro.cli(Options))
