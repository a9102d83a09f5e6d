"""DQN and its family. Letters: T time, M members, N environments, B batch, A actions."""

import pytest
import torch

import imitate
from imitate.__main__ import main
from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.sequence_replay import Sample
from imitate.distributions.returns import QuantileReturn
from imitate.nets.return_heads import Atoms, Expectiles, Implicit, Quantiles, Scalar

SMALL = {"rollout": 4, "updates": 2, "batch_size": 8, "learning_starts": 8, "hidden": (8,), "target_every": 3}
KINDS = {
    "dqn": ({}, Scalar()),
    "all": ({"double": True, "dueling": True, "n_step": 3, "priority": 0.6, "noisy": True}, Scalar()),
    "munchausen": ({"munchausen": 0.9, "normalise_obs": True}, Scalar()),
    "c51": ({"double": True, "priority": 0.5}, Atoms(11, 0, 20)),
    "qr": ({"n_step": 2, "dueling": True}, Quantiles(5)),
    "iqn": ({"noisy": True, "priority": 0.6}, Implicit(4, 8)),
    "expectile": ({"double": True}, Expectiles(5)),
}


def make(kind="dqn", members=2, seed=0, **more):
    options, head = KINDS[kind]
    source = imitate.make("CartPole-v1", num_envs=2, members=members, seed=seed)
    return DQN(source, DQNConfig(**{**SMALL, "steps": 400, **options, **more}), head=head)


def weights(algorithm):
    return torch.cat([p.detach().flatten() for p in algorithm.policy.parameters()])


def batch_for(algorithm, size=16):
    generator = torch.Generator().manual_seed(3)
    members = algorithm.source.members
    return Sample(
        obs=torch.randn(members, size, 4, generator=generator),
        action=torch.randint(2, (members, size), generator=generator),
        reward=torch.randn(members, size, generator=generator),
        discount=0.9 * (torch.rand(members, size, generator=generator) > 0.3),
        next_obs=torch.randn(members, size, 4, generator=generator),
        weight=torch.rand(members, size, generator=generator),
        index=torch.zeros(members, size, dtype=torch.int64),
    )


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_is_the_textbooks(double):
    algorithm = make(double=double)
    with torch.no_grad():
        for p in algorithm.target.network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5)))
    batch = batch_for(algorithm)
    found, metrics = algorithm._loss(batch)
    with torch.no_grad():
        q, after = algorithm.policy.returns(batch.obs).mean, algorithm.target.network.returns(batch.next_obs).mean
        online = algorithm.policy.returns(batch.next_obs).mean
        for m in range(2):
            total, value = 0.0, 0.0
            for b in range(16):
                best = int((online if double else after)[m, b].argmax())
                target = float(batch.reward[m, b] + batch.discount[m, b] * after[m, b, best])
                mine = float(q[m, b, batch.action[m, b]])
                e = abs(target - mine)
                total += float(batch.weight[m, b]) * (0.5 * e * e if e <= 1 else e - 0.5) / 16
                value += mine / 16
                assert metrics["priority"][m, b].item() == pytest.approx(e, rel=1e-3, abs=1e-4)
            assert found[m].item() == pytest.approx(total, rel=1e-4)
            assert metrics["value"][m].item() == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_munchausen_adds_the_scaled_log_policy():
    algorithm = make("munchausen", normalise_obs=False)
    batch = batch_for(algorithm)
    tau, alpha = 0.03, 0.9
    with torch.no_grad():
        q, after = (
            algorithm.target.network.returns(batch.obs).mean,
            algorithm.target.network.returns(batch.next_obs).mean,
        )
        log_policy = (q / tau).log_softmax(-1).gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
        expected = batch.reward + alpha * (tau * log_policy).clamp(min=-1)
        expected = expected + batch.discount * tau * torch.logsumexp(after / tau, -1)
        torch.testing.assert_close(algorithm._target(batch).mean, expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "munchausen"])
def test_a_clipped_target_is_a_possible_return(kind):
    """With the values of the target network moved far beyond; γ, and with it the range, is each member's own."""
    algorithm = make(kind, gamma=(0.9, 0.5), clip_target=True)
    with torch.no_grad():
        for p in algorithm.target.network.parameters():
            p.mul_(30)
    batch = batch_for(algorithm)
    free, clipped = algorithm._backup(batch), algorithm._target(batch)
    high = torch.tensor([[10.0], [2.0]])
    assert ((clipped.mean >= 1 - 1e-5) & (clipped.mean <= high + 1e-5)).all()
    assert not torch.allclose(free.mean, clipped.mean)
    if kind == "dqn":  # no noise of its own in each call
        torch.testing.assert_close(clipped.mean, free.mean.clamp(torch.ones(2, 1), high))
    assert make(kind).target_range is None


def test_schedules_and_target_copies():
    algorithm = make(steps=80, epsilon=1.0, epsilon_end=0.2, explore=0.5, importance=0.4)
    seen = []
    while not algorithm.progress.finished:
        before = int(algorithm.progress.steps)
        seen.append((before, float(algorithm.step()["epsilon"][0])))
        updates = int(algorithm.target.updates)
        copied = updates % 3 == 0 and updates > 0
        both = zip(algorithm.target.network.parameters(), algorithm.policy.parameters(), strict=True)
        same = all(torch.equal(a, b) for a, b in both)
        assert same == (copied or updates == 0)
    for steps, epsilon in seen:
        assert epsilon == pytest.approx(max(0.2, 1 - 0.8 * steps / 40))


