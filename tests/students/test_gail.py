"""GAIL: the discriminator's loss and reward against a loop, its pieces, resume, bad input, and that it imitates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from imitate.baselines.ppo import PPOConfig
from imitate.core.replay import Examples
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.core.types import fold
from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.losses.adversarial import log_odds, negative, positive
from imitate.rewards import DiscriminatorConfig
from imitate.rewards.discriminator import Discriminator, _Pair
from imitate.students import GAIL, GAILConfig
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from tests.oracles import Identity, Reach, Walk
from tests.resumed import assert_resumes

M, N = 2, 4


def source(env=None, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=seed)


def shown(place, count=30):
    """Teachers: of `Walk` and `Reach` one that goes to the middle, of `Identity` one that names the state."""
    rng = np.random.default_rng(0)
    if isinstance(place.spec.observation, Discrete):
        obs = rng.integers(place.spec.observation.n, size=count)
        return Demonstrations.from_arrays(obs, obs, place)
    obs = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    if isinstance(place.spec.action, Discrete):
        return Demonstrations.from_arrays(obs, 1 - np.sign(obs[:, 0]).astype(int), place)
    return Demonstrations.from_arrays(obs, np.clip(-2 * obs, [-1, -0.5], [1, 0.25]).astype(np.float32), place)


def gail(seed=0, env=None, ppo=None, **discriminator):
    place = source(env, seed)
    options = {"steps": 400, "rollout": 5, "epochs": 2, "batch_size": 10, "hidden": (6,)} | (ppo or {})
    own = {"hidden": (5,), "batch_size": 8, "updates": 3, "lr": 1e-2} | discriminator
    return GAIL(place, shown(place), GAILConfig(PPOConfig(**options), DiscriminatorConfig(**own)))


# The discriminator


def logit(model, m, obs, action):
    """One logit in float64: of an observation and a one-hot choice, or an action in half ranges from the centre."""
    if isinstance(model.action, Discrete):
        action = np.eye(model.action.n)[int(action)]
    else:
        low, high = np.asarray(model.action.low), np.asarray(model.action.high)
        action = (np.clip(action, low, high) - (low + high) / 2) / ((high - low) / 2)
    x = np.concatenate([obs, action])
    for layer in model.network.body.layers:
        x = np.tanh(x @ layer.weight[m].detach().double().numpy() + layer.bias[m, 0].detach().double().numpy())
    last = model.network.value
    return float(x @ last.weight[m].detach().double().numpy()[:, 0] + float(last.bias[m, 0, 0].detach()))


def model_of(env=None):
    place = source(env)
    model = Discriminator(place.spec, shown(place), DiscriminatorConfig(hidden=(5,), batch_size=8, updates=3))
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return place, model


class Wide:
    """Draws actions far beyond the bounds."""

    noise = 2

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return 6 * noise - 3, None, {}


class Coin:
    noise = 1

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return (3 * noise[..., 0]).long(), None, {}


@pytest.mark.parametrize(("env", "driver"), [(Walk(), Coin()), (Reach(), Wide())])
def test_rewards_are_those_of_a_loop(env, driver):
    """−log(1 − D), of what the environment received: the part of an action beyond the bounds tells nothing."""
    place, model = model_of(env)
    rollout = place.collect(driver, 6)
    reward = model(rollout)
    assert reward.shape == (6, M, N)
    for t in range(6):
        for m in range(M):
            for n in range(N):
                z = logit(model, m, rollout.obs[t, m, n].double().numpy(), rollout.action[t, m, n].double().numpy())
                d = 1 / (1 + math.exp(-z))
                assert float(reward[t, m, n].detach()) == pytest.approx(-math.log(1 - d), rel=1e-4, abs=1e-6)
    assert (reward > 0).all() and reward.std() > 0.1


@pytest.mark.parametrize(("env", "driver"), [(Walk(), Coin()), (Reach(), Wide())])
def test_the_loss_is_that_of_a_loop(env, driver):
    place, model = model_of(env)
    rollout = place.collect(driver, 6)
    pair = _Pair(
        model.data.sample(8), Examples(fold(rollout.obs), fold(rollout.action)).at(torch.arange(8).expand(M, 8))
    )
    loss, metrics = model._loss(pair)
    for m in range(M):
        total, right = 0.0, 0
        for one, sign in ((pair.teacher, 1), (pair.learner, -1)):
            for b in range(8):
                z = logit(model, m, one.obs[m, b].double().numpy(), one.action[m, b].double().numpy())
                d = 1 / (1 + math.exp(-z))
                total -= math.log(d if sign == 1 else 1 - d) / 8
                right += sign * z > 0
        assert float(loss[m].detach()) == pytest.approx(total, rel=1e-4)
        assert float(metrics["discriminated"][m].mean()) == pytest.approx(right / 16)


def test_extreme_logits_give_finite_rewards():
    place, model = model_of()
    with torch.no_grad():
        model.network.value.weight.mul_(1e4)
    rollout = place.collect(Coin(), 6)
    assert model(rollout).isfinite().all()
    assert all(value.isfinite().all() for value in model.learn(rollout).values())


def test_it_learns_to_tell_them_apart():
    """The teacher's steps from those of a coin: better than chance, and the teacher's earn more."""
    place, model = model_of()
    model.learner.lr.fill_(3e-2)
    first = None
    for _ in range(40):
        found = model.learn(place.collect(Coin(), 10))
        first = found if first is None else first
    assert (found["loss"] < first["loss"]).all() and (found["discriminated"] > 0.7).all()
    examples, _ = model.data.all()
    teacher = model.logits(examples.obs, examples.action).mean(1)
    other = model.logits(examples.obs, 2 - examples.action).mean(1)
    assert (teacher > other + 1).all()


def test_members_learn_from_their_own():
    """A member whose teacher does the opposite rates the opposite; the other is left alone."""
    place = source()
    same, mixed = shown(place), shown(place)
    action = mixed.examples.action.clone()
    action[1] = 2 - action[1]
    mixed = Demonstrations(Examples(mixed.examples.obs, action), mixed.mask, mixed.episode, mixed.time)
    one, other = (Discriminator(place.spec, d, DiscriminatorConfig(hidden=(5,), batch_size=8)) for d in (same, mixed))
    rollout = place.collect(Coin(), 10)
    for model in (one, other):
        model.learn(rollout)
    for p, q in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(p[0], q[0])
    assert not torch.equal(one.network.value.weight[1], other.network.value.weight[1])


MASKED = Dict.of({"observation": Box((2,)), "action_mask": MultiBinary((3,))})


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (Box(()), Discrete(3, 2)),
        (Box((3, 6, 5), 0, 255), Discrete(2)),
        (Discrete(4, 1), MultiDiscrete((3, 2, 2, 2), outer=(2, 2), start=(1, 0, 0, 0))),
        (MASKED, Discrete(3)),
        (MultiBinary((2, 2)), MultiBinary((2, 3))),
        (Box((2,)), Box((2, 2), 100.0, 200.0)),
        (Box((2,)), Box(())),
    ],
)
def test_any_space_of_observations_and_actions(observation, action):
    """From arrays as environments give them; a teacher's steps as the learner's are, flat and counted from 0."""

    class Place:
        spec = Spec("x", observation, action, members=M, num_envs=N)

    rng = np.random.default_rng(0)

    def arrays(space, count):
        if isinstance(space, Dict):
            return {name: arrays(inner, count) for name, inner in space.spaces}
        if isinstance(space, Discrete):
            return space.start + rng.integers(space.n, size=count)
        if isinstance(space, MultiDiscrete):
            drawn = np.stack([rng.integers(n, size=count) for n in space.nvec], -1) + np.asarray(space.start)
            return drawn.reshape(count, *space.outer)
        if isinstance(space, MultiBinary):
            return rng.integers(2, size=(count, *space.shape))
        if space.high == 255:
            return rng.integers(256, size=(count, *space.shape)).astype(np.uint8)
        low = 0.0 if math.isinf(space.low) else space.low
        return (low + rng.random((count, *space.shape))).astype(np.float32)

    demonstrations = Demonstrations.from_arrays(arrays(observation, 12), arrays(action, 12), Place())
    model = Discriminator(Place.spec, demonstrations, DiscriminatorConfig(hidden=(5,), batch_size=6))
    examples = demonstrations.examples
    logits = model.logits(examples.obs, examples.action)
    assert logits.shape == (M, 12) and logits.isfinite().all()
    assert all(value.isfinite().all() for value in model.learner(_Pair(examples, examples)).values())


def test_wide_boxes_are_as_easy_as_narrow_ones():
    """Actions count in half ranges: the logits of the same actions in other units are the same."""
    logits = []
    for low, high in ((-1.0, 1.0), (1000.0, 3000.0)):
        spec = Spec("x", Box((2,)), Box((1,), low, high), members=M, num_envs=N)

        class Place:
            pass

        Place.spec = spec
        unit = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
        action = ((low + high) / 2 + (high - low) / 2 * unit).astype(np.float32)
        demonstrations = Demonstrations.from_arrays(np.zeros((9, 2), np.float32), action, Place())
        model = Discriminator(spec, demonstrations, DiscriminatorConfig(hidden=(5,)))
        logits.append(model.logits(demonstrations.examples.obs, demonstrations.examples.action))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


# Absorbing states


def absorbing(place, shown, gamma=0.9, **config):
    options = {"hidden": (5,), "batch_size": 8, "updates": 3, "absorbing": True} | config
    return Discriminator(place.spec, shown, DiscriminatorConfig(**options), gamma=gamma)


def played(place):
    """Six episodes a member of a coin; `Walk` ends most of them, and its clock the others."""
    return demonstrate(source(seed=5), Coin(), 6, deterministic=False)


def absorbing_logit(model, m, obs, action, there):
    """In float64, of (observation, indicator, one-hot choice); the absorbing state is zeros, its choice the first."""
    x = np.concatenate([np.zeros(2) if there else obs, [float(there)], np.eye(3)[0 if there else int(action)]])
    for layer in model.network.body.layers:
        x = np.tanh(x @ layer.weight[m].detach().double().numpy() + layer.bias[m, 0].detach().double().numpy())
    last = model.network.value
    return float(x @ last.weight[m].detach().double().numpy()[:, 0] + float(last.bias[m, 0, 0].detach()))


@pytest.mark.parametrize("reward", [positive, negative, log_odds])
def test_an_episode_that_terminates_earns_what_an_endless_one_would(reward):
    """Discounted returns are those of a loop that walks on in the absorbing state, until .9^400 is nothing."""
    place = source()
    model = absorbing(place, played(place))
    model.reward = reward
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    rollout = place.collect(Coin(), 7)  # each environment's first episode lies in it
    rewards = model(rollout).detach().double()
    assert rollout.terminated.any() and rollout.truncated.any()
    for m in range(M):
        for n in range(N):
            last = int(rollout.done[:, m, n].int().argmax())
            found = sum(0.9**t * float(rewards[t, m, n]) for t in range(last + 1))
            expected = 0.0
            for t in range(400):
                there = t > last
                if there and not rollout.terminated[last, m, n]:
                    break
                at = min(t, last)
                obs, action = rollout.obs[at, m, n].double().numpy(), rollout.action[at, m, n]
                z = torch.tensor(absorbing_logit(model, m, obs, action, there), dtype=torch.float64)
                expected += 0.9**t * float(reward(z))
            assert found == pytest.approx(expected, rel=1e-4)


def test_the_absorbing_state_is_one_state():
    place = source()
    model, rollout = absorbing(place, played(place)), place.collect(Coin(), 4)
    obs, action = fold(rollout.obs), fold(rollout.action)
    there = model.logits(obs, action, torch.ones_like(action, dtype=torch.bool))
    assert (there == there[:, :1]).all()
    here = model.logits(obs, action, torch.zeros_like(action, dtype=torch.bool))
    assert torch.equal(here, model.logits(obs, action)) and here.std(1).min() > 0


@pytest.mark.parametrize("every", [1, 3])
def test_absorbing_steps_are_drawn_as_often_as_episodes_terminate(every):
    """One for each termination beside all steps: by a loop of the teacher, thinned or not, and of the rollout."""
    place = source()
    shown = played(place)
    model = absorbing(place, shown.thinned(every), batch_size=20_000)
    rollout = place.collect(Coin(), 10)
    ends = fold(rollout.terminated).sum(1, keepdim=True)
    pair = model._pair(Examples(fold(rollout.obs), fold(rollout.action)), ends / (10 * N + ends))
    for m in range(M):
        counts = [0, 0]
        for i in range(shown.mask.shape[1]):
            if shown.mask[m, i]:
                counts[0] += 1
                counts[1] += int(shown.following.terminated[m, i])
        steps = int(ends[m]), 10 * N
        for one, share in ((pair.teacher, counts[1] / sum(counts)), (pair.learner, steps[0] / sum(steps))):
            assert 0 < share < 1
            assert float(one.extras[m].float().mean()) == pytest.approx(share, abs=5 * math.sqrt(share / 20_000))


def test_a_teacher_that_never_terminates_never_absorbs():
    place = source(Reach())
    model = absorbing(place, shown(place))
    pair = model._pair(Examples(torch.zeros(M, 3, 2), torch.zeros(M, 3, 2)), torch.zeros(M, 1))
    assert not pair.teacher.extras.any() and not pair.learner.extras.any()


# The gradient penalty


def test_the_penalty_and_its_gradient_are_those_of_a_loop():
    """Row by row in float64, on a network of torch's own operations."""
    place = source(Reach())
    model = Discriminator(
        place.spec, shown(place), DiscriminatorConfig(hidden=(5, 4), batch_size=6, gradient_penalty=3.0)
    )
    rollout = place.collect(Wide(), 6)
    pair = model._pair(Examples(fold(rollout.obs), fold(rollout.action)), torch.zeros(M, 1))
    loss, metrics = model._loss(pair)
    gradient = torch.autograd.grad(loss.sum(), list(model.network.parameters()))

    copies = [p.detach().double().requires_grad_() for p in model.network.parameters()]

    def logit(x, m):
        for i in range(0, len(copies), 2):
            x = x @ copies[i][m] + copies[i + 1][m, 0]
            x = x.tanh() if i + 2 < len(copies) else x
        return x.squeeze()

    total = 0.0
    inputs = [model._prepare(one).double() for one in (pair.teacher, pair.learner)]
    for m in range(M):
        own = 0.0
        for b in range(6):
            one, other = (x[m, b] for x in inputs)
            at = (one + pair.between[m, b].double() * (other - one)).requires_grad_()
            (slope,) = torch.autograd.grad(logit(at, m), at, create_graph=True)
            assert float(metrics["steepness"][m, b]) == pytest.approx(float(slope.detach().norm()), rel=1e-4)
            own += (
                3.0 * (slope.norm() - 1) ** 2 - logit(one, m).sigmoid().log() - (-logit(other, m)).sigmoid().log()
            ) / 6
        assert float(loss[m].detach()) == pytest.approx(float(own.detach()), rel=1e-4)
        total = total + own
    expected = torch.autograd.grad(total, copies)
    for found, wanted in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-5)


