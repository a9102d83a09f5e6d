"""Jump-start: a teacher begins the episodes, and hands over ever earlier. Letters: M members."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, Positive, Share, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.spec import FOREVER
from imitate.core.terms import UntilReturn
from imitate.core.types import Metrics, Policy, Source
from imitate.core.weak import Weak
from imitate.core.wrappers import Driven, Privileged, Recorded
from imitate.nets.q_network import QNetwork
from imitate.policies import Greedy, Random, RollIn

__all__ = ["JumpStart", "JumpStartConfig"]


@dataclass(frozen=True)
class JumpStartConfig(DQNConfig):
    """As `DQNConfig`, with when to hand over. ε counts where the student acts.

    Args:
        horizon: Steps of an episode that the teacher takes at first; all that there can be by default.
        stages: Handovers until it takes none; each time it takes horizon/stages less.
        tolerance: Share of the way from random actions to the teacher's return that may be missing at a handover.
        stage_episodes: Finished episodes of a member that a stage takes at the least.
        return_episodes: Of each member, that the returns of the teacher and of random actions are estimated from.
    """

    epsilon: Share[PerMember] = 0.1
    horizon: Count | None = None
    stages: Count = 10
    tolerance: Positive[float] = 0.1
    stage_episodes: Count = 20
    return_episodes: Count = 20


class JumpStart:
    """DQN from where a teacher leads, which leads for the first h steps of an episode (Uchendu et al. 2023).

    h shrinks, for each member by itself, as soon as a running mean of the training returns is within the tolerance of
    the teacher's return. What the teacher does is remembered and learnt from too. So this needs an algorithm that
    learns off-policy.

    Args:
        source: Where to act; a Discrete space of actions.
        teacher: Who leads; any policy.
        config: Hyper-parameters.

    Raises:
        ValueError: The actions are continuous, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, teacher: Policy, config: JumpStartConfig | None = None) -> None:
        config, spec = config or JumpStartConfig(), source.spec
        members = getattr(teacher, "members", 1)
        if members not in (1, spec.members):
            raise ValueError(f"teacher: has {members} members, the source {spec.members}; one serves all.")
        if config.horizon is None and spec.max_steps == FOREVER:
            raise ValueError("horizon: the source tells no time limit; pass how long the teacher leads at first.")
        self.source, self.teacher, self.config = source, teacher, config
        self.longest = float(config.horizon or spec.max_steps)
        self.horizon = torch.full((spec.members,), self.longest, device=spec.device)
        leader = Greedy(Privileged(teacher))  # who sees past a view
        reached, chance = (
            source.play(policy, config.return_episodes, spec.seed).mean(1) for policy in (leader, Random(spec.action))
        )
        self.missing = UntilReturn(reached, spec, origin=chance)
        led = Driven(source, partial(RollIn, leader, steps=self.horizon))
        self.rl = DQN(Recorded(led, Weak(self.missing.watch)), config)

    @property
    def policy(self) -> QNetwork:
        """What it has learnt so far."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of DQN; steps of the teacher count."""
        return self.rl.progress

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return self.rl.notes

    def step(self) -> Metrics:
        """One iteration of DQN, then perhaps an earlier handover."""
        metrics, config = self.rl.step(), self.config
        ready = (self.missing.episodes >= config.stage_episodes) & (self.missing(0) <= config.tolerance)
        self.horizon.sub_(ready * (self.longest / config.stages)).clamp_(min=0)
        self.missing.episodes.masked_fill_(ready, 0)  # a stage is judged by its own episodes
        return {**metrics, "horizon": self.horizon.clone()}
