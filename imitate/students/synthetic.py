"""Few labelled states that nobody saw: data sets that are learnt themselves.

Letters: M members, S pairs, F numbers of an observation, A numbers or choices of an action.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from imitate.core.noise import Stream
from imitate.core.replay import Examples
from imitate.core.room import admit
from imitate.core.spec import Spec
from imitate.data.demonstrations import Demonstrations
from imitate.nets.actor import Actor
from imitate_envs.base import Box, Discrete

__all__ = ["Pairs", "redraw"]


class Pairs(nn.Module):
    """S learnt states of each member, with actions: choices in turn, of which none is learnt, or learnt numbers.

    Args:
        spec: Of the environment: observations are vectors of numbers.
        members: M, data sets.
        count: S.

    Raises:
        ValueError: There are no such pairs in this environment.
    """

    def __init__(self, spec: Spec, members: int, count: int) -> None:
        super().__init__()
        box, action = spec.observation, spec.action
        if not isinstance(box, Box) or len(box.shape) != 1 or spec.obs_dtype != torch.float32:
            raise ValueError(f"source: observations of {spec.id} are {box}; only vectors of numbers can be learnt.")
        if not isinstance(action, (Box, Discrete)):
            raise ValueError(f"source: actions of {spec.id} are {action}; pairs are of one choice or of a Box.")
        if isinstance(action, Discrete) and count < action.n:
            raise ValueError(f"pairs: {count} cannot show each of {action.n} actions; at least {action.n}.")
        each = 4.0 * (math.prod(box.shape) + math.prod(action.shape))
        admit("the pairs", each * members * count, {"pairs": count, "members": members}, spec.device)
        self.obs = nn.Parameter(torch.zeros(members, count, *box.shape, device=spec.device))
        self.action: Tensor
        if isinstance(action, Box):
            self.action = nn.Parameter(torch.zeros(members, count, *action.shape, device=spec.device))
        else:
            in_turn = torch.arange(count, device=spec.device) % action.n
            self.register_buffer("action", in_turn.expand(members, count).clone())

    @property
    def examples(self) -> Examples:
        """As they are learnt from, [M, S, ...]."""
        return Examples(self.obs, self.action)

    def of(self, rows: Tensor) -> Examples:
        """Other numbers [M, D] in the places of the learnt ones, as pairs [M, S, ...] of M members."""
        learnt = list(self.parameters())
        split = rows.split([p[0].numel() for p in learnt], 1)
        obs, *action = (part.view(-1, *p.shape[1:]) for part, p in zip(split, learnt, strict=True))
        return Examples(obs, action[0] if action else self.action[:1].expand(len(rows), -1))

    def demonstrations(self, members: int | None = None) -> Demonstrations:
        """As demonstrations of each member, every pair an episode of its own.

        Args:
            members: Of a single data set, for how many it is given; by default its own.
        """
        obs, action = self.obs.detach().clone(), self.action.detach().clone()
        examples = Examples(obs, action)
        if members is not None:
            examples = Examples(obs.expand(members, -1, -1), action.expand(members, *action.shape[1:]))
        number = torch.arange(obs.shape[1], device=obs.device).expand(len(examples.obs), -1)
        return Demonstrations(examples, number >= 0, number, torch.zeros_like(number))


@torch.no_grad()
def redraw(actor: Actor, init: Stream, networks: int | None = None) -> None:
    """Draw the weights of an actor anew, in place.

    Args:
        actor: Of M members.
        init: Stream of the initialisation.
        networks: How many are drawn, which the members take in turn; by default M.
    """
    count = actor.members if networks is None else networks
    new = Actor(actor.observation, actor.action, count, actor.architecture, init)
    for mine, theirs in zip(actor.parameters(), new.parameters(), strict=True):
        mine.copy_(theirs.repeat(actor.members // count, *(1,) * (theirs.dim() - 1)))
