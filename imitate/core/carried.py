"""What an algorithm or a source carries from one rollout to the next."""

from __future__ import annotations

from typing import Any

from imitate.core import tree

__all__ = ["Carried"]


class Carried:
    """A tree of tensors that is replaced as a run goes on, and saved with it.

    Args:
        tree: The tree at the beginning; None where `begin` is to tell its structure, such as the memory of a policy.
    """

    def __init__(self, tree: Any = None) -> None:
        self.tree = tree
        self._saved: dict[str, Any] = {}  # loaded before there was a tree

    def begin(self, tree: Any) -> None:
        """Begin anew with a tree of any structure; behind a resume the saved numbers take the place of its own."""
        self.tree = tree
        saved, self._saved = self._saved, {}
        if saved:
            self.load_state_dict(saved)

    def state_dict(self) -> dict[str, Any]:
        """Its tensors, numbered."""
        return self._saved or {str(i): leaf for i, leaf in enumerate(tree.leaves(self.tree))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; without a tree yet, as soon as one begins."""
        if self.tree is None:
            self._saved = state
            return
        order = iter(range(len(state)))
        self.tree = tree.map(lambda leaf: state[str(next(order))].to(leaf).clone(), self.tree)
