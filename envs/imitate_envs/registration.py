"""Ids `imitate/<name>` in Gymnasium's registry, for `gymnasium.make` and `gymnasium.make_vec`."""

from __future__ import annotations

import gymnasium

__all__ = ["register_envs"]


def register_envs() -> None:
    """Register every environment of `imitate_envs.ENVS`; those already registered are left alone.

    The time limit is the environment's own, the reward threshold that of Gymnasium's namesake. A slash in a name
    becomes a dash, as an id of Gymnasium's has one slash only: `imitate/MinAtar-Breakout-v1`.
    `import imitate_envs` calls this, so `gymnasium.make("imitate_envs:imitate/CartPole-v1")` needs no import at all.
    """
    from imitate_envs import ENVS

    for name, env in ENVS.items():
        own_id = f"imitate/{name.replace('/', '-')}"
        if own_id in gymnasium.registry:
            continue
        theirs = gymnasium.registry.get(name)
        gymnasium.register(
            own_id,
            entry_point="imitate_envs.gymnasium:TensorEnv",
            vector_entry_point="imitate_envs.gymnasium:TensorVectorEnv",
            max_episode_steps=env().max_steps,
            reward_threshold=theirs.reward_threshold if theirs else None,
            kwargs={"env": name},
        )
