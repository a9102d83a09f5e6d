"""Where the time of an iteration of PPO goes, by torch.profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

import imitate
from imitate.core.rollout import TensorSource
from imitate_envs import ENVS

_WHOLE = "iteration"
_PARTS = ("environment", "policy", "update")


def profile_ppo(members: int, num_envs: int = 8, iterations: int = 3) -> dict[str, float]:
    """Shares of an iteration of PPO on CartPole, 32 steps and 4 epochs of batches of 256.

    Those of torch's operators in the environment (with auto-reset), in the policy that acts, in the updates, and
    elsewhere (noise, recording, returns), and that of what lies between the operators: Python, and the profiler itself,
    which makes this last share look larger than it is.
    """
    env: Any = _Marked(ENVS["CartPole-v1"](), "environment", ("reset", "observe", "step"))
    source = TensorSource(env, id="CartPole-v1", num_envs=num_envs, members=members)
    ppo = imitate.PPO(source, imitate.PPOConfig(steps=10**9, rollout=32, epochs=4, batch_size=256))
    ppo.policy.act = _marked(ppo.policy.act, "policy")  # type: ignore[method-assign]
    learner: Any = _Marked(ppo.learner, "update", ("__call__",))
    ppo.learner = learner
    ppo.step()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
        for _ in range(iterations):
            with record_function(_WHOLE):
                ppo.step()
    return shares(found.events())


def shares(events: Any) -> dict[str, float]:
    """The share of each part in the time of all iterations; they sum to 1."""
    spent = {**dict.fromkeys(_PARTS, 0.0), "elsewhere": 0.0, "Python": 0.0}
    for event in events:
        names = _lineage(event)
        if _WHOLE not in names:
            continue
        if event.name in (_WHOLE, *_PARTS):
            spent["Python"] += event.self_cpu_time_total  # of a mark: what no operator below it accounts for
        else:
            part = next((name for name in names if name in _PARTS), "elsewhere")
            spent[part] += event.self_cpu_time_total
    total = sum(spent.values())
    return {part: time / total for part, time in spent.items()}


def _lineage(event: Any) -> list[str]:
    """Names of an event and of all that it is inside of."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return names


def _marked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def inner(*arguments: Any) -> Any:
        with record_function(name):
            return function(*arguments)

    return inner


class _Marked:
    """Stands in for an object; the profiler sees the calls of some methods."""

    def __init__(self, inner: Any, name: str, methods: tuple[str, ...]) -> None:
        self._inner = inner
        self._calls = {method: _marked(getattr(inner, method), name) for method in methods}

    def __getattr__(self, name: str) -> Any:
        return self._calls[name] if name in self._calls else getattr(self._inner, name)

    def __call__(self, *arguments: Any) -> Any:
        return self._calls["__call__"](*arguments)
