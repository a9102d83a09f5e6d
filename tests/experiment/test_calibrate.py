"""Calibration against distributions that are known. Letters: M members, E episodes, S states, K levels."""

import dataclasses
import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch

import imitate
from imitate.__main__ import main
from imitate.core.rollout import TensorSource
from imitate.distributions.returns import QuantileReturn, midpoints
from imitate.experiment.calibrate import Calibration, calibrate, transform
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import Quantiles, Scalar
from imitate_envs.base import Discrete

STOP, GAMMA = 0.3, 0.8


@dataclasses.dataclass(frozen=True)
class Lottery:
    """Every step pays 1 and is the last with probability .3; the observation is the number of steps so far."""

    max_steps: int = 100

    observation: ClassVar[Discrete] = Discrete(1_000)
    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def reset(self, noise):
        return torch.zeros(noise.shape[:-1], dtype=torch.int64)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        return state + 1, torch.ones_like(noise[..., 0]), noise[..., 0] < STOP


class Told:
    """Says of both actions that N steps follow, P(N ≤ n) = 1 − .7ⁿ: true, or stretched and moved."""

    def __init__(self, stretch=1.0, move=0.0):
        self.stretch, self.move = stretch, move

    def returns(self, obs):
        def network(tau):
            steps = (torch.log1p(-tau.double()) / math.log(1 - STOP)).ceil().clamp(min=1)
            values = (1 - GAMMA**steps) / (1 - GAMMA)
            return (self.move + self.stretch * values).float().expand(*obs.shape, 2, -1)

        tau = midpoints(4)
        return QuantileReturn(network(tau), tau, network=network)


def source(members=3, episodes=300, **options):
    return TensorSource(Lottery(**options), id="Lottery", num_envs=episodes, members=members, seed=4)


def test_a_law_that_is_true_is_found_calibrated():
    """A return has no memory here: one distribution for all states. 1,000 states a member, atoms and all."""
    found = calibrate(Told(), source(), GAMMA)
    assert all(800 < len(u) < 1_200 for u in found.transforms)
    np.testing.assert_allclose(found.histogram, 0.1, atol=0.04)
    np.testing.assert_allclose(found.coverage(0.5), 0.5, atol=0.05)
    np.testing.assert_allclose(found.coverage(0.9), 0.9, atol=0.03)
    assert (found.wasserstein < 0.12).all()
    assert (found.left_out == 0).all()
    assert "left out" not in str(found)


@pytest.mark.parametrize(
    ("told", "distance", "covers"),
    [
        (Told(move=1.0), 1.0, (0.0, 0.5)),
        (Told(stretch=0.2), 2.0, (0.0, 0.3)),
        (Told(stretch=3.0, move=-5.0), 2.0, (0.6, 0.9)),
    ],
    ids=["moved", "narrow", "wide"],
)
def test_a_law_that_is_false_is_found_out(told, distance, covers):
    found = calibrate(told, source(), GAMMA)
    assert (np.abs(found.histogram - 0.1).max(1) > 0.1).all()
    assert (found.wasserstein > 0.8 * distance).all()
    if told.stretch == 1:
        np.testing.assert_allclose(found.wasserstein, distance, atol=0.12)
    assert (covers[0] <= found.coverage(0.5)).all()
    assert (found.coverage(0.5) <= covers[1]).all()


def test_returns_are_a_loop_over_the_same_episodes():
    found = calibrate(Told(), source(members=2, episodes=9), (GAMMA, 0.5))
    seen = source(members=2, episodes=9).collect(Walking(), 100)
    for m, gamma in enumerate((GAMMA, 0.5)):
        expected = []
        for e in range(9):
            last = int(seen.done[:, m, e].nonzero()[0])
            rewards = seen.reward[: last + 1, m, e].tolist()
            expected += [sum(gamma**k * r for k, r in enumerate(rewards[t:])) for t in range(last + 1)]
        np.testing.assert_allclose(np.sort(found.returns[m]), np.sort(expected), rtol=1e-6)


