"""Iterated relearning: a policy moves into fresh networks while it learns. Letters: M members, N copies, B batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.baselines.ppo import PPO, PPOConfig, architecture_of
from imitate.core.config import Count, NonNegative, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import shuffled
from imitate.core.types import Metrics, Obs, Rollout, Source, fold, mean_metrics
from imitate.core.weak import Weak
from imitate.core.wrappers import Recorded
from imitate.distributions.actions import Distribution
from imitate.nets.actor import Actor, fresh
from imitate.nets.critic import Critic

__all__ = ["ITER", "ITERConfig"]


@dataclass(frozen=True)
class ITERConfig(PPOConfig):
    """As `PPOConfig`, with when and how a policy moves into a fresh network.

    Args:
        generation: Rollouts of a generation.
        taught: How many of them, the last ones, the next generation is taught on; at most `generation`.
        next_epochs: Its passes over a rollout, in minibatches of `batch_size`.
        next_lr: Its learning rate.
        next_value: Weight of the squared error of its values.
    """

    generation: Count = 20
    taught: Count = 10
    next_epochs: Count = 10
    next_lr: NonNegative[PerMember] = 1e-3
    next_value: NonNegative[PerMember] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.taught > self.generation:
            raise ValueError(
                f"taught: {self.taught} rollouts of a generation of {self.generation}; take at most that many."
            )
        if self.gru or self.lstm:
            raise ValueError("gru, lstm: the next generation is taught at single observations; take policies without.")


@dataclass(frozen=True)
class _Taught:
    obs: Obs
    teacher: Distribution
    value: Tensor


class ITER:
    """PPO whose actor and critic are distilled into fresh ones now and then, which replace them (Igl et al. 2021).

        L = E_{s∼π}[KL(π(·|s) ‖ π_new(·|s)) + w (V(s) − V_new(s))²]

    What a network has learnt from data of long ago may stay in its features for ever; a fresh one has only seen the
    last rollouts. It is the parallel form of the paper: the next generation learns on rollouts that PPO collects
    anyway, so distillation takes no steps of the environment. The paper's student learns from rewards too before it
    takes over; here it does so from then on, with a new optimiser.

    Args:
        source: Where it acts.
        config: Hyper-parameters.

    Attributes:
        rl: The PPO.
        generation: Its number, from 1 on.

    Raises:
        ValueError: As of `PPO`.
    """

    @checked
    def __init__(self, source: Source, config: ITERConfig | None = None) -> None:
        self.config, spec = config or ITERConfig(), source.spec
        self.source = source
        self.rl = PPO(Recorded(source, Weak(self._see)), self.config)
        self.generation = torch.ones((), dtype=torch.int64)
        self.next_policy, self.next_critic = self._newborn(2)
        self.value = per_member(self.config.next_value, "next_value", spec.members, spec.device).unsqueeze(1)
        self.learner = Learner(
            [self.next_policy, self.next_critic],
            Weak(self._loss),
            lr=self.config.next_lr,
            max_grad_norm=self.config.max_grad_norm,
        )
        self.shuffle = Stream(spec.seed, "shuffle-next", spec.device)
        self.rollouts = torch.zeros((), dtype=torch.int64)
        self._found: Metrics = {}  # of the rollout under way

    @property
    def policy(self) -> Actor:
        """The present generation."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of the PPO."""
        return self.rl.progress

    def step(self) -> Metrics:
        """A step of PPO, and of what is to follow it; at the end of a generation the next one takes over."""
        metrics = self.rl.step()
        self.rollouts += 1
        metrics |= {f"next_{name}": value for name, value in self._found.items()}
        self._found = {}
        if int(self.rollouts) % self.config.generation == 0:
            self._take_over()
        return metrics

    def _see(self, rollout: Rollout) -> None:
        """Teach the next generation on a rollout, if it is time."""
        config = self.config
        if int(self.rollouts) % config.generation < config.generation - config.taught:
            return
        for mine, theirs in zip(self.next_policy.buffers(), self.policy.buffers(), strict=True):
            mine.copy_(theirs)  # how observations are standardised
        obs = fold(rollout.obs)
        with torch.no_grad():
            told = _Taught(obs, self.policy.distribution(obs), self.rl.critic(self.policy.prepare(obs)))
        batches = shuffled(told, self.shuffle, config.next_epochs, config.batch_size)
        self._found = mean_metrics([self.learner(batch) for batch in batches])

    def _loss(self, batch: _Taught) -> tuple[Tensor, Metrics]:
        distance = batch.teacher.kl(self.next_policy.distribution(batch.obs))
        error = (self.next_critic(self.next_policy.prepare(batch.obs)) - batch.value).square()
        return (distance + self.value * error).mean(1), {"kl": distance.detach(), "value_error": error.detach()}

    @torch.no_grad()
    def _take_over(self) -> None:
        """The next generation goes on with PPO, with an optimiser that knows nothing yet; another one is born."""
        self.generation += 1
        pairs = ((self.rl.policy, self.next_policy), (self.rl.critic, self.next_critic))
        newborn = self._newborn(int(self.generation) + 1)
        for (mine, following), new in zip(pairs, newborn, strict=True):
            buffers = {name: value.clone() for name, value in mine.named_buffers()}
            mine.load_state_dict({**following.state_dict(), **buffers})
            following.load_state_dict(new.state_dict())
        for learner in (self.rl.learner, self.learner):
            for moment in learner.state_dict().values():
                moment.zero_()

    def _newborn(self, number: int) -> tuple[Actor, Critic]:
        """Actor and critic of a generation, each with weights of its own."""
        config, spec = self.config, self.source.spec
        init = Stream(spec.seed, f"init-critic-{number}", spec.device)
        critic = Critic(spec.observation, spec.members, config.hidden, activation=config.activation, init=init)
        return fresh(self.source, architecture_of(config), f"init-iteration-{number}"), critic
