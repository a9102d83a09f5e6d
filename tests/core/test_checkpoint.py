import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import imitate
from imitate.baselines import PPO, PPOConfig
from imitate.core import checkpoint, tree
from imitate.core.checkpoint import load_state, read, state_of, write
from imitate.core.noise import Stream
from imitate.core.wrappers import Relabelled, Viewed
from imitate.nets.layers import MLP
from imitate_envs.base import Box
from tests.oracles import stream


def state(value=1.0):
    return {
        "count": torch.tensor(7, dtype=torch.int64),
        "deep": {"er": {"x": torch.full((2, 3), value), "net.0.weight": torch.rand(4)}},
        "flag": torch.tensor([True, False]),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "nothing": torch.zeros(0, 4),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def leaves(nested):
    return dict(tree.flatten(nested))


def test_what_is_written_is_read(tmp_path):
    mine = state()
    write(tmp_path / "new" / "folder", "run", mine, {"steps": 5, "name": "é", "list": [1, None]})
    found, description = read(tmp_path / "new" / "folder", "run")
    assert leaves(found).keys() == leaves(mine).keys()
    for path, value in leaves(mine).items():
        assert leaves(found)[path].dtype == value.dtype
        torch.testing.assert_close(leaves(found)[path], value, rtol=0, atol=0, equal_nan=True)
    assert description["steps"] == 5
    assert description["name"] == "é"
    assert description["list"] == [1, None]


@pytest.mark.parametrize("piece", [1, 7, 24, 2**26])
def test_a_large_state_is_written_in_pieces(tmp_path, monkeypatch, piece):
    """The same file whatever the pieces, and one that safetensors reads; a view of a part of a ring is one case."""
    ring = torch.arange(2 * 3 * 5 * 4, dtype=torch.int16).reshape(2, 3, 5, 4)
    mine = {**state(), "used": ring[:, :, :3], "scalar": torch.tensor(3.5), "half": torch.rand(3, 2).bfloat16()}
    write(tmp_path / "whole", "run", mine, {})
    monkeypatch.setattr(checkpoint, "_PIECE", piece)
    write(tmp_path / "parts", "run", mine, {})
    whole, parts = (next((tmp_path / name).glob("run-*")) for name in ("whole", "parts"))
    assert whole.name == parts.name
    assert whole.read_bytes() == parts.read_bytes()
    found = load_file(parts)
    for path, value in leaves(mine).items():
        torch.testing.assert_close(found[path], value, rtol=0, atol=0, equal_nan=True)


def test_views_of_one_tensor_are_written_apart(tmp_path):
    flat = torch.arange(6.0)
    write(tmp_path, "run", {"a": flat[:3], "b": flat[1:], "c": flat}, {})
    found, _ = read(tmp_path, "run")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["c"].tolist() == flat.tolist()


def test_a_second_record_replaces_the_first_and_spares_others(tmp_path):
    write(tmp_path, "run", state(1.0), {})
    write(tmp_path, "run-b", state(2.0), {})
    write(tmp_path, "run", state(3.0), {})
    assert len(list(tmp_path.glob("run-????????????.safetensors"))) == 1
    assert float(read(tmp_path, "run")[0]["deep"]["er"]["x"][0, 0]) == 3
    assert float(read(tmp_path, "run-b")[0]["deep"]["er"]["x"][0, 0]) == 2
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".json",
        ".json",
        ".safetensors",
        ".safetensors",
    ]


def test_writing_the_same_again_is_harmless(tmp_path):
    same = state()
    write(tmp_path, "run", same, {})
    write(tmp_path, "run", same, {"steps": 1})
    assert read(tmp_path, "run")[1]["steps"] == 1


