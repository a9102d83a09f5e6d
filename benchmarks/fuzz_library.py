"""Random calls of the public functions and classes, with a value or two that nobody should pass."""

from __future__ import annotations

import inspect
import itertools
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

import imitate
from benchmarks.forked import Outcome, forked
from benchmarks.fuzz_commands import plain_types
from imitate import conditioning, distributions, nets
from imitate.core.noise import Stream
from imitate.core.types import Rollout
from imitate_envs import ENVS

__all__ = ["cases", "execute", "fault", "prepare"]

LIMIT = 6 * 2**30
FACES = ("baselines", "conditioning", "data", "distributions", "experiment", "fitting", "losses", "nets", "policies")
FACES += ("rewards", "students", "teachers")

# By a name, since values are made in the child.
PLAIN = (None, True, "", "3", "x", b"x", 0, -1, 1, 2.5, -0.5, [], {}, (), "a" * 300, "x\x00y", "ünï", 10**9, 2**63)
PLAIN += (10**30, -(10**30), float("nan"), float("inf"), 1e308, 1j)
HOSTILE: dict[str, Callable[[], Any]] = {
    **{repr(value): (lambda value=value: value) for value in PLAIN},
    "[None]": lambda: [None],
    "(-1,)": lambda: (-1,),
    "('a',)": lambda: ("a",),
    "{1: 2}": lambda: {1: 2},
    "object()": object,
    "int": lambda: int,
    "a function": lambda: lambda *_: None,
    "np.float32(1)": lambda: np.float32(1),
    "np.int64(2)": lambda: np.int64(2),
    "np.zeros(3)": lambda: np.zeros(3),
    "a tensor": lambda: torch.zeros(3),
    "a scalar tensor": lambda: torch.tensor(2),
    "an empty tensor": lambda: torch.zeros(0),
    "a missing path": lambda: Path("missing/file"),
    "a folder": lambda: Path("/"),
    "a PPOConfig": imitate.PPOConfig,
}


# What a message calls an argument that has another name on the command line, or none there.
ALIASES = {"text": "risk design", "id": "teacher", "what": "teacher", "source_or_spaces": "source"}
ALIASES |= {"alpha": "cvar", "eta": "cpw"}
NUMBERS = ("0", "-1", "1", "2.5", "-0.5", "1000000000", str(2**63), str(10**30), "nan", "inf", "1e+308", "np.int64(2)")
TABULAR = ("DoubleQLearning", "ExpectedSarsa", "MonteCarlo", "QLambda", "QLearning", "Sarsa", "TDLambda")


@dataclass(frozen=True)
class Case:
    """A call: the name of what is called, and which arguments are which hostile values."""

    name: str
    hostile: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.hostile)})"


@dataclass(frozen=True)
class Prepared:
    """What can be called with arguments that are right, by name, and where."""

    calls: dict[str, tuple[Any, dict[str, Any], dict[str, tuple[str, ...]]]]  # with its parameters: what each may be
    folder: Path


