import dataclasses
import math

import pytest
import torch

import imitate
from imitate.baselines import PPO, PPOConfig
from imitate.baselines.ppo import RewardScale
from imitate.core import checkpoint, rollout, tree
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.types import Rollout, Stateful
from imitate.nets import policy as make_policy
from imitate.policies import Greedy
from tests import oracles
from tests.oracles import Bandit, Identity, Reach, Recorded, Sliced, Walk, snapshot, unsaved_changes
from tests.resumed import assert_resumes

SMALL = PPOConfig(steps=480, rollout=8, epochs=3, batch_size=16, hidden=(8,), entropy=0.01)
FULL = dataclasses.replace(SMALL, normalise_obs=True, normalise_reward=True, anneal_lr=True, anneal_clip=True)


def ppo(env=None, config=SMALL, members=1, num_envs=4, seed=0, **kwargs):
    env = env or Walk()
    source = TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)
    return PPO(source, config, **kwargs)


def flat(algorithm, member=0):
    return algorithm.learner.flat[member]


def everything(algorithm):
    return dict(tree.flatten(checkpoint.state_of(algorithm)))


def equal(a, b):
    a, b = everything(a), everything(b)
    return a.keys() == b.keys() and all(torch.equal(a[path], b[path]) for path in a)


# Against a textbook


