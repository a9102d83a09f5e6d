"""Errors of ours that are no standard ones; here, so that whoever catches them imports nothing else."""

__all__ = ["WorkerError"]


class WorkerError(RuntimeError):
    """An environment in another process did not answer, died, or raised; the line says which and how."""
