"""Files that are made to harm, each given to its reader in a process of its own: the short form of the benchmark."""

import io
import json
import struct
import zipfile
from random import Random

import pytest
import torch

import imitate
from benchmarks import hostile, hostile_files, hostile_pickles
from benchmarks.hostile import READERS, Options, attempt, failures, measure
from imitate.core import checkpoint
from imitate.teachers.sb3 import from_sb3
from imitate.teachers.sb3_files import read_vec_normalize
from imitate_envs.base import Discrete


def test_some_files_of_each_reader(tmp_path):
    """None is executed, takes much memory or time, raises anything but one line, or is read as what it cannot be."""
    rows = measure(Options(each=4, seed=1), tmp_path)
    assert {row["reader"] for row in rows} == set(READERS)
    assert failures(rows) == 0
    assert sum(row["refused"] for row in rows) > 10


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: (path.parent / "EXECUTED").touch() or {}, "executed"),
        (lambda path: {"x": torch.ones(2**24)}, "large"),  # 64 MiB
        (lambda path: {}[path], "raised"),
        (lambda path: json.loads("{"), "message"),
        (lambda path: {"x": torch.tensor([1.0, float("nan")])}, "unsound"),
        (lambda path: hostile.os._exit(3), "crashed"),
        (lambda path: {"x": torch.ones(2)}, "loaded"),
        (lambda path: (_ for _ in ()).throw(ValueError(f"{path.name}: no")), "refused"),
    ],
)
def test_whatever_must_not_happen_is_seen(read, kind, tmp_path):
    def reader(path):
        found = read(path)
        return dict(found)

    if kind == "refused":

        def reader(path):
            next(read(path))

    assert attempt(reader, tmp_path / "case", tmp_path / "EXECUTED", 2**25).kind == kind


def refused(read, path):
    """What the reader says of a file, in a process of its own."""
    found = attempt(lambda path: {"read": int(read(path) is None)}, path, path.parent / "EXECUTED")
    assert found.kind == "refused", found
    return found.detail


# VecNormalize


def vec(mean=None, var=None, count=10.0, epsilon=1e-8, clip=10.0, norm=b"\x88"):
    number, array, text = hostile_pickles.number, hostile_pickles.array, hostile_pickles.text
    running = {"mean": mean or array([0.0] * 4), "var": var or array([1.0] * 4), "count": number(count)}
    rms = hostile_pickles.named(*hostile_pickles.RUNNING) + b")R}"
    rms += b"".join(text(name) + value + b"s" for name, value in running.items()) + b"b"
    state = {"norm_obs": norm, "obs_rms": rms, "epsilon": number(epsilon), "clip_obs": number(clip)}
    body = b"".join(text(name) + value + b"s" for name, value in state.items())
    return b"\x80\x04" + hostile_pickles.named(*hostile_pickles.VEC_NORMALIZE) + b")R}" + body + b"b."


def test_statistics_that_make_sense_are_read(tmp_path):
    path = tmp_path / "vec.pkl"
    path.write_bytes(vec())
    assert read_vec_normalize(path).mean.tolist() == [0.0] * 4
    path.write_bytes(vec(clip=float("inf")))
    assert read_vec_normalize(path).clip == torch.finfo(torch.float32).max  # what no number reaches
    path.write_bytes(vec(norm=b"\x89"))
    assert read_vec_normalize(path) is None


