"""Every algorithm: a resumed run is the uninterrupted one, nothing is forgotten, and what is dropped is freed."""

import contextlib
import gc
import re
import subprocess
import sys
import weakref
from dataclasses import fields, replace
from functools import partial

import pytest
import torch

import imitate.students
from imitate import nets
from imitate.baselines import PPO, SAC, PPOConfig, SACConfig
from imitate.core import checkpoint
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.tasks import Tasks
from imitate.core.terms import Linear, UntilReturn
from imitate.core.views import Select
from imitate.core.wrappers import Viewed
from imitate.distributions.actions import Categorical
from imitate.experiment import load_checkpoint, save_checkpoint
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Corrections, Mixture, TaskTeachers
from imitate.registry import BASELINES
from imitate.rewards import DiscriminatorConfig, ShapedRewardConfig
from imitate.students import (
    AIRL,
    DART,
    GAIL,
    ROWS,
    SEARN,
    VIPER,
    ActorCriticDistillation,
    ActorCriticDistillationConfig,
    Adversary,
    AggreVaTe,
    AggreVaTeConfig,
    AggreVaTeD,
    AggreVaTeDConfig,
    AIRLConfig,
    BehaviourCloning,
    BehaviourCloningConfig,
    BornAgain,
    BornAgainConfig,
    Codistil,
    DAgger,
    DAggerConfig,
    DARTConfig,
    DataFreeDistillation,
    DataFreeDistillationConfig,
    DatasetDistillation,
    DatasetDistillationConfig,
    Distil,
    Distral,
    DistralConfig,
    EnsembleGate,
    EnsembleGateConfig,
    Exponential,
    FinetuningConfig,
    ForwardTraining,
    ForwardTrainingConfig,
    GAILConfig,
    GatedDAgger,
    GatedDAggerConfig,
    GeneratedStates,
    HaDES,
    HaDESConfig,
    Hint,
    HumanGate,
    JumpStart,
    JumpStartConfig,
    LazyGate,
    LazyGateConfig,
    PolicyDistillation,
    PolicyDistillationConfig,
    QDagger,
    QDaggerConfig,
    SafeGate,
    SafeGateConfig,
    SEARNConfig,
    SMILe,
    SMILeConfig,
    ThriftyGate,
    ThriftyGateConfig,
    UniformStates,
    VIPERConfig,
    actor_mimic,
    demonstrate,
    finetune,
)
from imitate_envs.gridworld import GridWorld
from tests.oracles import Reach, Walk, snapshot, unsaved_changes
from tests.resumed import assert_resumes

M, N = 2, 4


def source(env, seed):
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=seed)


