"""docs/results.md: what is learnt.

A figure in a sentence is computed from a file.
"""

from __future__ import annotations

from collections import Counter

from benchmarks import shipped
from benchmarks.coverage import OURS
from benchmarks.pages import students
from benchmarks.pages.frame import INTERVAL, Document, facts, measured, members, page
from benchmarks.pages.tables import (
    coverage_table,
    deep_sea_table,
    demo_summary,
    demo_table,
    interval,
    labels_table,
    markdown,
    parity_table,
    shipped_table,
    value_table,
)

DEMO = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "LunarLander-v3")


def results_page() -> str:
    """The whole page."""
    introduction = "This page holds every measured return. [performance.md](performance.md) holds every measured speed."
    sections = [
        _reading(),
        _coverage(),
        _demo(),
        _shipped(),
        _labels(),
        _gates(),
        _trees(),
        _czarnecki(),
        _features(),
        *students.sections(),
        _parity(),
        _deep_sea(),
        _pixels(),
        _learning_models(),
    ]
    return page("Results", introduction, sections)


def _reading() -> str:
    versions = measured("shipped")[0]["versions"]
    names = ("torch", "gymnasium", "numpy", "python")
    return f"""## How to read the tables

- A member is one seed: an independent network with environments of its own.
- A return is the mean over members of each member's mean over its episodes, after its last step.
- Brackets hold 95 % intervals of the mean. The member is the unit of replication.
- They are computed from the scores of the members, when the page is written.
- [How often they hold the mean](#what-the-intervals-cover) is simulated. Equal scores give a point.
- An interval ends at the least and the greatest possible return, where the environment tells both.
- IQM is the interquartile mean over members (Agarwal et al. 2021).
- "% of teacher" is 100·(student − random)/(teacher − random), all three on the same noise.
- "n/a" in that column says that the teacher is no better than chance, or that it may not be.
- Two threads round differently from one, and processors from one another. A repeated run may learn otherwise.
- The versions are {", ".join(f"{name} {versions[name]}" for name in names)}.
"""


def _coverage() -> str:
    document = measured("coverage")
    normal = [row for row in document["rows"] if (row["scores"], row["method"]) == ("normal", OURS)]
    lowest = 100 * min(row["coverage"] for row in normal)
    error = 100 * max(row["standard_error"] for row in document["rows"] if row["of"] == "mean")
    what = (f"seed {document['seed']}", f"{document['sets']:,} data sets a cell", "5, 8 and 16 members")
    without = max(row.get("without_interval", 0.0) for row in document["rows"])
    return f"""## What the intervals cover

{facts("python -m benchmarks.coverage", *what)}

A cell is the percentage of data sets whose 95 % interval holds the truth. Its standard error is {error:.1f} at most.
The members of a cell stand in that order. Of normal scores ours covers {lowest:.1f} % at the least.

The mean. Ours is Student's t with the skewness of the scores transformed away (Hall 1992).

{coverage_table(document, "mean")}

- Of skewed scores, and of scores below a ceiling, ours covers about as much as the bootstrap-t does.
- The bootstrap-t is infinite where most members have one score, as at a perfect return. Ours is not.
- Of symmetrical scores with heavy tails, differences of pairs included, Student's t covers more.
- Where one member in eight fails, five members show no failure in half of all data sets. No interval can know of it.
- Seven members at 500 and one at 100 give 450 [127, 521]: a long arm to the side of the failure.

The interquartile mean, from {document["iqm_sets"]:,} data sets a cell.
Ours is Student's t with the bootstrap's standard error.

{coverage_table(document, "IQM")}

The percentage of a teacher. Ours is the interval of the mean of its linearised scores.
There is none where Student's interval of the teacher's margin over chance contains 0: no finite interval of a ratio
keeps its level there (Fieller 1954). Such data sets are left out here, {100 * without:.0f} % of a cell at the most.

{coverage_table(document, "% of teacher")}
"""