def test_a_heavy_penalty_makes_every_slope_1():
    place = source(Reach())
    config = DiscriminatorConfig(hidden=(8,), batch_size=32, updates=300, lr=1e-2, gradient_penalty=1e3)
    model = Discriminator(place.spec, shown(place), config)
    model.learn(place.collect(Wide(), 20))
    slopes = model._loss(model._pair(Examples(*map(fold, _of(place.collect(Wide(), 20)))), torch.zeros(M, 1)))[1]
    assert (slopes["steepness"].mean(1) - 1).abs().max() < 0.1


def _of(rollout):
    return rollout.obs, rollout.action


# The algorithm


def test_ppo_sees_the_models_reward_and_never_the_environments():
    class Bribed(Walk):
        def step(self, state, action, noise):
            state, reward, terminated = super().step(state, action, noise)
            return state, torch.full_like(reward, 1e6), terminated

    honest, bribed = gail(), gail(env=Bribed())
    for _ in range(3):
        one, other = honest.step(), bribed.step()
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name
    assert (bribed.relabelled.rollout.reward == 1e6).all()  # what the reward model may look at
    assert {"reward_loss", "reward_discriminated", "loss"} <= one.keys()


def test_the_reward_is_that_before_it_learns_from_the_rollout():
    """PPO learns from the discriminator that it acted under; the discriminator then learns from what was done."""
    algorithm = gail()
    algorithm.step()
    seen = {}
    collect = algorithm.relabelled.collect

    def kept(policy, steps):
        seen["rollout"] = collect(policy, steps)
        seen["expected"] = algorithm.reward(algorithm.relabelled.rollout).detach()
        return seen["rollout"]

    algorithm.relabelled.collect = kept
    algorithm.step()
    assert torch.equal(seen["rollout"].reward, seen["expected"])
    assert not torch.equal(algorithm.reward(algorithm.relabelled.rollout), seen["expected"])
    assert not seen["rollout"].reward.requires_grad


