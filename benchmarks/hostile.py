"""Files that are damaged or made to harm, given to every reader in a process of its own.

    python -m benchmarks.hostile --each 1000

Each file is a small one of ours, of numpy, or of Stable-Baselines3, changed by a generator with a seed. What must not
happen: code of the file runs; the process grows by more than 500 MiB (one that has imported what it needs takes 500);
reading takes more than 10 s of the CPU; anything but a ValueError or a FileNotFoundError of one line that names the
file; a warning; numbers that are not finite. Exits with 1 if anything did.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from benchmarks import hostile_files as damage
from benchmarks import hostile_pickles as pickles
from imitate.baselines.q_learning import QLearning
from imitate.baselines.tabular import TabularConfig
from imitate.cli.resuming import document_of, run_before
from imitate.configs import tuned
from imitate.core import reading, tree
from imitate.core.noise import Stream
from imitate.data import Demonstrations
from imitate.experiment.log import Log
from imitate.experiment.report import versions
from imitate.experiment.run import load_checkpoint, save_checkpoint
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import Fractions
from imitate.nets.tree_policy import Split
from imitate.teachers.sb3 import from_sb3
from imitate.teachers.sb3_files import read_vec_normalize

GROWTH = 500 * 2**20
SECONDS = 10
LENGTH = 320  # of a message
OUT = Path("benchmarks/results/hostile.json")


@dataclass(frozen=True)
class Options:
    """What to try.

    Args:
        each: Files of each reader.
        seed: Of the generator.
        readers: Some of them; all by default.
        out: Where to write the figures.
    """

    each: int = 1000
    seed: int = 0
    readers: tuple[str, ...] = ()
    out: Path = OUT


@dataclass(frozen=True)
class Reader:
    """A reader, and what is tried on it.

    Args:
        make: Writes good files, or folders, into a folder.
        harm: Damages a copy of one; gets a path that the file could make if it were executed.
        read: Reads it, and returns the tensors or arrays that it made.
    """

    make: Callable[[Path], None]
    harm: Callable[[Random, Path, Path], None]
    read: Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    kind: str  # "loaded", "refused", or what is wrong
    detail: str
    peak: int  # bytes in memory
    growth: int  # by how much more than before
    seconds: float  # of the CPU


def attempt(read: Callable[[Path], Mapping[str, Any]], path: Path, canary: Path, most: int = GROWTH) -> Outcome:
    """Read a file in a forked process, which may grow by `most` bytes."""
    _trim()
    start = _resident()
    down, up = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which do not go along: none of them is needed
        child = os.fork()
    if child == 0:
        try:
            os.close(down)
            resource.setrlimit(resource.RLIMIT_AS, (start + 2**35, start + 2**35))
            start = _resident()  # less than its parent's: pages of files do not go along
            kind, detail = _outcome(read, path)
            os.write(up, json.dumps((kind, detail[:1500], start)).encode())
        finally:
            os._exit(0)
    os.close(up)
    end = time.monotonic() + 12 * SECONDS  # on a busy machine
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found or time.monotonic() > end:
            break
        time.sleep(0.002)
    if not found:
        os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    with os.fdopen(down, "rb") as file:
        said = file.read()
    peak = used.ru_maxrss * 1024
    kind, detail, start = json.loads(said) if said else ("crashed", f"status {status}", start)
    growth = peak - start
    cost = peak, growth, used.ru_utime + used.ru_stime
    if canary.exists():
        canary.unlink()
        return Outcome("executed", "", *cost)
    if not found or cost[2] > SECONDS:
        return Outcome("slow", "", *cost)
    return Outcome("large" if growth > most else kind, detail, *cost)


def _trim() -> None:
    """Give freed memory back: a reader that took it again would not seem to grow."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _outcome(read: Callable[[Path], Mapping[str, Any]], path: Path) -> tuple[str, str]:
    """In the child: what the reader says."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            arrays = read(path)
        except (ValueError, FileNotFoundError) as error:
            message = str(error)
            names = any(name in message for name in (path.name, "run.json"))
            fine = len(message) <= LENGTH and message.isprintable() and names
            return ("refused" if fine else "message", message)
        except BaseException as error:
            return "raised", f"{type(error).__name__}: {error} {traceback.format_exc()[-1000:]}"
    if warned:
        return "warned", str(warned[0].message)
    for name, x in arrays.items():
        x = torch.as_tensor(x)
        if x.is_floating_point() and not bool(x.isfinite().all()):
            return "unsound", f"{name} is not finite"
    return "loaded", ""


# The readers


def _policies(path: Path) -> None:
    """Four kinds of policies beside each other."""
    source = imitate.make("Pendulum-v1", num_envs=2, members=2, seed=0)
    actor = imitate.nets.policy(source, (8,), normalise=True, gru=4)
    actor.observe(torch.randn(2, 20, 3))
    actor.save(path / "actor")
    space = imitate.make("CartPole-v1", num_envs=1, members=2).spec
    made = QArchitecture((8, 8), head=Fractions(4, 4), dueling=True, noisy=True)
    QNetwork(space.observation, space.action, 2, made, Stream(0, "init")).save(path / "values")
    imitate.nets.TabularPolicy(torch.randn(2, 5, 3), temperature=0.5).save(path / "table")
    trees = imitate.nets.TreePolicy(space.observation, space.action, 2, 3)
    for member in range(2):
        trees.plant(member, Split(2, 0.0, Split(3, 1.0, 0, 1), 1))
    trees.save(path / "trees")


def _hurt_policy(rng: Random, path: Path, canary: Path) -> None:
    damage.of_record(rng, path, "policy")


def _read_policy(path: Path) -> Mapping[str, Any]:
    policy = imitate.load(path)
    obs = {"Discrete(5)": torch.zeros(policy.members, 1, dtype=torch.int64)}.get(
        str(policy.observation), torch.zeros(policy.members, 1, *getattr(policy.observation, "shape", ()))
    )
    said = policy.distribution(obs).mode
    assert said.shape[:2] == (policy.members, 1)
    return {**policy.state_dict(), "mode": said}


def _algorithm(kind: str) -> Any:
    if kind == "ppo":
        source = imitate.make("CartPole-v1", num_envs=2, members=2, seed=0)
        config = imitate.PPOConfig(steps=64, rollout=4, batch_size=4, epochs=1, hidden=(8,), normalise_obs=True)
        return imitate.PPO(source, config)
    if kind == "dqn":
        source = imitate.make("CartPole-v1", num_envs=2, members=2, seed=0)
        config = imitate.DQNConfig(steps=256, learning_starts=16, capacity=64, hidden=(8,), batch_size=4)
        return imitate.DQN(source, config)
    source = imitate.make("FrozenLake-v1", num_envs=2, members=2, seed=0)
    return QLearning(source, TabularConfig(steps=4096))


def _checkpoints(path: Path) -> None:
    for kind in ("ppo", "dqn", "q-learning"):
        algorithm = _algorithm(kind)
        for _ in range(6):
            algorithm.step()
        save_checkpoint(algorithm, path / kind)


def _hurt_checkpoint(rng: Random, path: Path, canary: Path) -> None:
    damage.of_record(rng, path, "checkpoint")


def _read_checkpoint(path: Path) -> Mapping[str, Any]:
    algorithm = _algorithm(path.name.removeprefix("case-"))
    load_checkpoint(algorithm, path)
    state = {name: x.clone() for name, x in tree.flatten(algorithm.policy.state_dict())}
    algorithm.step()  # what it points to is there
    return state


def _run(path: Path) -> None:
    path = path / "run"
    path.mkdir()
    about = {"command": "ppo", "env": "CartPole-v1", "members": 2, "seed": 0, "num_envs": 2}
    config = {"steps": 64, "rollout": 4, "lr": 0.01, "hidden": [8], "gamma": [0.9, 0.99], "normalise_obs": True}
    kickstart = {"teacher": None, "vec_normalize": None, "distil": 1.0, "distil_steps": None}
    changes = [{"step": 16, "option": "lr", "before": 0.1, "now": 0.01}]
    options = {"kickstart": kickstart, "config": config, "changes": changes}
    (path / "run.json").write_text(json.dumps({**about, **options}), "utf-8")
    record = {"steps": 32, "format": 1, "tensors": "checkpoint-000000000000.safetensors", "sha256": "0" * 64}
    (path / "checkpoint.json").write_text(json.dumps(record), "utf-8")
    (path / "progress.csv").write_text("steps,seconds,loss\n16,1.5,0.1\n32,3,0.05\n", "utf-8")


def _hurt_run(rng: Random, path: Path, canary: Path) -> None:
    name = rng.choice(("run.json", "run.json", "checkpoint.json", "progress.csv"))
    content, change = (path / name).read_bytes(), rng.random() < 0.7 and name.endswith("json")
    (path / name).write_bytes((damage.of_json if change else damage.of_bytes)(rng, content))


def _read_run(path: Path) -> Mapping[str, Any]:
    from imitate.cli.train import command

    run = run_before(["--resume", "--out", str(path)], "ppo", None)
    _, default = command(["ppo", "--resume", "--out", str(path)])
    options = {name: value for name, value in run.items() if name != "changes"}
    again = document_of(path, options, ())
    assert all(isinstance(change["option"], str) for change in again.get("changes", ()))
    with Log(path, 32) as log:
        assert log.rows is not None
    return {"lr": default.config.lr, "members": default.common.members}


def _models(path: Path) -> None:
    from stable_baselines3 import DQN, PPO, SAC

    small: Any = {"device": "cpu", "seed": 0, "policy_kwargs": {"net_arch": [8]}}
    PPO("MlpPolicy", "CartPole-v1", **small).save(path / "ppo.zip")
    DQN("MlpPolicy", "CartPole-v1", buffer_size=10, **small).save(path / "dqn.zip")
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, **small).save(path / "sac.zip")


NEEDED = ("policy_class", "observation_space", "action_space", "policy_kwargs")


def _hurt_model(rng: Random, path: Path, canary: Path) -> None:
    def change(rng: Random, name: str, content: bytes) -> bytes:
        if name == "data":
            if rng.random() < 0.2:
                return damage.of_bytes(rng, content)
            needed = {key: json.loads(content)[key] for key in NEEDED}
            for part in needed.values():
                part[":serialized:"] = base64.b64encode(pickle.dumps(pickles.Harm(canary))).decode()
            return damage.of_json(rng, json.dumps(needed).encode())
        return damage.of_weights(rng, canary, content) if name == "policy.pth" else damage.of_bytes(rng, content)

    content = path.read_bytes()
    if rng.random() < 0.6:
        name = rng.choice(("data", "policy.pth"))
        path.write_bytes(damage.rezipped(content, lambda e: e.update({name: change(rng, name, e[name])})))
    else:
        path.write_bytes(damage.of_zip(rng, content, change))


def _read_model(path: Path) -> Mapping[str, Any]:
    policy = from_sb3(path)
    size = policy.observation.shape  # type: ignore[union-attr]
    return {**policy.state_dict(), "mode": policy.distribution(torch.zeros(1, 1, *size)).mode}


def _statistics(path: Path) -> None:
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    made = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
    made.reset()
    made.step(np.array([0]))
    made.save(str(path / "statistics.pkl"))


def _hurt_statistics(rng: Random, path: Path, canary: Path) -> None:
    way = rng.random()
    made = {True: pickles.vec_normalize, False: pickles.anything}[way < 0.5]
    path.write_bytes(damage.of_bytes(rng, path.read_bytes()) if way > 0.7 else made(rng, canary))


def _read_statistics(path: Path) -> Mapping[str, Any]:
    found = read_vec_normalize(path)
    if found is None:
        return {}
    with np.errstate(all="ignore"):
        seen = np.clip(-found.mean / np.sqrt(found.var + found.epsilon), -found.clip, found.clip)
    return {**vars(found), "zero": seen}


def _shown(path: Path) -> None:
    path = path / "shown.npz"
    rng = np.random.default_rng(0)
    done = np.arange(40) % 20 == 19
    np.savez_compressed(
        path, obs=rng.normal(size=(40, 4)).astype(np.float32), action=rng.integers(2, size=40), done=done
    )


def _hurt_shown(rng: Random, path: Path, canary: Path) -> None:
    def change(rng: Random, name: str, content: bytes) -> bytes:
        return damage.of_npy(rng, canary, name, content)

    content = path.read_bytes()
    if rng.random() < 0.05:
        path.write_bytes(pickles.anything(rng, canary))
    elif rng.random() < 0.1:
        unused = damage.npy(np.array([pickles.Harm(canary)], object))
        path.write_bytes(damage.rezipped(content, lambda e: e.update({"unused.npy": unused})))
    else:
        path.write_bytes(damage.of_zip(rng, content, change))


_SOURCE: list[Any] = []


def _read_shown(path: Path) -> Mapping[str, Any]:
    found = Demonstrations.from_npz(path, _SOURCE[0])
    assert found.examples.action.shape == found.mask.shape
    return {"obs": found.examples.obs, "action": found.examples.action}


def _config(path: Path) -> None:
    shutil.copy(Path(imitate.__file__).parent / "configs" / "CartPole-v1.json", path / "settings.json")


def _hurt_config(rng: Random, path: Path, canary: Path) -> None:
    path.write_bytes((damage.of_json if rng.random() < 0.8 else damage.of_bytes)(rng, path.read_bytes()))


def _read_config(path: Path) -> Mapping[str, Any]:
    with reading.refusing(str(path)):
        document = reading.document(path)
        made = tuned(imitate.PPOConfig(), document.get("ppo", {}), "ppo")
    return {"lr": torch.tensor(made.lr), "gamma": torch.tensor(made.gamma)}


READERS = {
    "policy": Reader(_policies, _hurt_policy, _read_policy),
    "checkpoint": Reader(_checkpoints, _hurt_checkpoint, _read_checkpoint),
    "run": Reader(_run, _hurt_run, _read_run),
    "settings": Reader(_config, _hurt_config, _read_config),
    "SB3 model": Reader(_models, _hurt_model, _read_model),
    "VecNormalize": Reader(_statistics, _hurt_statistics, _read_statistics),
    "demonstrations": Reader(_shown, _hurt_shown, _read_shown),
}


def trial(reader: Reader, good: Path, where: Path, rng: Random) -> Outcome:
    """Damage a copy of a good file, and read it."""
    path = _copied(good, where)
    canary = where / "EXECUTED"
    reader.harm(rng, path, canary)
    return attempt(reader.read, path, canary)


def _copied(good: Path, where: Path) -> Path:
    path = where / f"case-{good.name}"
    shutil.rmtree(path, ignore_errors=True)
    (shutil.copytree if good.is_dir() else shutil.copy)(good, path)
    return path


def measure(options: Options, where: Path) -> list[dict[str, Any]]:
    """A row a reader."""
    _SOURCE[:] = [imitate.make("CartPole-v1", num_envs=1)]
    rows = []
    for name in options.readers or READERS:
        reader, begin, folder = READERS[name], time.monotonic(), where / name
        folder.mkdir()
        reader.make(folder)
        goods = sorted(folder.iterdir())
        for good in goods:
            reader.read(_copied(good, where))  # what is undamaged is read, and has imported what it needs
        found = []
        for i in range(options.each):
            rng = Random(f"{options.seed}/{name}/{i}")
            one = trial(reader, rng.choice(goods), where, rng)
            found.append(one)
            if one.kind not in ("loaded", "refused"):
                print(f"{name} {i}: {one.kind} {one.peak >> 20} MiB {one.seconds:.1f} s {one.detail}", flush=True)
        count = Counter(one.kind for one in found)
        row = {
            "reader": name,
            "files": len(found),
            **{kind: count[kind] for kind in KINDS},
            "peak_mib": max(one.peak for one in found) >> 20,
            "cpu_seconds": round(max(one.seconds for one in found), 2),
        }
        print(f"{json.dumps(row)}  {time.monotonic() - begin:.0f} s", flush=True)
        rows.append(row)
    return rows


KINDS = ("refused", "loaded", "executed", "large", "slow", "crashed", "raised", "message", "warned", "unsound")


def failures(rows: list[dict[str, Any]]) -> int:
    """Files with which something happened that must not."""
    return sum(row[kind] for row in rows for kind in KINDS[2:])


def main(options: Options) -> int:
    """Try all, write the figures; 1 if something happened that must not."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hostile-") as where:
        rows = measure(options, Path(where))
    document = {"each": options.each, "seed": options.seed, "versions": versions(), "rows": rows}
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return int(failures(rows) > 0)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
