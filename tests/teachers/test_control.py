"""Control laws: their scores, their gains, any leading shape."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are

from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, Normal
from imitate.teachers import LAWS, ControlLaw, control_law
from imitate_envs import ENVS, Discrete

# Mean of 100 episodes as in the docstring of control.py, the worst of them, and the margin of the mean.
SCORES = {
    "CartPole-v1": (500.0, 500.0, 0.0),
    "MountainCar-v0": (-98.0, -110.0, 1.0),
    "MountainCarContinuous-v0": (98.6, 98.0, 0.1),
    "Pendulum-v1": (-158.0, -390.0, 2.0),
    "Acrobot-v1": (-79.1, -400.0, 4.0),
}


@pytest.mark.parametrize("env_id", LAWS)
def test_score(env_id):
    mean, worst, margin = SCORES[env_id]
    returns = TensorSource(ENVS[env_id](), id=env_id, num_envs=1).play(control_law(env_id), 100, seed=0)
    assert returns.mean().item() == pytest.approx(mean, abs=margin + 0.05)
    assert returns.min().item() >= worst


@pytest.mark.parametrize("env_id", LAWS)
@pytest.mark.parametrize("leading", [(), (7,), (3, 7), (2, 3, 7)])
def test_any_leading_shape(env_id, leading):
    law = control_law(env_id, scale=0.25)
    obs = torch.randn(*leading, *law.observation.shape)
    action, memory, extras = law.act(obs, torch.zeros(*leading, 0), law.memory(*leading))
    assert (law.noise, memory, extras) == (0, None, {})
    distribution = law.distribution(obs)
    assert torch.equal(distribution.mode, action)
    if isinstance(law.action, Discrete):
        assert action.shape == leading
        assert action.dtype == torch.int64
        assert isinstance(distribution, Categorical)
        assert ((action >= 0) & (action < law.action.n)).all()
    else:
        assert action.shape == (*leading, 1)
        assert isinstance(distribution, Normal)
        assert (distribution.scale == 0.25).all()
        assert ((action >= law.action.low) & (action <= law.action.high)).all()
    torch.testing.assert_close(law.act(obs.double(), obs, None)[0].double(), action.double(), rtol=0, atol=1e-4)


def regulator(a, b, state_cost, force_cost):
    """Gain of the discrete linear-quadratic regulator, from scipy's solution of the Riccati equation."""
    p = solve_discrete_are(a, b, state_cost, force_cost)
    return np.linalg.solve(force_cost + b.T @ p @ b, b.T @ p @ a)[0]


def jacobian(env, upright, action):
    """Derivative of one step at a state, by a state and an action."""

    def step(state, u):
        return env.step(state, u, torch.zeros(0))[0]

    return torch.autograd.functional.jacobian(step, (upright, action))


def test_gains_of_pendulum():
    env = ENVS["Pendulum-v1"]()
    a, b = jacobian(env, torch.zeros(2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    gain = regulator(a.numpy(), b.numpy(), np.diag([1, 0.1]), np.array([[0.001]]))
    np.testing.assert_allclose(gain, [19.69, 5.26], atol=0.01)


def test_gains_of_cartpole():
    env = ENVS["CartPole-v1"]()
    rest = torch.zeros(4, dtype=torch.float64)
    half_force = torch.full((), 0.5, dtype=torch.float64)  # 2·½ − 1 = 0: no force; one action is 2·10 N
    a, b = jacobian(env, rest, half_force)
    b = b.numpy()[:, None] / (2 * env.force)
    gain = -regulator(a.numpy(), b, np.diag([1, 1, 10, 1.0]), np.array([[0.1]]))
    np.testing.assert_allclose(gain, [2.78, 5.32, 46.44, 12.05], atol=0.01)


def test_ids():
    assert set(LAWS) <= set(ENVS)
    assert control_law("imitate/Acrobot-v1").env == "Acrobot-v1"
    with pytest.raises(ValueError, match="teacher: there is no control law for 'Ant-v5', only for CartPole-v1"):
        control_law("Ant-v5")
    with pytest.raises(ValueError, match="scale"):
        control_law("Pendulum-v1", scale=0.0)


def test_a_law_of_your_own():
    law = ControlLaw(lambda obs: torch.zeros(obs.shape[:-1], dtype=torch.int64), "CartPole-v1")
    returns = TensorSource(ENVS["CartPole-v1"](), id="CartPole-v1", num_envs=1).play(law, 20, seed=0)
    assert returns.max() < 15


@pytest.mark.gpu
@pytest.mark.parametrize("env_id", LAWS)
def test_on_a_gpu(env_id):
    law = control_law(env_id)
    obs = torch.randn(64, *law.observation.shape)
    on_gpu = law.act(obs.cuda(), obs, None)[0]
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), law.act(obs, obs, None)[0])