def test_it_imitates_a_teacher_without_rewards():
    """`Identity` pays for naming the state; nothing of that is seen, and the demonstrations alone teach it."""
    algorithm = gail(
        env=Identity(), ppo={"steps": 6000, "rollout": 10, "batch_size": 40, "lr": 1e-2, "gamma": 0.0}, batch_size=30
    )
    before = algorithm.source.play(algorithm.policy, 50, 0).mean(1)
    while not algorithm.progress.finished:
        algorithm.step()
    after = algorithm.source.play(algorithm.policy, 50, 0).mean(1)
    assert (before < 6).all() and (after > 8.5).all()  # of 10; chance is 3.3


def test_labels_are_the_demonstrated_steps():
    algorithm = gail()
    assert algorithm.progress.labels.tolist() == [30, 30]
    algorithm.step()
    assert algorithm.progress.labels.tolist() == [30, 30] and int(algorithm.progress.steps) == 20
    assert algorithm.policy is algorithm.rl.policy


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"env": Reach()},
        {"ppo": {"gru": 3}},
        {"ppo": {"normalise_obs": True}},
        {"absorbing": True, "gradient_penalty": 10.0},
    ],
)
def test_it_resumes(options, tmp_path):
    assert_resumes(lambda seed: gail(seed, **options), tmp_path)


