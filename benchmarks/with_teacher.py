"""Reinforcement learning with a teacher beside that from scratch: steps to a return, and what becomes of it.

    python -m benchmarks.with_teacher                            # all parts, some 25 minutes of CPU
    python -m benchmarks.with_teacher --parts finetune --out runs/with_teacher.json

Parts: `good` (kickstarted PPO and QDagger near a teacher of return 500 on CartPole), `acrobot` (the same there), `weak`
(a teacher stopped at a return of 200), `wrong` (its actions permuted), `finetune` and `lander` (from a clone with PPO).
A member's steps to a return are those at the first evaluation, of 20 episodes, that is at it; of one that never is,
those of the whole race. Ratios are of means, with a bootstrap over members. Steps that the teacher shows count as those
of QDagger.
Finished parts are kept, so that a run can be cut.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from imitate.baselines.ppo import architecture_of
from imitate.configs import config_for
from imitate.core.terms import Linear, UntilReturn
from imitate.core.types import Algorithm, Policy, Source
from imitate.distributions import Categorical
from imitate.experiment import Evaluator
from imitate.experiment.evaluate import interval
from imitate.experiment.report import versions
from imitate.nets import Actor, Architecture
from imitate.nets.actor import fresh
from imitate.policies import Greedy, Random

THINNED = 20


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        parts: Of the page above.
        members: Seeds.
        seed: Of the first source; settings were chosen on others.
        threads: Of torch.
        out: Where to write; parts that are there already are not measured again.
    """

    parts: tuple[str, ...] = ("good", "weak", "wrong", "finetune", "acrobot", "lander")
    members: int = 8
    seed: int = 200
    threads: int = 1
    out: Path = Path("benchmarks/results/with_teacher.json")


class Permuted:
    """A teacher whose actions are permuted: the probability of each is that of the next.

    Args:
        teacher: Of choices.
    """

    noise = 0

    def __init__(self, teacher: Actor) -> None:
        self.teacher = teacher

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The mode."""
        return self.distribution(obs).mode, None, {}

    def distribution(self, obs: Tensor) -> Categorical:
        """Of the permuted actions."""
        found = self.teacher.distribution(obs)
        assert isinstance(found, Categorical)
        return Categorical(found.logits.roll(1, -1))


@dataclass(frozen=True)
class Place:
    """An environment, with what the parts make there.

    Args:
        env: Its id.
        options: Members and seed.
    """

    env: str
    options: Options

    def source(self, offset: int = 0, num_envs: int = 16) -> Source:
        """Environments of a seed of their own."""
        options = self.options
        return imitate.make(self.env, num_envs=num_envs, members=options.members, seed=options.seed + 1_000 * offset)

    def ppo(self, **options: Any) -> imitate.PPO:
        """From scratch, or with terms."""
        return imitate.PPO(self.source(), config_for(imitate.PPOConfig, "ppo", self.env), **options)

    def student(self, source: Source) -> Actor:
        """A fresh actor, which is not to begin as its teacher of the same seed did."""
        return fresh(source, architecture_of(config_for(imitate.PPOConfig, "ppo", self.env)))

    def kickstarted(self, teacher: Any, weight: Any) -> imitate.PPO:
        """PPO near a teacher."""
        return self.ppo(policy=self.student(self.source()), terms=[imitate.Distil(teacher, weight)])

    def decaying(self) -> Linear:
        """The weight of `imitate train ppo --teacher`: to 0 within a quarter of the run."""
        return Linear(1.0, 0.0, steps=config_for(imitate.PPOConfig, "ppo", self.env).steps // 4)

    def qdagger(self, teacher: Any) -> imitate.QDagger:
        """QDagger with the settings of the environment."""
        return imitate.QDagger(self.source(), teacher, config_for(imitate.QDaggerConfig, "qdagger", self.env))

    def teacher(self) -> Actor:
        """PPO of another seed, trained to its end."""
        made = imitate.PPO(self.source(1), config_for(imitate.PPOConfig, "ppo", self.env))
        while not made.progress.finished:
            made.step()
        return made.policy

    def untrained(self) -> Actor:
        """A random teacher: an actor before it has learnt."""
        return fresh(self.source(2), architecture_of(config_for(imitate.PPOConfig, "ppo", self.env)))


def numbers(values: Any) -> dict[str, Any]:
    """Mean, interval over members, and all."""
    scores = np.asarray(values, dtype=np.float64)
    low, high = interval(scores)
    return {"mean": scores.mean(), "ci_low": low, "ci_high": high, "members": scores.round(3).tolist()}


def ratio(ours: Any, theirs: Any, resamples: int = 10_000) -> dict[str, float]:
    """The ratio of two means, with the 95 % interval of a bootstrap over members."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (ours, theirs))
    drawn = np.random.default_rng(0).integers(len(one), size=(resamples, len(one)))
    low, high = np.quantile(one[drawn].mean(1) / other[drawn].mean(1), (0.025, 0.975))
    return {"mean": one.mean() / other.mean(), "ci_low": low, "ci_high": high}


