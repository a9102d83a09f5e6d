"""One iteration of off-policy learning: act, remember, learn from memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imitate.core.sequence_replay import Sample, SequenceReplay
from imitate.core.types import Metrics, Policy, Rollout, Source

__all__ = ["replay_step"]


class ReplayConfig(Protocol):
    """What a config says about an iteration."""

    @property
    def rollout(self) -> int:
        """T, steps of each environment."""

    @property
    def updates(self) -> int:
        """Samples to learn from."""

    @property
    def batch_size(self) -> int:
        """Transitions of one member in a sample."""


def replay_step(
    source: Source,
    driver: Policy,
    replay: SequenceReplay,
    update: Callable[[Sample], Metrics],
    config: ReplayConfig,
    *,
    ready: bool = True,
    beta: float = 1.0,
    see: Callable[[Rollout], Rollout] = lambda rollout: rollout,
) -> list[Metrics]:
    """Collect a rollout into the replay, then learn from samples of it.

    Args:
        source: Where the driver acts.
        driver: Who acts.
        replay: What remembers.
        update: One gradient step, or several, on a sample.
        config: How much of each.
        ready: Whether to learn yet; a replay that does not hold a sample is waited for in any case.
        beta: Exponent of the importance weights of a prioritised replay.
        see: Looks at the rollout, and may change what is remembered, such as clipped rewards.

    Returns:
        The metrics of each update; none before the learning begins.
    """
    replay.add(see(source.collect(driver, config.rollout)))
    if not ready or len(replay) < config.batch_size:
        return []
    return [update(batch) for batch in replay.batches(config.batch_size, config.updates, beta)]
