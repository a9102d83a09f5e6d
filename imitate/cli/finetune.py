"""The command `imitate finetune`: PPO from where another policy is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import Common, env_of, must_exist
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.configs import config_for, settings
from imitate.students import FinetuningConfig, finetune
from imitate.students.finetuning import actor_of

__all__ = ["Finetune", "command"]


@dataclass(frozen=True)
class Finetune:
    """Go on with PPO from a policy that was cloned, distilled or trained elsewhere.

    Args:
        policy: A run, or an SB3 .zip; percentages in reports are of its return.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 policy.
        common: Options of every run.
        config: Hyper-parameters; the shape of the networks is that of the critic.
    """

    policy: Annotated[Positional[str], arg(metavar="POLICY")]
    vec_normalize: Path | None = None
    common: Common = field(default_factory=Common)
    config: FinetuningConfig = field(default_factory=FinetuningConfig)

    def __call__(self) -> None:
        """Finetune."""
        must_exist("policy", self.policy)
        env = self.common.known_env()
        source = self.common.source(env, int(settings(env).get("num_envs", 16)))
        before = actor_of(Path(self.policy), source, self.vec_normalize)
        config = changed(self.config, self.common.change)
        self.common.run(finetune(before, source, config), "finetune", options_of(replace(self, config=config)), before)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    named = [option(arguments, "--env"), *map(env_of, arguments)]
    env = next(filter(None, named), None)
    default = Finetune(tyro.MISSING, common=Common(env=env), config=config_for(FinetuningConfig, "finetune", env or ""))
    return flat(Finetune), as_before(default, run_before(arguments, "finetune", env))
