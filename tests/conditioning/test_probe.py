"""The dopamine probe: errors against a loop, windows, and the classic picture."""

import pytest
import torch

from imitate.baselines import DQN, DQNConfig, QLearning, TabularConfig
from imitate.conditioning.probe import Critic, DopamineProbe, around, prediction_errors
from imitate.core.rollout import TensorSource
from imitate.core.types import Source, Stateful, Transition
from imitate.policies import Random
from imitate_envs import Chain, Feedback, FixedPause, Presence, StationaryBandit, TimedConditioning, Timing, TrialKind


class LinearCritic:
    """V = w·x, [M, F] weights, learnt by TD(0) from one step at a time."""

    def __init__(self, features, alpha, gamma, members=1):
        self.w, self.alpha, self.gamma = torch.zeros(members, features), alpha, gamma

    def value(self, obs):
        return (obs * self.w.unsqueeze(1)).sum(-1)

    def learn(self, seen):
        error = prediction_errors(self, seen, self.gamma)
        self.w += self.alpha * (error.unsqueeze(-1) * seen.obs).sum((0, 2))


def test_errors_against_a_loop():
    """Terminated steps have no future, truncated ones have; every member has its own values."""
    generator = torch.Generator().manual_seed(0)
    obs, after = (torch.rand(4, 2, 3, 5, generator=generator) for _ in range(2))
    reward = torch.rand(4, 2, 3, generator=generator)
    ends = torch.randint(3, (4, 2, 3), generator=generator)
    seen = Transition(obs, ends, reward, after, ends == 1, ends == 2)
    critic = LinearCritic(5, 0.1, 0.9, members=2)
    critic.w = torch.rand(2, 5, generator=generator)
    assert isinstance(critic, Critic)
    error = prediction_errors(critic, seen, 0.9)
    assert torch.equal(prediction_errors(critic.value, seen, 0.9), error)
    for t in range(4):
        for m in range(2):
            for n in range(3):
                future = 0 if ends[t, m, n] == 1 else 0.9 * critic.w[m] @ after[t, m, n]
                expected = reward[t, m, n] + future - critic.w[m] @ obs[t, m, n]
                assert error[t, m, n].item() == pytest.approx(expected.item(), abs=1e-6)


def test_windows_around_events():
    errors = torch.arange(24.0).reshape(6, 2, 2)
    event = torch.zeros(6, 2, 2, dtype=torch.bool)
    event[0, 0, 0] = event[2, 1, 0] = event[3, 0, 1] = event[5, 1, 1] = True
    assert around(errors, event, 2, 2).tolist() == [[2, 6, 10, 14, 18], [5, 9, 13, 17, 21]]
    assert around(errors, event, 3, 2).tolist() == [[1, 5, 9, 13, 17, 21]]
    assert around(errors, event, 0, 0).flatten().tolist() == [0, 10, 13, 23]


def test_error_moves_from_the_outcome_to_the_cue():
    """Schultz, Dayan & Montague (1997), figure 1: before learning, after learning, and without the outcome."""
    gamma, steps, count = 0.95, 6, 60
    kinds = (TrialKind((1.0,), 1.0), TrialKind((1.0,)))
    env = TimedConditioning(kinds, ((0,) * count + (1,),), Timing(float(steps), pause=FixedPause(4.0)))
    probe = DopamineProbe(TensorSource(env, id="time", num_envs=1), gamma)
    critic = LinearCritic(steps, 0.5, gamma)
    probe.watch(critic)
    for _ in range(count + 1):
        critic.learn(probe.collect(Random(env.action), 10))  # 4 steps of pause, of which the last shows the cue
    trials = probe.record.extras["error"].reshape(count + 1, 10)
    assert trials[0].tolist() == [0.0] * 9 + [1.0]
    expected = torch.tensor([0.0] * 3 + [gamma**steps] + [0.0] * 6)
    torch.testing.assert_close(trials[count - 1], expected, rtol=0, atol=1e-3)
    expected[-1] = -1
    torch.testing.assert_close(trials[count], expected, rtol=0, atol=1e-3)
    middle = trials[5]  # on its way back
    assert middle[9] < 0.1 and middle[3] < 0.1 and middle[4:9].max() > 0.2
    seen = probe.record
    cue = (seen.next_obs[..., 0] > 0) & (seen.obs[..., 0] == 0)
    assert around(seen.extras["error"], cue, 3, 6).shape == (count + 1, 10)
    torch.testing.assert_close(around(seen.extras["error"], cue, 3, 6), trials)