class Crash(Exception):
    pass


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("moment", ["replace", "open"])
def test_a_crash_leaves_the_old_record(tmp_path, monkeypatch, suffix, moment):
    write(tmp_path, "run", state(1.0), {"steps": 1})
    original = getattr(Path, moment)
    hit = []

    def crash(self, *args, **kwargs):
        if suffix in self.name and not str(self).endswith(suffix):  # the temporary file of this kind
            hit.append(self)
            raise Crash
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, moment, crash)
    with pytest.raises(Crash):
        write(tmp_path, "run", state(2.0), {"steps": 2})
    monkeypatch.undo()
    assert hit
    found, description = read(tmp_path, "run")
    assert description["steps"] == 1
    assert float(found["deep"]["er"]["x"][0, 0]) == 1
    write(tmp_path, "run", state(3.0), {"steps": 3})  # and the next attempt succeeds
    assert read(tmp_path, "run")[1]["steps"] == 3
    assert len(list(tmp_path.glob("run-*.safetensors"))) == 1


def two(value):
    return {name: ({"x": torch.full((2,), value)}, {"steps": int(value)}) for name in ("policy", "checkpoint")}


def values(folder):
    """What the records `policy` and `checkpoint` hold, None where there is none."""
    names = [name for name in ("policy", "checkpoint") if checkpoint.exists(folder, name)]
    found = [read(folder, name) for name in names]
    assert all(float(state["x"][0]) == description["steps"] for state, description in found)
    return [description["steps"] for _, description in found]


@pytest.mark.parametrize("first", [False, True])
def test_two_records_are_committed_together_whenever_it_crashes(tmp_path, first):
    """At every opening, replacement and deletion of a file in turn; what was begun is finished by who comes next."""
    folder, moments = tmp_path / "run", ("open", "replace", "unlink")

    def crashing(at):
        count, undo = [0], pytest.MonkeyPatch()

        def crash(original):
            def wrapper(self, *args, **kwargs):
                writes = original.__name__ != "open" or args[:1] == ("wb",)
                count[0] += writes
                if writes and count[0] == at:
                    raise Crash
                return original(self, *args, **kwargs)

            return wrapper

        for moment in moments:
            undo.setattr(Path, moment, crash(getattr(Path, moment)))
        try:
            checkpoint.commit(folder, two(2.0))
        except Crash:
            return True
        finally:
            undo.undo()
        return False

    seen = []
    for at in range(1, 100):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if not first:
            checkpoint.commit(folder, two(1.0))
        crashed = crashing(at)
        seen.append(values(folder))
        checkpoint.recover(folder, "policy", "checkpoint")
        assert values(folder) == seen[-1]
        assert len(list(folder.iterdir())) == 2 * len(seen[-1])  # nothing else lies there
        if not crashed:
            break
    assert at > 10
    before = [] if first else [1, 1]
    assert seen == sorted(seen)
    assert [one for one in seen if one != before] == [[2, 2]] * (len(seen) - seen.count(before)) != []


def test_a_commit_is_reverted_until_it_is_settled(tmp_path):
    for value in (1.0, 2.0, 3.0):
        checkpoint.commit(tmp_path, two(value), revertible=True)
        checkpoint.recover(tmp_path, "policy", "checkpoint")  # which spares what there is to go back to
        assert values(tmp_path) == [value, value]
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    assert checkpoint.revert(tmp_path, "checkpoint")
    assert values(tmp_path) == [2, 2]
    assert not checkpoint.revert(tmp_path, "checkpoint")  # only one step back
    assert len(list(tmp_path.iterdir())) == 4
    checkpoint.commit(tmp_path, two(4.0), revertible=True)
    checkpoint.settle(tmp_path, "policy", "checkpoint")
    assert len(list(tmp_path.iterdir())) == 4
    assert not checkpoint.revert(tmp_path, "checkpoint")
    assert values(tmp_path) == [4, 4]


