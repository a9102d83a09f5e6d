"""docs/performance.md: what it costs. Every figure in a sentence is computed from a file."""

from __future__ import annotations

from benchmarks.pages.frame import Document, facts, measured, page
from benchmarks.pages.tables import (
    break_even_table,
    conditioning_table,
    convolution_table,
    curves_table,
    markdown,
    profile_table,
    ratio_of,
    slower_table,
    speed_table,
    spread,
    threads_table,
)

MACHINE = "AMD EPYC"  # files of `benchmarks.versus` name the architecture only
RANGE = "brackets: range of the rounds' ratios"

KINDS = {
    "Environment steps": ("steps-8", "steps-64", "steps-1024", "steps-65536"),
    "Rollouts": ("rollout-8", "rollout-64"),
    "PPO": ("ppo-8", "ppo-64"),
    "DQN and QR-DQN": ("dqn-64", "dqn-256", "qr-dqn-64", "qr-dqn-256"),
    "Behaviour cloning": ("clone-32", "clone-1024"),
    "Behaviour cloning to a score": ("until-99",),
    "DAgger with the same updates": ("dagger",),
    "DAgger with the settings of each": ("dagger-own",),
    "PPO to a score": ("score",),
}


def performance_page() -> str:
    """The whole page."""
    introduction = "This page holds every measured speed. [results.md](results.md) holds every measured return."
    sections = [_peers(), _threads(), _slower(), _scaling(), _conditioning(), _fit(), _convolution(), _gpu()]
    return page("Performance", introduction, sections)


def _peers() -> str:
    document = measured("versus")
    rows = {row["name"]: row for row in document["rows"]}
    theirs, older = rows["steps-8"]["versions"]["sb3"], rows["clone-32"]["versions"]["imitation"]
    sections = []
    for title, names in KINDS.items():
        chosen = [rows[name] for name in names]
        sections.append(f"### {title}\n\n{_command(chosen)}\n\n{speed_table({'rows': chosen})}")
    tables = "\n\n".join(sections)
    return f"""## Beside the released peers

Ours and the peers take turns on one thread of an {MACHINE}.

- Speeds are medians over the rounds.
- Ratios are medians of the ratios within a round. Brackets hold their range, which is no confidence interval.
- "n members" counts the steps or samples of all members.
- "Compiled" is `imitate.make(..., compile=True)`, the compilation excluded.
- `make peers` installs Stable-Baselines3 {theirs["stable-baselines3"]}, sb3-contrib {theirs["sb3-contrib"]},
  EnvPool {theirs["envpool"]} and Gymnasium {theirs["gymnasium"]}.
- `imitation` {older["imitation"]} runs with Stable-Baselines3 {older["stable-baselines3"]}
  and Gymnasium {older["gymnasium"]}.

{tables}
"""


def _threads() -> str:
    two = measured("versus_2threads")
    return f"""## Two threads

{_command(two["rows"], "--rows ppo dqn qr-dqn --out benchmarks/results/versus_2threads.json")}

Two threads are torch's default on this machine. Populations gain from them.

{threads_table(measured("versus"), two)}
"""


def _slower() -> str:
    document = measured("versus")
    rows = {row["name"]: row for row in document["rows"]}
    vector = ratio_of(rows["steps-1024"], "imitate, all recorded", "Gymnasium, its own vector CartPole")
    narrow, wide = (ratio_of(rows[f"dqn-{width}"], "imitate, 8 members", "imitate, 1 member") for width in (64, 256))
    return f"""## Where imitate is not faster

A peer wins at least one round of these comparisons, which are rows of the tables above.

{slower_table(document)}

- Gymnasium's vector CartPole is one array program without a policy, a record or a random number a step.
- With 1,024 environments ours is {spread(vector)} times as fast as that, without compiling.
- Wide networks cost what they multiply. Eight DQNs of 64-64 are {spread(narrow)} times as fast as one.
- Eight DQNs of 256-256 are only {spread(wide)} times as fast as one.
- Cloning and DAgger with equal settings are bound by their updates, which more environments make no cheaper.
"""


