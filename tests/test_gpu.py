"""What only a GPU can show: a recording equals the eager run on the same noise, bit for bit where states are compared.

`tests/core/test_capture.py` has the same on the CPU, with a tape in place of a CUDA graph.
"""

import json

import pytest
import torch

import imitate
from imitate.conditioning.design import Design
from imitate.conditioning.models import MODELS
from imitate.conditioning.simulate import simulate
from imitate.core import tree
from imitate.core.capture import Captured, capture, disabled, paths
from imitate.core.checkpoint import load_state, state_of
from imitate.core.learner import Learner
from imitate.core.rollout import TensorSource
from imitate.policies import EpsilonZGreedy, Random
from imitate.teachers.control import control_law
from imitate_envs import ENVS

GRAPH = "CUDA graph"


def short(env_id="CartPole-v1", **more):
    """Environments that reach their time limit inside every rollout."""
    return TensorSource(ENVS[env_id](max_steps=17), id=env_id, num_envs=64, members=2, device="cuda", **more)


def driver(source, name):
    network = imitate.nets.policy(source, hidden=(64, 64))
    if name == "persistent":
        return EpsilonZGreedy(network, source.action, torch.full((2,), 0.2, device="cuda"))
    return Random(source.action) if name == "random" else network


def equal(mine, theirs):
    pairs = zip(tree.leaves(mine), tree.leaves(theirs), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["random", "network", "persistent"])
def test_a_recorded_rollout_is_the_rollout_bit_for_bit(name):
    eager, recorded = short(), short()
    policy = driver(eager, name)
    ended = 0
    for _ in range(8):  # the last six are replays: 120 steps
        with disabled():
            expected = eager.collect(policy, 20)
        found = recorded.collect(policy, 20)
        assert equal(found, expected)
        ended += int(expected.terminated.sum()) * int(expected.truncated.sum())
    assert equal(recorded.carry, eager.carry)
    assert ended > 0
    assert recorded._scan.path == GRAPH


@pytest.mark.gpu
@pytest.mark.parametrize("env_id", sorted(ENVS))
def test_every_environment_is_recorded(env_id):
    eager, recorded = (imitate.make(env_id, num_envs=4, members=2, device="cuda") for _ in range(2))
    policy = imitate.nets.policy(eager, hidden=(8,))
    for _ in range(4):
        with disabled():
            expected = eager.collect(policy, 10)
        found = recorded.collect(policy, 10)
        assert equal(found, expected)
    assert recorded._scan.path == GRAPH


@pytest.mark.gpu
def test_a_recorded_rollout_follows_its_policy():
    source = short()
    policy = driver(source, "network")
    for _ in range(4):
        source.collect(policy, 20)
    last = list(policy.parameters())[-1]
    with torch.no_grad():
        last.copy_(torch.tensor([-90.0, 90.0]))
    assert bool((source.collect(policy, 20).action == 1).all())
    Learner([policy], lambda batch: (batch, {}), lr=0.0)  # its parameters move
    with torch.no_grad():
        last.copy_(torch.tensor([90.0, -90.0]))
    for _ in range(3):
        assert bool((source.collect(policy, 20).action == 0).all())


@pytest.mark.gpu
def test_what_was_collected_is_kept_when_collecting_again():
    source = short()
    policy = driver(source, "random")
    seen = [source.collect(policy, 5) for _ in range(5)]
    again = short()
    with disabled():
        for one in seen:
            assert equal(one, again.collect(policy, 5))


def ppo(env_id="CartPole-v1", **more):
    config = imitate.PPOConfig(rollout=16, epochs=2, batch_size=64, anneal_lr=True, **more)
    return imitate.PPO(imitate.make(env_id, num_envs=8, members=4, device="cuda"), config)


def dqn():
    source = imitate.make("CartPole-v1", num_envs=8, members=4, device="cuda")
    return imitate.DQN(source, imitate.DQNConfig(capacity=2_000, learning_starts=64, target_every=5))


def cloning():
    source = imitate.make("Pendulum-v1", num_envs=4, members=4, device="cuda")
    shown = imitate.demonstrate(source, control_law("Pendulum-v1"), 2)
    config = imitate.BehaviourCloningConfig(validate_every=5)
    return imitate.BehaviourCloning(source, shown, imitate.nets.policy(source, hidden=(16,)), config)