def test_bad_input():
    place = source()
    one = TensorSource(Walk(), id="Walk", num_envs=N, members=1)
    with pytest.raises(ValueError, match=r"^demonstrations: of 1 members, the source has 2\."):
        GAIL(place, shown(one))
    with pytest.raises(ValueError, match=r"^gamma: an absorbing state that lasts for ever needs a discount below 1\."):
        gail(absorbing=True, ppo={"gamma": 1.0})
    pairs = replace(shown(place), following=None)
    with pytest.raises(ValueError, match=r"^demonstrations: it is not known what followed their steps; take whole"):
        absorbing(place, pairs)
    with pytest.raises(ValueError, match=r"^batch_size: 256 does not divide rollout·num_envs = 20"):
        gail(ppo={"batch_size": 256})
    nobody = shown(place)
    nobody = Demonstrations(nobody.examples, nobody.mask & False, nobody.episode, nobody.time)
    with pytest.raises(ValueError, match=r"^demonstrations: a member has no examples to learn from\."):
        GAIL(place, nobody, GAILConfig(PPOConfig(rollout=5, batch_size=20))).step()
    for name, value in (("updates", 0), ("batch_size", 0), ("lr", -1.0), ("lr", math.nan), ("gradient_penalty", -1.0)):
        with pytest.raises(ValueError, match=rf"^{name}: must be "):
            DiscriminatorConfig(**{name: value})
    with pytest.raises(ValueError, match=r"^lr: 3 values for 2 members"):
        gail(lr=(1e-3, 1e-3, 1e-3))
