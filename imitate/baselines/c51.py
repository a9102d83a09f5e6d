"""C51: DQN with another head, another loss (Bellemare, Dabney & Munos 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, checked
from imitate.core.types import Source
from imitate.nets.return_heads import Atoms

__all__ = ["C51Config", "c51", "return_range"]


@dataclass(frozen=True)
class C51Config(DQNConfig):
    """As `DQNConfig`, with the support of the return.

    Args:
        atoms: Points of the support.
        low: Its least return; by default from the rewards of the environment and the discount, see `return_range`.
        high: Its greatest; likewise.
    """

    atoms: Count = 51
    low: float | None = None
    high: float | None = None


@checked
def c51(source: Source, config: C51Config | None = None) -> DQN:
    """Learn probabilities of fixed returns; arguments and errors as of `DQN`.

    Raises:
        ValueError: An end of the support is not given, and not known of the environment.
    """
    config = config or C51Config()
    low, high = config.low, config.high
    if low is None or high is None:
        gammas = config.gamma if isinstance(config.gamma, tuple) else (config.gamma,)
        lows, highs = zip(*(return_range(source, gamma, config.clip_reward) for gamma in gammas), strict=True)
        low, high = min(lows) if low is None else low, max(highs) if high is None else high
    return DQN(source, config, head=Atoms(config.atoms, low, high))


def return_range(source: Source, gamma: float, clipped: bool = False) -> tuple[float, float]:
    """Bounds of the discounted return from any state, by the environment's own range of rewards.

        G = r (1 − γᵏ)/(1 − γ) + γᵏ f   for an episode that terminates after k steps and one more

    It is monotonous in k, so its bounds are those of f, the reward of a step that terminates (`final_reward_range`),
    and of r/(1 − γ), that of all others (`reward_range`) going on for ever: a time limit ends no return, since its
    last step is bootstrapped. With γ = 1 the time limit stands for ever.

    Args:
        source: Where it acts.
        gamma: γ.
        clipped: Whether rewards are clipped to [−1, 1].

    Raises:
        ValueError: The environment does not know its rewards, or they leave one return only.
    """
    spec = source.spec
    if spec.reward_range is None or spec.final_reward_range is None:
        raise ValueError(f"low, high: the rewards of {spec.id} are unknown; pass --low and --high.")
    steps = 1 / (1 - gamma) if gamma < 1 else float(spec.max_steps)
    bound = 1.0 if clipped else math.inf
    running, final = (
        [max(-bound, min(r, bound)) for r in rewards] for rewards in (spec.reward_range, spec.final_reward_range)
    )
    low, high = min(steps * running[0], final[0]), max(steps * running[1], final[1])
    if low >= high:
        raise ValueError(f"low, high: every return in {spec.id} is {low}; pass --low and --high.")
    return low, high
