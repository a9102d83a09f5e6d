"""Critics: the value of a state, and ensembles of values of a state and an action.

Letters: T time, M members, B batch, K critics of one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from imitate.core import tree
from imitate.core.actions import observed, unit, unmasked
from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.parts import Parts
from imitate.core.spec import Spec
from imitate.core.types import Memory, Obs, fold, unfold
from imitate.nets import dense
from imitate.nets.body import Body
from imitate.nets.layers import Activation, Linear
from imitate.nets.measure import admit_network
from imitate_envs.base import Box, Space, Tuple

__all__ = ["ActionValue", "Critic"]


class Critic(nn.Module):
    """M values of states, V(s): a body and a linear map.

    It takes observations as its own body prepares them, or an actor's body of the same space.

    Args:
        observation: Space of observations.
        members: M.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        init: Stream of the initialisation.
        gru: Units of a gated recurrent unit; 0: no such memory.
        lstm: Units of a long short-term memory; 0: no such memory.
        normalise: Standardise numbers by running statistics, of what `body.observe` is shown.
    """

    @checked
    def __init__(
        self,
        observation: Space,
        members: int,
        hidden: Sequence[int] = (64, 64),
        *,
        activation: Activation = "tanh",
        init: Stream,
        gru: int = 0,
        lstm: int = 0,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        shape = partial(Critic, observation, 1, hidden, activation=activation, gru=gru, lstm=lstm)
        sizes: dict[str, int | Sequence[int]] = {"members": members, "hidden": hidden, "gru": gru, "lstm": lstm}
        admit_network(lambda init: shape(init=init), members, init, sizes)
        self.body = Body(
            observation,
            members,
            hidden=hidden,
            activation=activation,
            init=init,
            normalise=normalise,
            gru=gru,
            lstm=lstm,
        )
        self.value = Linear(members, self.body.width, 1, init=init, gain=1.0)
        self.to(init.device)
        self._chain = [*self.body.chain, *self.value.parameters()] if self.body.flat else []
        self._parts = Parts([self])

    @property
    def plain(self) -> bool:
        """Whether `gradients` knows the gradient."""
        return dense.written(self, Critic, self._parts, self._chain, self.body.activation)

    @property
    def recurrent(self) -> bool:
        """Whether it has a memory."""
        return self.body.cell is not None

    def memory(self, *shape: int) -> Memory:
        """Nothing remembered; None without a memory."""
        return self.body.memory(*shape)

    def forward(self, x: Any, memory: Memory = None) -> Tensor:
        """Values [M, B] of prepared observations, with the memory before them if there is one."""
        if self._chain and self._parts.untouched():
            return dense.dense(x, self._chain, self.body.activation).squeeze(-1)
        return cast(Tensor, self.value(self.body(x, memory)[0])).squeeze(-1)

    def unroll(self, x: Any, memory: Memory, starts: Tensor) -> tuple[Tensor, Memory]:
        """Values [T, M, B] along sequences, and the memory behind each step; arguments as of `Body.unroll`."""
        features, memories = self.body.unroll(x, memory, starts)
        return unfold(cast(Tensor, self.value(fold(features))).squeeze(-1), len(starts)), memories

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What each layer of a `plain` critic makes of prepared observations, for `gradients`; the last are values."""
        return dense.outputs(x, self._chain, self.body.activation)

    def gradients(self, found: list[Tensor], grad: Tensor) -> list[Tensor]:
        """Gradients of all parameters of a `plain` critic in their order, given that of the values [M, B, 1]."""
        return dense.gradients(found, self._chain[::2], grad, self.body.activation)[0]


class ActionValue(nn.Module):
    """K values of states and actions for each of M members, Q(s, a): critic k of member m is number m·K + k of M·K.

    So one product serves all of them, and a `Learner` trains each by a loss of its own, [M·K]. Actions of a bounded Box
    count in half ranges from its centre.

    Args:
        spec: Of the source: its spaces, members and device; the initialisation is of the stream "init-critic".
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        critics: K.

    Raises:
        ValueError: There is no critic, or the actions are choices.
    """

    centre: Tensor
    half_range: Tensor

    @checked
    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int] = (256, 256),
        *,
        activation: Activation = "relu",
        critics: int = 2,
    ) -> None:
        super().__init__()
        observation, action, members = spec.observation, spec.action, spec.members
        init = Stream(spec.seed, "init-critic", spec.device)
        if critics < 1:
            raise ValueError(f"critics: at least 1, not {critics}.")
        if not isinstance(action, Box):
            raise ValueError(f"action: critics of an action need a Box, not {action}; a QNetwork values choices.")
        admit_network(
            lambda init: ActionValue(replace(spec, members=1, device=init.device), hidden, critics=1),
            members * critics,
            init,
            {"members": members, "hidden": hidden, "critics": critics},
        )
        self.members, self.critics = members, critics
        centre, half = unit(action, init.device)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("half_range", half, persistent=False)
        both = Tuple((unmasked(observation), Box(centre.shape)))
        self.body = Body(both, members * critics, hidden=hidden, activation=activation, init=init, spread=True)
        self.value = Linear(members * critics, self.body.width, 1, init=init).spread(init)
        self.to(init.device)
        self._chain = [*self.body.chain, *self.value.parameters()] if self.body.flat else []
        self._parts = Parts([self])

    def forward(self, obs: Obs, action: Tensor) -> Tensor:
        """Values [M, B, K] of actions [M, B, A] at observations [M, B, ...]."""
        x = self._prepare(obs, action)
        if self._chain and self._parts.untouched():
            return self._each(dense.dense(x, self._chain, self.body.activation))
        return self._each(cast(Tensor, self.value(self.body(x)[0])))

    def of_action(self, obs: Obs, action: Tensor) -> Tensor:
        """The same, for gradients in the action alone: none of the parameters' is computed."""
        if not (self._chain and self._parts.untouched()):
            return cast(Tensor, self(obs, action))
        frozen = [p.detach() for p in self._chain]
        return self._each(dense.dense(self._prepare(obs, action), frozen, self.body.activation))

    def _prepare(self, obs: Obs, action: Tensor) -> Any:
        both = self.body.prepare((observed(obs), (action - self.centre) / self.half_range))
        return tree.map(lambda x: x.unsqueeze(1).expand(-1, self.critics, *x.shape[1:]).flatten(0, 1), both)

    def _each(self, values: Tensor) -> Tensor:
        """[M·K, B, 1] -> [M, B, K]."""
        each: Tensor = values.squeeze(-1).unflatten(0, (self.members, self.critics))
        return each.transpose(1, 2)
