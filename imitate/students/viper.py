"""Decision trees that learn from a teacher. Letters: T time, M members, N environments of one member, F features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.noise import Stream, integers
from imitate.core.progress import Progress
from imitate.core.room import admit, admit_steps
from imitate.core.types import Metrics, Rollout, Source, fold
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Categorical, Teacher, Valued
from imitate.losses.importance import value_gap
from imitate.nets.tree_policy import Depth, Node, Split, TreePolicy
from imitate.policies import Greedy, Mixture
from imitate.teachers.label import Answers, whole

__all__ = ["VIPER", "VIPERConfig"]

HELD_OUT_SEED = 2_000_003  # of the episodes that choose a tree: neither training nor an evaluation draws from it


@dataclass(frozen=True)
class VIPERConfig:
    """Hyper-parameters of VIPER.

    Args:
        rounds: Rounds of driving, labelling and growing a tree.
        rollout: T, steps of each environment in a round; a round costs T·N labels a member.
        max_depth: Splits on the longest way to a leaf, at the most.
        ccp_alpha: By how much each further leaf must lower the weighted mean of Gini's impurity, in [0, 1], to stay:
            minimal cost-complexity pruning (Breiman et al. 1984).
        held_out: Episodes of each member that are held out; every tree plays them, and the best is the policy.
    """

    rounds: Count = 10
    rollout: Count = 64
    max_depth: Depth = 4
    ccp_alpha: NonNegative[float] = 1e-4
    held_out: Count = 20

    def __post_init__(self) -> None:
        check(self)


class VIPER:
    """Learn a decision tree from the teacher's answers on the trees' own states (Bastani et al. 2018, algorithm 1).

    The teacher drives the first round, and after that the last tree. All steps are kept. An example weighs as much as
    its state matters: the teacher's `value_gap`, of its values where it has them and of its log-probabilities where it
    has not. Weights are the expectation of what the paper draws anew in each round. A round is T steps of each
    environment, which begin where the last round ended, instead of whole episodes. The policy is the tree of greatest
    mean return on held-out episodes, of equals the last one, which has learnt from most labels.

    Args:
        source: Where to drive.
        teacher: Who labels, with a distribution over choices.
        config: Hyper-parameters.

    Raises:
        ValueError: A number of the config does not fit, a tree cannot be had of these spaces, scikit-learn is not
            installed, or the teacher has other members.
    """

    @checked
    def __init__(self, source: Source, teacher: Teacher, config: VIPERConfig | None = None) -> None:
        config, spec = config or VIPERConfig(), source.spec
        _classifier()
        members, device, steps = spec.members, spec.device, config.rollout * spec.num_envs
        if getattr(teacher, "members", 1) not in (1, members):
            raise ValueError(f"teacher: has {teacher.members} members, the source {members}; one serves all.")  # type: ignore[attr-defined]
        sizes = {"rounds": config.rounds, "rollout": config.rollout, "num_envs": spec.num_envs, "members": members}
        admit_steps(spec, sizes, seen=1)
        # A tree has no more leaves than examples.
        nodes = min(2 ** (config.max_depth + 1), 2 * config.rounds * steps) - 1
        self.source, self.teacher, self.config = source, teacher, config
        self.policy, self.last = (
            TreePolicy(
                spec.observation, spec.action, members, config.max_depth, nodes=nodes, device=device, env=spec.id
            )
            for _ in range(2)
        )
        self.driver = Mixture(Greedy(Privileged(teacher)), self.last, torch.ones(members, device=device))
        self.answers = Answers(teacher)
        total, features = config.rounds * steps, self.last.inputs.flat
        admit("the features", 4.0 * members * total * features, sizes, device)
        self.x = torch.zeros(members, total, features, device=device)
        self.label = torch.zeros(members, total, dtype=torch.int64, device=device)
        self.weight = torch.zeros(members, total, device=device)
        self.best = torch.full((members,), -math.inf, dtype=torch.float64)
        self.seeds = Stream(spec.seed, "trees")
        self.progress = Progress(spec, total, steps)  # every step is labelled

    def step(self) -> Metrics:
        """One round: drive, label, aggregate, grow, and keep the best trees."""
        self.driver.beta.fill_(float(int(self.progress.steps) == 0))
        rollout = self.source.collect(self.driver, self.config.rollout)
        told = self.answers(rollout)
        if not isinstance(told, Categorical):
            raise ValueError(f"teacher: a {type(told).__name__} has no finitely many choices for the leaves of a tree.")
        count, new = int(self.progress.steps), told.mode.shape[1]
        here = slice(count, count + new)
        self.x[:, here] = self.last.features(fold(rollout.obs))
        self.label[:, here] = told.mode
        self.weight[:, here] = value_gap(self._values(rollout, told))
        self.progress.advance(new, new)
        loss = self._grow(count + new)
        returns = self._keep()
        agreement = (fold(rollout.action) == told.mode).float().mean(1)
        return {"loss": loss, "agreement": agreement, "nodes": self.last.nodes.float(), "held_out_return": returns}

    @torch.no_grad()
    def _values(self, rollout: Rollout, told: Categorical) -> Tensor:
        """What each choice is worth to the teacher at the states of a rollout, [M, T·N, A]."""
        if isinstance(self.teacher, Valued):
            return self.teacher.action_values(fold(whole(rollout)))
        return told.logits

    def _grow(self, count: int) -> Tensor:
        """A new tree of each member, from its first `count` examples; the share of their weight that it errs on."""
        seeds = integers(2**31, self.seeds.uniform(len(self.weight))).tolist()
        weight = self.weight[:, :count].double()
        # If no state matters all matter alike.
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, 1.0)
        for member, seed in enumerate(seeds):
            x, label, w = (part[member, :count].cpu().numpy() for part in (self.x, self.label, weight))
            self.last.plant(member, _tree(x, label, w, self.config, seed))
        wrong = self.last.choose(self.x[:, :count]) != self.label[:, :count]
        return ((weight * wrong).sum(1) / weight.sum(1)).float()

    def _keep(self) -> Tensor:
        """Mean held-out returns [M] of the last trees; those that are the best so far become the policy."""
        found = self.source.play(Greedy(self.last), self.config.held_out, HELD_OUT_SEED).double().mean(1).cpu()
        better = found >= self.best
        self.best.copy_(torch.where(better, found, self.best))
        better = better.to(self.policy.device).unsqueeze(1)
        for mine, new in zip(self.policy.buffers(), self.last.buffers(), strict=True):
            mine.copy_(torch.where(better, new, mine))
        return found.float().to(self.policy.device)


def _classifier() -> Any:
    """The class of scikit-learn that grows trees.

    Raises:
        ValueError: It is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ImportError:
        raise ValueError("scikit-learn: not installed, and grows the trees; pip install scikit-learn.") from None
    return DecisionTreeClassifier


def _tree(x: Any, label: Any, weight: Any, config: VIPERConfig, seed: int) -> Node:
    """A classification tree of weighted examples [B, F], [B] and [B] (CART, Breiman et al. 1984)."""
    made = _classifier()(max_depth=config.max_depth, ccp_alpha=config.ccp_alpha, random_state=seed)
    made.fit(x, label, sample_weight=weight)
    return _node(made.tree_, made.classes_.tolist())


def _node(tree: Any, classes: list[int], at: int = 0) -> Node:
    """A tree of scikit-learn's, without splits whose two sides are the same."""
    if tree.children_left[at] < 0:
        return classes[int(tree.value[at, 0].argmax())]
    left, right = (_node(tree, classes, int(side[at])) for side in (tree.children_left, tree.children_right))
    return left if left == right else Split(int(tree.feature[at]), _below(float(tree.threshold[at])), left, right)


def _below(threshold: float) -> float:
    """The greatest number of float32 that is no greater: numbers of float32 are on the same side of both."""
    rounded = np.float32(threshold)
    # As a float: beside a number of float32 the threshold itself would be rounded.
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))
