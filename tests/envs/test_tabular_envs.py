"""The finite environments: equal to Gymnasium's toy_text, pure, and told exactly by their models."""

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch
from beartype import beartype
from gymnasium.utils.env_checker import check_env
from jaxtyping import jaxtyped
from torch.fx.experimental.proxy_tensor import make_fx

from imitate_envs import (
    ENVS,
    Bandit,
    Bernoulli,
    Catch,
    Chain,
    CliffWalking,
    DeepSea,
    Discrete,
    FourRooms,
    FrozenLake,
    Gaussian,
    GridWorld,
    RandomGrids,
    Tabular,
)
from imitate_envs.gymnasium import to_gymnasium

TOY_TEXT = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1"]
TABULAR = {
    **{name: ENVS[name]() for name in ("GridWorld-v0", *TOY_TEXT, "FourRooms-v0", "DeepSea-v0", "Chain-v0")},
    "Bandit-v0": ENVS["Bandit-v0"](),
    "deep sea, mixed": DeepSea(size=4, mapping_seed=3),
    "bandit of coins": Bandit((0.2, 0.7), Bernoulli()),
    "a random grid": RandomGrids(size=5, pits=0.2, goals=0.1, slip=0.3, ending=0.1, copies=2, seed=1),
    "a cliff, walls, ice": GridWorld(("SF#G", "FCFS", "HFFH"), reverse_rate=0.1, order="DLUR"),
}
ALL = {**TABULAR, "Catch-v0": Catch()}
SMALLEST = 2.0**-24


@pytest.fixture(params=ALL)
def env(request):
    return ALL[request.param]


@pytest.fixture(params=TABULAR)
def tabular(request):
    return TABULAR[request.param]


