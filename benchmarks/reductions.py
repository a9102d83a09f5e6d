"""Reductions of imitation to classification: an exact chain, equal labels on CartPole, and teachers that err on a grid.

Chain: the expected loss of a policy in an episode of T steps, in exact expectations, against T in a log-log plot. Its
slope is 2 for cloning and 1 for forward training and DAgger (Ross & Bagnell 2010; Ross, Gordon & Bagnell 2011).

CartPole: returns of cloning, SMILe and DAgger after some rounds, with equal numbers of labels and of gradient steps a
round. Cloning is DAgger whose teacher always drives. SMILe draws a classifier at each step, and also votes.

Grid: an 8x8 room, and an 8x8 lake whose holes cost 100; a step costs 1, and 80 % of the moves go where they are meant
to. One teacher takes a random move in 25 % of its steps, the other a wrong one in 25 % of the cells, always the same.
Costs to go are by branching, or told: exact for the whole time limit. Return of student less teacher is paired, on the
same noise.

    python -m benchmarks.reductions --out benchmarks/results/reductions.json --picture docs/reductions.png
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.experiment.evaluate import Evaluator, interval
from imitate.experiment.report import versions
from imitate.policies import Greedy
from imitate.students import Exponential
from imitate.teachers import Told, control_law, planner
from imitate_envs.gridworld import FrozenLake8x8, GridWorld
from imitate_envs.tabular import TabularModel

EPSILON = 1e-6
LOOKS = (1, 2, 4, 8, 12, 16, 20)  # rounds on CartPole after which is evaluated
LENGTHS = (32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Seeds.
        seed: Of all.
        episodes: Of each member in an evaluation on CartPole.
        grid_episodes: The same on the grid.
        parts: What to measure anew; of the others the results in `out` are kept.
        out: Where to write.
        picture: Where to draw.
    """

    members: int = 8
    seed: int = 0
    episodes: int = 50
    grid_episodes: int = 400
    parts: tuple[Literal["chain", "cartpole", "grid"], ...] = ("chain", "cartpole", "grid")
    out: Path = Path("benchmarks/results/reductions.json")
    picture: Path = Path("docs/reductions.png")


# The chain: state 0 is the road, 1 the ditch; action 0, the teacher's, leads to the road, 1 to the ditch.


def chain() -> TabularModel:
    """Its model; what is wrong costs 1, wherever it is done."""
    lead = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)  # action a leads to state a, from either
    cost = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(2, 2)
    never, road = torch.zeros(2, dtype=torch.bool), torch.tensor([1.0, 0.0], dtype=torch.float64)
    return TabularModel(lead, -cost, never, road)


def learnt(seen: Tensor, epsilon: float) -> Tensor:
    """What a learner of error ε makes of the states that it has seen: π(a|s) [..., S, 2]; elsewhere it is wrong.

    The worst that is consistent with an error of ε on the distribution that it was trained on.
    """
    wrong = torch.ones(seen.shape, dtype=torch.float64).masked_fill_(seen, epsilon)
    return torch.stack([1 - wrong, wrong], -1)


def distributions(model: TabularModel, policy: Tensor) -> Tensor:
    """d_t(s), [T, S], of a policy π_t(a|s) [T, S, A]."""
    d = [model.start]
    for now in policy[:-1]:
        d.append(torch.einsum("s,sa,sat->t", d[-1], now, model.transition))
    return torch.stack(d)


def loss(model: TabularModel, policy: Tensor) -> float:
    """Σ_t E[cost], exact."""
    d = distributions(model, policy)
    return float(-(d.unsqueeze(-1) * policy * model.reward).sum())


def cloned(model: TabularModel, steps: int, epsilon: float) -> Tensor:
    """Trained on the teacher's states."""
    teacher = learnt(torch.ones(steps, model.states, dtype=torch.bool), 0.0)
    seen = distributions(model, teacher).sum(0) > 0
    return learnt(seen, epsilon).expand(steps, -1, -1)


def daggered(model: TabularModel, steps: int, epsilon: float, rounds: int = 3) -> Tensor:
    """Trained on the states of all rounds, the first of which is the teacher's."""
    policy = cloned(model, steps, epsilon)
    seen = torch.zeros(model.states, dtype=torch.bool)
    for _ in range(rounds):
        seen = seen | (distributions(model, policy).sum(0) > 0)
        policy = learnt(seen, epsilon).expand(steps, -1, -1)
    return policy


def forward_trained(model: TabularModel, steps: int, epsilon: float) -> Tensor:
    """A policy for each time, trained on the states that those before it lead to."""
    d, policy = model.start, []
    for _ in range(steps):
        policy.append(learnt(d > 0, epsilon))
        d = torch.einsum("s,sa,sat->t", d, policy[-1], model.transition)
    return torch.stack(policy)


METHODS = {"cloning": cloned, "forward training": forward_trained, "DAgger": daggered}


