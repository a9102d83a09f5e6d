"""What `benchmarks.versus` measures: the rows, and who takes part in each with what settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Who = Literal["ours", "sb3", "imitation", "rsl"]


@dataclass(frozen=True)
class Contestant:
    """One who is timed.

    Args:
        name: What a table calls it.
        who: Whose worker times it.
        task: Of the worker.
        arguments: Of the task.
    """

    name: str
    who: Who
    task: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The same work for several contestants.

    Args:
        name: What `--rows` calls it, or the beginning of it.
        title: What a table calls it.
        unit: Of a count a second; or "seconds", of reaching something.
        note: What one must know to read the numbers.
        contestants: Who takes part; every one of ours is compared with every peer.
        rounds: Another number of rounds than the others.
    """

    name: str
    title: str
    unit: str
    note: str
    contestants: tuple[Contestant, ...] = field(repr=False)
    rounds: int | None = None


def ours(name: str, task: str, **arguments: Any) -> Contestant:
    """This suite."""
    return Contestant(f"imitate, {name}", "ours", task, arguments)


def sb3(name: str, task: str, **arguments: Any) -> Contestant:
    """Stable-Baselines3, Gymnasium or EnvPool."""
    return Contestant(name, "sb3", task, arguments)


def imitation(name: str, task: str, **arguments: Any) -> Contestant:
    """The `imitation` library."""
    return Contestant(f"imitation, {name}", "imitation", task, arguments)


def rsl(name: str, task: str, **arguments: Any) -> Contestant:
    """rsl_rl."""
    return Contestant(f"rsl_rl, {name}", "rsl", task, arguments)


def rows(scale: float = 1.0, seeds: int = 8) -> tuple[Row, ...]:
    """All rows.

    Args:
        scale: Factor of the work in one timing.
        seeds: Rounds of what is raced to a score, each with another seed.
    """
    return (
        *(*_environments(scale), *_rollouts(scale), *_learners(scale)),
        *(*_students(scale, seeds), *_distillations(scale), _race(seeds)),
    )