def _scaling() -> str:
    document = measured("scaling")
    compiled = [curve for curve in document["curves"] if curve["name"].endswith(", compiled")]
    seconds = [second for curve in compiled for second in curve["warm_up_seconds"]]
    what = f"medians of {document['rounds']} rounds on one thread, seed 0"
    return f"""## How it grows

{facts("python -m benchmarks.scaling", what, "members as in the tables", "no interval")}

![Speed against members, environments, width and time limit; shares of PPO's time](../benchmarks/results/scaling.png)

Bold marks the knee: the first size from which doubling buys less than half as much speed again.

PPO in steps/s and cloning in samples/s, against members:

{curves_table(document, "members")}

Steps/s against environments:

{curves_table(document, "environments")}

Compiling a rollout took {min(seconds):.0f} to {max(seconds):.0f} s. These steps earn it back:

{break_even_table(document)}

Samples/s of cloning against the width of both hidden layers. The knee is that of hidden units a second:

{curves_table(document, "width")}

Steps/s against the time limit, and so against how often environments are reset:

{curves_table(document, "time limit")}

Shares of an iteration of PPO, by torch.profiler, whose own cost counts as Python:

{profile_table(document)}
"""


def _conditioning() -> str:
    document = measured("conditioning")
    what = f"{document['repeats']} rounds on one thread · {document['lanes']:,} learning rates, seed 0"
    return f"""## Simulating Rescorla-Wagner

{facts("python -m benchmarks.conditioning --theirs other/bin/python", what, RANGE)}

The design is `{document["design"].replace("|", " then ")}`.
The peer, cpm-toolbox, runs {document["subjects"]:,} of the same learning rates.

{conditioning_table(document)}
"""


def _fit() -> str:
    document = measured("fit")
    what = f"seed 0 · {document['subjects']:,} subjects"
    rows = [
        ("imitate, all subjects at once", f"{document['seconds']:.1f}"),
        ("SciPy's L-BFGS-B, one subject after the other", f"{document['scipy_seconds']:.1f}"),
    ]
    return f"""## Fitting Q-learning to choices

{facts("OMP_NUM_THREADS=1 python -m benchmarks.fit", what, "one run, no interval")}

Each subject has {document["trials"]} trials. Both begin from the same {document["starts"]} starts.

{markdown(("fit", "seconds"), rows, left=1)}

- {100 * document["share_within_1e-4"]:.1f} % of the subjects reach the same log-likelihood to 10⁻⁴.
- No log-likelihood of ours is more than {document["largest_nll_above_scipy"]:.1g} below SciPy's.
- SciPy's is up to {document["largest_nll_below_scipy"]:.2g} below ours.
"""


def _convolution() -> str:
    document = measured("convolution")
    return f"""## Convolutions of a population

{facts("python -m benchmarks.convolution", "one thread", "members as in the table", "no interval")}

Cells are milliseconds, forward and backward. `Conv2d` takes the last column, one of the other three ways.

{convolution_table(document)}
"""


def _gpu() -> str:
    return """## GPU

On a GPU, rollouts and updates are recorded as CUDA graphs. No speed of theirs is published yet.
`python -m benchmarks.gpu --out benchmarks/results/gpu.json` measures all of them.
"""


def _command(rows: list[Document], rest: str | None = None) -> str:
    """What measured rows of `benchmarks.versus`, by what they remember of it."""
    first = rows[0]
    options = [f"--threads {first['threads']}"] if first["threads"] > 1 else []
    options += [f"--scale {first['scale']:g}"] if first["scale"] != 1 else []
    options += [f"--seeds {first['rounds']}"] if first["unit"] == "seconds" else []
    options += [rest or f"--rows {' '.join(row['name'] for row in rows)}"]
    command = f"python -m benchmarks.versus --keep-memory {' '.join(options)}"
    return facts(command, f"seeds 0 to {first['rounds'] - 1}, one a round", "members as in the table", RANGE)
