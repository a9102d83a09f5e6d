"""Views beside naive loops over episodes, and teachers that see past them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import PPO, PPOConfig
from imitate.core import tree
from imitate.core.noise import normal
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.core.views import Delay, Noise, Select, Stack
from imitate.core.wrappers import Privileged, Viewed
from imitate.experiment import evaluate
from imitate.policies import EpsilonGreedy, Greedy, Mixture, RollIn
from imitate.students import DAgger, DAggerConfig, demonstrate
from imitate_envs.base import Box, Discrete
from imitate_envs.gridworld import GridWorld
from tests.oracles import Remembering, Walk
from tests.resumed import assert_resumes

M, N = 2, 3


def source(seed=0):
    return TensorSource(Walk(), id="Walk", num_envs=N, members=M, seed=seed)


class Outwards:
    """Walks away from the origin, by the first number that it sees; keeps what it sees."""

    noise = 0

    def __init__(self):
        self.saw = []

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        self.saw.append(obs)
        return 2 * (obs.flatten(2)[..., 0] > 0).long(), None, {}


def episodes(rollout):
    """Each episode's observations, with that behind its end or behind the rollout."""
    for m in range(M):
        for n in range(N):
            first = 0
            for t in range(len(rollout.starts)):
                if rollout.done[t, m, n] or t == len(rollout.starts) - 1:
                    yield m, n, first, t, [*rollout.obs[first : t + 1, m, n], rollout.next_obs[t, m, n]]
                    first = t + 1


def stacked(frames, t):
    return torch.stack([frames[max(0, t - k)] for k in (2, 1, 0)])


ORACLES = {
    "select": (Select((1, 0, 1)), lambda frames, t: frames[t][[1, 0, 1]]),
    "delay": (Delay(2), lambda frames, t: frames[max(0, t - 2)]),
    "stack": (Stack(3), stacked),
    "no stack": (Stack(1), lambda frames, t: frames[t][None]),
}


@pytest.mark.parametrize("name", ORACLES)
def test_what_is_seen_is_what_a_loop_over_each_episode_sees(name):
    view, oracle = ORACLES[name]
    plain, viewed = source(), Viewed(source(), view)
    seen, ends = [], 0
    whole = plain.collect(Outwards(), 20)
    driver = Mixture(Privileged(Outwards()), nets.policy(viewed, (4,)), torch.tensor(1.0))
    for steps in (8, 12):  # the memory goes on from rollout to rollout
        seen.append(viewed.collect(driver, steps).clone())
        assert seen[-1].memory == (None, None)
    obs, next_obs = (torch.cat([getattr(one, what) for one in seen]) for what in ("obs", "next_obs"))
    assert torch.equal(torch.cat([one.extras["obs"] for one in seen]), whole.obs)
    assert obs.shape[3:] == viewed.spec.observation.shape
    for m, n, first, last, frames in episodes(whole):
        for t in range(first, last + 1):
            assert torch.equal(obs[t, m, n], oracle(frames, t - first))
            assert torch.equal(next_obs[t, m, n], oracle(frames, t - first + 1))
        ends += 1
    assert ends > 2 * M * N  # there was something to begin anew


def test_noise_is_of_its_size_and_anew_at_each_look():
    std = (0.5, 0.0)
    viewed = Viewed(source(), Noise(std))
    rollout = viewed.collect(Outwards(), 400)
    error = rollout.obs - rollout.extras["obs"]
    assert torch.equal(error[..., 1], torch.zeros_like(error[..., 1]))
    count = error[..., 0].numel()
    # A variance of normals has a standard error of σ²√(2/n); 5 of them.
    assert abs(float(error[..., 0].square().mean()) - 0.25) < 5 * 0.25 * (2 / count) ** 0.5
    goes_on = ~rollout.done[:-1]
    assert torch.equal(rollout.next_obs[:-1][goes_on], rollout.obs[1:][goes_on])
    after = rollout.next_obs[:-1][~goes_on] - plain_next(400)[:-1][~goes_on]
    assert len(after) > 100 and bool((after[:, 0] != 0).all()) and bool((after[:, 1] == 0).all())


def plain_next(steps):
    """What is there behind each step of `Outwards` behind the noisy view."""
    viewed = Viewed(Viewed(source(), lambda obs: obs, Box((2,))), Noise((0.5, 0.0)))
    rollout = viewed.source.collect(viewed._seeing(Outwards()), steps)
    return rollout.next_obs


def test_the_noise_is_that_of_the_uniforms():
    uniforms = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Noise(0.3)(torch.ones(4, 2), uniforms, None)[0], 1 + 0.3 * normal(uniforms))


def test_who_is_privileged_sees_all_and_others_the_view():
    one, two = Outwards(), Outwards()
    driver = Greedy(Mixture(Privileged(one), two, torch.tensor(0.5)))
    viewed = Viewed(Viewed(source(), Select((0,))), Stack(3))
    rollout = viewed.collect(driver, 4)
    assert torch.equal(torch.stack(one.saw), rollout.extras["obs"]) and one.saw[0].shape == (M, N, 2)
    assert torch.equal(torch.stack(two.saw), rollout.obs) and two.saw[0].shape == (M, N, 3, 1)
    assert viewed.spec.frames == 3 and viewed.spec.observation == Box((3, 1))
    one.saw.clear()
    source().collect(Privileged(one), 4)  # without a view: as if it were not there
    assert one.saw[0].shape == (M, N, 2)
    shared = Viewed(source(), Select((0,)), whole=False)
    one.saw.clear()
    assert "obs" not in shared.collect(Mixture(Privileged(one), Privileged(one), torch.tensor(1.0)), 2).extras
    assert one.saw[0].shape == (M, N, 1)


