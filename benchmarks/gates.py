"""Return against queries: gates beside DAgger on CartPole and LunarLander; DART beside cloning and DAgger on Pendulum.

A query is an answer of the teacher, whoever wanted it. All gates begin with a tenth of DAgger's first round and have a
quarter of its labels as their budget; all else is DAgger's, as tuned for the environment. A classifier knows little by
then, so its gates are there once more behind the whole first round. "DAgger, short rounds" has a fifth of the labels,
without a gate. The supervisor of HG-DAgger is a script that looks at two numbers. EnsembleDAgger with its discrepancy
rule asks at every step, and has no budget; "doubt" is that without the rule. The teacher of LunarLander is one PPO of
the shipped settings and 400,000 steps, which serves all members. On Pendulum all have the same labels.

    python -m benchmarks.gates                                        # all parts, some 20 minutes of CPU
    python -m benchmarks.gates --parts CartPole-v1 --seed 0 --out runs/gates.json

Finished curves are kept, so that a run can be cut. Ratios are of means, with a bootstrap over members.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from benchmarks.with_teacher import numbers, ratio
from imitate.configs import config_for, settings
from imitate.core.types import Algorithm, Source
from imitate.distributions import Teacher
from imitate.experiment import Evaluator
from imitate.experiment.report import versions
from imitate.nets import Actor, Architecture
from imitate.nets.actor import fresh
from imitate.policies import Gate, Greedy
from imitate.students import (
    DART,
    DAgger,
    DAggerConfig,
    DARTConfig,
    EnsembleGate,
    EnsembleGateConfig,
    Exponential,
    GatedDAgger,
    GatedDAggerConfig,
    HumanGate,
    HumanGateConfig,
    LazyGate,
    SafeGate,
    ThriftyGate,
    ThriftyGateConfig,
)

COLOURS = {
    "DAgger": "#222222",
    "DAgger, short rounds": "#999999",
    "cloning": "#1f78b4",
    "DART": "#e31a1c",
    "SafeDAgger": "#1f78b4",
    "SafeDAgger, a round first": "#1f78b4",
    "LazyDAgger": "#33a02c",
    "LazyDAgger, a round first": "#33a02c",
    "EnsembleDAgger": "#b15928",
    "EnsembleDAgger, doubt": "#e08214",
    "ThriftyDAgger": "#e31a1c",
    "HG-DAgger": "#6a3d9a",
}
# What the scripted supervisor looks at: numbers of an observation and their limits.
LIMITS = {"CartPole-v1": ((2, 0), (0.1, 1.2)), "LunarLander-v3": ((4, 0), (0.35, 0.4))}
TEACHER_STEPS = 400_000  # of PPO on LunarLander
CRASH = {"CartPole-v1": None, "LunarLander-v3": -50.0}  # a termination with less reward is a failure

Build = Callable[[Source, Teacher, Actor], Algorithm]


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        parts: Environments.
        members: Seeds.
        seed: Of the first source; settings were chosen on others.
        episodes: Of each member in an evaluation.
        rounds: Of each algorithm.
        threads: Of torch.
        out: Where to write; curves that are there already are not measured again.
        picture: Where to draw what is there.
    """

    parts: tuple[str, ...] = ("CartPole-v1", "LunarLander-v3", "Pendulum-v1")
    members: int = 8
    seed: int = 300
    episodes: int = 20
    rounds: int = 10
    threads: int = 1
    out: Path = Path("benchmarks/results/gates.json")
    picture: Path = Path("docs/gates.png")