def teacher_of(env):
    teacher = nets.policy(source(env, 0), (8,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    return teacher


def demonstrations(env):
    return demonstrate(source(env, 5), teacher_of(env), 6)


def cloning(seed, env=None, normalise=False, **config):
    env = env or Walk()
    place = source(env, seed)
    options = {"updates": 40, "validate_every": 5, "batch_size": 8, "patience": 3, "lr": (1e-2, 3e-2)} | config
    student = nets.policy(place, (8,), normalise=normalise)
    return BehaviourCloning(place, demonstrations(env), student, BehaviourCloningConfig(**options))


def dagger(seed, env=None, start=False, normalise=False, **config):
    env = env or Walk()
    place = source(env, seed)
    options = {"rounds": 4, "rollout": 5, "updates": 6, "batch_size": 8, "lr": (1e-2, 3e-2)} | config
    student = nets.policy(place, (8,), normalise=normalise)
    return DAgger(
        place,
        teacher_of(env),
        student,
        DAggerConfig(**options),
        demonstrations=demonstrations(env).thinned(2) if start else None,
    )


FIT = {"updates": 4, "batch_size": 8}
GATES = {
    "safe": lambda place, pupil: SafeGate(place, pupil, SafeGateConfig(hidden=(5,), threshold=0.4, **FIT)),
    "lazy": lambda place, pupil: LazyGate(place, pupil, LazyGateConfig(hidden=(5,), threshold=0.4, **FIT)),
    "ensemble": lambda place, pupil: EnsembleGate(place, pupil, EnsembleGateConfig(heads=2, chi=1e-3, tau=0.5, **FIT)),
    "thrifty": lambda place, pupil: ThriftyGate(
        place, pupil, ThriftyGateConfig(heads=2, hidden=(5,), capacity=60, alpha=0.2, **FIT)
    ),
    "human": lambda place, pupil: HumanGate(lambda obs: obs[..., 0] > 0.3, lambda obs: obs[..., 0] < 0),
}


def gated_dagger(seed, gate, env=None, normalise=False, **config):
    env = env or Walk()
    place = source(env, seed)
    student = nets.policy(place, (8,), normalise=normalise)
    options = {"warm_up": 4, "rounds": 7, "rollout": 5, "updates": 6, "batch_size": 8, "lr": (1e-2, 3e-2)} | config
    return GatedDAgger(place, teacher_of(env), student, GATES[gate](place, student), GatedDAggerConfig(**options))


def dart(seed, env=None, **config):
    env = env or Walk()
    place = source(env, seed)
    options = {"rounds": 7, "rollout": 5, "updates": 6, "batch_size": 8, "lr": (1e-2, 3e-2)} | config
    return DART(place, teacher_of(env), nets.policy(place, (8,), normalise=True), DARTConfig(**options))


def features(student, teacher):
    """Terms that own a module and a learner."""
    init = Stream(0, "init-terms")
    return [
        Hint(student.features, teacher.features, nets.Linear(M, 8, 8, init=init), Linear(1.0, 0.0, 60)),
        Adversary(student.features, teacher.features, nets.MLP(M, 8, (5,), 1, init=init)),
    ]


def distillation(seed, env=None, mixture=False, terms=False, view=None, **student):
    env = env or Walk()
    place = source(env, seed) if view is None else Viewed(source(env, seed), view)
    pupil, teacher = nets.policy(place, (8,), **student), teacher_of(env)
    return PolicyDistillation(
        place,
        teacher,
        pupil,
        PolicyDistillationConfig(steps=80, rollout=5, epochs=2, batch_size=10, lr=(1e-2, 3e-2), unroll=1),
        driver=Mixture(teacher, pupil, torch.full((M,), 0.5)) if mixture else None,
        terms=features(pupil, teacher) if terms else (),
    )


def by_row(row, seed, env=None, **config):
    place = source(env or Walk(), seed)
    options = {"steps": 120, "rollout": 5, "lr": (1e-2, 3e-2), "critic_hidden": (6,)} | config
    teacher, pupil = teacher_of(env or Walk()), nets.policy(place, (8,), normalise=True)
    made = ActorCriticDistillationConfig(**options)
    return ActorCriticDistillation(place, teacher, pupil, made, row=ROWS[row], value=lambda obs: obs[..., 0])


def hades(seed, env=None):
    place = source(env or Walk(), seed)
    return HaDES(place, nets.policy(place, (5,)), HaDESConfig(pairs=3, generations=7, plays=1, updates=3))


def dataset_distillation(seed, env=None):
    place = source(env or Walk(), seed)
    config = DatasetDistillationConfig(pairs=3, steps=7, unroll=2, networks=2, batch_size=4)
    return DatasetDistillation(place, demonstrations(env or Walk()), nets.policy(place, (5,)), config)


def generated(spec):
    return GeneratedStates(spec, latent=2, hidden=(4,), restart=2)


def data_free(seed, env=None, states=generated):
    place = source(env or Walk(), seed)
    config = DataFreeDistillationConfig(steps=8, batch_size=6, lr=(1e-2, 3e-2))
    pupil = nets.policy(place, (5,), normalise=True)
    return DataFreeDistillation(place, teacher_of(env or Walk()), pupil, config, states=states(place.spec))


def gail(seed):
    place = source(Walk(), seed)
    ppo = PPOConfig(steps=400, rollout=5, epochs=2, batch_size=10, hidden=(6,))
    return GAIL(
        place, demonstrations(Walk()), GAILConfig(ppo, DiscriminatorConfig(hidden=(5,), batch_size=8, updates=3))
    )


def airl(seed):
    place = source(Walk(), seed)
    ppo = PPOConfig(steps=400, rollout=5, epochs=2, batch_size=10, hidden=(6,))
    return AIRL(place, demonstrations(Walk()), AIRLConfig(ppo, ShapedRewardConfig(hidden=(5,), batch_size=8)))


def viper(seed, **teacher):
    place = source(Walk(), seed)
    made = nets.policy(place, (8,), seed=7, **teacher)
    return VIPER(place, made, VIPERConfig(rounds=7, rollout=5, max_depth=3, held_out=2))


def reduction(kind, config, seed):
    place = source(Walk(), seed)
    return kind(place, teacher_of(Walk()), nets.policy(place, (8,), normalise=True), config)


FIT = {"updates": 4, "batch_size": 6, "lr": (1e-2, 3e-2)}
REDUCED = {
    "forward training": partial(reduction, ForwardTraining, ForwardTrainingConfig(rollout=9, **FIT)),
    "smile": partial(reduction, SMILe, SMILeConfig(rounds=7, rollout=5, **FIT)),
    "searn": partial(reduction, SEARN, SEARNConfig(rounds=7, rollout=5, every=2, **FIT)),
    "aggrevate": partial(reduction, AggreVaTe, AggreVaTeConfig(7, 5, 2, beta=Exponential(), capacity=30, **FIT)),
    "aggrevated": partial(reduction, AggreVaTeD, AggreVaTeDConfig(rounds=7, rollout=5, samples=2, lr=(1e-2, 3e-2))),
}
SMALL = {
    "steps": 400, "rollout": 3, "epochs": 2, "batch_size": 6, "hidden": (8,), "updates": 2, "learning_starts": 20,
    "capacity": 28, "target_every": 3, "low": -10.0, "high": 10.0,
}  # fmt: skip
PLACES = (Walk(), Reach(), GridWorld(max_steps=9))  # one suits: choices, a Box of actions, or a table


def baseline(name, seed, **options):
    """A learner of the registry, at the first place that it takes, small enough for its replay to be overwritten."""
    algorithm, config, _ = BASELINES[name]
    known = {field.name for field in fields(config)}
    made = config(**{key: value for key, value in SMALL.items() if key in known}, **options)
    for env in PLACES:
        with contextlib.suppress(ValueError):
            return algorithm(source(env, seed), made)
    raise AssertionError(f"{name}: add a place to PLACES that it takes.")


def kickstarted(seed, **config):
    place = source(Walk(), seed)
    options = {"steps": 80, "rollout": 5, "epochs": 2, "batch_size": 10, "hidden": (8,)} | config
    terms = [Distil(teacher_of(Walk()), UntilReturn(2.0, place.spec))]
    return PPO(place, PPOConfig(**options), terms=terms)


def generations(seed):
    """Six iterations, two of each generation: a run that is stopped after three is in the midst of the second."""
    config = BornAgainConfig(steps=40, rollout=5, epochs=2, batch_size=10, lr=(1e-2, 3e-2), generations=3)
    return BornAgain(source(Walk(), seed), teacher_of(Walk()), Architecture((8,), normalise=True), config)


def several_tasks(seed, heads):
    """Actor-Mimic: a term with parameters of its own."""
    place = Tasks([source(Walk(), seed), source(Walk(limit=2.0), seed + 1)])
    router = TaskTeachers([teacher_of(Walk()), teacher_of(Walk())], place)
    pupil = fresh(place, Architecture((8,), normalise=True, heads=heads))
    config = PolicyDistillationConfig(steps=240, rollout=5, epochs=2, batch_size=10, lr=(1e-2, 3e-2))
    term = actor_mimic(pupil, router, 8, 0.1, init=Stream(seed, "init-mimic"))
    return PolicyDistillation(place, router, pupil, config, terms=[term])


def distral(seed):
    envs = [GridWorld(desc=("SF", goal), max_steps=9) for goal in ("GF", "FG")]
    place = Tasks([source(env, seed + task) for task, env in enumerate(envs)])
    return Distral(place, DistralConfig(steps=400, rollout=3, share=(0.0, 0.5)))


def with_copies_of_peers(seed):
    place = source(Walk(), seed)
    policy = nets.policy(place, (8,))
    config = PPOConfig(steps=120, rollout=5, epochs=2, batch_size=10, hidden=(8,))
    return PPO(place, config, policy=policy, terms=[Codistil(policy, 0.5, every=5)])


def corrections(seed):
    place = Corrections(source(Reach(), seed), teacher_of(Reach()), scale=0.5)
    return PPO(place, PPOConfig(steps=120, rollout=5, epochs=2, batch_size=10, hidden=(8,)))


def finetuning(seed, **options):
    place = source(Walk(), seed)
    config = FinetuningConfig(steps=120, rollout=5, epochs=2, batch_size=10, hidden=(8,), lr=1e-2, warmup=60, **options)
    return finetune(nets.policy(place, (8,), seed=7, gru=config.gru), place, config)


def qdagger(seed, **options):
    known = {field.name for field in fields(QDaggerConfig)}
    small = {key: value for key, value in SMALL.items() if key in known and key != "learning_starts"}
    more = {"teacher_steps": 20, "offline_updates": 3, "return_episodes": 3}
    return QDagger(source(Walk(), seed), teacher_of(Walk()), QDaggerConfig(**{**small, **more, **options}))


def jump_start(seed):
    known = {field.name for field in fields(JumpStartConfig)}
    small = {key: value for key, value in SMALL.items() if key in known}
    more = {"horizon": 6, "stages": 3, "tolerance": 3.0, "stage_episodes": 1, "return_episodes": 3}
    return JumpStart(source(Walk(), seed), teacher_of(Walk()), JumpStartConfig(**small, **more))


def kickstarted_sac(seed):
    place = source(Reach(), seed)
    teacher = nets.policy(place, (8,), squash=True, seed=7)
    config = SACConfig(steps=400, rollout=3, updates=2, batch_size=6, hidden=(8,), learning_starts=20, capacity=28)
    return SAC(place, config, terms=[Distil(teacher, UntilReturn(2.0, place.spec))])


CASES = {name: partial(baseline, name) for name in BASELINES} | {
    "cloning": cloning,
    "cloning, continuous": lambda s: cloning(s, Reach(), normalise=True),
    "cloning, without validation": lambda s: cloning(s, validation=0.0),
    "dagger": dagger,
    "dagger from demonstrations": lambda s: dagger(s, start=True),
    "dagger, best round": lambda s: dagger(s, best_round=True),
    "dagger from demonstrations, best round": lambda s: dagger(s, start=True, best_round=True, normalise=True),
    "dagger, overflowing, mixed": lambda s: dagger(s, capacity=25, beta=Exponential(), validation=0.5),
    "dagger, continuous": lambda s: dagger(s, Reach(), validation=0.0),
    **REDUCED,
    "distillation": distillation,
    "distillation, mixture": lambda s: distillation(s, mixture=True, normalise=True),
    "distillation, continuous": lambda s: distillation(s, Reach()),
    "distillation, a student with a memory": lambda s: distillation(s, gru=3),
    "distillation, a memory behind a view": lambda s: distillation(s, view=Select((0,)), lstm=3, normalise=True),
    "by a row, teacher-driven": partial(by_row, "teacher-driven"),
    "by a row, with rewards and a gate": partial(by_row, "expected-entropy", reward=1.0, gate=True),
    "by a row, continuous": partial(by_row, "teacher-value", env=Reach()),
    "distillation, features": lambda s: distillation(s, terms=True),
    "hades": hades,
    "hades, continuous": lambda s: hades(s, Reach()),
    "dataset distillation": dataset_distillation,
    "dataset distillation, continuous": lambda s: dataset_distillation(s, Reach()),
    "without data": data_free,
    "without data, continuous": lambda s: data_free(s, Reach()),
    "without data, uniform": lambda s: data_free(s, states=UniformStates),
    "dart": dart,
    "dart, continuous": lambda s: dart(s, Reach(), error=0.1),
    "gate, safe": partial(gated_dagger, gate="safe"),
    "gate, lazy, with a budget": partial(gated_dagger, gate="lazy", budget=45),
    "gate, ensemble": partial(gated_dagger, gate="ensemble", normalise=True),
    "gate, thrifty": partial(gated_dagger, gate="thrifty"),
    "gate, thrifty, continuous": partial(gated_dagger, gate="thrifty", env=Reach(), normalise=True),
    "gate, human": partial(gated_dagger, gate="human"),
    "airl": airl,
    "gail": gail,
    "generations": generations,
    # Of two rollouts: the third generation begins where a run is stopped, the last one ends in the midst of it.
    "iter, of short generations": lambda s: baseline("iter", s, generation=2, taught=1, normalise_obs=True),
    "distral": distral,
    "several tasks": lambda s: several_tasks(s, 0),
    "several tasks, heads": lambda s: several_tasks(s, 2),
    "ppo, copies of peers": with_copies_of_peers,
    "viper": viper,
    "viper, a teacher with a memory": lambda s: viper(s, gru=3),
    "sac, kickstarted": kickstarted_sac,
    "ppo, kickstarted": kickstarted,
    "ppo with a GRU, kickstarted": lambda s: kickstarted(s, gru=3),
    "corrections": corrections,
    "finetuning": finetuning,
    "finetuning, softened, with a GRU": partial(finetuning, gru=3, soften=0.9),
    "jump-start": jump_start,
    "qdagger": qdagger,
    "qdagger, refined": partial(qdagger, priority=0.6, n_step=2, normalise_obs=True, anneal_lr=True),
    "rainbow, annealed": lambda s: baseline("rainbow", s, anneal_lr=True, normalise_obs=True),
    "fqf, annealed": lambda s: baseline("fqf", s, anneal_lr=True, priority=0.6, n_step=2),
}
ITERATIONS = {"cloning": 4, "dagger": 4}  # no replay to overwrite; other cases take six


def iterations(case):
    return next((count for name, count in ITERATIONS.items() if case.startswith(name)), 6)


def test_every_student_is_here():
    built = {type(build(0)) for name, build in CASES.items() if name not in BASELINES}
    ours = {thing for thing in vars(imitate.students).values() if isinstance(thing, type) and hasattr(thing, "step")}
    assert ours <= built


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_uninterrupted_one(case, tmp_path):
    assert_resumes(CASES[case], tmp_path, iterations(case), at=3)


COMPILED = """
import sys
from functools import partial
from pathlib import Path
from tests import test_resume as here
here.TensorSource = partial(here.TensorSource, compile=True)
case, folder = sys.argv[1:]
assert here.CASES[case](0).source.compile
here.assert_resumes(here.CASES[case], Path(folder))
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", [*BASELINES, "dagger", "distillation", "gail", "ppo with a GRU, kickstarted"])
def test_so_is_a_compiled_one(case, tmp_path):
    """In a process of its own: the checker of shapes that the tests switch on does not take the compiler's tensors."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILED, case, str(tmp_path)], check=True)


# Computed anew: from the number of rounds before each drive, from the steps before each rollout is learnt from; and the
# rollout that is learnt from.
RECOMPUTED = re.compile(r"\.(beta|epsilon|lr|terms\.weights|relabelled\.rollout\..*)$")


@pytest.mark.parametrize("case", CASES)
def test_whatever_changes_is_saved(case):
    algorithm = CASES[case](0)
    for _ in range(iterations(case) - 1):
        algorithm.step()
        before = snapshot(algorithm)
    algorithm.step()
    changed = [path for path, value in snapshot(algorithm).items() if not equal(value, before.get(path))]
    assert len(changed) > 5
    found = unsaved_changes(algorithm, before, checkpoint.state_of(algorithm))
    assert [path for path in found if not RECOMPUTED.search(path)] == []


def equal(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


@pytest.mark.parametrize("case", ["cloning", "dagger", "distillation", "ppo"])
def test_a_counter_beside_the_state_would_be_noticed(case):
    algorithm = CASES[case](0)
    step = algorithm.step

    def counted():
        algorithm.extra = getattr(algorithm, "extra", 0) + 1
        return step()

    algorithm.step = counted
    algorithm.step()
    before = snapshot(algorithm)
    algorithm.step()
    found = unsaved_changes(algorithm, before, checkpoint.state_of(algorithm))
    assert [path for path in found if path.endswith(".extra")]


@pytest.mark.parametrize("case", CASES)
def test_an_algorithm_that_is_dropped_is_freed_at_once(case):
    """No cycle keeps its replay until the garbage collector happens to look."""
    gc.collect()
    gc.disable()
    try:
        algorithm = CASES[case](0)
        algorithm.step()
        gone = weakref.ref(algorithm.source), weakref.ref(algorithm)
        del algorithm
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_a_checkpoint_of_another_algorithm_or_environment_is_refused(tmp_path):
    save_checkpoint(cloning(0), tmp_path)
    with pytest.raises(ValueError, match="is of algorithm BehaviourCloning, this run is of DAgger"):
        load_checkpoint(dagger(0), tmp_path)
    with pytest.raises(ValueError, match="is of env Walk, this run is of Reach"):
        load_checkpoint(cloning(0, Reach()), tmp_path)


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    one = dagger(0, lr=1e-2)
    one.step()
    save_checkpoint(one, tmp_path)

    def other(student=None, members=M, **config):
        place = TensorSource(Walk(), id="Walk", num_envs=N, members=members)
        student = nets.policy(place, (8,)) if student is None else student
        return DAgger(place, nets.policy(place, (8,)), student, replace(one.config, **config))

    with pytest.raises(ValueError, match=r"checkpoint: '.*': source does not fit this run: saved with .* = \(2, 4\)"):
        load_checkpoint(other(members=3), tmp_path)
    place = source(Walk(), 0)
    with pytest.raises(ValueError, match=r"was made with other options: architecture\.hidden \[8\], now \[9\]"):
        load_checkpoint(other(nets.policy(place, (9,))), tmp_path)
    own = nets.policy(place, (8,), build=lambda: torch.nn.Linear(2, 3))  # whose shapes no architecture tells
    with pytest.raises(ValueError, match=r"checkpoint: '.*': policy does not fit this run") as caught:
        load_checkpoint(other(own), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"was made with other options: config\.best_round False, now True"):
        load_checkpoint(other(best_round=True), tmp_path)
    with pytest.raises(ValueError, match="snapshots"):
        load_checkpoint(other(best_round=True), tmp_path, changed=("best_round",))


def test_the_folder_holds_the_policy_by_itself(tmp_path):
    algorithm = dagger(0)
    algorithm.step()
    save_checkpoint(algorithm, tmp_path)
    loaded = nets.load(tmp_path)
    obs = torch.randn(M, 10, 2)
    assert isinstance(loaded.distribution(obs), Categorical)
    assert torch.equal(loaded.distribution(obs).logits, algorithm.policy.distribution(obs).logits)
    assert loaded.env == "Walk"
