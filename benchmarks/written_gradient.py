"""What PPO's written-out gradient gains over autograd: CPU time of an iteration, the two in turn.

    python -m benchmarks.written_gradient

Both learn on CartPole-v1 with eight environments a member. Printed are the median and the range over rounds of
autograd's time over the written gradient's.
"""

from __future__ import annotations

import time

import torch
import tyro

import imitate
from benchmarks.pairing import alternate, paired
from imitate.baselines import PPO

MEMBERS = (1, 4, 16)


def seconds(ppo: PPO) -> float:
    """CPU seconds of one iteration."""
    start = time.process_time()
    ppo.step()
    return time.process_time() - start


def main(rounds: int = 15, threads: int = 1) -> None:
    """Measure, and print a line for each number of members.

    Args:
        rounds: Iterations of each.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    for members in MEMBERS:
        written, differentiated = (_ppo(members) for _ in range(2))
        differentiated.learner.gradient = None  # so that the learner differentiates the loss
        for ppo in (written, differentiated):
            ppo.step()  # warms up
        found = alternate(
            {"written": lambda _, ppo=written: seconds(ppo), "autograd": lambda _, ppo=differentiated: seconds(ppo)},
            rounds,
        )
        ratio = paired(found["autograd"], found["written"])
        print(f"{members:3} members: autograd takes {ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]")


def _ppo(members: int) -> PPO:
    source = imitate.make("CartPole-v1", num_envs=8, members=members)
    return PPO(source, imitate.PPOConfig(steps=10**8, rollout=32))


if __name__ == "__main__":
    tyro.cli(main)