RUNS = {
    "ppo": ppo,
    "ppo, continuous": lambda: ppo("Pendulum-v1", normalise_obs=True, normalise_reward=True),
    "dqn": dqn,
    "cloning": cloning,
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_recorded_updates_are_the_updates(name):
    with disabled():
        eager = RUNS[name]()
        expected = [eager.step() for _ in range(8)]
    recorded = RUNS[name]()
    found = [recorded.step() for _ in range(8)]
    assert paths(recorded)["learner"] == GRAPH
    assert float(eager.learner.count) >= 12
    torch.testing.assert_close(recorded.learner.flat, eager.learner.flat, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_recorded_run_resumes():
    whole, first, second = ppo(), ppo(), ppo()
    for _ in range(8):
        whole.step()
    for _ in range(4):
        first.step()
    load_state(second, json_free_copy(state_of(first)))
    for _ in range(4):
        second.step()
    torch.testing.assert_close(second.learner.flat, whole.learner.flat, rtol=1e-4, atol=1e-5)
    assert second.source._scan.path == GRAPH


def json_free_copy(state):
    return {key: json_free_copy(x) if isinstance(x, dict) else x.clone() for key, x in state.items()}


STREAM = {}


def draws(x):
    generator = STREAM.setdefault("generator", torch.Generator("cuda").manual_seed(0))
    return x + 0 * torch.rand(x.shape, generator=generator, device="cuda")


OBSTACLES = {
    "number": lambda x: x * float(x.sum()),
    "copy to the CPU": lambda x: x.cpu().cuda(),
    "list": lambda x: x * x.tolist()[0],
    "mask": lambda x: x[x > 0],
    "mask that is written through": lambda x: torch.zeros_like(x).index_put((x > 0,), x),
    "constant": lambda x: x + torch.tensor([1.0, 2.0], device="cuda"),
    "number made a tensor": lambda x: x + torch.as_tensor(2.0, device="cuda"),
    "random numbers": draws,
    "waits": lambda x: (torch.cuda.current_stream().synchronize(), x + torch.nonzero(x).sum())[1],
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", OBSTACLES)
def test_what_cannot_be_recorded_runs_eagerly_and_leaves_the_device_whole(name):
    recorded = capture(OBSTACLES[name], "cuda")
    for _ in range(5):
        assert torch.equal(recorded(torch.ones(2, device="cuda")), OBSTACLES[name](torch.ones(2, device="cuda")))
    assert isinstance(recorded, Captured)
    assert recorded.path.startswith("eager: ")
    assert "recording failed" not in recorded.path  # it is found before: a recording that fails harms the allocator
    torch.cuda.empty_cache()
    other = capture(lambda x: x + 1, "cuda")
    assert [float(other(torch.zeros((), device="cuda"))) for _ in range(4)] == [1.0] * 4
    assert other.path == GRAPH


@pytest.mark.gpu
def test_memory_is_given_back_with_the_source():
    def once():
        source = short()
        for _ in range(4):
            source.collect(Random(source.action), 20)
        policy = driver(source, "network")
        for _ in range(4):
            source.collect(policy, 20)

    once()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        once()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 2**20


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_rollout_is_close_to_the_rollout():
    plain, compiled = short(), short(compile=True)
    policy = driver(plain, "random")
    for _ in range(5):
        mine, theirs = (tree.leaves(source.collect(policy, 10)) for source in (compiled, plain))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)
    assert (compiled._scan.path, compiled._stretch.path) == (GRAPH, "torch.compile")


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(MODELS))
def test_traces_of_conditioning_are_those_of_the_cpu(name):
    design = Design("10A(US)/10B/5#A|10AB(US)/10AB/5#B")
    here, there = (design.compile(device=device, dtype=torch.float64) for device in ("cpu", "cuda"))
    expected, found = simulate(MODELS[name], here), simulate(MODELS[name], there)
    for mine, theirs in ((found.strengths, expected.strengths), (found.predictions, expected.predictions)):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=0, atol=1e-10)


def test_the_benchmark_goes_on_where_a_section_fails_or_time_is_over(tmp_path, monkeypatch, capsys):
    gpu = pytest.importorskip("benchmarks.gpu")

    def fails(options):
        yield {"name": "first", "steps_per_second": 2.0}
        raise RuntimeError("no memory\nat all")

    monkeypatch.setattr(gpu, "SECTIONS", {"one": fails, "two": gpu.conditioning.grid})
    sizes = {"device": "cpu", "points": 50, "designs": 1, "out": tmp_path / "gpu.json"}
    gpu.main(gpu.Options(**sizes))
    rows = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["first", "one", "grid of phenomena"]
    assert rows[1]["skipped"] == "RuntimeError: no memory"
    gpu.main(gpu.Options(**sizes, only=("two",), seconds=-1))
    rows = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["rows"]
    assert [row["skipped"] for row in rows] == ["-1 s were over"]
    assert "no memory" in capsys.readouterr().out