@pytest.mark.parametrize("env", [Walk(), Reach()])
@pytest.mark.parametrize(
    "config",
    [SMALL, FULL, dataclasses.replace(SMALL, gamma=0.8, lam=0.5, clip=0.02, max_grad_norm=0.05, value=2.0, lr=3e-3)],
)
def test_ppo_is_the_textbooks(env, config, monkeypatch):
    """Three iterations on the same rollouts and permutations: every loss, and all parameters."""
    mine = ppo(env, config)
    actor, critic = oracles.plain_mlp(mine.policy, 0), oracles.plain_mlp(mine.critic, 0)
    log_std, box = (torch.nn.Parameter(torch.zeros(2)), env.action) if isinstance(env, Reach) else (None, None)
    textbook = oracles.PPO(actor, critic, log_std, config, num_envs=4, box=box)
    mine.shuffle = Recorded(mine.shuffle)
    seen, losses = [], []
    collect, learner = mine.source.collect, mine.learner
    monkeypatch.setattr(mine.source, "collect", lambda *a: seen.append(collect(*a)) or seen[-1])

    class Watched:
        lr = learner.lr

        def __call__(self, batch):
            metrics = learner(batch)
            losses.append(metrics["loss"].mean().item())
            return metrics

    mine.learner = Watched()
    ends = 0
    for _ in range(3):
        losses.clear(), mine.shuffle.handed.clear()
        mine.step()
        rows = {
            n: getattr(seen[-1], n)[:, 0] for n in ("obs", "action", "reward", "next_obs", "terminated", "truncated")
        }
        orders = [keys[0].argsort() for keys in mine.shuffle.handed]
        assert len(orders) == config.epochs
        expected = textbook.iteration(rows, orders)
        assert losses == pytest.approx(expected, rel=1e-3, abs=2e-4)
        ends += int(seen[-1].done.sum())
    assert ends > 5
    for plain, population in ((actor, mine.policy), (critic, mine.critic)):
        for a, b in zip(plain.parameters(), oracles.plain_mlp(population, 0).parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
    if log_std is not None:
        torch.testing.assert_close(log_std, mine.policy.head.log_std[0, 0], rtol=1e-3, atol=1e-4)
    assert not torch.equal(actor[0].weight, oracles.plain_mlp(ppo(env, config).policy, 0)[0].weight)


def test_before_the_first_update_the_ratio_is_one():
    """So the first loss is the mean of standardised advantages, which is zero, and nothing is clipped."""
    config = dataclasses.replace(FULL, epochs=1, batch_size=32, value=0.0, entropy=0.0)
    for env in (Walk(), Reach()):
        for squash in {False, isinstance(env, Reach)}:
            mine = ppo(env, dataclasses.replace(config, squash=squash))
            for _ in range(2):
                metrics = mine.step()
                torch.testing.assert_close(metrics["loss"], torch.zeros(1), atol=1e-5, rtol=0)
                torch.testing.assert_close(metrics["kl"], torch.zeros(1), atol=1e-5, rtol=0)
                assert metrics["clipped"].item() == 0


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 0.0), (1e3, 0.0), (1.0, 5.0)])
def test_advantages_are_standardised_whatever_their_size(scale, shift):
    mine = ppo(members=2)
    batch, _ = mine._prepare(mine.source.collect(mine.policy, 8))
    batch = dataclasses.replace(batch, advantage=scale * batch.advantage + shift)
    parts = mine._minibatches(batch)
    assert len(parts) * mine.config.batch_size == batch.advantage.shape[1]
    for part in parts:
        torch.testing.assert_close(part.advantage.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
        torch.testing.assert_close(part.advantage.std(1), torch.ones(2), rtol=1e-3, atol=0)


def test_minibatches_are_a_permutation_of_each_member():
    mine = ppo(members=3)
    batch, _ = mine._prepare(mine.source.collect(mine.policy, 8))
    orders = []
    for _ in range(2):
        target = torch.cat([part.target for part in mine._minibatches(batch)], 1)
        obs = torch.cat([part.obs for part in mine._minibatches(batch)], 1)
        torch.testing.assert_close(target.sort(1).values, batch.target.sort(1).values, rtol=0, atol=0)
        torch.testing.assert_close(obs.sum(1), batch.obs.sum(1))
        orders.append(target)
    assert not torch.equal(*orders)


@pytest.mark.parametrize("gru", [0, 4])
def test_a_squashed_policy_learns_from_its_draws(gru):
    """Of an action on a bound alone nobody can say how likely it was: by its draw the ratio is exact."""
    config = dataclasses.replace(SMALL, squash=True, gru=gru, hidden=(8,))
    mine = ppo(Reach(), config=config)

    def set_(*outputs):  # loc and log scale: nearly all draws are squashed to a bound
        with torch.no_grad():
            mine.policy.head.linear.bias.copy_(torch.tensor(outputs))

    def before_the_tanh():
        said, _ = mine._evaluate(batch)
        return torch.distributions.Normal(said.loc.double(), said.scale.double()).log_prob(batch.draw.double()).sum(-1)

    set_(9.0, 9.0, 2.0, 2.0)
    rollout = mine.source.collect(mine.policy, config.rollout)
    assert (rollout.action == rollout.action.amax((0, 1, 2))).float().mean() > 0.3
    batch, _ = mine._prepare(rollout)
    then = before_the_tanh()
    set_(8.0, 8.0, 1.5, 1.5)
    now, metrics = before_the_tanh(), mine._loss(batch)[1]
    torch.testing.assert_close(metrics["log_ratio"].double(), now - then, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("entropy", [0.0, 0.02])
def test_the_gradient_written_out_is_that_of_autograd(activation, entropy):
    config = dataclasses.replace(SMALL, activation=activation, entropy=entropy, hidden=(16, 8))
    mine = ppo(members=3, config=config)
    mine.step()
    batch, _ = mine._prepare(mine.source.collect(mine.policy, 8))
    part = mine._minibatches(batch)[0]
    with torch.no_grad():
        mine.policy.head.linear.bias.copy_(torch.tensor([0.9, 0.0, -0.9]))  # some ratios beyond the clip
    loss, metrics = mine._loss(part)
    expected = torch.autograd.grad(loss.sum(), mine.learner.parameters)
    with torch.no_grad():
        other, others, found = mine._gradient(part)
    assert mine._measure([dict(others)])["clipped"].min() > 0.05
    torch.testing.assert_close(other.mean(1), loss.detach(), rtol=1e-4, atol=1e-6)
    for mine_, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine_, theirs, rtol=1e-4, atol=1e-6)
    for name, value in metrics.items():
        torch.testing.assert_close(others[name], value, rtol=1e-4, atol=1e-6)


def test_other_networks_and_actions_go_by_autograd():
    def written(one):
        batch, _ = one._prepare(one.source.collect(one.policy, 8))
        with torch.no_grad():
            return one._gradient(one._minibatches(batch)[0]) is not None

    assert written(ppo())
    assert not written(ppo(config=dataclasses.replace(SMALL, activation="elu")))
    assert not written(ppo(Reach()))
    given = ppo().policy  # its activation is fused, that of the critic beside it is not
    mixed = ppo(config=dataclasses.replace(SMALL, activation="elu"), policy=given)
    assert not written(mixed)
    given = ppo().policy
    given.body.layers[0].weight.requires_grad_(False)
    frozen = ppo(policy=given)
    assert not written(frozen)
    before = given.body.layers[0].weight.clone()
    for one in (mixed, frozen):
        assert one.step()["loss"].isfinite().all()
    assert torch.equal(given.body.layers[0].weight, before)


def test_metrics_are_of_each_member_and_finite():
    metrics = ppo(members=3).step()
    assert {"loss", "grad_norm", "entropy", "kl", "clipped", "value_error", "explained_variance", "reward"} <= set(
        metrics
    )
    for value in metrics.values():
        assert value.shape == (3,)
        assert value.isfinite().all()
    assert (metrics["entropy"] <= math.log(3) + 1e-5).all()


def test_a_time_limit_is_not_an_end():
    """Reward 1 for ever is worth 1/(1 − γ), though every episode is cut after 3 steps."""

    @dataclasses.dataclass(frozen=True)
    class Forever(Identity):
        max_steps: int = 3

        def step(self, state, action, noise):
            state, reward, ended = super().step(state, action, noise)
            return state, torch.ones_like(reward), ended

    config = PPOConfig(steps=10**6, rollout=12, epochs=10, batch_size=48, gamma=0.8, lr=0.02, hidden=(8,), value=1.0)
    mine = ppo(Forever(), config)
    for _ in range(15):
        mine.step()
    values = mine.critic(torch.eye(3).unsqueeze(0))
    torch.testing.assert_close(values, torch.full_like(values, 5.0), rtol=0.05, atol=0)


# Members


def slices(monkeypatch, members, member):
    """From here on, sources of one member get the noise that belongs to `member` of a run of `members`."""
    monkeypatch.setattr(rollout, "Stream", lambda *args: Sliced(Stream(*args), members, member))


@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_members_are_single_runs_on_the_same_noise(env, monkeypatch):
    """20 updates, with numbers of their own for each member."""
    members = 3
    own = {
        "lr": (1e-3, 3e-4, 3e-3),
        "gamma": (0.9, 0.99, 0.5),
        "lam": (0.95, 0.0, 1.0),
        "clip": (0.2, 0.02, 0.4),
        "entropy": (0.0, 0.01, 0.1),
        "value": (0.5, 2.0, 0.1),
    }
    base = dataclasses.replace(FULL, epochs=5, batch_size=16)
    together = ppo(env, dataclasses.replace(base, **own), members)
    weights = {name: value.clone() for name, value in together.critic.state_dict().items()}
    policies = [together.policy.member(m) for m in range(members)]
    for _ in range(2):
        together.step()
    for m in range(members):
        with monkeypatch.context() as patch:
            slices(patch, members, m)
            alone = ppo(env, dataclasses.replace(base, **{n: v[m] for n, v in own.items()}), policy=policies[m])
            alone.critic.load_state_dict({name: value[m : m + 1] for name, value in weights.items()})
            alone.shuffle = Sliced(Stream(0, "shuffle"), members, m)
            for _ in range(2):
                alone.step()
        assert alone.learner.count == 20
        torch.testing.assert_close(flat(alone), flat(together, m), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.policy.body.normaliser.var[0], together.policy.body.normaliser.var[m])
        torch.testing.assert_close(alone.reward_scale.so_far[0], together.reward_scale.so_far[m])


def test_members_of_a_run_differ():
    mine = ppo(members=3)
    mine.step()
    assert not torch.equal(flat(mine, 0), flat(mine, 1))
    state = mine.source.carry.obs
    assert not torch.equal(state[0], state[1])


# Learning


def test_identity_is_learnt():
    config = PPOConfig(steps=8_000, rollout=32, epochs=5, batch_size=64, lr=1e-2, hidden=(16,), gamma=0.5)
    mine = ppo(Identity(), config, members=3, num_envs=8)
    random = mine.source.play(mine.policy, 20, seed=1).mean(1)
    assert (random < 6).all()
    while not mine.progress.finished:
        mine.step()
    assert (mine.source.play(Greedy(mine.policy), 20, seed=1) == 10).all()


def test_a_bandit_is_learnt():
    config = PPOConfig(steps=4_000, rollout=16, epochs=4, batch_size=64, lr=1e-2, hidden=(4,))
    mine = ppo(Bandit(), config, members=4, num_envs=16)
    while not mine.progress.finished:
        metrics = mine.step()
    assert (mine.policy.distribution(torch.zeros(4, 1, 1)).probs[..., 1] > 0.9).all()
    assert (metrics["reward"] > 0.6).all()


@pytest.mark.parametrize("squash", [False, True])
def test_a_continuous_task_is_learnt(squash):
    config = PPOConfig(
        steps=8_000,
        rollout=20,
        epochs=4,
        batch_size=160,
        lr=2e-2,
        hidden=(16,),
        squash=squash,
        normalise_reward=True,
        gamma=0.5,
    )
    mine = ppo(Reach(max_steps=10), config, members=2, num_envs=16)
    before = mine.source.play(Greedy(mine.policy), 50, seed=1).mean(1)
    while not mine.progress.finished:
        mine.step()
    after = mine.source.play(Greedy(mine.policy), 50, seed=1).mean(1)
    assert (after > -1.0).all()
    assert (before < -5).all()


# The same run again, and the same run later


@pytest.mark.parametrize("config", [SMALL, FULL])
def test_two_runs_are_equal_bit_for_bit(config):
    one, two, other = (
        ppo(config=config, members=2),
        ppo(config=config, members=2),
        ppo(config=config, members=2, seed=1),
    )
    torch.manual_seed(5)  # of no account
    for _ in range(3):
        a, b = one.step(), two.step()
        torch.rand(1)
        other.step()
    assert equal(one, two)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(flat(one), flat(other))


OPTIONS = {
    "all": (Walk, FULL),
    "plain": (Walk, SMALL),
    "squashed": (Reach, dataclasses.replace(FULL, squash=True)),
    "gaussian": (Reach, FULL),
    "one-hot": (Identity, dataclasses.replace(FULL, normalise_obs=False)),
    "stateless": (Bandit, FULL),
    "tuples": (Walk, dataclasses.replace(FULL, lr=(1e-3, 1e-2), gamma=(0.9, 0.99))),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_a_resumed_run_is_the_uninterrupted_one(options, tmp_path):
    env, config = OPTIONS[options]
    assert_resumes(lambda seed: ppo(env(), config, members=2, seed=seed), tmp_path, iterations=6, at=3)


@pytest.mark.parametrize("options", OPTIONS)
def test_whatever_changes_is_saved(options):
    env, config = OPTIONS[options]
    mine = ppo(env(), config, members=2)
    mine.step()
    before = snapshot(mine)
    mine.step()
    scheduled = {"PPO.hyper.epsilon", "PPO.learner.lr"}  # set anew in each step, from the steps so far
    assert set(unsaved_changes(mine, before, checkpoint.state_of(mine))) <= scheduled


def test_a_counter_in_the_algorithm_would_be_noticed():
    mine = ppo()
    step = mine.step

    def counting():
        mine.calls = getattr(mine, "calls", 0) + 1
        return step()

    counting()
    before = snapshot(mine)
    counting()
    assert unsaved_changes(mine, before, checkpoint.state_of(mine)) == ["PPO.calls"]


def test_a_checkpoint_of_other_options_is_refused():
    with pytest.raises(ValueError, match="reward_scale"):
        checkpoint.load_state(ppo(config=SMALL), checkpoint.state_of(ppo(config=FULL)))
    with pytest.raises(ValueError, match="reward_scale does not fit"):
        checkpoint.load_state(
            ppo(config=FULL), checkpoint.state_of(ppo(config=dataclasses.replace(FULL, normalise_reward=False)))
        )
    with pytest.raises(ValueError, match=r"does not fit this run|this run needs"):
        checkpoint.load_state(ppo(members=2), checkpoint.state_of(ppo(members=3)))


# Schedules, options, bad input


def test_schedules_follow_the_steps():
    mine = ppo(config=dataclasses.replace(FULL, steps=320, lr=(1e-3, 1e-2), clip=0.4), members=2)
    for i in range(12):
        mine.step()
        left = max(0.0, 1 - i * 32 / 320)
        torch.testing.assert_close(mine.learner.lr, torch.tensor([1e-3, 1e-2]) * left)
        torch.testing.assert_close(mine.hyper.epsilon, torch.full((2, 1), 0.4 * left))
        assert mine.progress.finished == (i >= 9)


def test_without_annealing_the_numbers_stay():
    mine = ppo(members=2)
    for _ in range(3):
        mine.step()
    assert mine.learner.lr.tolist() == pytest.approx([3e-4] * 2)
    assert mine.hyper.epsilon.flatten().tolist() == pytest.approx([0.2] * 2)


def test_a_given_policy_is_trained_itself():
    source = TensorSource(Walk(), id="Walk", num_envs=4, members=2)
    cloned = make_policy(source, (5,), seed=9, normalise=True)
    before = cloned.distribution(torch.ones(2, 3, 2)).logits.clone()
    mine = PPO(source, SMALL, policy=cloned)
    assert mine.policy is cloned
    mine.step()
    assert not torch.equal(cloned.distribution(torch.ones(2, 3, 2)).logits, before)
    assert cloned.body.normaliser.count.tolist() == [32, 32]


def test_statistics_count_every_frame_once_and_only_after_they_were_used():
    mine = ppo(config=FULL)
    mine.step()
    seen = mine.source.collect(mine.policy, 8)
    again = ppo(config=FULL)
    again.step()
    assert again.policy.body.normaliser.count.tolist() == [32]
    again.step()
    assert again.policy.body.normaliser.count.tolist() == [64]
    assert again.reward_scale.statistics.count.tolist() == [64]
    assert seen.obs.shape == (8, 1, 4, 2)


def test_reward_scale_is_vecnormalize_over_rollouts():
    mine = ppo(config=FULL, members=2)
    scale = RewardScale(mine.source, torch.full((2, 1), 0.9))
    assert isinstance(scale, Stateful)
    returns, running = [], torch.zeros(2, 4)
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        reward = torch.randn(5, 2, 4, generator=generator) * torch.tensor([1.0, 100.0]).reshape(2, 1)
        starts = torch.rand(5, 2, 4, generator=generator) < 0.3
        for t in range(5):
            running = 0.9 * running * ~starts[t] + reward[t]
            returns.append(running)
        nothing = torch.zeros_like(starts)
        found = scale(Rollout(reward, reward, reward, reward, nothing, nothing, starts=starts))
        std = torch.stack(returns).transpose(0, 1).flatten(1).std(1, correction=0)
        torch.testing.assert_close(found, (reward / std.reshape(2, 1)).clamp(-10, 10), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gru", [0, 4])
def test_a_resume_in_new_episodes_joins_no_two_of_them(gru):
    """Gymnasium's environments begin anew: returns under way and memories are those of the new episodes alone."""
    config = dataclasses.replace(FULL, gru=gru, normalise_obs=False)

    def fresh():
        return PPO(imitate.make("CartPole-v1", num_envs=4, members=2, native=False), config)

    first = fresh()
    first.step()
    state = checkpoint.state_of(first)
    assert first.reward_scale.so_far.abs().min() > 0  # an episode was under way everywhere
    resumed, cut = fresh(), fresh()
    for one in (resumed, cut):
        checkpoint.load_state(one, tree.map(torch.clone, state))
    cut.reward_scale.so_far.zero_()
    if gru:
        assert cut.critic_memory.tree.any()
        cut.critic_memory.tree = torch.zeros_like(cut.critic_memory.tree)
    for _ in range(2):
        resumed.step()
        cut.step()
    assert equal(resumed, cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 15}, "batch_size: 15 does not divide rollout·num_envs = 32"),
        ({"batch_size": 64}, "batch_size: 64 does not divide"),
        ({"batch_size": 1}, "batch_size: at least 2"),
        ({"batch_size": 0}, "batch_size: must be at least 1, not 0"),
        ({"rollout": 0}, "rollout: must be at least 1, not 0"),
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"lr": (1e-3, 1e-3, 1e-3)}, "lr: 3 values for 2 members"),
        ({"gamma": (0.9,)}, "gamma: 1 values for 2 members"),
        ({"clip": (0.1, 0.2, 0.3)}, "clip: 3 values"),
        ({"squash": True}, "squash"),
        ({"activation": "sigmoid"}, "activation"),
    ],
)
def test_bad_numbers_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        ppo(config=dataclasses.replace(SMALL, **change), members=2)


