"""What returns there can be, by the range of an environment's rewards."""

from __future__ import annotations

import math

from imitate.core.spec import FOREVER, Spec

__all__ = ["discounted_range", "episode_range"]

Range = tuple[float, float]


def episode_range(spec: Spec) -> Range | None:
    """Least and greatest undiscounted return of an episode; None where the source does not know its rewards.

    k steps of reward r and one that terminates with f give k r + f; a time limit of K steps gives K r. Both are linear
    in k < K, so the bounds are those of k = 0 and k = K − 1.
    """
    if spec.reward_range is None or spec.final_reward_range is None:
        return None
    others = math.inf if spec.max_steps >= FOREVER else spec.max_steps - 1
    low, high = (
        bound(final, final + reward * others, reward + reward * others) if reward else bound(final, 0.0)
        for bound, reward, final in zip((min, max), spec.reward_range, spec.final_reward_range, strict=True)
    )
    return low, high


def discounted_range(spec: Spec, gamma: float, clipped: bool = False) -> Range | None:
    """Least and greatest discounted return from any state; None where the source does not know its rewards.

        G = r (1 − γᵏ)/(1 − γ) + γᵏ f   for an episode that terminates after k steps and one more

    It is monotonous in k, so its bounds are those of f, the reward of a step that terminates (`final_reward_range`),
    and of r/(1 − γ), that of all others (`reward_range`) going on for ever: a time limit ends no return, since its
    last step is bootstrapped. With γ = 1 the time limit stands for ever.

    Args:
        spec: Of the source.
        gamma: γ.
        clipped: Whether rewards are clipped to [−1, 1].
    """
    if spec.reward_range is None or spec.final_reward_range is None:
        return None
    steps = 1 / (1 - gamma) if gamma < 1 else float(spec.max_steps)
    bound = 1.0 if clipped else math.inf
    running, final = (
        [max(-bound, min(r, bound)) for r in rewards] for rewards in (spec.reward_range, spec.final_reward_range)
    )
    return min(steps * running[0], final[0]), max(steps * running[1], final[1])
