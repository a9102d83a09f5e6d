"""What a step costs as members, environments, the network and episodes grow, and where the time goes.

    python -m benchmarks.scaling --out benchmarks/results/scaling.json

Beside the JSON it draws a picture of the same name. The knee of a curve is the first size from which doubling buys less
than half as much speed again (of width: half as many hidden units a second): to its left growing is nearly free.
Of a compiled rollout it says after how many steps the seconds of compiling are earned back.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.figure import Figure

import imitate
from benchmarks.time_shares import profile_ppo
from imitate.core.memory import keep_freed
from imitate.experiment.report import versions
from imitate.policies import Random
from imitate.teachers.control import control_law
from imitate_envs import ENVS


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Sizes of the population, for PPO (8 environments x 32 steps, 4 epochs) and for cloning (batch 64).
        envs: Numbers of environments of one member, for random actions and for a 64-64 policy.
        widths: Of both hidden layers, for cloning with one member and with eight (batch 64).
        episodes: Time limits of CartPole under a control law that never falls, 64 environments.
        seconds: Least time of one timing.
        rounds: Timings of each size, one sweep after the other; medians are kept.
        threads: Of torch.
        keep_memory: Let the C library keep freed memory, as the command line does.
        out: Where to write.
    """

    members: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    envs: tuple[int, ...] = (8, 32, 128, 512, 2_048, 8_192, 32_768, 65_536)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1_024)
    episodes: tuple[int, ...] = (5, 10, 20, 50, 100, 200, 500)
    seconds: float = 0.5
    rounds: int = 3
    threads: int = 1
    keep_memory: bool = True
    out: Path = Path("benchmarks/results/scaling.json")


Work = Callable[[], int]  # does something once and returns how much