@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("name", ["roll-in", "epsilon-greedy"])
def test_who_is_privileged_in_another_policy_sees_all(name, guides):
    one, two = Outwards(), Outwards()
    viewed = Viewed(source(), Select((0,)))
    if name == "roll-in":
        driver = RollIn(Privileged(one), two, torch.tensor(9.0 * guides))
    else:
        driver = EpsilonGreedy(Privileged(one), viewed.spec.action, torch.tensor(float(not guides)))
    rollout = viewed.collect(driver, 4)
    assert torch.equal(torch.stack(one.saw), rollout.extras["obs"]) and one.saw[0].shape == (M, N, 2)
    assert name == "epsilon-greedy" or torch.equal(torch.stack(two.saw), rollout.obs)
    acted = rollout.extras["first_acted" if name == "roll-in" else "explored"]
    assert bool((acted == (guides == (name == "roll-in"))).all())


def test_a_memory_of_the_policy_stays_its_own():
    viewed, plain = Viewed(source(), Stack(2)), source()
    policy = Remembering()

    class Newest:
        noise, memory = policy.noise, staticmethod(policy.memory)

        def act(self, obs, noise, memory):
            return policy.act(obs[..., -1, :], noise, memory)

    behind = Newest()
    for _ in range(3):
        found, expected = viewed.collect(behind, 4), plain.collect(policy, 4)
        assert torch.equal(found.action, expected.action) and torch.equal(
            found.extras["count"], expected.extras["count"]
        )
        assert all(map(torch.equal, tree.leaves(found.memory), tree.leaves(expected.memory)))


def test_a_teacher_shows_and_is_evaluated_by_all_that_there_is():
    viewed, plain = Viewed(source(), Select((0,))), source()
    teacher = nets.policy(plain, (4,), seed=3)
    shown, expected = demonstrate(viewed, teacher, 5), demonstrate(plain, teacher, 5)
    assert torch.equal(shown.examples.action, expected.examples.action)
    assert torch.equal(shown.examples.obs, expected.examples.obs[..., :1])
    student = nets.policy(viewed, (4,))
    found = evaluate(student, viewed, 6, teacher=teacher)
    assert found.teacher.tolist() == evaluate(teacher, plain, 6).returns.tolist()


@pytest.mark.parametrize("views", [(Noise(0.2),), (Select((0,)), Delay(1), Stack(3))])
def test_dagger_learns_behind_views_and_resumes(views, tmp_path):
    def build(seed):
        place = source(seed)
        teacher = nets.policy(place, (6,), seed=7)
        for view in views:
            place = Viewed(place, view)
        return DAgger(place, teacher, nets.policy(place, (6,)), DAggerConfig(rounds=4, rollout=5, updates=5))

    assert_resumes(build, tmp_path)


def test_ppo_learns_behind_a_noisy_view_and_resumes(tmp_path):
    def build(seed):
        config = PPOConfig(steps=100, rollout=4, batch_size=4, epochs=2, hidden=(4,), gru=3)
        return PPO(Viewed(Viewed(source(seed), Noise(0.1)), Stack(2)), config)

    assert_resumes(build, tmp_path)


def test_views_of_gymnasiums_environments():
    plain = imitate.make("CartPole-v1", num_envs=1, native=False)
    viewed = Viewed(plain, Stack(3))
    rollout = viewed.collect(nets.policy(viewed, (4,)), 60)
    assert torch.equal(rollout.obs[0, 0, 0], rollout.extras["obs"][0, 0, 0].expand(3, 4))
    done = rollout.done[:, 0, 0]
    assert done.any()
    for t in range(1, int(done.float().argmax()) + 1):
        assert torch.equal(rollout.obs[t, 0, 0, -1], rollout.extras["obs"][t, 0, 0])
        assert torch.equal(rollout.obs[t, 0, 0, :-1], rollout.obs[t - 1, 0, 0, 1:])


SPEC = Spec("Walk", Box((2,)), Discrete(3))
IMAGES = replace(SPEC, observation=Box((4, 4)), obs_dtype=torch.uint8)
GRID = TensorSource(GridWorld(), id="GridWorld", num_envs=1).spec


@pytest.mark.parametrize(
    ("view", "spec", "line"),
    [
        (lambda: Select(()), SPEC, "keep: nothing would be seen"),
        (lambda: Select((0, 2)), SPEC, r"keep: \(0, 2\) are not all among the 2 numbers"),
        (lambda: Select((0,)), GRID, "keep: observations of GridWorld are Discrete"),
        (lambda: Noise(-0.1), SPEC, r"std: must be at least 0, not -0.1\."),
        (lambda: Noise((0.1,)), SPEC, "std: 1 values for 2 numbers"),
        (lambda: Noise(0.1), IMAGES, "std: observations of Walk are"),
        (lambda: Delay(0), SPEC, r"steps: must be at least 1, not 0\."),
        (lambda: Stack(0), SPEC, r"frames: must be at least 1, not 0\."),
        (lambda: Stack(2), replace(SPEC, frames=4), "frames: the observations stack 4 frames already"),
        (lambda: Stack(2), GRID, "frames: observations of GridWorld are Discrete"),
    ],
)
def test_a_view_that_there_is_not(view, spec, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        view().seen(spec)


def test_a_function_needs_a_space():
    with pytest.raises(ValueError, match=r"^observation: which space has what the function makes"):
        Viewed(source(), lambda obs: obs)