def _environments(scale: float) -> Iterator[Row]:
    kinds = {"sync": "Gymnasium, SyncVectorEnv", "vector": "Gymnasium, its own vector CartPole", "envpool": "EnvPool"}
    for number, base in ((8, 10_000), (64, 3_000), (1_024, 500), (65_536, 24)):
        steps = max(8, round(scale * base))
        peers = tuple(
            sb3(title, "steps", kind=kind, num_envs=number, steps=max(8, steps // 10) if kind == "sync" else steps)
            for kind, title in kinds.items()
            if not (kind == "sync" and number > 10_000)
        )
        yield Row(
            f"steps-{number}",
            f"CartPole steps, {number:,} environments",
            "steps/s",
            "Random actions, drawn inside by all. The peers keep nothing. Compiling is part of the warm-up."
            + (" SyncVectorEnv is left out: it would take minutes." if number > 10_000 else ""),
            (
                *peers,
                ours("nothing kept", "moves", num_envs=number, steps=steps),
                ours("all recorded", "steps", num_envs=number, steps=steps),
                ours("all recorded, compiled", "steps", num_envs=number, steps=steps, compiled=True),
            ),
        )


def _rollouts(scale: float) -> Iterator[Row]:
    for number, steps in ((8, 6_000), (64, 12_000)):
        yield Row(
            f"rollout-{number}",
            f"Rollout of a 64-64 policy, {number} environments",
            "steps/s",
            "A fresh policy that draws its actions; theirs is rollout.rollout over a DummyVecEnv. Compiling is part of "
            "the warm-up.",
            (
                imitation(f"{number} environments", "rollout", num_envs=number, steps=max(256, round(scale * steps))),
                *(
                    ours(f"{n:,} environments{name}", "rollout", num_envs=n, steps=max(16, round(scale * own)), **how)
                    for n, own in ((number, 2_000), (1_024, 400))
                    for name, how in (("", {}), (", compiled", {"compiled": True}))
                ),
            ),
        )


def _learners(scale: float) -> Iterator[Row]:
    for number, epochs, iterations, members in ((8, 20, 20, (1, 16)), (64, 4, 10, (1, 8, 16))):
        steps = max(1, round(scale * iterations)) * number * 32
        settings = {"num_envs": number, "rollout": 32, "epochs": epochs, "steps": steps}
        yield Row(
            f"ppo-{number}",
            f"PPO, {number} environments x 32 steps, {epochs} epochs",
            "steps/s",
            "64-64, batches of 256. Steps of all members: n members against one run of theirs is also n members "
            "against n runs of theirs, one after the other. Compiling is part of the warm-up.",
            (
                sb3("Stable-Baselines3, 1 run", "ppo", **settings),
                *(ours(_members(m), "ppo", members=m, **settings) for m in members),
                *(
                    ours(f"{_members(m)}, compiled", "ppo", members=m, compiled=True, **settings)
                    for m in (members[0], members[-1])
                ),
            ),
        )
    steps = max(1, round(scale * 6)) * 256
    for task, title, peer in (("dqn", "DQN", "Stable-Baselines3"), ("qr_dqn", "QR-DQN", "sb3-contrib")):
        for width in (256, 64):
            settings = {"steps": steps, "width": width}
            yield Row(
                f"{task.replace('_', '-')}-{width}",
                f"{title}, {width}-{width}, batch 64, one update in two steps",
                "steps/s",
                "One environment of theirs, as in the zoo, eight of ours; 128 updates after 256 steps. Steps of all "
                "members. Compiling is part of the warm-up.",
                (
                    sb3(f"{peer}, 1 run", task, **settings),
                    *(ours(_members(m), task, members=m, **settings) for m in (1, 8)),
                    ours("1 member, compiled", task, members=1, compiled=True, **settings),
                ),
            )


def _students(scale: float, seeds: int) -> Iterator[Row]:
    for batch, base in ((32, 1_000), (1_024, 150)):
        settings = {"batch": batch, "updates": max(5, round(scale * base)), "samples": 28_000}
        yield Row(
            f"clone-{batch}",
            f"Behaviour cloning, batch {batch:,}, 28,000 samples",
            "samples/s",
            "64-64, no validation, the same entropy bonus. Samples of all members.",
            (
                imitation("1 learner", "clone", **settings),
                *(ours(_members(m), "clone", members=m, **settings) for m in (1, 8)),
            ),
        )
    goal = {"batch": 32, "samples": 28_000, "target": 0.99 * 500, "every": 20, "limit": max(20, round(scale * 4_000))}
    yield Row(
        "until-99",
        "Behaviour cloning until 99 % of the teacher, batch 32",
        "seconds",
        "The mean of 20 greedy episodes is looked at every 20 updates, which is not timed. Eight members are timed "
        "until the last of them is there. The learning rate of both is .001 by default.",
        (
            imitation("1 learner", "clone_until", **goal),
            imitation("1 learner, learning rate .01", "clone_until", lr=0.01, **goal),
            *(ours(_members(m), "clone_until", members=m, **goal) for m in (1, 8)),
            *(ours(f"{_members(m)}, learning rate .01", "clone_until", members=m, lr=0.01, **goal) for m in (1, 8)),
        ),
        rounds=seeds,
    )
    rounds = max(2, round(scale * 10))
    steps, driving = rounds * 2_000, {"rounds": rounds, "rollout": 500, "updates": 500}
    yield Row(
        "dagger",
        f"DAgger, {steps:,} steps, 500 updates of 32 in 2,000 steps",
        "steps/s",
        "4 environments, rounds of 2,000 steps (theirs: at least, in whole episodes), beta falling over 15 rounds, "
        "their log without episodes of its own. Steps of all members.",
        (
            imitation("1 learner", "dagger", steps=steps, round_steps=2_000, updates=500),
            *(ours(_members(m), "dagger", members=m, batch=32, fading=15, **driving) for m in (1, 8)),
        ),
        rounds=3,
    )
    own = {"rounds": 10, "rollout": 50, "updates": 300, "batch": 64, "fading": None, "num_envs": steps // 500}
    yield Row(
        "dagger-own",
        f"DAgger, {steps:,} steps, each with its own settings",
        "steps/s",
        "Theirs: its defaults, 4 environments, and after each round of at least 500 steps four epochs of batches of 32 "
        "on all data, and episodes for its log. Ours: the settings for CartPole, ten rounds of 50 steps and of 300 "
        "updates of 64, in as many environments as it takes.",
        (
            imitation("1 learner", "dagger", steps=steps, round_steps=500, updates=None),
            *(ours(_members(m), "dagger", members=m, **own) for m in (1, 8)),
        ),
        rounds=3,
    )


def _distillations(scale: float) -> Iterator[Row]:
    for number, rollout in ((16, 32), (1_024, 64)):
        settings = {"num_envs": number, "rollout": rollout, "each": 16, "labels": max(1, round(scale * 65_536))}
        yield Row(
            f"distill-{number}",
            f"Distillation of 64-64 into 16-16, {number:,} environments",
            "labels/s",
            f"The student drives. Rollouts of {rollout} steps, a gradient step for each 16 of them, squared errors of "
            "two numbers, our CartPole for both. Teachers have random weights. Labels of all members.",
            (
                rsl("DistillationRunner, 1 run", "distill", **settings),
                *(ours(_members(m), "distill", members=m, **settings) for m in (1, 8)),
            ),
        )


def _race(seeds: int) -> Row:
    goal = {"target": 475.0, "budget": 100_000}
    return Row(
        "score",
        "PPO until a return of 475, the zoo's settings",
        "seconds",
        "The mean of 20 greedy episodes is looked at every 1,024 steps, which is not timed. Whoever is not there after "
        "100,000 steps counts with the time of them all. Eight members are timed until the last of them is there.",
        (
            sb3("Stable-Baselines3, 1 run", "score", **goal),
            *(ours(_members(m), "score", members=m, own=False, **goal) for m in (1, 8)),
            *(ours(f"{_members(m)}, own settings", "score", members=m, own=True, **goal) for m in (1, 8)),
        ),
        rounds=seeds,
    )


def _members(number: int) -> str:
    return "1 member" if number == 1 else f"{number} members"
