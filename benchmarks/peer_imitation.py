"""Behaviour cloning in the `imitation` library and in ours, on one machine: seconds for the same gradient steps.

`imitation` 1.0.1 needs an environment of its own; this file runs in both and imports only what its side needs:

    python -m venv other && other/bin/pip install torch imitation==1.0.1 stable-baselines3==2.2.1 gymnasium==0.29.1
    other/bin/python benchmarks/peer_imitation.py theirs benchmarks/results/imitation_theirs.json
    .venv/bin/python benchmarks/peer_imitation.py ours benchmarks/results/imitation_ours.json

The work, on CartPole-v1 with a 64-64 tanh policy: 2,000 gradient steps on batches of 64 from 25 demonstrations of a
hand-written feedback law. Theirs trains one learner, ours one and eight.
"""

import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

REPEATS, UPDATES, EPISODES, BATCH = 5, 2_000, 25, 64
GAINS = np.array([0.2, 0.5, 8.0, 2.0])  # pushes towards where the pole leans and the cart drifts


def theirs() -> dict[str, list[float]]:
    """Seconds of `imitation`."""
    import gymnasium
    from imitation.algorithms import bc
    from imitation.data import rollout
    from imitation.data.wrappers import RolloutInfoWrapper
    from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
    from stable_baselines3.common.vec_env import DummyVecEnv

    class Expert(BasePolicy):
        """The feedback law; imitation takes policies only."""

        def _predict(self, observation: torch.Tensor, deterministic: bool = False) -> torch.Tensor:
            return (observation @ torch.as_tensor(GAINS, dtype=torch.float32) > 0).long()

    envs = DummyVecEnv([lambda: RolloutInfoWrapper(gymnasium.make("CartPole-v1")) for _ in range(10)])
    random = np.random.default_rng(0)
    until = rollout.make_sample_until(min_episodes=EPISODES)
    expert = Expert(envs.observation_space, envs.action_space)
    shown = rollout.flatten_trajectories(rollout.rollout(expert, envs, until, rng=random))
    times = []
    for _ in range(REPEATS):
        policy = ActorCriticPolicy(envs.observation_space, envs.action_space, lambda _: 1e-3, net_arch=[64, 64])
        learner = bc.BC(
            observation_space=envs.observation_space,
            action_space=envs.action_space,
            rng=random,
            policy=policy,
            batch_size=BATCH,
            demonstrations=shown,
        )
        start = time.perf_counter()
        learner.train(n_batches=UPDATES, progress_bar=False, log_interval=10**9)
        times.append(time.perf_counter() - start)
    return {"imitation, 1 learner": times}


def ours() -> dict[str, list[float]]:
    """Seconds of ours, with one member and with eight."""
    import imitate

    times: dict[str, list[float]] = {}
    for members in (1, 8):
        source = imitate.make("CartPole-v1", num_envs=EPISODES, members=members)
        teacher = imitate.teachers.from_callable(lambda obs: (obs @ GAINS > 0).astype(int), source)
        shown = imitate.demonstrate(source, teacher, EPISODES)
        config = imitate.BehaviourCloningConfig(updates=UPDATES, batch_size=BATCH, patience=10**9)
        for _ in range(REPEATS):
            cloning = imitate.BehaviourCloning(source, shown, imitate.nets.policy(source), config)
            start = time.perf_counter()
            while not cloning.finished:
                cloning.step()
            times.setdefault(f"imitate, {members} members", []).append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    measured = {"theirs": theirs, "ours": ours}[sys.argv[1]]()
    rows = {name: {"seconds": statistics.median(values), "all": values} for name, values in measured.items()}
    for name, row in rows.items():
        print(f"{name:22} {row['seconds']:.2f} s")
    Path(sys.argv[2]).write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
