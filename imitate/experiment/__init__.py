"""Around an algorithm: the run, its evaluation, its report."""

from imitate.experiment.evaluate import Evaluation, Evaluator, evaluate
from imitate.experiment.fidelity import Fidelity, fidelity
from imitate.experiment.run import Report, load_checkpoint, run, save_checkpoint

__all__ = [
    "Evaluation",
    "Evaluator",
    "Fidelity",
    "Report",
    "evaluate",
    "fidelity",
    "load_checkpoint",
    "run",
    "save_checkpoint",
]
