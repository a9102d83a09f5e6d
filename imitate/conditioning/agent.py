"""Models of choice that act: as a policy in any environment, and as subjects whose record is kept.

Letters: T trials, A actions, M members, N environments of one member; `...` lanes, any leading shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imitate.conditioning.data import Choices
from imitate.conditioning.model import ChoiceModel, Contextual, State, Theta, parameters_of
from imitate.core import noise as noises
from imitate.core import tree
from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.scan import scan
from imitate.core.types import Obs
from imitate_envs.base import Discrete, Env

__all__ = ["Agent", "as_agent", "simulate_choices"]


@dataclass(frozen=True)
class Agent:
    """A model of choice as a `Policy` for environments in `Feedback`; its memory is the model's state.

    It learns when it next observes: the observation ends with the last action, one-hot, and its reward. So it also
    learns from what another policy did in its place, and its state is that of `log_likelihood` on the record.

    Args:
        model: What learns and chooses.
        theta: Every parameter; [M, N] or broadcastable to it, or any lanes that are acted for.
        actions: A.
    """

    model: ChoiceModel
    theta: Theta
    actions: int
    noise: int = 1

    def memory(self, *shape: int) -> State:
        """The state of naive subjects."""
        return self.model.initial(self.theta, shape, self.actions)

    def act(self, obs: Obs, noise: Tensor | None, memory: State) -> tuple[Tensor, State, dict[str, Any]]:
        """Learn from the last step, then choose; without noise what is most probable.

        Returns:
            Actions [...]; the state that they were chosen in; and as extras `log_prob` [...] of each and `log_probs`
            [..., A] of all, in the float type of `theta`.
        """
        place, done, reward = obs.split([obs.shape[-1] - self.actions - 1, self.actions, 1], -1)
        dtype = next(iter(self.theta.values())).dtype
        learnt = self.model.update(self.theta, memory, done.argmax(-1), reward.squeeze(-1).to(dtype))
        state = tree.where(done.sum(-1) > 0, learnt, memory)
        if isinstance(self.model, Contextual):
            state = self.model.observe(self.theta, state, place.argmax(-1))
        log_probs = self.model.log_probs(self.theta, state)
        action = log_probs.argmax(-1) if noise is None else noises.categorical(log_probs, noise[..., 0])
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return action, state, {"log_prob": log_prob, "log_probs": log_probs}


@checked
def as_agent(model: ChoiceModel, theta: Mapping[str, Tensor | float], actions: int = 2) -> Agent:
    """Let a model act.

    Args:
        model: What learns and chooses.
        theta: Parameters, numbers or tensors that broadcast to [M, N]; defaults for the others.
        actions: As many as the environment has.

    Raises:
        ValueError: A name is unknown, or a value is outside its bounds.
    """
    return Agent(model, parameters_of(model, theta), actions)


@checked
def simulate_choices(
    model: ChoiceModel,
    theta: Mapping[str, Tensor | float],
    env: Env,
    trials: int,
    *,
    subjects: int = 1,
    starts: Tensor | None = None,
    seed: int = 0,
) -> Choices:
    """Subjects with the given parameters play by themselves: recovery, and free-running prediction.

    Each plays one episode of `trials` steps, whatever the time limit of the environment; where the environment
    terminates it is reset, and what was learnt is kept.

    Args:
        model: What learns and chooses.
        theta: Parameters, numbers or tensors [S] or [..., S]; defaults for the others.
        env: An environment with Discrete actions.
        trials: T.
        subjects: S, where all parameters are numbers.
        starts: Whether a block begins with a trial, [T] or [T, S] (bool), as in `Choices`: the subject is naive there,
            and the environment is reset. Those of a record give predictions of that record.
        seed: Of the streams "env" and "policy".

    Returns:
        The record [T, ..., S], on the device of `theta`.

    Raises:
        ValueError: A name is unknown, a value is outside its bounds, the actions are not Discrete, or `starts` are of
            other trials.
    """
    if starts is not None and (len(starts) != trials or starts.dtype != torch.bool):
        raise ValueError(f"starts: bool for each of {trials} trials, not {starts.dtype} {tuple(starts.shape)}.")
    if not isinstance(env.action, Discrete):
        raise ValueError(f"env: a model of choice needs Discrete actions, not {env.action}.")
    full = parameters_of(model, theta)
    like = next(iter(full.values()))
    each = () if starts is None else (starts.shape[1:],)
    lanes = torch.broadcast_shapes(*(value.shape for value in full.values()), *each, (subjects,))
    dynamics, decisions = Stream(seed, "env", like.device), Stream(seed, "policy", like.device)
    widths = [1, env.step_noise, env.reset_noise]
    noise = torch.cat([decisions.uniform(trials, *lanes, 1), dynamics.uniform(trials, *lanes, sum(widths[1:]))], -1)
    arrive = model.observe if isinstance(model, Contextual) else None

    naive = model.initial(full, lanes, env.action.n)
    begins = torch.zeros(trials, *lanes, dtype=torch.bool, device=like.device)
    if starts is not None:
        by_trial = starts.reshape(trials, *(1,) * (len(lanes) - starts.dim() + 1), *starts.shape[1:])
        begins |= by_trial.to(like.device)

    def step(
        carry: tuple[Any, State], x: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Any, State], tuple[Tensor, Tensor, Tensor]]:
        world, state = carry
        u, ends = x
        decision, dynamic, reset = u.split(widths, -1)
        context = env.observe(world)
        if arrive is not None:
            state = arrive(full, state, context)
        action = noises.categorical(model.log_probs(full, state), decision[..., 0])
        world, reward, terminated = env.step(world, action, dynamic)
        world = tree.where(terminated | ends, env.reset(reset), world)
        after = model.update(full, state, action, reward)
        return (world, after if starts is None else tree.where(ends, naive, after)), (action, reward, context)

    world = env.reset(dynamics.uniform(*lanes, env.reset_noise).to(like.dtype))
    ends = torch.cat([begins[1:], torch.zeros_like(begins[:1])])  # a block ends where the next trial begins one
    with torch.no_grad():
        _, (action, reward, context) = scan(step, (world, naive), (noise.to(like.dtype), ends))
    return Choices(
        action,
        reward,
        env.action.n,
        context=context if arrive is not None else None,
        starts=None if starts is None else begins,
    )
