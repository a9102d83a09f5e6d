import numpy as np
import pytest
import torch

from imitate import nets, teachers
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Teacher
from imitate.nets import TabularPolicy
from imitate.students import DAgger, DAggerConfig
from imitate.teachers import planner, policy_iteration, policy_values, value_iteration
from imitate_envs import Catch, Chain, CliffWalking, DeepSea, FourRooms, FrozenLake, FrozenLake8x8, GridWorld

ENVS = [GridWorld(), FrozenLake(), FrozenLake8x8(), CliffWalking(), FourRooms(), DeepSea(6, mapping_seed=1), Chain()]


@pytest.fixture(params=ENVS, ids=lambda env: type(env).__name__)
def env(request):
    return request.param


def source(env, members=1, name=None):
    return TensorSource(env, id=name or type(env).__name__, num_envs=2, members=members)


def naive_values(model, gamma, sweeps):
    """Value iteration as it is written in the book: loops, in numpy, each state backed up in its turn."""
    transition, reward = model.transition.numpy(), model.reward.numpy()
    values = np.zeros(model.states)
    for _ in range(sweeps):
        for s in range(model.states):
            if not model.terminal[s]:
                values[s] = max(reward[s, a] + gamma * transition[s, a] @ values for a in range(model.actions))
    return values


def test_value_iteration_is_the_books(env):
    model = env.model()
    plan = value_iteration(model, 0.9)
    np.testing.assert_allclose(plan.values.numpy(), naive_values(model, 0.9, 250), rtol=0, atol=1e-8)
    torch.testing.assert_close(plan.q.amax(-1), plan.values, rtol=0, atol=1e-9)
    assert (plan.values[model.terminal] == 0).all() and plan.values.dtype is torch.float64


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
def test_policy_iteration_finds_the_same(env, gamma):
    model = env.model()
    one, other = value_iteration(model, gamma, tolerance=1e-12), policy_iteration(model, gamma)
    torch.testing.assert_close(one.values, other.values, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.q, other.q, rtol=1e-9, atol=1e-9)
    assert other.iterations < 50


def test_values_of_a_policy_are_a_linear_solve(env, generator):
    model = env.model()
    policy = torch.rand(model.states, model.actions, generator=generator)
    policy /= policy.sum(-1, keepdim=True)
    values = policy_values(model, policy, 0.9).numpy()
    going_on = np.where(model.terminal.numpy(), 0.0, model.transition.numpy())
    pi = policy.double().numpy()
    step, earned = np.einsum("sa,sat->st", pi, going_on), (pi * model.reward.numpy()).sum(1)
    np.testing.assert_allclose(values, earned + 0.9 * step @ values, atol=1e-12)
    np.testing.assert_allclose(values, np.linalg.solve(np.eye(model.states) - 0.9 * step, earned), atol=1e-10)


def test_the_best_policys_values_are_the_best(env):
    model = env.model()
    plan = value_iteration(model, 0.95)
    values = policy_values(model, torch.nn.functional.one_hot(plan.actions, model.actions), 0.95)
    torch.testing.assert_close(values, plan.values, rtol=0, atol=1e-8)


def test_values_that_are_known():
    assert value_iteration(FrozenLake().model(), 0.99).values[0].item() == pytest.approx(0.5420, abs=1e-4)
    assert value_iteration(FrozenLake().model(), 1.0).values[0].item() == pytest.approx(14 / 17, abs=1e-6)
    assert value_iteration(CliffWalking().model(), 1.0).values[36].item() == -13
    assert value_iteration(DeepSea(20).model(), 1.0).values[0].item() == pytest.approx(0.99)
    # Chain: with p = .8 forwards the last state is held a share .8⁴ of the time, a fifth of the steps goes back.
    chain = value_iteration(Chain().model(), 0.999, tolerance=1e-8)
    assert (0.001 * chain.values).tolist() == pytest.approx([0.8**5 * 10 + 0.2 * 2] * 5, abs=0.05)
    assert (chain.actions == 0).all()


