"""VIPER: scikit-learn's own predictions as the oracle, weights as copies, the best tree, a score, bad input."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

import imitate
from imitate import nets
from imitate.core import rollout
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.types import fold
from imitate.distributions.actions import Normal
from imitate.losses import by_gap, forward_kl, value_gap
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.tree_policy import TreePolicy
from imitate.students import VIPER, PolicyDistillation, PolicyDistillationConfig, VIPERConfig
from imitate.students.viper import _below, _tree
from imitate_envs.base import Box, Discrete
from tests.oracles import Identity, Reach, Sliced, Walk, stream
from tests.students.test_dagger import Middle

M, N = 3, 4
SMALL = VIPERConfig(rounds=4, rollout=6, max_depth=3, held_out=3)


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def valued(place, seed=3):
    """A value network that nobody trained, so that its gaps differ from state to state."""
    spec = place.spec
    return QNetwork(spec.observation, spec.action, spec.members, QArchitecture((8,)), stream(seed))


# Growing


def examples(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    label = np.select([x[:, 0] * x[:, 1] > 0.1, x[:, 2] > 0.5], [2, 0], 1)
    return x, label, rng.uniform(0.1, 3, count)


@pytest.mark.parametrize("depth", [1, 4, 12])
@pytest.mark.parametrize("ccp_alpha", [0.0, 0.003])
def test_a_tree_says_what_scikit_learn_says(depth, ccp_alpha):
    """On new numbers, and on those around each threshold, where the rounding of a threshold would show."""
    x, label, weight = examples(2_000)
    config = VIPERConfig(max_depth=depth, ccp_alpha=ccp_alpha)
    theirs = DecisionTreeClassifier(max_depth=depth, ccp_alpha=ccp_alpha, random_state=7)
    theirs.fit(x, label, sample_weight=weight)
    policy = TreePolicy(Box((4,)), Discrete(3), 1, depth)
    policy.plant(0, _tree(x, label, weight, config, 7))
    new = np.random.default_rng(1).normal(size=(10_000, 4)).astype(np.float32)
    limits = theirs.tree_.threshold[theirs.tree_.children_left >= 0].astype(np.float32)
    near = np.concatenate([np.nextafter(limits, np.float32(end)) for end in (-9, 9)] + [limits])
    at = np.repeat(near[:, None], 4, 1)
    for tried in (new, at):
        found = policy.choose(torch.from_numpy(tried).unsqueeze(0))[0].numpy()
        assert np.array_equal(found, theirs.predict(tried))
    assert 1 < int(policy.nodes) <= theirs.tree_.node_count


def test_a_threshold_rounded_down_parts_the_numbers_of_float32_as_before():
    rng = np.random.default_rng(0)
    for threshold in [*rng.normal(size=200), 0.1, -0.1, 0.5, 1e-46, -1e-46, 3.0]:
        rounded = _below(threshold)
        assert rounded == np.float32(rounded) and rounded <= threshold
        x = np.float32(threshold)
        for number in (x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))):
            assert (float(number) <= threshold) == (float(number) <= rounded)


def test_a_weight_is_as_many_copies():
    """A reduction: whole weights are rows that stand there so often."""
    x, label, _ = examples(300)
    weight = np.random.default_rng(2).integers(0, 4, 300)
    copies = np.repeat(np.arange(300), weight)
    config = VIPERConfig(max_depth=3, ccp_alpha=0.0)
    one = _tree(x, label, weight.astype(float), config, 0)
    assert one == _tree(x[copies], label[copies], np.ones(len(copies)), config, 0)
    assert one != _tree(x, label, np.ones(300), config, 0)


def test_splits_whose_sides_choose_alike_are_no_splits():
    """Without them depth 1 is one leaf: two of three labels at each side are 0."""
    x = np.float32([[0], [0], [0], [1], [1], [1], [1], [1], [1]])
    label = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0])
    theirs = DecisionTreeClassifier(max_depth=1).fit(x, label)
    assert theirs.tree_.node_count == 3
    assert _tree(x, label, np.ones(9), VIPERConfig(max_depth=1, ccp_alpha=0.0), 0) == 0


# The algorithm


def test_labels_and_weights_are_the_teachers_at_the_states_that_were_visited():
    place = source()
    teacher = valued(place)
    viper = VIPER(place, teacher, SMALL)
    steps = SMALL.rollout * N
    drivers = []
    for round_ in range(SMALL.rounds):
        metrics = viper.step()
        here = slice(round_ * steps, (round_ + 1) * steps)
        obs = viper.x[:, here]
        assert torch.equal(viper.label[:, here], teacher.distribution(obs).mode)
        torch.testing.assert_close(viper.weight[:, here], value_gap(teacher.returns(obs).mean))
        drivers.append(metrics["agreement"])
    assert torch.equal(drivers[0], torch.ones(M))  # the teacher drove
    assert (torch.stack(drivers[1:]).min() < 1) and viper.weight.std() > 0
    assert viper.progress.finished and viper.progress.labels.tolist() == [SMALL.rounds * steps] * M


def test_the_next_round_is_driven_by_the_last_tree():
    viper = VIPER(source(), Middle(), SMALL)
    viper.step()
    before = [viper.last.root(m) for m in range(M)]
    seen = []
    collect = viper.source.collect
    viper.source.collect = lambda policy, steps: seen.append(collect(policy, steps)) or seen[-1]
    viper.step()
    (visited,) = seen
    alone = TreePolicy(Box((2,)), Discrete(3), M, SMALL.max_depth)
    for m, root in enumerate(before):
        alone.plant(m, root)
    assert torch.equal(fold(visited.action), alone.choose(fold(visited.obs)))


def test_a_table_at_temperature_zero_tells_its_values():
    """Its log-probabilities would say 30 or 0 alone."""
    place = source(Identity())
    q = torch.tensor([[[1.0, 0, 0], [0, 5, 0], [0, 0, 2]]])
    viper = VIPER(place, nets.TabularPolicy(q), SMALL)
    viper.step()
    assert set(viper.weight[:, : SMALL.rollout * N].unique().tolist()) == {1.0, 5.0, 2.0}
    assert viper.policy.distribution(torch.arange(3).expand(M, 3)).mode.tolist() == [[0, 1, 2]] * M


def test_states_that_do_not_matter_alone_matter_alike():
    place = source()
    flat = type("Flat", (Middle,), {"action_values": lambda self, obs: torch.zeros(*obs.shape[:-1], 3)})()
    viper = VIPER(place, flat, SMALL)
    assert viper.step()["loss"].isfinite().all()
    assert not viper.weight.any() and (viper.policy.nodes > 1).all()


def test_the_policy_is_the_tree_of_greatest_held_out_return_of_each_member():
    viper = VIPER(source(), valued(source()), VIPERConfig(rounds=8, rollout=6, max_depth=2, held_out=3))
    returns, roots = [], []
    while not viper.progress.finished:
        returns.append(viper.step()["held_out_return"].tolist())
        roots.append([viper.last.root(m) for m in range(M)])
    best = [max(range(8), key=lambda i: (returns[i][m], i)) for m in range(M)]
    assert [viper.policy.root(m) for m in range(M)] == [roots[i][m] for m, i in enumerate(best)]
    assert any(i < 7 for i in best)
    assert viper.policy.distribution(torch.randn(M, 5, 2)).mode.shape == (M, 5)


def test_a_member_is_what_it_would_be_alone(monkeypatch):
    together = VIPER(source(), Middle(), SMALL)
    returns = [together.step()["held_out_return"] for _ in range(SMALL.rounds)]
    for m in range(M):
        with monkeypatch.context() as patch:
            patch.setattr(rollout, "Stream", lambda *args, m=m: Sliced(Stream(*args), M, m))
            alone = VIPER(source(members=1), Middle(), SMALL)
            alone.seeds = Sliced(alone.seeds, M, m)
            for there in returns:
                assert torch.equal(alone.step()["held_out_return"][0], there[m])
        assert torch.equal(alone.x[0], together.x[m])
        assert alone.policy.root(0) == together.policy.root(m)


def test_a_tree_of_depth_four_balances_the_pole():
    place = imitate.make("CartPole-v1", num_envs=10, members=2, seed=0)
    viper = VIPER(place, imitate.teachers.load("control", place), VIPERConfig(rounds=5, rollout=50))
    while not viper.progress.finished:
        viper.step()
    assert imitate.evaluate(viper.policy, place, episodes=20).mean > 475


def test_a_teacher_with_a_memory_is_asked_along_the_episodes():
    place = source()
    teacher = nets.policy(place, (4,), gru=3, seed=9)
    viper = VIPER(place, teacher, SMALL)
    collect, seen = viper.source.collect, []
    viper.source.collect = lambda policy, steps: seen.append(collect(policy, steps)) or seen[-1]
    viper.step()
    (visited,) = seen
    told, _ = teacher.unroll(visited.obs, None, visited.starts)
    assert torch.equal(viper.label[:, : SMALL.rollout * N], fold(told.mode))
    assert torch.equal(visited.action, told.mode)  # it drove


def test_distillation_takes_the_weight_as_a_loss():
    place = source()
    config = PolicyDistillationConfig(steps=40, rollout=5, epochs=1, batch_size=20)
    student = nets.policy(place, (4,))
    metrics = PolicyDistillation(place, valued(place), student, config, loss=by_gap(forward_kl)).step()
    assert metrics["loss"].isfinite().all()


# Bad input


def test_what_does_not_fit_is_one_line(monkeypatch):
    with pytest.raises(ValueError, match=r"^action: the leaves of a tree are choices"):
        VIPER(source(Reach()), nets.policy(source(Reach())), SMALL)
    with pytest.raises(ValueError, match=r"^teacher: has 2 members, the source 3"):
        VIPER(source(), nets.policy(source(members=2)), SMALL)
    for options, message in [
        ({"max_depth": 0}, "^max_depth: must be in"),
        ({"max_depth": 65}, "^max_depth: must be in"),
        ({"ccp_alpha": -1.0}, "^ccp_alpha: must be at least 0"),
        ({"rounds": 0}, "^rounds: must be at least 1"),
        ({"held_out": 0}, "^held_out: must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            VIPERConfig(**options)
    with pytest.raises(ValueError, match=r"^rounds: 1,000,000,000,000 is too much"):
        VIPER(source(), Middle(), VIPERConfig(rounds=10**12))
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(ValueError, match=r"^scikit-learn: not installed.*pip install scikit-learn"):
        VIPER(source(), Middle(), SMALL)


def test_answers_that_are_no_choices_are_refused():
    odd = type("Odd", (Middle,), {"act": Middle().act, "distribution": lambda self, obs: Normal(obs, obs.exp())})()
    with pytest.raises(ValueError, match=r"^teacher: a Normal has no finitely many choices"):
        VIPER(source(), odd, SMALL).step()


def test_scikit_learn_is_imported_where_it_is_used():
    code = "\n".join(path.read_text("utf-8") for path in Path(imitate.__file__).parent.rglob("*.py"))
    assert "        from sklearn.tree import" in code
    assert not re.search(r"^(import|from) sklearn", code, re.MULTILINE)
