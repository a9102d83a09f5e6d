"""The Rescorla-Wagner model in cpm-toolbox, for `benchmarks/conditioning.py`, in an environment that has it.

cpm-toolbox is under the AGPL and needs packages of its own, so it stays out of ours; this file imports only its side.

    python benchmarks/peer_cpm.py IN.npz OUT.npz

IN has stimuli [T, C], feedback [T, 1] and alpha [S]; OUT the seconds of each way to run S subjects with cpm-toolbox,
and the strengths [S, T, C] after each trial.
"""

import sys
import time
import warnings

import numpy as np
from cpm.generators import Parameters, Wrapper
from cpm.models.learning import DeltaRule


def wrapper(stimuli: np.ndarray, feedback: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """As its documentation has it: a model of one trial in a Wrapper, for each subject."""

    def model(parameters: Parameters, trial: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        weights = np.array(parameters.values)
        rule = DeltaRule(float(parameters.alpha), None, weights, trial["feedback"], trial["stimuli"])
        weights = weights + rule.compute()
        return {"values": weights, "dependent": weights[0]}

    start = Parameters(alpha=0.1, values=np.zeros((1, stimuli.shape[1])))
    found = []
    run = Wrapper(model, {"stimuli": stimuli, "feedback": feedback}, start)
    for a in alpha:
        run.reset(parameters={"alpha": a})
        run.run()
        found.append(run.dependent.copy())
    return np.stack(found)


def bare(stimuli: np.ndarray, feedback: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Its learning rule in a loop, without its Wrapper."""
    found = np.zeros((len(alpha), *stimuli.shape))
    for s, a in enumerate(alpha):
        weights = np.zeros((1, stimuli.shape[1]))
        for t, (x, u) in enumerate(zip(stimuli, feedback, strict=True)):
            weights = weights + DeltaRule(a, None, weights, u, x).compute()
            found[s, t] = weights[0]
    return found


def kernel(stimuli: np.ndarray, feedback: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Its compiled kernel in a compiled loop: its fastest way, if numba is there."""
    return COMPILED(stimuli, feedback, alpha)


try:
    import numba
    from cpm.models import kernels

    @numba.njit
    def COMPILED(stimuli: np.ndarray, feedback: np.ndarray, alpha: np.ndarray) -> np.ndarray:  # noqa: D103, N802
        found = np.zeros((len(alpha), *stimuli.shape))
        for s in range(len(alpha)):
            weights = np.zeros((1, stimuli.shape[1]))
            for t in range(len(stimuli)):
                change, _ = kernels.delta_rule(weights, feedback[t], stimuli[t], alpha[s])
                weights = weights + change
                found[s, t] = weights[0]
        return found

    WAYS = {"Wrapper": wrapper, "DeltaRule": bare, "numba kernel": kernel}
except ImportError:
    WAYS = {"Wrapper": wrapper, "DeltaRule": bare}


def main(source: str, target: str) -> None:
    """Run each way once, after a warm-up on the first subject."""
    warnings.simplefilter("ignore")
    given = np.load(source, allow_pickle=False)
    stimuli, feedback, alpha = given["stimuli"], given["feedback"], given["alpha"]
    found = {}
    for name, way in WAYS.items():
        way(stimuli, feedback, alpha[:1])
        start = time.perf_counter()
        strengths = way(stimuli, feedback, alpha)
        found[f"seconds {name}"] = np.array(time.perf_counter() - start)
        found[f"strengths {name}"] = strengths
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
