"""Few labelled states that nobody saw: data sets that are learnt themselves.

Letters: M members, S pairs, F numbers of an observation, A numbers or choices of an action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imitate.core.replay import Examples
from imitate.core.spec import Spec
from imitate.data.demonstrations import Demonstrations
from imitate_envs.base import Box, Discrete

__all__ = ["Pairs"]


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

    def demonstrations(self, member: int, spec: Spec) -> Demonstrations:
        """One member's pairs as demonstrations for every member of a source, each pair an episode of its own."""

        def everyone(x: Tensor) -> Tensor:
            return x.detach().expand(spec.members, *x.shape)

        number = torch.arange(self.obs.shape[1], device=spec.device)
        examples = Examples(everyone(self.obs[member]), everyone(self.action[member]))
        return Demonstrations(examples, everyone(number >= 0), everyone(number), everyone(torch.zeros_like(number)))
