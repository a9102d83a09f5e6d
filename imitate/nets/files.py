"""Reading any policy of ours: the record says of which kind it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from imitate.core import checkpoint
from imitate.nets import policy_network
from imitate.nets.policy_network import NetworkPolicy
from imitate.nets.tabular_policy import TabularPolicy, load_tabular
from imitate.nets.value_network import ValuePolicy, load_values

__all__ = ["load"]


def load(
    directory: Path | str, device: torch.device | str = "cpu", *, build: Callable[[], nn.Module] | None = None
) -> NetworkPolicy | TabularPolicy | ValuePolicy:
    """Read a policy that its `save` wrote.

    Args:
        directory: Where it was saved: a run, or a folder with `policy.json`.
        device: Where it is to live.
        build: Makes one plain `nn.Module`, for a policy around a network of your own; see `nets.policy`.

    Raises:
        FileNotFoundError: There is no policy in `directory`.
        ValueError: The files are truncated, changed, not ours, need `build`, or hold a recurrent policy.
    """
    _, description = checkpoint.read(directory, "policy")
    if description.get("kind") == "TabularPolicy":
        return load_tabular(directory, device)
    if description.get("kind") == "ValuePolicy":
        return load_values(directory, device)
    if description.get("kind") == "RecurrentPolicy":
        raise ValueError(f"'{directory}': a recurrent policy answers to sequences; read it by nets.load_recurrent.")
    return policy_network.load(directory, device, build=build)
