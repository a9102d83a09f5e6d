"""Planners: from the exact model of a finite environment to the best policy, as a teacher. S: states, A: actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from imitate.core.config import Told, checked
from imitate.nets.tabular_policy import TabularPolicy
from imitate_envs.tabular import Tabular, TabularModel

__all__ = [
    "Plan",
    "action_values",
    "planner",
    "policy_iteration",
    "policy_values",
    "soft_policy_iteration",
    "value_iteration",
]

_TIE = 1e-9  # of the largest value: how much better an action must be for policy iteration to change its mind


@dataclass(frozen=True)
class Plan:
    """What a planner found, in float64.

    Args:
        values: v(s), [S]; 0 at terminal states.
        q: Q(s, a), [S, A].
        iterations: Sweeps, or improvements of the policy.
    """

    values: Tensor
    q: Tensor
    iterations: int

    @property
    def actions(self) -> Tensor:
        """A best action of each state, [S]."""
        return self.q.argmax(-1)


def action_values(model: TabularModel, values: Tensor, gamma: float) -> Tensor:
    """One step ahead: Q(s, a) = E[r | s, a] + γ Σ_s' P(s'|s, a) v(s'), [S, A], v = 0 where an episode ends.

    Source: Sutton & Barto (2018), eq. 4.2.
    """
    return model.reward + gamma * model.continuing @ values


@checked
def value_iteration(
    model: TabularModel,
    gamma: float = 0.99,
    *,
    epsilon: float = 0.0,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> Plan:
    """Apply the Bellman optimality equation until the values stand still.

        v(s) ← max_a E[r + γ v(s') | s, a]

    With γ < 1 they are then within γ/(1 − γ)·`tolerance` of the best values.

    Source: Bellman (1957); Sutton & Barto (2018), §4.4, eq. 4.10. For `epsilon`: eq. 5.2 and its argument there.

    Args:
        model: The environment.
        gamma: γ; 1 only where every policy that is worth something ends.
        epsilon: For the best ε-greedy policy instead: (1 − ε) max + ε mean. On-policy learners with that ε find these.
        tolerance: Largest change of a value in the last sweep.
        max_iterations: Sweeps at most.

    Raises:
        ValueError: A number does not fit, or the values still change after `max_iterations` sweeps.
    """
    _check(gamma, epsilon)
    values = torch.zeros_like(model.start)
    for sweep in range(1, max_iterations + 1):
        q = action_values(model, values, gamma)
        before, values = values, (1 - epsilon) * q.amax(-1) + epsilon * q.mean(-1)
        if bool((values - before).abs().amax() <= tolerance):
            return Plan(values, action_values(model, values, gamma), sweep)
    raise ValueError(f"gamma: with {gamma} the values still change after {max_iterations:,} sweeps.")


@checked
def policy_values(model: TabularModel, policy: Tensor, gamma: float = 0.99) -> Tensor:
    """The values of a policy, exact: the solution of v = r_π + γ P_π v, [S].

    Source: Sutton & Barto (2018), eq. 4.4.

    Args:
        model: The environment.
        policy: π(a|s), [S, A].
        gamma: γ; 1 only where the policy always ends.
    """
    _check(gamma, 0.0)
    policy = policy.to(model.reward)
    going_on = torch.einsum("sa,sat->st", policy, model.continuing)
    earned = (policy * model.reward).sum(-1)
    # A terminal state is not left and earns nothing; with γ = 1 its row would make the equations singular.
    going_on = going_on * ~model.terminal.unsqueeze(1)
    solution: Tensor = torch.linalg.solve(torch.eye(model.states).to(going_on) - gamma * going_on, earned)
    return solution


@checked
def policy_iteration(model: TabularModel, gamma: float = 0.99, *, max_iterations: int = 1000) -> Plan:
    """Evaluate a policy exactly, make it greedy, and so on until it is the best.

    Source: Howard (1960); Sutton & Barto (2018), §4.3.

    Args:
        model: The environment.
        gamma: γ, less than 1: the first policies may never end.
        max_iterations: Improvements at most.

    Raises:
        ValueError: γ is not in [0, 1), or `max_iterations` were not enough.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma: policy iteration needs one in [0, 1), not {gamma}.")
    chosen = torch.zeros_like(model.terminal, dtype=torch.int64)
    for iteration in range(1, max_iterations + 1):
        policy = torch.nn.functional.one_hot(chosen, model.actions)
        values = policy_values(model, policy, gamma)
        q = action_values(model, values, gamma)
        best = q.amax(-1)
        # Of actions that are equally good the old one stays; else two of them could take turns for ever.
        better = best > q.gather(1, chosen.unsqueeze(1)).squeeze(1) + _TIE * best.abs().amax()
        if not bool(better.any()):
            return Plan(values, q, iteration)
        chosen = torch.where(better, q.argmax(-1), chosen)
    raise ValueError(f"max_iterations: the policy still improves after {max_iterations}.")


@checked
def soft_policy_iteration(model: TabularModel, gamma: float = 0.99, *, max_iterations: int = 1000) -> Plan:
    """The best policy where entropy pays too, at temperature 1: π = softmax(Q).

        v(s) = log Σ_a exp Q(s, a),   Q(s, a) = E[r + γ v(s') | s, a]

    A policy is evaluated exactly, with −log π added to its rewards, and softened; each iteration is a Newton step on
    these equations.

    Source: Ziebart (2010), §6.2; Haarnoja et al. (2018), lemmas 1 and 2.

    Args:
        model: The environment.
        gamma: γ, less than 1: entropy would pay for never ending.
        max_iterations: Improvements at most.

    Raises:
        ValueError: γ is not in [0, 1), or the values still change after `max_iterations`.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma: soft policy iteration needs one in [0, 1), not {gamma}.")
    values = torch.zeros_like(model.start)
    for iteration in range(1, max_iterations + 1):
        log_policy = action_values(model, values, gamma).log_softmax(-1)
        rewarded = replace(model, reward=model.reward - log_policy)
        before, values = values, policy_values(rewarded, log_policy.exp(), gamma) * ~model.terminal
        if bool((values - before).abs().amax() <= _TIE * (1 + values.abs().amax())):
            return Plan(values, action_values(model, values, gamma), iteration)
    raise ValueError(f"max_iterations: the values still change after {max_iterations}.")


@checked
def planner(
    env: Told[Tabular],
    gamma: float = 0.99,
    *,
    temperature: float = 0.0,
    solve: Callable[[TabularModel, float], Plan] = value_iteration,
    env_id: str | None = None,
    device: torch.device | str = "cpu",
) -> TabularPolicy:
    """A teacher that has planned: it knows the best actions and, in `values` and `q`, what they are worth.

    Args:
        env: An environment of ours that has a `model`.
        gamma: Discount γ.
        temperature: Its distribution is softmax(Q/temperature); at 0 uniform over the best actions.
        solve: `value_iteration` or `policy_iteration`.
        env_id: Id of the environment, recorded in files.
        device: Where it is to live.

    Raises:
        ValueError: The environment has no model, or a number does not fit.
    """
    if not isinstance(env, Tabular):
        raise ValueError(f"env: {type(env).__name__} has no model to plan with.")
    plan = solve(env.model(), gamma)
    return TabularPolicy(plan.q.float().unsqueeze(0).to(device), temperature=temperature, env=env_id)


def _check(gamma: float, epsilon: float) -> None:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma: a discount in [0, 1], not {gamma}.")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon: a probability, not {epsilon}.")
