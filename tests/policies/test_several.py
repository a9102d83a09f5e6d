"""Policies that share an episode, or the states: `RollIn` and `Router`."""

import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import DQNConfig
from imitate.core.rollout import TensorSource
from imitate.core.wrappers import Driven
from imitate.distributions.actions import Categorical
from imitate.policies import Greedy, Random, RollIn, Router, by_value
from imitate.teachers.label import Answers
from tests.oracles import Reach, Walk

M, N = 2, 3


def source(env=None, seed=0, num_envs=N):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=M, seed=seed)


class Always:
    """One action, and how many steps of the episode it has seen."""

    noise = 1

    def __init__(self, action):
        self.action = action

    def memory(self, *shape):
        return torch.zeros(shape, dtype=torch.int64)

    def act(self, obs, noise, memory):
        return torch.full(obs.shape[:2], self.action), memory + 1, {}


class Sure(Always):
    """Without a memory, and certain."""

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return torch.full(obs.shape[:2], self.action), None, {}

    def distribution(self, obs):
        return Categorical.certain(torch.full(obs.shape[:2], self.action), 3)


def test_the_first_begins_every_episode_and_the_second_ends_it():
    steps = torch.tensor([2.0, 5.0])
    policy = RollIn(Always(0), Always(2), steps)
    place = source()
    seen = [place.collect(policy, 7).clone() for _ in range(4)]
    elapsed = torch.zeros(M, N, dtype=torch.int64)
    firsts = 0
    for rollout in seen:
        for t in range(7):
            elapsed[rollout.starts[t]] = 0
            for m in range(M):
                for n in range(N):
                    first = bool(elapsed[m, n] < steps[m])
                    assert rollout.action[t, m, n] == (0 if first else 2)
                    assert rollout.extras["first_acted"][t, m, n] == first
                    firsts += first
            elapsed += 1
    assert 0 < firsts < 4 * 7 * M * N and sum(int(one.starts.sum()) for one in seen) > M * N
    assert torch.equal(place.carry.memory[1], place.carry.memory[2])  # both see every step


@pytest.mark.parametrize("steps", [0, 10**6])
def test_at_its_ends_it_is_one_of_the_two(steps):
    one, two = Always(0), Always(2)
    together, alone = source(), source()
    mine = together.collect(RollIn(one, two, torch.tensor(float(steps))), 30).clone()
    theirs = alone.collect(one if steps else two, 30)
    assert torch.equal(mine.obs, theirs.obs) and torch.equal(mine.action, theirs.action)


def test_without_noise_it_is_deterministic():
    policy = nets.policy(source(), (4,))
    rolled = RollIn(Random(source().spec.action), policy, torch.tensor([0.0, 1.0]))
    obs = torch.randn(M, N, 2)
    action, memory, _ = rolled.act(obs, None, rolled.memory(M, N))
    assert torch.equal(action[0], policy.distribution(obs).mode[0]) and (action[1] == 0).all()
    assert torch.equal(rolled.act(obs, None, memory)[0], policy.distribution(obs).mode)


def test_a_driven_source_collects_with_the_driver_and_plays_the_policy():
    driven, plain = Driven(source(), lambda policy: RollIn(Always(0), policy, torch.tensor(3.0))), source()
    policy = Always(2)
    mine = driven.collect(policy, 20).clone()
    assert (mine.action == 0).any() and (mine.action == 2).any()
    before = driven._driver
    driven.collect(policy, 3)
    assert driven._driver is before  # so that memories go on
    assert torch.equal(driven.play(policy, 4, 1), plain.play(policy, 4, 1))
    assert driven.spec is driven.source.spec


# Router


