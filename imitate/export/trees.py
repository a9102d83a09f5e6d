"""Decision trees as text, Python and C: a page each. Letters: F features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import indent

from imitate.core.config import checked
from imitate.export.numbers import hexadecimal
from imitate.nets.tree_policy import Node, TreePolicy
from imitate_envs.base import Discrete

__all__ = ["c_function", "named", "python_function", "size", "tree_text"]

INDENT = "    "


@checked
def tree_text(policy: TreePolicy, *, member: int = 0, features: Sequence[str] = (), actions: Sequence[str] = ()) -> str:
    """The rules of a member's tree, for people to read.

    Args:
        policy: The trees.
        member: Which of them.
        features: Names of the numbers of an observation; x[0], x[1], … by default.
        actions: Names of the choices; their numbers by default.

    Raises:
        ValueError: There are not as many names as things, or there is no such member.
    """
    feature, action = named(policy, member, features, actions)

    def of(node: Node) -> str:
        if isinstance(node, int):
            return f"{action(node)}\n"
        at, number = feature(node.feature), f"{node.threshold:.4g}"
        sides = ((f"{at} <= {number}", node.left), (f"{at} > {number}", node.right))
        return "".join(
            f"{head}: {of(inner)}" if isinstance(inner, int) else f"{head}\n{indent(of(inner), INDENT)}"
            for head, inner in sides
        )

    return of(policy.root(member))


def python_function(policy: TreePolicy, member: int, name: str) -> str:
    """The tree as nested ifs of Python; a threshold is written with all its digits."""
    start = _start(policy)

    def of(node: Node) -> str:
        if isinstance(node, int):
            return f"return {node + start}\n"
        left, right = (indent(of(inner), INDENT) for inner in (node.left, node.right))
        return f"if obs[{node.feature}] <= {node.threshold!r}:\n{left}else:\n{right}"

    about = f'"""The action at an observation of {policy.inputs.flat} numbers of float32."""\n'
    return f"def {name}_act(obs):\n" + indent(about + of(policy.root(member)), INDENT)


def c_function(policy: TreePolicy, member: int, name: str) -> str:
    """The tree as nested ifs of C; a threshold is written in hexadecimal, which every compiler reads exactly."""
    start = _start(policy)

    def of(node: Node) -> str:
        if isinstance(node, int):
            return f"return {node + start};\n"
        left, right = (indent(of(inner), INDENT) for inner in (node.left, node.right))
        test = f"obs[{node.feature}] <= {hexadecimal(node.threshold)}"
        return f"if ({test}) {{ /* {node.threshold:.6g} */\n{left}}} else {{\n{right}}}\n"

    root = policy.root(member)
    unused = "(void)obs;\n" if isinstance(root, int) else ""
    takes = f"/* obs: {policy.inputs.flat} numbers; the action. */\n"
    return f"{takes}static inline int {name}_act(const float *obs) {{\n{indent(unused + of(root), INDENT)}}}\n"


def size(policy: TreePolicy, member: int) -> str:
    """How many nodes a member's tree has, in words."""
    count = int(policy.nodes[member])
    return f"{count:,} node{'s' if count > 1 else ''}"


def named(
    policy: TreePolicy, member: int, features: Sequence[str], actions: Sequence[str]
) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """What a feature and what a choice of a tree are called.

    Raises:
        ValueError: There are not as many names as things, or there is no such member.
    """
    if not -policy.members <= member < policy.members:
        raise ValueError(f"member: {member} is not one of the {policy.members} members.")
    counts = {"features": (features, policy.inputs.flat), "actions": (actions, _choices(policy).n)}
    for name, (given, wanted) in counts.items():
        if given and len(given) != wanted:
            raise ValueError(f"{name}: {len(given)} names for {wanted}; name all of them, or none.")
    start = _start(policy)
    return (lambda i: features[i] if features else f"x[{i}]"), (lambda a: actions[a] if actions else str(a + start))


def _choices(policy: TreePolicy) -> Discrete:
    assert isinstance(policy.action, Discrete)
    return policy.action


def _start(policy: TreePolicy) -> int:
    """What the environment calls the first choice."""
    return _choices(policy).start
