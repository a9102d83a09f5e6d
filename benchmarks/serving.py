"""The worker's end of a benchmark: tasks come on stdin, timings go to stdout, one JSON object a line.

Standard library only, since the peers' environments run it too. A task is a function of a request's arguments that
builds what is to be timed, warms it up, and returns a run: a function of a seed that times once.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

Run = Callable[[int], dict[str, Any]]
Task = Callable[..., Run]


def serve(tasks: dict[str, Task], packages: Sequence[str]) -> None:
    """Greet with the versions of what is measured, then answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer

    def answer(document: dict[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    answer({"python": platform.python_version(), **{package: _version(package) for package in packages}})
    prepared: dict[str, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("forget"):
            prepared.clear()
            answer({})
            continue
        key = json.dumps([request["task"], request["arguments"]], sort_keys=True)
        try:
            if key not in prepared:
                prepared[key] = tasks[request["task"]](**request["arguments"])
            answer(prepared[key](request["seed"]))
        except Exception as error:
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


def timed(work: Callable[[], int]) -> Run:
    """Work once for warm-up; a run then works once more. `work` returns how many units it did."""
    work()

    def run(seed: int) -> dict[str, Any]:
        start = time.perf_counter()
        count = work()
        return {"seconds": time.perf_counter() - start, "count": count}

    return run


def race(
    step: Callable[[], object], finished: Callable[[], bool], scores: Callable[[], Sequence[float]], target: float
) -> dict[str, Any]:
    """Step until every score has been at the target once, or it is finished; looking at the scores costs no time.

    `reached` holds the seconds of each score, None where it never got there; `looks` how often it was looked.
    """
    seconds, looks = 0.0, 0
    reached: list[float | None] = []
    seen: list[float] = []
    while not finished():
        start = time.perf_counter()
        step()
        seconds += time.perf_counter() - start
        looks += 1
        seen = [float(score) for score in scores()]
        reached = [
            before if before is not None else seconds if score >= target else None
            for before, score in zip(reached or [None] * len(seen), seen, strict=True)
        ]
        if all(moment is not None for moment in reached):
            break
    score = sum(seen) / max(len(seen), 1)
    return {"seconds": seconds, "count": 1, "reached": reached, "score": score, "looks": looks}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
