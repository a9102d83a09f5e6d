"""From a network of several tasks to one of a single task. Letters: M members, K tasks, H width of features."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.tasks import tasks_in
from imitate.nets.action_heads import linear_of
from imitate.nets.actor import Actor
from imitate_envs.base import Tuple

__all__ = ["of_task"]


@checked
def of_task(actor: Actor, task: int, *, env: str | None = None) -> Actor:
    """An actor for one task, with copies of the weights: it sees what the environment shows, and answers the same.

    Of heads it keeps one. Where the number of the task is an input, that input is constant, and what it adds to the
    first layer becomes part of the bias; so answers are equal within rounding.

    Args:
        actor: For observations of a `Tasks` source.
        task: Its number.
        env: Id of the environment, recorded in files.

    Raises:
        ValueError: It is not made for tasks, there is no such task, or its first layer is no affine map.
    """
    tasks = tasks_in(actor.observation)
    if tasks is None:
        raise ValueError(f"actor: it is made for {actor.observation}, which tells no task.")
    if not 0 <= task < tasks:
        raise ValueError(f"task: {task} is not one of {tasks}, which count from 0.")
    layers, heads = actor.body.layers, actor.architecture.heads
    if actor.network is not None or actor.body.inputs.images or (actor.recurrent and not layers):
        raise ValueError("actor: its first layer is not one affine map, so the task cannot be made part of its bias.")
    shown = cast(Tuple, actor.observation).spaces[0]
    alone = Actor(
        shown,
        actor.action,
        actor.members,
        replace(actor.architecture, heads=0),
        Stream(0, "init", actor.device),
        env=env,
    )
    state = {name: value.clone() for name, value in actor.state_dict().items()}
    if heads:
        name, outputs = "head.linear", linear_of(alone.head).weight.shape[2]
        part = slice(task * outputs, (task + 1) * outputs)
        state |= {f"{name}.{what}": state[f"{name}.{what}"][..., part] for what in ("weight", "bias")}
    else:
        name = "body.layers.0" if layers else "head.linear"
        weight = state[f"{name}.weight"]
        inputs = weight.shape[1] - tasks  # numbers come first, and the last choice is the task
        state[f"{name}.bias"] = state[f"{name}.bias"] + weight[:, inputs + task].unsqueeze(1)
        state[f"{name}.weight"] = weight[:, :inputs]
    alone.load_state_dict(state)
    return alone