def slopes(epsilon: float = EPSILON) -> dict[str, Any]:
    """Losses by length, and the least-squares slope of their logarithms."""
    model, rows = chain(), {}
    for name, method in METHODS.items():
        losses = [loss(model, method(model, steps, epsilon)) for steps in LENGTHS]
        slope = float(np.polyfit(np.log(LENGTHS), np.log(losses), 1)[0])
        rows[name] = {"losses": losses, "slope": slope}
    return {"epsilon": epsilon, "lengths": list(LENGTHS), "rows": rows}


# CartPole.


def numbers(score: Evaluator, policy: Any) -> dict[str, Any]:
    """The mean return over members with its interval, and each member's."""
    members = score.returns(policy).mean(1)
    low, high = interval(members, bounds=score.bounds)
    return {"mean": float(members.mean()), "ci_low": low, "ci_high": high, "members": members.tolist()}


def cartpole(options: Options, rounds: int = 20, labels: int = 50, num_envs: int = 10) -> dict[str, Any]:
    """Returns after the rounds `LOOKS`."""
    law, steps = control_law("CartPole-v1"), labels // num_envs

    def place() -> Any:
        return imitate.make("CartPole-v1", num_envs=num_envs, members=options.members, seed=options.seed)

    fit: dict[str, Any] = {"rounds": rounds, "rollout": steps, "updates": 300}

    def dagger(**more: Any) -> Any:
        at = place()
        return imitate.DAgger(at, law, _student(at), imitate.DAggerConfig(**fit, validation=0.0, **more))

    at = place()
    smile = imitate.SMILe(at, law, _student(at), imitate.SMILeConfig(**fit))
    rows = {}
    for name, algorithm in {"cloning": dagger(beta=Exponential(1.0)), "SMILe": smile, "DAgger": dagger()}.items():
        score = Evaluator(algorithm.source, options.episodes)
        drawn = Evaluator(algorithm.source, options.episodes, deterministic=False)
        found: dict[str, list[Any]] = {name: []} if name != "SMILe" else {"SMILe": [], "SMILe, vote": []}
        for done in range(1, rounds + 1):
            algorithm.step()
            if done in LOOKS and name == "SMILe":
                found["SMILe"].append(numbers(drawn, algorithm.policy))
                found["SMILe, vote"].append(numbers(score, algorithm.policy))
            elif done in LOOKS:
                found[name].append(numbers(score, algorithm.policy))
        rows |= found
        print(name, [round(one["mean"], 1) for one in found[name]], flush=True)
    last = {name: np.asarray(row[-1]["members"]) for name, row in rows.items()}
    area = {name: np.asarray([one["members"] for one in row]).mean(0) for name, row in rows.items()}
    pairs = [("DAgger", "SMILe"), ("DAgger", "SMILe, vote"), ("SMILe", "cloning"), ("SMILe, vote", "cloning")]
    return {
        "labels": [labels * done for done in LOOKS],
        "rows": rows,
        "expert_share": smile.expert_share,
        "differences": {f"{a} - {b}": _paired(last[a] - last[b]) for a, b in pairs},
        "differences_of_the_mean_over_looks": {f"{a} - {b}": _paired(area[a] - area[b]) for a, b in pairs},
    }


def _student(at: Any) -> Any:
    return nets.policy(at, (64, 64), activation="relu")


def _paired(differences: Any) -> dict[str, float]:
    low, high = interval(differences)
    return {"mean": float(np.mean(differences)), "ci_low": low, "ci_high": high}


# The grid.


def grids() -> dict[str, GridWorld]:
    """Starts everywhere but where a hole or the goal is."""
    sizes: dict[str, Any] = {"reward_schedule": (-1.0, -100.0, -1.0), "max_steps": 100}
    holes = tuple(row.replace("F", "S") for row in FrozenLake8x8().desc)
    return {
        "room": GridWorld(tuple(row.replace("H", "S") for row in holes), **sizes),
        "lake": GridWorld(holes, **sizes),
    }


def exact(env: GridWorld, policy: Tensor) -> Tensor:
    """Q(s, a) [M, S, A] of policies π(a|s) [M, S, A], with the whole time limit to go."""
    model = env.model()
    values = torch.zeros(policy.shape[:2], dtype=torch.float64)
    for _ in range(env.max_steps):
        q = model.reward + torch.einsum("sat,mt->msa", model.continuing, values)
        values = (policy.double() * q).sum(-1)
    return q


def teachers(env: GridWorld, members: int, seed: int) -> dict[str, Any]:
    """Of each kind one for each member."""
    best = planner(env, 0.999).q[0].argmax(-1)
    drawn = (0.75 * torch.nn.functional.one_hot(best, 4) + 0.25 / 4).log()
    rng = np.random.default_rng(seed)
    wrong = torch.tensor(rng.random((members, len(best))) < 0.25)
    other = (best + torch.tensor(rng.integers(1, 4, (members, len(best))))) % 4
    fixed = torch.nn.functional.one_hot(torch.where(wrong, other, best), 4).float()
    return {
        "25 % of the steps random": nets.TabularPolicy(drawn.expand(members, -1, -1).clone(), temperature=1.0),
        "25 % of the cells wrong": Greedy(nets.TabularPolicy(fixed)),
    }


