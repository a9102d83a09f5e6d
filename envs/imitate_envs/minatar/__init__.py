"""The five games of MinAtar (Young & Tian 2019) as pure functions of tensors, `MinAtar/<Game>-v0` and -v1.

As in MinAtar's own ids, -v0 has all six actions and -v1 those that do something in the game.
"""

from imitate_envs.minatar.asterix import Asterix, AsterixMinimal
from imitate_envs.minatar.breakout import Breakout, BreakoutMinimal, BreakoutState
from imitate_envs.minatar.freeway import Freeway, FreewayMinimal
from imitate_envs.minatar.seaquest import Seaquest, SeaquestMinimal, SeaquestState
from imitate_envs.minatar.space_invaders import SpaceInvaders, SpaceInvadersMinimal, SpaceInvadersState

__all__ = [
    "Asterix",
    "AsterixMinimal",
    "Breakout",
    "BreakoutMinimal",
    "BreakoutState",
    "Freeway",
    "FreewayMinimal",
    "Seaquest",
    "SeaquestMinimal",
    "SeaquestState",
    "SpaceInvaders",
    "SpaceInvadersMinimal",
    "SpaceInvadersState",
]
