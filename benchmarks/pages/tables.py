"""Markdown tables of what the benchmarks measured: pure functions of the JSON that each of them wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

import imitate
from benchmarks import shipped
from benchmarks.coverage import MEMBERS, OURS
from benchmarks.versus import arrived
from imitate.core.return_range import episode_range
from imitate.experiment.evaluate import UNBOUNDED, percent, percent_interval, percent_text
from imitate.experiment.evaluate import interval as interval_of
from imitate_envs import ENVS

Document = dict[str, Any]


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int | None = None) -> str:
    """A table; columns behind the first `left` stand to the right, where that is said."""
    rule = ["---" if left is None or i < left else "---:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def demo_table(document: Document) -> str:
    """One line a policy of a report of `imitate demo`."""
    heads = ("policy", "parameters", "labels", "env steps", "seconds", "return", "IQM", "% of teacher")
    return markdown(
        heads,
        [
            (
                row["name"],
                *(f"{row[name]:,}" for name in ("parameters", "labels", "env_steps")),
                f"{row['seconds']:.1f}",
                interval(row, document["env"]),
                f"{row['iqm']:.1f}",
                "" if row["kind"] == "teacher" else _percent(row, document),
            )
            for row in document["rows"]
        ],
        left=1,
    )


def demo_summary(documents: Sequence[Document]) -> str:
    """One line an environment; students as % of the teacher."""
    rows = [
        (
            document["env"],
            interval(document["rows"][0], document["env"]),
            *(_percent(row, document) for row in document["rows"][1:]),
        )
        for document in documents
    ]
    return markdown(("environment", "PPO teacher", "BC", "BC, thinned", "DAgger", "distilled"), rows)


def labels_table(document: Document) -> str:
    """One line a number of labels, a column for each way to get them."""
    ways = {"dagger": "DAgger", "bc_consecutive": "BC, consecutive steps", "bc_thinned": "BC, one step in 20"}
    rows = [
        (f"{row['dagger']['labels']:,}", *(interval(row[way], document["env"]) for way in ways))
        for row in document["rows"]
    ]
    return markdown(("labels", *ways.values()), rows)


def value_table(documents: Sequence[Document]) -> str:
    """One line a variant; a cell says its steps where they are not those of most rows of its column."""
    usual = [Counter(row["steps"] for row in document["rows"]).most_common(1)[0][0] for document in documents]
    names = dict.fromkeys(row["variant"] for document in documents for row in document["rows"])
    heads = [f"{document['env']}, {steps // 1000}k steps" for document, steps in zip(documents, usual, strict=True)]
    rows = []
    for name in names:
        cells = []
        for document, steps in zip(documents, usual, strict=True):
            row = next((row for row in document["rows"] if row["variant"] == name), None)
            other = "" if row is None or row["steps"] == steps else f" ({row['steps'] // 1000}k)"
            cells.append("not run" if row is None else interval(row, document["env"]) + other)
        rows.append((name, *cells))
    return markdown(("variant", *heads), rows)


def shipped_table(rows: Sequence[Document]) -> str:
    """One line a shipped setting: the members of all base seeds together, and how many of them are at the target."""
    heads = ("environment", "algorithm", "steps", "return", "lowest member", "at the target")
    lines = []
    for env in shipped.TARGETS:
        for name in dict.fromkeys(row["algorithm"] for row in rows if row["env"] == env):
            own = [row for row in rows if (row["env"], row["algorithm"]) == (env, name)]
            found, _ = shipped.judge(env, name, own)
            scores = [score for row in own for score in row["scores"]]
            mean = interval({"scores": scores}, env)
            share = f"{found['share']:.0%} of {len(scores)}"
            lines.append((env, name, f"{own[0]['steps']:,}", mean, f"{found['lowest']:.1f}", share))
    return markdown(heads, lines, left=2)


def parity_table(document: Document) -> str:
    """One line an algorithm; returns of both."""
    rows = [
        (row["algorithm"], interval(row["stable-baselines3"], "CartPole-v1"), interval(row["imitate"], "CartPole-v1"))
        for row in document["rows"]
    ]
    return markdown(("algorithm", "Stable-Baselines3", "imitate"), rows)


def deep_sea_table(document: Document) -> str:
    """One line a variant, a column for each size: how many members solve it."""
    found = {(row["variant"], row["size"]): row for row in document["rows"]}
    variants, sizes = dict.fromkeys(v for v, _ in found), dict.fromkeys(s for _, s in found)

    def cell(row: Document | None) -> str:
        if row is None:
            return "not run"
        return f"{row['solved']} of {document['members']} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"

    rows = [(variant, *(cell(found.get((variant, size))) for size in sizes)) for variant in variants]
    return markdown(("members that solve it", *(f"{size}x{size}" for size in sizes)), rows)


def coverage_table(document: Document, of: str) -> str:
    """One line a distribution, a column for each method: the coverage with five, eight and sixteen members."""
    found = {(row["scores"], row["method"], row["members"]): row for row in document["rows"] if row["of"] == of}
    scores, methods = dict.fromkeys(name for name, _, _ in found), dict.fromkeys(method for _, method, _ in found)

    def cell(name: str, method: str) -> str:
        rows = [found.get((name, method, n)) for n in MEMBERS]
        text = ", ".join("" if row is None else f"{100 * row['coverage']:.1f}" for row in rows)
        return text if None not in rows else ""

    rows = [(name, *(_bold(cell(name, method), method == OURS) for method in methods)) for name in scores]
    return markdown(("scores", *methods), rows, left=1)


def speed_table(document: Document) -> str:
    """One line a contestant; of ours with the ratio to each peer, its range over the rounds in brackets."""
    lines = []
    for row in document["rows"]:
        named = len(_peers(row)) > 1
        for number, one in enumerate(row["contestants"]):
            speed = f"{one['median']:,.2f} s" if row["unit"] == "seconds" else f"{one['median']:,.0f} {row['unit']}"
            ratios = [
                spread(r) + (f" {r['against']}" if named else "") for r in _ratios(row) if r["name"] == one["name"]
            ]
            lines.append((row["title"] if number == 0 else "", one["name"], speed + arrived(one), "<br>".join(ratios)))
    titles: dict[str, list[str]] = {}
    for row in document["rows"]:
        titles.setdefault(row["note"], []).append(row["title"])
    notes = [f"- {'; '.join(those)}: {note}" for note, those in titles.items()]
    return "\n".join([markdown(("work", "who", "speed", "times as fast"), lines, left=2), "", *notes])


def threads_table(one: Document, two: Document) -> str:
    """One line a ratio to a peer that was measured with one thread and with two."""
    before = {(row["name"], r["name"], r["against"]): r for row in one["rows"] for r in _ratios(row)}
    rows = [
        (row["title"], r["name"], r["against"], spread(before[row["name"], r["name"], r["against"]]), spread(r))
        for row in two["rows"]
        for r in _ratios(row)
    ]
    return markdown(("work", "who", "peer", "1 thread", "2 threads"), rows, left=3)


def slower_table(document: Document) -> str:
    """One line a comparison that a peer wins in at least one round."""
    rows = [
        (row["title"], ratio["name"], ratio["against"], spread(ratio))
        for row in document["rows"]
        for ratio in _ratios(row)
        if ratio["low"] < 1
    ]
    return markdown(("work", "who", "peer", "times as fast"), rows, left=3)


def curves_table(document: Document, axis: str) -> str:
    """One line a size, a column for each curve of an axis; the knee is bold."""
    curves = [curve for curve in document["curves"] if curve["axis"] == axis]
    rows = [
        (f"{size:,}", *(_bold(f"{curve['speeds'][i]:,.0f}", curve["knee"] == size) for curve in curves))
        for i, size in enumerate(curves[0]["sizes"])
    ]
    return markdown((axis, *(curve["name"] for curve in curves)), rows, left=1)


def break_even_table(document: Document) -> str:
    """One line a number of environments: after how many steps compiling is earned back."""
    earned = document["break_even_steps"]
    rows = [
        (f"{envs:,}", *("never" if steps[i] is None else f"{steps[i] / 1e6:,.1f} million" for steps in earned.values()))
        for i, envs in enumerate(document["envs"])
    ]
    return markdown(("environments", *earned), rows, left=1)


def profile_table(document: Document) -> str:
    """One line a number of members: shares of an iteration of PPO."""
    shares = document["profile"]
    parts = next(iter(shares.values()))
    rows = [(members, *(f"{100 * share[part]:.0f} %" for part in parts)) for members, share in shares.items()]
    return markdown(("members", *parts), rows, left=1)


def conditioning_table(document: Document) -> str:
    """One line a simulator: trial-updates a second, and how many times as fast ours is."""
    rows = [
        (row["name"], f"{row['updates_per_second']:,.0f}", _simulated(row) if "ratio" in row else "")
        for row in document["rows"]
    ]
    return markdown(("simulator", "trial-updates/s", "imitate, float64, all strengths kept"), rows, left=1)


def convolution_table(document: Document) -> str:
    """One line a layer: milliseconds of each way, and of the one that `Conv2d` takes."""
    ways = ("grouped", "looped", "unfolded", "chosen")
    rows = [(row["case"], *(f"{row[way]:.2f}" for way in ways)) for row in document["rows"]]
    return markdown(("members x batch x image -> outputs, kernel/stride", *ways), rows, left=1)


def interval(row: Document, env: str = "") -> str:
    """The mean of a row's scores and its interval, as they are computed today: what the file says of it is not read.

    Returns in an environment of ours are bounded by what its rewards allow.
    """
    scores = _scores(row)
    low, high = interval_of(scores, bounds=_bounds(env))
    return f"{scores.mean():,.1f} [{low:,.1f}, {high:,.1f}]"


@cache
def _bounds(env: str) -> tuple[float, float]:
    return (episode_range(imitate.make(env).spec) if env in ENVS else None) or UNBOUNDED


def spread(ratio: Document) -> str:
    """A median ratio and its range."""
    return f"{ratio['ratio']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def ratio_of(row: Document, name: str, against: str) -> Document:
    """How many times as fast one contestant of a row of `benchmarks.versus` is as another."""
    return next(ratio for ratio in row["ratios"] if (ratio["name"], ratio["against"]) == (name, against))


def _scores(row: Document) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One score of each member; files call them by three names."""
    return np.array(
        next(row[name] for name in ("scores", "member_means", "members") if isinstance(row.get(name), list))
    )


def _percent(row: Document, document: Document) -> str:
    three = _scores(row), _scores(document["rows"][0]), np.array(document["random_means"])
    return percent_text(percent(*three), percent_interval(*three), unit="")


def _simulated(row: Document) -> str:
    return f"{row['ratio']:.3g} [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}] times as fast"


def _peers(row: Document) -> list[str]:
    return [one["name"] for one in row["contestants"] if one["who"] != "ours"]


def _ratios(row: Document) -> list[Document]:
    """Those of ours to a peer; ours to ours are left out."""
    return [ratio for ratio in row["ratios"] if ratio["against"] in _peers(row)]


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text
