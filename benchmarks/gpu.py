"""All that is measured on a GPU, in one call of less than eight minutes: CartPole, PPO, cloning, DQN, conditioning.

    python -m benchmarks.gpu --out benchmarks/results/gpu.json
    python -m benchmarks.gpu --only rollouts ppo --seconds 120

Each row says which path ran: eager, a CUDA graph, or one of a compiled step. The file is written after every row, and a
section that fails or for which there is no time leaves a line that says so. Targets are of one H100.
"""

from __future__ import annotations

import gc
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from benchmarks import gpu_conditioning as conditioning
from imitate.configs import config_for, settings
from imitate.core.capture import disabled, paths
from imitate.core.rollout import TensorSource
from imitate.core.types import Algorithm
from imitate.experiment.report import versions
from imitate.policies import Random
from imitate.teachers.control import control_law

ENV = "CartPole-v1"
Row = dict[str, Any]


@dataclass(frozen=True)
class Options(conditioning.Sizes):
    """What to measure.

    Args:
        only: Sections: rollouts, race, ppo, cloning, dqn, fit, throughput, grid, traces, compiled; all by default.
        envs: Environments of one member in the rollouts.
        rollout: Steps of each in one of them.
        members: Sizes of the population of the learners.
        racers: Members that race to a return of 475.
        timing: Seconds of one timing at the least.
        seconds: After which no further section begins.
        device: Where.
        out: Where to write.
    """

    only: tuple[str, ...] = ()
    envs: tuple[int, ...] = (2_048, 65_536, 524_288)
    rollout: int = 64
    members: tuple[int, ...] = (1, 8, 64)
    racers: int = 64
    timing: float = 1.0
    seconds: float = 360.0
    out: Path = Path("benchmarks/results/gpu.json")


