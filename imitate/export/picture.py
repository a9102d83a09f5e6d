"""Pictures of decision trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imitate.core.config import checked
from imitate.export.trees import named, size
from imitate.nets.tree_policy import Node, TreePolicy

__all__ = ["draw_tree"]

COLOURS = ("#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6", "#ffff99")  # of the choices, in turn
MOST = 200  # leaves beside each other that anybody can read


@checked
def draw_tree(
    path: Path | str,
    policy: TreePolicy,
    *,
    member: int = 0,
    features: Sequence[str] = (),
    actions: Sequence[str] = (),
) -> None:
    """A member's tree as a picture: to the left where a split holds, leaves in the colour of their choice.

    Args:
        path: Of the picture; its suffix says the kind.
        policy: The trees.
        member: Which of them.
        features: Names of the numbers of an observation; x[0], x[1], … by default.
        actions: Names of the choices; their numbers by default.

    Raises:
        ValueError: There are not as many names as things, there is no such member, or the tree is too large to be seen.
    """
    from matplotlib.figure import Figure  # slow to import, and needed here only

    feature, action = named(policy, member, features, actions)
    leaves = (int(policy.nodes[member]) + 1) // 2
    if leaves > MOST:
        raise ValueError(f"policy: a picture has room for {MOST} leaves, and the tree has {leaves:,}; take the text.")
    root = policy.root(member)
    deep, wide = _levels(root), max(len(action(a)) for a in range(policy.action.n))
    figure = Figure(
        figsize=(max(4.0, leaves * max(0.62, 0.12 * wide)), 0.95 * deep + 1.1), layout="constrained", dpi=110
    )
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set(xlim=(-0.7, leaves - 0.3), ylim=(-deep + 0.5, 0.5))
    axis.set_title(
        f"{policy.env or 'tree'}, member {member}: {size(policy, member)}; to the left where it holds",
        fontsize=10,
        parse_math=False,
    )
    count = 0

    def draw(node: Node, level: int) -> float:
        """Draw what is below a node, and say where it stands."""
        nonlocal count
        if isinstance(node, int):
            x, count = float(count), count + 1
            _box(x, level, action(node), COLOURS[node % len(COLOURS)])
            return x
        left, right = (draw(side, level + 1) for side in (node.left, node.right))
        x = (left + right) / 2
        for side in (left, right):
            axis.plot([x, side], [-level, -level - 1], color="#888888", linewidth=1, zorder=1)
        _box(x, level, f"{feature(node.feature)}\n≤ {node.threshold:.3g}", "white")
        return x

    def _box(x: float, level: int, text: str, colour: str) -> None:
        style = {"boxstyle": "round,pad=0.3", "facecolor": colour, "edgecolor": "#444444"}
        axis.text(x, -level, text, ha="center", va="center", fontsize=8, bbox=style, zorder=2, parse_math=False)

    draw(root, 0)
    figure.savefig(path)


def _levels(node: Node) -> int:
    return 1 if isinstance(node, int) else 1 + max(map(_levels, (node.left, node.right)))