class Walking:
    """Always action 0."""

    noise = 0

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return torch.zeros_like(obs), None, {}


def test_returns_that_the_clock_cuts_are_left_out_whatever_came_of_them():
    """γ = ½: behind 7 steps less than 1 % remains. So of a limit of 9 the first three steps of all are left."""
    at = source(members=1, episodes=200, max_steps=9)
    found = calibrate(Told(), at, 0.5)
    seen = source(members=1, episodes=200, max_steps=9).collect(Walking(), 9)
    alive = torch.cat([torch.ones(1, 1, 200), (~seen.done).long().cumprod(0)[:-1]])
    assert seen.truncated.any()
    assert len(found.returns[0]) == int(alive[:3].sum())
    assert found.left_out[0] == pytest.approx(1 - float(alive[:3].sum() / alive.sum()))
    assert "% of the states left out" in str(found)
    # early ends are kept beside late ones: the share of the first is that of the whole
    assert (np.asarray(found.returns[0]) == 1).mean() == pytest.approx(STOP, abs=0.05)


def test_nothing_known_is_said():
    with pytest.raises(
        ValueError, match=r"gamma: with a discount of 0\.99 the time limit of 9 steps cuts every return"
    ):
        calibrate(Told(), source(max_steps=9), 0.99)


def test_a_mean_is_no_law():
    policy = QNetwork(Discrete(1_000), Discrete(2), 3, QArchitecture((4,)), imitate.core.noise.Stream(0, "init"))
    assert policy.architecture.head == Scalar()
    with pytest.raises(ValueError, match="policy: it has learnt the mean of a return"):
        calibrate(policy, source(), GAMMA)


def test_rewards_are_clipped_where_they_were():
    @dataclasses.dataclass(frozen=True)
    class Rich(Lottery):
        def step(self, state, action, noise):
            state, reward, ended = super().step(state, action, noise)
            return state, 7 * reward, ended

    rich = TensorSource(Rich(), id="Rich", num_envs=50, members=3, seed=4)
    one, other = calibrate(Told(), rich, GAMMA, clip_reward=True), calibrate(Told(), source(episodes=50), GAMMA)
    np.testing.assert_allclose(one.returns[0], other.returns[0])


# The pieces


def test_transforms_by_hand():
    """Four quantiles 1, 2, 3, 3: probability ½ between the 2 and the 3s, with half a share of doubt; a jump at 3."""
    quantiles = torch.tensor([1.0, 2.0, 3.0, 3.0]).expand(6, 4).double()
    returns = torch.tensor([0.0, 1.5, 2.5, 3.0, 3.0, 9.0]).double()
    noise = torch.tensor([0.0, 0.5, 0.5, 0.0, 1.0, 1.0]).double()
    found = transform(quantiles, returns, noise)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25, 0.5, 0.5, 1.0, 1.0]).double())
    nearly = transform(quantiles, torch.tensor([0.0, 3.05, 9.0]).double().repeat(2), noise)
    assert nearly[1] == pytest.approx(0.75)  # within 1 % of the range: equal


def test_a_continuous_law_has_uniform_transforms(generator):
    quantiles = torch.special.ndtri(midpoints(100).double()).expand(20_000, 100)
    returns = torch.randn(20_000, generator=generator, dtype=torch.float64)
    found = transform(quantiles, returns, torch.rand(20_000, generator=generator, dtype=torch.float64))
    shares = np.histogram(found.numpy(), 20, (0, 1))[0] / 20_000
    np.testing.assert_allclose(shares, 0.05, atol=0.006)


