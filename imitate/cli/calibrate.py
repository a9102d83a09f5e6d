"""The command `imitate calibrate`: whether returns are distributed as a value network says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import Device, env_of, must_exist, say
from imitate.core import reading
from imitate.core.config import Share

__all__ = ["Calibrate", "command"]


@dataclass(frozen=True)
class Calibrate:
    """Compare the learnt distribution of the return with the returns that follow.

    The numbers and a picture go to calibration.json and calibration.png in the folder of the run.

    Args:
        run: The folder of a run of c51, rainbow, qr-dqn, iqn, fqf or er-dqn.
        env: Environment id; by default that of the run.
        gamma: Discount; by default that of the run.
        episodes: Of each member.
        seed: Of the noise.
        device: Where it runs.
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    env: str | None = None
    gamma: Share[float] | None = None
    episodes: int = 50
    seed: int = 1_000_003
    device: Device = "auto"

    def __call__(self) -> None:
        """Calibrate."""
        from imitate.core.room import admit_steps
        from imitate.experiment.calibrate import calibrate
        from imitate.nets.files import load
        from imitate.nets.q_network import QNetwork
        from imitate.sources import make

        must_exist("run", self.run)
        if self.episodes < 1:
            raise ValueError(f"episodes: at least 1, not {self.episodes}.")
        config = _config(Path(self.run))
        gamma = config.get("gamma") if self.gamma is None else self.gamma
        if gamma is None:
            raise ValueError(f"gamma: '{self.run}' does not say with which discount it was trained; pass --gamma.")
        env = self.env or env_of(self.run)
        if env is None:
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        policy = load(self.run)
        if not isinstance(policy, QNetwork):
            raise ValueError(f"run: '{self.run}' holds no policy that has learnt values.")
        members = policy.members
        one = make(env, num_envs=1, members=members, device=self.device)
        admit_steps(one.spec, {"episodes": self.episodes, "members": members})
        source = make(env, num_envs=self.episodes, members=members, seed=self.seed, device=self.device)
        clip = bool(config.get("clip_reward", False))
        found = calibrate(policy.to(source.spec.device), source, gamma, clip_reward=clip)
        about = {"env": env, "episodes": self.episodes, "gamma": gamma, "seed": self.seed}
        found.write(Path(self.run), about)
        say(f"calibration: {found}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return Calibrate, Calibrate(tyro.MISSING)


def _config(run: Path) -> dict[str, Any]:
    """The hyper-parameters of a run; empty where it does not tell them."""
    try:
        config = reading.document(run / "run.json").get("config")
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
