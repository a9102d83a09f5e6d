"""Several tasks as one source, heads and routers: against each task alone. Letters: M members, N copies, K tasks."""

from dataclasses import dataclass, replace

import pytest
import torch

from imitate import nets
from imitate.baselines import PPO, PPOConfig
from imitate.core import checkpoint
from imitate.core.rollout import TensorSource
from imitate.core.tasks import Tasks, tasks_in, tell
from imitate.distributions.actions import Categorical
from imitate.nets.actor import Architecture, fresh
from imitate.nets.tasks import of_task
from imitate.policies import TaskTeachers, by_task
from imitate_envs import CartPole, GridWorld, MirroredCartPole, Pendulum
from imitate_envs.base import Box, Dict, Discrete, Tuple
from tests.oracles import Reach, Remembering, Walk
from tests.resumed import assert_resumes

M, N = 2, 3


@dataclass(frozen=True)
class Backwards(Walk):
    """The walk with its actions in reverse order."""

    def step(self, state, action, noise):
        return super().step(state, 2 - action, noise)


def source(env, seed=0, num_envs=N, members=M):
    return TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)


ENVS = (Walk(), Backwards())


def tasks(seed=0, **options):
    return Tasks([source(env, seed + 10 * i, num_envs=N + i, **options) for i, env in enumerate(ENVS)])


def actor(place, seed=3, **architecture):
    made = fresh(place, Architecture((8,), **architecture), f"init-{seed}")
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    return made


def pair(size=6, kinds=2, generator=1):
    """Observations of several tasks, in any order."""
    generator = torch.Generator().manual_seed(generator)
    task = torch.randint(kinds, (M, size), generator=generator)
    return torch.randn(M, size, 2, generator=generator), task


# The source


def test_environments_stand_side_by_side():
    """Each task is what its source gives under a policy that is told the task."""
    together, policy = tasks(), actor(tasks())
    assert (together.spec.id, together.spec.num_envs, tasks_in(together.spec.observation)) == ("Walk+Backwards", 7, 2)
    rollouts = [together.collect(policy, 4).clone() for _ in range(3)]
    for task, env in enumerate((Walk(), Backwards())):
        alone, columns = source(env, 10 * task, num_envs=N + task), slice(3 * task, 3 + 4 * task)
        told = of_task(policy, task)
        for rollout in rollouts:
            expected = alone.collect(told, 4)
            assert (rollout.obs[1][:, :, columns] == task).all()
            assert torch.equal(rollout.obs[0][:, :, columns], expected.obs)
            for name in ("action", "reward", "terminated", "truncated", "starts"):
                assert torch.equal(getattr(rollout, name)[:, :, columns], getattr(expected, name)), name
    assert any(rollout.done.any() for rollout in rollouts)


def test_episodes_are_played_task_after_task():
    together, policy = tasks(), actor(tasks())
    found = together.play(policy, 5, seed=9)
    for task, env in enumerate((Walk(), Backwards())):
        expected = source(env, num_envs=N).play(of_task(policy, task), 5, seed=9)
        torch.testing.assert_close(found[:, 5 * task : 5 * task + 5], expected)


def test_a_memory_stays_with_its_environments():
    """A policy that counts its steps: the memory of a rollout is that of each environment."""

    class Told(Remembering):
        def act(self, obs, noise, memory):
            return super().act(obs[0], noise, memory)

    together = tasks()
    policy = Told()
    together.collect(policy, 4)
    rollout = together.collect(policy, 1)
    assert rollout.memory["count"].shape == (M, 7)
    assert torch.equal(rollout.extras["count"][0], torch.where(rollout.starts[0], 3, rollout.memory["count"]))
    assert len(rollout.memory["count"].unique()) > 1


def test_ranges_of_rewards_and_limits():
    two = Tasks([source(CartPole()), source(replace(MirroredCartPole(), max_steps=7))])
    assert (two.spec.reward_range, two.spec.max_steps) == ((1.0, 1.0), 500)
    other = GridWorld(reward_schedule=(2.0, 0.0, 0.0))
    assert Tasks([source(GridWorld()), source(other)]).spec.final_reward_range is None