ARRAY = hostile_pickles.array
NAN = float("nan")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (vec(var=ARRAY([1.0, -1.0, 1.0, 1.0])), "variance is negative"),
        (vec(var=ARRAY([0.0] * 4), epsilon=0.0), "or 0 together with epsilon"),
        (vec(mean=ARRAY([NAN] * 4)), "not finite"),
        (vec(var=ARRAY([NAN] * 4)), "not finite"),
        (vec(var=ARRAY([1.0] * 3)), "do not match"),
        (vec(clip=NAN), "make no sense"),
        (vec(clip=-1.0), "make no sense"),
        (vec(epsilon=NAN), "variance|make no sense"),
        (vec(count=-1.0), "make no sense"),
        (vec(count=float("inf")), "make no sense"),
        (vec(mean=ARRAY([0.0] * 4, "O")), "numbers of type O"),
        (vec(mean=ARRAY([0.0] * 4, shape=(2**62, 2**62))), "shape|big"),
        (vec(mean=ARRAY([0.0] * 4, shape=(-1,))), "an array without a shape"),
        (vec(mean=b"\x8b" + struct.pack("<i", 200) + b"\x11" * 200), "too large"),
        (vec(norm=b")" + b"2\x86" * 60), "a tuple where a number should be"),
        (vec(mean=b")" + b"\x85" * 20_000), "a tuple where a number should be"),
        (b"\x80\x04Nr" + struct.pack("<I", 2**30) + b".", "its memo reaches"),
        (b"\x80\x04}" + b")" + b"\x85" * 20_000 + b"Ns.", "it holds something else"),
        (b"\x80\x04})" + b"2\x86" * 60 + b"Ns.", "it holds something else"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**35) + b"x", "expected 34359738368 bytes"),
        (b"L" + b"9" * 100_000 + b"L\n.", "digits"),
    ],
)
def test_statistics_that_make_none_are_refused(content, message, tmp_path):
    (tmp_path / "vec.pkl").write_bytes(content)
    said = refused(read_vec_normalize, tmp_path / "vec.pkl")
    assert any(part in said for part in message.split("|"))


# Models of Stable-Baselines3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from stable_baselines3 import PPO

    path = tmp_path_factory.mktemp("model") / "model.zip"
    PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0, policy_kwargs={"net_arch": [8]}).save(path)
    return path.read_bytes()


def weights_of(model):
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        return torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)


def saved(weights):
    out = io.BytesIO()
    torch.save(weights, out)
    return out.getvalue()


def indexed(model, body):
    """Weights whose index is another pickle."""
    return hostile_files.rezipped(
        saved(weights_of(model)),
        lambda entries: entries.update({name: body for name in entries if name.endswith("data.pkl")}),
        zipfile.ZIP_STORED,
    )


FIRST, LAST = "mlp_extractor.policy_net.0.weight", "action_net.weight"
WEIGHTS = {
    "NaN": (lambda m: saved({**weights_of(m), FIRST: torch.full((8, 4), NAN)}), "of finite real numbers"),
    "complex": (lambda m: saved({**weights_of(m), FIRST: torch.zeros(8, 4, dtype=torch.complex64)}), "ComplexFloat"),
    "integers": (lambda m: saved({**weights_of(m), FIRST: torch.zeros(8, 4, dtype=torch.int64)}), "of finite real"),
    "huge": (lambda m: saved({**weights_of(m), FIRST: torch.full((8, 4), 1e300, dtype=torch.float64)}), "of finite"),
    "empty": (lambda m: saved({**weights_of(m), FIRST: torch.zeros(0, 4)}), "layer|empty"),
    "one number, seen 2**40 times": (
        lambda m: saved({**weights_of(m), LAST: torch.zeros(1).as_strided((2**20, 2**20), (0, 0))}),
        "larger than what is stored",
    ),
    "layers that do not meet": (lambda m: saved({**weights_of(m), LAST: torch.zeros(2, 9)}), "instead of (2, 8)"),
    "a list": (lambda m: saved([torch.zeros(1)]), "it is no state dict"),
    "memo": (lambda m: indexed(m, b"\x80\x02Nr" + struct.pack("<I", 2**30) + b"."), "its memo reaches"),
    "deep key": (lambda m: indexed(m, b"\x80\x02})" + b"\x85" * 20_000 + b"Ns."), "no text"),
    "shared key": (lambda m: indexed(m, b"\x80\x02})" + b"2\x86" * 60 + b"Ns."), "no text"),
    "bytes": (lambda m: indexed(m, b"\x80\x02B" + struct.pack("<I", 2**31 - 1) + b"."), "expected 2147483647 bytes"),
    "a pickle": (lambda m: b"\x80\x02" + hostile_pickles.value(Random(1), hostile.Path("/nowhere")), "torch before"),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_none_are_refused(name, model, tmp_path):
    make, message = WEIGHTS[name]
    content = make(model)
    path = tmp_path / "model.zip"
    path.write_bytes(hostile_files.rezipped(model, lambda entries: entries.update({"policy.pth": content})))
    said = refused(from_sb3, path)
    assert any(part in said for part in message.split("|"))
    assert "weights_only" not in said  # torch would advise to load it without


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_space": {"_shape": [10**10], "low": "...", "high": "..."}}, "does not fit"),
        ({"observation_space": {"low": "[nan nan nan nan]"}}, "do not enclose anything"),
        ({"observation_space": {"low": "[5e38 0 0 0]"}}, "do not enclose anything"),
        ({"observation_space": {"_shape": [10**18] * 10**5, "low": "...", "high": "..."}}, "a shape of [1000000"),
        ({"observation_space": {"_shape": "4"}}, "a shape of 4"),
        ({"observation_space": {"low": "1 " * 10**6}}, "a bound of 2,000,000 characters"),
        ({"action_space": {"n": 10**9}}, "does not fit"),
        ({"action_space": {"n": 2.5}}, "no whole number"),
        ({"action_space": {"n": 0}}, "does not fit"),
        ({"policy_kwargs": {"activation_fn": "A" * 10**6}}, "the activation AAA"),
        ({"policy_class": {"__module__": "os"}}, "a policy class of your own (in os)"),
        ({"policy_class": {"__module__": float("nan")}}, "which is not finite"),
    ],
)
def test_a_model_that_describes_something_else_is_refused(change, message, model, tmp_path):
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        data = json.loads(archive.read("data"))
    for key, values in change.items():
        data[key].update(values)
    path = tmp_path / "model.zip"
    path.write_bytes(hostile_files.rezipped(model, lambda entries: entries.update({"data": json.dumps(data)})))
    assert message in refused(from_sb3, path)


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_a_model_that_is_a_bomb_is_refused(name, model, tmp_path):
    (tmp_path / "model.zip").write_bytes(hostile_files.bomb(model, name, 2000))
    assert "would grow to 2,097,1" in refused(from_sb3, tmp_path / "model.zip")