@pytest.mark.parametrize("moment", ["_tensors", "_hash", "load_file"])
def test_a_reader_beside_a_writer_reads_what_it_has_written_since(tmp_path, monkeypatch, moment):
    write(tmp_path, "run", state(1.0), {"steps": 1})
    original, left = getattr(checkpoint, moment), [2.0, 3.0]

    def slow(*args):
        if left:  # the record is another one by now
            value = left.pop(0)
            write(tmp_path, "run", state(value), {"steps": int(value)})
        return original(*args)

    monkeypatch.setattr(checkpoint, moment, slow)
    found, description = read(tmp_path, "run")
    assert (float(found["deep"]["er"]["x"][0, 0]), description["steps"]) == (3, 3)


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    checkpoint.commit(tmp_path, two(1.0))
    litter = [".checkpoint.safetensors.123.tmp", ".progress.csv.7.tmp", "policy-0123456789ab.safetensors"]
    kept = ["policy-best.safetensors", "other-0123456789ab.safetensors", "notes.tmp", ".hidden"]
    for name in litter + kept:
        (tmp_path / name).write_text("")
    checkpoint.recover(tmp_path, "policy", "checkpoint")
    assert sorted(path.name for path in tmp_path.iterdir() if path.stat().st_size == 0) == sorted(kept)
    assert values(tmp_path) == [1, 1]


def test_a_foreign_journal_is_refused(tmp_path):
    for text in ("{", "[]"):
        (tmp_path / checkpoint.JOURNAL).write_text(text)
        with pytest.raises(ValueError, match=r"commit\.json' was not written by imitate"):
            read(tmp_path, "run")


