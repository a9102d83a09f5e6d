"""The rows of Czarnecki et al. (2019) on random 20x20 grid worlds: speed, noisy teachers, many actions.

    python -m benchmarks.czarnecki --out benchmarks/results/czarnecki.json --picture docs/czarnecki.png

Each member is a grid world of its own, so one run of a row is all of them. A student is a linear map of the one-hot
cell: a table with a bias. Returns are exact to 10⁻³: those of the stochastic policy from the centre, by policy
evaluation. Chance ends an episode with probability 0.01 a step, which is the discount of 0.99. All rows have the same
hyper-parameters, environment steps and labels. What the file holds already is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from imitate.core.rollout import TensorSource
from imitate.experiment.evaluate import interval
from imitate.experiment.report import versions
from imitate.losses import reverse_kl
from imitate.nets import TabularPolicy
from imitate.students import ROWS, ActorCriticDistillation, ActorCriticDistillationConfig, Row
from imitate_envs import RandomGrids

CONFIG = ActorCriticDistillationConfig(
    steps=25_600, rollout=8, lr=0.3, critic_lr=0.3, gamma=1.0, lam=0.5, max_grad_norm=10.0, critic_hidden=()
)
ALONE = replace(CONFIG, steps=6_000, rollout=16)  # with one environment a member
TEMPERATURE = 0.05  # of the teacher's softmax, in units of its values, which are at most 10
FLOOR = 0.01  # share of uniform actions of every teacher, so that no logarithm is infinite
NOISE = 0.25
COPIES = 64
SHARES = (0.95, 0.99)
BY_KL = {  # the two entropy rows with KL(π_θ ‖ π) in place of H(π_θ, π), which grows with the number of actions
    "entropy, KL": Row(reward=lambda step: step.log_prob - step.student_log_prob),
    "expected-entropy, KL": Row(reverse_kl, lambda step: -reverse_kl(step.teacher, step.student)),
}
HOW = (  # row, weight of the environment's reward, gate
    ("on-policy", 0.0, False),
    ("on-policy", 1.0, False),
    ("on-policy", 1.0, True),
    ("expected-entropy", 1.0, False),
)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        worlds: Grid worlds.
        seed: Of the worlds and of all draws.
        threads: Of torch.
        out: Where to write.
        picture: Where to draw the curves.
    """

    worlds: int = 50
    seed: int = 0
    threads: int = 1
    out: Path = Path("benchmarks/results/czarnecki.json")
    picture: Path = Path("docs/czarnecki.png")


class Worlds:
    """All grid worlds at once, for exact values; M worlds, S cells, the four sides.

    Args:
        env: The environment.
    """

    def __init__(self, env: RandomGrids) -> None:
        states = env.observation.n
        state = torch.arange(env.worlds * states).view(env.worlds, states, 1).expand(-1, -1, 4)
        # A uniform of nearly 1: no slip, and no end by chance. What an end itself is worth is asked by nobody.
        noise = torch.full((*state.shape, 1), 0.999)
        after, reward, over = env.step(state, torch.arange(4).expand(state.shape), noise)
        self.env, self.after, self.reward = env, env.observe(after), reward.double()
        self.goes_on = (1 - env.ending) * (~over).double()
        self.centre = int(env.observe(env.reset(torch.empty(1, 1, 0))))

    def ahead(self, values: Tensor) -> Tensor:
        """Action values [M, S, 4] of sides, one step before values [M, S]."""
        to = values.gather(1, self.after.flatten(1)).view(self.after.shape)
        each = self.reward + self.goes_on * to
        return (1 - self.env.slip) * each + self.env.slip * each.mean(-1, keepdim=True)

    def best(self) -> Tensor:
        """Q*, [M, S, 4], by value iteration."""
        values = torch.zeros(self.reward.shape[:2], dtype=torch.float64)
        for _ in range(5_000):
            before, values = values, self.ahead(values).amax(-1)
            if bool((values - before).abs().amax() < 1e-6):
                break
        return self.ahead(values)

    def values(self, policy: Tensor) -> Tensor:
        """V_π [M, S] of a policy [M, S, A]: the solution of v = r_π + P_π v, in float32."""
        sides = policy.double().unflatten(-1, (-1, 4)).sum(2)
        sides = (1 - self.env.slip) * sides + self.env.slip / 4
        going_on = torch.zeros(len(sides), sides.shape[1], sides.shape[1])
        going_on.scatter_add_(2, self.after, (sides * self.goes_on).float())
        earned = (sides * self.reward).sum(-1).float()
        return torch.linalg.solve(torch.eye(sides.shape[1]) - going_on, earned).double()

    def returns(self, policy: Tensor) -> Tensor:
        """The expected return of each world from the centre, [M]."""
        return self.values(policy)[:, self.centre]


