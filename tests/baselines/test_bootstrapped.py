"""Bootstrapped DQN against a textbook, and deep exploration. Letters: M members, N environments, B batch, K heads."""

import copy
from pathlib import Path

import pytest
import torch

import imitate
from benchmarks import deep_sea
from imitate.__main__ import main
from imitate.baselines.bootstrapped import BootstrappedConfig, Committed, bootstrapped_dqn
from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core import checkpoint, tree
from imitate.core.checkpoint import state_of
from imitate.core.sequence_replay import Sample
from tests.oracles import snapshot, unsaved_changes

M, B, K = 2, 7, 3
SMALL = {
    "steps": 400, "rollout": 4, "updates": 2, "batch_size": 8, "learning_starts": 8, "hidden": (8, 5),
    "target_every": 3, "capacity": 40,
}  # fmt: skip


def make(members=M, **change):
    source = imitate.make("CartPole-v1", num_envs=2, members=members)
    return bootstrapped_dqn(source, BootstrappedConfig(**{**SMALL, "heads": K, "prior": 2.0, **change}))


def batch(seed=3):
    g = torch.Generator().manual_seed(seed)
    return Sample(
        obs=torch.randn(M, B, 4, generator=g),
        action=torch.randint(2, (M, B), generator=g),
        reward=2 * torch.randn(M, B, generator=g),
        discount=0.9 * (torch.rand(M, B, generator=g) > 0.3),
        next_obs=torch.randn(M, B, 4, generator=g),
        weight=torch.rand(M, B, generator=g),
        index=torch.zeros(M, B, dtype=torch.int64),
    )


