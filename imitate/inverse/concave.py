"""The maximum of a concave likelihood whose gradient is a gap between expected features. K: features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

__all__ = ["fit"]

Array = NDArray[np.float64]
State = tuple[Tensor, Tensor, Tensor]  # log-partition, visits [S, A], policy [S, A]


def fit(
    at: Callable[[Tensor], State], phi: Tensor, shown: Tensor, penalty: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, State, float, int]:
    """Minimise log Z(w) − wᵀf + penalty/2 ‖w‖² by L-BFGS, from w = 0 (SciPy's).

    Args:
        at: The log-partition of rewards [S, A], whose gradient is the visits that come with it, and the policy.
        phi: Features φ, [S, A, K].
        shown: f, [K].
        penalty: λ.
        tolerance: It is done when no expected feature is further from f.
        max_iterations: Evaluations at most.

    Returns:
        The weights, what is there with them, the largest gap, and the evaluations.
    """

    def loss(w: Array) -> tuple[float, Array]:
        weights = torch.from_numpy(w)
        z, visits, _ = at(phi @ weights)
        slope = torch.einsum("sa,sak->k", visits, phi) - shown + penalty * weights
        return float(z - weights @ shown + penalty / 2 * (weights @ weights)), slope.numpy()

    options = {"gtol": tolerance, "ftol": 0.0, "maxfun": max_iterations, "maxiter": max_iterations}
    found = minimize(loss, np.zeros(len(shown)), jac=True, method="L-BFGS-B", options=options)
    w = torch.from_numpy(found.x)
    last = at(phi @ w)
    gap = float((torch.einsum("sa,sak->k", last[1], phi) - shown).abs().amax())
    return w, last, gap, int(found.nfev)