def test_a_journal_writes_nowhere_else(tmp_path):
    folder = tmp_path / "run"
    write(folder, "run", state(1.0), {})
    held = json.loads((folder / "run.json").read_text("utf-8"))
    for name in ("../elsewhere", "/tmp/elsewhere", "a/b", ""):
        (folder / checkpoint.JOURNAL).write_text(json.dumps({name: held}))
        with pytest.raises(ValueError, match="it holds no records"):
            checkpoint.recover(folder, "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_description_that_is_no_json_leaves_the_old_record(tmp_path):
    write(tmp_path, "run", state(1.0), {"steps": 1})
    for description in ({"loss": float("nan")}, {"thing": object()}):
        with pytest.raises((ValueError, TypeError)):
            write(tmp_path, "run", state(2.0), description)
    assert float(read(tmp_path, "run")[0]["deep"]["er"]["x"][0, 0]) == 1


def edit(path, change):
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def tensor_file(folder):
    return next(folder.glob("run-*.safetensors"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: tensor_file(f).write_bytes(tensor_file(f).read_bytes()[:-5]), "truncated or was changed"),
        (lambda f: tensor_file(f).write_bytes(b""), "truncated or was changed"),
        (
            lambda f: tensor_file(f).write_bytes(tensor_file(f).read_bytes()[:-1] + b"\x01"),
            "truncated or was changed",
        ),
        (lambda f: save_file({"x": torch.zeros(1)}, tensor_file(f)), "truncated or was changed"),
        (lambda f: tensor_file(f).unlink(), "is missing"),
        (lambda f: edit(f / "run.json", lambda d: d.update(sha256="0" * 64)), "does not match"),
        (
            lambda f: edit(f / "run.json", lambda d: d.update(format=2)),
            "has format 2; this version reads format 1",
        ),
        (lambda f: edit(f / "run.json", lambda d: d.pop("sha256")), "not written by imitate"),
        (lambda f: edit(f / "run.json", lambda d: d.pop("format")), "not written by imitate"),
        (lambda f: edit(f / "run.json", lambda d: d.update(tensors="elsewhere.safetensors")), "is missing"),
        (lambda f: (f / "run.json").write_text('{"algorithm": "PPO"}'), "not written by imitate"),
        (lambda f: (f / "run.json").write_text("[1, 2]"), "not written by imitate"),
        (lambda f: (f / "run.json").write_text("3"), "not written by imitate"),
        (lambda f: (f / "run.json").write_text('{"format": 1, '), "not JSON"),
        (lambda f: (f / "run.json").write_bytes(b"\x80\x04\xff"), "not JSON"),
        (lambda f: (f / "run.json").write_text(""), "not JSON"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, damage, message):
    write(tmp_path, "run", state(), {})
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "run")


def test_a_tensor_file_outside_of_the_folder_is_not_read(tmp_path):
    """The name in the JSON cannot lead elsewhere."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(inside, "run", state(1.0), {})
    write(outside, "run", state(2.0), {})
    stolen = json.loads((outside / "run.json").read_text("utf-8"))
    edit(
        inside / "run.json",
        lambda d: d.update(sha256=stolen["sha256"], tensors=f"../outside/{stolen['tensors']}"),
    )
    with pytest.raises(ValueError, match="missing"):
        read(inside, "run")


def test_a_matching_hash_of_what_is_no_tensor_file_is_refused(tmp_path):
    import hashlib

    write(tmp_path, "run", state(), {})
    tensor_file(tmp_path).write_bytes(b"not tensors")
    edit(tmp_path / "run.json", lambda d: d.update(sha256=hashlib.sha256(b"not tensors").hexdigest()))
    with pytest.raises(ValueError, match="not a safetensors file"):
        read(tmp_path, "run")


def test_no_record_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        read(tmp_path, "run")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent", "run")


class Thing:
    """What an algorithm looks like."""

    def __init__(self, seed, width=4):
        self.config, self.number = {"lr": 1.0}, 3
        self.steps = torch.tensor(seed)
        self.stream = Stream(seed, "shuffle")
        self.network = MLP(2, 3, (width,), 1, init=stream(seed))
        self.alias = self.network
        self.absent = None


def test_state_of_holds_tensors_and_stateful_parts_once():
    state = state_of(Thing(0))
    assert list(state) == ["steps", "stream", "network"]


def test_a_thing_is_restored_in_place(tmp_path):
    one, two = Thing(1), Thing(2)
    one.stream.uniform(5)
    network, steps = two.network, two.steps
    write(tmp_path, "run", state_of(one), {})
    load_state(two, read(tmp_path, "run")[0])
    assert two.network is network
    assert two.steps is steps
    assert int(two.steps) == 1
    assert torch.equal(two.stream.uniform(4), one.stream.uniform(4))
    for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(extra=torch.zeros(1)), "Thing has no extra"),
        (lambda s: s.pop("steps"), "steps is nothing"),
        (lambda s: s.update(steps=torch.zeros(2)), r"steps is \(2,\), this run needs \(\)"),
        (lambda s: s.update(steps={"a": torch.zeros(())}), "steps is nothing"),
        (lambda s: s.pop("stream"), "stream does not fit"),
        (lambda s: s.pop("network"), "network does not fit"),
        (lambda s: s.update(network=Thing(0, width=5).network.state_dict()), "network does not fit"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    state = state_of(Thing(0))
    change(state)
    with pytest.raises(ValueError, match=message):
        load_state(Thing(1), state)


# Algorithms inside of algorithms


class Model:
    """A reward model without a state dict: its attributes are its state."""

    def __init__(self, seed):
        self.network = MLP(2, 3, (4,), 1, init=stream(seed))
        self.seen = torch.tensor(seed)

    def __call__(self, rollout):
        return torch.zeros_like(rollout.reward)

    def learn(self, rollout):
        return {}


class Driver:
    """Who acts: the algorithm's, not the source's."""

    def __init__(self):
        self.beta = torch.tensor(1.0)

    def act(self, obs, noise, memory):
        return obs, memory, {}


class Inner:
    """A source that is `Stateful` itself."""

    def __init__(self, seed):
        self.stream = Stream(seed, "env")

    def collect(self, policy, steps):
        return steps

    def state_dict(self):
        return {"stream": self.stream.state_dict()}

    def load_state_dict(self, state):
        self.stream.load_state_dict(state["stream"])


class Wrapper:
    """A source around a source, which holds who drove last."""

    def __init__(self, source, reward):
        self.source, self.reward, self.driver = source, reward, Driver()
        self.count = torch.zeros(2)

    def collect(self, policy, steps):
        return steps


class Inside:
    """An algorithm inside of another."""

    def __init__(self, source, seed):
        self.source, self.steps = source, torch.tensor(seed)
        self.driver = Driver()
        self.owner = None

    def step(self):
        return {}


class Outside:
    """Like GAIL: a reward model and an algorithm that knows it by its source."""

    def __init__(self, seed):
        self.reward = Model(seed)
        self.rl = Inside(Wrapper(Inner(seed), self.reward), 10 * seed)
        self.rl.owner = self  # a circle
        self.source = self.rl.source
        self.note, self.config = "no state", {"lr": 1.0}

    def step(self):
        return {}


def test_parts_are_walked_and_each_is_saved_once():
    state = state_of(Outside(1))
    assert set(state) == {"reward", "rl", "source"}
    assert set(state["reward"]) == {"network", "seen"}
    assert set(state["source"]) == {"source", "count"}  # the model is there already, and the driver none of its own
    assert set(state["source"]["source"]) == {"stream"}
    assert set(state["rl"]) == {"steps"}


def test_parts_are_restored_in_place(tmp_path):
    one, two = Outside(1), Outside(2)
    one.rl.source.source.stream.uniform(3)
    one.rl.source.count.fill_(7)
    network, steps = two.reward.network, two.rl.steps
    write(tmp_path, "run", state_of(one), {})
    load_state(two, read(tmp_path, "run")[0])
    assert two.reward.network is network and two.rl.steps is steps
    assert (int(two.reward.seen), int(two.rl.steps)) == (1, 10)
    assert two.source.count.tolist() == [7, 7]
    assert torch.equal(two.source.source.stream.uniform(4), one.source.source.stream.uniform(4))
    for a, b in zip(one.reward.network.parameters(), network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["rl"].update(extra=torch.zeros(1)), "Inside has no extra"),
        (lambda s: s["rl"].pop("steps"), "steps is nothing"),
        (lambda s: s["source"].update(count=torch.zeros(3)), r"count is \(3,\), this run needs \(2,\)"),
        (lambda s: s["source"].pop("source"), "source does not fit"),
        (lambda s: s["reward"]["network"].clear(), "network does not fit"),
        (lambda s: s.pop("reward"), "network does not fit"),
        (lambda s: s.update(rl=torch.zeros(3)), "rl is a tensor, this run needs its parts"),
        (lambda s: s["source"].update(source=torch.zeros(3)), "source is a tensor, this run needs its parts"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(change, message):
    state = state_of(Outside(0))
    change(state)
    with pytest.raises(ValueError, match=message):
        load_state(Outside(1), state)


def test_a_part_without_content_leaves_no_trace(tmp_path):
    class Fixed:
        def __call__(self, rollout):
            return 0.0

        def learn(self, rollout):
            return {}

    one = Outside(1)
    one.fixed = Fixed()
    assert state_of(one)["fixed"] == {}
    write(tmp_path, "run", state_of(one), {})
    two = Outside(2)
    two.fixed = Fixed()
    load_state(two, read(tmp_path, "run")[0])
    assert int(two.rl.steps) == 10


def test_relabelled_and_viewed_sources_are_saved_through():
    """The environments, streams and the reward model below, and neither the rollout that is shown nor who drove."""
    source = imitate.make("CartPole-v1", num_envs=2, members=2)
    seen = Viewed(Relabelled(source, Model(0)), lambda obs: obs[..., :2], Box((2,)))
    ppo = PPO(seen, PPOConfig(steps=64, rollout=8, batch_size=16, epochs=1))
    ppo.step()
    state = state_of(ppo)
    assert set(state["source"]) == {"source"}
    assert set(state["source"]["source"]) == {"source", "reward"}
    assert {"dynamics", "decisions", "state"} <= set(state["source"]["source"]["source"])
    assert set(state["source"]["source"]["reward"]) == {"network", "seen"}
