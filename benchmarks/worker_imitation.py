"""Worker of the benchmarks for the `imitation` library, in the environment of `make peers`."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import torch
from imitation.algorithms import bc
from imitation.algorithms.dagger import SimpleDAggerTrainer
from imitation.data import rollout as rollouts
from imitation.data.types import Transitions
from imitation.data.wrappers import RolloutInfoWrapper
from serving import Run, serve, timed
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv

GAINS = np.array([2.78, 5.32, 46.44, 12.05])


class Expert(BasePolicy):
    """The control law, in numpy and without a detour through torch."""

    def _predict(self, observation: torch.Tensor, deterministic: bool = False) -> torch.Tensor:
        return (observation @ torch.as_tensor(GAINS, dtype=observation.dtype) > 0).long()

    def predict(self, observation: Any, *_: object, **__: object) -> tuple[np.ndarray, None]:
        """Actions of observations [N, 4]."""
        return (observation @ GAINS > 0).astype(np.int64), None


def rollout(num_envs: int, steps: int) -> Run:
    """Steps of a fresh 64-64 policy that draws its actions, in whole episodes."""
    envs, random = _envs(num_envs, 0), np.random.default_rng(0)
    policy, until = _policy(envs), rollouts.make_sample_until(min_timesteps=steps)
    return timed(lambda: sum(len(episode) for episode in rollouts.rollout(policy, envs, until, rng=random)))


def clone(batch: int, updates: int, samples: int) -> Run:
    """Gradient steps of behaviour cloning on a control law's samples."""
    learner = _cloning(_shown(samples, 0), batch, 0)

    def work() -> int:
        learner.train(n_batches=updates, progress_bar=False, log_interval=10**9)
        return batch * updates

    return timed(work)


def clone_until(batch: int, samples: int, target: float, every: int, limit: int, lr: float = 1e-3) -> Run:
    """Cloning until the mean return is at the target, looking every so many updates while the clock stands still."""
    examined = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))] * 20)

    def run(seed: int) -> dict[str, Any]:
        learner = _cloning(_shown(samples, seed), batch, seed, lr)
        watch = {"seconds": 0.0, "updates": 0, "score": 0.0, "started": 0.0}

        def look() -> None:
            watch["updates"] += 1
            if watch["updates"] % every:
                return
            watch["seconds"] += time.perf_counter() - watch["started"]
            watch["score"] = _score(learner.policy, examined)
            if watch["score"] >= target:
                raise _Reached
            watch["started"] = time.perf_counter()

        reached = False
        watch["started"] = time.perf_counter()
        try:
            learner.train(n_batches=limit, on_batch_end=look, progress_bar=False, log_interval=10**9)
        except _Reached:
            reached = True
        seconds, looks = watch["seconds"], int(watch["updates"]) // every
        found = {"reached": [seconds if reached else None], "score": watch["score"], "looks": looks}
        return {"seconds": seconds, "count": 1, **found}

    clone(batch, 20, samples)
    return run


def dagger(steps: int, round_steps: int, updates: int | None) -> Run:
    """DAgger on CartPole from a control law, 4 environments; `updates` a round, or the library's four epochs.

    With a number of updates the episodes that it plays for its log are left out too.
    """
    examined = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))] * 20)

    def run(seed: int) -> dict[str, Any]:
        envs = _envs(4, seed)
        learner = _cloning(None, 32, seed)
        count = {"updates": 0}

        def counted() -> None:
            count["updates"] += 1

        fit: dict[str, Any] = {"on_batch_end": counted, "progress_bar": False}
        if updates is not None:
            fit |= {"n_batches": updates, "log_rollouts_venv": None}
        with tempfile.TemporaryDirectory() as folder:
            trainer = SimpleDAggerTrainer(
                venv=envs,
                scratch_dir=folder,
                expert_policy=Expert(envs.observation_space, envs.action_space),
                bc_trainer=learner,
                rng=np.random.default_rng(seed),
            )
            start = time.perf_counter()
            trainer.train(
                steps, rollout_round_min_timesteps=round_steps, rollout_round_min_episodes=1, bc_train_kwargs=fit
            )
            seconds = time.perf_counter() - start
            labelled = sum(len(episode) for episode in trainer._all_demos)
        return {"seconds": seconds, "count": labelled, "score": _score(learner.policy, examined), **count}

    clone(32, 20, 500)
    return run


class _Reached(Exception):  # noqa: N818 - no error
    """The target is reached: the only way out of the library's loop."""


def _envs(number: int, seed: int) -> DummyVecEnv:
    envs = DummyVecEnv([lambda: RolloutInfoWrapper(gymnasium.make("CartPole-v1"))] * number)
    envs.seed(seed)
    return envs


def _policy(envs: Any) -> ActorCriticPolicy:
    return ActorCriticPolicy(envs.observation_space, envs.action_space, lambda _: 1e-3, net_arch=[64, 64])


def _shown(samples: int, seed: int) -> Transitions:
    envs = _envs(8, seed)
    until = rollouts.make_sample_until(min_timesteps=samples)
    expert = Expert(envs.observation_space, envs.action_space)
    return rollouts.flatten_trajectories(
        rollouts.rollout(expert, envs, until, rng=np.random.default_rng(seed), verbose=False)
    )[:samples]


def _cloning(shown: Transitions | None, batch: int, seed: int, lr: float = 1e-3) -> bc.BC:
    torch.manual_seed(seed)
    envs = gymnasium.make("CartPole-v1")
    return bc.BC(
        observation_space=envs.observation_space,
        action_space=envs.action_space,
        rng=np.random.default_rng(seed),
        policy=_policy(envs),
        batch_size=batch,
        demonstrations=shown,
        optimizer_kwargs={"lr": lr},
        device="cpu",
    )


def _score(policy: Any, envs: DummyVecEnv) -> float:
    """Mean return of 20 greedy episodes, always from the same first states."""
    envs.seed(1_000_003)
    return float(evaluate_policy(policy, envs, 20)[0])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    packages = ("imitation", "stable-baselines3", "gymnasium", "torch", "numpy")
    serve({task.__name__: task for task in (rollout, clone, clone_until, dagger)}, packages)
