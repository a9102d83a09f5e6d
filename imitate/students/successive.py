"""Students that are fitted in turn, each to examples of its own. Letters: M members, B batch, K students."""

from __future__ import annotations

from torch import Tensor

from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.types import Metrics, Source, mean_metrics
from imitate.losses.imitation import ImitationLoss
from imitate.nets.actor import Actor
from imitate.nets.actor_mixture import ActorMixture
from imitate.students.behaviour_cloning import imitator

__all__ = ["Successive"]


class Successive:
    """K students in turn, each cloned from where the first one began; all are kept as actors of a mixture.

    Args:
        source: Gives the seed and the device.
        student: What is trained, again and again.
        count: K.
        loss: Of the examples.
        updates: Gradient steps of each.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        weight_decay: Decoupled weight decay.
        rows: Of the mixture's weights, see `ActorMixture`.
    """

    def __init__(
        self,
        source: Source,
        student: Actor,
        count: int,
        loss: ImitationLoss,
        *,
        updates: int,
        batch_size: int,
        lr: PerMember,
        weight_decay: PerMember,
        rows: int = 1,
    ) -> None:
        self.student, self.mixture = student, ActorMixture.of(student, count, rows)
        self.updates, self.batch_size = updates, batch_size
        self.learner = imitator(student, loss, source, 0.0, lr, weight_decay)
        self.shuffle = Stream(source.spec.seed, "shuffle", source.spec.device)

    def learn(self, place: int, examples: Examples, mask: Tensor | None = None) -> Metrics:
        """Fit the student of a place to examples [M, B], where a mask [M, B] says so."""
        self.mixture.take(place, self.student)  # nobody has learnt there yet
        for moment in self.learner.state_dict().values():
            moment.zero_()
        data = Dataset(self.mixture.members, examples.action.shape[1], self.shuffle)
        data.add(examples, mask)
        self.student.observe(examples.obs, mask)
        metrics = mean_metrics([self.learner(batch) for batch in data.batches(self.batch_size, self.updates)])
        self.mixture.put(place, self.student)
        return metrics