def test_the_best_epsilon_greedy_policy():
    """Its values are a fixed point twice over: of the soft backup, and of the greedy policy made of them."""
    model, epsilon = GridWorld().model(), 0.3
    plan = value_iteration(model, 0.9, epsilon=epsilon)
    policy = epsilon / 4 + (1 - epsilon) * torch.nn.functional.one_hot(plan.actions, 4).double()
    torch.testing.assert_close(policy_values(model, policy, 0.9), plan.values, rtol=0, atol=1e-9)
    assert (plan.values <= value_iteration(model, 0.9).values + 1e-9).all()
    uniform = policy_values(model, torch.full((25, 4), 0.25).double(), 0.9)
    torch.testing.assert_close(value_iteration(model, 0.9, epsilon=1.0).values, uniform, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: value_iteration(m, 1.1), "gamma: a discount"),
        (lambda m: value_iteration(m, 0.9, epsilon=2.0), "epsilon: a probability"),
        (lambda m: value_iteration(m, 1.0, max_iterations=50), "still change after 50 sweeps"),
        (lambda m: policy_iteration(m, 1.0), r"one in \[0, 1\)"),
        (lambda m: policy_iteration(m, 0.9, max_iterations=1), "still improves after 1"),
        (lambda m: policy_values(m, torch.ones(5, 2), -0.1), "gamma: a discount"),
    ],
)
def test_mistakes(call, message):
    model = Chain(large=0.0).model()  # so that the first policy, forwards, is not the best
    with pytest.raises(ValueError, match=message):
        call(model)


# As a teacher


def test_a_planner_is_a_teacher():
    teacher = planner(FrozenLake(), 0.99, solve=policy_iteration)
    assert isinstance(teacher, Teacher) and isinstance(teacher, TabularPolicy)
    plan = value_iteration(FrozenLake().model(), 0.99)
    torch.testing.assert_close(teacher.values[0], plan.values.float(), rtol=0, atol=1e-6)
    # 0.74 is what the best policy earns in 100 steps; it takes this many episodes to tell.
    returns = source(FrozenLake()).play(teacher, 1000, seed=0)
    assert returns.mean().item() == pytest.approx(0.74, abs=0.04)


def test_distribution_is_uniform_over_the_best_actions_or_a_softmax():
    q = torch.tensor([[[1.0, 2.0, 2.0], [0.0, -1.0, -2.0]]])
    states = torch.tensor([[0, 1]])
    greedy = TabularPolicy(q).distribution(states)
    torch.testing.assert_close(greedy.probs[0], torch.tensor([[0, 0.5, 0.5], [1.0, 0, 0]]), rtol=0, atol=1e-12)
    soft = TabularPolicy(q, temperature=0.5).distribution(states)
    torch.testing.assert_close(soft.probs, (2 * q).softmax(-1))
    assert greedy.mode.tolist() == soft.mode.tolist() == [[1, 0]]
    assert greedy.kl(soft).isfinite().all() and soft.kl(greedy).isfinite().all()
    # A tie is one although the last bit differs.
    tied = TabularPolicy(torch.tensor([[[1.0, 1.0 + 2e-7]]])).distribution(torch.zeros(1, 1, dtype=torch.long))
    torch.testing.assert_close(tied.probs[0, 0], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (3, 4), (2, 3, 4)])
def test_one_member_serves_any_leading_shape(shape, generator):
    teacher = planner(GridWorld(), 0.9)
    states = torch.randint(25, shape, generator=generator)
    assert torch.equal(teacher.distribution(states).logits, teacher.distribution(torch.arange(25)).logits[states])
    action, memory, extras = teacher.act(states, torch.rand(*shape, 1, generator=generator), None)
    assert action.shape == shape and memory is None and extras == {}


def test_members_look_up_their_own_tables(generator):
    q = torch.rand(3, 5, 2, generator=generator)
    states = torch.randint(5, (3, 7), generator=generator)
    at = TabularPolicy(q).at(states)
    for m in range(3):
        assert torch.equal(at[m], q[m, states[m]])


