"""Random commands and library calls, most of them wrong: none ends in a traceback, hangs, or hides what is wrong.

    python -m benchmarks.fuzz commands --times 1000
    python -m benchmarks.fuzz library --times 1000

Every case runs in a forked child with limits of time and memory. What counts as a fault is in `fuzz_commands.fault` and
`fuzz_library.fault`; the exit code is 1 if there is one. Cases are Hypothesis's, drawn by a seed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from benchmarks import fuzz_commands, fuzz_library
from benchmarks.forked import Outcome

RESULTS = Path(__file__).parent / "results" / "fuzz.json"


@dataclass(frozen=True)
class Fuzz:
    """Draw cases, run each, and count what is wrong.

    Args:
        what: Command lines, or calls of public functions and classes.
        times: Cases.
        seed: Of the cases.
        seconds: One may take before it is interrupted.
        out: Where the figures go; nowhere by default.
    """

    what: tyro.conf.Positional[Literal["commands", "library"]]
    times: int = 1000
    seed: int = 0
    seconds: float = 15.0
    out: Path | None = None

    def __call__(self) -> int:
        """Run; 1 if a case shows a fault."""
        module: Any = {"commands": fuzz_commands, "library": fuzz_library}[self.what]
        faults: list[dict[str, Any]] = []
        codes: Counter[str] = Counter()
        outcomes: list[Outcome] = []
        with _workplace() as folder:
            prepared = module.prepare(folder)

            def one(case: Any) -> None:
                outcome = module.execute(case, prepared, self.seconds)
                outcomes.append(outcome)
                codes[str(outcome.code)] += 1
                wrong = module.fault(case, outcome)
                if wrong is not None:
                    faults.append({"case": str(case), "fault": wrong, "code": outcome.code, "said": outcome.err[-400:]})
                    print(f"{wrong}: {case}\n    {outcome.err[-600:].strip()}", flush=True)

            _draw(module.cases(prepared), one, self.times, self.seed)
        document = {
            "cases": len(outcomes),
            "seed": self.seed,
            "exit codes": dict(sorted(codes.items())),
            "interrupted": sum(outcome.interrupts > 0 for outcome in outcomes),
            "most seconds": round(max(outcome.seconds for outcome in outcomes), 1),
            "most memory, GB": round(max(outcome.peak for outcome in outcomes) / 1e9, 2),
            "faults": faults,
        }
        print(json.dumps({**document, "faults": len(faults)}))
        if self.out is not None:
            before = json.loads(self.out.read_text("utf-8")) if self.out.exists() else {}
            self.out.write_text(json.dumps({**before, self.what: document}, indent=2) + "\n", "utf-8")
        return int(bool(faults))


def _draw(cases: SearchStrategy[Any], one: Callable[[Any], None], times: int, number: int) -> None:
    """Let Hypothesis draw cases; a fault is noted rather than raised, so nothing is shrunk."""
    options = settings(
        max_examples=times,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(options(given(cases)(one)))()


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder for everything that is written."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)  # a child forked from threads may wait for one that it does not have
    sys.exit(tyro.cli(Fuzz)())
