"""docs/extending.md keeps its promises: its blocks run in their order, and what they build works where it is to go."""

import re
import types
from pathlib import Path

import pytest
import torch

import imitate
from imitate.core import tree
from imitate.core.checkpoint import state_of
from imitate.core.types import fold
from imitate.core.wrappers import Viewed
from imitate.teachers.label import Answers, labels
from imitate_envs import Box
from tests.test_layers import LAYERS

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The page as a module: everything that its blocks define."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 10
    module = types.ModuleType("extending")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("extending"))
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), vars(module))
    return module


def test_the_page_runs_as_written(built):
    assert built.AWR and built.Chatter and built.FleetSource


def equal(one, other):
    first, second = (dict(tree.flatten(state_of(algorithm))) for algorithm in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def resumed(build, folder, steps):
    """An algorithm that ran through, and another that took over from one that was stopped."""
    whole, stopped, again = build(), build(), build()
    for _ in imitate.run(whole):
        pass
    for _ in imitate.run(stopped, steps=steps, checkpoint=folder):
        pass
    for _ in imitate.run(again, checkpoint=folder, resume=True):
        pass
    assert not stopped.progress.finished and again.progress.finished
    return whole, again


def test_a_source_of_the_users_own_hands_its_memory_over_a_resume(built, tmp_path):
    config = imitate.PPOConfig(steps=384, rollout=16, batch_size=64, epochs=1, gru=4)
    whole, again = resumed(lambda: imitate.PPO(built.FleetSource(8, 2), config), tmp_path, 128)
    assert equal(whole, again)
    assert any(leaf.abs().max() > 0 for leaf in tree.leaves(whole.source.memory.tree))


def test_who_drives_a_source_is_saved_by_the_algorithm_alone(built, tmp_path):
    """GAIL holds its policy a level below its source, which knows it as the driver."""

    def build():
        source = built.FleetSource(8, 2)
        config = imitate.GAILConfig(ppo=imitate.PPOConfig(steps=384, rollout=16, batch_size=64, epochs=1))
        return imitate.GAIL(source, imitate.demonstrate(built.FleetSource(8, 2), built.teacher, 2), config)

    whole, again = resumed(build, tmp_path, 128)
    assert equal(whole, again)
    assert not any(name.startswith("source.driver") for name, _ in tree.flatten(state_of(whole)))


def test_a_fleet_is_what_a_tensor_source_is(built):
    """Without weather of its own: every step of the one follows from the environment of the other."""
    source = built.FleetSource(num_envs=4, members=2)
    rollout, env = source.collect(imitate.policies.Random(source.spec.action), 150), built.Docking()
    assert rollout.terminated.any() or rollout.truncated.any()
    assert not (rollout.terminated & rollout.truncated).any()
    assert torch.equal(rollout.starts[1:], rollout.done[:-1]) and rollout.starts[0].all()
    going_on = ~rollout.done[:-1]
    assert torch.equal(rollout.next_obs[:-1][going_on], rollout.obs[1:][going_on])
    still = torch.full((*rollout.reward.shape, 1), 0.5)
    position, _, current = env.step(rollout.obs, rollout.action, still)[0].unbind(-1)
    assert torch.equal(rollout.next_obs[..., 2], current)
    assert (rollout.next_obs[..., 0] - position).abs().max() <= env.gust * env.dt**2 * 1.01


def test_play_counts_the_first_episode_alone(built):
    source = built.FleetSource(num_envs=3, members=2)
    returns = source.play(built.teacher, 5, seed=1)
    assert returns.shape == (2, 5)
    rollout = built.FleetSource(5, 2, seed=1).collect(built.teacher, source.spec.max_steps)
    for member in range(2):
        for ship in range(5):
            total = 0.0
            for reward, done in zip(rollout.reward[:, member, ship], rollout.done[:, member, ship], strict=True):
                total += float(reward)
                if done:
                    break
            assert total == returns[member, ship]


def test_a_policy_with_a_memory_repeats_as_often_as_it_says_and_never_at_a_first_step(built):
    source = imitate.make(built.Docking(max_steps=5), num_envs=8, members=2, seed=3)
    sticky = built.Sticky(imitate.policies.Random(source.spec.action), torch.tensor(1.0))
    rollout = source.collect(sticky, 40)
    assert torch.equal(rollout.extras["repeated"], ~rollout.starts)
    again = ~rollout.starts[1:]
    assert torch.equal(rollout.action[1:][again], rollout.action[:-1][again])


def test_a_teacher_labels_by_what_was_there_behind_any_number_of_views(built):
    source = imitate.make(built.Docking(), num_envs=4, members=2, seed=0)
    once = Viewed(source, lambda obs: obs[..., :2], Box((2,)))
    twice = Viewed(once, lambda obs: obs[..., :1], Box((1,)))
    for view in (once, twice):
        rollout = view.collect(imitate.nets.policy(view, hidden=(4,)), 8)
        assert rollout.obs.shape[-1] == view.spec.observation.shape[0]
        whole = rollout.extras["obs"]
        assert whole.shape[-1] == 3
        expected = built.teacher.distribution(fold(whole))
        assert torch.equal(Answers(built.teacher)(rollout).logits, expected.logits)
        assert torch.equal(labels(rollout, built.teacher, source.spec.action), expected.mode)


def test_a_teacher_that_sees_the_view_labels_by_the_view(built):
    source = imitate.make(built.Docking(), num_envs=4, members=2, seed=0)
    view = Viewed(source, lambda obs: obs[..., :2], Box((2,)), whole=False)
    teacher = imitate.nets.policy(view, hidden=(4,))
    rollout = view.collect(teacher, 8)
    expected = teacher.distribution(fold(rollout.obs))
    assert torch.equal(Answers(teacher)(rollout).logits, expected.logits)


def test_a_term_counts_only_actions_whose_predecessor_is_known(built):
    source = imitate.make(built.Docking(max_steps=4), num_envs=2, members=2, seed=0)
    rollout = source.collect(imitate.policies.Random(source.spec.action), 9)
    before, known = built.Chatter(1.0).prepare(rollout)
    time, envs = 9, 2
    for member in range(2):
        for t in range(time):
            for env in range(envs):
                row = t * envs + env
                assert known[member, row] == (t > 0 and not rollout.starts[t, member, env])
                if known[member, row]:
                    assert before[member, row] == rollout.action[t - 1, member, env]


def test_hyper_parameters_are_no_state(built, tmp_path):
    """A resumed run goes on with the numbers of its config, those that were changed by name too."""

    def build(gamma):
        return built.AWR(built.FleetSource(8, 2), built.AWRConfig(steps=256, rollout=16, updates=1, gamma=gamma))

    stopped, again = build(0.9), build(0.5)
    for _ in imitate.run(stopped, steps=128, checkpoint=tmp_path):
        pass
    imitate.load_checkpoint(again, tmp_path, changed=("gamma",))
    assert (again.hyper.gamma == 0.5).all()


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("lr", -1.0), ("gamma", 1.5), ("beta", 0.0)])
def test_its_config_says_what_does_not_fit(built, field, value):
    with pytest.raises(ValueError, match=f"^{field}: must be"):
        built.AWRConfig(**{field: value})


def test_the_layers_of_the_page_are_those_that_are_enforced():
    page = PAGE.with_name("architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(len(LAYERS)))
    assert [re.findall(r"`([\w.]+)`", names) for _, names in rows] == LAYERS


def test_every_file_that_the_page_names_is_there():
    root, page = PAGE.parents[1], PAGE.with_name("architecture.md").read_text("utf-8")
    named = set(re.findall(r"`((?:[\w]+/)*\w+\.py)\b", page))
    assert len(named) > 10
    homes = [root, root / "imitate", root / "envs"]
    assert not [name for name in named if not any((home / name).is_file() for home in homes)]
