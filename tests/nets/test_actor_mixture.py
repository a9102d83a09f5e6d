"""Several actors of which one acts: a loop, the vote, rows of time, files. M members, N environments, K actors."""

import json

import pytest
import torch

import imitate
from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.nets import ActorMixture
from tests.oracles import Reach, Walk

M, N, K = 2, 5, 3


def mixture(env=None, rows=1, normalise=False):
    """K different actors of each member, and their populations, [K]."""
    place = TensorSource(env or Walk(), id="Walk", num_envs=N, members=M)
    each = [nets.policy(place, (6,), normalise=normalise, seed=seed) for seed in range(K)]
    made = ActorMixture.of(each[0], K, rows)
    for k, actor in enumerate(each):
        with torch.no_grad():
            actor.head.linear.weight.mul_(100)
        actor.observe(torch.randn(M, 50, 2) + k)
        made.put(k, actor)
    made.weights.copy_(torch.rand(M, rows, K))
    made.weights.div_(made.weights.sum(-1, keepdim=True))
    return made, each


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_the_uniform_says_whose_mode_it_is(env, normalise):
    made, each = mixture(env, normalise=normalise)
    obs, noise = torch.randn(M, N, 2), torch.rand(M, N, 1)
    action, memory, extras = made.act(obs, noise, made.memory(M, N))
    modes = [actor.act(obs, None, None)[0] for actor in each]
    assert memory is None
    seen = set()
    for m in range(M):
        for n in range(N):
            below = made.weights[m, 0].double().cumsum(0) <= float(noise[m, n, 0])
            k = int(below.sum())
            seen.add(k)
            assert int(extras["actor"][m, n]) == k
            torch.testing.assert_close(action[m, n], modes[k][m, n])
    assert len(seen) > 1


def test_without_noise_the_weight_behind_an_action_decides():
    made, each = mixture()
    made.weights.copy_(torch.tensor([0.4, 0.35, 0.25]).expand_as(made.weights))
    obs = torch.randn(M, 200, 2)
    action = made.act(obs, None, None)[0]
    votes = torch.zeros(M, 200, 3)
    for k, actor in enumerate(each):
        votes += made.weights[:, :, k, None] * torch.nn.functional.one_hot(actor.act(obs, None, None)[0], 3)
    assert torch.equal(action, votes.argmax(-1))
    heaviest = torch.stack([each[int(made.weights[m, 0].argmax())].act(obs, None, None)[0][m] for m in range(M)])
    assert not torch.equal(action, heaviest)  # two light ones may outvote it


def test_its_distribution_is_how_often_it_draws_each_choice():
    made, each = mixture()
    obs = torch.randn(M, 40, 2)
    found = made.distribution(obs).probs
    expected = sum(
        made.weights[:, :, k, None] * torch.nn.functional.one_hot(actor.act(obs, None, None)[0], 3)
        for k, actor in enumerate(each)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"^teacher: a mixture of actors has no density over Box"):
        mixture(Reach())[0].distribution(obs)


def test_in_a_box_the_heaviest_acts_without_noise():
    made, each = mixture(Reach())
    obs = torch.randn(M, N, 2)
    action = made.act(obs, None, None)[0]
    for m in range(M):
        expected = each[int(made.weights[m, 0].argmax())].act(obs, None, None)[0][m]
        torch.testing.assert_close(action[m], expected)


def test_rows_follow_the_step_of_the_episode_and_the_last_one_stays():
    made, each = mixture(rows=2)
    made.weights.copy_(torch.tensor([[0.0, 1, 0], [0, 0, 1]]).expand(M, 2, 3))
    obs, memory = torch.randn(M, N, 2), made.memory(M, N)
    for k in (1, 2, 2):
        action, memory, _ = made.act(obs, torch.rand(M, N, 1), memory)
        assert torch.equal(action, each[k].act(obs, None, None)[0])
    assert (memory == 3).all()


def test_what_is_put_is_taken():
    made, each = mixture(normalise=True)
    other = nets.policy(TensorSource(Walk(), id="Walk", num_envs=N, members=M), (6,), normalise=True, seed=9)
    made.take(1, other)
    for name, value in each[1].state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_a_saved_mixture_is_read_again_and_a_damaged_one_refused(tmp_path):
    made, _ = mixture(rows=4, normalise=True)
    made.save(tmp_path)
    read = imitate.load(tmp_path)
    assert isinstance(read, ActorMixture)
    assert (read.members, read.count, read.env) == (M, K, "Walk")
    obs, noise = torch.randn(M, N, 2), torch.rand(M, N, 1)
    memory = torch.randint(0, 6, (M, N))
    assert torch.equal(read.act(obs, noise, memory)[0], made.act(obs, noise, memory)[0])
    assert read.predict(obs[0, 0].numpy(), deterministic=True)[0].shape == ()
    made.weights[0, 0, 0] = -1
    made.save(tmp_path)
    with pytest.raises(ValueError, match=r"the weights do not fit policy\.json.*weights: each row holds probabilities"):
        imitate.load(tmp_path)
    made.weights.fill_(1 / K)
    made.save(tmp_path)
    path = tmp_path / "policy.json"
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**document, "members": M}), "utf-8")
    with pytest.raises(ValueError, match="do not fit"):
        imitate.load(tmp_path)


def test_what_is_no_mixture_is_refused():
    made, _ = mixture()
    with pytest.raises(ValueError, match=r"^weights: \[M, R, K\] with M·K = 6, not \(2, 3\)"):
        ActorMixture(made.actors, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"^weights: each row holds probabilities, of sum 1"):
        ActorMixture(made.actors, torch.ones(2, 1, 3))
    place = TensorSource(Walk(), id="Walk", num_envs=N, members=M)
    with pytest.raises(ValueError, match=r"^student: a mixture takes hidden layers of ours without a memory"):
        ActorMixture.of(nets.policy(place, (6,), gru=3), 2)
