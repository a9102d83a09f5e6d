"""Worker of the benchmarks for rsl_rl's `DistillationRunner`, in the environment of `make peers`.

Its environment is our CartPole, whose tensors both sides step. rsl_rl knows no choices: its networks give two numbers,
and the greater one says where the cart is pushed.
"""

from __future__ import annotations

import os
import warnings

import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import DistillationRunner
from serving import Run, serve, timed
from tensordict import TensorDict

from imitate_envs.cartpole import CartPole

ENV = CartPole()


class Poles(VecEnv):
    """CartPole as rsl_rl steps it: what is done begins anew."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.num_actions, self.max_episode_length = num_envs, 2, ENV.max_steps
        self.device, self.cfg = "cpu", {}
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)
        self.state, self.nothing = self._first(), torch.zeros(num_envs, 0)

    def get_observations(self) -> TensorDict:
        """The state itself."""
        return TensorDict({"policy": ENV.observe(self.state)}, batch_size=[self.num_envs])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Actions [N, 2], of which the greater one counts."""
        self.state, reward, fallen = ENV.step(self.state, actions.argmax(-1), self.nothing)
        self.episode_length_buf += 1
        late = (self.episode_length_buf >= ENV.max_steps) & ~fallen
        done = fallen | late
        self.episode_length_buf.masked_fill_(done, 0)
        self.state = torch.where(done.unsqueeze(-1), self._first(), self.state)
        return self.get_observations(), reward, done, {"time_outs": late}

    def _first(self) -> torch.Tensor:
        return ENV.reset(torch.rand(self.num_envs, ENV.reset_noise))


def distill(num_envs: int, rollout: int, each: int, labels: int) -> Run:
    """Distil a 64-64 teacher into 16-16, with a gradient step behind every so many steps; labels."""

    def model(*hidden: int) -> dict[str, object]:
        return {
            "class_name": "rsl_rl.models.MLPModel",
            "hidden_dims": list(hidden),
            "activation": "relu",
            "distribution_cfg": {"class_name": "rsl_rl.modules.GaussianDistribution", "init_std": 0.1},
        }

    config = {
        "algorithm": {
            "class_name": "rsl_rl.algorithms.Distillation",
            "num_learning_epochs": 1,
            "gradient_length": each,
            "learning_rate": 1e-3,
            "max_grad_norm": 1.0,
        },
        "student": model(16, 16),
        "teacher": model(64, 64),
        "obs_groups": {"student": ["policy"], "teacher": ["policy"]},
        "num_steps_per_env": rollout,
        "save_interval": 10**9,
    }
    torch.manual_seed(0)
    runner = DistillationRunner(Poles(num_envs), config, log_dir=None, device="cpu")
    runner.alg.teacher_loaded = True  # random weights: a label costs what it costs
    iterations = max(1, labels // (num_envs * rollout))

    def work() -> int:
        runner.learn(iterations)
        return iterations * num_envs * rollout

    return timed(work)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"distill": distill}, ("rsl-rl-lib", "tensordict", "torch", "gymnasium"))
