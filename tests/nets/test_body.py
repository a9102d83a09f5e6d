"""Networks of observations of every space: shapes, members, files, `predict`, and what a normaliser touches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.core import tree
from imitate.core.spec import Spec
from imitate.nets import Actor, Architecture, QArchitecture, QNetwork
from imitate.nets.body import Body
from imitate.nets.critic import ActionValue, Critic
from imitate.nets.inputs import Inputs
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from tests.oracles import stream

M, B, H = 2, 3, (5, 4)
IMAGE, BYTES, LAST = Box((2, 6, 5)), Box((3, 6, 5), 0, 255), Box((6, 5, 3), 0, 255)

SPACES = {
    "a number": Box(()),
    "a vector": Box((3,)),
    "a matrix": Box((2, 3)),
    "a small cube": Box((2, 2, 2)),
    "an image": IMAGE,
    "an image of bytes": BYTES,
    "an image, channels last": LAST,
    "a vector of bytes": Box((4,), 0, 255),
    "a choice": Discrete(4),
    "a choice from 3": Discrete(4, 3),
    "choices": MultiDiscrete((3, 2)),
    "choices in a matrix": MultiDiscrete((3, 2, 2, 4), outer=(2, 2), start=(1, 0, -1, 0)),
    "bits": MultiBinary((2, 3)),
    "a dict of one image": Dict.of({"eye": BYTES}),
    "a dict": Dict.of(
        {
            "left": BYTES,
            "inner": Dict.of({"speed": Box((2,)), "right": LAST, "gear": Discrete(3, 1)}),
            "heat": Box(()),
            "lamps": MultiBinary((2,)),
        }
    ),
    "a tuple": Tuple((Discrete(2), Box((2, 2)), MultiDiscrete((2, 3)))),
    "a tuple of images": Tuple((BYTES, IMAGE)),
}
BYTE = {id(BYTES), id(LAST), id(SPACES["a vector of bytes"])}
NO_NUMBERS = {"a choice", "a choice from 3", "choices", "choices in a matrix", "a tuple of images"}


def draw(space, *shape):
    """Observations [*shape, ...] as the suite has them."""
    if isinstance(space, Dict):
        return {name: draw(inner, *shape) for name, inner in space.spaces}
    if isinstance(space, Tuple):
        return tuple(draw(inner, *shape) for inner in space.spaces)
    if isinstance(space, Discrete):
        return torch.randint(space.n, shape)
    if isinstance(space, MultiDiscrete):
        return torch.stack([torch.randint(n, shape) for n in space.nvec], -1)
    if isinstance(space, MultiBinary):
        return torch.randint(2, (*shape, *space.shape), dtype=torch.uint8)
    if id(space) in BYTE:
        return torch.randint(256, (*shape, *space.shape), dtype=torch.uint8)
    return torch.randn(*shape, *space.shape)


def outside(obs, space):
    """The same as Gymnasium's environments give them: [..., *shape] in numpy, choices from their start."""
    if isinstance(space, Dict):
        return {name: outside(obs[name], inner) for name, inner in space.spaces}
    if isinstance(space, Tuple):
        return tuple(outside(part, inner) for part, inner in zip(obs, space.spaces, strict=True))
    if isinstance(space, Discrete):
        return obs.numpy() + space.start
    if isinstance(space, MultiDiscrete):
        return (obs.numpy() + np.asarray(space.start)).reshape(*obs.shape[:-1], *space.outer)
    return obs.numpy()


def at(obs, index):
    return tree.map(lambda leaf: leaf[index], obs)


def shaken(module):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return module


def actor(space, members=M, **architecture):
    return shaken(Actor(space, Discrete(3), members, Architecture(H, **architecture), stream()))


def values(space, members=M, **architecture):
    return shaken(QNetwork(space, Discrete(3), members, QArchitecture(H, **architecture), stream()))


def spec(space, members=M):
    return Spec("x", space, Box((2,), (-1.0, 0.0), (3.0, 10.0)), members)


every_space = pytest.mark.parametrize("name", SPACES)


