"""The command `imitate together`: PPO whose members teach each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from imitate.baselines import PPO, PPOConfig, critic_of
from imitate.baselines.ppo import architecture_of
from imitate.cli.common import Common, say
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.configs import config_for, settings
from imitate.core.config import Count, NonNegative
from imitate.core.terms import Term
from imitate.nets.actor import fresh
from imitate.students import Codistil, Dual, Mutual, value_of

__all__ = ["Together", "command"]


@dataclass(frozen=True)
class Together:
    """Train peers that teach each other while they learn from rewards.

    Args:
        by: What the peers do at the moment (mutual), what copies of them do that are some steps old (stale), or what
            the next peer does where it is, weighted by how much better it does there (dual).
        circle: Members that teach each other: 0 and 1, 2 and 3, and so on, if it is 2. It divides --members.
        weight: Of the distance from the peers in the loss.
        exchange: Gradient steps between two exchanges of copies, for stale.
        common: Options of every run.
        config: Hyper-parameters of PPO.
    """

    by: Literal["mutual", "stale", "dual"] = "mutual"
    circle: Count = 2
    weight: NonNegative[float] = 0.1
    exchange: Count = 100
    common: Common = field(default_factory=Common)
    config: PPOConfig = field(default_factory=PPOConfig)

    def __call__(self) -> None:
        """Train."""
        env = self.common.known_env()
        source = self.common.source(env, int(settings(env).get("num_envs", 16)))
        config = changed(self.config, self.common.change)
        policy, critic = fresh(source, architecture_of(config)), critic_of(source, config)
        terms: dict[str, Term] = {
            "mutual": Mutual(policy, self.weight, size=self.circle),
            "stale": Codistil(policy, self.weight, size=self.circle, every=self.exchange),
            "dual": Dual(policy, value_of(policy, critic), self.weight, size=self.circle),
        }
        ppo = PPO(source, config, policy=policy, critic=critic, terms=[terms[self.by]])
        say(f"together: circles of {self.circle}; members of one are no replications, so intervals are too narrow.")
        self.common.run(ppo, "together", options_of(replace(self, config=config)))


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env")
    default = Together(common=Common(env=env), config=config_for(PPOConfig, "ppo", env or ""))
    return flat(Together), as_before(default, run_before(arguments, "together", env))
