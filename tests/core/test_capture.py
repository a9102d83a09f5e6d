"""Recordings on the CPU: a tape of operations stands for a CUDA graph, with addresses baked in like those of one."""

import gc
import sys
import weakref
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import imitate
from imitate.core import capture as captures
from imitate.core import tree
from imitate.core.capture import Captured, capture, disabled, paths
from imitate.core.compiled import Compiled
from imitate.core.learner import Learner
from imitate.core.rollout import STRETCH, TensorSource, _rollout, draw
from imitate.core.watch import Watch, memory, tensors, written_by
from imitate.policies import EpsilonGreedy, EpsilonZGreedy, Greedy, Random
from imitate.students.behaviour_cloning import imitator
from imitate_envs import ENVS
from imitate_envs.base import Discrete

CPU = torch.device("cpu")


def aliases(thing):
    """The same arguments with every tensor fixed to the memory that it has now."""
    if isinstance(thing, Tensor):
        return thing.detach()
    if isinstance(thing, (tuple, list)):
        return type(thing)(aliases(x) for x in thing)
    if isinstance(thing, dict):
        return {key: aliases(value) for key, value in thing.items()}
    return thing


class Tape:
    """Records operations with the memory they work on, and repeats them there, without the function."""

    name = "tape"

    def __init__(self):
        self.records = self.replays = 0

    def aside(self, run):
        return run(), False

    def record(self, run):
        self.records += 1
        mode = _Writing()
        with mode:
            found = run()
        for storage, content in mode.before.values():
            storage.copy_(content)  # a recording computes nothing
        for x in tree.leaves(found):
            if x.is_floating_point() and memory(x) not in mode.before:
                x.detach().fill_(torch.nan)

        def replay():
            self.replays += 1
            for function, args, kwargs, results in mode.operations:
                for old, new in zip(results, tensors([function(*args, **kwargs)]), strict=True):
                    if memory(old) != memory(new):
                        old.copy_(new)

        return replay, found


