"""Worker of the benchmarks for this suite, of this revision: another one brings its own, with tasks of the same names.

`benchmarks.versus` puts it beside the peers, `benchmarks.guard` beside itself on another revision.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from serving import Run, race, serve, timed

import imitate
from imitate.core import tree
from imitate.core.rollout import advance, draw
from imitate.experiment.evaluate import Evaluator
from imitate.losses.distillation import mse
from imitate.policies import Random
from imitate.students.dagger import FirstRoundOnly, Linear

CHUNK = 128  # steps of one call of `collect`


def steps(num_envs: int, steps: int, compiled: bool = False) -> Run:
    """Environment steps of CartPole under random actions, drawn inside; the whole trajectory is recorded."""
    source = _source(num_envs, compiled)
    driver = Random(source.spec.action)
    return timed(lambda: _collect(source, driver, steps))


def moves(num_envs: int, steps: int) -> Run:
    """The same without a record of it: one step after the other, as `gymnasium.vector.VectorEnv.step` makes them."""
    source = imitate.make("CartPole-v1", num_envs=num_envs)
    driver = Random(source.spec.action)

    def work() -> int:
        carry = source.carry
        for start in range(0, steps, CHUNK):
            time_ = min(CHUNK, steps - start)
            for drawn in tree.unbind(draw(source.env, driver, source.decisions, source.dynamics, time_, 1, num_envs)):
                carry, _ = advance(source.env, driver, carry, *drawn)
        return steps * num_envs

    return timed(torch.no_grad()(work))


def rollout(num_envs: int, steps: int, compiled: bool = False) -> Run:
    """Steps of a fresh 64-64 policy that draws its actions."""
    source = _source(num_envs, compiled)
    policy = imitate.nets.policy(source, hidden=(64, 64))
    return timed(lambda: _collect(source, policy, steps))


def ppo(members: int, num_envs: int, rollout: int, epochs: int, steps: int, compiled: bool = False) -> Run:
    """PPO on CartPole, 64-64, batches of 256; environment steps of all members."""
    source = _source(num_envs, compiled, members)
    return timed(_stepping(imitate.PPO(source, _ppo_config(rollout, epochs)), members, steps, num_envs * rollout))


def dqn(members: int, steps: int, width: int = 256, compiled: bool = False) -> Run:
    """DQN on CartPole, two hidden layers, one update of 64 transitions in two steps."""
    config = imitate.DQNConfig(**{**_DQN, "hidden": (width, width)})
    return timed(_stepping(imitate.DQN(_source(8, compiled, members), config), members, steps, 256))


def qr_dqn(members: int, steps: int, width: int = 256, compiled: bool = False) -> Run:
    """QR-DQN in the same way, with 10 quantiles."""
    source = _source(8, compiled, members)
    config = imitate.QRDQNConfig(quantiles=10, **{**_DQN, "hidden": (width, width)})
    return timed(_stepping(imitate.qr_dqn(source, config), members, steps, 256))


def distill(members: int, num_envs: int, rollout: int, each: int, labels: int) -> Run:
    """Distil a 64-64 teacher of random weights into 16-16, in batches of `each` steps; labels of all members."""
    source = _source(num_envs, False, members)
    teacher, student = (imitate.nets.policy(source, (width, width), activation="relu") for width in (64, 16))
    config = imitate.PolicyDistillationConfig(
        steps=10**9, rollout=rollout, epochs=1, batch_size=num_envs * each, anneal_lr=False
    )
    distillation = imitate.PolicyDistillation(source, teacher, student, config, loss=mse)
    return timed(_stepping(distillation, members, labels, num_envs * rollout))


def clone(members: int, batch: int, updates: int, samples: int) -> Run:
    """Gradient steps of behaviour cloning on a control law's samples; samples of all members."""
    cloning = _cloning(members, batch, samples, updates=10**9, every=updates)

    def work() -> int:
        cloning.step()
        return members * batch * updates

    return timed(work)


def clone_until(members: int, batch: int, samples: int, target: float, every: int, limit: int, lr: float = 1e-3) -> Run:
    """Cloning until every member's mean return is at the target, looking every so many updates."""

    def run(seed: int) -> dict[str, Any]:
        cloning = _cloning(members, batch, samples, updates=limit, every=every, seed=seed, lr=lr)
        return race(cloning.step, lambda: cloning.progress.finished, _scores(cloning), target)

    clone(1, batch, 20, samples)
    return run


def dagger(
    members: int, rounds: int, rollout: int, updates: int, batch: int, fading: int | None, num_envs: int = 4
) -> Run:
    """DAgger on CartPole from a control law; environment steps of all members.

    The teacher's share of the driving falls over `fading` rounds, or ends with the first.
    """

    def run(seed: int) -> dict[str, Any]:
        source = imitate.make("CartPole-v1", num_envs=num_envs, members=members, seed=seed)
        student = imitate.nets.policy(source, hidden=(64, 64))
        teacher = imitate.teachers.load("control", source)
        config = imitate.DAggerConfig(
            rounds=rounds,
            rollout=rollout,
            updates=updates,
            batch_size=batch,
            beta=FirstRoundOnly() if fading is None else Linear(fading),
            entropy=1e-3,
            validation=0.0,
        )
        algorithm = imitate.DAgger(source, teacher, student, config)
        start = time.perf_counter()
        while not algorithm.progress.finished:
            algorithm.step()
        seconds = time.perf_counter() - start
        score = sum(_scores(algorithm)()) / members
        return {
            "seconds": seconds,
            "count": members * algorithm.progress.budget,
            "score": score,
            "updates": rounds * updates,
        }

    clone(members, batch, 20, 500)
    return run