def returns(policy: Policy, source: Source, episodes: int = 100) -> Any:
    """Of each member, on the noise of every other evaluation; a random policy draws."""
    return Evaluator(source, episodes, deterministic=not isinstance(policy, Random)).returns(policy).mean(1)


def race(
    algorithm: Algorithm,
    target: float,
    *,
    every: int = 1,
    steps: int | None = None,
    before: int = 0,
    whole: bool = False,
) -> dict[str, Any]:
    """Train, and look at the return now and then.

    Args:
        algorithm: What learns.
        target: The return to reach.
        every: Steps between two looks, after whole iterations.
        steps: Where the race ends; with the run by default.
        before: Steps that count beside those of the algorithm.
        whole: Go on after all have reached it.
    """
    begun, evaluator = time.process_time(), Evaluator(algorithm.source, 20)
    end = algorithm.progress.budget if steps is None else steps
    looks, curve = [before], [evaluator.returns(algorithm.policy).mean(1)]
    due = every

    def reached() -> Any:
        above = np.array(curve) >= target
        return np.where(above.any(0), np.array(looks)[above.argmax(0)], end + before)

    while int(algorithm.progress.steps) < end and (whole or (np.array(curve).max(0) < target).any()):
        algorithm.step()
        now = int(algorithm.progress.steps)
        if now >= due or now >= end:
            due = now + every
            looks.append(now + before)
            curve.append(evaluator.returns(algorithm.policy).mean(1))
    return {
        "steps_to_target": numbers(reached()),
        "reached": int((np.array(curve).max(0) >= target).sum()),
        "steps": looks,
        "returns": np.array(curve).round(2).tolist(),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def beside(rows: dict[str, Any], ours: str, theirs: str) -> dict[str, Any]:
    """Steps to the target of one row over those of another, and how many fewer they are."""
    one, other = (np.array(rows[name]["steps_to_target"]["members"]) for name in (ours, theirs))
    return {"ratio": ratio(one, other), "fewer": numbers(other - one)}


def near_a_teacher(place: Place, target: float | None, dqn_steps: int) -> dict[str, Any]:
    """Kickstarted PPO and QDagger, each beside its like from scratch and beside a random teacher."""
    teacher, untrained = place.teacher(), place.untrained()
    source = place.source()
    known, chance = returns(teacher, source), returns(Random(source.spec.action), source)
    goal = chance.mean() + 0.95 * (known.mean() - chance.mean()) if target is None else target
    rows: dict[str, Any] = {"PPO": race(place.ppo(), goal)}
    for name, one in (("", teacher), (", random teacher", untrained)):
        rows[f"PPO, kickstarted{name}"] = race(place.kickstarted(one, place.decaying()), goal)
    dqn = imitate.DQN(place.source(), config_for(imitate.DQNConfig, "dqn", place.env))
    rows["DQN"] = race(dqn, goal, every=1_024, steps=dqn_steps)
    for name, one in (("", teacher), (", random teacher", untrained)):
        learner = place.qdagger(one)
        learner._learn_offline()
        learner._learn_offline = lambda: None  # type: ignore[method-assign]  # done: the first look is behind it
        before = int(learner.progress.labels[0])
        rows[f"QDagger{name}"] = race(learner, goal, every=1_024, steps=dqn_steps, before=before)
    return {
        "target": goal,
        "teacher": numbers(known),
        "random actions": numbers(chance),
        "untouched student": numbers(returns(place.student(source), source)),
        "rows": rows,
        "PPO, kickstarted / PPO": beside(rows, "PPO, kickstarted", "PPO"),
        "QDagger / DQN": beside(rows, "QDagger", "DQN"),
    }


def good(options: Options) -> dict[str, Any]:
    """CartPole, to 475."""
    return near_a_teacher(Place("CartPole-v1", options), 475.0, 60_000)


def acrobot(options: Options) -> dict[str, Any]:
    """Acrobot, to 95 % of the teacher's gap over random actions."""
    return near_a_teacher(Place("Acrobot-v1", options), None, 60_000)


def stopped(place: Place, target: float) -> Actor:
    """PPO at a small learning rate, each member as it was at the first look at which its return was at the target."""
    config = replace(config_for(imitate.PPOConfig, "ppo", place.env), lr=1e-3, rollout=16)
    made = imitate.PPO(place.source(1), config)
    evaluator, kept = Evaluator(made.source, 20), place.untrained()
    waiting = torch.ones(place.options.members, dtype=torch.bool)
    while waiting.any() and not made.progress.finished:
        made.step()
        there = waiting & torch.as_tensor(evaluator.returns(made.policy).mean(1) >= target)
        for name, value in kept.state_dict().items():
            value[there] = made.policy.state_dict()[name][there]
        waiting &= ~there
    return kept


def weak(options: Options) -> dict[str, Any]:
    """A teacher stopped at 200: kickstarted while it is the better one, distilled alone, and no teacher."""
    place = Place("CartPole-v1", options)
    teacher, source = stopped(place, 200.0), place.source()
    known, chance = returns(teacher, source), returns(Random(source.spec.action), source)
    until = UntilReturn(tuple(known.tolist()), source.spec, origin=tuple(chance.tolist()))
    learners: dict[str, Algorithm] = {"PPO": place.ppo(), "PPO, kickstarted": place.kickstarted(teacher, until)}
    config = config_for(imitate.PolicyDistillationConfig, "distill", place.env)
    at = place.source()
    learners["distillation alone"] = imitate.PolicyDistillation(at, teacher, place.student(at), config)
    rows: dict[str, Any] = {}
    final = {}
    for name, learner in learners.items():
        rows[name] = race(learner, 475.0, whole=True)
        final[name] = numbers(returns(learner.policy, source))
    return {
        "target": 475.0,
        "teacher": numbers(known),
        "rows": rows,
        "final return": final,
        "PPO, kickstarted / PPO": beside(rows, "PPO, kickstarted", "PPO"),
    }


def wrong(options: Options) -> dict[str, Any]:
    """The teacher of 500 with its actions permuted: by the schedule in steps, and by that of the return."""
    place = Place("CartPole-v1", options)
    teacher, source = Permuted(place.teacher()), place.source()
    known, chance = returns(Greedy(teacher), source), returns(Random(source.spec.action), source)
    until = UntilReturn(tuple(known.tolist()), source.spec, origin=tuple(chance.tolist()))
    learners = {
        "PPO": place.ppo(),
        "PPO, kickstarted, by steps": place.kickstarted(teacher, place.decaying()),
        "PPO, kickstarted, by return": place.kickstarted(teacher, until),
    }
    rows = {name: race(learner, 475.0, whole=True, every=4_096) for name, learner in learners.items()}
    final = {name: returns(learner.policy, source) for name, learner in learners.items()}
    return {
        "teacher": numbers(known),
        "rows": rows,
        "final return": {name: numbers(values) for name, values in final.items()},
        "share of scratch": {name: ratio(values, final["PPO"]) for name, values in final.items() if name != "PPO"},
    }


def from_a_clone(place: Place, episodes: int, target: float, teacher: Actor, scratch: dict[str, Any]) -> dict[str, Any]:
    """A clone of thinned demonstrations, and PPO from there."""
    at = place.source(3, num_envs=1)
    shown = imitate.demonstrate(at, teacher, episodes).thinned(THINNED)
    clone = fresh(at, config_for(Architecture, "student", place.env))
    cloning = imitate.BehaviourCloning(at, shown, clone, config_for(imitate.BehaviourCloningConfig, "clone", place.env))
    while not cloning.progress.finished:
        cloning.step()
    source = place.source()
    begin, chance = returns(clone, source), returns(Random(source.spec.action), source)
    config = config_for(imitate.FinetuningConfig, "finetune", place.env)
    learner = imitate.finetune(clone, source, config)
    # The first point of the curve is the clone on the episodes of all the others.
    steps = scratch["steps"][-1]
    rows = {"PPO": scratch, "finetuned": race(learner, target, every=2_048, steps=min(steps, 150_000), whole=True)}
    if config.soften:
        sharp = imitate.finetune(clone, place.source(), replace(config, soften=0.0))
        rows["finetuned, not softened"] = race(sharp, target, every=2_048, steps=min(steps, 150_000), whole=True)
    curve = np.array(rows["finetuned"]["returns"])
    return {
        "target": target,
        "labels": numbers(shown.labels),
        "teacher": numbers(returns(teacher, source)),
        "random actions": numbers(chance),
        "clone": numbers(begin),
        "rows": rows,
        "least mean return": curve.mean(1).min(),
        "share of the clone's gap kept": (curve.mean(1).min() - chance.mean()) / (curve[0].mean() - chance.mean()),
        "least share of its return, by member": (curve.min(0) / curve[0]).round(3).tolist(),
        "finetuned / PPO": beside(rows, "finetuned", "PPO"),
    }


def finetune(options: Options) -> dict[str, Any]:
    """CartPole: a clone of one demonstration, each 20th step, some 25 labels."""
    place = Place("CartPole-v1", options)
    return from_a_clone(place, 1, 475.0, place.teacher(), race(place.ppo(), 475.0, whole=True))


def lander(options: Options) -> dict[str, Any]:
    """LunarLander: a clone of 25 thinned demonstrations; the policy from scratch is the teacher."""
    place = Place("LunarLander-v3", options)
    made = place.ppo()
    scratch = race(made, 200.0, every=8_192, whole=True)
    return from_a_clone(place, 25, 200.0, made.policy, scratch)


PARTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "good": good,
    "weak": weak,
    "wrong": wrong,
    "finetune": finetune,
    "acrobot": acrobot,
    "lander": lander,
}