def softmax_teacher(q: Tensor, copies: int = 1) -> Tensor:
    """π [M, S, 4·copies]: a softmax of the best action values, spread over copies, a little of it uniform."""
    sides = (q / TEMPERATURE).softmax(-1).repeat(1, 1, copies) / copies
    return (1 - FLOOR) * sides + FLOOR / sides.shape[-1]


def distracted(teacher: Tensor) -> Tensor:
    """A teacher that does anything in a quarter of its steps."""
    return (1 - NOISE) * teacher + NOISE / teacher.shape[-1]


def mistaken(teacher: Tensor, generator: torch.Generator) -> Tensor:
    """A teacher that in a quarter of the cells takes its actions for others, always the same ones."""
    permuted = teacher.gather(-1, torch.rand(teacher.shape, generator=generator).argsort(-1))
    return torch.where(torch.rand(*teacher.shape[:2], 1, generator=generator) < NOISE, permuted, teacher)


def learn(
    row: Row,
    teacher: Tensor,
    worlds: Worlds,
    config: ActorCriticDistillationConfig,
    options: Options,
    num_envs: int = 16,
    looks: bool = True,
) -> list[tuple[int, Tensor]]:
    """Distil by a row: steps and the student's returns [M], along the way or at the end alone."""
    env, cells = worlds.env, torch.arange(worlds.env.observation.n).expand(options.worlds, -1)
    source = TensorSource(env, id="RandomGrids", num_envs=num_envs, members=options.worlds, seed=options.seed)
    student = imitate.nets.policy(source, ())
    rows = torch.arange(options.worlds).unsqueeze(1)
    known = worlds.values(teacher).float() if config.gate or row.needs_value else None
    distillation = ActorCriticDistillation(
        source,
        TabularPolicy(teacher.log().float(), temperature=1.0),
        student,
        config,
        row=row,
        value=None if known is None else lambda obs: known[rows, obs],
    )
    curve, updates, due = [], 0, 0 if looks else -1
    while True:
        if updates == due or distillation.progress.finished:
            with torch.no_grad():
                returns = worlds.returns(student.distribution(cells).probs)
            curve.append((int(distillation.progress.steps), returns))
            due = updates + 1 + updates // 10
        if distillation.progress.finished:
            return curve
        distillation.step()
        updates += 1


def numbers(values: Any) -> dict[str, Any]:
    """Mean, interval over worlds, and all."""
    scores = np.asarray(values, dtype=np.float64)
    low, high = interval(scores)
    return {
        "mean": float(scores.mean()),
        "ci_low": low,
        "ci_high": high,
        "worlds": [round(float(x), 4) for x in scores],
    }


def _curve(found: list[tuple[int, Tensor]]) -> dict[str, Any]:
    return {
        "steps": [steps for steps, _ in found],
        "returns": [[round(x, 4) for x in returns.tolist()] for _, returns in found],
    }


def _ratio(curves: dict[str, Any], level: Tensor) -> dict[str, Any]:
    """Steps to a return, and how many of the teacher-driven ones the student-driven ones are: a geometric mean."""
    theirs, ours = (crossing(curves[row], level) for row in ("teacher-driven", "on-policy"))
    ratio = (ours / theirs).log()
    low, high = interval(ratio.numpy())
    return {
        "teacher-driven": numbers(theirs),
        "on-policy": numbers(ours),
        "ratio": float(ratio.mean().exp()),
        "ci_low": float(np.exp(low)),
        "ci_high": float(np.exp(high)),
    }


