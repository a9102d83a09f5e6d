"""Forward training, SMILe, SEARN, AggreVaTe(D): recursions, reductions to DAgger, and tasks that tell them apart.

Letters: T time, M members, N environments of one member.
"""

from dataclasses import dataclass, replace

import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.core.spec import FOREVER
from imitate.core.wrappers import Driven
from imitate.distributions.actions import Categorical
from imitate.losses.imitation import cost_sensitive_likelihood, expected_cost
from imitate.policies import Greedy, Random
from imitate.students import (
    SEARN,
    AggreVaTe,
    AggreVaTeConfig,
    AggreVaTeD,
    AggreVaTeDConfig,
    DAgger,
    DAggerConfig,
    ForwardTraining,
    ForwardTrainingConfig,
    SEARNConfig,
    SMILe,
    SMILeConfig,
)
from imitate.students.forward_training import _times
from imitate.teachers import Told
from tests.oracles import Identity, Reach, Walk
from tests.students.test_dagger import Middle

M, N = 3, 4
FEW = {"updates": 7, "batch_size": 8, "lr": 1e-2}


def source(env=None, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=seed)


def finished(algorithm):
    while not algorithm.progress.finished:
        metrics = algorithm.step()
    assert all(value.shape == (M,) for value in metrics.values())
    return algorithm


def first_classifier(mixture, student):
    mixture.take(0, student)
    return student.state_dict()


def smile(config, seed=0):
    place = source(seed=seed)
    return SMILe(place, Middle(), nets.policy(place, (8,)), config)


