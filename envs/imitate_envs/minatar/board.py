"""What the games share: a board, its picture, six actions, sticky ones. C: channels; `*batch` is any leading shape."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imitate_envs.base import Box, Discrete

__all__ = [
    "CELLS",
    "FIRE",
    "HORIZONTAL",
    "SIZE",
    "VERTICAL",
    "action_space",
    "check",
    "choose",
    "constant",
    "integer",
    "observation_space",
    "paint",
    "picture",
]

SIZE = 10  # rows and columns; cell = SIZE·row + column, counted from the top left
CELLS = SIZE * SIZE
NOOP, LEFT, UP, RIGHT, DOWN, FIRE = ALL = range(6)
HORIZONTAL = (0, -1, 0, 1, 0, 0)  # columns that each action moves
VERTICAL = (0, 0, -1, 0, 1, 0)  # rows


@lru_cache(maxsize=256)
def constant(values: tuple[int, ...], device: torch.device) -> Int[Tensor, " n"]:
    """A vector of constants, made once a device."""
    return torch.tensor(values, device=device)


def check(sticky_action_prob: float, max_steps: int) -> None:
    """Refuse options that mean nothing.

    Raises:
        ValueError: `sticky_action_prob` is no probability, or `max_steps` is below 1.
    """
    if not 0 <= sticky_action_prob <= 1:
        raise ValueError(f"sticky_action_prob: a probability, not {sticky_action_prob}.")
    if max_steps < 1:
        raise ValueError(f"max_steps: at least 1, not {max_steps}.")


def action_space(minimal: tuple[int, ...], use_minimal_action_set: bool) -> Discrete:
    """The six actions no-op, left, up, right, down and fire, or the `minimal` ones in the same order."""
    return Discrete(len(minimal if use_minimal_action_set else ALL))


def observation_space(channels: int) -> Box:
    """Pictures [C, 10, 10] of zeros and ones, as bytes (uint8): a quarter of the memory of floats.

    The channels come first, as convolutions take them; in MinAtar itself they come last.
    """
    return Box((channels, SIZE, SIZE), 0.0, 1.0)


def choose(
    action: Int[Tensor, "*batch"],
    last: Int[Tensor, "*batch"],
    noise: Float[Tensor, "*batch"],
    actions: tuple[int, ...] | None,
    sticky_action_prob: float,
) -> Int[Tensor, "*batch"]:
    """What is done, of the six actions: the agent's, or with probability `sticky_action_prob` the `last` one again.

    Source: Machado et al. (2018), §5.2.

    Args:
        action: Position of the agent's action in `actions`.
        last: What was done in the step before, of all six.
        noise: Uniforms.
        actions: Those that the agent chooses from; None: all six.
        sticky_action_prob: Probability of a repetition.
    """
    if actions is not None:
        action = constant(actions, action.device).take(action)
    return torch.where(noise < sticky_action_prob, last, action)


def integer(bound: Int[Tensor, "*batch"] | int, noise: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """⌊bound·u⌋, an integer in [0, bound), from uniforms u."""
    # In short float types a product may round up to the bound itself.
    return (noise * bound).long().clamp(max=bound - 1)


def paint(pixels: Int[Tensor, "*batch k"], channels: int) -> UInt8[Tensor, "*batch c 10 10"]:
    """The picture with these pixels taken, each 100·channel + cell; the number after the last one is out of sight."""
    size = channels * CELLS
    blank = pixels.new_zeros(*pixels.shape[:-1], size + 1, dtype=torch.uint8)
    painted: Tensor = blank.scatter_(-1, pixels, 1)[..., :size].unflatten(-1, (channels, SIZE, SIZE))
    return painted.contiguous()


def picture(planes: Bool[Tensor, "*batch c 100"]) -> UInt8[Tensor, "*batch c 10 10"]:
    """The picture of planes that say which cells are taken."""
    pixels: Tensor = planes.unflatten(-1, (SIZE, SIZE)).to(torch.uint8)
    return pixels