def score(members: int, target: float, budget: int, own: bool) -> Run:
    """PPO until every member's mean return is at the target, looking every 1,024 steps.

    With the zoo's settings, or with its own.
    """
    num_envs, config = 8, _ppo_config(32, 20, steps=budget, anneal=True)
    if own:
        from imitate.configs import config_for, settings

        num_envs, config = settings("CartPole-v1")["num_envs"], config_for(imitate.PPOConfig, "ppo", "CartPole-v1")
    each = config.rollout * num_envs

    def run(seed: int) -> dict[str, Any]:
        source = imitate.make("CartPole-v1", num_envs=num_envs, members=members, seed=seed)
        ppo = imitate.PPO(source, config)

        def step() -> None:
            for _ in range(max(1, 1_024 // each)):
                if not ppo.progress.finished:
                    ppo.step()

        return race(step, lambda: ppo.progress.finished, _scores(ppo), target)

    ppo(1, 8, 32, 20, 512)
    return run


def trained_ppo(members: int, episodes: int) -> Run:
    """Returns after 100,000 steps of PPO with the zoo's settings."""
    config = _ppo_config(32, 20, steps=100_000, anneal=True)
    return _trained(lambda seed: imitate.PPO(_population(members, 8, seed), config), episodes)


def trained_dqn(members: int, episodes: int) -> Run:
    """Returns after 50,000 steps of DQN with the zoo's settings."""
    config = imitate.DQNConfig(**_ZOO_DQN)
    return _trained(lambda seed: imitate.DQN(_population(members, 1, seed), config), episodes)


def trained_qr_dqn(members: int, episodes: int) -> Run:
    """Returns after 50,000 steps of QR-DQN with the zoo's settings."""
    config = imitate.QRDQNConfig(quantiles=10, **_ZOO_DQN)
    return _trained(lambda seed: imitate.qr_dqn(_population(members, 1, seed), config), episodes)


_DQN: dict[str, Any] = {
    "hidden": (256, 256),
    "batch_size": 64,
    "rollout": 32,
    "updates": 128,
    "learning_starts": 256,
    "lr": 2.3e-3,
    "target_every": 128,
    "epsilon": 0.04,
    "epsilon_end": 0.04,
}

_ZOO_DQN = {
    **_DQN,
    "steps": 50_000,
    "rollout": 256,
    "learning_starts": 1_000,
    "epsilon": 1.0,
    "explore": 0.16,
}


def _ppo_config(rollout: int, epochs: int, steps: int = 10**9, anneal: bool = False) -> imitate.PPOConfig:
    return imitate.PPOConfig(
        steps=steps,
        rollout=rollout,
        epochs=epochs,
        batch_size=256,
        lr=1e-3,
        gamma=0.98,
        lam=0.8,
        anneal_lr=anneal,
        anneal_clip=anneal,
    )


def _population(members: int, num_envs: int, seed: int) -> Any:
    return imitate.make("CartPole-v1", num_envs=num_envs, members=members, seed=seed)


def _trained(build: Callable[[int], Any], episodes: int) -> Run:
    def run(seed: int) -> dict[str, Any]:
        algorithm = build(seed)
        start = time.perf_counter()
        while not algorithm.progress.finished:
            algorithm.step()
        seconds = time.perf_counter() - start
        scores = Evaluator(algorithm.source, episodes).returns(algorithm.policy).mean(1).tolist()
        return {"seconds": seconds, "count": int(algorithm.progress.steps), "scores": scores}

    return run


def _source(num_envs: int, compiled: bool, members: int = 1) -> Any:
    options = {"compile": True} if compiled else {}  # older revisions cannot, and are not asked
    return imitate.make("CartPole-v1", num_envs=num_envs, members=members, **options)


def _collect(source: Any, driver: Any, steps: int) -> int:
    for start in range(0, steps, CHUNK):
        source.collect(driver, min(CHUNK, steps - start))
    return steps * int(source.spec.num_envs)


def _stepping(algorithm: Any, members: int, steps: int, each: int) -> Callable[[], int]:
    def work() -> int:
        iterations = max(1, steps // each)
        for _ in range(iterations):
            algorithm.step()
        return members * iterations * each

    return work


def _cloning(
    members: int, batch: int, samples: int, *, updates: int, every: int, seed: int = 0, lr: float = 1e-3
) -> imitate.BehaviourCloning:
    source = imitate.make("CartPole-v1", num_envs=samples // 500, members=members, seed=seed)
    shown = imitate.demonstrate(source, imitate.teachers.load("control", source), samples // 500)
    config = imitate.BehaviourCloningConfig(
        updates=updates, batch_size=batch, lr=lr, entropy=1e-3, validation=0.0, validate_every=every
    )
    return imitate.BehaviourCloning(source, shown, imitate.nets.policy(source, hidden=(64, 64)), config)


def _scores(algorithm: Any) -> Callable[[], Sequence[float]]:
    """Mean returns of the members over 20 episodes on one and the same noise."""
    evaluator = Evaluator(algorithm.source, 20)
    return lambda: evaluator.returns(algorithm.policy).mean(1).tolist()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tasks = (
        *(steps, moves, rollout, ppo, dqn, qr_dqn, distill, clone, clone_until, dagger, score),
        *(trained_ppo, trained_dqn, trained_qr_dqn),
    )
    serve({task.__name__: task for task in tasks}, ("imitate", "torch", "numpy", "gymnasium"))
