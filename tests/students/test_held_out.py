"""What is held out: whole episodes, on one side for good. Letters: M members, B batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, decide
from imitate.students import BehaviourCloning, BehaviourCloningConfig, DAgger, DAggerConfig, Demonstrations, demonstrate
from imitate.students.held_out import Split
from tests.oracles import Walk


class Right:
    """A teacher for `Walk`."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return Categorical.certain((obs[..., 0] < 0).long() * 2, 3)

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


def source(members=3, num_envs=4, seed=0):
    return TensorSource(Walk(), id="Walk", num_envs=num_envs, members=members, seed=seed)


def split(members, share, seed=0):
    data, held = (Dataset(members, 10_000, Stream(seed, name)) for name in ("shuffle", "held-out"))
    return Split(data, held, share)


def numbered(mask):
    """Examples whose label is their place."""
    number = torch.arange(mask.shape[1]).repeat(len(mask), 1)
    return Examples(number.unsqueeze(-1).float(), number)


def places(dataset, m):
    """Labels of a member."""
    examples, valid = dataset.all()
    return sorted(examples.action[m, valid[m]].tolist())


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("parts", [1, 3])
def test_an_episode_is_on_one_side(share, parts):
    """Every labelled step is in one of the two sets and no other is in either, whatever comes first or later."""
    generator = torch.Generator().manual_seed(0)
    counts, size = (12, 7, 3, 2), 200
    episode = torch.stack([torch.randint(0, e, (size,), generator=generator).sort().values for e in counts])
    mask = torch.rand(4, size, generator=generator) < torch.tensor([[0.5], [0.7], [0.9], [1.0]])
    one = split(4, share)
    examples, trained = numbered(mask), []
    for part in range(parts):
        here = slice(part * size // parts, (part + 1) * size // parts)
        some = Examples(examples.obs[:, here], examples.action[:, here])
        trained.append(one.add(some, mask[:, here], episode[:, here]))
    assert not one.by_steps
    for m, e in enumerate(counts):
        sets = [places(data, m) for data in (one.data, one.held_out)]
        assert sorted(sets[0] + sets[1]) == mask[m].nonzero().flatten().tolist()
        assert torch.cat(trained, 1)[m].nonzero().flatten().tolist() == sets[0]
        sides = [set(episode[m, which].tolist()) for which in sets]
        if parts == 1:
            assert not sides[0] & sides[1]
            assert len(sides[1]) == min(int(np.ceil(round(share * e, 6))), e - 1)
        else:  # but for the one whose steps were split while there was no other
            assert len(sides[0] & sides[1]) <= 1
        assert min(len(side) for side in sides) >= 1


def test_an_episode_stays_where_it_is_when_it_goes_on():
    one, mask = split(2, 0.5), torch.ones(2, 4, dtype=torch.bool)
    episode = torch.tensor([0, 1, 2, 3]).repeat(2, 1)
    first = one.add(numbered(mask), mask, episode)
    assert first.sum(1).tolist() == [2, 2]
    assert torch.equal(one.add(numbered(mask), mask, episode), first)
    later = one.add(numbered(mask), mask, episode + 2)  # two of them are new
    assert torch.equal(later[:, :2], first[:, 2:])
    assert later[:, 2:].sum(1).tolist() == [1, 1]  # ⌈.5·6⌉ = 3 of six


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_steps_of_a_single_episode_are_held_out_until_there_is_a_second(share):
    one, mask = split(2, share), torch.ones(2, 20, dtype=torch.bool)
    mask[1, 7:] = False
    zero = torch.zeros(2, 20, dtype=torch.int64)
    one.add(numbered(mask), mask, zero)
    assert one.by_steps
    for m, count in enumerate((20, 7)):
        assert len(places(one.held_out, m)) == min(int(np.ceil(round(share * count, 6))), count - 1)
        assert sorted(places(one.held_out, m) + places(one.data, m)) == list(range(count))
    before = one.held_out.size.clone()
    trained = one.add(numbered(mask), mask, zero + 1)
    assert not trained.any()
    assert torch.equal(one.held_out.size, before + mask.sum(1))
    assert not one.by_steps


def test_which_are_held_out_is_random_and_of_each_member():
    one, mask = split(500, 0.25), torch.ones(500, 40, dtype=torch.bool)
    episode = torch.arange(20).repeat_interleave(torch.tensor([1, 3] * 10)).repeat(500, 1)
    one.add(numbered(mask), mask, episode)
    held = episode.gather(1, one.held_out.all()[0].action)[one.held_out.all()[1]]
    counts = torch.bincount(held, minlength=20).double() / torch.tensor([1.0, 3.0] * 10)
    assert (counts - 125).abs().max() < 4 * (500 * 0.25 * 0.75) ** 0.5  # long and short ones alike


def observations(dataset, m):
    examples, valid = dataset.all()
    return {tuple(row) for row in examples.obs[m, valid[m]].tolist()}


@pytest.mark.parametrize("thin", [1, 2])
def test_cloning_holds_out_episodes_of_a_teacher_of_arrays_and_of_files(thin, tmp_path):
    place = source(num_envs=1)
    played = demonstrate(source(num_envs=5, seed=1), Right(), 10).thinned(thin)
    played.save(tmp_path / "steps.npz", place)
    for data in (played, Demonstrations.from_npz(tmp_path / "steps.npz", place)):
        bc = BehaviourCloning(place, data, nets.policy(place, (4,)), BehaviourCloningConfig(validation=0.3))
        assert bc.notes == ()
        assert torch.equal(bc.data.size + bc.held_out.size, data.labels)
        for m in range(3):
            held, kept = observations(bc.held_out, m), observations(bc.data, m)
            for e in range(10):
                steps = data.examples.obs[m, data.mask[m] & (data.episode[m] == e)].tolist()
                sides = {tuple(step) in held for step in steps}
                assert sides in ({True}, {False})
            assert not held & kept


def test_a_single_episode_is_said():
    place = source()
    whole = demonstrate(source(num_envs=2, seed=1), Right(), 2)
    student = nets.policy(place, (4,))
    few, all_ = whole.first(1), BehaviourCloningConfig(validation=0.0)
    assert "single episode" in BehaviourCloning(place, few, student).notes[0]
    assert BehaviourCloning(place, whole, student).notes == ()
    assert BehaviourCloning(place, few, student, all_).notes == ()
    alone = replace(whole, mask=whole.mask & (whole.episode < torch.tensor([[2], [2], [1]])))  # of one member
    assert BehaviourCloning(place, alone, student).notes != ()
    without = Demonstrations.from_arrays(np.zeros((9, 2)), np.zeros(9, int), place)
    ended = Demonstrations.from_arrays(np.zeros((9, 2)), np.zeros(9, int), place, done=np.arange(9) % 3 == 2)
    assert BehaviourCloning(place, without, student).notes != ()
    assert BehaviourCloning(place, ended, student).notes == ()
    assert DAgger(place, Right(), student, demonstrations=few).notes != ()
    assert DAgger(place, Right(), student).notes == ()
    assert DAgger(source(num_envs=1), Right(), student).notes != ()


@pytest.mark.parametrize("num_envs", [1, 4])
def test_an_episode_that_spans_rounds_is_on_one_side(num_envs):
    place, seen = source(num_envs=num_envs), []
    collect = place.collect
    place.collect = lambda *given: seen.append(collect(*given).clone()) or seen[-1]
    shown = demonstrate(source(num_envs=3, seed=1), Right(), 3)  # so that no episode is ever alone
    config = DAggerConfig(rounds=5, rollout=5, updates=1, validation=0.3)
    dagger = DAgger(place, Right(), nets.policy(place, (4,)), config, demonstrations=shown)
    while not dagger.progress.finished:
        dagger.step()
    whole = torch.cat([one.obs for one in seen]), torch.cat([one.starts for one in seen])
    for m in range(3):
        held, kept = observations(dagger.held_out, m), observations(dagger.data, m)
        assert not held & kept
        for n in range(num_envs):
            episode, obs = whole[1][:, m, n].cumsum(0), whole[0][:, m, n].tolist()
            assert int(episode.max()) > 3
            for e in episode.unique():
                sides = {tuple(obs[t]) in held for t in (episode == e).nonzero().flatten().tolist()}
                assert len(sides) == 1
        share = int(dagger.held_out.size[m]) / int(dagger.progress.labels[m])
        assert 0.1 < share < 0.6