def grid(options: Options) -> dict[str, Any]:
    """Students beside teachers."""
    rows: dict[str, Any] = {}
    for where, env in grids().items():
        for kind, teacher in teachers(env, options.members, options.seed).items():
            rows[f"{where}, {kind}"] = taught(env, teacher, options)
            print(f"{where}, {kind}: teacher {rows[f'{where}, {kind}']['teacher']['mean']:.2f}", flush=True)
    return {"rows": rows}


def taught(env: GridWorld, teacher: Any, options: Options) -> dict[str, Any]:
    """The students of one teacher."""

    def place() -> TensorSource:
        return TensorSource(env, id="Grid", num_envs=16, members=options.members, seed=options.seed)

    tables = getattr(teacher, "policy", teacher)  # labels are modes in any case
    told = nets.TabularPolicy(
        exact(env, tables.distribution(torch.arange(64).expand(options.members, 64)).probs).float()
    )
    asked: dict[str, Any] = {"rounds": 10, "rollout": 40, "updates": 300, "lr": 0.05}
    few = imitate.AggreVaTeDConfig(rounds=100, samples=4, lr=0.1)
    made: dict[str, Callable[[Any, Any], Any]] = {
        "DAgger": lambda at, pupil: imitate.DAgger(at, tables, pupil, imitate.DAggerConfig(**asked, validation=0.0)),
        "AggreVaTe": lambda at, pupil: imitate.AggreVaTe(
            at, teacher, pupil, imitate.AggreVaTeConfig(**asked, every=4, samples=8)
        ),
        "AggreVaTe, told": lambda at, pupil: imitate.AggreVaTe(
            at, teacher, pupil, imitate.AggreVaTeConfig(**asked), costs=Told(at, told)
        ),
        "AggreVaTeD": lambda at, pupil: imitate.AggreVaTeD(at, teacher, pupil, few),
        "AggreVaTeD, told": lambda at, pupil: imitate.AggreVaTeD(at, teacher, pupil, few, costs=Told(at, told)),
    }
    score = Evaluator(place(), options.grid_episodes, deterministic=False)
    rows = {"teacher": numbers(score, teacher), "planner": numbers(score, planner(env, 0.999))}
    for name, make in made.items():
        at = place()
        student = make(at, nets.policy(at, ()))
        while not student.progress.finished:
            student.step()
        mine = numbers(score, Greedy(student.policy))
        above = _paired(np.subtract(mine["members"], rows["teacher"]["members"]))
        rows[name] = {**mine, "labels": int(student.progress.labels[0]), "above_teacher": above}
        print(f"  {name} {mine['mean']:.2f}, above the teacher by {above}", flush=True)
    return rows


def draw(document: dict[str, Any], path: Path) -> None:
    """Three panels: the chain, CartPole, the grid."""
    from matplotlib.figure import Figure

    figure = Figure((15, 5.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, row), style in zip(document["chain"]["rows"].items(), ("o-", "s-", "x--"), strict=True):
        left.loglog(document["chain"]["lengths"], row["losses"], style, label=f"{name}: slope {row['slope']:.2f}")
    left.set(title="Chain: exact expected loss", xlabel="length T", ylabel="loss")
    for name, row in document["cartpole"]["rows"].items():
        low, mean, high = ([one[key] for one in row] for key in ("ci_low", "mean", "ci_high"))
        (line,) = middle.plot(document["cartpole"]["labels"], mean, label=name)
        middle.fill_between(document["cartpole"]["labels"], low, high, alpha=0.2, color=line.get_color())
    middle.set(title="CartPole at equal labels, 8 members, 95 %", xlabel="labels", ylabel="return")
    kinds = document["grid"]["rows"]
    names = [name for name in next(iter(kinds.values())) if name not in ("teacher", "planner")]
    for k, (kind, row) in enumerate(kinds.items()):
        mean = np.array([row[name]["above_teacher"]["mean"] for name in names])
        ends = np.array([[row[name]["above_teacher"][end] for end in ("ci_low", "ci_high")] for name in names])
        at = np.arange(len(names)) + 0.15 * (k - 1.5)
        right.errorbar(at, mean, abs(ends.T - mean), fmt="os^v"[k], capsize=4, label=kind)
    right.axhline(0, color="grey", linestyle=":")
    right.set(title="Grids: student less teacher, 95 %", ylabel="return", xticks=range(len(names)))
    right.set_xticklabels(names, rotation=15)
    left.legend()
    middle.legend()
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(options: Options) -> None:
    """Measure, print, write JSON and a picture."""
    before = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    measured = {"chain": lambda _: slopes(), "cartpole": cartpole, "grid": grid}
    document = {
        **{key: value for key, value in vars(options).items() if key not in ("out", "picture", "parts")},
        "versions": versions(),
        **{part: measure(options) if part in options.parts else before[part] for part, measure in measured.items()},
    }
    print({name: round(row["slope"], 4) for name, row in document["chain"]["rows"].items()})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    draw(document, options.picture)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
