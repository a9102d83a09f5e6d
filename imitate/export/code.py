"""Policies as source files: what surrounds the function that acts. Letters: M members, F features."""

from __future__ import annotations

import re
from typing import Any

from imitate.core.config import checked
from imitate.core.reading import line
from imitate.core.types import Policy
from imitate.export import networks, trees
from imitate.nets.actor import Actor
from imitate.nets.q_network import QNetwork
from imitate.nets.tree_policy import TreePolicy

__all__ = ["c_header", "python_module"]


@checked
def c_header(policy: Policy, *, member: int = 0, name: str = "policy", int8: bool = False) -> str:
    """One member of a policy as a header of C99 that needs nothing but the standard library.

        int policy_act(const float *obs);                     choices: the action as the environment takes it
        void policy_act(const float *obs, float *action);     a Box: the mean, inside the bounds

    `obs` are the F features: the numbers of an observation in their order, flat, and behind them its choices one-hot.
    The policy answers as `predict(..., deterministic=True)` does. A tree compares the very same numbers of float32, and
    is equal for every observation. A network sums in another order than torch does: outputs differ by rounding, and a
    choice can differ where the best two logits are as close as that. Of equal ones the first is taken, as in torch.

    Args:
        policy: A `TreePolicy`, or an `Actor` or a `QNetwork` of mean returns that is a multilayer perceptron.
        member: Which member of the population.
        name: All names in the header begin with it.
        int8: Write the weights of a network as bytes with a scale for each output (`nets.compression.quantise`); it
            computes in float32, as `dequantised` does.

    Raises:
        ValueError: There is no such member, the name is none, or the policy cannot be written so.
    """
    check_named(policy, member, name)
    if isinstance(policy, TreePolicy):
        if int8:
            raise ValueError("int8: a tree has no weights; write it as it is.")
        about, body = f"A decision tree of {trees.size(policy, member)}", trees.c_function(policy, member, name)
    elif isinstance(policy, Actor | QNetwork):
        about, body = "A multilayer perceptron", networks.c_functions(policy, member, name, int8)
    else:
        raise ValueError(f"policy: a {type(policy).__name__} cannot be written as C; trees and networks of ours can.")
    guard = f"{name.upper()}_ACT_H"
    head = f"/* {about}, {_origin(policy, member)}. C99. */"
    return f"{head}\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"


@checked
def python_module(policy: Policy, *, member: int = 0, name: str = "policy") -> str:
    """One member of a `TreePolicy` as a Python module that imports nothing.

    Its function takes the features of an observation, as `c_header` says, as any sequence of numbers of float32. It is
    equal to the tree for every observation.

    Args:
        policy: The trees.
        member: Which of them.
        name: Of the function, behind which stands `_act`.

    Raises:
        ValueError: There is no such member, the name is none, or the policy is no tree.
    """
    check_named(policy, member, name)
    if not isinstance(policy, TreePolicy):
        raise ValueError("format: only a tree is written as Python; a network is written as c.")
    body = trees.python_function(policy, member, name)
    return f'"""A decision tree of {trees.size(policy, member)}, {_origin(policy, member)}."""\n\n\n{body}'


def check_named(policy: Any, member: int, name: str) -> None:
    """Raise ValueError unless there is such a member, and the name is one in C."""
    members = int(getattr(policy, "members", 1))
    if not -members <= member < members:
        raise ValueError(f"member: {member} is not one of the {members} members.")
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"name: {line(repr(name))} is no name; take letters, digits and _, such as 'policy'.")


def _origin(policy: Any, member: int) -> str:
    """Where it comes from; of a text from a file only what can end no comment."""
    env = re.sub(r"[^\w./:-]", "_", policy.env or "an environment", flags=re.ASCII)[:100]
    return f"member {member} of {policy.members}, for {env}, written by imitate"