def test_members_are_single_runs_apart():
    """Two runs of one seed are equal, and members differ from one another."""
    one, two = make("all"), make("all")
    for _ in range(6):
        one.step()
        two.step()
    assert torch.equal(weights(one), weights(two))
    first, second = next(one.policy.parameters())
    assert not torch.equal(first, second)


def test_a_huber_loss_pulls_quantiles_inwards_by_what_theory_says():
    """With κ = 1 the quantiles of the coin end at τ/(1 − τ) and 10 − (1 − τ)/τ."""
    tau = (torch.arange(20) + 0.5) / 20
    values = torch.full((20,), 5.0, requires_grad=True)
    optimiser = torch.optim.Adam([values], 0.05)
    for _ in range(2_000):
        optimiser.zero_grad()
        QuantileReturn(values, tau).loss(
            QuantileReturn(torch.tensor([0.0, 10.0]), torch.tensor([0.25, 0.75]))
        ).backward()
        optimiser.step()
    expected = torch.where(tau < 0.5, tau / (1 - tau), 10 - (1 - tau) / tau)
    torch.testing.assert_close(values.detach(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["dqn", "c51", "qr-dqn", "iqn", "fqf", "er-dqn"])
def test_the_command_line_trains_it_and_it_teaches(name, tmp_path, capsys):
    run, pupil = str(tmp_path / "run"), str(tmp_path / "pupil")
    tiny = ["--members", "2", "--num-envs", "2", "--episodes", "2"]
    train = ["train", name, "--env", "CartPole-v1", *tiny, "--out", run, "--steps", "64", "--rollout", "4"]
    assert main([*train, "--updates", "2", "--learning-starts", "16", "--batch-size", "8"]) == 0
    assert (
        main(
            [
                "distill",
                "--teacher",
                run,
                *tiny,
                "--out",
                pupil,
                "--steps",
                "16",
                "--rollout",
                "8",
                "--batch-size",
                "16",
            ]
        )
        == 0
    )
    assert main(["evaluate", run, "--episodes", "2"]) == 0
    assert "return" in capsys.readouterr().err


def test_its_policy_teaches():
    algorithm = make(members=2)
    algorithm.step()
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    student = imitate.nets.policy(source, hidden=(8,))
    dagger = imitate.DAgger(source, algorithm.policy, student, imitate.DAggerConfig(rounds=1, rollout=8, updates=5))
    assert torch.isfinite(dagger.step()["loss"]).all()
    config = imitate.PolicyDistillationConfig(steps=64, rollout=8, batch_size=32)
    distillation = imitate.PolicyDistillation(source, algorithm.policy, student, config)
    assert torch.isfinite(distillation.step()["loss"]).all()


def test_bad_input():
    with pytest.raises(ValueError, match="action"):
        DQN(imitate.make("Pendulum-v1", num_envs=2))
    with pytest.raises(ValueError, match="munchausen"):
        DQN(imitate.make("CartPole-v1", num_envs=2), DQNConfig(munchausen=0.9), head=Quantiles(5))
    with pytest.raises(ValueError, match="clip_target: munchausen"):
        make("munchausen", clip_target=True)
    with pytest.raises(ValueError, match=r"clip_target: .* Bandit-v0 are unknown; pass --no-clip-target"):
        DQN(imitate.make("Bandit-v0", num_envs=2), DQNConfig(clip_target=True))
    for name, value in (
        ("updates", 0),
        ("explore", -1.0),
        ("importance", 1.5),
        ("priority", -0.6),
        ("munchausen", -1.0),
    ):
        with pytest.raises(ValueError, match=f"{name}: .*, not {value}"):
            make(**{name: value})


class Broken:
    """A reward of one environment of member 1 that is no number, once."""

    def __init__(self, value):
        self.value, self.calls = value, 0

    def __call__(self, rollout):
        self.calls += 1
        reward = rollout.reward.clone()
        if self.calls == 6:
            reward[1, 1, 0] = self.value
        return reward

    def learn(self, rollout):
        return {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_ends_the_run_with_its_member(kind, value):
    """By the message about the loss, and by no index that was made of it."""
    options, head = KINDS[kind]
    source = imitate.core.wrappers.Relabelled(imitate.make("CartPole-v1", num_envs=2, members=2), Broken(value))
    algorithm = DQN(source, DQNConfig(**{**SMALL, "steps": 400, **options}), head=head)
    reports = imitate.run(algorithm, report_every=8)
    with pytest.raises(FloatingPointError, match=r"\(member 1\)"):
        list(reports)


def test_replaced_priorities_are_counted():
    algorithm = make("all")
    for _ in range(3):
        algorithm.step()
    assert algorithm.step()["unknown_priorities"].tolist() == [0, 0]
    algorithm.replay.reward[1] = float("nan")
    well, sick = algorithm.step()["unknown_priorities"].tolist()
    assert well == 0 and 1 <= sick <= 8
    assert "unknown_priorities" not in make("dqn").step()
