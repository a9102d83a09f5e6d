"""Inverse reinforcement learning on an 8x8 lake: does it find the teacher's visits, and a policy as good?

The teacher is planned with γ = .99. Two rows of each method: from the teacher's exact visits, without a penalty where
there is one, and from 100 episodes of each member. "visits" is the largest difference of a state's discounted visits
from the teacher's exact ones; "return" is the discounted return under the true reward, which no method sees, as a
share of the teacher's, exact too, and in brackets that of the policy's likeliest actions. The controls are a uniform
policy and rewards of random weights. Paths of maximum entropy are those of 100 steps, after 300 evaluations.

    OMP_NUM_THREADS=1 python -m benchmarks.inverse

Exits with 1 if maximum causal entropy misses the exact visits by more than 1e-3, or falls below 95 % of the teacher.
The rows go to benchmarks/results/inverse.json.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.nn.functional import one_hot

from imitate import inverse
from imitate.core.rollout import TensorSource
from imitate.data import demonstrate
from imitate.experiment.evaluate import interval
from imitate.experiment.report import versions
from imitate.inverse import Recovered, empirical_occupancy, occupancy
from imitate.teachers import planner, policy_iteration
from imitate_envs import FrozenLake8x8

GAMMA, HORIZON = 0.99, 100


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Sets of demonstrations.
        episodes: Of each.
        seed: Of the source.
        out: Where to write.
    """

    members: int = 8
    episodes: int = 100
    seed: int = 100
    out: Path = Path("benchmarks/results/inverse.json")


def main(options: Options) -> int:
    """Measure and write; the exit code."""
    torch.set_num_threads(1)
    env = FrozenLake8x8()
    model = env.model()
    teacher = planner(env, GAMMA)
    policy = one_hot(teacher.q[0].argmax(-1), model.actions).double()
    exact = occupancy(model, policy, GAMMA)
    earned = float((exact * model.reward).sum())
    source = TensorSource(
        env, id="FrozenLake8x8-v1", num_envs=options.episodes, members=options.members, seed=options.seed
    )
    shown = demonstrate(source, teacher, options.episodes)

    def row(name: str, data: str, found: list[Tensor], seconds: float, gaps: list[float]) -> dict[str, Any]:
        visits = [occupancy(model, one, GAMMA) for one in found]
        shares = torch.tensor([float((one * model.reward).sum()) / earned for one in visits]).numpy()
        modes = [occupancy(model, one_hot(one.argmax(-1), model.actions), GAMMA) for one in found]
        greedy = sum(float((one * model.reward).sum()) for one in modes) / len(found) / earned
        apart = [float((one.sum(1) - exact.sum(1)).abs().max()) for one in visits]
        share = f"{shares.mean():.3f} ({greedy:.3f})"
        print(f"{name:>22} {data:>12}: visits within {max(apart):.2g}, return {share}, {seconds:.2f} s", flush=True)
        return {
            "method": name,
            "data": data,
            "members": len(found),
            "visits": max(apart),
            "features": max(gaps, default=None),
            "share": float(shares.mean()),
            "greedy": greedy,
            "interval": interval(shares) if len(found) > 1 else None,
            "seconds": seconds,
        }

    generator, rows = torch.Generator().manual_seed(options.seed), []
    uniform = torch.full_like(model.reward, 1 / model.actions)
    rows.append(row("uniform policy", "none", [uniform], 0.0, []))
    random = [
        policy_iteration(replace(model, reward=model.transition @ torch.randn(64, generator=generator).double()), GAMMA)
        for _ in range(options.members)
    ]
    rows.append(row("random reward", "none", [one_hot(plan.actions, 4).double() for plan in random], 0.0, []))
    methods: dict[str, tuple[Any, dict[str, Any]]] = {
        "mce-irl": (inverse.maximum_causal_entropy, {"penalty": 0.0, "tolerance": 5e-4}),
        "maxent-irl": (inverse.maximum_entropy, {}),
        "apprenticeship": (inverse.apprenticeship, {}),
        "max-margin": (inverse.max_margin, {}),
    }
    for name, (solve, settings) in methods.items():
        paths = name == "maxent-irl"
        fixed: dict[str, Any] = {"horizon": HORIZON, "max_iterations": 300} if paths else {"gamma": GAMMA}
        start = time.perf_counter()
        seen = occupancy(model, policy, horizon=HORIZON) if paths else exact
        found: list[Recovered] = [solve(model, seen, **fixed, **settings)]
        rows.append(row(name, "exact visits", [found[0].policy], time.perf_counter() - start, [found[0].gap]))
        start = time.perf_counter()
        found = [
            solve(
                model, empirical_occupancy(shown, model, GAMMA, horizon=HORIZON if paths else None, member=m), **fixed
            )
            for m in range(options.members)
        ]
        seconds = (time.perf_counter() - start) / options.members
        data = f"{options.episodes} episodes"
        rows.append(row(name, data, [one.policy for one in found], seconds, [one.gap for one in found]))
    about = {"env": "FrozenLake8x8-v1", "gamma": GAMMA, "seed": options.seed, "teacher": earned, "versions": versions()}
    options.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", "utf-8")
    best = next(one for one in rows if one["method"] == "mce-irl" and one["data"] == "exact visits")
    return int(best["visits"] > 1e-3 or best["share"] < 0.95)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