def test_what_is_told_beside_any_observation():
    obs = {"a": torch.zeros(4, M, N, 2, 3), "b": torch.zeros(4, M, N)}
    space = Dict((("a", Box((2, 3))), ("b", Discrete(5))))
    shown, task = tell(2, space)(obs)
    assert shown is obs and task.shape == (4, M, N) and (task == 2).all() and task.dtype is torch.int64
    assert tell(1, Discrete(4))(torch.zeros(M, N))[1].shape == (M, N)
    assert tasks_in(Tuple((space, Discrete(3)))) == 3 and tasks_in(space) is None and tasks_in(Discrete(2)) is None


def test_sources_that_are_no_tasks_of_one_kind():
    with pytest.raises(ValueError, match=r"^sources: at least one task"):
        Tasks([])
    with pytest.raises(ValueError, match=r"^sources: Walk has action Discrete\(3\), Reach has Box"):
        Tasks([source(Walk()), source(Reach())])
    with pytest.raises(ValueError, match=r"^sources: Walk has members 2, Backwards has 3"):
        Tasks([source(Walk()), source(Backwards(), members=3)])
    masked = replace(source(Walk()).spec, observation=Dict((("observation", Box((2,))), ("action_mask", Box((3,))))))
    place = source(Walk())
    place.spec = masked
    with pytest.raises(ValueError, match=r"^sources: Walk shows masks of actions"):
        Tasks([place])


def test_a_task_whose_numbers_are_not_finite_is_noticed():
    together = tasks()
    assert together.finite.tolist() == [True, True]
    together.sources[1].source.finite[1] = False
    assert together.finite.tolist() == [True, False]