def test_measures_by_hand(tmp_path):
    found = Calibration(
        [np.array([0.05, 0.5, 0.7, 0.96]), np.array([0.32, 0.31])],
        [np.array([0.0, 1.0, 2.0, 3.0]), np.array([5.0, 6.0])],
        [np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), np.array([[5.0, 8.0], [6.0, 6.0]])],
        np.array([0.25, 0.0]),
    )
    np.testing.assert_allclose(found.wasserstein, [0.25, 0.75])  # 5 6 6 8 against 5 5 6 6
    np.testing.assert_allclose(found.coverage(0.5), [0.5, 1.0])
    np.testing.assert_allclose(found.coverage(0.9), [0.75, 1.0])
    np.testing.assert_allclose(found.histogram[1], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    found.write(tmp_path, {"env": "here"})
    document = json.loads((tmp_path / "calibration.json").read_text())
    assert document["wasserstein"]["members"] == [0.25, 0.75]
    assert document["wasserstein"]["ci_low"] <= 0.5 <= document["wasserstein"]["ci_high"]
    assert document["states"] == [4, 2]
    assert document["env"] == "here"
    assert (tmp_path / "calibration.png").read_bytes()[:4] == b"\x89PNG"
    assert str(found).startswith("Wasserstein-1 0.5 [")
    assert "(2 members, 6 states" in str(found)
    alone = Calibration(found.transforms[:1], found.returns[:1], found.quantiles[:1], np.zeros(1))
    assert str(alone) == "Wasserstein-1 0.25, within central 50 % 0.5, within central 90 % 0.75  (4 states)"
    alone.write(tmp_path, {})
    assert json.loads((tmp_path / "calibration.json").read_text())["wasserstein"]["ci_low"] is None


def test_gymnasium_environments_serve_as_well():
    at = imitate.make("CartPole-v1", num_envs=3, members=2, native=False)
    head = QArchitecture((8,), head=Quantiles(5))
    policy = QNetwork(at.observation, at.action, 2, head, imitate.core.noise.Stream(0, "init"))
    found = calibrate(policy, at, 0.9)
    assert len(found.returns) == 2
    assert max(r.max() for r in found.returns) <= 10
    assert found.quantiles[0].shape == (len(found.returns[0]), 100)
    at.envs.close()


# On the command line


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("qr-dqn", "dqn"):
        tiny = ["--members", "2", "--num-envs", "2", "--episodes", "2", "--steps", "32", "--gamma", "0.9"]
        assert main(["train", name, "--env", "CartPole-v1", *tiny, "--out", str(folder / name)]) == 0
    return folder


def test_a_run_is_calibrated_where_it_lies(runs, capsys):
    run = runs / "qr-dqn"
    assert main(["calibrate", str(run), "--episodes", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("calibration: Wasserstein-1 ")
    assert len(said.splitlines()) == 1
    document = json.loads((run / "calibration.json").read_text())
    assert document["gamma"] == 0.9
    assert document["env"] == "CartPole-v1"
    assert len(document["histogram"]) == 10
    assert (run / "calibration.png").exists()
    assert main(["evaluate", str(run), "--risk", "cvar:0.1", "--episodes", "2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "dqn"], "policy: it has learnt the mean"),
        (["calibrate", "nowhere"], "run: there is no file or directory"),
        (["calibrate", "qr-dqn", "--episodes", "0"], "episodes: at least 1"),
        (["evaluate", "dqn", "--risk", "cvar:0.1"], "risk: this policy has learnt no distribution"),
        (["evaluate", "qr-dqn", "--risk", "cvar:2"], "cvar: a share of outcomes"),
    ],
)
def test_bad_input_is_one_line(runs, arguments, message, capsys):
    command, name, *rest = arguments
    assert main([command, str(runs / name), *rest]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_folder_without_its_options_needs_a_discount(runs, tmp_path, capsys):
    imitate.load(runs / "qr-dqn").save(tmp_path)
    assert main(["calibrate", str(tmp_path)]) == 2
    assert "pass --gamma" in capsys.readouterr().err
    assert main(["calibrate", str(tmp_path), "--gamma", "0.9", "--episodes", "2"]) == 0