@pytest.mark.parametrize("kind", ["dqn", "table"])
def test_the_suites_own_critics(kind):
    """The probe changes nothing for the algorithm, and records what it thought before it learnt."""

    def algorithm(source):
        if kind == "dqn":
            return DQN(source, DQNConfig(steps=200, learning_starts=8, batch_size=8, hidden=(8,)))
        return QLearning(source, TabularConfig(steps=200, rollout=4))

    env = Feedback(StationaryBandit()) if kind == "dqn" else Chain()
    plain = algorithm(TensorSource(env, id="env", num_envs=2, members=2, seed=4))
    probe = DopamineProbe(TensorSource(env, id="env", num_envs=2, members=2, seed=4), 0.9)
    probed = algorithm(probe)
    probed.step(), plain.step()
    probe.watch(probed.policy)
    for _ in range(3):
        before = [p.clone() for p in probed.policy.state_dict().values()]
        a, b = probed.step(), plain.step()
        assert all(torch.equal(a[key], b[key]) for key in a)
    record = probe.record
    assert record.extras["error"].shape == record.reward.shape == (12, 2, 2)
    assert record.extras["error"].isfinite().all()
    probed.policy.load_state_dict(dict(zip(probed.policy.state_dict(), before, strict=True)))
    last = Transition(*(getattr(record, name)[-4:] for name in FIELDS))
    torch.testing.assert_close(prediction_errors(probed.policy, last, 0.9), record.extras["error"][-4:])
    for t in range(4):
        for m in range(2):
            for n in range(2):
                value = {}
                for name, obs in (("now", last.obs), ("then", last.next_obs)):
                    x = obs[t : t + 1].transpose(0, 1)[:, :, n]
                    q = probed.policy.returns(x).mean if kind == "dqn" else probed.policy.at(x)
                    value[name] = q[m, 0].max()
                delta = last.reward[t, m, n] + 0.9 * value["then"] * ~last.terminated[t, m, n] - value["now"]
                assert record.extras["error"][8 + t, m, n].item() == pytest.approx(delta.item(), abs=1e-5)


FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


def test_it_is_the_source():
    env = TimedConditioning(representation=Presence())
    source = TensorSource(env, id="time", num_envs=3, members=2, seed=7)
    probe = DopamineProbe(source, 0.9)
    declared = [name for name, member in vars(Source).items() if isinstance(member, property)]
    assert declared == ["spec"]
    for name in declared:
        assert getattr(probe, name) == getattr(source, name)
    assert torch.equal(probe.play(Random(env.action), 2, 1), source.play(Random(env.action), 2, 1))
    assert isinstance(probe, Stateful)
    saved = probe.state_dict()
    first = probe.collect(Random(env.action), 5).reward
    again = DopamineProbe(TensorSource(env, id="time", num_envs=3, members=2), 0.9)
    again.load_state_dict(saved)
    assert torch.equal(again.collect(Random(env.action), 5).reward, first)
    with pytest.raises(ValueError, match="record: nothing was collected yet under watch"):
        _ = probe.record
    probe.watch(LinearCritic(1, 0.1, 0.9, members=2))
    probe.collect(Random(env.action), 2), probe.collect(Random(env.action), 3)
    assert len(probe.record.reward) == 5
    probe.watch(None)
    probe.collect(Random(env.action), 2)
    assert len(probe.record.reward) == 5
    probe.clear()
    with pytest.raises(ValueError, match="call watch"):
        _ = probe.record
