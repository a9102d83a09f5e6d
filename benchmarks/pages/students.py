"""Sections of docs/results.md on students beyond cloning: with a teacher, peers, tasks, views, data, sizes, rewards."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.pages.frame import INTERVAL, Document, facts, measured, members
from benchmarks.pages.tables import markdown
from imitate.experiment.evaluate import interval


def sections() -> list[str]:
    """All of them, in the order of the page."""
    distilled = [_with_teacher(), _peers(), _tasks(), _views(), _pairs(), _data_free(), _sizes(), _rusu()]
    return [*distilled, _gates(), _reductions(), _inverse()]


def _ends(row: Document, digits: int = 1) -> str:
    """A mean and its interval."""
    low, high = (row["low"], row["high"]) if "low" in row else (row["ci_low"], row["ci_high"])
    return f"{row['mean']:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def _ratio(row: Document) -> str:
    return _ends(row["ratio"], 2)


def _steps(row: Document) -> str:
    """A mean number of steps and its interval, which does not end below 0."""
    low, high = interval(np.array(row["members"]), bounds=(0.0, math.inf))
    return f"{row['mean']:,.0f} [{low:,.0f}, {high:,.0f}]"


def _percent(row: Document) -> str:
    """A share of the teacher's return, with its interval where there is one."""
    low_high = "" if row["interval"] is None else " [{:.1f}, {:.1f}]".format(*(100 * x for x in row["interval"]))
    return f"{100 * row['share']:.1f}{low_high}"


def _with_teacher() -> str:
    document = measured("with_teacher")
    parts = document["parts"]
    titles = {
        "good": "a teacher of return 500",
        "weak": "a teacher stopped at 200",
        "wrong": "a wrong teacher, its actions permuted",
        "finetune": "a clone of 25 thinned labels",
    }
    rows = [
        (title, name, _steps(row["steps_to_target"]), f"{row['reached']} of {document['members']}")
        for part, title in titles.items()
        for name, row in parts[part]["rows"].items()
    ]
    good, weak, tuned = parts["good"], parts["weak"], parts["finetune"]
    alone = weak["final return"]["distillation alone"]
    return f"""## Reinforcement learning with a teacher

{facts("python -m benchmarks.with_teacher", f"seed {document['seed']} · {document['members']} members", INTERVAL)}

CartPole-v1. Steps until a member returns 475; a member that never does counts with all steps of the run.

{markdown(("teacher", "way", "steps to 475", "reached it"), rows, left=2)}

- Near a teacher of 500 PPO needs {_ratio(good["PPO, kickstarted / PPO"])} of the steps of scratch.
- QDagger needs {_ratio(good["QDagger / DQN"])} of DQN's, and has learnt from the teacher's steps before its first own.
- The weak teacher returns {weak["teacher"]["mean"]:.0f} in the evaluation. Its kickstarted students end at
  {weak["final return"]["PPO, kickstarted"]["mean"]:.0f}, those of distillation alone at {alone["mean"]:.0f}.
  They need {_ratio(weak["PPO, kickstarted / PPO"])} of the steps of scratch, which may be none the fewer.
- A wrong teacher is let go. All end at 500, whether the weight falls with steps or with the missing return.
- The clone returns {tuned["clone"]["mean"]:.0f}, and keeps {100 * tuned["share of the clone's gap kept"]:.0f} % of its
  way from chance at worst, as a mean over members. Finetuning needs {_ratio(tuned["finetuned / PPO"])} of the steps of
  scratch, where a third was the aim: scratch needs few here. A clone that is not softened is slower.
"""


def _peers() -> str:
    document = measured("peers_teach")
    rows = [
        (name, *(_ends(row[key]) for key in ("area", "area_difference", "final", "final_difference")))
        for name, row in document["peers"].items()
    ]
    what = f"seed {document['seed']} · {document['pairs']} pairs · weight {document['weight']}"
    heads = ("peers", "area under the curve", "more than independent", "last return", "more than independent")
    return f"""## Peers

{facts("python -m benchmarks.peers_teach", what, "95 % interval over pairs")}

PPO on Acrobot-v1; two members of a pair teach each other from the first step to the last.

{markdown(heads, rows, left=1)}

- Codistillation with stale copies learns faster than independent pairs. For the other two it is not shown.
- All three end a little lower. The weight stays on to the end; that this is the cause was not tested.
- The three intervals are not corrected for there being three.
"""