# Policies of ours


def policy_folder(path):
    source = imitate.make("Pendulum-v1", num_envs=1, members=2, seed=0)
    imitate.nets.policy(source, (8,), normalise=True).save(path)
    return path


def edited(path, change):
    document = json.loads((path / "policy.json").read_text("utf-8"))
    change(document)
    (path / "policy.json").write_text(json.dumps(document), "utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(members=10**9), "they are not of 1,000,000,000 members"),
        (lambda d: d.update(members=-1), "they are not of -1 members"),
        (lambda d: d.update(members=2.0), "members: 2.0 does not fit"),
        (lambda d: d.update(members=True), "members: true does not fit"),
        (lambda d: d.update(env=3), "env: 3 does not fit"),
        (lambda d: d.update(custom_network="no"), 'custom_network: "no" does not fit'),
        (lambda d: d["architecture"].update(hidden=[10**9]), "it is larger than"),
        (lambda d: d["architecture"].update(hidden=[1] * 100_000), "it is larger than"),
        (lambda d: d["architecture"].update(hidden=[100] * 3), "one of the two alone has"),
        (lambda d: d["architecture"].update(hidden=[-1]), "hidden: at least 1"),
        (lambda d: d["architecture"].update(gru=10**9), "it is larger than"),
        (lambda d: d["architecture"].update(clip_obs=-1), "clip_obs: must be positive"),
        (lambda d: d["architecture"].update(normalise=1), "normalise: 1 does not fit"),
        (lambda d: d.update(observation={"box": [10**10], "low": 0, "high": 1}), "10000000000 numbers"),
        (lambda d: d.update(observation={"box": [10**18] * 10**5, "low": 0, "high": 1}), "100,000 axes"),
        (lambda d: d.update(observation={"box": [10**4] * 4, "low": 0, "high": 1}), "numbers or choices"),
        (lambda d: d.update(observation={"box": [3], "low": 1, "high": -1}), "do not enclose anything"),
        (lambda d: d.update(observation={"box": [3], "low": "nan", "high": 1}), "low: "),
        (lambda d: d.update(action={"discrete": 10**9}), "1000000000 numbers or choices"),
        (lambda d: d.update(action={"multi_discrete": [2, "3"], "start": [0, 0], "shape": [2]}), "multi_discrete: "),
    ],
)
def test_a_description_costs_nothing_until_the_weights_say_the_same(change, message, tmp_path):
    path = policy_folder(tmp_path / "run")
    edited(path, change)
    assert message in refused(imitate.load, path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("body.layers.0.weight", lambda x: x.double(), "torch.float64"),
        ("body.layers.0.weight", lambda x: x.long(), "torch.int64"),
        ("body.layers.0.weight", lambda x: x.mT.contiguous(), "(2, 8, 3) instead of"),
        ("body.layers.0.weight", lambda x: x * NAN, "is not finite"),
        ("body.normaliser.mean", lambda x: x + float("inf"), "is not finite"),
        ("body.normaliser.var", lambda x: -x, "is negative"),
        ("body.normaliser.count", lambda x: x - 1, "is negative"),
        ("head.log_std", lambda x: x[:1], "they are not of 2 members"),
        ("extra", lambda x: torch.zeros(2), "one of the two alone has extra"),
        ("head.log_std.x", lambda x: torch.zeros(2), "is a leaf"),
        ("a." * 70 + "b", lambda x: torch.zeros(2), "nested too deeply"),
    ],
)
def test_weights_of_another_kind_are_refused(name, change, message, tmp_path):
    path = policy_folder(tmp_path / "run")
    record = json.loads((path / "policy.json").read_text("utf-8"))
    weights = hostile_files.load((path / record["tensors"]).read_bytes())
    weights[name] = change(weights.get(name))
    (path / record["tensors"]).write_bytes(hostile_files.save(weights))
    digest = checkpoint._hash(path / record["tensors"])
    edited(path, lambda d: d.update(sha256=digest))
    assert message in refused(imitate.load, path)