def features(inputs, obs):
    """Numbers first, in the order of the space, then choices, one-hot: written out for one observation."""
    numbers, choices = [], []

    def visit(space, x):
        if isinstance(space, Dict):
            for name, inner in space.spaces:
                visit(inner, x[name])
        elif isinstance(space, Tuple):
            for inner, part in zip(space.spaces, x, strict=True):
                visit(inner, part)
        elif isinstance(space, Discrete):
            choices.extend(float(i == int(x)) for i in range(space.n))
        elif isinstance(space, MultiDiscrete):
            for n, value in zip(space.nvec, x.tolist(), strict=True):
                choices.extend(float(i == value) for i in range(n))
        elif len(space.shape) != 3 or min(sorted(space.shape)[1:]) < 3:
            numbers.extend(float(v) for v in x.flatten())

    visit(inputs.space, obs)
    return numbers + choices


@every_space
def test_inputs_are_numbers_then_choices(name):
    inputs = Inputs(SPACES[name])
    obs = draw(SPACES[name], M, B)
    flat = inputs(obs)
    flat = flat[0] if isinstance(flat, tuple) else flat
    if inputs.one_image:
        assert flat.shape == (M, B, *inputs.images[0])
        return
    assert flat.shape == (M, B, inputs.flat)
    for m in range(M):
        for b in range(B):
            np.testing.assert_allclose(flat[m, b].numpy(), features(inputs, at(obs, (m, b))))


@pytest.mark.parametrize("space", [BYTES, LAST])
def test_bytes_of_an_image_are_shares_of_255_and_channels_come_first(space):
    obs = draw(space, M, B)
    found = Inputs(space)(obs)
    assert found.shape == (M, B, 3, 6, 5)
    expected = obs.double() / 255
    expected = expected.permute(0, 1, 4, 2, 3) if space is LAST else expected
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


@every_space
def test_actors(name, tmp_path):
    space = SPACES[name]
    policy, obs = actor(space), draw(space, M, B)
    logits = policy.distribution(obs).logits
    assert logits.shape == (M, B, 3) and logits.isfinite().all() and not torch.equal(logits[:, 0], logits[:, 1])
    for m in range(M):  # each member as if it were alone
        alone = policy.member(m).distribution(tree.map(lambda leaf: leaf[m : m + 1], obs)).logits[0]  # noqa: B023
        torch.testing.assert_close(alone, logits[m], rtol=1e-5, atol=1e-6)
    policy.save(tmp_path)
    loaded = nets.load(tmp_path)
    assert torch.equal(loaded.distribution(obs).logits, logits)
    assert loaded.observation == space and loaded.architecture == policy.architecture


@every_space
def test_predict_takes_one_observation_or_a_batch(name):
    space, policy = SPACES[name], actor(SPACES[name])
    obs = draw(space, 1, 6)
    expected = policy.distribution(tree.map(lambda leaf: leaf.expand(M, *leaf.shape[1:]), obs)).mode[1]
    foreign = outside(at(obs, 0), space)
    batch, state = policy.predict(foreign, deterministic=True, member=1)
    assert batch.tolist() == expected.tolist() and state is None
    for b in range(6):
        one = at_numpy(foreign, b)
        action, _ = policy.predict(one, deterministic=True, member=1)
        assert np.shape(action) == () and action == expected[b]
    torch.manual_seed(3)
    drawn, _ = policy.predict(foreign)
    assert drawn.shape == (6,) and set(drawn.tolist()) <= {0, 1, 2}


def at_numpy(foreign, index):
    if isinstance(foreign, dict):
        return {name: at_numpy(part, index) for name, part in foreign.items()}
    if isinstance(foreign, tuple):
        return tuple(at_numpy(part, index) for part in foreign)
    return foreign[index]


@pytest.mark.parametrize("name", ["a vector", "a matrix", "choices in a matrix", "a dict", "a number"])
def test_predict_refuses_another_shape(name):
    space, policy = SPACES[name], actor(SPACES[name])
    foreign = outside(draw(space, 2, 2, 2), space)  # one axis too many
    with pytest.raises(ValueError, match=r"^observation: "):
        policy.predict(foreign)
    if isinstance(space, Dict):
        with pytest.raises(ValueError, match=r"^observation: it lacks 'inner'"):
            policy.predict({"left": np.zeros((3, 6, 5), np.uint8)})
        mixed = outside(draw(space, 2), space) | {"heat": np.float32(1.0)}
        with pytest.raises(ValueError, match=r"^observation: some parts are a batch, others are not"):
            policy.predict(mixed)
    with pytest.raises(ValueError, match=r"^member: 2 is not one of the 2 members"):
        policy.predict(at_numpy(at_numpy(foreign, 0), 0), member=2)