def crossing(curve: dict[str, Any], level: Tensor) -> Tensor:
    """Steps of each world until its return is at a level, by a straight line; the last step where it never is."""
    steps, returns = torch.tensor(curve["steps"]).double(), torch.tensor(curve["returns"]).double()
    above = returns >= level
    first = above.double().argmax(0)
    last = (first - 1).clamp(min=0)
    worlds = torch.arange(len(level))
    low, high = returns[last, worlds], returns[first, worlds]
    part = ((level - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    found = steps[last] + part * (steps[first] - steps[last])
    return torch.where(above.any(0), found, steps[-1])


def measure(options: Options, document: dict[str, Any]) -> Iterator[None]:
    """Fill a document part by part."""
    worlds = Worlds(RandomGrids(worlds=options.worlds, seed=options.seed))
    q, generator = worlds.best(), torch.Generator().manual_seed(options.seed)
    best = q.amax(-1)[:, worlds.centre]
    uniform = torch.full_like(q, 0.25)
    random, teacher = worlds.returns(uniform), softmax_teacher(q)
    teachers = {
        "teacher": teacher,
        "distracted": distracted(teacher),
        "mistaken": mistaken(teacher, generator),
        "random teacher": torch.rand(q.shape, generator=generator, dtype=torch.float64).mul(4).softmax(-1),
    }
    document["references"] = {
        "best": numbers(best),
        "random policy": numbers(random),
        **{name: numbers(worlds.returns(policy)) for name, policy in teachers.items()},
    }
    goal = worlds.returns(teacher)

    curves = document.setdefault("curves", {})
    for row in ROWS:
        if row not in curves:
            curves[row] = _curve(learn(ROWS[row], teacher, worlds, CONFIG, options))
            yield
    alone = document.setdefault("curves_of_one_environment", {})
    for row in ("teacher-driven", "on-policy"):
        if row not in alone:
            alone[row] = _curve(learn(ROWS[row], teacher, worlds, ALONE, options, num_envs=1))
            yield
    goal = worlds.returns(teacher)
    document["speed"] = {
        name: {f"{share:.0%}": _ratio(known, share * goal) for share in SHARES}
        for name, known in (("one environment", alone), ("sixteen environments", curves))
    }

    noise = document.setdefault("noise", {})
    for name, row, reward, gate in (
        *((name, *how) for name in ("distracted", "mistaken") for how in HOW),
        ("random teacher", "on-policy", 0.0, False),
    ):
        key = f"{name}: {row}{' + R' if reward else ''}{', gate' if gate else ''}"
        if key not in noise:
            config = replace(CONFIG, reward=reward, gate=gate)
            found = learn(ROWS[row], teachers[name], worlds, config, options, looks=False)[-1][1]
            noise[key] = {**numbers(found), "share_of_best": numbers(found / best)}
            yield

    actions = document.setdefault("actions", {})
    many = Worlds(replace(worlds.env, copies=COPIES))
    for name, row in {**{name: ROWS[name] for name in ("entropy", "expected-entropy")}, **BY_KL}.items():
        if name in actions:
            continue
        found = learn(row, softmax_teacher(q, COPIES), many, CONFIG, options, looks=False)[-1][1].numpy()
        if name in curves:
            few = np.array(curves[name]["returns"][-1])
        else:
            few = learn(row, teacher, worlds, CONFIG, options, looks=False)[-1][1].numpy()
        actions[name] = {"4": numbers(few), f"{4 * COPIES}": numbers(found), "lost": numbers(few - found)}
        yield


def draw(document: dict[str, Any], path: Path) -> None:
    """Return against steps, one curve a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for row, curve in document["curves"].items():
        returns = np.array(curve["returns"])
        low, high = np.array([interval(one) for one in returns]).T
        steps = np.array(curve["steps"]) + 128  # a rollout, so that the beginning is on a logarithmic axis
        (line,) = axes.plot(steps, returns.mean(1), label=row, linewidth=1.6)
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for name, style in (("teacher", "--"), ("random policy", ":")):
        axes.axhline(document["references"][name]["mean"], color="0.4", linestyle=style, linewidth=1)
        axes.annotate(
            name, (25_600, document["references"][name]["mean"]), ha="right", va="bottom", color="0.3", fontsize=8
        )
    axes.set_xscale("log")
    axes.set_xlabel("environment steps of a member = labels")
    axes.set_ylabel("expected return")
    axes.set_title(f"Rows of Czarnecki's table, {document['worlds']} random grids (95 % interval)", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(options: Options) -> None:
    """Measure, print, write and draw."""
    torch.set_num_threads(options.threads)
    asked = {"worlds": options.worlds, "seed": options.seed, "config": json.loads(json.dumps(asdict(CONFIG)))}
    document: dict[str, Any] = {**asked, "versions": versions()}
    if options.out.exists():
        before = json.loads(options.out.read_text("utf-8"))
        if {key: before.get(key) for key in asked} != asked:
            raise SystemExit(f"out: '{options.out}' is of other worlds, seeds or numbers; pass another --out.")
        document = before
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for _ in measure(options, document):
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    draw(document, options.picture)
    show(document)


def show(document: dict[str, Any]) -> None:
    """Print the numbers."""

    def line(name: str, found: dict[str, Any], of: str = "") -> None:
        print(f"{name:44} {found['mean']:9.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]{of}")

    for name, found in document["references"].items():
        line(name, found)
    for name, shares in document["speed"].items():
        for share, found in shares.items():
            for row in ("teacher-driven", "on-policy"):
                line(f"steps to {share}, {name}: {row}", found[row])
            print(f"{'  ratio':44} {found['ratio']:9.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]")
    for row, curve in document["curves"].items():
        line(row, numbers(curve["returns"][-1]), f"  untouched {np.mean(curve['returns'][0]):.2f}")
    for key, found in document["noise"].items():
        share = found["share_of_best"]
        line(
            key,
            found,
            f"  {100 * share['mean']:.1f} % of the best [{100 * share['ci_low']:.1f}, {100 * share['ci_high']:.1f}]",
        )
    for row, found in document["actions"].items():
        for count in found:
            line(f"{row}, actions: {count}", found[count])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