def _demo() -> str:
    documents = [measured(f"demo/{env}") for env in DEMO]
    seed, first = documents[0]["seed"], documents[0]["rows"][0]
    details = "\n\n".join(f"**{document['env']}**\n\n{demo_table(document)}" for document in documents)
    return f"""## Imitation on six environments

{facts("OMP_NUM_THREADS=1 imitate demo --env ID", members({**first, "seed": seed}), INTERVAL)}

The teacher's column is a return. The students' columns are % of the teacher.

{demo_summary(documents)}

- BC clones 25 demonstrations. "BC, thinned" clones every 20th step of one (Ho & Ermon 2016, §6).
- DAgger begins with the same thinned demonstration, and labels the states that it visits.
- The distilled student is a smaller network, trained on its own states.
- PPO's settings were chosen on seed {seed}, so these teachers are a little flattered.
- CartPole's learning rate was chosen on seeds 0, 11 and 100.
- The seconds of MountainCar-v0 and LunarLander-v3 were taken beside other work.

Labels, steps and parameters below are those of one member. Seconds are those of all members together.

{details}
"""


def _shipped() -> str:
    rows = measured("shipped")
    seeds = ", ".join(str(seed) for seed in shipped.SEEDS)
    what = f"seeds {seeds} · {rows[0]['members']} members of {rows[0]['episodes']} episodes a seed"
    targets = ", ".join(f"{env} {target:g}" for env, target in shipped.TARGETS.items())
    return f"""## Shipped settings on seeds that chose none of them

{facts("python -m benchmarks.accept value", what, INTERVAL)}

The settings of `imitate train NAME --env ID` were chosen on base seeds 0 to 2.
These are three others, all members together.
PPO on MountainCar and on LunarLander had failed here; their present settings were chosen on seed 1 after that.
So had Rainbow, whose noise alone explored too little, and QR-DQN, which was slow; theirs were chosen on seed 2.
So had IQN on CartPole, whose rate was chosen on seed 2, and C51 on Acrobot, whose n was chosen on seed 1. LunarLander
got 600,000 steps after a look at seed 0, and C51, ER-DQN and Rainbow on Acrobot 150,000: with fewer too many members of
these seeds stood just below the target.
The command exits with 1 unless the mean and 90 % of the members are at the target of each environment.
The targets are {targets}.

{shipped_table(rows)}
{_unmeasured(rows)}
- `dqn` has 5-step returns. Double, dueling networks, prioritised replay and noisy networks are switches on it.
- On CartPole values that bootstrap from each other may grow beyond every possible return, and the member with them.
  `--clip-target` keeps targets possible.
"""


def _unmeasured(rows: list[Document]) -> str:
    """A paragraph about the shipped settings that have fewer rows than seeds; nothing if there are none."""
    done = Counter((row["env"], row["algorithm"]) for row in rows)
    missing = [
        f"{name} on {env}"
        for env in shipped.TARGETS
        for name in shipped.algorithms(env)
        if done[env, name] < len(shipped.SEEDS)
    ]
    return f"\nNot measured on all of the three seeds yet: {', '.join(missing)}.\n" if missing else ""


def _labels() -> str:
    document = measured("equal_labels")
    few, more = document["rows"][:2]
    return f"""## DAgger and cloning with equal labels

{facts(f"python -m benchmarks.equal_labels --rounds {document['rounds']}", members(document), INTERVAL)}

All three ways begin with the same thinned demonstration of {document["env"]}.

{labels_table(document)}

- With {few["dagger"]["labels"]} labels DAgger returns {few["dagger"]["mean"]:.1f}.
- As many consecutive steps of the teacher return {few["bc_consecutive"]["mean"]:.1f}.
- One step in 20 of more demonstrations returns {few["bc_thinned"]["mean"]:.1f}.
- From {more["dagger"]["labels"]} labels on, DAgger and one step in 20 are equal.
- On an easy task, varied states count, whoever visits them.
"""