def test_a_policy_of_other_members_is_refused():
    other = ppo(members=3).policy
    with pytest.raises(ValueError, match="policy: has 3 members, the source 2"):
        ppo(members=2, policy=other)


def test_normalising_what_is_one_hot_is_refused():
    with pytest.raises(ValueError, match="normalise"):
        ppo(Identity(), FULL)


# The bound on the divergence


def test_a_member_that_has_come_too_far_takes_no_more_steps_on_a_rollout():
    """On a whole rollout at once the first estimate is 0 and the second is not: two steps of three are taken."""
    whole = dataclasses.replace(SMALL, batch_size=32, epochs=3)
    bound = ppo(config=dataclasses.replace(whole, target_kl=1e-30), members=2)
    two = ppo(config=dataclasses.replace(whole, epochs=2), members=2)
    three, loose = ppo(config=whole, members=2), ppo(config=dataclasses.replace(whole, target_kl=1e9), members=2)
    for one in (bound, two, three, loose):
        one.step()
    assert torch.equal(bound.learner.flat, two.learner.flat)
    assert torch.equal(loose.learner.flat, three.learner.flat)
    assert not torch.equal(two.learner.flat, three.learner.flat)
    assert bound.learner.lr.tolist() == [0.0, 0.0]
    bound.step()  # on the next rollout it learns again
    assert not torch.equal(bound.learner.flat, two.learner.flat)


def test_the_bound_is_each_members_own():
    """A member that stands still is not stopped, one that runs away is."""
    config = dataclasses.replace(SMALL, lr=(1e-6, 1e-1), target_kl=0.01)
    mine = ppo(config=config, members=2)
    mine.step()
    assert mine.learner.lr.tolist() == pytest.approx([1e-6, 0.0])


@pytest.mark.parametrize(("brought", "told", "learns"), [(0, False, True), (5, False, False), (5, True, True)])
def test_statistics_that_a_policy_brings_learn_only_where_they_are_told_to(brought, told, learns):
    at = ppo(members=1).source
    given = make_policy(at, (8,), normalise=True)
    if brought:
        given.observe(torch.randn(1, brought, 2))
    PPO(at, dataclasses.replace(SMALL, normalise_obs=told), policy=given).step()
    assert given.body.normaliser.count.tolist() == [brought + 32.0 * learns]
