"""DAgger against behaviour cloning at equal numbers of labels, both beginning with one thinned demonstration.

Each round, DAgger gets `labels_per_round` labels on the student's states. Cloning gets as many labels in two ways: from
consecutive steps of the teacher's demonstrations (what driving the teacher that long gives), and from as many
demonstrations as it takes at one step in 20 of each (more environment steps, and more varied states, for each label).
Member by member, all are judged on the same noise.

    python -m benchmarks.equal_labels --out benchmarks/results/equal_labels.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

import imitate
from imitate.configs import config_for, settings
from imitate.experiment import Evaluator
from imitate.experiment.report import versions
from imitate.nets import Actor, Architecture

THINNED = 20


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        env: Environment id.
        members: Seeds.
        seed: Of the first.
        rounds: Rounds of DAgger.
        labels_per_round: Labels of a member in a round.
        episodes: Of each member in an evaluation.
        out: Where to write.
    """

    env: str = "CartPole-v1"
    members: int = 8
    seed: int = 0
    rounds: int = 10
    labels_per_round: int = 100
    episodes: int = 100
    out: Path = Path("benchmarks/results/equal_labels.json")


def main(options: Options) -> None:
    """Measure, print a table, write JSON."""
    env, members = options.env, options.members
    num_envs = int(settings(env).get("dagger_envs", 10))

    def place(count: int, offset: int) -> Any:
        return imitate.make(env, num_envs=count, members=members, seed=options.seed + 1_000 * offset)

    def student(at: Any) -> Actor:
        shape = config_for(Architecture, "student", env)
        return imitate.nets.policy(at, shape.hidden, activation=shape.activation, normalise=shape.normalise)

    source = place(int(settings(env).get("num_envs", 16)), 0)
    ppo = imitate.PPO(source, config_for(imitate.PPOConfig, "ppo", env))
    for _ in imitate.run(ppo):
        pass
    teacher = ppo.policy
    score = Evaluator(source, options.episodes)

    config = replace(
        config_for(imitate.DAggerConfig, "dagger", env),
        rounds=options.rounds,
        rollout=options.labels_per_round // num_envs,
    )
    # One demonstration of 500 steps thinned 1 in 20 is 25 labels: enough episodes for the longest comparison.
    per_episode = max(1, source.spec.max_steps // THINNED)
    most = 1 + -(-options.rounds * config.rollout * num_envs // per_episode)
    whole = imitate.demonstrate(place(most, 1), teacher, most)
    shown = whole.thinned(THINNED)

    at = place(num_envs, 3)
    dagger = imitate.DAgger(at, teacher, student(at), config, demonstrations=shown.first(1))
    rows = []
    print(f"{'labels':>7} {'DAgger':>24} {'BC, consecutive':>24} above {'BC, thinned':>24} above")
    for round_, _ in enumerate(imitate.run(dagger), 1):
        labels = round(float(dagger.progress.labels.double().mean()))
        episodes = 1 + -(-round_ * config.rollout * num_envs // per_episode)
        same = shown.first(episodes)
        in_a_row = replace(whole, mask=whole.mask & (whole.episode * source.spec.max_steps + whole.time < labels))
        ours = score(dagger.policy)
        row: dict[str, Any] = {"round": round_, "dagger": {"labels": labels, **_numbers(ours)}}
        line = f"{labels:>7} {_short(ours):>24}"
        for name, data in (("bc_consecutive", in_a_row), ("bc_thinned", same)):
            here = place(1, 2)
            pupil = student(here)
            config_bc = config_for(imitate.BehaviourCloningConfig, "clone", env)
            for _ in imitate.run(imitate.BehaviourCloning(here, data, pupil, config_bc)):
                pass
            theirs = score(pupil)
            above = int((ours.returns.mean(1) > theirs.returns.mean(1)).sum())
            row[name] = {
                "labels": round(float(data.labels.double().mean())),
                **_numbers(theirs),
                "members_where_dagger_is_above": above,
            }
            line += f" {_short(theirs):>24} {above:>2}/{members}"
        print(line)
        rows.append(row)
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "teacher": _numbers(score(teacher)),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _short(found: imitate.Evaluation) -> str:
    low, high = found.ci
    return f"{found.mean:.1f} [{low:.1f}, {high:.1f}]"


def _numbers(found: imitate.Evaluation) -> dict[str, Any]:
    low, high = found.ci
    return {"mean": found.mean, "ci_low": low, "ci_high": high, "members": found.returns.mean(1).tolist()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