@pytest.mark.parametrize(
    ("q", "description", "message"),
    [
        (torch.zeros(2, 5, 3, dtype=torch.int64), {}, "no table of real numbers"),
        (torch.full((2, 5, 3), NAN), {}, "or not finite"),
        (torch.zeros(2, 0, 3), {}, "or not finite"),
        (torch.zeros(2, 5), {}, "its table is (2, 5)"),
        (torch.zeros(2, 5, 3), {"members": 10**9}, "has 2 members"),
        (torch.zeros(2, 5, 3), {"temperature": "x"}, "temperature: "),
        (torch.zeros(2, 5, 3), {"temperature": -1}, "temperature: at least 0"),
    ],
)
def test_a_table_that_is_none_is_refused(q, description, message, tmp_path):
    about = {"kind": "TabularPolicy", "env": None, "members": 2, "temperature": 0.5}
    checkpoint.write(tmp_path / "run", "policy", {"q": torch.zeros(2, 5, 3)}, about)
    assert imitate.load(tmp_path / "run").observation == Discrete(5)
    checkpoint.write(tmp_path / "run", "policy", {"q": q}, {**about, **description})
    assert message in refused(imitate.load, tmp_path / "run")


# Runs


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints")
    hostile._checkpoints(path)
    return path


def full(value):
    return lambda x: torch.full_like(x, value)