GATES = {
    "gail": ("CartPole-v1", "GAIL and cloning, on one demonstration, every 20th step of it. Steps of BC are updates"),
    "airl": ("CartPole-v1", "one demonstration, one step in 20 of it; beside it demonstrations of random actions"),
    "kickstarting": ("CartPole-v1", "PPO from scratch, and near a teacher of return 500"),
    "sac": ("Pendulum-v1", "SAC with the settings of the RL zoo; before replays drew by 53 bits"),
    "recurrent": ("CartPole-v1", "PPO without velocities, with and without a GRU; older than the normaliser's floor"),
}


def _gates() -> str:
    documents = [measured(f"accept_{name}") for name in GATES]
    parts = []
    for document in documents:
        env, what = GATES[document["gate"]]
        rows = [
            (row["name"], row["unit"], f"{row['steps']:,}", interval(row, env if row["unit"] == "return" else ""))
            for row in document["rows"]
        ]
        table = markdown(("", "what", "steps", "mean"), rows)
        command = f"python -m benchmarks.accept {document['gate']} --members {document['members']}"
        parts.append(f"{env}: {what}.  \n{facts(command, members(document), INTERVAL)}\n\n{table}")
    return "## Gates\n\nEach algorithm is held to a number by a command that exits with 1 below it.\n" + (
        "Settings were chosen on seed 0.\n\n" + "\n\n".join(parts)
    )


def _trees() -> str:
    document = measured("trees")
    rows = []
    for row in document["rows"]:
        nodes = f"{min(row['nodes'])} to {max(row['nodes'])}" if "nodes" in row else ""
        labels = f"{row['labels']:,}" if "labels" in row else ""
        rows.append((row["name"], labels, nodes, interval(row, "CartPole-v1"), f"{row['agreement']:.2f}"))
    forms = document["forms"]
    return f"""## Decision trees

{facts("OMP_NUM_THREADS=1 python -m benchmarks.trees", members(document), INTERVAL)}

Trees of CartPole-v1 by VIPER. The teachers are a control law and PPO.

{markdown(("policy", "labels", "nodes", "return", "agreement with the teacher"), rows, left=1)}

- Agreement is that on the tree's own states. Near balance most choices do not matter.
- The control law is equally certain everywhere, so its trees have equal weights.
- Cloning grows one tree of the teacher's own states.
- The other rows choose the best of {document["rounds"]} trees by held-out return.
- The C and Python forms of {forms["trees"]} trees differ from the trees on
  {max(forms["different"].values())} of {forms["observations"]:,} observations.
"""


def _czarnecki() -> str:
    document = measured("czarnecki")
    speed, noise, actions = document["speed"], document["noise"], document["actions"]

    def ends(row: Document, digits: int = 2) -> str:
        return f"{row['mean']:.{digits}f} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"

    steps = [
        (
            where,
            f"{share} of the teacher",
            *(ends(row[name], 0) for name in ("teacher-driven", "on-policy")),
            f"{row['ratio']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]",
        )
        for where, shares in speed.items()
        for share, row in shares.items()
    ]
    shares = [(name, ends(row), ends(row["share_of_best"])) for name, row in noise.items()]
    copies = [(name, *(ends(row[key]) for key in ("4", "256", "lost"))) for name, row in actions.items()]
    what = f"seed {document['seed']} · {document['worlds']} random grid worlds, a member each"
    return f"""## The table of Czarnecki et al.

{facts("python -m benchmarks.czarnecki", what, "95 % interval over worlds")}

Steps of a member until its student returns so much of what the teacher does; the ratio is of student-driven to
teacher-driven.

{markdown(("environments of a member", "until", "teacher-driven", "student-driven", "ratio"), steps, left=2)}

Teachers with 25 % noise: "distracted" ones mix in random actions, "mistaken" ones take their actions for others in a
quarter of the cells.

{markdown(("teacher: row", "return", "share of the best policy"), shares, left=1)}

Four actions, and 64 copies of each.

{markdown(("row", "4 actions", "256 actions", "lost"), copies, left=1)}

- Student-driven distillation needs .4 to .8 of the steps. The paper says a third. Half is reached at 99 % of the
  teacher with one environment a member, and nowhere else.
- Pure distillation copies the loss of a noisy teacher. The environment's reward, with or without the gate, mends it.
- With 256 actions the expected-entropy row keeps its return only with the KL in place of the cross-entropy, whose least
  value grows with the number of actions.

![Return of each row against steps](czarnecki.png)
"""


