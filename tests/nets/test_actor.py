import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, Normal, TanhNormal
from imitate.nets import Actor, Architecture, load, policy
from imitate.nets.saving import space_from_json, space_to_json
from imitate_envs.base import Box, Dict, Discrete
from tests.oracles import Reach, Walk, stream

M, B = 3, 4
VECTOR = Box((3,), (-1.0, -math.inf, 0.0), math.inf)
TORQUE = Box((2,), (-1.0, -0.5), (1.0, 0.25))
MATRIX = Box((2, 3))
IMAGE = Box((3, 36, 36), 0.0, 255.0)
CENTRE, HALF = torch.tensor([0.0, -0.125]), torch.tensor([1.0, 0.375])  # of TORQUE


def make(observation=VECTOR, action=TORQUE, members=M, seed=0, **architecture):
    made = Actor(
        observation, action, members, Architecture(**{"hidden": (8,), **architecture}), stream(seed), env="Test-v0"
    )
    with torch.no_grad():  # far from the undecided start, so that members and observations matter
        for p in made.parameters():
            p.add_(0.5 * torch.randn(p.shape))
    made.observe(3 * torch.randn(members, 50, *observation.shape) + 1)
    return made


def observe(space, members=M, batch=B):
    if isinstance(space, Discrete):
        return torch.randint(space.n, (members, batch))
    if space is IMAGE:
        return torch.randint(256, (members, batch, *space.shape), dtype=torch.uint8)
    return torch.randn(members, batch, *space.shape)


VARIANTS = {
    "choices": {"action": Discrete(4)},
    "one-hot": {"observation": Discrete(5), "action": Discrete(4)},
    "gaussian": {},
    "squashed": {"squash": True, "activation": "relu"},
    "normalised": {"normalise": True, "clip_obs": 1.5},
    "own units": {"scaled": False},
    "matrix": {"observation": MATRIX, "action": Box((2, 2), -1.0, (1.0, 2.0, 3.0, math.inf)), "normalise": True},
    "image": {"observation": IMAGE, "action": Discrete(2), "members": 2},
}


@pytest.fixture(params=VARIANTS)
def made(request):
    return make(**VARIANTS[request.param])


def same(p, q):
    return all(torch.equal(getattr(p, n), getattr(q, n)) for n in vars(p))


@pytest.mark.parametrize(
    ("variant", "kind"), [("choices", Categorical), ("gaussian", Normal), ("squashed", TanhNormal)]
)
def test_the_distribution_suits_the_space(variant, kind):
    made = make(**VARIANTS[variant])
    found = made.distribution(observe(made.observation))
    assert type(found) is kind
    width = 4 if kind is Categorical else 2
    assert all(value.shape == (M, B, width) for value in vars(found).values())


def test_a_gaussian_has_the_width_of_its_parameter():
    made = make()
    scale = made.head.log_std.exp()
    torch.testing.assert_close(made.distribution(observe(VECTOR)).scale, (HALF * scale).expand(M, B, 2))
    made = make(scaled=False)
    torch.testing.assert_close(made.distribution(observe(VECTOR)).scale, made.head.log_std.exp().expand(M, B, 2))
    assert not hasattr(make(squash=True).head, "log_std")


@pytest.mark.parametrize(
    ("box", "centre", "half"),
    [
        (TORQUE, CENTRE, HALF),
        (Box((2,), 100.0, 200.0), torch.full((2,), 150.0), torch.full((2,), 50.0)),
        (Box((2,), (-1.0, 3.0), (math.inf, 3.0)), torch.zeros(2), torch.ones(2)),  # half bounded, and a point
    ],
)
def test_a_bounded_box_is_learnt_in_half_ranges_from_its_centre(box, centre, half):
    own, scaled, obs = make(action=box, scaled=False), make(action=box), observe(VECTOR)
    scaled.load_state_dict(own.state_dict())
    torch.testing.assert_close(scaled.distribution(obs).loc, centre + half * own.distribution(obs).loc)
    torch.testing.assert_close(scaled.distribution(obs).scale, half * own.distribution(obs).scale)


def test_a_squashed_policy_stays_inside_its_box():
    made = make(squash=True)
    action, _, _ = made.act(100 * observe(VECTOR), torch.rand(M, B, 2), None)
    assert (action >= torch.tensor(TORQUE.low)).all()
    assert (action <= torch.tensor(TORQUE.high)).all()
    assert (
        action.amax((0, 1)) - action.amin((0, 1)) > 0.5 * (torch.tensor(TORQUE.high) - torch.tensor(TORQUE.low))
    ).all()


def test_a_fresh_policy_is_undecided():
    fresh = Actor(VECTOR, Discrete(4), M, Architecture(), stream())
    assert (fresh.distribution(observe(VECTOR)).probs - 0.25).abs().max() < 0.02