def gated(env: str, options: Options) -> dict[str, Build]:
    """DAgger, and a curve a gate."""
    dagger = replace(config_for(DAggerConfig, "dagger", env), rounds=options.rounds)
    steps = dagger.rollout * int(settings(env)["dagger_envs"])
    config = GatedDAggerConfig(
        warm_up=dagger.rollout // 10,
        rounds=options.rounds,
        rollout=dagger.rollout,
        budget=options.rounds * steps // 4,
        updates=dagger.updates,
        batch_size=dagger.batch_size,
        lr=dagger.lr,
    )

    def behind(gate: Callable[[Source, Actor], Gate], config: GatedDAggerConfig = config) -> Build:
        return lambda source, teacher, student: GatedDAgger(source, teacher, student, gate(source, student), config)

    def ensemble(tau: float | None) -> Callable[[Source, Actor], Gate]:
        return lambda source, student: EnsembleGate(source, student, EnsembleGateConfig(tau=tau))

    later = replace(config, warm_up=dagger.rollout)
    thrifty, human = ThriftyGateConfig(failure=CRASH[env]), HumanGateConfig(*LIMITS[env])
    return {
        "DAgger": lambda source, teacher, student: DAgger(source, teacher, student, dagger),
        "DAgger, short rounds": lambda source, teacher, student: DAgger(
            source, teacher, student, replace(dagger, rollout=dagger.rollout // 5)
        ),
        "SafeDAgger": behind(SafeGate),
        "LazyDAgger": behind(LazyGate),
        "SafeDAgger, a round first": behind(SafeGate, later),
        "LazyDAgger, a round first": behind(LazyGate, later),
        "EnsembleDAgger": behind(ensemble(0.5), replace(config, budget=None)),
        "EnsembleDAgger, doubt": behind(ensemble(None)),
        "ThriftyDAgger": behind(lambda source, student: ThriftyGate(source, student, thrifty)),
        "HG-DAgger": behind(lambda source, student: HumanGate(human.takes_over, human.hands_back)),
    }


def disturbed(env: str, options: Options) -> dict[str, Build]:
    """DART, cloning and DAgger, with as many labels in each round."""
    dagger = replace(config_for(DAggerConfig, "dagger", env), rounds=options.rounds, rollout=20)
    shared = ("rounds", "rollout", "updates", "batch_size", "lr")
    dart = DARTConfig(**{name: getattr(dagger, name) for name in shared})
    alone = replace(dagger, beta=Exponential(1.0))  # the teacher drives every round
    return {
        "DAgger": lambda source, teacher, student: DAgger(source, teacher, student, dagger),
        "cloning": lambda source, teacher, student: DAgger(source, teacher, student, alone),
        "DART": lambda source, teacher, student: DART(source, teacher, student, dart),
    }


def teacher_of(env: str, options: Options) -> Teacher:
    """A control law; where there is none, PPO."""
    if env != "LunarLander-v3":
        return imitate.teachers.control_law(env)
    source = imitate.make(env, num_envs=16, members=1, seed=options.seed + 1_000)
    ppo = imitate.PPO(source, replace(config_for(imitate.PPOConfig, "ppo", env), steps=TEACHER_STEPS))
    while not ppo.progress.finished:
        ppo.step()
    return ppo.policy


def curve(build: Build, env: str, teacher: Teacher, evaluator: Evaluator, options: Options) -> dict[str, Any]:
    """Train, and look at the return of the student alone after every second round."""
    begun, num_envs = time.process_time(), int(settings(env)["dagger_envs"])
    source = imitate.make(env, num_envs=num_envs, members=options.members, seed=options.seed)
    student = fresh(source, config_for(Architecture, "student", env))
    algorithm, looks, metrics = build(source, teacher, student), [], {}
    for round_ in range(1, options.rounds + 1):
        metrics = algorithm.step()
        if round_ % 2 == 0 or round_ == options.rounds or env != "LunarLander-v3":
            returns = evaluator.returns(student).mean(1)
            looks.append({"round": round_, "labels": numbers(algorithm.progress.labels), "return": numbers(returns)})
    found = {"looks": looks, "cpu_seconds": round(time.process_time() - begun, 1)}
    if "switches" in metrics:
        found["switches_per_1000_steps"] = numbers(1_000 * metrics["switches"] / int(algorithm.progress.steps))
    return found


def measure(env: str, options: Options, found: dict[str, Any], save: Callable[[], None]) -> None:
    """All curves of an environment that are not there yet, and how they end beside DAgger."""
    builds = (disturbed if env == "Pendulum-v1" else gated)(env, options)
    curves = found.setdefault("curves", {})
    if builds.keys() <= curves.keys():
        return
    teacher = teacher_of(env, options)
    evaluator = Evaluator(imitate.make(env, num_envs=1, members=options.members, seed=options.seed), options.episodes)
    found["teacher"] = numbers(evaluator.returns(Greedy(teacher)).mean(1))
    print(f"{env}: teacher {found['teacher']['mean']:.1f}")
    for name in [name for name in builds if name not in curves]:
        one = curves[name] = curve(builds[name], env, teacher, evaluator, options)
        end, reference = one["looks"][-1], curves["DAgger"]["looks"][-1]
        one["queries_of_dagger"] = end["labels"]["mean"] / reference["labels"]["mean"]
        if reference["return"]["mean"] > 0:  # of costs a ratio says nothing
            one["of_dagger"] = ratio(end["return"]["members"], reference["return"]["members"])
        mine, theirs = (np.array(look["return"]["members"]) for look in (end, reference))
        one["beside_dagger"] = numbers(mine - theirs)
        print(f"  {line(name, one)}", flush=True)
        save()


def line(name: str, one: dict[str, Any]) -> str:
    """How a curve ends, as a line of the table."""
    end, beside = one["looks"][-1], one["beside_dagger"]
    low, high = end["return"]["ci_low"], end["return"]["ci_high"]
    return (
        f"{name:<25} {end['labels']['mean']:>7.0f} labels ({one['queries_of_dagger']:>6.1%})"
        f" {end['return']['mean']:>7.1f} [{low:.1f}, {high:.1f}], beside DAgger"
        f" {beside['mean']:+.1f} [{beside['ci_low']:+.1f}, {beside['ci_high']:+.1f}],"
        f" {one.get('switches_per_1000_steps', {}).get('mean', 0):.1f} switches, {one['cpu_seconds']:.1f} s"
    )


def draw(document: dict[str, Any], path: Path) -> None:
    """Return against labels: a curve an algorithm, with its interval."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    parts = document["parts"]
    figure = Figure(figsize=(5 * len(parts), 5), layout="constrained")
    for axis, (env, found) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        for name, one in found["curves"].items():
            style = "--" if name.endswith("first") else "-"
            labels = [look["labels"]["mean"] for look in one["looks"]]
            mean, low, high = ([look["return"][key] for look in one["looks"]] for key in ("mean", "ci_low", "ci_high"))
            axis.plot(labels, mean, "o" + style, color=COLOURS[name], label=name, markersize=3, linewidth=1.5)
            axis.fill_between(labels, low, high, color=COLOURS[name], alpha=0.06, linewidth=0)
        axis.axhline(found["teacher"]["mean"], color="k", linestyle=":", linewidth=1)
        means = [look["return"]["mean"] for one in found["curves"].values() for look in one["looks"]]
        best, worst = max(*means, found["teacher"]["mean"]), min(means)
        axis.set_ylim(worst - 0.1 * (best - worst), best + 0.05 * (best - worst))
        axis.set(title=env, xlabel="labels of a member", ylabel="return of the student alone", xscale="log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(options: Options) -> None:
    """Measure, print a table, write JSON and draw."""
    torch.set_num_threads(options.threads)
    document: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    document["versions"] = versions()
    document["options"] = {name: getattr(options, name) for name in ("members", "seed", "episodes", "rounds")}
    options.out.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")

    for env in options.parts:
        measure(env, options, document.setdefault("parts", {}).setdefault(env, {}), save)
    draw(document, options.picture)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