# Networks


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_an_actor_of_one_task_answers_as_that_of_all(heads, env):
    place = Tasks([source(env), source(env, 1)])
    policy, (shown, _) = actor(place, heads=heads, normalise=True), pair()
    policy.observe((3 * shown + 1, torch.zeros(M, 6, dtype=torch.int64)))
    answers = []
    for task in (0, 1):
        said = policy.distribution(tell(task, place.sources[0].source.spec.observation)(shown))
        alone = of_task(policy, task, env="Walk").distribution(shown)
        for one, other in zip(vars(said).values(), vars(alone).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # of logits of some tens
        answers.append(said.mode.float())
    assert not torch.allclose(*answers)


def test_a_head_learns_from_its_task_alone_and_all_share_the_body():
    place = tasks()
    policy, (shown, task) = actor(place, heads=2), pair()
    loss = policy.distribution((shown, torch.ones_like(task))).logits.square().sum()
    weight, layer = torch.autograd.grad(loss, [policy.head.linear.weight, policy.body.layers[0].weight])
    assert (weight[..., :3] == 0).all() and (weight[..., 3:] != 0).any() and (layer != 0).any()
    assert layer.shape[1] == 2  # the body does not see the task
    assert policy.parameters_per_member == 2 * 8 + 8 + 8 * 6 + 6
    torch.testing.assert_close(policy.features((shown, task)), policy.features((shown, 1 - task)))


def test_observations_of_several_tasks_may_be_in_any_order():
    place = tasks()
    policy, (shown, task) = actor(place, heads=2), pair()
    said = policy.distribution((shown, task)).logits
    for k in (0, 1):
        alone = policy.distribution((shown, torch.full_like(task, k))).logits
        torch.testing.assert_close(said[task == k], alone[task == k])


def test_heads_are_saved_and_loaded(tmp_path):
    policy, obs = actor(tasks(), heads=2), pair()
    policy.save(tmp_path)
    loaded = nets.load(tmp_path)
    assert loaded.architecture.heads == 2
    assert torch.equal(loaded.distribution(obs).logits, policy.distribution(obs).logits)
    one = policy.member(1).distribution((obs[0][1:], obs[1][1:])).logits
    torch.testing.assert_close(one, policy.distribution(obs).logits[1:])


def test_ppo_learns_several_tasks_with_a_head_each(tmp_path):
    def build(seed):
        place = tasks(seed)
        config = PPOConfig(steps=112, rollout=4, epochs=2, batch_size=14, hidden=(5,))
        return PPO(place, config, policy=fresh(place, Architecture((5,), heads=2, normalise=True)))

    assert not build(0).policy.plain
    assert_resumes(build, tmp_path)
    assert "source" in checkpoint.state_of(build(0))


def test_heads_that_do_not_fit():
    place = tasks()
    with pytest.raises(ValueError, match=r"^heads: observations of Box\(2,\) do not tell a task"):
        fresh(source(Walk()), Architecture((8,), heads=2))
    with pytest.raises(ValueError, match=r"^heads: observations of .* tell 2 tasks"):
        fresh(place, Architecture((8,), heads=3))
    with pytest.raises(ValueError, match=r"^heads: a head for each task stands on hidden layers"):
        fresh(place, Architecture((8,), heads=2, gru=3))
    with pytest.raises(ValueError, match=r"^heads: must be at least 0, not -1"):
        Architecture(heads=-1)
    with pytest.raises(ValueError, match=r"^actor: it is made for Box"):
        of_task(actor(source(Walk())), 0)
    with pytest.raises(ValueError, match=r"^task: 2 is not one of 2"):
        of_task(actor(place), 2)


# Teachers


def test_a_router_asks_the_teacher_of_the_task():
    place = tasks()
    teachers = [actor(source(Walk()), seed) for seed in (5, 6)]
    (shown, task), router = pair(), TaskTeachers(teachers, place)
    said, features = router.distribution((shown, task)).logits, router.features((shown, task))
    for k, teacher in enumerate(teachers):
        assert torch.equal(said[task == k], teacher.distribution(shown).logits[task == k])
        assert torch.equal(features[task == k], teacher.features(shown)[task == k])
    action, memory, _ = router.act((shown, task), None, None)
    assert torch.equal(action, Categorical(said).mode) and memory is None and router.noise == 1


def test_routers_that_do_not_fit():
    place, teacher = tasks(), actor(source(Walk()))
    with pytest.raises(ValueError, match=r"^teachers: none for Backwards; give one for each of Walk, Backwards\."):
        TaskTeachers([teacher], place)
    with pytest.raises(ValueError, match=r"^teachers: 3 for 2 tasks"):
        TaskTeachers([teacher] * 3, place)
    with pytest.raises(ValueError, match=r"^teachers: that of Backwards has a memory"):
        TaskTeachers([teacher, nets.policy(source(Walk()), gru=2)], place)
    with pytest.raises(ValueError, match=r"^teachers: that of Walk has 3 members, the source 2"):
        TaskTeachers([actor(source(Walk(), members=3)), teacher], place)
    with pytest.raises(ValueError, match=r"^teachers: that of Backwards is made for observations Box\(3,\)"):
        TaskTeachers([teacher, actor(source(Pendulum()))], place)
    with pytest.raises(ValueError, match=r"^teachers: their features are \[5, 8\] wide"):
        TaskTeachers([teacher, nets.policy(source(Walk()), (5,))], place).features(pair())


def test_features_of_tasks_apart_have_a_linear_map_each():
    (shown, task), maps = pair(), torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    apart = by_task(lambda obs: obs[0], 2)((shown, task))
    assert apart.shape == (M, 6, 6)
    found = apart @ maps.flatten(0, 1)
    for m in range(M):
        for b in range(6):
            own = maps[task[m, b]]
            torch.testing.assert_close(found[m, b], shown[m, b] @ own[:2] + own[2])


# The mirror


def test_the_mirror_exchanges_left_and_right():
    state = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)) * 0.1
    action = torch.tensor([0, 1, 0, 1, 1])
    plain, mirror, both = CartPole(), MirroredCartPole(), MirroredCartPole(signs=True)
    noise = torch.zeros(5, 0)
    assert torch.equal(mirror.step(state, action, noise)[0], plain.step(state, 1 - action, noise)[0])
    assert torch.equal(mirror.observe(state), state) and torch.equal(both.observe(state), -state)


def test_a_mirror_of_signs_too_is_the_same_task():
    """Seen from inside, states that begin alike go on alike: the equations are symmetric."""
    plain, both = CartPole(), MirroredCartPole(signs=True)
    state = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.1
    noise, mirrored = torch.zeros(50, 0), -state
    for t in range(20):
        action = torch.full((50,), t % 2)
        state, _, over = plain.step(state, action, noise)
        mirrored, _, other = both.step(mirrored, action, noise)
        torch.testing.assert_close(both.observe(mirrored), state, rtol=1e-12, atol=1e-12)
        assert torch.equal(over, other)
    assert over.any() and not over.all()
