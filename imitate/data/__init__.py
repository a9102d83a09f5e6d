"""Demonstrations, from a teacher, from arrays or from a file."""

from imitate.data.demonstrations import Demonstrations, Following, demonstrate

__all__ = [
    "Demonstrations",
    "Following",
    "demonstrate",
]
