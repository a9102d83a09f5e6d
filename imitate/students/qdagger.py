"""QDagger: values that begin with what a teacher does, and are let go as they come to be worth as much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, NonNegative, Positive, Share, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.replay_step import replay_step
from imitate.core.terms import UntilReturn
from imitate.core.types import Memory, Metrics, Obs, Policy, Source
from imitate.distributions.actions import Categorical, Teacher, Valued
from imitate.nets.q_network import QNetwork
from imitate.nets.return_heads import ReturnHead
from imitate.policies import EpsilonGreedy, Greedy, Random
from imitate.students.kickstarting import Distil

__all__ = ["QDagger", "QDaggerConfig"]


@dataclass(frozen=True)
class QDaggerConfig(DQNConfig):
    """As `DQNConfig`, with what is learnt from the teacher. ε is small, for the student begins with what it was shown.

    The temperature τ is that of both softmaxes, see `QDagger`.

    Args:
        distil: λ at the beginning.
        teacher_steps: Steps of one member that the teacher shows; whole rollouts.
        teacher_epsilon: Probability of a random action in them, so that more is seen than what a teacher does.
        offline_updates: Gradient steps on them, before the student acts for the first time.
        return_episodes: Of each member, that the returns of the teacher and of random actions are estimated from.
    """

    learning_starts: NonNegative[int] = 0
    epsilon: Share[PerMember] = 0.05
    temperature: Positive[float] = 0.1
    distil: NonNegative[float] = 1.0
    teacher_steps: Count = 5_000
    teacher_epsilon: Share[PerMember] = 0.1
    offline_updates: Count = 2_000
    return_episodes: Count = 20


class QDagger:
    """Learn values from a teacher's experience, then from one's own, near the teacher while it is better.

        L = L_TD + λ KL(π_T ‖ softmax(Q/τ)),   λ = λ₀ max(1 − (G − G₀) / (G_T − G₀), 0)

    Offline it learns from steps of the teacher with λ₀. Then it acts. G is a running mean of its training returns, G_T
    the return of the teacher, and G₀ that of random actions: 0 in the paper, whose returns are scores. A teacher with
    values answers with softmax(Q_T/τ), another one with its own distribution π_T.

    Source: Agarwal et al. (2022, arXiv:2206.01626), §4.1. The paper writes the cross-entropy, of the same gradient.

    Args:
        source: Where to act, the teacher first; a Discrete space of actions.
        teacher: Who shows and answers.
        config: Hyper-parameters.
        head: What is learnt about a return, as of `DQN`.

    Raises:
        ValueError: The actions are continuous, the replay holds less than the teacher shows, or a number does not fit.
    """

    @checked
    def __init__(
        self, source: Source, teacher: Teacher, config: QDaggerConfig | None = None, *, head: ReturnHead | None = None
    ) -> None:
        config, spec = config or QDaggerConfig(), source.spec
        members = getattr(teacher, "members", 1)
        if members not in (1, spec.members):
            raise ValueError(f"teacher: has {members} members, the source {spec.members}; one serves all.")
        if config.teacher_steps > config.capacity:
            raise ValueError(
                f"teacher_steps: {config.teacher_steps} are more than the capacity of the replay, {config.capacity}."
            )
        self.source, self.teacher, self.config = source, teacher, config
        answers = _Softmax(teacher, config.temperature) if isinstance(teacher, Valued) else teacher
        reached, chance = (
            source.play(policy, config.return_episodes, spec.seed).mean(1)
            for policy in (Greedy(teacher), Random(spec.action))
        )
        weight = UntilReturn(reached, spec, start=config.distil, origin=chance)
        self.rl = DQN(source, config, head=head, terms=[Distil(cast(Policy, answers), weight)])

    @property
    def policy(self) -> QNetwork:
        """What it has learnt so far."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of DQN: steps are the student's own, labels those that the teacher showed."""
        return self.rl.progress

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return self.rl.notes

    def step(self) -> Metrics:
        """One iteration of DQN; before the first one the offline phase."""
        if int(self.progress.steps) == 0:
            self._learn_offline()
        return self.rl.step()

    def _learn_offline(self) -> None:
        """Let the teacher act, and learn from that."""
        rl, config, spec = self.rl, self.config, self.source.spec
        epsilon = torch.as_tensor(config.teacher_epsilon, device=spec.device)
        driver = EpsilonGreedy(self.teacher, spec.action, epsilon)
        each = config.rollout * spec.num_envs
        rollouts = -(-config.teacher_steps // each)
        for _ in range(rollouts):
            replay_step(self.source, driver, rl.replay, rl._update, config, ready=False, see=rl._remembered)
        rl.terms.weigh(0)
        for batch in rl.replay.batches(config.batch_size, config.offline_updates, config.importance):
            rl._update(batch)
        self.progress.advance(0, rollouts * each)


class _Softmax:
    """A teacher that answers with the softmax of its values over a temperature, and acts as it did."""

    def __init__(self, teacher: Any, temperature: float) -> None:
        self.teacher, self.temperature, self.noise = teacher, temperature, teacher.noise

    def memory(self, *shape: int) -> Memory:
        return self.teacher.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        return cast("tuple[Tensor, Memory, dict[str, Any]]", self.teacher.act(obs, noise, memory))

    def distribution(self, obs: Obs) -> Categorical:
        return Categorical(self.teacher.action_values(obs) / self.temperature)