def main(options: Options) -> None:
    """Measure, print, write JSON after every row."""
    torch.set_num_threads(1)
    start, rows = time.perf_counter(), []
    card = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor()
    document = {
        "card": card,
        "matmul": torch.get_float32_matmul_precision(),  # "highest": no TF32
        "versions": {**versions(), "cuda": torch.version.cuda},
        "rows": rows,
    }
    for name, section in SECTIONS.items():
        if options.only and name not in options.only:
            continue
        if time.perf_counter() - start > options.seconds:
            found: Iterator[Row] = iter([{"name": name, "skipped": f"{options.seconds:g} s were over"}])
        else:
            found = _guarded(name, section, options)
        for row in found:
            row |= {"section": name, "at": round(time.perf_counter() - start, 1)}
            rows.append(row)
            print("  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        gc.collect()
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()


def _guarded(name: str, section: Callable[[Any], Iterator[Row]], options: Options) -> Iterator[Row]:
    try:
        yield from section(options)
    except Exception as error:  # the others are worth having
        reason = str(error).strip().splitlines() or [""]
        yield {"name": name, "skipped": f"{type(error).__name__}: {reason[0]}"}


def _short(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def speed(work: Callable[[], int], options: Options) -> float:
    """Units a second of what does something and returns how much; recordings are made before."""
    for _ in range(4):
        work()
    _wait(options)
    done, start = 0, time.perf_counter()
    while True:
        done += work()
        _wait(options)
        elapsed = time.perf_counter() - start
        if elapsed >= options.timing:
            return done / elapsed


def _wait(options: Options) -> None:
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()


def _modes() -> dict[str, AbstractContextManager[None]]:
    return {"eager": disabled(), "captured": nullcontext()}


def rollouts(options: Options, *, compiled: bool = False) -> Iterator[Row]:
    """Steps a second of random actions and of a 64-64 policy; gymnax: 2,048 environments on an A100."""
    targets = {("random", 65_536): 1e9, ("64-64 policy", 65_536): 1e8}
    for number in options.envs[1:2] if compiled else options.envs:
        for name in ("random", "64-64 policy"):
            for mode, context in ({"compiled": nullcontext()} if compiled else _modes()).items():
                env = imitate.make(ENV, num_envs=1).env
                source = TensorSource(env, id=ENV, num_envs=number, device=options.device, compile=compiled)
                driver = (
                    Random(source.spec.action) if name == "random" else imitate.nets.policy(source, hidden=(64, 64))
                )

                def work(source: TensorSource = source, driver: Any = driver) -> int:
                    source.collect(driver, options.rollout)
                    return source.spec.num_envs * options.rollout

                with context:
                    found = speed(work, options)
                row = {"name": f"CartPole, {name}", "envs": number, "mode": mode, "steps_per_second": found}
                target = targets.get((name, number)) if mode != "eager" else None
                yield {**row, **_path(source), **({} if target is None else {"target": target, "met": found >= target})}


def _path(thing: Any) -> Row:
    """Which paths ran, to be called behind the run."""
    holder = type("Holder", (), {})()
    holder.source = thing
    return {"path": paths(holder) if isinstance(thing, TensorSource) else paths(thing)}


def _ppo(members: int, options: Options, **changes: Any) -> imitate.PPO:
    config = replace(config_for(imitate.PPOConfig, "ppo", ENV), **changes)
    number = int(settings(ENV)["num_envs"])
    return imitate.PPO(imitate.make(ENV, num_envs=number, members=members, device=options.device), config)


def race(options: Options) -> Iterator[Row]:
    """Seconds until the mean return over members and 20 episodes of each is 475; looked at every 10,000 steps."""
    for mode, context in _modes().items():
        with context:
            warm = _ppo(options.racers, options)
            for _ in range(4):
                warm.step()
            warm.source.play(warm.policy, 1, seed=1)  # libraries are loaded now
            algorithm = _ppo(options.racers, options)
            _wait(options)
            start, trained, look, returns = time.perf_counter(), 0.0, 10_000, 0.0
            while returns < 475 and not algorithm.progress.finished:
                begin = time.perf_counter()
                while int(algorithm.progress.steps) < look and not algorithm.progress.finished:
                    algorithm.step()
                _wait(options)
                trained += time.perf_counter() - begin
                look += 10_000
                returns = float(algorithm.source.play(algorithm.policy, 20, seed=0).mean())
            whole = time.perf_counter() - start
        row = {"name": f"PPO, {options.racers} members to 475", "mode": mode, "seconds": whole, "training": trained}
        met = whole <= 10 and returns >= 475
        yield {
            **row,
            "steps": int(algorithm.progress.steps),
            "return": returns,
            "target": 10,
            "met": met,
            **_path(algorithm),
        }


def ppo(options: Options) -> Iterator[Row]:
    """Steps a second of PPO with the tuned settings, and of Stable-Baselines3 with the same on the same card."""
    ours = {}
    for members in options.members:
        for mode, context in _modes().items():
            algorithm = _ppo(members, options, steps=10**9)
            with context:
                found = _learning(algorithm, options)
            ours[members, mode] = found
            row = {"name": "PPO", "members": members, "mode": mode, "steps_per_second": found}
            yield {**row, **_path(algorithm)}
    yield _against_sb3(options, ours[max(options.members), "captured"])


def _learning(algorithm: Algorithm, options: Options) -> float:
    """Steps of all members a second."""

    def work() -> int:
        before = int(algorithm.progress.steps)
        algorithm.step()
        return algorithm.source.spec.members * (int(algorithm.progress.steps) - before)

    return speed(work, options)


def _against_sb3(options: Options, ours: float) -> Row:
    name = "PPO, Stable-Baselines3, one run"
    try:
        import gymnasium
        from stable_baselines3 import PPO
        from stable_baselines3.common.env_util import make_vec_env
    except ImportError as error:
        return {"name": name, "skipped": f"not installed here: {error}"}
    config, number = config_for(imitate.PPOConfig, "ppo", ENV), int(settings(ENV)["num_envs"])
    theirs = PPO(
        "MlpPolicy",
        make_vec_env(lambda: gymnasium.make(ENV), number),
        n_steps=config.rollout,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        policy_kwargs={"net_arch": list(config.hidden), "activation_fn": torch.nn.ReLU},
        device=options.device,
        seed=0,
    )
    steps = config.rollout * number
    theirs.learn(steps)
    start = time.perf_counter()
    theirs.learn(8 * steps)
    found = 8 * steps / (time.perf_counter() - start)
    ratio = ours / found
    row = {"name": name, "mode": "eager", "steps_per_second": found, "members": max(options.members), "ratio": ratio}
    return {**row, "target": 50, "met": ratio >= 50}


def cloning(options: Options) -> Iterator[Row]:
    """Samples a second of behaviour cloning, 64-64, batches of 64."""
    for members in options.members:
        for mode, context in _modes().items():
            source = imitate.make(ENV, num_envs=10, members=members, device=options.device)
            shown = imitate.demonstrate(source, control_law(ENV), 10)
            config = imitate.BehaviourCloningConfig(updates=10**9, validation=0.0, validate_every=100)
            student = imitate.nets.policy(source, hidden=(64, 64))
            algorithm = imitate.BehaviourCloning(source, shown, student, config)
            with context:
                found = 64 * _learning(algorithm, options)
            row = {"name": "cloning", "members": members, "mode": mode, "samples_per_second": found}
            yield {**row, **_path(algorithm)}


def dqn(options: Options) -> Iterator[Row]:
    """Steps a second of DQN, 64-64, batches of 64, one update in two steps of a member."""
    for members in options.members:
        for mode, context in _modes().items():
            source = imitate.make(ENV, num_envs=8, members=members, device=options.device)
            config = imitate.DQNConfig(steps=10**9, rollout=8, updates=32, learning_starts=128, hidden=(64, 64))
            algorithm = imitate.DQN(source, config)
            algorithm.step(), algorithm.step()
            with context:
                found = _learning(algorithm, options)
            row = {"name": "DQN", "members": members, "mode": mode, "steps_per_second": found}
            yield {**row, **_path(algorithm)}


SECTIONS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "rollouts": rollouts,
    "race": race,
    "ppo": ppo,
    "cloning": cloning,
    "dqn": dqn,
    "traces": conditioning.traces,
    "throughput": conditioning.throughput,
    "fit": conditioning.fit_scale,
    "grid": conditioning.grid,
    "compiled": lambda options: rollouts(options, compiled=True),  # last: compiling takes longest
}


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(tyro.cli(Options, description=__doc__))