def disturb(algorithm):
    """A target network apart from the online one, and no parameter at zero."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for net, scale in ((algorithm.policy, 0.2), (algorithm.target.network, 0.5)):
            for name, p in net.named_parameters():
                if not name.startswith("prior."):
                    p.add_(scale * torch.randn(p.shape, generator=g))


def value(net, m, obs, action, k, beta):
    """One estimate, by the layers of one member."""

    def forward(net):
        x, out = obs, net.head.advantage.linear
        for layer in (*net.body.layers, *(layer.linear for layer in net.head.hidden)):
            x = torch.relu(x @ layer.weight[m] + layer.bias[m, 0])
        out = x @ out.weight[m] + out.bias[m, 0]
        return out[action * K + k]

    return forward(net) + beta * forward(net.prior)


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_and_its_gradient_are_the_textbooks(double):
    algorithm = make(double=double)
    disturb(algorithm)
    seen = batch()
    found, metrics = algorithm._loss(seen)
    chooser = algorithm.policy if double else algorithm.target.network
    losses, choices = [], set()
    for m in range(M):
        total = 0.0
        for b in range(B):
            error = 0.0
            for k in range(K):
                with torch.no_grad():
                    likes = [float(value(chooser, m, seen.next_obs[m, b], a, k, 2.0)) for a in range(2)]
                    best = likes.index(max(likes))
                    choices.add((m, b, best))
                    after = value(algorithm.target.network, m, seen.next_obs[m, b], best, k, 2.0)
                    target = seen.reward[m, b] + seen.discount[m, b] * after
                e = (target - value(algorithm.policy, m, seen.obs[m, b], int(seen.action[m, b]), k, 2.0)).abs()
                error = error + (0.5 * e**2 if e <= 1 else e - 0.5) / K
            assert metrics["priority"][m, b].item() == pytest.approx(error.item(), rel=1e-3, abs=1e-5)
            total = total + seen.weight[m, b] * error / B
        losses.append(total)
    assert len(choices) > M * B  # the heads do not agree
    torch.testing.assert_close(found, torch.stack(losses), rtol=1e-4, atol=1e-5)
    parameters = algorithm.learner.parameters
    expected = torch.autograd.grad(sum(losses), parameters)
    for mine, theirs in zip(torch.autograd.grad(found.sum(), parameters), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_one_head_without_a_prior_is_dqn(double):
    change = {**SMALL, "double": double}
    mine = make(**change, heads=1, prior=0.0)
    theirs = DQN(imitate.make("CartPole-v1", num_envs=2, members=M), DQNConfig(**change))
    for name, p in theirs.policy.named_parameters():
        assert torch.equal(p, mine.policy.get_parameter(name))
    for algorithm in (mine, theirs):
        disturb(algorithm)
    before = mine.learner.flat.clone()
    for seed in range(4):
        mine.learner(batch(seed))
        theirs.learner(batch(seed))
    assert not torch.allclose(before, mine.learner.flat, atol=1e-4)
    torch.testing.assert_close(mine.learner.flat, theirs.learner.flat, rtol=1e-4, atol=1e-6)
    obs = torch.randn(M, 9, 4)
    acted = mine.driver.policy.act(obs, torch.rand(M, 9, 1), mine.driver.policy.memory(M, 9))[0]
    assert torch.equal(acted, mine.policy.returns(obs).mean.argmax(-1))


def test_a_head_drives_a_whole_episode():
    algorithm = make(heads=5)
    disturb(algorithm)
    driver, steps = algorithm.driver.policy, 60
    assert isinstance(driver, Committed)
    seen = algorithm.source.collect(driver, steps).clone()
    head = seen.extras["head"]
    drawn = [head[0].flatten()]
    for t in range(1, steps):
        began = seen.done[t - 1]
        assert torch.equal(head[t][~began], head[t - 1][~began])
        drawn.append(head[t][began])
    counts = torch.cat(drawn).bincount(minlength=5)
    assert len(torch.cat(drawn)) >= 15
    assert (counts > 0).sum() >= 4  # 0 of 15 draws at a fifth each: one in 28
    for t in (0, steps - 1):
        values = algorithm.policy.returns(seen.obs[t]).values
        own = values.gather(-1, head[t][..., None, None].expand(M, 2, 2, 1)).squeeze(-1)
        assert torch.equal(seen.action[t], own.argmax(-1))
    alive = ~seen.done[-1]
    following = algorithm.source.collect(driver, 1)
    assert torch.equal(following.extras["head"][0][alive], head[-1][alive])


def test_heads_are_drawn_uniformly():
    driver = make(members=1).driver.policy
    noise = torch.tensor([0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-24]).reshape(1, 6, 1)
    _, head, extras = driver.act(torch.randn(1, 6, 4), noise, driver.memory(1, 6))
    assert head.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert torch.equal(head, extras["head"])


def test_priors_do_not_move():
    algorithm = make()
    before = copy.deepcopy(algorithm.policy.prior.state_dict())
    learnt = algorithm.learner.flat.clone()
    for _ in range(8):
        algorithm.step()
    assert not torch.equal(learnt, algorithm.learner.flat)
    for name, start in before.items():
        assert torch.equal(start, algorithm.policy.prior.state_dict()[name])
        assert torch.equal(start, algorithm.target.network.prior.state_dict()[name])


@pytest.mark.parametrize("change", [{}, {"priority": 0.6, "n_step": 2, "double": True, "normalise_obs": True}])
def test_a_resumed_run_is_the_uninterrupted_one(change, tmp_path):
    def everything(algorithm):
        return dict(tree.flatten(state_of(algorithm)))

    whole, first, later = make(**change), make(**change), make(**change)
    for _ in range(7):
        first.step()
    assert (first.source.carry.memory[1] >= 0).any()  # in the midst of episodes
    checkpoint.write(tmp_path, "run", state_of(first), {})
    checkpoint.load_state(later, checkpoint.read(tmp_path, "run")[0])
    for _ in range(14):
        metrics = whole.step()
    for _ in range(7):
        again = later.step()
    expected, found = everything(whole), everything(later)
    assert expected.keys() == found.keys()
    assert [path for path, value in expected.items() if not torch.equal(value, found[path])] == []
    assert all(torch.equal(metrics[key], again[key]) for key in metrics)


def test_nothing_that_changes_is_forgotten():
    algorithm = make()
    for _ in range(4):
        algorithm.step()
    before = snapshot(algorithm)
    algorithm.step()
    leaked = unsaved_changes(algorithm, before, state_of(algorithm))
    assert [path for path in leaked if "beta" not in path] == []  # ε is set anew in each step


def test_the_command_line_trains_it(tmp_path, capsys):
    run = str(tmp_path / "run")
    small = ["--members", "2", "--num-envs", "2", "--steps", "64", "--learning-starts", "16", "--batch-size", "8"]
    own = ["--heads", "3", "--prior", "1.5", "--episodes", "2", "--out", run]
    assert main(["train", "bootstrapped-dqn", "--env", "CartPole-v1", *small, *own]) == 0
    assert main(["evaluate", run, "--episodes", "2"]) == 0
    assert "return" in capsys.readouterr().err
    policy = imitate.load(Path(run))
    assert policy.architecture.head.count == 3
    assert policy.distribution(torch.randn(2, 4, 4)).logits.shape == (2, 4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "heads: must be at least 1, not 0"),
        ({"prior": -1.0}, "prior: must be at least 0, not -1.0"),
        ({"munchausen": 0.9}, "munchausen"),
    ],
)
def test_bad_numbers_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_the_interval_of_a_share():
    """8 of 8, 0 of 8 and 4 of 8, by Wilson's formula worked out by hand."""
    assert deep_sea.wilson(8, 8) == pytest.approx((0.6756, 1.0), abs=1e-4)
    assert deep_sea.wilson(0, 8) == pytest.approx((0.0, 0.3244), abs=1e-4)
    assert deep_sea.wilson(4, 8) == pytest.approx((0.2152, 0.7848), abs=1e-4)


def test_the_benchmark_goes_on_where_it_stopped(tmp_path, capsys):
    def options(**change):
        return deep_sea.Options(sizes=(3,), episodes=40, members=2, out=tmp_path / "sea.json", **change)

    deep_sea.main(options(variants=("Bootstrapped DQN",)))
    deep_sea.main(options(variants=("Bootstrapped DQN", "DQN, epsilon-greedy")))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Bootstrapped DQN     3x3: ")
    assert lines[1].startswith("DQN, epsilon-greedy  3x3: ")
    with pytest.raises(SystemExit, match="other episodes"):
        deep_sea.main(deep_sea.Options(episodes=41, members=2, out=tmp_path / "sea.json"))


@pytest.mark.slow
def test_deep_exploration_finds_what_single_random_actions_do_not():
    """As in `python -m benchmarks.deep_sea`: all solve 10x10 and 20x20, of epsilon-greedy DQN one does 20x20."""
    options = deep_sea.Options()
    deep = deep_sea.measure("Bootstrapped DQN", 10, options)
    assert deep["solved"] >= 7
    assert sum(episode is not None and episode < 2**10 for episode in deep["first_treasure"]) >= 7
    deeper = deep_sea.measure("Bootstrapped DQN", 20, options)
    shallow = deep_sea.measure("DQN, epsilon-greedy", 20, options)
    assert deeper["ci_low"] > shallow["ci_high"]