def test_the_teachers_share_behind_twenty_rounds_is_that_of_the_paper():
    """And the classifiers' weights are those of the recursion π ← π + α(1 − α)ⁿ⁻¹ (π̂ₙ − π*), without the teacher."""
    algorithm = smile(SMILeConfig(rounds=20, rollout=2, alpha=0.1, updates=1, batch_size=4))
    weights, share = torch.zeros(20, dtype=torch.float64), 1.0
    for n in range(1, 21):
        metrics = algorithm.step()
        assert torch.equal(algorithm.driver.beta, torch.full((M,), share))  # it drove with the mixture before
        moved = 0.1 * 0.9 ** (n - 1)
        weights[n - 1] += moved
        share -= moved
        expected = (weights / weights.sum()).float().expand(M, 1, 20)
        torch.testing.assert_close(algorithm.policy.weights, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(metrics["expert_share"], torch.full((M,), share), rtol=1e-6, atol=0)
        share = 0.9**n
    assert algorithm.expert_share == 0.9**20
    assert algorithm.progress.finished
    assert algorithm.progress.labels.tolist() == [20 * 2 * N] * M


def test_the_first_classifier_of_smile_is_dagger_in_its_first_round():
    mine = smile(SMILeConfig(rounds=2, rollout=6, **FEW))
    mine.step()
    place = source()
    other = DAgger(place, Middle(), nets.policy(place, (8,)), DAggerConfig(1, 6, validation=0.0, **FEW))
    other.step()
    found = first_classifier(mine.policy, nets.policy(place, (8,), seed=5))
    assert all(torch.equal(found[name], value) for name, value in other.policy.state_dict().items())


def test_each_classifier_begins_anew_and_learns_from_its_own_round():
    """With nobody's step in between, what was learnt in place 1 does not depend on what was in place 0."""
    one, two = (smile(SMILeConfig(rounds=2, rollout=6, alpha=0.5, **FEW)) for _ in range(2))
    for algorithm in (one, two):
        algorithm.step()
    with torch.no_grad():
        two.classifiers.learner.flat.add_(1.0)  # spoilt: the next round must not care
    for algorithm in (one, two):
        algorithm.step()
    for name, value in one.policy.actors.state_dict().items():
        assert torch.equal(value, two.policy.actors.state_dict()[name])


def test_one_policy_for_all_times_is_dagger_in_its_first_round():
    place, other = source(), source()
    config = ForwardTrainingConfig(every=Walk.max_steps, rollout=6, **FEW)
    mine = finished(ForwardTraining(place, Middle(), nets.policy(place, (8,)), config))
    dagger = DAgger(other, Middle(), nets.policy(other, (8,)), DAggerConfig(1, 6, validation=0.0, **FEW))
    dagger.step()
    found = first_classifier(mine.policy, nets.policy(place, (8,), seed=5))
    assert all(torch.equal(found[name], value) for name, value in dagger.policy.state_dict().items())


@pytest.mark.parametrize(("begin", "every"), [(0, 1), (2, 1), (1, 3), (50, 2)])
def test_the_time_of_a_policy_is_counted_in_episodes_that_begin_in_the_rollout(begin, every):
    starts = torch.rand(30, M, N) < 0.2
    expected = torch.zeros_like(starts)
    for m in range(M):
        for n in range(N):
            age = None
            for t in range(30):
                age = 0 if starts[t, m, n] else None if age is None else age + 1
                expected[t, m, n] = age is not None and begin <= age < begin + every
    assert torch.equal(_times(starts, begin, every), expected)


@dataclass(frozen=True)
class Dance(Identity):
    """Nothing is seen, and what is right changes with time: step t asks for t modulo 3."""

    def reset(self, noise):
        return torch.zeros(noise.shape[:-1], dtype=torch.int64)

    def observe(self, state):
        return torch.zeros_like(state)

    def step(self, state, action, noise):
        return state + 1, (action == state % 3).float(), torch.zeros_like(state, dtype=torch.bool)


class Dancer:
    """Knows the dance by counting: a teacher with a memory."""

    noise = 0

    def memory(self, *shape):
        return torch.zeros(shape, dtype=torch.int64)

    def act(self, obs, noise, memory):
        return memory % 3, memory + 1, {}

    def distribution(self, obs):
        return Categorical.certain(torch.zeros_like(obs), 3)


def test_forward_training_learns_what_depends_on_time_alone_and_one_policy_cannot():
    place = source(Dance())
    config = ForwardTrainingConfig(updates=30, batch_size=8, lr=0.1)
    forward = finished(ForwardTraining(place, Dancer(), nets.policy(place, ()), config))
    assert torch.equal(place.play(forward.policy, 2, seed=1), torch.full((M, 2), 10.0))
    assert forward.progress.labels.tolist() == [10 * 2 * N] * M  # of each of ten times, in two episodes
    one = finished(ForwardTraining(place, Dancer(), nets.policy(place, ()), replace(config, every=10)))
    assert (place.play(one.policy, 2, seed=1) <= 4).all()  # four of ten steps ask for 0


def test_a_time_that_no_episode_reaches_is_learnt_from_the_whole_rollout():
    place = source(Walk(limit=0.0))  # each episode is over at its first step
    forward = finished(ForwardTraining(place, Middle(), nets.policy(place, ()), ForwardTrainingConfig(**FEW)))
    assert forward.progress.labels.tolist() == [7 * 14 * N] * M


CONFIGS = {
    SEARN: SEARNConfig(rounds=2, rollout=10, every=2, alpha=0.5, updates=60, batch_size=16, lr=0.1),
    AggreVaTe: AggreVaTeConfig(rounds=2, rollout=10, every=2, updates=60, batch_size=16, lr=0.1),
    AggreVaTeD: AggreVaTeDConfig(rounds=40, rollout=10, every=2, lr=0.2),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_of_a_teacher_who_guesses_one_learns_to_be_right(kind):
    """The teacher earns 10/3 of 10. What a choice costs shows which one is right: the next steps cost all the same."""
    place = source(Identity())
    algorithm = finished(kind(place, Random(Identity().action), nets.policy(place, ()), CONFIGS[kind]))
    assert torch.equal(place.play(Greedy(algorithm.policy), 5, seed=1), torch.full((M, 5), 10.0))
    config = CONFIGS[kind]
    assert algorithm.progress.labels.tolist() == [config.rounds * 5 * N] * M
    assert int(algorithm.progress.steps) == config.rounds * 10 * N


def test_the_newest_classifier_of_searn_has_the_share_alpha():
    place = source(Identity())
    config = SEARNConfig(rounds=4, rollout=2, alpha=0.3, updates=1, batch_size=4)
    algorithm = SEARN(place, Random(Identity().action), nets.policy(place, ()), config)
    teacher, weights = 1.0, torch.zeros(4, dtype=torch.float64)
    for n in range(4):
        algorithm.step()
        weights *= 1 - 0.3
        weights[n] = 0.3
        teacher *= 1 - 0.3
        torch.testing.assert_close(weights.sum().item() + teacher, 1.0)
        expected = (weights / weights.sum()).float().expand(M, 1, 4)
        torch.testing.assert_close(algorithm.policy.weights, expected, rtol=1e-6, atol=0)
        assert algorithm.expert_share == pytest.approx(teacher, rel=1e-12)


def test_aggrevate_keeps_the_costs_of_all_rounds_and_aggrevated_none():
    place = source()
    one = AggreVaTe(place, Random(Walk.action), nets.policy(place, (8,)), AggreVaTeConfig(3, 6, 2, **FEW))
    finished(one)
    assert one.data.size.tolist() == [3 * 3 * N] * M
    assert one.data.all()[0].action.shape == (M, 3 * 3 * N, 3)
    assert int(one.learner.count) == 3 * 7
    place = source()
    two = finished(AggreVaTeD(place, Random(Walk.action), nets.policy(place, (8,)), AggreVaTeDConfig(5, 6, 2)))
    assert int(two.learner.count) == 5  # one gradient step a round


@pytest.mark.parametrize("kind", [AggreVaTe, AggreVaTeD])
def test_costs_may_be_told_where_they_could_be_tried(kind):
    """A planner of another goal tells costs that no trial would find: its goal is learnt, and no stream is touched."""

    class Contrary(Random):
        def action_values(self, obs):
            return -torch.nn.functional.one_hot(obs, 3).float()

    place = source(Identity())
    teacher, student = Contrary(Identity().action), nets.policy(place, ())
    algorithm = finished(kind(place, teacher, student, CONFIGS[kind], costs=Told(place, teacher)))
    assert torch.equal(place.play(Greedy(student), 5, seed=1), torch.zeros(M, 5))
    assert algorithm.progress.labels.tolist() == [CONFIGS[kind].rounds * 10 * N] * M  # every state is told about


def test_the_gradient_is_the_sum_over_choices():
    """∇ Σ_a π(a) Q(a) = Σ_a π(a) (Q(a) − Σ_b π(b) Q(b)) e_a in logits, whatever is subtracted from Q."""
    logits, cost = torch.randn(4, 5, dtype=torch.float64, requires_grad=True), torch.randn(4, 5).double() * 100
    loss = expected_cost(Categorical(logits), cost)
    (found,) = torch.autograd.grad(loss.sum(), logits)
    p = logits.detach().softmax(-1)
    torch.testing.assert_close(found, p * (cost - (p * cost).sum(-1, keepdim=True)))
    torch.testing.assert_close(loss, (p * cost).sum(-1) - cost.min(-1).values)
    assert (loss >= 0).all()


def test_noisy_costs_lead_to_the_choice_of_least_mean_cost():
    """Choice 2 costs 4 for certain, 0 and 1 cost 0 or 10: single examples never say that 2 is the best one."""
    cost = torch.tensor([[0.0, 10, 4], [10, 0, 4]]).double()
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100)

    def closure():
        optimiser.zero_grad()
        found = cost_sensitive_likelihood(Categorical(logits.expand(2, 3)), cost).sum()
        found.backward()
        return found

    optimiser.step(closure)
    saved = (10 - cost).sum(0)
    torch.testing.assert_close(logits.detach().softmax(0), saved / saved.sum(), rtol=1e-5, atol=0)
    masked = Categorical(torch.tensor([0.0, -torch.inf, 0.0]))
    assert cost_sensitive_likelihood(masked, torch.tensor([0.0, 5, 5])).isfinite()


def test_what_does_not_fit_is_refused():
    place, reach = source(), source(Reach())
    student, guesses = nets.policy(place, (8,)), Random(Walk.action)
    with pytest.raises(ValueError, match=r"^source: Reach cannot be branched"):
        AggreVaTe(reach, Random(Reach.action), nets.policy(reach, (8,)))
    with pytest.raises(ValueError, match=r"^source: Reach cannot be branched"):
        SEARN(reach, Random(Reach.action), nets.policy(reach, (8,)))
    with pytest.raises(ValueError, match=r"^student: a Normal has no finitely many choices"):
        expected_cost(nets.policy(reach, (8,)).distribution(torch.zeros(M, 1, 2)), torch.zeros(M, 1, 2))
    with pytest.raises(ValueError, match=r"^student: it has a memory"):
        AggreVaTeD(place, guesses, nets.policy(place, (8,), gru=3))
    with pytest.raises(ValueError, match=r"^teacher: it has a memory, which no state tells"):
        AggreVaTe(place, Dancer(), student)
    for alpha in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match=r"^alpha: must be (positive|in \[0, 1\]), not"):
            SMILeConfig(alpha=alpha)
        with pytest.raises(ValueError, match=r"^alpha: must be (positive|in \[0, 1\]), not"):
            SEARNConfig(alpha=alpha)
    endless = Driven(place, lambda policy: policy)
    endless.spec = replace(place.spec, max_steps=FOREVER)
    with pytest.raises(ValueError, match=r"^source: Walk has no time limit"):
        ForwardTraining(endless, Middle(), student)
