"""The command `imitate inverse`: the reward behind demonstrations, on finite environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import Common, demonstrations_for, env_of, must_exist, say
from imitate.cli.parsing import option
from imitate.cli.resuming import folder
from imitate.core.config import Count, Positive, Proper
from imitate.core.names import closest

__all__ = ["Inverse", "command"]

# The functions of `imitate.inverse` by the names of the field.
METHODS = {
    "mce-irl": "maximum_causal_entropy",
    "maxent-irl": "maximum_entropy",
    "apprenticeship": "apprenticeship",
    "max-margin": "max_margin",
}


@dataclass(frozen=True)
class Inverse:
    """Find the reward behind demonstrations by planning: maximum entropy, apprenticeship, max-margin.

    The environment is one of ours with finitely many states, whose model is known. Each member has demonstrations of
    its own. The folder gets the policies and, as reward.json, the rewards [M, S, A].

    Args:
        method: mce-irl (maximum causal entropy), maxent-irl (maximum entropy of paths), apprenticeship (projection) or
            max-margin.
        teacher: A run, or "plan" for a planner; not needed with --data.
        data: An .npz with arrays obs and action (and done, where episodes end), instead of a teacher.
        demonstrations: Episodes that the teacher shows each member.
        env: Environment id; by default the teacher's.
        gamma: Discount; paths of maxent-irl are not discounted.
        penalty: On the size of the weights; by default that of the method. The projection of apprenticeship has none.
        members: Independent demonstrations, for intervals.
        seed: Of everything.
        episodes: Of each member in the evaluation.
        out: Folder for the policies and the rewards.
    """

    method: Annotated[Positional[str], arg(metavar="{" + ",".join(METHODS) + "}")]
    teacher: str | None = None
    data: Path | None = None
    demonstrations: Count = 100
    env: str | None = None
    gamma: Proper[float] = 0.99
    penalty: Positive[float] | None = None
    members: Count = 8
    seed: int = 0
    episodes: Count = 100
    out: Path | None = None

    def __call__(self) -> None:
        """Plan, compare, plan again."""
        import torch

        from imitate import inverse
        from imitate.core import checkpoint
        from imitate.experiment.evaluate import evaluate
        from imitate.nets import TabularPolicy
        from imitate_envs.tabular import Tabular

        if self.teacher is not None:
            must_exist("teacher", self.teacher)
        if self.env is None:
            raise ValueError("env: which environment? Pass --env, for example --env FrozenLake-v1.")
        if self.penalty is not None and self.method == "apprenticeship":
            raise ValueError("penalty: apprenticeship has none; leave it out.")
        out = self.out or folder(self.method, self.env)
        if checkpoint.exists(out, "policy"):
            raise ValueError(f"out: '{out}' holds a policy already; pass another --out.")
        common = Common(env=self.env, members=self.members, seed=self.seed, device="cpu")
        source, teacher, shown = demonstrations_for(
            common, self.env, self.teacher, None, self.data, self.demonstrations, clip_actions=False
        )
        env = getattr(source, "env", None)
        if not isinstance(env, Tabular):
            raise ValueError(f"env: {self.env} has no model to plan with; see imitate list for those of ours.")
        horizon = source.spec.max_steps if self.method == "maxent-irl" else None
        options: dict[str, Any] = {"gamma": self.gamma} if horizon is None else {"horizon": horizon}
        if self.penalty is not None:
            options["penalty"] = self.penalty
        solve = getattr(inverse, METHODS[self.method])
        model, found = env.model(), []
        for member in range(self.members):
            visits = inverse.empirical_occupancy(shown, model, self.gamma, horizon=horizon, member=member)
            one = solve(model, visits, **options)
            found.append(one)
            say(f"{self.method}: member {member}: features within {one.gap:.2g} after {one.iterations} rewards")
        policy = TabularPolicy(torch.cat([one.teacher().q for one in found]), temperature=1.0, env=self.env)
        reward = torch.stack([one.reward for one in found])
        about = {"method": self.method, "env": self.env, "gamma": self.gamma, "labels": shown.labels.tolist()}
        checkpoint.commit(out, {"policy": policy.record(), "reward": ({"reward": reward}, about)})
        say(f"{self.method}: {evaluate(policy, self.env, self.episodes, teacher=teacher, deterministic=False)}")
        say(f"policy and reward are in {out}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    method = next((word for word in arguments[:1] if not word.startswith("-")), None)
    if method is not None and method not in METHODS:
        raise ValueError(closest("method", method, METHODS))
    return Inverse, Inverse(tyro.MISSING, env=option(arguments, "--env") or env_of(option(arguments, "--teacher")))
