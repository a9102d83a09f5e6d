"""The command `imitate evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import OUT, Device, env_of, members_of, must_exist, say, teacher_for, views_of
from imitate.cli.parsing import option
from imitate.core.config import Count
from imitate.core.types import Source

__all__ = ["Evaluate", "command"]


@dataclass(frozen=True)
class Evaluate:
    """Play whole episodes with a policy; against a teacher, on the same noise, if one is given.

    Args:
        policy: A run, an SB3 .zip, "control" or "plan".
        env: Environment id; by default the one that the policy was made for.
        teacher: Against whom.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 policy.
        teacher_vec_normalize: The same of an SB3 teacher.
        episodes: Of each member.
        members: By default the policy's.
        stochastic: Draw actions instead of taking the most likely.
        student_view: What the policy sees, while the teacher sees all; by default what it saw in its run.
        risk: Go by a risk measure of each action's return: cvar:0.1, wang:-0.75, power:-2, cpw:0.71, mean-variance:0.1.
        seed: Of the noise.
        device: Where it runs.
        json: Print JSON instead of a line.
    """

    policy: Annotated[Positional[str], arg(metavar="POLICY")]
    env: str | None = None
    teacher: str | None = None
    vec_normalize: Path | None = None
    teacher_vec_normalize: Path | None = None
    episodes: int = 100
    members: Count | None = None
    stochastic: bool = False
    student_view: tuple[str, ...] = ()
    risk: str | None = None
    seed: int = 1_000_003
    device: Device = "auto"
    json: bool = False

    def __call__(self) -> None:
        """Evaluate."""
        from imitate.cli.views import viewed
        from imitate.experiment.evaluate import evaluate
        from imitate.policies import risk_sensitive
        from imitate.sources import make

        must_exist("policy", self.policy)
        if self.teacher is not None:
            must_exist("teacher", self.teacher)
        if self.env is None:
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        members = self.members or members_of(self.policy) or 1
        source: Source = make(self.env, num_envs=1, members=members, seed=self.seed, device=self.device)
        against = None if self.teacher is None else teacher_for(self.teacher, source, self.teacher_vec_normalize)
        source = viewed(source, self.student_view or views_of(self.policy))
        learnt = teacher_for(self.policy, source, self.vec_normalize)
        if self.risk is not None:
            learnt = risk_sensitive(learnt, self.risk)
        found = evaluate(
            learnt, source, self.episodes, teacher=against, deterministic=not self.stochastic, seed=self.seed
        )
        if not self.json:
            say(str(found))
            return
        numbers = {
            "mean": found.mean,
            "iqm": found.iqm,
            "ci_low": found.ci[0],
            "ci_high": found.ci[1],
            "iqm_ci_low": found.iqm_ci[0],
            "iqm_ci_high": found.iqm_ci[1],
            "percent_of_teacher": found.percent_of_teacher,
            "percent_ci_low": found.percent_ci and found.percent_ci[0],
            "percent_ci_high": found.percent_ci and found.percent_ci[1],
        }
        document = {
            "env": self.env,
            "members": members,
            "episodes": self.episodes,
            **{name: value if value is None or math.isfinite(value) else None for name, value in numbers.items()},
            "interval_over": found.unit,
            "member_means": found.returns.mean(1).tolist(),
        }
        OUT.print_json(data=document)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the environment that the policy, or else the teacher, was made for."""
    named = [option(arguments, "--env"), *map(env_of, arguments)]
    return Evaluate, Evaluate(tyro.MISSING, env=next(filter(None, named), None))