def test_members_differ_and_answer_for_themselves(made):
    members = made.members
    obs = observe(made.observation, 1).expand(members, B, *made.observation.shape)
    logits = next(iter(vars(made.distribution(obs)).values()))
    assert all(not torch.allclose(logits[0], logits[m]) for m in range(1, members))
    for m in (*range(members), -1):
        alone = made.member(m)
        found = alone.distribution(obs[:1])
        for name, value in vars(found).items():
            expected = getattr(made.distribution(obs), name)[m]
            torch.testing.assert_close(value[0], expected, rtol=1e-5, atol=1e-5)
        assert alone.members == 1
        assert alone.env == "Test-v0"
    before = next(alone.parameters()).clone()
    with torch.no_grad():
        next(made.parameters()).zero_()
    assert torch.equal(next(alone.parameters()), before)  # weights of its own


@pytest.mark.parametrize("index", [M, -M - 1])
def test_a_member_that_is_not_there(index):
    with pytest.raises(ValueError, match=f"{index} is not one of the 3"):
        make().member(index)


def test_one_teacher_labels_a_whole_population():
    teacher, obs = make(members=1, normalise=True), observe(VECTOR)
    found = teacher.distribution(obs)
    for m in range(M):
        torch.testing.assert_close(found.loc[m], teacher.distribution(obs[m : m + 1]).loc[0], rtol=1e-5, atol=1e-5)
    assert found.scale.shape == (M, B, 2)


def test_the_normaliser_stands_before_the_network():
    made = make(normalise=True, clip_obs=1.5)
    obs = observe(VECTOR)
    mean, var = made.body.normaliser.mean, made.body.normaliser.var
    x = ((obs - mean) / (var + 1e-8).sqrt()).clamp(-1.5, 1.5)
    torch.testing.assert_close(made.prepare(obs), x)
    plain = make()
    plain.load_state_dict({name: p for name, p in made.state_dict().items() if not name.startswith("body.normaliser.")})
    torch.testing.assert_close(made.distribution(obs).loc, plain.distribution(x).loc)