def prepare(folder: Path) -> Prepared:
    """Arguments for every public function and class; what cannot be called with them is named and left out."""
    right, calls, out = _right(folder), {}, []
    for name, called in _public():
        parameters = inspect.signature(called).parameters
        annotated = called.__init__ if isinstance(called, type) and not is_dataclass(called) else called
        hints = get_type_hints(annotated, include_extras=True)
        free = tuple(n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        try:
            known = {**right, **right["recipes"].get(name.rpartition(".")[2], {})}
            needed = [n for n in free if parameters[n].default is inspect.Parameter.empty]
            given = {n: _valid(n, hints.get(n), known) for n in needed}
            _call(called, given)
        except Exception as error:
            out.append(f"{name} ({type(error).__name__}: {str(error)[:60]})")
        else:
            pools = {n: _pool(set(plain_types(hints.get(n)))) for n in free}
            calls |= {name: (called, given, pools)} if free else {}
    print(f"{len(calls)} functions and classes; not called: {'; '.join(out)}", file=sys.stderr)
    return Prepared(calls, folder)


def cases(prepared: Prepared) -> st.SearchStrategy[Case]:
    """A call with one or two hostile values."""
    return st.sampled_from(sorted(prepared.calls)).flatmap(lambda name: _hostile(name, prepared.calls[name][2]))


def _pool(kinds: set[Any]) -> tuple[str, ...]:
    """Hostile values for a parameter of some types. Tensors of wrong shapes are left out: torch tells what is wrong."""
    tensors = any(kind is torch.Tensor or hasattr(kind, "array_type") for kind in kinds)
    values = [name for name in HOSTILE if not (tensors and "tensor" in name)]
    return (*values, *(NUMBERS * 6 if kinds & {int, float} else ()))


def _hostile(name: str, free: dict[str, tuple[str, ...]]) -> st.SearchStrategy[Case]:
    chosen = st.lists(st.sampled_from(sorted(free)), min_size=1, max_size=2, unique=True)
    values = {parameter: st.tuples(st.just(parameter), st.sampled_from(pool)) for parameter, pool in free.items()}
    return chosen.flatmap(lambda names: st.tuples(*(values[n] for n in names))).map(lambda pairs: Case(name, pairs))


def execute(case: Case, prepared: Prepared, seconds: float) -> Outcome:
    """Call in a folder of its own: 0 if it returns, 2 after a ValueError or an error of a file, 1 after another."""
    called, given, _ = prepared.calls[case.name]

    def call() -> int:
        try:
            _call(called, {**given, **{name: HOSTILE[value]() for name, value in case.hostile}})
        except (ValueError, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 2
        return 0

    place = prepared.folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return forked(call, place, seconds=seconds, limit=LIMIT)


def fault(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with what a call did; None if nothing is.

    Right are: a return; a ValueError that names the argument; an error of a file, which names the file.
    """
    if outcome.interrupts:
        return "hangs"
    if outcome.code == 0:
        return None
    if outcome.code != 2:
        return "traceback" if outcome.code >= 0 else "killed"
    kind, _, said = outcome.err.strip().splitlines()[-1].partition(": ")
    named = any(word in said for name, _ in case.hostile for word in (name, *ALIASES.get(name, "").split()))
    return None if named or (kind.endswith(("FileNotFoundError", "Error")) and kind != "ValueError") else "no name"


def _call(called: Any, arguments: dict[str, Any]) -> None:
    made = called(**arguments)
    if inspect.isgenerator(made):
        list(itertools.islice(made, 2))


def _public() -> Iterator[tuple[str, Any]]:
    """Functions, classes with a constructor of their own, and configs."""
    seen = set()
    for module in (imitate, *(import_module(f"imitate.{name}") for name in FACES)):
        for name in module.__all__:
            found = getattr(module, name)
            configured = inspect.isclass(found) and is_dataclass(found) and hasattr(found, "__post_init__")
            built = inspect.isclass(found) and hasattr(found.__init__, "__wrapped__")
            if (inspect.isfunction(found) or built or configured) and id(found) not in seen:
                seen.add(id(found))
                yield f"{module.__name__}.{name}", found


def _right(folder: Path) -> dict[str, Any]:
    """Values that are right, by the name of a parameter or of its type."""
    source = imitate.make("CartPole-v1", num_envs=2, members=2)
    box, grid = imitate.make("Pendulum-v1", num_envs=2, members=2), imitate.make("GridWorld-v0", num_envs=2, members=2)
    actor, values = nets.policy(source, (4,)), imitate.c51(source, imitate.C51Config(hidden=(4,), capacity=64)).policy
    rollout: Rollout = source.collect(actor, 4)
    shown = imitate.demonstrate(source, actor, 2)
    logits = torch.randn(2, 3, 2)
    levels = distributions.midpoints(3)
    folder.joinpath("saved").mkdir()
    actor.save(folder / "saved")
    ppo = imitate.PPO(source, imitate.PPOConfig(steps=8, rollout=4, batch_size=8, epochs=1, hidden=(4,)))
    imitate.save_checkpoint(ppo, folder / "saved")
    design = conditioning.Design({"one": "2A(US)"})
    choices = conditioning.Choices(torch.tensor([[0, 1], [1, 1], [0, 0]]), torch.ones(3, 2), 2)
    model = conditioning.CHOICE_MODELS["q-learning"]
    rescorla, plan = conditioning.RescorlaWagner(), ENVS["GridWorld-v0"]().model()
    simulation = conditioning.simulate(rescorla, design)
    fitted, bandit = imitate.fitting.fit(model, choices, starts=1), ENVS["Bandit-v0"]()
    return {
        "Source": source,
        "Spec": source.spec,
        "Actor": actor,
        "Policy": actor,
        "Teacher": actor,
        "QNetwork": values,
        "Demonstrations": shown,
        "Algorithm": ppo,
        "Stream": Stream(0, "fuzz"),
        "Rollout": rollout,
        "Transition": rollout,
        "Distribution": distributions.Categorical(logits),
        "ReturnDistribution": distributions.ExpectedReturn(logits),
        "Module": nn.Linear(4, 2),
        "RewardModel": _Reward(),
        "Risk": distributions.CVaR(0.5),
        "Env": ENVS["CartPole-v1"](),
        "Model": conditioning.RescorlaWagner(),
        "ChoiceModel": model,
        "Data": choices,
        "Design": design,
        "Schedule": design.compile(),
        "Simulation": simulation,
        "Phenomenon": conditioning.PHENOMENA["blocking"],
        "Contender": conditioning.CONTENDERS["rescorla-wagner"],
        "Tensor": torch.rand(2, 3),
        "ndarray": np.zeros((4, 2)),
        "Path": Path("file"),
        "Architecture": nets.Architecture((4,)),
        "QArchitecture": nets.QArchitecture((4,)),
        "observation": source.spec.observation,
        "action": source.spec.action,
        "source_or_spaces": source,
        "env": "CartPole-v1",
        "id": "CartPole-v1",
        "q": torch.zeros(2, 3, 2),
        "epsilon": torch.rand(2),
        "beta": torch.rand(2),
        "tau": levels,
        "recipes": {
            "SAC": {"source": box},
            "ActionValue": {"spec": box.spec},
            "Perturbed": {"action": box.spec.action},
            **{name: {"source": grid} for name in TABULAR},
            "Choices": {"action": choices.action, "reward": choices.reward},
            "simulate_choices": {"env": bandit},
            "recover": {
                "env": bandit,
                "trials": 4,
                "truth": {name: torch.full((2,), 0.5) for name in model.parameters},
            },
            "planner": {"env": ENVS["GridWorld-v0"]()},
            "around": {"errors": torch.rand(4, 2, 2), "event": torch.ones(4, 2, 2, dtype=torch.bool)},
            "Distorted": {"distortion": distributions.CVaR(0.5)},
            "clipped_surrogate": {"epsilon": torch.rand(2, 1)},
            "lambda_returns": {"reward": torch.rand(2, 3)},
            "discounted_returns_so_far": {"reward": torch.rand(2, 3), "before": torch.rand(3)},
            "categorical_projection": {"probs": torch.rand(2, 3), "atoms": torch.rand(2, 3), "support": torch.rand(3)},
            "fraction_loss": {"tau": torch.rand(2, 3), "at_tau": torch.rand(2, 2), "at_middle": torch.rand(2, 3)},
            "compare": {"fits": {"a": fitted, "b": fitted}},
            "PolicyDistillation": {"config": imitate.PolicyDistillationConfig(rollout=4, batch_size=8)},
            "Design": {"groups": "2A(US)"},
            "parse": {"text": "2A(US)"},
            "draw_curves": {"simulations": {"a": simulation}},
            "course": {"like": conditioning.Course()},
            "simulate": {"model": rescorla},
            "in_time": {"model": rescorla},
            "sample_points": {"model": rescorla},
            "prediction_errors": {"critic": actor.body},
            "policy_iteration": {"model": plan},
            "policy_values": {"model": plan, "policy": torch.full((25, 4), 0.25)},
            "value_iteration": {"model": plan},
        },
        "groups": "2A(US)",
        "discount": torch.rand(2, 3),
        "advantage": torch.rand(2, 3),
        "model": model,
        "online": actor,
        "directory": folder / "saved",
        "folder": folder / "saved",
        "what": actor,
        "text": "cvar:0.5",
        "reward": _Reward(),
        "box": box,
        "grid": grid,
        "theta": {},
        "truth": {},
        "law": lambda obs: obs[..., 0],
        "build": lambda: nn.Linear(4, 2),
    }


class _Reward:
    """A reward model that does nothing."""

    def __call__(self, rollout: Rollout) -> torch.Tensor:
        return rollout.reward

    def learn(self, rollout: Rollout) -> dict[str, torch.Tensor]:
        return {}


def _valid(name: str, hint: Any, right: dict[str, Any]) -> Any:
    """A value that is right for a parameter.

    Raises:
        KeyError: None is known.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _valid(name, args[0], right)
    if name in right:
        return right[name]
    if origin in (Union, types.UnionType):
        return _valid(name, args[0], right)
    if origin is Literal:
        return args[0]
    plain = {int: 2, float: 0.5, bool: False, str: "x"}
    if hint in plain:
        return plain[hint]
    kind = origin or hint
    if kind is tuple or getattr(kind, "__name__", "") in ("Sequence", "Iterable", "Collection"):
        return (_valid(name, args[0], right),)
    if getattr(kind, "__name__", "") == "Mapping":
        return {}
    if getattr(kind, "__name__", "") == "Callable":
        return lambda *arguments: arguments[0]
    if hasattr(kind, "array_type"):
        return right["Tensor"]
    return right[getattr(kind, "__name__", str(kind))]
