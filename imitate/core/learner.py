"""One gradient step for every member at once. Letters: M members, P parameters of one member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from imitate.core.capture import Captured, capture
from imitate.core.config import checked
from imitate.core.parts import Parts, touched
from imitate.core.room import admit
from imitate.core.spec import Spec
from imitate.core.types import Metrics
from imitate.core.weak import Weak

__all__ = ["Learner", "PerMember", "numbers", "per_member"]

Batch = TypeVar("Batch")
PerMember = float | tuple[float, ...]  # one number for all members, or one for each


def per_member(value: PerMember | Tensor, name: str, members: int, device: torch.device | str = "cpu") -> Tensor:
    """A number of a config as a tensor [M].

    Raises:
        ValueError: There are neither one nor M numbers.
    """
    found = torch.as_tensor(value, dtype=torch.float32)
    if found.dim() > 0 and found.shape != (members,):
        raise ValueError(f"{name}: {found.numel()} values for {members} members; give one, or one a member.")
    return found.expand(members).clone().to(device)


def numbers(config: Any, spec: Spec, *names: str) -> SimpleNamespace:
    """Numbers of a config as tensors [M, 1], by name: held apart, for what a config says is no state of a run.

    Raises:
        ValueError: There are neither one nor M numbers.
    """
    made = {name: per_member(getattr(config, name), name, spec.members, spec.device).unsqueeze(1) for name in names}
    return SimpleNamespace(**made)


class Learner(Generic[Batch]):
    """Loss -> backward -> clip -> Adam, per member.

    The parameters of all modules become views of one tensor [M, P], so clipping and the optimiser are a handful of
    operations however many layers there are. Where another learner has laid the same parameters out in this order they
    stay where they are and both move them; otherwise they are laid out anew, and the learner that they were taken from
    raises at its next step. It also raises where a parameter was moved, replaced, frozen, added or removed. Members
    cannot touch each other: their losses are summed and their gradients are disjoint. On a GPU a step is recorded as
    one CUDA graph, see `imitate.core.capture`: whatever the loss uses and changes between steps must be a tensor,
    changed in place.

    Source: Kingma & Ba (2015), algorithm 1; with `weight_decay` Loshchilov & Hutter (2019), algorithm 2.

    Args:
        modules: Member-axis modules, trained together.
        loss: Batch -> loss of each member [M], and metrics [M] to report.
        gradient: Batch -> loss [M] or [M, B], metrics, and one gradient a parameter in the order of `parameters`, where
            the algorithm has it written out; or None, where the modules are not those that it knows. Autograd then
            finds it, at a cost that on small networks exceeds theirs.
        lr: Learning rate. `learner.lr` is a tensor [M]: change it in place.
        max_grad_norm: Bound on the norm of each member's whole gradient.
        weight_decay: Decoupled weight decay.
        betas: Decay of the moments.
        epsilon: Added to the root of the second moment.

    Raises:
        RuntimeError: At a step: the modules have other parameters than they had, or have them elsewhere.
    """

    @checked
    def __init__(
        self,
        modules: Sequence[nn.Module],
        loss: Callable[[Batch], tuple[Tensor, Metrics]],
        *,
        gradient: Callable[[Batch], tuple[Tensor, Metrics, Sequence[Tensor]] | None] | None = None,
        lr: PerMember | Tensor,
        max_grad_norm: float | None = None,
        weight_decay: PerMember = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.loss, self.gradient = loss, gradient
        self.max_grad_norm, self.betas, self.epsilon = max_grad_norm, betas, epsilon
        # Once each, even where two modules share a layer.
        self.parameters = list(dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad))
        members, device = len(self.parameters[0]), self.parameters[0].device
        count, widest = sum(p.numel() for p in self.parameters), max(p.shape[-1] for p in self.parameters)
        # Of float32: a gradient, two moments and a step.
        admit("gradients and moments", 16 * count, {"members": members, "hidden": widest}, device)
        self.flat = _laid_out(self.parameters)
        self._modules, self._parts = list(modules), Parts(modules)
        self._all = [p for module in modules for p in module.parameters()]
        self._layout = self._layout_now()
        self.lr = per_member(lr, "lr", members, device)
        self.weight_decay = per_member(weight_decay, "weight_decay", members, device)
        self.decays = bool(self.weight_decay.any())
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.count = torch.zeros((), device=device)  # steps so far; the fused kernel wants a float
        self._ones = torch.ones(members, device=device)
        self._captured = capture(Weak(self._update), device)
        self._recorded = isinstance(self._captured, Captured)

    def __call__(self, batch: Batch) -> Metrics:
        """Take one step; metrics [M] or [M, B] of the loss before it."""
        if self._layout_now() != self._layout or not self._parts.unchanged():
            raise RuntimeError(
                "learner: its parameters were moved away, replaced, frozen, added or removed, as by `.to(...)`, "
                "`load_state_dict(assign=True)`, `requires_grad_(...)` or a learner of other modules made since; make "
                "a learner after whatever changes its parameters."
            )
        return self._update(batch) if self._recorded and touched(self._modules) else self._captured(batch)

    def _layout_now(self) -> tuple[list[int], list[bool]]:
        """Where the parameters are in `flat`, and which of all learn."""
        start = self.flat.data_ptr()
        return [p.data_ptr() - start for p in self.parameters], [p.requires_grad for p in self._all]

    def _update(self, batch: Batch) -> Metrics:
        written = None
        if self.gradient is not None:
            with torch.no_grad():
                written = self.gradient(batch)
        if written is not None:
            loss, metrics, grads = written
        else:
            loss, metrics = self.loss(batch)
            if loss.shape != self.lr.shape:
                raise ValueError(f"loss: {tuple(loss.shape)}, but each of the {len(self.lr)} members needs one number.")
            # A parameter that this loss does not use, such as a Gaussian's width in a squared error, has gradient zero.
            grads = torch.autograd.grad(loss, self.parameters, self._ones, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            grad = torch.cat([g.reshape(len(loss), -1) for g in grads], dim=1)
            norm = torch.linalg.vecdot(grad, grad).sqrt_()
            if self.max_grad_norm is not None:
                grad *= (self.max_grad_norm / (norm + 1e-6)).clamp(max=1).unsqueeze(1)
            self._adam(grad)
        return {"loss": loss.detach(), "grad_norm": norm, **metrics}

    def _adam(self, grad: Tensor) -> None:
        """One step of Adam for every member.

        Torch's fused kernel knows one learning rate only, so that it makes the step at rate 1 out of nothing, and each
        member goes as far as its own rate says.
        """
        self.count += 1
        step = torch.zeros_like(self.flat)
        torch._fused_adam_(
            [step],
            [grad],
            [self.mean],
            [self.square],
            [],
            [self.count],
            lr=1.0,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )
        lr = self.lr.unsqueeze(1)
        if self.decays:
            self.flat.mul_(1 - lr * self.weight_decay.unsqueeze(1))
        self.flat.addcmul_(step, lr)

    def state_dict(self) -> dict[str, Any]:
        """Moments and count; the parameters are saved by their modules, and the learning rate is the config's."""
        return {"mean": self.mean, "square": self.square, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place.

        Raises:
            RuntimeError: A shape is another.
            ValueError: A second moment or the count is negative.
        """
        if bool((state["square"] < 0).any()) or bool((state["count"] < 0).any()):
            raise ValueError("second moments and their count are not negative")
        for name, value in self.state_dict().items():
            if state[name].shape != value.shape:
                raise RuntimeError(f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}")
            value.copy_(state[name])


@torch.no_grad()
def _laid_out(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One tensor [M, P] whose columns the parameters are, in their order: as a learner before has left it, or anew."""
    members, sizes = len(parameters[0]), [p[0].numel() for p in parameters]
    first, offset = parameters[0], parameters[0].storage_offset()
    adopts = members == 1 or first.stride(0) >= sum(sizes)  # rows apart: not one number that all members share
    for p, size in zip(parameters, sizes, strict=True):
        beside = p.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() and p.storage_offset() == offset
        adopts = adopts and beside and p[0].is_contiguous() and (members == 1 or p.stride(0) == first.stride(0))
        offset += size
    if adopts:
        row = first.stride(0) if members > 1 else sum(sizes)
        return first.data.as_strided((members, sum(sizes)), (row, 1), first.storage_offset())
    flat = torch.cat([p.reshape(members, -1) for p in parameters], dim=1)
    for p, part in zip(parameters, flat.split(sizes, 1), strict=True):
        p.data = part.view(p.shape)
    return flat
