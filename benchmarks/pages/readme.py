"""The figures of README.md: its table, and what it says of the peers."""

from __future__ import annotations

from benchmarks.pages.frame import measured
from benchmarks.pages.tables import demo_table, ratio_of


def readme_page(text: str) -> str:
    """The README with its figures as they are measured.

    Raises:
        ValueError: A mark is missing.
    """
    return filled(text, {"demo": demo_table(measured("demo/CartPole-v1")), "peers": _peers()})


def filled(text: str, blocks: dict[str, str]) -> str:
    """A text with each block between its marks, `<!-- NAME: … -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: A mark is missing.
    """
    for name, block in blocks.items():
        head, mark, rest = text.partition(f"<!-- {name}: ")
        opening, _, body = rest.partition("\n")
        _, end, tail = body.partition(f"<!-- end of {name} -->")
        if not mark or not end:
            raise ValueError(
                f"{name}: the text has no '<!-- {name}: … -->' with an '<!-- end of {name} -->' behind it."
            )
        text = f"{head}{mark}{opening}\n\n{block}\n\n{end}{tail}"
    return text


def _peers() -> str:
    """A line a peer: what it is, and what is measured beside it."""
    rows = {row["name"]: row for row in measured("versus")["rows"]}
    teacher = measured("demo/CartPole-v1")["rows"][0]

    def times(who: str, peer: str, *names: str) -> str:
        """Of the rows with these names, from the lowest to the highest."""
        found = [ratio_of(rows[name], f"imitate, {who}", peer)["ratio"] for name in names]
        return " to ".join(f"{ratio:.2g}" for ratio in sorted(found))

    one, many = (times(who, "Stable-Baselines3, 1 run", "ppo-8", "ppo-64") for who in ("1 member", "16 members"))
    rsl = "rsl_rl, DistillationRunner, 1 run"
    alone, eight = (times(who, rsl, "distill-16") for who in ("1 member", "8 members"))
    clone, dagger = (times("1 member", "imitation, 1 learner", name) for name in ("clone-32", "dagger"))
    return f"""\
- [Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) also has A2C, DDPG and TD3, and a
  [zoo](https://github.com/DLR-RM/rl-baselines3-zoo) of tuned runs. Its models teach here.
  PPO is {one} times as fast here, {many} times with 16 members.
- [CleanRL](https://github.com/vwxyzjn/cleanrl) has one file an algorithm. Its PPO returns 490.0 ± 6.1 on CartPole
  after 500k steps. PPO tuned for CartPole returns {teacher["mean"]:.1f} here after {teacher["env_steps"]:,}.
- [imitation](https://github.com/HumanCompatibleAI/imitation) has GAIL as well, and also AIRL and
  rewards from preferences. With the same updates of 32 samples, cloning is {clone} times as fast here and DAgger
  {dagger} times.
- [rsl_rl](https://github.com/leggedrobotics/rsl_rl) suits robots in GPU simulators. Its distillation stands beside ours
  on a CPU: with 16 environments ours is {alone} times as fast, {eight} times with 8 members; with 1,024 no
  difference is shown.
  No speed on a GPU is published here yet.
- [d3rlpy](https://github.com/takuseno/d3rlpy) suits offline reinforcement learning. imitate has none yet.
- [PureJaxRL](https://github.com/luchris429/purejaxrl) also trains many seeds at once. It needs JAX, imitate PyTorch."""
