"""Decision trees that balance the pole: VIPER on CartPole-v1, taught by a control law and by PPO.

The control law is as certain everywhere, so that all states weigh alike; PPO gives weights by its log-probabilities.
Beside it stand, at equal labels: the same trees without weights (DAgger into a tree), a tree cloned from the teacher's
own states without weights, VIPER with random labels, and the teachers. Agreement is with the teacher on the states that
the tree visits itself. C and Python forms are compared with each member's tree on 10,000 observations, half of whose
numbers are thresholds and their neighbours. Settings were chosen on source seed 0.

    OMP_NUM_THREADS=1 python -m benchmarks.trees

Exits with 1 if the trees of VIPER do not reach 500, or a form differs. The rows go to benchmarks/results/trees.json.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from imitate.configs import config_for
from imitate.core.types import Obs, Policy, Source, fold
from imitate.distributions.actions import Categorical, Teacher
from imitate.experiment.evaluate import Evaluation
from imitate.experiment.report import versions
from imitate.export import c_header, draw_tree, python_module
from imitate.nets import TreePolicy
from imitate.policies import Greedy, Random
from imitate.students import VIPER, VIPERConfig

COUNT = 10_000  # observations on which forms are compared
FEATURES, ACTIONS = ("position", "velocity", "angle", "spin"), ("left", "right")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Seeds of each row.
        seed: Of the source.
        depths: Of the trees of VIPER; the gate is on the last.
        rounds: Of VIPER and DAgger.
        rollout: Steps of each of ten environments in a round.
        episodes: Of each member in an evaluation after the last round.
        out: Where to write.
        picture: Where to draw the first member's tree.
    """

    members: int = 8
    seed: int = 100
    depths: tuple[int, ...] = (3, 4)
    rounds: int = 20
    rollout: int = 50
    episodes: int = 100
    out: Path = Path("benchmarks/results/trees.json")
    picture: Path = Path("docs/tree.png")


class Alike:
    """A teacher to whom every state matters alike: a reduction of VIPER to DAgger.

    Args:
        teacher: Who labels.
    """

    noise = 0

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def memory(self, *shape: int) -> Any:
        """The teacher's."""
        return self.teacher.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Any) -> tuple[Tensor, Any, dict[str, Any]]:
        """The teacher's mode."""
        return self.teacher.act(obs, None, memory)

    def distribution(self, obs: Obs) -> Categorical:
        """Certain of the teacher's choice, everywhere as much."""
        told = self.teacher.distribution(obs)
        assert isinstance(told, Categorical)
        return Categorical.certain(told.mode, told.logits.shape[-1])


class Guessing(Alike):
    """A teacher who draws its labels: the same at the same observation, from digits that say nothing of it."""

    def act(self, obs: Obs, noise: Tensor | None, memory: Any) -> tuple[Tensor, Any, dict[str, Any]]:
        """A guess."""
        return self.distribution(obs).mode, None, {}

    def distribution(self, obs: Obs) -> Categorical:
        """A certain guess."""
        return Categorical.certain(((obs.double().abs() * 1e6).sum(-1).long() % 2), 2)


def main(options: Options) -> int:
    """Measure, print, write JSON; 1 where trees or forms fall short."""
    source = _source(options, 0)
    law = imitate.teachers.load("control", source)
    ppo = imitate.PPO(_source(options, 1, 16), config_for(imitate.PPOConfig, "ppo", "CartPole-v1"))
    while not ppo.progress.finished:
        ppo.step()
    teachers: tuple[tuple[str, Teacher], ...] = (("control", law), ("PPO", ppo.policy))
    rows = [_row(name, teacher, teacher, options) for name, teacher in teachers]
    config = replace(config_for(VIPERConfig, "viper", "CartPole-v1"), rounds=options.rounds, rollout=options.rollout)
    trees = []
    for depth in options.depths:
        for name, teacher in teachers:
            row, tree = _grown(
                f"VIPER, depth {depth}", name, teacher, teacher, replace(config, max_depth=depth), options
            )
            rows.append(row)
            trees.append(tree)
    gates = rows[-len(teachers) :]
    deepest = replace(config, max_depth=options.depths[-1])
    whole = replace(deepest, rounds=1, rollout=options.rounds * options.rollout)
    rows.append(_grown("DAgger, no weights", "PPO", Alike(ppo.policy), ppo.policy, deepest, options)[0])
    for name, teacher in teachers:
        rows.append(_grown("cloning, no weights", name, Alike(teacher), teacher, whole, options)[0])
    rows.append(_grown("VIPER, random teacher", "guesses", Guessing(law), law, deepest, options)[0])
    rows.append(_row("random", Random(source.spec.action), law, options))
    forms = _forms(trees)
    passed = all(row["mean"] == 500 for row in gates) and all(found == 0 for found in forms["different"].values())
    draw_tree(options.picture, trees[-2], features=FEATURES, actions=ACTIONS)
    document = {
        **{name: value for name, value in vars(options).items() if name not in ("out", "picture")},
        "passed": passed,
        "versions": versions(),
        "forms": forms,
        "rows": rows,
    }
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"forms: {forms}")
    print("trees: passed" if passed else "trees: BELOW THE GATE")
    return int(not passed)


