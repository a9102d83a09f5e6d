"""Worker of the benchmarks for Stable-Baselines3, Gymnasium and EnvPool, in the environment of `make peers`."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import envpool
import gymnasium
import numpy as np
import torch
from sb3_contrib import QRDQN
from serving import Run, serve, timed
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

THREADS = int(os.environ["OMP_NUM_THREADS"])


def steps(kind: str, num_envs: int, steps: int) -> Run:
    """Environment steps of CartPole under random actions, drawn inside in one call; nothing is kept."""
    random = np.random.default_rng(0)
    envs = _ENVS[kind](num_envs)
    envs.reset()

    def work() -> int:
        for action in random.integers(0, 2, (steps, num_envs)):
            envs.step(action)
        return steps * num_envs

    return timed(work)


def ppo(num_envs: int, rollout: int, epochs: int, steps: int) -> Run:
    """PPO on CartPole, 64-64, batches of 256, with one learning rate throughout."""
    return timed(_learning(_ppo(num_envs, rollout, epochs, 0, lambda left: 1e-3, lambda left: 0.2), steps))


def dqn(steps: int, width: int = 256) -> Run:
    """DQN on CartPole, two hidden layers (256-256 in the zoo), one update of 64 transitions in two steps."""
    return timed(_learning(DQN(policy_kwargs={"net_arch": [width, width]}, **_DQN), steps))


def qr_dqn(steps: int, width: int = 256) -> Run:
    """QR-DQN in the same way, with 10 quantiles."""
    kwargs = {"net_arch": [width, width], "n_quantiles": 10}
    return timed(_learning(QRDQN(policy_kwargs=kwargs, **_DQN), steps))


def score(target: float, budget: int) -> Run:
    """PPO with the zoo's settings until the mean return is at the target, looking every 1,024 steps."""

    def run(seed: int) -> dict[str, Any]:
        model = _ppo(8, 32, 20, seed, lambda left: 1e-3 * left, lambda left: 0.2 * left)
        watch = Watch(target)
        model.learn(budget, callback=watch)
        seconds = watch.seconds if watch.reached is None else watch.reached
        found = {"reached": [watch.reached], "score": watch.score, "looks": watch.looks}
        return {"seconds": seconds, "count": 1, **found}

    ppo(8, 32, 20, 512)
    return run


def trained_ppo(episodes: int) -> Run:
    """Returns after 100,000 steps of PPO with the zoo's settings."""
    return _trained(
        lambda seed: _ppo(8, 32, 20, seed, lambda left: 1e-3 * left, lambda left: 0.2 * left), 100_000, episodes
    )


def trained_dqn(episodes: int) -> Run:
    """Returns after 50,000 steps of DQN with the zoo's settings."""
    net = {"net_arch": [256, 256]}
    return _trained(lambda seed: DQN(policy_kwargs=net, **{**_DQN, **_ZOO_DQN, "seed": seed}), 50_000, episodes)


def trained_qr_dqn(episodes: int) -> Run:
    """Returns after 50,000 steps of QR-DQN with the zoo's settings."""
    net = {"net_arch": [256, 256], "n_quantiles": 10}
    return _trained(lambda seed: QRDQN(policy_kwargs=net, **{**_DQN, **_ZOO_DQN, "seed": seed}), 50_000, episodes)


class Watch(BaseCallback):
    """Evaluates 20 greedy episodes every four rollouts, while the clock stands still, and stops at the target."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self.target, self.score, self.seconds, self.rollouts, self.looks = target, 0.0, 0.0, 0, 0
        self.reached: float | None = None
        self.envs = make_vec_env("CartPole-v1", 20)

    def _on_training_start(self) -> None:
        self.started = time.perf_counter()

    def _on_rollout_start(self) -> None:
        """After the updates of the rollout before."""
        self.seconds += time.perf_counter() - self.started
        if self.rollouts and self.rollouts % 4 == 0:
            self.looks += 1
            self.envs.seed(1_000_003)
            self.score = float(evaluate_policy(self.model, self.envs, 20)[0])
            if self.score >= self.target:
                self.reached = self.seconds
        self.rollouts += 1
        self.started = time.perf_counter()

    def _on_step(self) -> bool:
        return self.reached is None

    def _on_training_end(self) -> None:
        self.seconds += time.perf_counter() - self.started


_ENVS: dict[str, Callable[[int], Any]] = {
    "sync": lambda n: gymnasium.make_vec("CartPole-v1", num_envs=n, vectorization_mode="sync"),
    "vector": lambda n: gymnasium.make_vec("CartPole-v1", num_envs=n, vectorization_mode="vector_entry_point"),
    "envpool": lambda n: envpool.make("CartPole-v1", env_type="gymnasium", num_envs=n, num_threads=THREADS),
}

_DQN: dict[str, Any] = {
    "policy": "MlpPolicy",
    "env": "CartPole-v1",
    "batch_size": 64,
    "buffer_size": 100_000,
    "train_freq": 256,
    "gradient_steps": 128,
    "learning_starts": 256,
    "learning_rate": 2.3e-3,
    "target_update_interval": 256,
    "exploration_initial_eps": 0.04,
    "exploration_final_eps": 0.04,
    "device": "cpu",
    "seed": 0,
}

_ZOO_DQN: dict[str, Any] = {
    "learning_starts": 1_000,
    "target_update_interval": 10,
    "exploration_initial_eps": 1.0,
    "exploration_fraction": 0.16,
}


def _ppo(
    num_envs: int,
    rollout: int,
    epochs: int,
    seed: int,
    lr: Callable[[float], float],
    clip: Callable[[float], float],
) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", num_envs, seed=seed),
        n_steps=rollout,
        batch_size=256,
        n_epochs=epochs,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=lr,
        clip_range=clip,
        device="cpu",
        seed=seed,
    )


def _learning(model: Any, steps: int) -> Callable[[], int]:
    def work() -> int:
        before = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return int(model.num_timesteps - before)

    return work


def _trained(build: Callable[[int], Any], steps: int, episodes: int) -> Run:
    def run(seed: int) -> dict[str, Any]:
        model = build(seed)
        start = time.perf_counter()
        model.learn(steps)
        seconds = time.perf_counter() - start
        envs = make_vec_env("CartPole-v1", 10, seed=1_000_003)
        return {"seconds": seconds, "count": steps, "scores": [float(evaluate_policy(model, envs, episodes)[0])]}

    return run


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    packages = ("stable-baselines3", "sb3-contrib", "gymnasium", "envpool", "torch", "numpy")
    tasks = (steps, ppo, dqn, qr_dqn, score, trained_ppo, trained_dqn, trained_qr_dqn)
    serve({task.__name__: task for task in tasks}, packages)
