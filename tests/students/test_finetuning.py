"""Finetuning: what is kept, what the warm-up changes, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import imitate
from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.core.terms import Linear
from imitate.nets.layers import Population
from imitate.students import Distil, Finetuning, FinetuningConfig, finetune
from imitate.students.finetuning import soften
from tests.oracles import Reach, Walk, plain_mlp

M, N = 2, 4
SMALL = FinetuningConfig(steps=240, rollout=5, epochs=3, batch_size=10, hidden=(6,), lr=1e-2, warmup=40)


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def able(env=None, members=M, **options):
    """An actor that has seen something, with logits that are not small."""
    at = source(env, members)
    made = nets.policy(at, (8,), seed=7, **options)
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    made.observe(torch.randn(members, 30, 2) + 1)
    return made


def weights(module):
    return [value.clone() for value in module.state_dict().values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_it_begins_as_a_copy_of_the_policy(env):
    policy = able(env, normalise=True)
    before = weights(policy)
    made = finetune(policy, source(env), SMALL)
    assert same(weights(made.policy), before)
    for _ in range(4):
        made.step()
    assert same(weights(policy), before) and not same(weights(made.policy), before)


def test_one_member_begins_all():
    made = finetune(able(members=1), source(), SMALL)
    obs = torch.randn(M, 9, 2)
    alone = able(members=1).distribution(obs).logits
    torch.testing.assert_close(made.policy.distribution(obs).logits, alone, rtol=1e-5, atol=1e-6)  # other kernels
    while not made.progress.finished:
        made.step()
    first, second = (made.policy.member(m).head.linear.weight for m in range(M))
    assert not torch.equal(first, second)


def test_in_the_warm_up_the_critic_learns_alone():
    made = finetune(able(normalise=True), source(), SMALL)
    actor, critic = weights(made.policy), weights(made.rl.critic)
    for _ in range(2):
        assert (made.step()["clipped"] == 0).all()
    assert int(made.progress.steps) == SMALL.warmup
    assert same(weights(made.policy), actor) and not same(weights(made.rl.critic), critic)
    made.step()
    assert not same(weights(made.policy), actor)


def test_the_warm_up_is_a_regression_on_the_returns():
    """One step on a whole rollout against torch's Adam on the mean squared error, weighted by `value`."""
    config = replace(SMALL, epochs=1, batch_size=20, max_grad_norm=0.05)
    made = finetune(able(), source(), config)
    critics = [plain_mlp(made.rl.critic, m) for m in range(M)]
    prepared = []
    prepare = made.rl._prepare
    made.rl._prepare = lambda rollout: prepared.append(prepare(rollout)) or prepared[-1]
    made.step()
    batch, _ = prepared[0]
    for m, critic in enumerate(critics):
        optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2, eps=1e-5)
        (config.value * (critic(batch.obs[m]).squeeze(-1) - batch.target[m]).square().mean()).backward()
        torch.nn.utils.clip_grad_norm_(critic.parameters(), 0.05)
        optimizer.step()
        for mine, theirs in zip(plain_mlp(made.rl.critic, m).parameters(), critic.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)  # a step of 1e-2, in float32


def test_without_a_warm_up_it_is_ppo_from_there():
    made = finetune(able(), source(), replace(SMALL, warmup=0))
    plain = imitate.PPO(source(), replace(SMALL, warmup=0), policy=able())
    for _ in range(3):
        one, other = made.step(), plain.step()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert same(weights(made.policy), weights(plain.policy))


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_softened_actor_has_the_entropy_asked_for_and_the_same_modes(share):
    policy = able()
    with torch.no_grad():
        policy.head.linear.weight[0].mul_(100)  # the other is undecided: nothing to soften
    before = weights(policy)
    rollout = source().collect(policy, 50)
    obs = rollout.obs.transpose(0, 1).flatten(1, 2)
    modes, entropy = policy.distribution(obs).mode, policy.distribution(obs).entropy().mean(1)
    wanted = share * np.log(3)
    assert entropy[0] < wanted < entropy[1]
    soften(policy, rollout, share)
    assert torch.equal(policy.distribution(obs).mode, modes)
    after = policy.distribution(obs).entropy().mean(1)
    torch.testing.assert_close(after[0].item(), wanted, rtol=1e-5, atol=0)  # bisected to 2⁻²⁴
    assert all(torch.equal(old[1], new[1]) for old, new in zip(before, weights(policy), strict=True))