def _source(options: Options, offset: int, num_envs: int = 10) -> Source:
    return imitate.make("CartPole-v1", num_envs=num_envs, members=options.members, seed=options.seed + offset)


def _grown(
    name: str, taught_by: str, teacher: Any, judge: Teacher, config: VIPERConfig, options: Options
) -> tuple[dict[str, Any], TreePolicy]:
    """Trees of one setting, and their row."""
    start = time.process_time()
    viper = VIPER(_source(options, 2), teacher, config)
    while not viper.progress.finished:
        viper.step()
    seconds = time.process_time() - start
    nodes = viper.policy.nodes.tolist()
    more = {"nodes": nodes, "labels": int(viper.progress.labels[0]), "cpu_seconds": round(seconds, 1)}
    return _row(f"{name}, {taught_by}", viper.policy, judge, options, **more), viper.policy


def _row(name: str, policy: Policy, judge: Teacher, options: Options, **more: Any) -> dict[str, Any]:
    """Return, and agreement with a teacher on the policy's own states: 500 steps of ten environments of each member."""
    source, drawn = _source(options, 3), isinstance(policy, Random)
    found = imitate.evaluate(policy, source, options.episodes, deterministic=not drawn)
    with torch.no_grad():
        seen = source.collect(policy if drawn else Greedy(policy), 500)
        agreement = Evaluation((fold(seen.action) == judge.distribution(fold(seen.obs)).mode).double().numpy())
    (low, high), (lower, upper) = found.ci, agreement.ci
    said = f"return {found.mean:.1f} [{low:.1f}, {high:.1f}], agreement {agreement.mean:.3f} [{lower:.3f}, {upper:.3f}]"
    print(f"{name:32} {said} {more}", flush=True)
    return {
        "name": name,
        "mean": found.mean,
        "ci_low": low,
        "ci_high": high,
        "scores": found.scores.tolist(),
        "agreement": agreement.mean,
        "agreement_low": lower,
        "agreement_high": upper,
        **more,
    }


def _forms(trees: list[TreePolicy]) -> dict[str, Any]:
    """Observations of all trees on which C and Python differ from the tree; without a compiler there is no C."""
    compiler = shutil.which("cc")
    different = {"python": 0, **({"c": 0} if compiler else {})}
    compared = 0
    for number, policy in enumerate(trees):
        for member in range(policy.members):
            obs = _tried(policy, member, seed=1_000 * number + member)
            tree = policy.choose(obs.expand(policy.members, -1, -1))[member].numpy()
            namespace: dict[str, Any] = {}
            exec(python_module(policy, member=member), namespace)
            found = {"python": np.array([namespace["policy_act"](row) for row in obs.tolist()])}
            if compiler:
                found["c"] = _c(compiler, c_header(policy, member=member), obs.numpy())
            compared += COUNT
            for form, choices in found.items():
                different[form] += int((choices != tree).sum())
    return {"trees": sum(policy.members for policy in trees), "observations": compared, "different": different}


def _tried(policy: TreePolicy, member: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(COUNT, policy.inputs.flat)).astype(np.float32)
    limits = np.unique(policy.threshold[member].numpy())
    near = np.concatenate([limits, *(np.nextafter(limits, np.float32(end)) for end in (-np.inf, np.inf))])
    return torch.from_numpy(np.where(rng.random(obs.shape) < 0.5, rng.choice(near, obs.shape), obs))


def _c(compiler: str, header: str, obs: Any) -> Any:
    """What the header chooses."""
    loop = "for (int i = 0; i < n; i++) out[i] = policy_act(x + 4L * i);"
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder, "tree.c"), Path(folder, "tree.so")
        code.write_text(f"{header}\nvoid run(const float *x, int n, int *out) {{ {loop} }}\n", "utf-8")
        subprocess.run([compiler, "-std=c99", "-O2", "-shared", "-fPIC", code, "-o", library], check=True)
        out = np.empty(len(obs), np.int32)
        run = ctypes.CDLL(str(library)).run
        run(ctypes.c_void_p(obs.ctypes.data), len(obs), ctypes.c_void_p(out.ctypes.data))
    return out


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