def test_each_state_is_answered_by_who_is_responsible():
    teachers = {3: nets.policy(source(), (4,), seed=1), 7: nets.policy(source(), (4,), seed=2)}
    router = Router(teachers, lambda obs: torch.where(obs[..., 0] > 0, 7, 3))
    obs = torch.randn(M, 40, 2)
    found = router.distribution(obs).logits
    noise = torch.rand(M, 40, router.noise)
    action, memory, extras = router.act(obs, noise, None)
    assert memory is None
    each = {key: teacher.distribution(obs).logits for key, teacher in teachers.items()}
    drawn = {3: teachers[3].act(obs, noise[..., :1], None)[0], 7: teachers[7].act(obs, noise[..., 1:], None)[0]}
    numbers = set()
    for m in range(M):
        for b in range(40):
            key = 7 if obs[m, b, 0] > 0 else 3
            numbers.add(key)
            assert torch.equal(found[m, b], each[key][m, b])
            assert action[m, b] == drawn[key][m, b] and extras["teacher"][m, b] == key
    assert numbers == {3, 7}


def test_one_teacher_alone_is_itself():
    policy = nets.policy(source(Reach()), (4,))
    router = Router({0: policy}, lambda obs: torch.zeros(obs.shape[:2], dtype=torch.int64))
    one, other = source(Reach()).collect(router, 9).clone(), source(Reach()).collect(policy, 9)
    assert torch.equal(one.action, other.action)
    told, expected = Answers(router)(one), Answers(policy)(other)
    assert torch.equal(told.loc, expected.loc) and torch.equal(told.scale, expected.scale)


def test_teachers_with_a_memory_see_every_step():
    router = Router({0: Always(0), 1: Sure(2)}, lambda obs: (obs[..., 0] > 0).long())
    place = source()
    rollout = place.collect(router, 6)
    assert torch.equal(rollout.action, torch.where(rollout.obs[..., 0] > 0, 2, 0))
    assert torch.equal(place.carry.memory[0], place.carry.elapsed)  # also the steps at which the other one acted


def test_by_value_is_who_promises_the_most():
    networks = [imitate.DQN(source(seed=seed), DQNConfig(hidden=(4,))).policy for seed in (1, 2)]
    choose, obs = by_value(networks), torch.randn(M, 50, 2)
    found = choose(obs)
    one, other = (network.action_values(obs).amax(-1) for network in networks)
    assert torch.equal(found, (other > one).long()) and 0 < int(found.sum()) < found.numel()
    router = Router(dict(enumerate(networks)), choose)
    best = torch.where(other > one, *(n.action_values(obs).argmax(-1) for n in reversed(networks)))
    assert torch.equal(Greedy(router).act(obs, None, None)[0], best)


def test_a_student_learns_from_a_router():
    router = Router({0: Sure(0), 1: Sure(2)}, lambda obs: (obs[..., 0] > 0).long())
    place = source(num_envs=8)
    config = imitate.PolicyDistillationConfig(steps=3_000, rollout=10, batch_size=40, lr=1e-2)
    distillation = imitate.PolicyDistillation(place, router, nets.policy(place, (16,)), config)
    while not distillation.progress.finished:
        metrics = distillation.step()
    assert (metrics["agreement"] > 0.95).all()  # all but the states at the border


NOBODY = torch.zeros(1, 1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Router({}, lambda obs: obs), "teachers: there is none to choose from"),
        (
            lambda: Router({0: Sure(0), 2: Sure(1)}, lambda obs: torch.tensor([[5]])).distribution(NOBODY),
            "teachers: there is none for task 5, only for 0, 2; add one for it",
        ),
        (
            lambda: Router({0: Sure(0)}, lambda obs: torch.tensor([[-1]])).act(NOBODY, None, None),
            "teachers: there is none for task -1",
        ),
        (
            lambda: Router({0: Always(0)}, lambda obs: torch.tensor([[0]])).distribution(NOBODY),
            "teachers: a Always does not tell how likely",
        ),
        (
            lambda: Router(
                {0: Sure(0), 1: nets.policy(source(Reach()), (4,))}, lambda obs: torch.zeros(M, 1).long()
            ).distribution(torch.zeros(M, 1, 2)),
            "teachers: their answers are Categorical and Normal",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