def show(part: str, found: dict[str, Any]) -> None:
    """Print the numbers of a part."""

    def lines(name: str, value: Any) -> None:
        if isinstance(value, dict) and "ci_low" in value:
            print(f"{part}: {name}: {value['mean']:,.3f} [{value['ci_low']:,.3f}, {value['ci_high']:,.3f}]")
        elif isinstance(value, dict):
            for key, inner in value.items():
                lines(f"{name}: {key}", inner)
        elif not isinstance(value, Sequence) or len(value) <= 8:
            print(f"{part}: {name}: {value}")

    for name, value in found.items():
        lines(name, value)


def main(options: Options) -> None:
    """Measure the parts, print and write each."""
    torch.set_num_threads(options.threads)
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        raise SystemExit(f"parts: '{min(unknown)}' is none of {', '.join(PARTS)}.")
    about = {"members": options.members, "seed": options.seed, "threads": options.threads, "versions": versions()}
    document: dict[str, Any] = {**about, "parts": {}}
    if options.out.exists():
        document = json.loads(options.out.read_text("utf-8"))
        if any(document[name] != about[name] for name in ("members", "seed")):
            raise SystemExit(f"out: '{options.out}' is of other members or seeds; pass another --out.")
    for part in options.parts:
        if part not in document["parts"]:
            document["parts"][part] = PARTS[part](options)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(document, indent=1, default=float) + "\n", "utf-8")
        show(part, document["parts"][part])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