def _features() -> str:
    document = measured("features")
    rows = []
    for name, row in document["cartpole"].items():
        cells = [
            f"{row[key]['mean']:.{digits}f} [{row[key]['low']:.{digits}f}, {row[key]['high']:.{digits}f}]"
            if key in row
            else ""
            for key, digits in (("gram_error_ratio", 2), ("kl", 2), ("return_difference", 0))
        ]
        rows.append((name, cells[0], cells[1], interval(row["return"], "CartPole-v1"), cells[2]))
    heads = ("terms beside the KL", "Gram error, of that of the KL alone", "KL", "return", "above the KL alone")
    return f"""## Terms of features

{facts("OMP_NUM_THREADS=1 python -m benchmarks.features", members(document), INTERVAL)}

A teacher of 64-64 is distilled into 64 units on CartPole-v1, in {document["steps"]:,} steps. Differences are paired.

{markdown(heads, rows, left=1)}

- The Gram error is the mean squared difference of the cosines between states, of student and teacher.
- Pairwise similarity lowers it to a quarter. No loss of return shows, but the interval is wide.
- The weights were not tuned, and the steps are fewer than those of `imitate distill`.
- Half a teacher's layers are a good beginning. The cosine of features does harm at this weight.
"""


def _parity() -> str:
    document = measured("parity")
    first = document["rows"][0]
    seeds, peers = len(first["stable-baselines3"]["scores"]), first["versions"]["stable-baselines3"]
    what = f"seeds 0 to {seeds - 1} of theirs, seed 0 of ours · {seeds} members of {first['episodes']} greedy episodes"
    return f"""## The settings of Stable-Baselines3

{facts("make peers && python -m benchmarks.parity --algorithms PPO DQN", what, INTERVAL)}

Both sides have the RL zoo's settings for CartPole. PPO takes 100k steps, DQN 50k.
DQN's row is older than replays that draw by 53 bits.
The peer is Stable-Baselines3 {peers["stable-baselines3"]}.

{parity_table(document)}
"""


def _deep_sea() -> str:
    document = measured("deep_sea")
    what = f"seed {document['seed']} · {document['members']} members of {document['episodes']:,} training episodes"
    return f"""## Deep exploration

{facts("python -m benchmarks.deep_sea", what, "95 % Wilson interval")}

One path of N steps to the right leads to DeepSea's treasure. Every step on it costs.
A member has solved DeepSea if its greedy return is above .9 at the end.

{deep_sea_table(document)}

- `python -m benchmarks.deep_sea --sizes 30 --variants "DQN, epsilon-greedy"` adds the last column.
- Bootstrapped DQN has 20 heads with random priors.
- QR-DQN explores with noisy weights.
- ε-greedy DQN finds the treasure by luck, and less often in a deeper sea.
"""


def _pixels() -> str:
    document = measured("value_MinAtar-Breakout-v1")
    command = f"python -m benchmarks.value_family --env {document['env']} --members {document['members']}"
    return f"""## Pixels

{facts(f'{command} --variants "n-step DQN"', members(document), INTERVAL)}

{value_table([document])}
"""


def _learning_models() -> str:
    return """## Learning models

[bridge.md](bridge.md) leads from Rescorla-Wagner to deep agents, with its figures.
[conditioning.md](conditioning.md) compares models of conditioning with the phenomena that animals show.
"""