def _tasks() -> str:
    document = measured("two_tasks")
    rows = []
    for name, row in document["rows"].items():
        cells = [f"{_ends(row[env])}" for env in ("CartPole-v1", "MirroredCartPole-v0")]
        rows.append((name, f"{row['parameters']:,}" if "parameters" in row else "", *cells))
    return f"""## Two tasks in one network

{facts("python -m benchmarks.two_tasks", members(document), f"{document['steps']:,} steps of both together", INTERVAL)}

CartPole and its mirror, where left and right are exchanged.

{markdown(("student", "parameters", "CartPole-v1", "MirroredCartPole-v0"), rows, left=1)}

One head misses 95 % of its teacher in the mirror, by two members of eight. Twice the steps were added after that.
"""


def _views() -> str:
    document = measured("privileged")
    rows = [(name, _ends(row)) for name, row in document["rows"].items()]
    return f"""## Students that see less

{facts("python -m benchmarks.privileged", members(document), f"{document['steps']:,} steps", INTERVAL)}

CartPole-v1 without its velocities; the teacher sees them. Where a row does not say otherwise it is distilled.

{markdown(("student", "return"), rows, left=1)}

Observations are normalised: without that a student that sees all had failed in a short run.
"""


def _pairs() -> str:
    document = measured("condense")
    rows = [(name, _ends(row), f"{row['worst_network']:.0f}") for name, row in document["rows"].items()]
    networks = f"{document['clones']} fresh networks of {document['episodes']} episodes"
    what = f"seed 0 · {document['seeds']} data sets · {networks}"
    return f"""## Data sets of a few states

{facts("python -m benchmarks.condense", what, "95 % interval over data sets")}

CartPole-v1. Each data set is cloned into fresh networks.

{markdown(("data set", "mean return of its networks", "worst network"), rows, left=1)}

The settings of HaDES were chosen on one of these data sets, those of dataset distillation after two that diverged.
"""


def _data_free() -> str:
    document = measured("data_free")
    rows = [(name, _ends(row)) for name, row in document["rows"].items()]
    what = f"{document['steps']:,} batches, early: {document['early']}"
    return f"""## Distillation without data

{facts("python -m benchmarks.data_free", members(document), what, INTERVAL)}

CartPole-v1. No step is taken in the environment; states are generated, or drawn uniformly from the same bounds.

{markdown(("states", "return"), rows, left=1)}

On CartPole a generator is not shown to be better than uniform states.
"""


def _sizes() -> str:
    document = measured("compress")
    rows = []
    for row in document["rows"]:
        took = [row["microseconds"][name] for name in ("eager", "onnx", "c")]
        times = ("" if one is None else f"{one:.2f}" for one in took)
        told = row["on_teacher"], row["on_own"]
        agreement = ("" if one is None else f"{100 * one['agreement']:.0f}" for one in told)
        rows.append((row["name"], f"{row['parameters']:,}", f"{row['bytes']:,}", *times, _ends(row), *agreement))
    heads = (
        "policy",
        "numbers",
        "bytes",
        "torch µs",
        "ONNX µs",
        "C µs",
        "return",
        "agreement %",
        "on its own states %",
    )
    return f"""## How small a student may be

{facts("python -m benchmarks.compress", f"seed {document['seed']} · 8 members", INTERVAL)}

Students of one PPO teacher of {document["env"]}. Numbers are those that are not zero. A decision is timed for one
observation. Agreement is with the teacher's choices, on its states and on the student's own.

{markdown(heads, rows, left=1)}

![Return, divergence and time of a decision by size](compress.png)

Times were taken beside other work: compare them within the table only, and roughly.
"""


def _rusu() -> str:
    document = measured("rusu")
    percent = {
        row["name"]: f"{row['percent']:.1f} [{row['percent_low']:.1f}, {row['percent_high']:.1f}]"
        for row in document["rows"]
    }
    share = {row["name"].split(",")[0]: row["share"] for row in document["rows"] if "loss" in row}
    rows = [
        (size, f"{100 * part:.0f} %", driver, *(percent[f"{size}, {loss}, {driver} drives"] for loss in LOSSES))
        for size, part in share.items()
        for driver in ("teacher", "student")
    ]
    what = f"{document['student_steps']:,} labels"
    few = [percent[f"{size}, KL, few gradient steps"] for size in share]
    return f"""## The sizes of Rusu et al.

{facts("python -m benchmarks.rusu", members(document), what, INTERVAL)}

A DQN teacher of CartPole-v1; % of its return above chance.

{markdown(("units", "parameters", "who drives", *LOSSES), rows, left=3)}

- Settings of the students were chosen on seed 0, with KL and 14-14 units. They make 6,272 gradient steps.
- With the settings of the environment, which make 392 on half of the labels, KL on the teacher's states has
  {few[0]}, {few[1]} and {few[2]} %.
- Squared errors of values are worst: which action is better is a small part of what they measure.
"""


