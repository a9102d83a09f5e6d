"""Environments in processes of their own, none of which keeps the others waiting for ever. Letters: B environments."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from imitate.core.arrays import as_number
from imitate.core.errors import WorkerError
from imitate.core.single_env import AnyEnv, frames_of, mask_of, name_of, time_limit_of

__all__ = ["WorkerError", "Workers"]

Array = NDArray[Any]
_FAREWELL = 5.0  # seconds in which a worker closes its environment; then it is killed


class _RemoteError(Exception):
    """Where it was raised over there, as text: exceptions themselves may not survive the way."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class _Facts:
    """What a worker says of its environment when it has built it."""

    observation: spaces.Space[Any]
    action: spaces.Space[Any]
    id: str
    max_episode_steps: int
    frames: int


class Workers(VectorEnv[Any, Any, Array]):
    """B environments in B processes that auto-reset in mode SAME_STEP.

    What an environment gives is copied before it is called again, and masks from a method `action_masks()` come as
    `infos["action_mask"]`. After a fault all processes are killed, and the environments are closed.

    Args:
        env_fns: Builds one environment each, in its process.
        timeout: Seconds in which all must have answered when asked to build, reset or step.
        name: What messages call them before one is built.

    Raises:
        ValueError: They differ in their spaces.
        WorkerError: One cannot be built.
    """

    def __init__(self, env_fns: Sequence[Callable[[], AnyEnv]], timeout: float, name: str = "env") -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.autoreset_mode = AutoresetMode.SAME_STEP
        self.env_fns, self.num_envs, self.timeout, self.id = list(env_fns), len(env_fns), timeout, name
        self._pipes: list[connection.Connection] = []
        self._processes: list[Any] = []
        context = multiprocessing.get_context()
        for i, env_fn in enumerate(env_fns):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(CloudpickleWrapper(env_fn), theirs, ours), name=f"environment {i}", daemon=True
            )
            process.start()
            theirs.close()  # so that the end of the process ends the pipe
            self._pipes.append(ours)
            self._processes.append(process)
        facts: list[_Facts] = self._answers("build")
        first = facts[0]
        for i, fact in enumerate(facts):
            if (fact.observation, fact.action) != (first.observation, first.action):
                self._kill()
                raise ValueError(f"env: environments 0 and {i} of '{first.id}' differ in their spaces.")
        self.id, self.max_episode_steps, self.frames = first.id, first.max_episode_steps, first.frames
        self.single_observation_space, self.single_action_space = first.observation, first.action
        self.observation_space = batch_space(first.observation, self.num_envs)
        self.action_space = batch_space(first.action, self.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes; one seed is counted up, as in Gymnasium's vector environments."""
        if seed is None:
            seed = [None] * self.num_envs
        elif isinstance(seed, int):
            seed = [seed + i for i in range(self.num_envs)]
        answers = self._ask("reset", [(one, options) for one in seed])
        return self._stack([obs for obs, _ in answers]), self._infos(info for _, info in answers)

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of all."""
        answers = self._ask("step", iterate(self.action_space, actions))
        obs, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        return (
            self._stack(obs),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
            self._infos(infos),
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Let the workers close their environments; who does not within seconds is killed."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # it is dead
                pipe.send(("close", None))
        until = time.monotonic() + min(_FAREWELL, self.timeout)
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
        self._kill()

    def _stack(self, obs: Sequence[Any]) -> Any:
        space = self.single_observation_space
        return concatenate(space, [_unpacked(one) for one in obs], create_empty_array(space, self.num_envs))

    def _infos(self, each: Iterable[dict[str, Any]]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for i, info in enumerate(each):
            infos = self._add_info(infos, info, i)
        return infos

    def _ask(self, command: str, arguments: Iterable[Any]) -> list[Any]:
        """Send a command to all, and their answers."""
        if self.closed:
            raise WorkerError(f"env: the processes of '{self.id}' are closed.")
        for pipe, argument in zip(self._pipes, arguments, strict=True):
            with contextlib.suppress(OSError):  # it is dead, as the end of its pipe will say
                pipe.send((command, argument))
        return self._answers(command)

    def _answers(self, command: str) -> list[Any]:
        """One answer of each to a command.

        Raises:
            WorkerError: One of them has none.
        """
        try:
            return self._gather(f"when asked to {command}")
        except BaseException:  # an interrupt too: answers that nobody took would be taken for the next
            self._kill()
            raise

    def _gather(self, when: str) -> list[Any]:
        answers, until = [], time.monotonic() + self.timeout
        for i, pipe in enumerate(self._pipes):
            who = f"environment {i} of '{self.id}'"
            if not pipe.poll(max(0.0, until - time.monotonic())):
                raise WorkerError(
                    f"timeout: {who} did not answer within {self.timeout:g} s {when}; if it is only slow, allow more."
                )
            try:
                answer, fault = pipe.recv()
            except (EOFError, OSError):
                raise WorkerError(f"env: the process of {who} died {when} ({self._end(i)}).") from None
            except Exception as error:
                raise WorkerError(f"env: what {who} answered {when} cannot be read: {_line(error)}.") from None
            if fault is not None:
                line, trace = fault
                raise WorkerError(f"env: {who} raised {line} {when}.") from _RemoteError(trace)
            answers.append(answer)
        return answers

    def _end(self, i: int) -> str:
        """How a process ended."""
        self._processes[i].join(1.0)
        code = self._processes[i].exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def _kill(self) -> None:
        """End every process, whatever it is doing, and bury it."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
        for process in self._processes:
            process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()
        self._pipes, self._processes, self.closed = [], [], True


def _line(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")


def _serve(build: Callable[[], AnyEnv], pipe: connection.Connection, other: connection.Connection) -> None:
    """Answer (value, None) to every command, or (None, what was raised) and end; the parent's end is an end too."""
    # An interrupt at the terminal is the parent's to handle, and a handler of its is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other.close()  # so that the end of the parent ends the pipe
    with contextlib.suppress(OSError):  # the parent is gone
        try:
            _converse(build, pipe)
        except Exception as error:
            # As text: an exception may be of a kind that cannot be sent, or not be read.
            pipe.send((None, (_line(error), traceback.format_exc())))


def _converse(build: Callable[[], AnyEnv], pipe: connection.Connection) -> None:
    env = build()
    try:
        facts = _Facts(env.observation_space, env.action_space, name_of(env), time_limit_of(env), frames_of(env))
        pipe.send((facts, None))
        while True:
            try:
                command, argument = pipe.recv()
            except EOFError:
                return
            if command == "close":
                return
            pipe.send((_reset(env, *argument) if command == "reset" else _step(env, argument), None))
    finally:
        env.close()


def _reset(env: AnyEnv, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    obs, info = env.reset(seed=seed, options=options)
    return _packed(obs), _told(env, info)


def _step(env: AnyEnv, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    obs, reward, terminated, truncated, info = env.step(action)
    reward, terminated, truncated = as_number(reward, "reward"), bool(terminated), bool(truncated)
    info = _told(env, info)
    if terminated or truncated:
        final, info = copy.deepcopy((obs, info))  # `reset` may write into them
        obs, begun = env.reset()
        info = {"final_obs": final, "final_info": info, **_told(env, begun)}
    return _packed(obs), reward, terminated, truncated, info


def _told(env: AnyEnv, info: dict[str, Any]) -> dict[str, Any]:
    """What an environment told, with the mask of its actions if it has one."""
    mask = mask_of(env, info)
    return info if mask is None else {**info, "action_mask": mask}


class _Array(NamedTuple):
    """An array on its way: numpy's own pickles take several times as long for a small one."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def _packed(obs: Any) -> Any:
    """An observation with its arrays as bytes."""
    if isinstance(obs, dict):
        return {key: _packed(inner) for key, inner in obs.items()}
    if isinstance(obs, tuple):
        return tuple(_packed(inner) for inner in obs)
    plain = type(obs) is np.ndarray and obs.dtype.kind in "biuf"
    return _Array(obs.dtype.str, obs.shape, obs.tobytes()) if plain else obs


def _unpacked(obs: Any) -> Any:
    """The inverse of `_packed`; the arrays are read-only."""
    if isinstance(obs, _Array):
        return np.frombuffer(obs.data, obs.dtype).reshape(obs.shape)
    if isinstance(obs, dict):
        return {key: _unpacked(inner) for key, inner in obs.items()}
    return tuple(_unpacked(inner) for inner in obs) if isinstance(obs, tuple) else obs
