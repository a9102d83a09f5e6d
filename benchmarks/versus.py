"""Ours beside the released peers, in turn on one machine: environments, rollouts, learners, students, time to a score.

Each contestant lives in a process of its own, is warmed up once, and is timed round by round in turn; a ratio is that
of two timings of one round. `make peers` builds the environments of the peers.

    python -m benchmarks.versus --out benchmarks/results/versus.json
    python -m benchmarks.versus --rows ppo clone --rounds 9
"""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks.pairing import Spread, Worker, WorkerError, alternate, paired
from benchmarks.versus_rows import Row, Who, rows

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        rows: Names of rows, or beginnings of them; all by default. Rows of the file that are not asked for stay.
        rounds: Timings of each; the races to a score take `seeds`, DAgger three.
        seeds: Rounds of the races, each with another seed.
        scale: Factor of the work in one timing; for a quick look.
        threads: Of torch and of what is below it, for all.
        keep_memory: Let the C library keep freed memory, for all; see `pairing.KEEP_MEMORY`.
        peers: Folder of the peers' environments.
        out: Where to write.
    """

    rows: tuple[str, ...] = ()
    rounds: int = 5
    seeds: int = 8
    scale: float = 1.0
    threads: int = 1
    keep_memory: bool = False
    peers: Path = Path(".peers")
    out: Path = Path("benchmarks/results/versus.json")


def main(options: Options) -> int:
    """Measure, print, write JSON after every row."""
    wanted = _possible(chosen(rows(options.scale, options.seeds), options.rows), options)
    document: dict[str, Any] = {"rows": []}
    if options.out.exists():
        document = json.loads(options.out.read_text("utf-8"))
    failed = False
    with ExitStack() as stack:
        workers = {who: stack.enter_context(_worker(who, options)) for who in sorted(_who(wanted))}
        for row in wanted:
            try:
                entry = measure(row, workers, row.rounds or options.rounds)
            except WorkerError as error:
                print(f"{row.name}: {error}", file=sys.stderr, flush=True)
                failed = True
                continue
            settings = {name: getattr(options, name) for name in ("scale", "threads", "keep_memory")}
            entry |= {**settings, "processor": platform.processor() or platform.machine(), "load": os.getloadavg()[0]}
            entry["versions"] = {who: workers[who].versions for who in _who([row])}
            document["rows"] = merged(document["rows"], entry)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
            print("\n".join(lines(entry)), flush=True)
    return int(failed)


def chosen(every: tuple[Row, ...], names: tuple[str, ...]) -> list[Row]:
    """The rows whose names begin with one of the names.

    Raises:
        ValueError: A name is the beginning of none.
    """
    for name in names:
        if not any(row.name.startswith(name) for row in every):
            raise ValueError(f"rows: none begins with '{name}'; there are {', '.join(row.name for row in every)}.")
    return [row for row in every if not names or row.name.startswith(names)]


def measure(row: Row, workers: dict[Who, Worker], rounds: int) -> dict[str, Any]:
    """Time all contestants of a row in turn; compare ours with each peer, and several members with one.

    Raises:
        WorkerError: A contestant failed.
    """
    for worker in workers.values():
        worker.forget()  # what the row before has built
    turns = {c.name: partial(_once, workers[c.who], c.task, c.arguments) for c in row.contestants}
    answers = alternate(turns, rounds)
    racing = row.unit == "seconds"
    speeds = {name: [a["count"] / a["seconds"] for a in given] for name, given in answers.items()}
    entry: dict[str, Any] = {"name": row.name, "title": row.title, "unit": row.unit, "note": row.note, "rounds": rounds}
    entry["contestants"] = [
        {
            "name": c.name,
            "who": c.who,
            "arguments": c.arguments,
            **vars(Spread.of([1 / speed for speed in speeds[c.name]] if racing else speeds[c.name])),
            "all": answers[c.name],
        }
        for c in row.contestants
    ]
    mine = [c.name for c in row.contestants if c.who == "ours"]
    theirs = [c.name for c in row.contestants if c.who != "ours"]
    entry["ratios"] = [
        comparison(name, other, speeds)
        for name in mine
        for other in [*theirs, *(mine[:1] if name != mine[0] else [])]  # and several members against one
    ]
    return entry


def comparison(name: str, against: str, speeds: dict[str, list[float]]) -> dict[str, Any]:
    """How many times as fast one is as another."""
    spread = paired(speeds[name], speeds[against])
    return {"name": name, "against": against, "ratio": spread.median, "low": spread.low, "high": spread.high}


def merged(before: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows in the order of `rows()`, the new one in place of one of its name."""
    order = [row.name for row in rows()]
    kept = [row for row in before if row["name"] != entry["name"]]
    return sorted([*kept, entry], key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))


def lines(entry: dict[str, Any]) -> list[str]:
    """What a person reads."""
    found = [entry["title"]]
    for one in entry["contestants"]:
        number = f"{one['median']:,.2f}" if entry["unit"] == "seconds" else f"{one['median']:,.0f}"
        ratios = "".join(
            f"  x{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] of {ratio['against']}"
            for ratio in entry["ratios"]
            if ratio["name"] == one["name"]
        )
        found.append(f"  {one['name']:36} {number:>12} {entry['unit']}{arrived(one)}{ratios}")
    return found


def arrived(contestant: dict[str, Any]) -> str:
    """How many of those who raced got there; nothing where nobody raced, a score where there is one."""
    moments = [moment for answer in contestant["all"] for moment in answer.get("reached", ())]
    if moments:
        return f" ({sum(moment is not None for moment in moments)} of {len(moments)} there)"
    scores = [answer["score"] for answer in contestant["all"] if "score" in answer]
    return f" (return {Spread.of(scores).median:.0f})" if scores else ""


def _once(worker: Worker, task: str, arguments: dict[str, Any], number: int) -> dict[str, Any]:
    return worker.ask(task, arguments, seed=number)


def _who(rows: list[Row]) -> set[Who]:
    return {contestant.who for row in rows for contestant in row.contestants}


def _python(who: Who, options: Options) -> Path:
    return Path(sys.executable) if who == "ours" else options.peers / who / "bin" / "python"


def _possible(wanted: list[Row], options: Options) -> list[Row]:
    """The rows whose peers are installed; a line for each peer that is not."""
    missing = {who for who in _who(wanted) if not _python(who, options).exists()}
    for who in sorted(missing):
        print(f"{who}: no {_python(who, options)}, so its rows are left out; run `make peers`.", file=sys.stderr)
    return [row for row in wanted if not _who([row]) & missing]


def _worker(who: Who, options: Options) -> Worker:
    return Worker(
        _python(who, options),
        HERE / f"worker_{who}.py",
        threads=options.threads,
        keep_memory=options.keep_memory,
        path=HERE.parent if who in ("ours", "rsl") else None,  # rsl_rl steps our environment
    )


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except (ValueError, WorkerError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
