"""MinAtar's games: every step equals the released package's on the same uniforms, and they are pure functions."""

import copy
import random

import gymnasium
import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.fx.experimental.proxy_tensor import make_fx

import imitate
from imitate.core import tree
from imitate.nets.inputs import Inputs
from imitate.policies import Random
from imitate_envs import ENVS, minatar

GAMES = {
    "Asterix": "asterix",
    "Breakout": "breakout",
    "Freeway": "freeway",
    "Seaquest": "seaquest",
    "SpaceInvaders": "space_invaders",
}
RAMPING = ["Asterix", "Seaquest", "SpaceInvaders"]


@pytest.fixture(params=GAMES)
def game(request):
    return request.param


@pytest.fixture
def env(game):
    return getattr(minatar, game)()


# Parity


class Replay:
    """As much of numpy's RandomState as the games ask for, fed with given uniforms."""

    def __init__(self):
        self.uniforms = []

    def rand(self, size=None):
        return self.uniforms.pop(0) if size is None else np.array([self.uniforms.pop(0) for _ in range(size)])

    def randint(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        drawn = low + ((high - low) * np.atleast_1d(self.rand(size))).astype(int)
        return drawn[0] if size is None else drawn


def act(theirs, action, u):
    """A step of the released game, with the uniforms in the order in which it will ask for them."""
    game, drawn = theirs.env, list(u)
    if theirs.env_name == "asterix" and game.spawn_timer:
        drawn = u[:1]
    if theirs.env_name == "seaquest":
        enemy = [u[1], u[5], u[3]] if game.e_spawn_timer == 0 else []
        drawn = u[:1] + enemy + (u[2::2] if game.d_spawn_timer == 0 else [])
    theirs.random.uniforms = drawn
    return theirs.act(action)


def player(game, theirs, u, rng):
    """A random action, most of the time one that is not the end and leads to what is rare."""
    wish, g = None, theirs.env
    if game == "Breakout":
        wish = 1 if g.pos > g.ball_x else 3 if g.pos < g.ball_x else 0
    elif game == "Freeway":
        wish = 2
    elif game == "SpaceInvaders":
        wish = 5 if rng.random() < 0.5 else None
    elif game == "Seaquest":
        if rng.random() < 0.3:
            wish = 5
        elif g.diver_count < 0 or g.diver_count == 6 or (g.oxygen < 30 and g.diver_count):
            wish = 4 if g.surface else 2
        elif g.divers:
            x, y, *_ = g.divers[0]
            wish = 4 if g.sub_y < y else 2 if g.sub_y > y else 3 if g.sub_x < x else 1
        elif g.sub_y < 3:
            wish = 4
    order = rng.sample(range(6), 6)
    if wish is not None and rng.random() < 0.9:
        order.insert(0, wish)
    if rng.random() < 0.1:
        return order[0]
    return next((a for a in order if not act(copy.deepcopy(theirs), a, u)[1]), order[0])


LANES = 16
# Half of them without a brick, so that a new wall stands soon; half with holes, so that the ball comes in between.
WALLS = np.random.default_rng(0).random((LANES, 3, 10)) < np.arange(LANES)[:, None, None] % 2 / 2


def bring(game, g, lane):
    """A first state of the released game, nearer to what is rare."""
    if game == "Asterix":
        g.spawn_speed, g.move_speed, g.ramp_index, g.ramp_timer = (2, 1, 8, 10) if g.ramping else (10, 5, 0, 10)
    elif game == "Breakout":
        g.brick_map[1:4] = WALLS[lane]
    elif game == "Freeway":
        g.terminate_timer -= 2420
    elif game == "Seaquest":
        g.diver_count = 6
    else:
        g.enemy_move_interval = 7
        g.alien_map[:] = 0
        g.alien_map[9 if lane % 2 else 3, 2:4] = 1


def brought(game, state):
    """The same of ours."""
    if game == "Asterix":
        state[..., 4] = 8 * 102 + 90
    elif game == "Breakout":
        state.bricks[:] = torch.from_numpy(WALLS).flatten(1)
    elif game == "Freeway":
        state[..., 2] -= 2420
    elif game == "Seaquest":
        state.numbers[..., 3] = 6
    else:
        state.numbers[..., 4] = 7
        state.maps[..., 0, :] = False
        state.maps[::2, 0, 32:34] = state.maps[1::2, 0, 92:94] = True
    return state


# What such a first state leads to, as the released game knows it.
RARE = {
    "Asterix": lambda g: g.spawn_speed == g.move_speed == 1,
    "Breakout": lambda g: g.brick_map.sum() == 30,
    "Freeway": lambda g: g.terminate_timer < 0,
    "Seaquest": lambda g: g.diver_count < 0 and g.e_spawn_speed == 1 and len(g.e_fish + g.e_subs) > 12,
    "SpaceInvaders": lambda g: g.enemy_move_interval == 6,
}


@pytest.mark.parametrize(
    ("game", "steps", "near", "options"),
    [
        *((game, 110, False, {}) for game in GAMES),
        *((game, 100, True, {}) for game in GAMES),
        *((game, 50, True, {"difficulty_ramping": False, "sticky_action_prob": 0.5}) for game in RAMPING),
    ],
)
def test_every_step_is_the_released_games(game, steps, near, options):
    """Observation, reward and end of 16 games at a time; of a state only the first is ever given."""
    released = pytest.importorskip("minatar")
    env, lanes, rng = getattr(minatar, game)(**options), LANES, random.Random(1)
    noise = torch.rand(steps + 1, lanes, env.step_noise + env.reset_noise, dtype=torch.float64)
    dynamics, resets = noise.split([env.step_noise, env.reset_noise], -1)

    def first(theirs, u, lane):
        theirs.random.uniforms = u
        theirs.reset()
        theirs.last_action = 0  # it would keep that of the episode before
        if near:
            bring(game, theirs.env, lane)

    def ours(u):
        return brought(game, env.reset(u)) if near else env.reset(u)

    theirs, state = [released.Environment(GAMES[game], **options) for _ in range(lanes)], ours(resets[-1])
    for i, each in enumerate(theirs):
        each.random = each.env.random = Replay()
        first(each, resets[-1, i].tolist(), i)
    earned, ended, rare = 0, 0, False
    for t in range(steps):
        u = dynamics[t].tolist()
        actions = [player(game, each, u[i], rng) for i, each in enumerate(theirs)]
        outcome = [act(each, actions[i], u[i]) for i, each in enumerate(theirs)]
        state, reward, terminated = env.step(state, torch.tensor(actions), dynamics[t])
        seen = np.stack([each.state().transpose(2, 0, 1) for each in theirs])
        assert np.array_equal(env.observe(state).numpy(), seen), t
        assert reward.tolist() == [float(r) for r, _ in outcome], t
        assert terminated.tolist() == [end for _, end in outcome], t
        for (low, high), which in ((env.reward_range, ~terminated), (env.final_reward_range, terminated)):
            assert ((reward[which] >= low) & (reward[which] <= high)).all()
        earned, ended = earned + reward.sum(), ended + terminated.sum()
        rare = rare or any(RARE[game](each.env) for each in theirs)
        for i in terminated.nonzero().flatten().tolist():
            first(theirs[i], resets[t, i].tolist(), i)
        state = tree.where(terminated, ours(resets[t]), state)
    assert earned > 0 and (ended > 0 or game == "Freeway" or options)
    assert rare or options or not near


def crowd(g, rng):
    """Fill Seaquest's sea: enemies and divers on top of each other, two torpedoes, a submarine nearly full."""
    g.sub_x, g.sub_y, g.sub_or, g.surface = rng.randrange(1, 9), rng.randrange(6, 9), rng.random() < 0.5, False
    g.diver_count = rng.choice([4, 5, 6])
    g.divers = [[g.sub_x - 1 + 2 * i, g.sub_y, i == 0, rng.choice([0, 5])] for i in range(2)]
    rightwards = [rng.random() < 0.5 for _ in range(9)]
    for x, y, wait in {(rng.randrange(10), rng.choice([g.sub_y, 1]), rng.randrange(6)) for _ in range(24)}:
        if (x, y) != (g.sub_x, g.sub_y) and rng.random() < 0.5:
            g.e_fish.append([x, y, rightwards[y], wait])
        elif (x, y) != (g.sub_x, g.sub_y):
            g.e_subs.append([x, y, rightwards[y], wait, rng.randrange(11)])
    # As in play, no third torpedo, and none that meets the submarine.
    g.f_bullets = [[rng.randrange(10), 1, rng.random() < 0.5], [g.sub_x + (1 if g.sub_or else -1), g.sub_y, g.sub_or]]
    g.shot_timer = 9


def crowded(state, games):
    """The same states of ours, in place."""

    def at(x, y):
        return (y + 1) * 11 + x + 1

    def side(right):
        return 1 if right else -1

    state.numbers[:, 8] = 9
    for i, g in enumerate(games):
        state.numbers[i, :5] = torch.tensor([at(g.sub_x, g.sub_y), side(g.sub_or), g.oxygen, g.diver_count, 0])
        enemies = [(at(x, y), side(r), wait, 0, 3) for x, y, r, wait in reversed(g.e_fish)]
        enemies += [(at(x, y), side(r), wait, shot + 1, 3) for x, y, r, wait, shot in reversed(g.e_subs)]
        state.swimmers[i, :, : len(enemies)] = torch.tensor(enemies).T
        divers = [(at(x, y), side(r), wait, 12, 3) for x, y, r, wait in reversed(g.divers)]
        state.swimmers[i, :, -2:] = torch.tensor(divers).T
        state.torpedoes[i] = torch.tensor([(at(x, y), side(r)) for x, y, r in reversed(g.f_bullets)]).T


def test_a_crowded_sea():
    """Who is hit, and who comes aboard, where several could."""
    released = pytest.importorskip("minatar")
    env, lanes, rng = minatar.Seaquest(), 200, random.Random(2)
    theirs, state = [released.Environment("seaquest") for _ in range(lanes)], env.reset(torch.empty(lanes, 0))
    for each in theirs:
        each.random = each.env.random = Replay()
        crowd(each.env, rng)
    crowded(state, [each.env for each in theirs])
    alive, earned, boarded = torch.ones(lanes, dtype=torch.bool), 0, 0
    assert np.array_equal(env.observe(state).numpy(), np.stack([each.state().transpose(2, 0, 1) for each in theirs]))
    for _ in range(5):
        noise, actions = torch.rand(lanes, 6, dtype=torch.float64), torch.randint(6, (lanes,))
        aboard = state.numbers[:, 3]
        state, reward, terminated = env.step(state, actions, noise)
        seen = env.observe(state).numpy()
        for i in alive.nonzero().flatten().tolist():
            outcome = act(theirs[i], int(actions[i]), noise[i].tolist())
            assert (reward[i], terminated[i]) == outcome
            assert np.array_equal(seen[i], theirs[i].state().transpose(2, 0, 1))
        earned, boarded = earned + reward[alive].sum(), boarded + (state.numbers[:, 3] > aboard).sum()
        alive &= ~terminated
    assert earned > lanes / 4 and boarded > lanes / 4


def test_declarations_are_those_of_the_package(game):
    package = pytest.importorskip("minatar.gym")
    for version, minimal in ((0, False), (1, True)):
        env = ENVS[f"MinAtar/{game}-v{version}"]()
        theirs = package.BaseEnv(GAMES[game], use_minimal_action_set=minimal)
        height, width, channels = theirs.observation_space.shape
        assert env.observation.shape == (channels, height, width)
        assert env.action.n == theirs.action_space.n
        assert env.sticky_action_prob == theirs.game.sticky_action_prob
        noise = torch.zeros(len(theirs.action_set), env.step_noise) + 0.99
        state = env.reset(torch.rand(len(theirs.action_set), env.reset_noise))
        full = ENVS[f"MinAtar/{game}-v0"]()
        for mine, same in zip(
            outputs(env, state, torch.arange(env.action.n), noise),
            outputs(full, state, torch.tensor(theirs.action_set), noise),
            strict=True,
        ):
            assert torch.equal(mine, same)


def test_ids_in_gymnasium(game):
    env = gymnasium.make(f"imitate/MinAtar-{game}-v1")
    assert env.spec.max_episode_steps == ENVS[f"MinAtar/{game}-v1"]().max_steps
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs) and obs.max() == 1
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