@every_space
def test_value_networks(name, tmp_path):
    space = SPACES[name]
    network, obs = values(space), draw(space, M, B)
    mean = network.returns(obs).mean
    assert mean.shape == (M, B, 3) and mean.isfinite().all()
    for m in range(M):
        alone = values(space, members=1)
        alone.load_state_dict({key: value[m : m + 1] for key, value in network.state_dict().items()})
        one = tree.map(lambda leaf: leaf[m : m + 1], obs)  # noqa: B023
        torch.testing.assert_close(alone.returns(one).mean[0], mean[m], rtol=1e-5, atol=1e-6)
    network.save(tmp_path)
    assert torch.equal(nets.load(tmp_path).returns(obs).mean, mean)
    foreign = outside(at(obs, 0), space)
    assert network.predict(foreign, deterministic=True)[0].tolist() == mean[0].argmax(-1).tolist()


@every_space
def test_critics(name):
    space = SPACES[name]
    obs = draw(space, M, B)
    critic = shaken(Critic(space, M, H, init=stream()))
    value = critic(critic.body.prepare(obs))
    assert value.shape == (M, B) and value.isfinite().all()
    for m in range(M):
        alone = Critic(space, 1, H, init=stream())
        alone.load_state_dict({key: part[m : m + 1] for key, part in critic.state_dict().items()})
        one = alone.body.prepare(tree.map(lambda leaf: leaf[m : m + 1], obs))  # noqa: B023
        torch.testing.assert_close(alone(one)[0], value[m], rtol=1e-5, atol=1e-6)


@every_space
def test_values_of_actions(name):
    space = SPACES[name]
    obs, action = draw(space, M, B), torch.randn(M, B, 2)
    critic = shaken(ActionValue(spec(space), H, critics=3))
    value = critic(obs, action)
    assert value.shape == (M, B, 3) and value.isfinite().all()
    assert len(value[0, 0].unique()) == 3
    for m in range(M):
        alone = ActionValue(spec(space, members=1), H, critics=3)
        alone.load_state_dict({key: part[3 * m : 3 * m + 3] for key, part in critic.state_dict().items()})
        one = tree.map(lambda leaf: leaf[m : m + 1], obs)  # noqa: B023
        torch.testing.assert_close(alone(one, action[m : m + 1])[0], value[m], rtol=1e-5, atol=1e-6)


@every_space
def test_everything_that_is_seen_counts(name):
    """Another value of any one part of an observation changes what an actor says of it, and nothing else does."""
    policy, space = actor(SPACES[name], activation="relu"), SPACES[name]  # a tanh of large bytes is flat
    obs = draw(space, M, B)
    before = policy.distribution(obs).logits
    for i in range(len(tree.leaves(obs))):
        other = tree.map(torch.clone, obs)
        leaf = tree.leaves(other)[i]
        new = leaf[:, 1] + 1 if leaf.dtype != torch.uint8 else leaf[:, 1] ^ 1
        counts = leaf.dtype == torch.int64
        leaf[:, 1] = new % 2 if counts else new
        changed = policy.distribution(other).logits
        assert torch.equal(changed[:, [0, 2]], before[:, [0, 2]])
        if not counts or not torch.equal(leaf, tree.leaves(obs)[i]):
            assert not torch.equal(changed[:, 1], before[:, 1])


