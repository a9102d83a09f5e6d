"""What an agent did and what the likelihood says it would do are the same numbers."""

import pytest
import torch

from imitate.conditioning.agent import as_agent, simulate_choices
from imitate.conditioning.choice import ChoiceKernel, Softmax, WinStayLoseShift
from imitate.conditioning.data import Choices
from imitate.conditioning.two_step import TwoStepHybrid
from imitate.conditioning.values import DualRates, KalmanBandit, QLearning
from imitate.core.rollout import TensorSource
from imitate.fitting.likelihood import one_step, trial_log_likelihood
from imitate.policies import Mixture, Random
from imitate_envs.bandit import Bandit, Gaussian
from imitate_envs.bandits import DriftingBandit, ReversalBandit, StationaryBandit
from imitate_envs.feedback import Feedback
from imitate_envs.pendulum import Pendulum
from imitate_envs.two_step import TwoStep

RICH = Softmax(QLearning(DualRates(), forgetting=True), ChoiceKernel(), lapse=True)
NORMAL = StationaryBandit((0.1, 0.6, 0.3), Gaussian(0.5), max_steps=1_000)
CASES = {
    "wilson-collins": (Softmax(QLearning()), StationaryBandit((0.2, 0.8), max_steps=1_000), {"Q0": 0.5}),
    "everything": (RICH, NORMAL, {"alpha_pos": 0.7, "alpha_neg": 0.2, "beta": 4.0}),
    "kalman": (Softmax(KalmanBandit()), DriftingBandit(max_steps=1_000), {"beta": 0.3}),
    "wsls": (WinStayLoseShift(), ReversalBandit(max_steps=1_000), {}),
    "two-step": (TwoStepHybrid(), TwoStep(trials=500), {"beta1": 3.0, "beta2": 2.0}),
}


def record(seen, agent, env, member=0):
    """The choices of one member, its environments as subjects."""
    context = seen.obs[:, member, :, : -agent.actions - 1].argmax(-1) if isinstance(env, TwoStep) else None
    return Choices(seen.action[:, member], seen.reward[:, member], agent.actions, context=context)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("wilson-collins", 1_000), ("everything", 300), ("kalman", 100), ("wsls", 100), ("two-step", 200)],
)
def test_closed_loop_probabilities_are_those_of_the_likelihood(name, steps):
    model, env, theta = CASES[name]
    agent = as_agent(model, theta, env.action.n)
    source = TensorSource(Feedback(env), id=name, num_envs=2, members=1)
    seen = source.collect(agent, steps)
    assert seen.reward.std() > 0
    used = seen.extras["log_prob"][:, 0]
    assert used.dtype == torch.float64
    every = one_step(model, theta, record(seen, agent, env))
    torch.testing.assert_close(seen.extras["log_probs"][:, 0], every, rtol=1e-9, atol=1e-12)
    said = every.gather(-1, seen.action[:, 0].unsqueeze(-1)).squeeze(-1)
    assert float((used.exp() - said.exp()).abs().max()) < 1e-12


def test_members_have_parameters_of_their_own():
    alpha = torch.tensor([[0.1], [0.9]], dtype=torch.float64)
    agent = as_agent(Softmax(QLearning()), {"alpha": alpha, "beta": 2.0}, 3)
    seen = TensorSource(Feedback(NORMAL), id="normal", num_envs=3, members=2).collect(agent, 50)
    for m in range(2):
        said = trial_log_likelihood(
            Softmax(QLearning()), {"alpha": alpha[m], "beta": 2.0}, record(seen, agent, NORMAL, m)
        )
        torch.testing.assert_close(seen.extras["log_prob"][:, m], said, rtol=1e-12, atol=1e-13)


def test_a_new_episode_begins_naive():
    env = StationaryBandit((0.2, 0.8), max_steps=20)
    agent = as_agent(Softmax(QLearning()), {"Q0": 0.5})
    seen = TensorSource(Feedback(env), id="short", num_envs=4).collect(agent, 60)
    episodes = Choices(*(x[:, 0].reshape(3, 20, 4).transpose(0, 1).flatten(1) for x in (seen.action, seen.reward)), 2)
    used = seen.extras["log_prob"][:, 0].reshape(3, 20, 4).transpose(0, 1).flatten(1)
    torch.testing.assert_close(used, trial_log_likelihood(agent.model, {"Q0": 0.5}, episodes))


def test_it_learns_from_what_another_policy_did():
    agent = as_agent(Softmax(QLearning()), {"alpha": 0.5}, 3)
    watched = Watched(agent)
    driver = Mixture(watched, Random(NORMAL.action), torch.zeros(1))
    seen = TensorSource(Feedback(NORMAL), id="mixed", num_envs=2).collect(driver, 30)
    torch.testing.assert_close(
        torch.stack(watched.seen)[:, 0], one_step(agent.model, {"alpha": 0.5}, record(seen, agent, NORMAL))
    )


class Watched:
    """Keeps what an agent would have done."""

    def __init__(self, agent):
        self.agent, self.noise, self.seen = agent, agent.noise, []

    def memory(self, *shape):
        return self.agent.memory(*shape)

    def act(self, obs, noise, memory):
        action, memory, extras = self.agent.act(obs, noise, memory)
        self.seen.append(extras["log_probs"])
        return action, memory, extras


@pytest.mark.parametrize("name", CASES)
def test_simulated_subjects_choose_by_the_likelihood(name):
    model, env, theta = CASES[name]
    played = simulate_choices(model, theta, env, 20, subjects=4_000, seed=3)
    assert played.action.shape == (20, 4_000)
    probs = one_step(model, theta, played).exp()
    for t in (0, 1, 19):
        chosen = torch.nn.functional.one_hot(played.action[t], played.actions)
        error = (chosen - probs[t]).sum(0) / (probs[t] * (1 - probs[t])).sum(0).clamp(min=1e-9).sqrt()
        assert error.abs().max() < 4.5  # standard errors


def test_simulation_is_its_seed_and_follows_its_parameters():
    model, env = Softmax(QLearning()), StationaryBandit((0.2, 0.8))
    theta = {"alpha": torch.tensor([0.3, 0.3, 0.3]), "beta": torch.tensor([0.0, 3.0, 50.0]).expand(500, 3)}
    first, again, other = (simulate_choices(model, theta, env, 50, seed=s) for s in (0, 0, 1))
    assert first.action.shape == (50, 500, 3)
    assert torch.equal(first.action, again.action)
    assert torch.equal(first.reward, again.reward)
    assert not torch.equal(first.action, other.action)
    share = (first.action == 1).double().mean((0, 1))
    assert share[0] == pytest.approx(0.5, abs=0.02)
    assert share[1] > 0.65
    rates = [first.reward[first.action == a].mean() for a in (0, 1)]
    assert [float(r) for r in rates] == pytest.approx([0.2, 0.8], abs=0.02)


def test_learning_outlives_the_episodes_of_the_environment():
    """Every pull of `Bandit` is an episode."""
    played = simulate_choices(Softmax(QLearning()), {"beta": 5.0}, Bandit((0.0, 1.0), Gaussian(0.1)), 60, subjects=200)
    assert float((played.action[-1] == 1).double().mean()) > 0.9
    assert played.reward[-1].mean() > 0.9


def test_bad_arguments():
    with pytest.raises(ValueError, match="theta: 'gamma' is unknown"):
        as_agent(Softmax(QLearning()), {"gamma": 1.0})
    with pytest.raises(ValueError, match="env: a model of choice needs Discrete actions"):
        simulate_choices(Softmax(QLearning()), {}, Pendulum(), 5)