LOSSES = ("NLL", "MSE", "KL")


def _gates() -> str:
    document = measured("gates")
    parts, options = document["parts"], document["options"]
    rows = []
    for env, part in parts.items():
        for name, curve in part["curves"].items():
            end, switches = curve["looks"][-1], curve.get("switches_per_1000_steps")
            rows.append(
                (
                    env,
                    name,
                    f"{end['labels']['mean']:,.0f}",
                    f"{100 * curve['queries_of_dagger']:.0f} %",
                    _ends(end["return"]),
                    "–" if name == "DAgger" else _ends(curve["beside_dagger"]),
                    "–" if switches is None else f"{switches['mean']:.0f}",
                )
            )
    heads = ("environment", "way", "labels", "of DAgger's", "return", "more than DAgger", "switches in 1,000 steps")
    what = f"seed {options['seed']} · {options['members']} members"
    return f"""## Gates and budgets

{facts("python -m benchmarks.gates", what, INTERVAL)}

![Return of the student against labels](gates.png)

Gates begin with a tenth of DAgger's first round, or with all of it ("a round first"). Their budget is a quarter of
DAgger's labels, which EnsembleDAgger with its discrepancy rule does not have. "Short rounds" is DAgger without a gate.

{markdown(heads, rows, left=2)}

- On LunarLander ThriftyDAgger, and doubt alone, have DAgger's return with a quarter of its labels.
- So has DAgger with shorter rounds, nearly: most of DAgger's labels were not needed, with a gate or without.
- The classifiers of SafeDAgger and LazyDAgger call too seldom on LunarLander, even behind a whole round.
- The supervisor of HG-DAgger is a script, not a person.
- With equal labels DART is where DAgger is on Pendulum, though it never lets the student drive.
"""


def _reductions() -> str:
    document = measured("reductions")
    chain, labels = document["chain"], document["cartpole"]["labels"]
    slopes = [(name, f"{row['slope']:.2f}") for name, row in chain["rows"].items()]
    returns = [(name, *(f"{look['mean']:.0f}" for look in row)) for name, row in document["cartpole"]["rows"].items()]
    grids = [
        (grid, name, "–" if name in ("teacher", "planner") else f"{row['labels']:,}", _ends(row), _above(row))
        for grid, rows in document["grid"]["rows"].items()
        for name, row in rows.items()
    ]
    seed = f"seed {document['seed']} · {document['members']} members"
    return f"""## Reductions to classification

{facts("python -m benchmarks.reductions", seed, INTERVAL)}

![Loss on a chain, returns at equal labels, and students of teachers that err](reductions.png)

The loss of an episode of T steps grows as a power of T, in exact expectations on a chain, T from
{min(chain["lengths"])} to {max(chain["lengths"])}:

{markdown(("way", "slope in a log-log plot"), slopes, left=1)}

Mean returns on CartPole-v1 at equal labels:

{markdown(("way", *(f"{count:,} labels" for count in labels)), returns, left=1)}

Teachers that err on grids of 8x8 cells. Costs of AggreVaTe and AggreVaTeD are by branching, or told exactly:

{markdown(("grid and teacher", "policy", "labels", "return", "more than the teacher"), grids, left=2)}

- Cloning and DAgger need few labels on CartPole, and SMILe, which forgets its teacher slowly, more.
- Where a teacher errs at random, DAgger learns what it mostly does, and is as good as AggreVaTe.
- Where a teacher is always wrong in the same cells, DAgger learns that too; costs show what is better.
- On the lake, costs of single tries are too noisy for AggreVaTe; told costs are not.
"""


def _above(row: Document) -> str:
    return _ends(row["above_teacher"]) if "above_teacher" in row else "–"


def _inverse() -> str:
    document = measured("inverse")
    rows = [
        (
            row["method"],
            row["data"],
            f"{row['visits']:.2g}",
            _percent(row),
            f"{100 * row['greedy']:.1f}",
        )
        for row in document["rows"]
    ]
    heads = ("method", "from", "visits within", "% of the teacher's return", "by its likeliest actions")
    return f"""## Rewards behind demonstrations

{facts("python -m benchmarks.inverse", f"seed {document['seed']} · 8 sets of 100 episodes", INTERVAL)}

FrozenLake8x8-v1, a planner as the teacher, γ = {document["gamma"]}. Visits are discounted ones of a state, against the
teacher's exact ones; returns are those of the policy under the true reward, which no method sees. All are exact.

{markdown(heads, rows, left=2)}

Maximum entropy of paths hopes for luck: on slippery ice its policy is poor, and 300 evaluations do not fit it.
"""