def inputs(env, *shape, dtype=torch.float64, seed=0):
    """A state some steps into an episode, an action and noise."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(width):
        return torch.rand(*shape, width, generator=generator, dtype=torch.float64).to(dtype)

    state = env.reset(uniform(env.reset_noise))
    for _ in range(3):
        state, _, _ = env.step(state, torch.randint(env.action.n, shape, generator=generator), uniform(env.step_noise))
    return state, torch.randint(env.action.n, shape, generator=generator), uniform(env.step_noise)


def outputs(env, state, action, noise):
    after, reward, terminated = env.step(state, action, noise)
    return after, env.observe(after), reward, terminated


# Gymnasium's toy_text


@pytest.mark.parametrize("name", TOY_TEXT)
def test_models_are_those_of_toy_text(name):
    """P, the rewards and the ends of every state that is not itself an end."""
    theirs, model = gymnasium.make(name).unwrapped, ENVS[name]().model()
    assert ENVS[name]().observation.n == theirs.observation_space.n == model.states
    np.testing.assert_array_equal(model.start.numpy(), theirs.initial_state_distrib)
    for state in range(model.states):
        for action in range(4):
            if model.terminal[state]:
                assert model.transition[state, action, state] == 1 and model.reward[state, action] == 0
                continue
            row, reward = np.zeros(model.states), 0.0
            for probability, after, paid, ended in theirs.P[state][action]:
                row[after] += probability
                reward += probability * paid
                assert ended == bool(model.terminal[after])
            np.testing.assert_allclose(model.transition[state, action].numpy(), row, rtol=0, atol=1e-15)
            assert model.reward[state, action].item() == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"success_rate": 0.75},
        {"is_slippery": False},
        {"reward_schedule": (10, -5, -1)},
        {"desc": ("SFS", "HFG")},
        {"desc": ["SFF", "FFG"], "success_rate": 0.5, "reward_schedule": (2, 0, -0.5)},
    ],
)
def test_options_of_frozen_lake(options):
    theirs, model = gymnasium.make("FrozenLake-v1", **options).unwrapped, FrozenLake(**options).model()
    np.testing.assert_array_equal(model.start.numpy(), theirs.initial_state_distrib)
    for state in range(model.states):
        for action in range(4):
            row, reward = np.zeros(model.states), 0.0
            for probability, after, paid, ended in theirs.P[state][action]:
                row[after] += probability
                reward += probability * paid
                assert ended == bool(model.terminal[after])
            np.testing.assert_allclose(model.transition[state, action].numpy(), row, rtol=0, atol=1e-15)
            assert model.reward[state, action].item() == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize("name", TOY_TEXT)
def test_seed_and_actions_give_gymnasiums_episode(name):
    ours, theirs = gymnasium.make(f"imitate/{name}"), gymnasium.make(name)
    ours.action_space.seed(0)
    ends = 0
    for seed in range(30):
        assert ours.reset(seed=seed)[0] == theirs.reset(seed=seed)[0]
        for _ in range(200):
            action = ours.action_space.sample()
            step, expected = ours.step(action), theirs.step(action)
            assert step[:4] == expected[:4]
            if step[2] or step[3]:
                ends += 1
                break
    assert ends == 30 or name.startswith("Cliff")


@pytest.mark.parametrize("name", TOY_TEXT)
def test_declarations_are_those_of_gymnasium(name):
    env, spec = ENVS[name](), gymnasium.spec(name)
    theirs = spec.make().unwrapped
    assert to_gymnasium(env.observation) == theirs.observation_space
    assert to_gymnasium(env.action) == theirs.action_space
    assert env.max_steps == (spec.max_episode_steps or 500)
    assert gymnasium.spec(f"imitate/{name}").reward_threshold == spec.reward_threshold


def test_pictures_are_gymnasiums():
    for name in ("FrozenLake-v1", "CliffWalking-v1"):
        ours, theirs = (gymnasium.make(n, render_mode="rgb_array") for n in (f"imitate/{name}", name))
        ours.reset(seed=0), theirs.reset(seed=0)
        for action in (1, 2, 0):
            assert np.array_equal(ours.render(), theirs.render())
            ours.step(action), theirs.step(action)
        ours.close(), theirs.close()
    other = gymnasium.make("imitate/FrozenLake-v1", env=FrozenLake(desc=("SG",)))
    assert other.unwrapped.metadata["render_modes"] == []  # Gymnasium draws only its own map


@pytest.mark.parametrize("name", ["GridWorld-v0", *TOY_TEXT, "FourRooms-v0", "DeepSea-v0", "Catch-v0", "Chain-v0"])
@pytest.mark.filterwarnings("ignore")  # about render modes and unbounded rewards; the checks themselves raise
def test_gymnasiums_checker_passes(name):
    check_env(gymnasium.make(f"imitate/{name}").unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec(f"imitate/{name}", num_envs=3, vectorization_mode="vector_entry_point")
    obs, _ = vector.reset(seed=0)
    assert obs.shape == (3, *ENVS[name]().observation.shape)
    for _ in range(30):
        obs, *_ = vector.step(vector.action_space.sample())
        assert vector.observation_space.contains(obs)


# Pure functions of tensors


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0,)])
def test_any_leading_shape_equals_row_by_row(env, shape):
    given = inputs(env, *shape)
    batched = outputs(env, *given)
    assert batched[0].shape == given[0].shape
    assert batched[1].shape == shape + env.observation.shape
    assert batched[2].shape == batched[3].shape == shape
    for index in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist() if shape else []:
        single = outputs(env, *(tensor[tuple(index)] for tensor in given))
        for whole, row in zip(batched, single, strict=True):
            assert torch.equal(whole[tuple(index)], row)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_type_follows_the_noise(env, dtype):
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if dtype is torch.float32 else torch.float32)
        given = inputs(env, 4, dtype=dtype)
        after, obs, reward, terminated = outputs(env, *given)
    finally:
        torch.set_default_dtype(default)
    assert reward.dtype is dtype and terminated.dtype is torch.bool
    assert after.dtype is obs.dtype is (torch.int64 if isinstance(env.observation, Discrete) else dtype)


def test_inputs_are_not_changed_and_annotations_hold(env):
    given = inputs(env, 2, 3)
    before = [tensor.clone() for tensor in given]
    outputs(env, *given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    for method, arguments in (("step", given), ("observe", given[:1]), ("reset", (torch.rand(2, 3, env.reset_noise),))):
        jaxtyped(getattr(type(env), method), typechecker=beartype)(env, *arguments)


def test_constants_are_fields(env):
    assert hash(env) == hash(dataclasses.replace(env)) and env == dataclasses.replace(env)
    with pytest.raises(dataclasses.FrozenInstanceError):
        env.size = 7


def test_observations_lie_in_their_space(env):
    space = to_gymnasium(env.observation)
    state = env.reset(torch.rand(64, env.reset_noise))
    for t in range(30):
        assert all(space.contains(np.array(obs, dtype=space.dtype)[()]) for obs in env.observe(state).numpy())
        after, _, terminated = env.step(state, inputs(env, 64, seed=t)[1], torch.rand(64, env.step_noise))
        state = torch.where(terminated.reshape(-1, *(1,) * (state.dim() - 1)), state, after)


def test_vmap_and_a_graph_without_branches(env):
    given, others = inputs(env, 5, seed=0), inputs(env, 5, seed=1)
    for mapped, batched in zip(
        torch.func.vmap(lambda *each: outputs(env, *each))(*given), outputs(env, *given), strict=True
    ):
        assert torch.equal(mapped, batched)
    traced = make_fx(lambda *each: outputs(env, *each))(*given)
    for graph, eager in zip(traced(*others), outputs(env, *others), strict=True):
        assert torch.equal(graph, eager)
    assert not any("_local_scalar_dense" in str(node.target) for node in traced.graph.nodes)  # no sync


# Models


def test_models_are_processes(tabular):
    model = tabular.model()
    assert isinstance(tabular, Tabular) and not isinstance(Catch(), Tabular)
    assert (model.states, model.actions) == (tabular.observation.n, tabular.action.n)
    assert model.transition.dtype is model.reward.dtype is model.start.dtype is torch.float64
    torch.testing.assert_close(model.transition.sum(-1), torch.ones(model.states, model.actions).double())
    assert model.start.sum().item() == pytest.approx(1) and not (model.start > 0)[model.terminal].any()
    ends = model.terminal.nonzero().flatten()
    assert (model.transition[ends, :, ends] > 1 - 1e-12).all() and (model.reward[ends] == 0).all()
    assert (model.continuing[..., model.terminal] == 0).all()


def test_models_tell_what_happens(tabular):
    """Evenly spaced uniforms measure the probabilities of every state that is reached, to 10⁻³."""
    model, grid = tabular.model(), 2000
    noise = (torch.arange(grid, dtype=torch.float64) + 0.5).div(grid).reshape(grid, 1)[:, : tabular.step_noise]
    for state in model.reachable.nonzero().flatten().tolist():
        if model.terminal[state]:
            continue
        for action in range(model.actions):
            after, reward, terminated = tabular.step(torch.full((grid,), state), torch.full((grid,), action), noise)
            share = torch.bincount(after, minlength=model.states) / grid
            torch.testing.assert_close(share.double(), model.transition[state, action], rtol=0, atol=1e-3)
            assert torch.equal(terminated, model.terminal[after])
            assert reward.mean().item() == pytest.approx(model.reward[state, action].item(), abs=0.12)
    starts = tabular.reset(noise if tabular.reset_noise else torch.empty(grid, 0))
    share = torch.bincount(starts, minlength=model.states) / grid
    torch.testing.assert_close(share.double(), model.start, rtol=0, atol=1e-3)


def test_reachable():
    assert FourRooms().model().reachable.sum() == 104
    assert CliffWalking().model().reachable.sum() == 48 - 10  # nobody ever stands in the cliff
    assert DeepSea(5).model().reachable.sum() == 15 + 1  # the triangle, and the bottom
    assert GridWorld(("S#FG",)).model().reachable.tolist() == [True, False, False, False]


# Each by itself


def test_moves_on_a_map():
    env = GridWorld(("S#G", "FCF", "FHF"), is_slippery=False, reward_schedule=(5.0, -2.0, -1.0))

    def go(state, name):
        after, reward, terminated = env.step(torch.tensor(state), torch.tensor("LDRU".index(name)), torch.tensor([0.5]))
        return after.item(), reward.item(), terminated.item()

    assert go(0, "R") == (0, -1, False)  # a wall
    assert go(0, "U") == (0, -1, False)  # the edge
    assert go(0, "D") == (3, -1, False)
    assert go(3, "R") == (0, -100, False)  # the cliff
    assert go(6, "R") == (7, -2, True)  # a hole
    assert go(5, "U") == (2, 5, True)  # the goal
    assert go(2, "D") == (2, 0, True)  # it is over


@pytest.mark.parametrize("order", ["LDRU", "URDL"])
def test_slips_are_turns(order):
    """From the middle of an open floor: straight on, to the sides, and back, in the shares that were asked for."""
    env = GridWorld(("SFF", "FFF", "FFF"), success_rate=0.5, reverse_rate=0.1, order=order)
    row = env.model().transition[4, order.index("R")]
    assert row[[5, 7, 1, 3]].tolist() == pytest.approx([0.5, 0.2, 0.2, 0.1])


def test_the_last_possible_turn_takes_what_rounding_leaves():
    for success in (1 / 3, 0.8, 0.1, 1.0, 0.0):
        env = GridWorld(("SFF", "FFF", "FFF"), success_rate=success)
        noise = torch.tensor([[1 - SMALLEST], [0.0]])
        after, _, _ = env.step(torch.tensor([4, 4]), torch.tensor([2, 2]), noise)
        assert 3 not in after.tolist()  # straight back is impossible


def test_four_rooms():
    """Sutton, Precup & Singh (1999): 2/3 ahead, 1/9 to each other side; a blocked move stays."""
    env = FourRooms()
    model = env.model()
    assert model.transition[1 * 13 + 1, "LDRU".index("R"), [15, 27, 14]].tolist() == pytest.approx(
        [2 / 3, 1 / 9, 2 / 9]
    )
    assert model.terminal.nonzero().item() == 7 * 13 + 9
    assert (model.start > 0).sum() == 103


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"desc": ("SF", "F")}, "one length"),
        ({"desc": ()}, "at least one"),
        ({"desc": ("FG",)}, "needs a cell S"),
        ({"desc": ("SX",)}, "not of X"),
        ({"order": "LRUD"}, "cycle of right angles"),
        ({"success_rate": 0.9, "reverse_rate": 0.2}, "sum at most 1"),
        ({"success_rate": -0.1}, "sum at most 1"),
    ],
)
def test_maps_that_are_none(options, message):
    with pytest.raises(ValueError, match=message):
        GridWorld(**options)


class BsuiteDeepSea:
    """bsuite's, step by step (deterministic)."""

    def __init__(self, size, cost, mapping):
        self.size, self.cost, self.mapping = size, cost, mapping
        self.row = self.column = 0

    def step(self, action):
        reward = 0.0
        right = action == self.mapping[self.row, self.column]
        if self.column == self.size - 1 and right:
            reward += 1.0
        if right:
            self.column = np.clip(self.column + 1, 0, self.size - 1)
            reward -= self.cost / self.size
        else:
            self.column = np.clip(self.column - 1, 0, self.size - 1)
        self.row += 1
        return reward, self.row == self.size

    def observation(self):
        obs = np.zeros((self.size, self.size))
        if self.row < self.size:
            obs[self.row, self.column] = 1
        return obs


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_deep_sea_is_bsuites(seed):
    size, rng = 6, np.random.default_rng(0)
    env = DeepSea(size, mapping_seed=seed)
    mapping = np.ones((size, size))
    if seed is not None:
        mapping = np.random.RandomState(seed).binomial(1, 0.5, (size, size))
    found = 0
    for episode in range(200):
        theirs, state = BsuiteDeepSea(size, 0.01, mapping), env.reset(torch.empty(0, dtype=torch.float64))
        ended = False
        while not ended:
            action = mapping[theirs.row, theirs.column] if episode == 0 else rng.integers(2)
            expected, ended = theirs.step(action)
            state, reward, terminated = env.step(state, torch.tensor(int(action)), torch.empty(0, dtype=torch.float64))
            assert reward.item() == pytest.approx(expected, abs=1e-12) and terminated.item() == ended
            picture = torch.nn.functional.one_hot(env.observe(state), size**2 + 1)[:-1].reshape(size, size)
            assert np.array_equal(picture.numpy(), theirs.observation())
            found += expected > 0.5
    assert found >= 1
    total = DeepSea(size).model()
    assert total.reward.max().item() == pytest.approx(1 - 0.01 / size)