def test_saved_and_loaded(tmp_path):
    teacher = planner(FrozenLake(), 0.99, temperature=0.1, env_id="FrozenLake-v1")
    teacher.save(tmp_path)
    for loaded in (nets.load(tmp_path), teachers.load(tmp_path, source(FrozenLake(), name="FrozenLake-v1"))):
        assert isinstance(loaded, TabularPolicy)
        assert torch.equal(loaded.q, teacher.q)
        assert (loaded.temperature, loaded.env, loaded.members) == (0.1, "FrozenLake-v1", 1)
    with pytest.raises(ValueError, match="was made for FrozenLake-v1"):
        teachers.load(tmp_path, source(GridWorld(("SFFF", "FFFF", "FFFF", "FFFG"))))
    with pytest.raises(ValueError, match=r"Discrete\(16\), but .* Discrete\(25\)"):
        teachers.load(tmp_path, source(GridWorld()))


def test_predict_is_stable_baselines():
    teacher = planner(FrozenLake(), 0.99)
    action, state = teacher.predict(0, deterministic=True)
    assert action.shape == () and action == teacher.q[0, 0].argmax() and state is None
    actions, _ = teacher.predict(np.array([0, 14, 8]), deterministic=True)
    assert actions.tolist() == teacher.q[0, [0, 14, 8]].argmax(-1).tolist()
    drawn, _ = teacher.predict(np.array([14] * 50))
    assert set(drawn.tolist()) == {1}


def test_named():
    lake = source(FrozenLake(), name="FrozenLake-v1")
    named = [teachers.load("plan", lake), teachers.load("plan:FrozenLake-v1"), planner(FrozenLake())]
    assert all(torch.equal(one.q, named[-1].q) for one in named) and named[0].env == "FrozenLake-v1"
    custom = GridWorld(("SFG", "FHF"))
    assert torch.equal(teachers.load("plan", source(custom, name="GridWorld-v0")).q, planner(custom).q)
    for what, where, message in (
        ("plan", None, "'plan' needs an id, as in 'plan:FrozenLake-v1'"),
        ("plan", source(Catch()), "Catch has no model"),
        ("plan:CartPole-v1", None, "CartPole-v1 has no model"),
        ("plan:Nowhere-v1", lake, "Nowhere-v1 has no model"),
    ):
        with pytest.raises(ValueError, match=message):
            teachers.load(what, where)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planner(Catch()), "Catch has no model"),
        (lambda: planner(Chain(), temperature=-1.0), "temperature: at least 0"),
        (lambda: planner(Chain(), 2.0), "gamma: a discount"),
        (lambda: TabularPolicy(torch.zeros(3, 2)), r"q: a table \[M, S, A\], not \(3, 2\)"),
    ],
)
def test_mistakes_of_teachers(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_foreign_files_are_refused(tmp_path):
    teacher = planner(Chain())
    teacher.save(tmp_path)
    text = (tmp_path / "policy.json").read_text("utf-8")
    (tmp_path / "policy.json").write_text(text.replace('"temperature"', '"warmth"'), "utf-8")
    with pytest.raises(ValueError, match="incomplete or foreign"):
        nets.load(tmp_path)


def test_a_network_learns_from_it():
    """DAgger on the states of a deterministic grid: the student agrees with the planner wherever it goes."""
    env = GridWorld(("SFFF", "FFHF", "FFFG"), is_slippery=False)
    where = TensorSource(env, id="GridWorld-v0", num_envs=8, members=2)
    student = nets.policy(where, (32,))
    dagger = DAgger(where, planner(env, 0.9), student, DAggerConfig(rounds=3, rollout=20, updates=150, lr=1e-2))
    while not dagger.progress.finished:
        dagger.step()
    assert (where.play(student, 20, seed=0) > 0).float().mean() > 0.9