def test_what_is_softened_to_the_utmost_still_knows_its_choice():
    policy = able()
    rollout = source().collect(policy, 50)
    modes = policy.distribution(rollout.obs[0]).mode
    soften(policy, rollout, 1.0)
    assert torch.equal(policy.distribution(rollout.obs[0]).mode, modes)


def test_the_rollout_of_softening_counts():
    policy = able()
    with torch.no_grad():
        policy.head.linear.weight.mul_(100)
    made = finetune(policy, source(), replace(SMALL, soften=0.7))
    sharp = finetune(policy, source(), SMALL)
    assert (made.step()["entropy"] > sharp.step()["entropy"]).all()
    assert int(made.progress.steps) == 2 * int(sharp.progress.steps)
    with pytest.raises(ValueError, match="soften: only choices"):
        finetune(able(Reach()), source(Reach()), replace(SMALL, soften=0.7))


@pytest.mark.parametrize("learns", [False, True])
def test_statistics_of_observations_are_kept_unless_they_are_to_learn(learns):
    policy = able(normalise=True)
    made = finetune(policy, source(), replace(SMALL, normalise_obs=learns))
    for _ in range(4):
        made.step()
    mine, before = made.policy.body.normaliser, policy.body.normaliser
    assert torch.equal(mine.mean, before.mean) is not learns
    assert (mine.count - before.count).tolist() == [4 * 20.0 * learns] * M


def test_terms_join_the_loss():
    before = able()
    near = Finetuning(source(), before, SMALL, terms=[Distil(before, Linear(50.0, 50.0, steps=1))])
    free = Finetuning(source(), before, SMALL)
    obs = torch.randn(M, 50, 2)
    moved = []
    for one in (near, free):
        while not one.progress.finished:
            metrics = one.step()
        moved.append(before.distribution(obs).kl(one.policy.distribution(obs)).mean(1))
        assert ("distil_0" in metrics) is (one is near)
    assert (moved[0] < moved[1]).all()


def test_a_memory_is_copied_too():
    made = finetune(able(gru=3), source(), replace(SMALL, gru=3))
    for _ in range(3):
        assert made.step()["loss"].isfinite().all()


def test_from_a_folder_a_run_and_a_foreign_model(tmp_path):
    policy = able(normalise=True)
    policy.save(tmp_path / "saved")
    obs = torch.randn(M, 9, 2)
    made = finetune(tmp_path / "saved", source(), SMALL)
    assert torch.equal(made.policy.distribution(obs).logits, policy.distribution(obs).logits)
    assert made.policy.env == "Walk"

    at = imitate.make("CartPole-v1", num_envs=N, members=M)
    stable = pytest.importorskip("stable_baselines3")
    model = stable.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu", seed=0)
    model.save(tmp_path / "model.zip")
    obs = torch.randn(40, 4)
    for foreign in (model, tmp_path / "model.zip", str(tmp_path / "model.zip")):
        made = finetune(foreign, at, SMALL)
        ours = made.policy.predict(obs.numpy(), deterministic=True, member=1)[0]
        assert (ours == model.predict(obs.numpy(), deterministic=True)[0]).all()
    made.step()


def walled():
    policy = nets.policy(source(), build=lambda: torch.nn.Linear(2, 3))
    assert isinstance(policy.network, Population)
    return policy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: finetune(able(members=3), source(), SMALL), "policy: has 3 members, the source 2; one serves all"),
        (lambda: finetune(able(Reach()), source(), SMALL), r"policy: made for actions Box\(2,\), but Walk gives"),
        (lambda: finetune(walled(), source(), SMALL), "policy: a network of your own cannot be built again"),
        (lambda: finetune(imitate.DQN(source()).policy, source(), SMALL), "policy: a QNetwork is no actor"),
        (lambda: finetune(lambda obs: obs, source(), SMALL), "policy: a function is no actor"),
        (lambda: finetune(able(), source(), SMALL, vec_normalize="x.pkl"), "vec_normalize: only a model of Stable"),
        (lambda: FinetuningConfig(warmup=-1), "warmup: must be at least 0"),
        (lambda: FinetuningConfig(target_kl=0.0), "target_kl: must be positive"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^policy: there is no file or directory '.*none'"):
        finetune(tmp_path / "none", source(), SMALL)
