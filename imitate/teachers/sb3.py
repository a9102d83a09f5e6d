"""Stable-Baselines3's models as policies of ours: the same actions and probabilities from our network.

Letters: M members, A actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.reading import line, refusing
from imitate.nets import Activation, Actor, Architecture
from imitate.nets.action_heads import outputs_of
from imitate.nets.inputs import Inputs
from imitate.teachers.sb3_files import (
    SavedModel,
    Statistics,
    of_model,
    of_vec_normalize,
    read_model,
    read_vec_normalize,
    unsupported,
)
from imitate_envs.base import Box, Discrete, MultiBinary, MultiDiscrete

__all__ = ["from_sb3"]

Layer = tuple[Tensor, Tensor]  # weight [outputs, inputs] and bias [outputs]

_OUR_EPSILON = 1e-8  # RunningNorm's
_ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.ELU": "elu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.LeakyReLU": "leaky_relu",
}


@dataclass(frozen=True)
class _Actor:
    """The part of a model that chooses actions."""

    layers: list[Layer]
    activation: Activation  # the default of its algorithm
    squash: bool = False
    log_std: Tensor | None = None  # [A], of a Gaussian that is not squashed


@checked
def from_sb3(
    model: Any,
    vec_normalize: Any = None,
    members: int = 1,
    device: torch.device | str = "cpu",
    *,
    scale: float = 0.1,
    temperature: float = 1.0,
) -> Actor:
    """A policy of ours that does what a Stable-Baselines3 model does.

    It takes the MLP policies of PPO, A2C, DQN, SAC, TD3 and DDPG, and of sb3-contrib's TRPO, MaskablePPO
    (without masks), TQC and QR-DQN. Files are read as data and never unpickled.

    PPO and kin give their own categorical or Gaussian, SAC and TQC their squashed Gaussian. DQN gives a
    categorical with logits Q/temperature, QR-DQN likewise with the mean of the quantiles for Q. TD3 is
    deterministic: it gives a squashed Gaussian around its action. In every case the mode is what
    `model.predict(obs, deterministic=True)` returns, once clipped to the bounds.

    Args:
        model: A model, or the path of the `.zip` that `model.save` wrote.
        vec_normalize: The VecNormalize it was trained behind, or the path of the `.pkl` that its `save`
            wrote. None takes the one around a model's own environment, if there is one; False takes none.
        members: M, copies of it; a population of one serves inputs of any M.
        device: Where the policy is to live.
        scale: Standard deviation, before the tanh, that TD3 and DDPG are given.
        temperature: Divides the values of DQN and QR-DQN.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is truncated or foreign, or the model is of a kind that is not supported.
    """
    if not (scale > 0 and temperature > 0):
        raise ValueError(f"scale and temperature must be positive, not {scale} and {temperature}.")
    path = isinstance(model, (str, Path))
    if not path and not hasattr(model, "get_vec_normalize_env"):
        raise ValueError(f"model: a model of Stable-Baselines3 or the path of its .zip, not {type(model).__name__}.")
    if vec_normalize is None and not path:
        vec_normalize = model.get_vec_normalize_env()
    saved = read_model(model) if path else of_model(model)
    statistics = _vec_normalize(vec_normalize)
    shape = saved.observation.shape if isinstance(saved.observation, Box | Discrete) else None
    if statistics is not None and statistics.mean.shape != shape:
        raise ValueError(f"vec_normalize: made for observations {statistics.mean.shape}, the model's are {shape}.")
    with refusing(saved.label):
        return _policy(saved, statistics, members, device, scale, temperature)


def _policy(
    saved: SavedModel,
    statistics: Statistics | None,
    members: int,
    device: torch.device | str,
    scale: float,
    temperature: float,
) -> Actor:
    for space in (saved.observation, saved.action):
        # Stable-Baselines3 counts from 0 all the same: such a model was trained on other numbers than the space says.
        if isinstance(space, Discrete | MultiDiscrete) and np.any(space.start):
            raise unsupported(f"a {space} that does not begin at 0")
    actor = _actor(saved, scale, temperature)
    architecture = Architecture(
        hidden=tuple(len(bias) for _, bias in actor.layers[:-1]),
        activation=_activation(saved, actor.activation),
        normalise=statistics is not None,
        squash=actor.squash,
        clip_obs=statistics.clip if statistics is not None else 10.0,
        scaled=False,
    )
    # Before anything is made: what layers say of one another, and spaces of the first and the last, costs no bytes.
    sizes = [Inputs(saved.observation).flat, *architecture.hidden, outputs_of(saved.action, actor.squash)]
    for i, ((weight, _), shape) in enumerate(zip(actor.layers, pairwise(sizes), strict=True)):
        if weight.shape != shape[::-1]:
            found, wanted = tuple(weight.shape), shape[::-1]
            raise ValueError(f"its weights do not fit its spaces: layer {i} is {found} instead of {wanted}")
    policy = Actor(saved.observation, saved.action, members, architecture, Stream(0, "init", device))
    state = _state(actor, statistics)
    policy.load_state_dict({name: value.expand(members, *value.shape[1:]) for name, value in state.items()})
    return policy


def _vec_normalize(given: Any) -> Statistics | None:
    if given is None or given is False:
        return None
    if isinstance(given, (str, Path)):
        return read_vec_normalize(given)
    if not hasattr(given, "norm_obs"):
        raise ValueError(f"vec_normalize: a VecNormalize or the path of its .pkl, not {type(given).__name__}.")
    return of_vec_normalize(given)


def _activation(saved: SavedModel, default: Activation) -> Activation:
    if saved.activation is None:
        return default
    if saved.activation not in _ACTIVATIONS:
        raise unsupported(f"the activation {saved.activation}")
    return _ACTIVATIONS[saved.activation]


def _state(actor: _Actor, statistics: Statistics | None) -> dict[str, Tensor]:
    """The state dict of a Actor of one member."""
    state: dict[str, Tensor] = {}
    for i, (weight, bias) in enumerate(actor.layers):
        where = f"body.layers.{i}" if i + 1 < len(actor.layers) else "head.linear"
        state[f"{where}.weight"] = weight.mT.unsqueeze(0)
        state[f"{where}.bias"] = bias.reshape(1, 1, -1)
    if actor.log_std is not None:
        state["head.log_std"] = actor.log_std.reshape(1, 1, -1)
    if statistics is not None:
        var = statistics.var + (statistics.epsilon - _OUR_EPSILON)
        for name, array in (("mean", statistics.mean), ("var", var)):
            state[f"body.normaliser.{name}"] = torch.as_tensor(np.asarray(array, np.float32)).reshape(1, 1, -1)
        state["body.normaliser.floor"] = torch.zeros_like(state["body.normaliser.var"])  # theirs have none
        state["body.normaliser.count"] = torch.tensor([statistics.count], dtype=torch.float64)
    return state


def _actor(saved: SavedModel, scale: float, temperature: float) -> _Actor:
    """Find the actor by the names in the state dict."""
    weights, left = saved.weights, _Left(saved)
    if "action_net.weight" in weights:  # PPO, A2C, TRPO
        last = left.linear("action_net")
        if isinstance(saved.action, MultiBinary):  # one logit a bit, of 1 against 0
            last = _against_zero(last[0]), _against_zero(last[1])
        layers = [*left.sequence("mlp_extractor.policy_net"), last]
        log_std = left.take("log_std") if "log_std" in weights else None
        if log_std is not None and log_std.dim() != 1:
            raise unsupported("state-dependent exploration (use_sde)")
        left.done("mlp_extractor.value_net.", "value_net.")
        return _Actor(layers, "tanh", log_std=log_std)
    if "q_net.q_net.0.weight" in weights:  # DQN
        layers = left.sequence("q_net.q_net")
        left.done("q_net_target.")
        return _Actor([*layers[:-1], _divided(layers[-1], temperature)], "relu")
    if "quantile_net.quantile_net.0.weight" in weights:  # QR-DQN: outputs are [quantiles, A]
        *hidden, (weight, bias) = left.sequence("quantile_net.quantile_net")
        left.done("quantile_net_target.")
        choices = saved.action.n if isinstance(saved.action, Discrete) else 1
        mean = weight.reshape(-1, choices, weight.shape[1]).mean(0), bias.reshape(-1, choices).mean(0)
        return _Actor([*hidden, _divided(mean, temperature)], "relu")
    if "actor.mu.weight" in weights and "actor.log_std.weight" in weights:  # SAC, TQC
        mu, log_std_ = left.linear("actor.mu"), left.linear("actor.log_std")
        head = torch.cat([mu[0], log_std_[0]]), torch.cat([mu[1], log_std_[1]])
        layers = [*left.sequence("actor.latent_pi"), head]
        left.done("critic.", "critic_target.")
        return _Actor(layers, "relu", squash=True)
    if "actor.log_std" in weights:
        raise unsupported("state-dependent exploration (use_sde)")
    if "actor.mu.0.weight" in weights and isinstance(saved.action, Box):  # TD3, DDPG
        *hidden, (weight, bias) = left.sequence("actor.mu")
        spread = torch.full_like(bias, math.log(scale))
        left.done("actor_target.", "critic.", "critic_target.")
        return _Actor(
            [*hidden, (torch.cat([weight, torch.zeros_like(weight)]), torch.cat([bias, spread]))],
            "relu",
            squash=True,
        )
    raise unsupported(f"a policy with the parts {', '.join(sorted(weights)[:3])}, …")


def _against_zero(rows: Tensor) -> Tensor:
    """[n, ...] -> [2n, ...], a row of zeros before each."""
    return torch.stack([torch.zeros_like(rows), rows], 1).flatten(0, 1)


def _divided(layer: Layer, temperature: float) -> Layer:
    return layer[0] / temperature, layer[1] / temperature


class _Left:
    """What has not been taken of a state dict; nothing of an actor may be left over."""

    def __init__(self, saved: SavedModel) -> None:
        self.weights = dict(saved.weights)

    def take(self, name: str) -> Tensor:
        if name not in self.weights:
            raise unsupported(f"a policy without {name}")
        taken = self.weights.pop(name)
        if not taken.is_floating_point() or not taken.numel() or not bool(taken.float().isfinite().all()):
            raise ValueError(f"{line(name)} is empty, or not of finite real numbers")
        return taken.float()

    def linear(self, name: str) -> Layer:
        weight, bias = self.take(f"{name}.weight"), self.take(f"{name}.bias")
        if weight.dim() != 2 or bias.shape != weight.shape[:1]:
            raise unsupported(f"the layer {name} of shape {tuple(weight.shape)}")
        return weight, bias

    def sequence(self, name: str) -> list[Layer]:
        """Linear layers at the even places of a `Sequential`, activations at the odd ones; may be empty."""
        layers: list[Layer] = []
        while f"{name}.{2 * len(layers)}.weight" in self.weights:
            layers.append(self.linear(f"{name}.{2 * len(layers)}"))
        return layers

    def done(self, *others: str) -> None:
        """Check that all that is left belongs to critics and targets, by the beginning of its name."""
        strange = sorted(name for name in self.weights if not name.startswith(others))
        if strange:
            raise unsupported(f"the part {strange[0]}")