@pytest.mark.parametrize(
    ("kind", "name", "change", "message"),
    [
        ("ppo", "policy.body.layers.0.weight", lambda x: x.double(), "not torch.float32"),
        ("ppo", "policy.body.layers.0.weight", full(NAN), "is not a number everywhere"),
        ("ppo", "policy.body.layers.0.weight", full(float("inf")), "is not finite"),
        ("ppo", "critic.value.bias", lambda x: x[:1], "size mismatch"),
        ("ppo", "source.state.0", full(NAN), "is not a number everywhere"),
        ("ppo", "source.state.0", lambda x: torch.cat([x, x]), "saved as (4, 2, 4)"),
        ("ppo", "source.elapsed", full(-5), "longer than the time limit"),
        ("ppo", "learner.square", full(-1.0), "second moments"),
        ("ppo", "progress.steps", full(-5), "not negative"),
        ("ppo", "progress.labels", lambda x: x[:1], "labels of (1,) members instead of (2,)"),
        ("q-learning", "exploration.epsilon", lambda x: x[:1], "epsilon is (1,), not (2,)"),
        ("ppo", "progress.stopped", lambda x: x.long(), "not torch.bool"),
        ("ppo", "shuffle.state", lambda x: x[:5], "RNG state"),
        ("ppo", "extra", lambda x: torch.zeros(2), "has no extra"),
        ("dqn", "replay.written", full(2**62), "not"),
        ("dqn", "replay.written", full(-1), "not"),
        ("dqn", "replay.oldest", full(2**62), "point to nothing"),
        ("dqn", "replay.steps.action", full(2), "point to nothing"),
        ("dqn", "replay.steps.number", full(-1), "point to nothing"),
        ("dqn", "replay.steps.ended", full(3), "point to nothing"),
        ("dqn", "replay.frames.written", full(-1), "point to nothing"),
        ("dqn", "target.updates", lambda x: x.float(), "not torch.int64"),
        ("q-learning", "source.state.0", full(16), "not those that its observations show"),
        ("q-learning", "rule.count", full(-1.0), "not negative"),
    ],
)
def test_a_checkpoint_that_points_to_nothing_is_refused(kind, name, change, message, checkpoints, tmp_path):
    path = tmp_path / f"case-{kind}"
    hostile.shutil.copytree(checkpoints / kind, path)
    state, description = checkpoint.read(path, "checkpoint")
    flat = dict(hostile.tree.flatten(state))
    flat[name] = change(flat.get(name))
    checkpoint.write(path, "checkpoint", hostile.tree.unflatten(flat), description)
    assert message in refused(hostile._read_checkpoint, path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.json", "[" * 100_000, "recursion"),
        ("run.json", '{"command": "ppo", "env": 3}', "env: 3 does not fit"),
        ("run.json", '{"command": "ppo", "members": "x"}', "members: "),
        ("run.json", '{"command": "ppo", "config": {"lr": NaN}}', "not finite"),
        ("run.json", '{"command": "ppo", "config": {"lr": "x"}}', "lr: "),
        ("run.json", '{"command": "ppo", "config": {"hidden": [8, "x"]}}', "hidden: "),
        ("run.json", '{"command": "ppo", "command": "dqn"}', "two values for 'command'"),
        ("run.json", '{"command": "ppo", "changes": [{"step": 3}]}', "a change names no option"),
        ("run.json", '{"command": "ppo", "changes": 3}', "was not written by imitate"),
        ("checkpoint.json", "[]", "a list instead of an object"),
        ("progress.csv", "steps,b\nabc,2\n", "is no table of a run's steps"),
        ("progress.csv", "a,b\n1,2\n", "is no table of a run's steps"),
        ("progress.csv", "steps,b\n1,2,3,4\n", "is no table of a run's steps"),
        ("progress.csv", "b,steps,c\n1,1\n", "is no table of a run's steps"),
    ],
)
def test_a_run_that_is_none_is_refused(file, text, message, tmp_path):
    hostile._run(tmp_path)
    (tmp_path / "run" / file).write_text(text, "utf-8")
    assert message in refused(hostile._read_run, tmp_path / "run")


# Demonstrations


def shown(path, **arrays):
    hostile._shown(path)
    content = (path / "shown.npz").read_bytes()
    (path / "shown.npz").write_bytes(hostile_files.rezipped(content, lambda entries: entries.update(arrays)))
    return path / "shown.npz"


def header(shape, descr="<f4"):
    return headed(repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n")


def headed(raw):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (header((10**12, 4)), "obs says that it is (1000000000000, 4), and has 0 bytes"),
        (header((2**62, 2**62)), "obs says that it is"),
        (header((-1, 4)), "obs says that it is"),
        (header((40, 4), "|O"), "holds object instead of numbers"),
        (header((40, 4), "|V4"), "holds |V4 instead of numbers"),
        (header((40, 4), "<c8"), "holds complex64 instead of numbers"),
        (header((40, 4), [("a", "<f4")]), "instead of numbers"),
        (headed(b"(" * 900), "is not a readable .npz file"),
        (header("x" * 5000), "Header info length"),
        (b"\x93NUMPY\x09\x00", "version (9, 0)"),
        (b"", "magic"),
    ],
)
def test_arrays_that_are_none_are_refused(obs, message, tmp_path):
    hostile._SOURCE[:] = [imitate.make("CartPole-v1", num_envs=1)]
    said = refused(hostile._read_shown, shown(tmp_path, **{"obs.npy": obs}))
    assert message in said


def test_arrays_that_nobody_asks_for_stay_packed(tmp_path):
    hostile._SOURCE[:] = [imitate.make("CartPole-v1", num_envs=1)]
    path = shown(tmp_path, **{"unused.npy": b"no array"})
    path.write_bytes(hostile_files.bomb(path.read_bytes(), "large.npy", 2000))
    assert attempt(hostile._read_shown, path, tmp_path / "EXECUTED", 2**26).kind == "loaded"
