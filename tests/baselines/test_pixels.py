"""The value-based family on pixels: stacked frames in the replay, convolutions under every head, Atari.

Letters: M members, N environments.
"""

import importlib.util
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

import imitate
from imitate.__main__ import main
from imitate.baselines import PPO, DQNConfig, PPOConfig
from imitate.configs import config_for
from imitate.core import memory, tree
from imitate.core.checkpoint import state_of
from imitate.experiment.run import load_checkpoint, save_checkpoint
from imitate.registry import BASELINES

needs_ale = pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="needs ale-py")

FAMILY = ("dqn", "rainbow", "c51", "qr-dqn", "iqn", "fqf", "er-dqn")
OWN = {
    "rainbow": {"atoms": 11, "low": -1.0, "high": 4.0},
    "c51": {"atoms": 11, "low": -1.0, "high": 4.0, "priority": 0.5},
    "qr-dqn": {"quantiles": 5, "n_step": 3, "dueling": True},
    "iqn": {"levels": 3, "cosines": 4, "noisy": True},
    "fqf": {"cosines": 4},
    "er-dqn": {"expectiles": 5},
}


class Dot(gymnasium.Env):
    """A bright square that the actions move; at the right it pays 1 and the episode ends, after four steps in any case.

    Nothing is drawn, and every episode begins alike.
    """

    action_space = spaces.Discrete(3)

    def __init__(self, size=36):
        self.size = size
        self.observation_space = spaces.Box(0, 255, (size, size), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.column, self.t = self.size // 2, 0
        return self.show(), {}

    def show(self):
        image = np.zeros((self.size, self.size), np.uint8)
        image[2 : self.size // 2, self.column : self.column + 3] = 200 + self.t
        return image

    def step(self, action):
        self.t += 1
        self.column += int(action - 1) * self.size // 8
        won = self.t == 4 and self.column > self.size // 2
        return self.show(), float(3 * won), won, self.t == 4 and not won, {}


@pytest.fixture(params=[36, 10], ids=["36x36", "10x10"])
def dots(request, monkeypatch):
    """An id of `Dot` in four stacked frames."""
    name = f"Dots{request.param}-v0"

    def entry(size=request.param):
        return FrameStackObservation(Dot(size), 4)

    spec = gymnasium.envs.registration.EnvSpec(name, entry_point=entry, disable_env_checker=True)
    monkeypatch.setitem(gymnasium.registry, name, spec)
    return name


def small(name, **change):
    """The config of a baseline, for a short run."""
    kind = BASELINES[name].config
    options = {
        "steps": 400, "rollout": 4, "updates": 2, "batch_size": 6, "learning_starts": 8, "capacity": 60,
        "target_every": 3, "clip_reward": True, **OWN.get(name, {}), **change,
    }  # fmt: skip
    return kind(**options)


def made(name, env, members=2, **change):
    source = imitate.make(env, num_envs=2, members=members, seed=4)
    return BASELINES[name].algorithm(source, small(name, **change))


def everything(algorithm):
    return dict(tree.flatten(state_of(algorithm)))


@pytest.mark.parametrize("name", FAMILY)
def test_a_resumed_run_on_pixels_is_the_uninterrupted_one(name, dots, tmp_path):
    """Every number, the frames of the replay included, which has wrapped by then. Episodes begin where it is saved."""
    whole, first, later = (made(name, dots) for _ in range(3))
    assert (whole.source.spec.frames, whole.source.spec.obs_dtype) == (4, torch.uint8)
    for _ in range(6):
        first.step()
    save_checkpoint(first, tmp_path)
    load_checkpoint(later, tmp_path)
    for _ in range(9):
        metrics = whole.step()
    for _ in range(3):
        again = later.step()
    assert int(whole.replay.written) == 36 > whole.replay.slots
    expected, found = everything(whole), everything(later)
    assert expected.keys() == found.keys()
    assert [path for path, value in expected.items() if not torch.equal(value, found[path])] == []
    assert all(torch.equal(metrics[key], again[key]) for key in metrics)
    assert all(value.isfinite().all() for value in metrics.values())


def test_frames_are_kept_once_as_bytes_and_rewards_clipped(dots):
    algorithm = made("dqn", dots)
    for _ in range(9):
        seen = algorithm.source.collect(algorithm.driver, 4)
        algorithm.replay.add(seen)
    size = int(dots[4:6])
    store = algorithm.replay.frames.store
    assert (store.dtype, store.shape[3:]) == (torch.uint8, (size, size))
    assert int(algorithm.replay.frames.written[0, 0]) == 9 * (4 + 4)
    drawn = algorithm.replay.sample(30)
    assert drawn.obs.shape == (2, 30, 4, size, size)
    begun = (drawn.index // 2) % 4 == 0  # an episode's first step: its frame, repeated
    assert torch.equal(drawn.obs[begun], drawn.obs[begun][:, -1:].expand(-1, 4, -1, -1))
    assert torch.equal(drawn.next_obs[:, :, :3], drawn.obs[:, :, 1:])
    assert seen.reward.max() == 3
    algorithm.step()
    assert algorithm.replay.reward[:, -8:].max() == 3 or algorithm.replay.reward.max() == 3
    clipped = made("dqn", dots)
    for _ in range(6):
        clipped.step()
    assert clipped.replay.reward.max() == 1


def test_levels_are_embedded_behind_the_convolutions(dots):
    policy = made("iqn", dots).policy
    assert policy.head.embedding.linear.weight.shape[1:] == (4, policy.body.width)
    assert policy.body.width == policy.body.images[0].outputs
    width = 512 if dots == "Dots36-v0" else 128
    assert [layer.mean.weight.shape[1:] for layer in policy.head.hidden] == [(policy.body.width, width)]  # noisy, too


def test_what_learns_from_pixels_teaches_and_is_saved(dots, tmp_path):
    algorithm = made("qr-dqn", dots)
    for _ in range(3):
        algorithm.step()
    source = imitate.make(dots, num_envs=4, members=2)
    algorithm.policy.save(tmp_path)
    seen = source.collect(algorithm.policy, 4)
    loaded = imitate.nets.load(tmp_path)
    obs = seen.obs[0]
    assert torch.equal(loaded.distribution(obs).logits, algorithm.policy.distribution(obs).logits)
    student = imitate.nets.policy(source)
    config = imitate.PolicyDistillationConfig(steps=32, rollout=4, batch_size=16, epochs=1)
    assert imitate.PolicyDistillation(source, loaded, student, config).step()["loss"].isfinite().all()
    ppo = PPO(source, PPOConfig(steps=64, rollout=4, batch_size=16, epochs=1))
    assert ppo.step()["loss"].isfinite().all()
    action, _ = loaded.predict(obs[0, 0].numpy(), deterministic=True)
    assert action == loaded.returns(obs).mean[0, 0].argmax()


def test_the_command_line_tells_the_memory_before_it_runs(dots, tmp_path, capsys, monkeypatch):
    run = ["train", "dqn", "--env", dots, "--members", "2", "--num-envs", "2", "--episodes", "1", "--device", "cpu"]
    small_run = ["--steps", "32", "--rollout", "4", "--updates", "1", "--learning-starts", "8", "--batch-size", "8"]
    assert main([*run, *small_run, "--capacity", "1000", "--out", str(tmp_path / "run")]) == 0
    assert "dqn: replay: 1,000 transitions a member, 2 members, " in capsys.readouterr().out
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    assert main([*run, *small_run, "--capacity", "100000", "--out", str(tmp_path / "large")]) == 2
    line = capsys.readouterr().err.strip()
    assert "capacity: 100,000 transitions of 2 members take " in line and "would fit" in line and "\n" not in line
    assert not (tmp_path / "large").exists()


def test_games_of_ale_share_their_settings():
    assert config_for(DQNConfig, "dqn", "ALE/Pong-v5") == config_for(DQNConfig, "dqn", "ALE/Breakout-v5")
    assert config_for(DQNConfig, "dqn", "ALE/Pong-v5").clip_reward


@needs_ale
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_pong_runs(name):
    """20 000 frames of DQN, 1 600 of the others, four a step; with the settings of the command line, but less work."""
    tuned = config_for(BASELINES[name].config, name, "ALE/Pong-v5")
    own = {} if tuned != BASELINES[name].config() else OWN.get(name, {})
    steps = 5_000 if name == "dqn" else 400
    config = replace(tuned, **own, steps=steps, rollout=4, updates=1, learning_starts=100, capacity=2_000)
    source = imitate.make("ALE/Pong-v5", num_envs=4, members=1, seed=0)
    algorithm = BASELINES[name].algorithm(source, config)
    while not algorithm.progress.finished:
        metrics = algorithm.step()
    assert all(value.isfinite().all() for value in metrics.values())
    assert int(algorithm.target.updates) > 0
    drawn = algorithm.replay.sample(16)
    assert torch.equal(drawn.next_obs[:, :, : 4 - config.n_step], drawn.obs[:, :, config.n_step :])
    source.close()


@needs_ale
@pytest.mark.slow
def test_the_command_line_trains_on_pong(tmp_path, capsys):
    arguments = ["--members", "1", "--num-envs", "2", "--episodes", "1", "--steps", "200", "--learning-starts", "64"]
    out = ["--out", str(tmp_path / "run"), "--evaluate-every", "200", "--capacity", "5000"]
    assert main(["train", "dqn", "--env", "ALE/Pong-v5", *arguments, *out]) == 0
    assert "dqn: replay: 5,000 transitions a member, 1 member, 38 MiB on cpu" in capsys.readouterr().out
