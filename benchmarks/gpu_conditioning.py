"""What `benchmarks.gpu` measures of conditioning: traces, throughput, the fit of many subjects, the grid of phenomena.

Letters: P parameter points.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.fit import scipy_fit
from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import Softmax
from imitate.conditioning.contenders import CONTENDERS
from imitate.conditioning.design import Design
from imitate.conditioning.models import MODELS, RescorlaWagner
from imitate.conditioning.phenomena import Phenomenon, _measure, sample_points
from imitate.conditioning.phenomena_library import PHENOMENA
from imitate.conditioning.simulate import simulate, steps
from imitate.conditioning.values import QLearning
from imitate.core.noise import Stream
from imitate.fitting.fit import fit
from imitate_envs.bandits import StationaryBandit

Row = dict[str, Any]
TRACES = "10A(US)/10B/5#A|10AB(US)/10AB/5#B"


@dataclass(frozen=True)
class Sizes:
    """How much.

    Args:
        device: Where.
        lanes: Subjects at once in the throughput.
        subjects: In the fit.
        trials: Of each.
        starts: Of each.
        compared: Subjects that SciPy fits as well.
        points: Of the parameter space of Rescorla-Wagner, for each phenomenon.
        designs: Phenomena.
    """

    device: str = "cuda"
    lanes: int = 2**21
    subjects: int = 10_000
    trials: int = 200
    starts: int = 16
    compared: int = 32
    points: int = 1_000_000
    designs: int = 20


def traces(sizes: Sizes) -> Iterator[Row]:
    """The largest difference between strengths on the device and on the CPU, in float64."""
    design = Design(TRACES)
    for name, model in MODELS.items():
        here, there = (design.compile(device=d, dtype=torch.float64) for d in ("cpu", sizes.device))
        expected, found = simulate(model, here), simulate(model, there)
        difference = float((found.strengths.cpu() - expected.strengths).abs().max())
        yield {"name": f"traces, {name}", "largest": difference, "target": 1e-10, "met": difference <= 1e-10}


def throughput(sizes: Sizes) -> Iterator[Row]:
    """Trial-updates a second of Rescorla-Wagner, forwards."""
    for dtype in (torch.float32, torch.float64):
        schedule = Design("100A(US)|100AB(US)").compile(device=sizes.device, dtype=dtype)
        alpha = Stream(0, "truth", sizes.device).uniform(sizes.lanes, 1).to(dtype) / 2
        seconds = []
        for _ in range(4):
            _wait(sizes)
            start = time.perf_counter()
            for _ in steps(RescorlaWagner(), schedule, {"alpha": alpha, "beta": 1.0}):
                pass
            _wait(sizes)
            seconds.append(time.perf_counter() - start)
        found = sizes.lanes * len(schedule.order) / min(seconds[1:])
        name = f"Rescorla-Wagner, {str(dtype).removeprefix('torch.')}"
        row = {"name": name, "lanes": sizes.lanes, "trial_updates_per_second": found}
        yield {**row, "target": 1e9, "met": found >= 1e9}


def _wait(sizes: Sizes) -> None:
    if sizes.device.startswith("cuda"):
        torch.cuda.synchronize()


def fit_scale(sizes: Sizes) -> Iterator[Row]:
    """Two-parameter Q-learning fitted to many subjects, with standard errors; some of them by SciPy as well."""
    model, fixed = Softmax(QLearning()), {"Q0": torch.tensor(0.5, dtype=torch.float64)}
    u = Stream(0, "truth").uniform(2, sizes.subjects).double()
    truth = {"alpha": u[0], "beta": 1 + 9 * u[1], **fixed}
    bandit = StationaryBandit((0.2, 0.8))
    data = simulate_choices(model, truth, bandit, sizes.trials, seed=0)
    begin = time.perf_counter()
    # As many lanes at once as there are: a card has the memory, and small blocks leave it idle.
    found = fit(model, data.to(sizes.device), fixed=fixed, starts=sizes.starts, seed=0, at_once=2**26)
    errors = {name: float(error.nanmedian()) for name, error in found.se.items()}  # waits for the Hessians
    seconds = time.perf_counter() - begin
    starts = found.unknowns.starts(sizes.starts, 0, data.units).numpy()
    action, reward = (x[:, : sizes.compared].T.tolist() for x in (data.action, data.reward))
    theirs = [scipy_fit(a, r, starts) for a, r in zip(action, reward, strict=True)]
    ours = torch.as_tensor(-found.log_likelihood_[: sizes.compared]).cpu()
    worst = float((ours - torch.tensor(theirs)).max())
    row: Row = {"name": "fit of Q-learning", "subjects": sizes.subjects, "trials": sizes.trials}
    row |= {"starts": sizes.starts, "seconds": seconds, "median_se": errors, "compared": len(theirs)}
    yield {**row, "nll_above_scipy": worst, "target": 10, "met": seconds < 10 and worst <= 1e-4}


def grid(sizes: Sizes) -> Iterator[Row]:
    """The share of the parameter space of Rescorla-Wagner in which each phenomenon holds, and the seconds of all."""
    shares = {}
    _share(next(iter(PHENOMENA.values())), 1_000, sizes.device)
    begin = time.perf_counter()
    for name, phenomenon in list(PHENOMENA.items())[: sizes.designs]:
        shares[name] = _share(phenomenon, sizes.points, sizes.device)
    seconds = time.perf_counter() - begin
    row: Row = {"name": "grid of phenomena", "points": sizes.points, "designs": len(shares), "seconds": seconds}
    yield {**row, "shares": shares, "target": 60, "met": seconds < 60}


def _share(phenomenon: Phenomenon, points: int, device: str) -> float:
    """As `phenomena.share`, on a device and all at once."""
    contender = CONTENDERS["rescorla-wagner"]
    few = None if phenomenon.subjects is None else min(phenomenon.subjects, 4)
    design = replace(phenomenon.design, configural=contender.configural or phenomenon.design.configural)
    schedule = design.compile(few, device=device)
    held, stream, at_once = 0, Stream(0, "points", device), 2**20
    for start in range(0, points, at_once):
        count = min(at_once, points - start)
        values = sample_points(contender.model, schedule, count, stream, alike=phenomenon.alike)
        measured: dict[Any, Tensor] = _measure(phenomenon, contender, schedule, values)
        means = {response: x.reshape(len(x), -1).mean(1) for response, x in measured.items()}
        good = [c.difference(means) > c.margin for c in phenomenon.contrasts]
        held += int(torch.stack(good).all(0).sum())
    return held / points