class _Writing(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations, self.before, self.made = [], {}, set()

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for x in written_by(function, args, kwargs):
            if memory(x) not in self.made and memory(x) not in self.before:
                self.before[memory(x)] = x.untyped_storage(), x.untyped_storage().clone()
        given = {memory(x) for x in tensors([args, list(kwargs.values())])}
        baked = aliases(args), aliases(kwargs)
        result = function(*args, **kwargs)
        returned = list(tensors([result]))
        self.made |= {memory(x) for x in returned} - given
        self.operations.append((function, *baked, [x.detach() for x in returned]))
        return result


@pytest.fixture
def tape(monkeypatch):
    """What is captured on the CPU from here on is recorded."""
    made = Tape()
    monkeypatch.setattr(captures, "recorder", lambda device: made)
    return made


@dataclass(frozen=True)
class Pair:
    left: Tensor
    right: Tensor
    scale: float = 2.0


def halves(pair):
    return {"sum": pair.scale * (pair.left + pair.right), "left": pair.left}


def test_on_the_cpu_a_function_is_itself():
    assert capture(halves, "cpu") is halves


def test_switched_off_in_the_environment_a_function_is_itself(monkeypatch):
    assert isinstance(capture(halves, "cuda"), Captured)
    monkeypatch.setenv("IMITATE_CAPTURE", "0")
    assert capture(halves, "cuda") is halves


def test_a_recording_computes_what_the_function_does(tape, generator):
    recorded, kept = capture(halves, CPU), []
    for _ in range(6):
        pair = Pair(torch.rand(3, 2, generator=generator), torch.rand(3, 2, generator=generator))
        expected = halves(Pair(pair.left.clone(), pair.right.clone()))
        found = recorded(pair)
        pair.left.fill_(9)  # neither inputs nor results are shared with the recording
        kept.append((found, expected))
    for found, expected in kept:
        assert torch.equal(found["sum"], expected["sum"])
    for found, expected in kept[2:]:
        assert torch.equal(found["left"], expected["left"])
    assert (tape.records, tape.replays) == (1, 4)
    assert recorded.path == "tape"


def test_results_may_be_the_next_inputs_in_another_order(tape):
    def swap(pair):
        return pair[1], pair[0] + 1

    recorded = capture(swap, CPU)
    mine = theirs = (torch.zeros(2), torch.ones(2))
    for _ in range(7):
        mine, theirs = recorded(mine), swap(theirs)
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert tape.replays == 5


def test_each_kind_of_input_has_a_recording_up_to_a_limit(tape):
    recorded = capture(halves, CPU)
    for size in range(1, captures.LIMIT + 3):
        for scale in (2.0, 2.0, 2.0):
            found = recorded(Pair(torch.ones(size), torch.ones(size), scale))
            assert torch.equal(found["sum"], 2 * scale * torch.ones(size))
    assert tape.records == captures.LIMIT


def test_numbers_beside_the_tensors_are_a_part_of_the_kind(tape):
    recorded = capture(halves, CPU)
    for scale in (1.0, 1.0, 1.0, 5.0):
        found = recorded(Pair(torch.ones(1), torch.ones(1), scale))
    assert float(found["sum"]) == 10.0


def test_the_modes_of_autograd_are_a_part_of_the_kind(tape):
    weight = torch.ones((), requires_grad=True)

    def slope(x):
        y = (weight * x).sum()
        return torch.autograd.grad(y, weight)[0] if y.requires_grad else torch.zeros(())

    recorded = capture(slope, CPU)
    for _ in range(4):
        with torch.no_grad():
            assert float(recorded(torch.ones(2))) == 0
        assert float(recorded(torch.ones(2))) == 2


@lru_cache(maxsize=1)
def _constant(value):
    return torch.tensor(value)


def test_what_is_made_once_is_no_obstacle_and_is_kept_alive(tape):
    recorded = capture(lambda x: x + _constant(3.0), CPU)
    for _ in range(3):
        recorded(torch.zeros(2))
    alive = weakref.ref(_constant(3.0))
    _constant.cache_clear()
    gc.collect()
    assert alive() is not None
    assert torch.equal(recorded(torch.zeros(2)), torch.full((2,), 3.0))
    assert tape.replays == 2


COUNT = torch.zeros((), dtype=torch.int64)
DRAWS = torch.Generator().manual_seed(0)
OBSTACLES = {
    "waits": (lambda x: x * float(x.sum()), "waits for a result"),
    "branches": (lambda x: x if x.sum() > 0 else -x, "waits for a result"),
    "counts": (lambda x: x + int(COUNT.add_(1)), "waits for a result"),
    "mask": (lambda x: x[x > 0], "shapes depend on the data"),
    "nonzero": (lambda x: x.nonzero(), "shapes depend on the data"),
    "draws": (lambda x: x + torch.rand(x.shape, generator=DRAWS), "random numbers"),
    "drops": (lambda x: torch.nn.functional.dropout(x), "random numbers"),
    "makes": (lambda x: x + torch.tensor([1.0, 2.0]), "Python numbers"),
    "overwrites": (lambda x: x.mul_(2), "writes to its input"),
    "overwrites a view": (lambda x: torch.add(x, 1, out=x[:]), "writes to its input"),
    "differentiable": (lambda x: x * torch.ones(2, requires_grad=True), "a gradient"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_cannot_be_recorded_runs_eagerly_and_says_why(tape, name):
    function, reason = OBSTACLES[name]
    recorded = capture(function, CPU)

    def run(function):
        DRAWS.manual_seed(0)
        torch.manual_seed(0)
        COUNT.zero_()
        return [function(torch.ones(2)) for _ in range(5)]

    for mine, theirs in zip(run(recorded), run(function), strict=True):
        assert torch.equal(mine, theirs)
    assert tape.records == 0
    assert recorded.path.startswith("eager: ")
    assert reason in recorded.path


def test_an_index_by_numbers_is_no_obstacle(tape):
    recorded = capture(lambda x: x[torch.arange(2), torch.zeros(2, dtype=torch.int64)], CPU)
    for _ in range(4):
        recorded(torch.ones(2, 3))
    assert tape.replays == 2


def test_a_tensor_on_another_device_is_found():
    with Watch([], torch.device("cuda")) as watch:
        torch.ones(2)
    assert "a tensor on the cpu" in watch.reason


def test_a_recording_that_fails_leaves_the_function_eager(tape, monkeypatch):
    def fail(run):
        raise RuntimeError("operation not permitted\nand so on")

    monkeypatch.setattr(tape, "record", fail)
    recorded = capture(lambda x: x + 1, CPU)
    assert [float(recorded(torch.zeros(()))) for _ in range(5)] == [1.0] * 5
    assert recorded.path == "eager: recording failed: operation not permitted"


def test_an_error_of_the_function_is_its_own(tape):
    def refuse(x):
        raise ValueError("x: too small")

    with pytest.raises(ValueError, match="x: too small"):
        capture(refuse, CPU)(torch.zeros(()))


def test_tensors_that_move_are_recorded_anew(tape):
    p = torch.nn.Parameter(torch.ones(2))
    recorded = capture(lambda x: (x * p).detach(), CPU)
    for _ in range(3):
        recorded(torch.ones(2))
    p.data = torch.full((2,), 5.0)  # as a second learner of the same policy does it
    for _ in range(4):
        assert torch.equal(recorded(torch.ones(2)), torch.full((2,), 5.0))
    assert tape.records == 2
    for _ in range(3 * captures.LIMIT):
        p.data = p.data.clone()
        recorded(torch.ones(2))
        recorded(torch.ones(2))
    assert tape.records == 1 + captures.LIMIT
    assert recorded.path == "eager: tensors that it works on keep moving"


def test_tensors_that_change_in_place_need_nothing(tape):
    p = torch.ones(2)
    recorded = capture(lambda x: x * p, CPU)
    for number in range(6):
        p.fill_(number)
        assert torch.equal(recorded(torch.ones(2)), p)
    assert tape.records == 1


def test_disabled_runs_eagerly_and_comes_back(tape):
    recorded = capture(lambda x: x + 1, CPU)
    for _ in range(3):
        recorded(torch.zeros(()))
    with disabled():
        assert float(recorded(torch.zeros(()))) == 1.0
    assert tape.replays == 1
    recorded(torch.zeros(()))
    assert tape.replays == 2


def test_a_function_inside_of_another_is_a_part_of_its_recording(tape):
    inner = capture(lambda x: x + 1, CPU)
    outer = capture(lambda x: 2 * inner(x), CPU)
    assert [float(outer(torch.zeros(()))) for _ in range(5)] == [2.0] * 5
    assert (tape.records, outer.path, inner.path) == (1, "tape", "eager so far")


def drivers(source):
    fresh = imitate.nets.policy(source, hidden=(8,))
    half = torch.full((source.members,), 0.5)
    found = {
        "random": Random(source.action),
        "network": fresh,
        "explorer": EpsilonGreedy(Greedy(fresh), source.action, half),
    }
    if isinstance(source.action, Discrete):
        found["persistent"] = EpsilonZGreedy(fresh, source.action, half)
    return found


def short(env_id, **more):
    """Few environments that reach their time limit, and the noise of which is the same at every call."""
    return TensorSource(ENVS[env_id](max_steps=7), id=env_id, num_envs=3, members=2, **more)


@pytest.mark.parametrize("driver", ["random", "network", "explorer", "persistent"])
def test_a_recorded_rollout_is_the_rollout(monkeypatch, driver):
    eager = short("CartPole-v1")
    policy = drivers(eager)[driver]
    expected = [eager.collect(policy, 5) for _ in range(6)]
    tape = Tape()
    monkeypatch.setattr(captures, "recorder", lambda device: tape)
    recorded = short("CartPole-v1")
    for one in expected:
        for mine, theirs in zip(tree.leaves(recorded.collect(policy, 5)), tree.leaves(one), strict=True):
            assert torch.equal(mine, theirs)
    assert (tape.records, tape.replays) == (1, 4)
    assert any(one.truncated.any() for one in expected[2:])


def test_a_recorded_rollout_follows_its_policy(tape):
    source = short("CartPole-v1")
    policy = imitate.nets.policy(source, hidden=(8,))
    for _ in range(4):
        source.collect(policy, 5)
    with torch.no_grad():
        last = [p for p in policy.parameters() if p.dim() == 3 and p.shape[1] == 1][-1]
        last.copy_(torch.tensor([-50.0, 50.0]))
    assert bool((source.collect(policy, 5).action == 1).all())
    Learner([policy], lambda batch: (batch, {}), lr=0.0)  # its parameters move
    with torch.no_grad():
        last.copy_(torch.tensor([50.0, -50.0]))
    for _ in range(3):
        assert bool((source.collect(policy, 5).action == 0).all())
    assert tape.records == 2


@pytest.mark.parametrize("env_id", sorted(ENVS))
def test_every_environment_and_driver_can_be_recorded(env_id):
    source = imitate.make(env_id, num_envs=2, members=2)
    policies = {"random": Random(source.action)}
    if not isinstance(source.observation, Discrete):  # `one_hot` looks at its input, on the CPU alone
        policies["network"] = imitate.nets.policy(source, hidden=(8,))
    for name, policy in policies.items():
        source.collect(policy, 1)  # makes the constants
        given = source.carry, draw(source.env, policy, source.decisions, source.dynamics, 2, 2, 2)
        with torch.no_grad(), Watch(tree.leaves(given), CPU) as watch:
            _rollout(source.env, policy, given)
        assert watch.reason is None, f"{name}: {watch.reason}"


ALGORITHMS = {
    "ppo": (imitate.PPO, imitate.PPOConfig(rollout=8, epochs=2, batch_size=16, normalise_obs=True, anneal_lr=True)),
    "dqn": (imitate.DQN, imitate.DQNConfig(capacity=500, learning_starts=32, batch_size=8, target_every=3)),
}


@pytest.mark.parametrize(("name", "env_id"), [("ppo", "CartPole-v1"), ("ppo", "Pendulum-v1"), ("dqn", "CartPole-v1")])
def test_a_recorded_run_is_the_run(monkeypatch, name, env_id):
    algorithm, config = ALGORITHMS[name]

    def run():
        made = algorithm(imitate.make(env_id, num_envs=4, members=2), config)
        return made, [made.step() for _ in range(6)]

    eager, expected = run()
    tape = Tape()
    monkeypatch.setattr(captures, "recorder", lambda device: tape)
    recorded, found = run()
    assert tape.records == 2
    assert paths(recorded) == {"source": "tape", "learner": "tape"}
    assert torch.equal(recorded.learner.flat, eager.learner.flat)
    assert torch.equal(recorded.learner.square, eager.learner.square)
    for mine, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_recorded_cloning_is_cloning(monkeypatch, generator):
    examples = [
        imitate.core.replay.Examples(torch.rand(2, 8, 3, generator=generator), torch.rand(2, 8, 1, generator=generator))
        for _ in range(6)
    ]

    def run():
        source = imitate.make("Pendulum-v1", num_envs=1, members=2)
        student = imitate.nets.policy(source, hidden=(8,))
        learner = imitator(student, imitate.losses.imitation.squared_error, source, 0.1, 1e-2, 1e-3)
        assert learner.gradient is None  # by autograd
        for batch in examples:
            learner(batch)
        return learner

    eager = run()
    tape = Tape()
    monkeypatch.setattr(captures, "recorder", lambda device: tape)
    recorded = run()
    assert tape.replays == 4
    assert torch.equal(recorded.flat, eager.flat)


def test_a_recorded_run_resumes(tape, tmp_path):
    def fresh():
        algorithm, config = ALGORITHMS["ppo"]
        return algorithm(imitate.make("CartPole-v1", num_envs=4, members=2), config)

    whole, first, second = fresh(), fresh(), fresh()
    for _ in range(8):
        whole.step()
    for _ in range(4):
        first.step()
    imitate.core.checkpoint.load_state(second, tree_clone(imitate.core.checkpoint.state_of(first)))
    for _ in range(4):
        second.step()
    assert torch.equal(second.learner.flat, whole.learner.flat)
    assert torch.equal(second.source.carry.obs, whole.source.carry.obs)


def tree_clone(state):
    return {key: tree_clone(x) if isinstance(x, dict) else x.clone() for key, x in state.items()}


def test_a_learner_whose_loss_draws_runs_eagerly(tape):
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    noisy = imitate.DQNConfig(capacity=500, learning_starts=16, batch_size=8, noisy=True)
    algorithm = imitate.DQN(source, noisy)
    for _ in range(6):
        algorithm.step()
    assert "random numbers" in paths(algorithm)["learner"]


class GivesUp(RuntimeError):
    """The compiler's error."""


@pytest.fixture
def compiler(monkeypatch):
    """Install a function in place of torch.compile, whose import takes seconds."""

    def install(compile_):
        exc, config = SimpleNamespace(TorchDynamoException=GivesUp), SimpleNamespace(recompile_limit=8)
        monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace(exc=exc, config=config))
        monkeypatch.setattr(torch, "compile", lambda function, dynamic: compile_(function))

    return install


def test_what_does_not_compile_runs_eagerly_and_says_why(compiler):
    def refuse(*args):
        raise GivesUp("no compiler here\nand a long story")

    compiler(lambda function: refuse)
    compiled = Compiled(lambda x: x + 1)
    assert [float(compiled(torch.zeros(()))) for _ in range(2)] == [1.0, 1.0]
    assert compiled.path == "eager: torch.compile failed: no compiler here"


@pytest.mark.parametrize("steps", [1, 6, 11, 2 * STRETCH])
def test_a_rollout_in_stretches_is_the_rollout(compiler, steps):
    compiler(lambda function: function)
    plain, compiled = short("CartPole-v1"), short("CartPole-v1", compile=True)
    policy = imitate.nets.policy(plain, hidden=(8,))
    for _ in range(3):
        for mine, theirs in zip(
            tree.leaves(compiled.collect(policy, steps)), tree.leaves(plain.collect(policy, steps)), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert compiled._stretch.path == "torch.compile"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [5, 16])
def test_a_compiled_rollout_is_close_to_the_rollout(steps):
    plain, compiled = short("CartPole-v1"), short("CartPole-v1", compile=True)
    policy = Random(plain.action)  # the checks of shapes in the tests, of distributions too, cannot be compiled
    for _ in range(3):
        mine, theirs = (tree.leaves(source.collect(policy, steps)) for source in (compiled, plain))
        torch.testing.assert_close(mine, theirs)
    assert compiled._stretch.path == "torch.compile"