def main(options: Options) -> None:
    """Measure, print, write JSON and a picture."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:  # what was compiled before costs nothing now, in torch's own
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        measure(options)


def measure(options: Options) -> None:
    """All sweeps, the shares of time, and what is written of them."""
    if options.keep_memory:
        keep_freed()
    sweeps: dict[str, tuple[str, Sequence[int], dict[str, Callable[[int], Work]]]] = {
        "members": ("PPO: steps/s, cloning: samples/s", options.members, {"PPO": ppo, "cloning": cloning}),
        "environments": (
            "steps/s",
            options.envs,
            {
                "random actions": stepping,
                "random actions, compiled": partial(stepping, compiled=True),
                "64-64 policy": acting,
                "64-64 policy, compiled": partial(acting, compiled=True),
            },
        ),
        "width": (
            "samples/s",
            options.widths,
            {"cloning, 1 member": lambda w: cloning(1, w), "cloning, 8 members": lambda w: cloning(8, w)},
        ),
        "time limit": ("steps/s", options.episodes, {"rollout of a control law": lasting}),
    }
    curves = []
    for axis, (unit, sizes, kinds) in sweeps.items():
        for name, build in kinds.items():
            speeds, warm_ups = sweep(build, sizes, options.seconds, options.rounds)
            curve = {"axis": axis, "name": name, "unit": unit, "sizes": list(sizes), "speeds": speeds}
            curve["warm_up_seconds"] = warm_ups
            # A wider network does more in a sample: what grows is the hidden units computed a second.
            grown = [size * speed for size, speed in zip(sizes, speeds, strict=True)] if axis == "width" else speeds
            curves.append({**curve, "knee": None if axis == "time limit" else knee(sizes, grown)})
            points = "  ".join(f"{size:,}: {speed:,.0f}" for size, speed in zip(sizes, speeds, strict=True))
            print(f"{axis}, {name}: {points}; knee {curves[-1]['knee']}", flush=True)
    earned = {}
    for eager, compiled in itertools.pairwise(curves):
        if compiled["name"] == f"{eager['name']}, compiled":
            pairs = zip(compiled["warm_up_seconds"], eager["speeds"], compiled["speeds"], strict=True)
            earned[eager["name"]] = [break_even(*numbers) for numbers in pairs]
            print(f"compiling {eager['name']} is earned back after {earned[eager['name']]} steps", flush=True)
    shares = {members: profile_ppo(members) for members in (options.members[0], options.members[-1])}
    for members, share in shares.items():
        print(f"PPO, members {members}: " + ", ".join(f"{name} {100 * part:.0f} %" for name, part in share.items()))
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "processor": platform.processor() or platform.machine(),
        "versions": versions(),
        "curves": curves,
        "break_even_steps": earned,
        "profile": shares,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    draw(curves, shares, options.out.with_suffix(".png"))


def ppo(members: int) -> Work:
    """One iteration of PPO: 8 environments x 32 steps, 4 epochs of one batch of 256."""
    source = imitate.make("CartPole-v1", num_envs=8, members=members)
    algorithm = imitate.PPO(source, imitate.PPOConfig(steps=10**9, rollout=32, epochs=4, batch_size=256))

    def work() -> int:
        algorithm.step()
        return members * 8 * 32

    return work


def cloning(members: int, width: int = 64) -> Work:
    """20 gradient steps of cloning on batches of 64."""
    source = imitate.make("CartPole-v1", num_envs=10, members=members)
    shown = imitate.demonstrate(source, control_law("CartPole-v1"), 10)
    config = imitate.BehaviourCloningConfig(updates=10**9, validation=0.0, validate_every=20)
    learner = imitate.BehaviourCloning(source, shown, imitate.nets.policy(source, hidden=(width, width)), config)

    def work() -> int:
        learner.step()
        return members * 20 * 64

    return work


def stepping(num_envs: int, *, compiled: bool = False) -> Work:
    """16 steps under random actions."""
    source = imitate.make("CartPole-v1", num_envs=num_envs, compile=compiled)
    return _collecting(source, Random(source.spec.action))


def acting(num_envs: int, *, compiled: bool = False) -> Work:
    """16 steps of a fresh 64-64 policy."""
    source = imitate.make("CartPole-v1", num_envs=num_envs, compile=compiled)
    return _collecting(source, imitate.nets.policy(source, hidden=(64, 64)))


def lasting(limit: int) -> Work:
    """16 steps of 64 environments whose episodes all last `limit` steps."""
    source = imitate.make(ENVS["CartPole-v1"](max_steps=limit), num_envs=64)  # type: ignore[call-arg]
    return _collecting(source, control_law("CartPole-v1"))


def _collecting(source: Any, driver: Any) -> Work:
    def work() -> int:
        source.collect(driver, 16)
        return 16 * int(source.spec.num_envs)

    return work


def sweep(
    build: Callable[[int], Work], sizes: Sequence[int], seconds: float, rounds: int
) -> tuple[list[float], list[float]]:
    """Median speed at each size, and the seconds of its warm-up.

    Every round goes through all sizes, so that a drift hits them alike.
    """
    works = {size: build(size) for size in sizes}
    warm_ups = []
    for work in works.values():
        start = time.perf_counter()
        work()
        warm_ups.append(time.perf_counter() - start)
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size, work in works.items():
            found[size].append(speed(work, seconds))
    return [statistics.median(speeds) for speeds in found.values()], warm_ups


def break_even(seconds: float, eager: float, compiled: float) -> int | None:
    """Units after which so many seconds of compiling are earned back; None if it is never faster."""
    return math.ceil(seconds / (1 / eager - 1 / compiled)) if compiled > eager else None


def speed(work: Work, seconds: float) -> float:
    """Units a second, over at least so many seconds."""
    done, start = 0, time.perf_counter()
    while True:
        done += work()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def knee(sizes: Sequence[int], speeds: Sequence[float]) -> int | None:
    """The first size from which doubling buys less than half as much speed again; None if it always buys more.

    Between two sizes of ratio r a speed-up s counts as s^(1/log₂ r) a doubling.
    """
    for (size, slow), (larger, fast) in itertools.pairwise(zip(sizes, speeds, strict=True)):
        if (fast / slow) ** (1 / math.log2(larger / size)) < 1.5:
            return size
    return None


def draw(curves: Sequence[dict[str, Any]], shares: dict[int, dict[str, float]], path: Path) -> None:
    """One panel for each of the four axes, and the shares of time."""
    figure = Figure(figsize=(15, 7.5), layout="constrained", dpi=110)
    axes = list(dict.fromkeys(curve["axis"] for curve in curves))
    panels = figure.subplot_mosaic([axes[:3], [axes[3], "shares", "shares"]])
    for axis in axes:
        panel = panels[axis]
        for curve in (curve for curve in curves if curve["axis"] == axis):
            [drawn] = panel.plot(curve["sizes"], curve["speeds"], marker="o", markersize=3, label=curve["name"])
            if curve["knee"] is not None:
                at = curve["speeds"][curve["sizes"].index(curve["knee"])]
                panel.plot(curve["knee"], at, marker="o", markersize=10, fillstyle="none", color=drawn.get_color())
                side = (-45, 8) if "compiled" in curve["name"] else (6, -12)  # of the curve
                panel.annotate(f"knee {curve['knee']:,}", (curve["knee"], at), side, textcoords="offset points")
            panel.set_ylabel(curve["unit"])
        panel.set_xscale("log", base=2)
        if axis == "time limit":
            panel.set_ylim(bottom=0)  # nothing grows here, and a cut axis would make much of noise
        else:
            panel.set_yscale("log")
        panel.set_xlabel(axis)
        panel.grid(alpha=0.25)
        panel.legend(fontsize=8, frameon=False)
    panel, left = panels["shares"], [0.0] * len(shares)
    names = [f"members {members}" for members in shares]
    for part in next(iter(shares.values()), {}):
        widths = [100 * share[part] for share in shares.values()]
        panel.barh(names, widths, left=left, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set_xlabel("% of an iteration of PPO, by torch.profiler")
    panel.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5)
    figure.savefig(path)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