# Purity


def outputs(env, state, action, noise):
    """All that a step makes, as a list of tensors."""
    state, reward, terminated = env.step(state, action, noise)
    return [*tree.leaves(state), env.observe(state), reward, terminated]


def some(env, *shape, steps=60, dtype=torch.float32, seed=0):
    """A state in the midst of an episode or beyond, an action, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def draw(width):
        return torch.rand(*shape, width, generator=generator, dtype=torch.float64).to(dtype)

    state = env.reset(draw(env.reset_noise))
    for _ in range(steps):
        action = torch.randint(env.action.n, shape, generator=generator)
        state, _, _ = env.step(state, action, draw(env.step_noise))
    return state, torch.randint(env.action.n, shape, generator=generator), draw(env.step_noise)


@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
def test_any_leading_shape_equals_one_by_one(env, shape):
    state, action, noise = some(env, *shape)
    batched = outputs(env, state, action, noise)
    assert batched[-3].shape == shape + env.observation.shape
    assert batched[-2].shape == batched[-1].shape == shape
    for index in np.ndindex(*shape):
        single = outputs(env, tree.map(lambda x, i=index: x[i], state), action[index], noise[index])
        for whole, one in zip(batched, single, strict=True):
            assert torch.equal(whole[index], one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_types(env, dtype):
    *_, obs, reward, terminated = outputs(env, *some(env, 4, dtype=dtype))
    assert (obs.dtype, reward.dtype, terminated.dtype) == (torch.uint8, dtype, torch.bool)
    assert obs.is_contiguous() and obs.max() == 1


def test_the_ends_of_what_a_uniform_takes(env):
    """Zeros and the largest floats below one spawn, draw and repeat without leaving the board."""
    for u in (0.0, 1 - 2.0**-24):
        state = env.reset(torch.full((3, env.reset_noise), u))
        for _ in range(130):
            state, _, _ = env.step(state, torch.tensor([0, 3, 5]), torch.full((3, env.step_noise), u))
            assert env.observe(state).sum() > 0


def test_inputs_are_not_changed(env):
    state, action, noise = some(env, 2, 3)
    before = [x.clone() for x in (*tree.leaves(state), action, noise)]
    outputs(env, state, action, noise)
    assert all(map(torch.equal, before, (*tree.leaves(state), action, noise)))


def test_traces_to_a_graph_without_branches(env):
    """What one batch traced is right for another, without a sync, and in few kernels: a step costs what it launches."""
    state, *given = some(env, 5, seed=0)

    def step(leaves, *rest):
        left = iter(leaves)
        return outputs(env, tree.map(lambda _: next(left), state), *rest)

    traced = make_fx(step)(tree.leaves(state), *given)
    other, *given = some(env, 5, seed=1)
    for graph, eager in zip(traced(tree.leaves(other), *given), outputs(env, other, *given), strict=True):
        assert torch.equal(graph, eager)
    names = [str(node.target) for node in traced.graph.nodes if node.op == "call_function"]
    assert not any("_local_scalar_dense" in name for name in names)
    views = ("unbind", "select", "slice", "split", "squeeze", "expand", "view", "alias", "getitem", "detach")
    kernels = [name for name in names if not any(view in name for view in views)]
    bound = {"Asterix": 92, "Breakout": 62, "Freeway": 64, "Seaquest": 166, "SpaceInvaders": 75}
    assert len(kernels) <= bound[type(env).__name__], kernels


def test_annotations_hold(env):
    state, action, noise = some(env, 2, 3)
    for method, given in (("step", (state, action, noise)), ("observe", (state,))):
        jaxtyped(getattr(type(env), method), typechecker=beartype)(env, *given)
    jaxtyped(type(env).reset, typechecker=beartype)(env, torch.rand(2, 3, env.reset_noise))


# The core, and mistakes


@pytest.mark.parametrize("version", [0, 1])
def test_the_core_runs_it_and_resumes(game, version):
    name = f"MinAtar/{game}-v{version}"
    source, copied = (imitate.make(name, num_envs=3, members=2, seed=4) for _ in range(2))
    policy = Random(source.action)
    seen = source.collect(policy, 200)
    assert seen.obs.shape == (200, 2, 3, *source.observation.shape)
    assert seen.action.max() == source.action.n - 1
    assert Inputs(source.observation)(seen.obs[0]).unique().tolist() == [0.0, 1.0]
    copied.load_state_dict(source.state_dict())
    for a, b in zip(tree.leaves(source.collect(policy, 20)), tree.leaves(copied.collect(policy, 20)), strict=True):
        assert torch.equal(a, b)


def test_mistakes(game):
    kind = getattr(minatar, game)
    for probability in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="sticky_action_prob: a probability, not"):
            kind(sticky_action_prob=probability)
    with pytest.raises(ValueError, match="max_steps: at least 1, not 0"):
        kind(max_steps=0)
    with pytest.raises(ValueError, match="has no 'sticky'"):
        imitate.make(f"MinAtar/{game}-v1", env_kwargs={"sticky": 0.1})