def test_parameters_per_member():
    assert make(action=Discrete(4)).parameters_per_member == (3 + 1) * 8 + (8 + 1) * 4
    assert make(members=1).parameters_per_member == make(members=5).parameters_per_member


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": Discrete(2), "squash": True}, "squash"),
        ({"action": Box((2,)), "squash": True}, "squash"),
        ({"action": Box((2,), -1.0, (1.0, math.inf)), "squash": True}, "squash"),
        ({"action": Dict.of({"turn": TORQUE})}, "action: policies act in"),
        ({"hidden": (8, 0)}, "hidden: at least 1 units, not 0"),
        ({"gru": 4, "lstm": 4}, "gru, lstm: one memory at most"),
        ({"activation": "sigmoid"}, "'sigmoid' is none of tanh"),
        ({"observation": Discrete(3), "normalise": True}, "normalise"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_policy_is_made_for_its_source_and_from_its_seed():
    def made(source_seed=0, **kwargs):
        source = TensorSource(Walk(), id="Walk", num_envs=2, members=M, seed=source_seed)
        return policy(source, (8,), **kwargs)

    one = made()
    assert (one.members, one.env, one.action) == (M, "Walk", Walk.action)
    assert same(one.distribution(torch.ones(M, B, 2)), made().distribution(torch.ones(M, B, 2)))
    assert not same(one.distribution(torch.ones(M, B, 2)), made(1).distribution(torch.ones(M, B, 2)))
    assert same(made(0, seed=1).distribution(torch.ones(M, B, 2)), made(1).distribution(torch.ones(M, B, 2)))
    source = TensorSource(Reach(), id="Reach", num_envs=2, members=M)
    assert isinstance(policy(source, squash=True).distribution(torch.ones(M, B, 2)), TanhNormal)


# predict, as in Stable-Baselines3


@pytest.mark.parametrize("member", [0, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_predict_of_one_and_of_a_batch(member, dtype):
    made = make(action=Discrete(4))
    obs = (10 * np.random.default_rng(0).normal(size=(6, 3))).astype(dtype)
    actions, state = made.predict(obs, deterministic=True, member=member)
    assert state is None
    assert actions.shape == (6,)
    assert np.issubdtype(actions.dtype, np.integer)
    expected = made.distribution(torch.as_tensor(obs).float().expand(M, 6, 3)).mode[member]
    assert actions.tolist() == expected.tolist()
    assert len(set(actions.tolist())) > 1
    for one, action in zip(obs, actions, strict=True):
        single, _ = made.predict(one, deterministic=True, member=member)
        assert np.shape(single) == ()
        assert single == action
    assert made.predict(obs.tolist(), deterministic=True, member=member)[0].tolist() == actions.tolist()


def test_predict_passes_the_state_through():
    state = (np.zeros(2),)
    assert make().predict(np.zeros(3), state, np.ones(1))[1] is state


def test_predict_of_a_discrete_observation():
    made = make(observation=Discrete(5), action=Discrete(4))
    actions, _ = made.predict(np.array([4, 0, 1]), deterministic=True)
    assert actions.tolist() == made.distribution(torch.tensor([[4, 0, 1]]).expand(M, 3)).mode[0].tolist()
    assert made.predict(4, deterministic=True)[0] == actions[0]
    assert made.predict(np.int64(4), deterministic=True)[0] == actions[0]


def test_predict_of_images():
    made = make(observation=IMAGE, action=Discrete(2), members=1)
    images = np.random.default_rng(0).integers(256, size=(2, 3, 36, 36), dtype=np.uint8)
    expected = made.distribution(torch.as_tensor(images)[None]).mode[0]
    assert made.predict(images, deterministic=True)[0].tolist() == expected.tolist()
    assert np.shape(made.predict(images[0])[0]) == ()


def test_predict_clips_to_the_box():
    made = make()
    with torch.no_grad():
        made.head.linear.bias.copy_(torch.tensor([100.0, -100.0]))
    for deterministic in (True, False):
        actions, _ = made.predict(np.zeros((5, 3)), deterministic=deterministic)
        assert actions.shape == (5, 2)
        assert actions.dtype == np.float32
        np.testing.assert_array_equal(actions, np.tile([1.0, -0.5], (5, 1)))
    assert made.predict(np.zeros(3))[0].shape == (2,)


def test_predict_draws_from_the_distribution():
    made = make(action=Discrete(4))
    obs = np.random.default_rng(0).normal(size=3)
    draws, _ = made.predict(np.tile(obs, (4000, 1)))
    frequencies = np.bincount(draws, minlength=4) / 4000
    expected = made.distribution(torch.as_tensor(obs).float().expand(M, 1, 3)).probs[0, 0]
    np.testing.assert_allclose(frequencies, expected.detach(), atol=0.04)


@pytest.mark.parametrize("shape", [(), (2,), (4,), (2, 4), (3, 1), (2, 2, 3), (1, 1, 1, 3), (0,)])
def test_predict_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"neither \(3,\) nor a batch of it"):
        make().predict(np.zeros(shape))


@pytest.mark.parametrize("shape", [(36, 36), (1, 36, 36), (2, 2, 3, 36, 36)])
def test_predict_names_a_wrong_image_shape(shape):
    with pytest.raises(ValueError, match="nor a batch of it"):
        make(observation=IMAGE, action=Discrete(2), members=1).predict(np.zeros(shape, np.uint8))


# Files


def test_what_is_saved_is_loaded(made, tmp_path):
    made.save(tmp_path / "run")
    found = load(tmp_path / "run")
    assert (found.observation, found.action, found.members) == (made.observation, made.action, made.members)
    assert (found.architecture, found.env) == (made.architecture, made.env)
    obs = observe(made.observation, made.members)
    assert same(found.distribution(obs), made.distribution(obs))
    found.save(tmp_path / "again")
    assert same(load(tmp_path / "again").distribution(obs), made.distribution(obs))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 3)

    def forward(self, x):
        return self.net(x).tanh()


def test_a_network_of_ones_own(tmp_path):
    source = TensorSource(Walk(), id="Walk", num_envs=2, members=M)
    mine = policy(source, build=Own)
    obs = torch.randn(M, B, 2)
    assert mine.distribution(obs).logits.abs().max() <= 1
    mine.save(tmp_path)
    with pytest.raises(ValueError, match=r"build: .* a network of your own"):
        load(tmp_path)
    assert same(load(tmp_path, build=Own).distribution(obs), mine.distribution(obs))
    with pytest.raises(ValueError, match="the weights do not fit"):
        load(tmp_path, build=lambda: nn.Linear(2, 4))
    with pytest.raises(ValueError, match="member: an actor around a network of your own"):
        mine.member(0)


def edited(folder, change):
    path = folder / "policy.json"
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("members"), "incomplete or foreign"),
        (lambda d: d.pop("architecture"), "incomplete or foreign"),
        (lambda d: d.pop("action"), "incomplete or foreign"),
        (lambda d: d.pop("custom_network"), "incomplete or foreign"),
        (lambda d: d.update(members="many"), "many"),
        (lambda d: d.update(action={"sphere": 2}), "incomplete or foreign"),
        (lambda d: d["architecture"].update(dropout=0.5), "incomplete or foreign"),
        (lambda d: d["architecture"].update(hidden=8), "incomplete or foreign"),
        (lambda d: d["architecture"].update(activation="sigmoid"), "sigmoid"),
        (lambda d: d["architecture"].update(hidden=[9]), "the weights do not fit"),
        (lambda d: d["architecture"].update(hidden=[8, 8]), "the weights do not fit"),
        (lambda d: d.update(members=4), "the weights do not fit"),
        (lambda d: d.update(action={"discrete": 5}), "the weights do not fit"),
        (lambda d: d.update(format=0), "format 0"),
    ],
)
def test_an_edited_description_is_refused(tmp_path, change, message):
    make(action=Discrete(4)).save(tmp_path)
    edited(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_damaged_weights_and_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        load(tmp_path)
    make().save(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated"):
        load(tmp_path)


@pytest.mark.parametrize(
    "space", [Discrete(7), VECTOR, TORQUE, IMAGE, Box((2, 2), (-1.0, -2.0, 0.0, -math.inf), 1.5), Box((1,))]
)
def test_spaces_survive_json(space):
    text = json.dumps(space_to_json(space), allow_nan=False)
    assert space_from_json(json.loads(text)) == space