def test_catch_is_bsuites():
    env = Catch()
    for u in np.linspace(0, 1 - 2**-20, 23):
        state = env.reset(torch.tensor([u]))
        column, paddle = int(u * 5), 2
        for row in range(1, 10):
            action = int(torch.randint(3, ()))
            paddle = min(max(paddle + action - 1, 0), 4)
            state, reward, terminated = env.step(state, torch.tensor(action), torch.empty(0))
            board = torch.zeros(10, 5, dtype=torch.float64)
            board[row, column] = board[9, paddle] = 1
            assert torch.equal(env.observe(state), board)
            assert terminated.item() == (row == 9)
            assert reward.item() == (0 if row < 9 else 1 if paddle == column else -1)


def test_chain_is_nchain():
    """The old NChain-v0: slips swap the actions; forwards pays at the end only."""
    env, rng = Chain(), np.random.default_rng(0)
    state, mine = 0, env.reset(torch.empty(0))
    for _ in range(500):
        action, u = int(rng.integers(2)), rng.random()
        back = (not action) if u < 0.2 else action
        if back:
            expected, state = 2.0, 0
        elif state < 4:
            expected, state = 0.0, state + 1
        else:
            expected = 10.0
        mine, reward, terminated = env.step(mine, torch.tensor(action), torch.tensor([u], dtype=torch.float64))
        assert (mine.item(), reward.item(), terminated.item()) == (state, expected, False)