@every_space
def test_a_normaliser_touches_numbers_alone(name):
    space = SPACES[name]
    if name in NO_NUMBERS:
        for build in (actor, values):
            with pytest.raises(ValueError, match=r"^normalise: observations of .* hold no numbers"):
                build(space, normalise=True)
        return
    policy, obs = actor(space, normalise=True), draw(space, M, 50)
    raw = actor(space).prepare(obs)
    policy.observe(obs)
    found = policy.prepare(obs)
    inputs, (mine, theirs) = policy.body.inputs, ([x] if torch.is_tensor(x) else list(x) for x in (found, raw))
    assert all(torch.equal(a, b) for a, b in zip(mine[1:], theirs[1:], strict=True))  # images beside numbers
    if inputs.one_image:
        source = tree.leaves(obs)[0].double()
        expected = (source - source.mean(1, keepdim=True)) / source.std(1, keepdim=True, correction=0)
        expected = expected.permute(0, 1, 4, 2, 3) if space is LAST else expected
        torch.testing.assert_close(mine[0].double(), expected, rtol=1e-3, atol=1e-4)
        return
    numbers, choices = mine[0].split([inputs.numbers, inputs.flat - inputs.numbers], -1)
    before, same = theirs[0].split([inputs.numbers, inputs.flat - inputs.numbers], -1)
    assert torch.equal(choices, same)
    x = before.double()
    expected = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(numbers.double(), expected, rtol=1e-3, atol=1e-4)
    assert policy.body.normaliser.count.tolist() == [50.0, 50.0]


def test_statistics_of_a_normaliser_are_saved(tmp_path):
    space = SPACES["a dict of one image"]
    policy, obs = actor(space, normalise=True), draw(space, M, 20)
    policy.observe(obs)
    policy.save(tmp_path)
    loaded = nets.load(tmp_path)
    assert torch.equal(loaded.distribution(obs).logits, policy.distribution(obs).logits)
    assert torch.equal(loaded.body.normaliser.mean, policy.body.normaliser.mean) and loaded.body.normaliser.mean.any()


# Two images and numbers, as plain torch


def test_a_dict_of_images_and_numbers_is_its_encoders_one_after_the_other():
    space = SPACES["a dict"]
    policy, obs = actor(space), draw(space, M, B)
    body = policy.body
    m = 1
    flat, left, right = (part[m : m + 1] for part in body.prepare(obs))
    seen = []
    for picture, convolutions, layer in zip((left, right), body.images, body.image_layers, strict=True):
        one = convolutions(picture.expand(M, *picture.shape[1:]))[m]
        seen.append(torch.relu(one @ layer.weight[m] + layer.bias[m, 0]))
    x = torch.cat([flat[0], *seen], -1)
    for layer in body.layers:
        x = torch.tanh(x @ layer.weight[m] + layer.bias[m, 0])
    torch.testing.assert_close(body(body.prepare(obs))[0][m], x, rtol=1e-4, atol=1e-5)
    assert body.width == H[-1] and not body.flat


def test_an_image_is_encoded_by_convolutions_of_its_own():
    body = actor(SPACES["a tuple of images"]).body
    assert len(body.images) == 2
    assert not torch.equal(next(body.images[0].parameters())[:, :1], next(body.images[1].parameters())[:, :1])


# Bad input


def body(**options):
    options = {"hidden": H, "activation": "tanh"} | options
    return Body(Box((3,)), M, init=stream(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sine"}, r"^activation: 'sine' is none of .*tanh"),
        ({"hidden": (4, 0)}, r"^hidden: at least 1 units, not 0"),
        ({"gru": -1}, r"^gru: at least 0 units, not -1"),
        ({"lstm": -2}, r"^lstm: at least 0 units, not -2"),
        ({"gru": 2, "lstm": 3}, r"^gru, lstm: one memory at most, not a gru of 2 and an lstm of 3"),
    ],
)
def test_bad_bodies(options, message):
    with pytest.raises(ValueError, match=message):
        body(**options)


def test_bad_value_networks_and_critics():
    with pytest.raises(ValueError, match=r"^critics: at least 1, not 0"):
        ActionValue(spec(Box((3,))), critics=0)
    with pytest.raises(ValueError, match=r"^action: critics of an action need a Box, not Discrete\(2\)"):
        ActionValue(Spec("x", Box((3,)), Discrete(2)))
    with pytest.raises(ValueError, match=r"^action: "):
        QNetwork(Box((3,)), Box((2,)), M, QArchitecture(), stream())