def test_arms_pay_by_their_laws():
    noise = (torch.arange(10_000, dtype=torch.float64) + 0.5).div(10_000).unsqueeze(1)
    for env in (Bandit((1.0, -2.0), Gaussian(0.5)), Bandit((0.3, 0.9), Bernoulli())):
        for arm, mean in enumerate(env.means):
            state, reward, terminated = env.step(
                torch.zeros(10_000, dtype=torch.long), torch.full((10_000,), arm), noise
            )
            spread = 0.5 if isinstance(env.law, Gaussian) else math.sqrt(mean * (1 - mean))
            assert reward.mean().item() == pytest.approx(mean, abs=1e-3)
            assert reward.std().item() == pytest.approx(spread, abs=1e-2)
            assert terminated.all() and (state == 1).all()
    extreme = Bandit().step(
        torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), torch.tensor([[0.0], [1.0]])
    )
    assert extreme[1].isfinite().all()
    assert Bandit.testbed(5, seed=1) == Bandit.testbed(5, seed=1) != Bandit.testbed(5, seed=2)


def test_every_member_walks_in_a_world_of_its_own():
    env = RandomGrids(worlds=3, size=6, seed=5)
    alone, state = (
        [RandomGrids(worlds=w + 1, size=6, seed=5).model(w) for w in range(3)],
        env.reset(torch.empty(2, 4, 7, 0)),
    )
    models = [env.model(w) for w in range(4 - 1)]
    assert not torch.equal(models[0].transition, models[1].transition)
    for one, same in zip(models, alone, strict=True):  # worlds do not depend on how many there are
        assert torch.equal(one.transition, same.transition) and torch.equal(one.reward, same.reward)
    assert torch.equal(state[0, :, 0] // 37, torch.tensor([0, 1, 2, 0]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        seen, action = env.observe(state), torch.randint(4, state.shape, generator=generator)
        after, _, _ = env.step(state, action, torch.rand(*state.shape, 1, generator=generator))
        assert torch.equal(after // 37, state // 37)
        for m in range(4):
            likely = models[m % 3].transition[seen[:, m], action[:, m], env.observe(after)[:, m]]
            assert (likely > 0).all()
        state = after


def test_a_goal_can_be_reached_in_every_random_grid():
    env = RandomGrids(worlds=20, size=6, walls=0.35, goals=0.02)
    for world in range(20):
        model = env.model(world)
        assert (model.reachable & ((model.reward > 0).any(1))).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bandit(()), "at least one arm"),
        (lambda: Bandit((0.2, 1.5), Bernoulli()), "are probabilities"),
        (lambda: Chain(n=1), "at least 2 states"),
        (lambda: Chain(slip=1.5), "a probability"),
        (lambda: DeepSea(0), "at least 1"),
        (lambda: Catch(rows=1), "at least 2"),
        (lambda: RandomGrids(worlds=0), "worlds: at least 1, not 0"),
        (lambda: RandomGrids(slip=1.5), "slip, ending: probabilities"),
        (lambda: RandomGrids(goals=0.0), "goals: more than 0"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
