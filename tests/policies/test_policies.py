import pytest
import torch

from imitate.core.noise import normal
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, Normal, decide
from imitate.policies import EpsilonGreedy, EpsilonZGreedy, Greedy, Mixture, Perturbed, Random
from imitate_envs.base import Box, Discrete
from tests.oracles import Walk

M, N = 2, 4000
TORQUE = Box((2,), (-1.0, -0.5), (3.0, 0.25))


class Constant:
    """A teacher that always says the same, and counts how often it was asked."""

    def __init__(self, distribution, noise=1):
        self.says, self.noise = distribution, noise

    def memory(self, *shape):
        return torch.zeros(shape)

    def act(self, obs, noise, memory):
        mine = {} if noise is None else {"mine": noise[..., 0]}
        return decide(self.distribution(obs), noise), memory + 1, mine

    def distribution(self, obs):
        if isinstance(self.says, Categorical):
            return Categorical(self.says.logits.expand(*obs.shape[:2], -1))
        return Normal(self.says.loc.expand(*obs.shape[:2], -1), self.says.scale.expand(*obs.shape[:2], -1))


def chooser(*probs):
    return Constant(Categorical(torch.tensor(probs).log()))


def always(choice):
    return Constant(Categorical.certain(torch.tensor(choice), 3))


def drive(policy, copies=N, memory=None):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(M, copies, policy.noise, generator=generator)
    memory = policy.memory(M, copies) if memory is None else memory
    return noise, policy.act(torch.zeros(M, copies, 3), noise, memory)


def test_greedy_takes_the_mode_without_noise():
    teacher = chooser(0.3, 0.4, 0.3)
    greedy = Greedy(teacher)
    assert greedy.noise == 0
    _, (action, memory, _) = drive(greedy)
    assert (action == 1).all()
    assert torch.equal(memory, teacher.memory(M, N) + 1)  # it saw the step
    assert (greedy.act(torch.zeros(M, 3, 3), None, teacher.memory(M, 3))[0] == 1).all()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda t: Mixture(t, always(2), torch.tensor([0.6, 0.4])), [1, 2]),
        (lambda t: EpsilonGreedy(t, Discrete(3), torch.tensor(1.0)), [1, 1]),
        (lambda t: EpsilonZGreedy(t, Discrete(3), torch.tensor(1.0)), [1, 1]),
        (lambda t: Random(Discrete(3)), [0, 0]),
    ],
)
def test_without_noise_there_is_one_answer(make, expected):
    """The likelier policy of a mixture decides, and nobody explores."""
    policy = make(chooser(0.3, 0.4, 0.3))
    action, _, _ = policy.act(torch.zeros(M, 5, 3), None, policy.memory(M, 5))
    assert action.tolist() == [[choice] * 5 for choice in expected]


def test_without_noise_continuous_actions_are_modes():
    teacher = Constant(Normal(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.5])), noise=2)
    obs = torch.zeros(M, 5, 3)
    action, memory, _ = Perturbed(teacher, TORQUE, torch.tensor(0.5)).act(obs, None, teacher.memory(M, 5))
    assert torch.equal(action, torch.tensor([1.0, -1.0]).expand(M, 5, 2))
    assert (memory == 1).all()
    middle, _, _ = Random(TORQUE).act(obs, None, None)
    torch.testing.assert_close(middle, torch.tensor([1.0, -0.125]).expand(M, 5, 2))


@pytest.mark.parametrize("beta", [torch.tensor(0.0), torch.tensor(1.0), torch.tensor([1.0, 0.0])])
def test_a_mixture_at_the_ends_is_one_of_its_policies(beta):
    _, (action, _, extras) = drive(Mixture(always(0), always(2), beta))
    first = beta.expand(M) == 1
    assert torch.equal(extras["first_acted"], first.unsqueeze(1).expand(M, N))
    assert torch.equal(action, torch.where(first, 0, 2).unsqueeze(1).expand(M, N))


@pytest.mark.parametrize("last", [0.0, 1 - 2**-24])
def test_a_mixture_is_certain_even_at_the_ends_of_the_noise(last):
    for beta, expected in ((0.0, 2), (1.0, 0)):
        mixture = Mixture(Greedy(always(0)), Greedy(always(2)), torch.tensor(beta))
        action, _, _ = mixture.act(torch.zeros(M, 1, 3), torch.full((M, 1, 1), last), mixture.memory(M, 1))
        assert (action == expected).all()


def test_a_mixture_mixes_at_its_rate_for_each_member():
    beta = torch.tensor([0.2, 0.7])
    _, (action, _, extras) = drive(Mixture(always(0), always(2), beta))
    share = extras["first_acted"].float().mean(1)
    torch.testing.assert_close(share, beta, atol=0.03, rtol=0)
    assert torch.equal(action == 0, extras["first_acted"])


def test_beta_changes_in_place():
    mixture = Mixture(always(0), always(2), torch.tensor(1.0))
    mixture.beta.fill_(0.0)
    assert (drive(mixture)[1][0] == 2).all()


def test_the_policies_of_a_mixture_have_noise_of_their_own():
    """Whether the first acts says nothing about what either decides."""
    one, two = chooser(0.5, 0.25, 0.25), chooser(0.25, 0.25, 0.5)
    noise, (action, _, extras) = drive(Mixture(one, two, torch.tensor(0.5)))
    first = extras["first_acted"]
    for acted, policy, column in ((first, one, 1), (~first, two, 2)):
        frequencies = action[acted].bincount(minlength=3) / acted.sum()
        torch.testing.assert_close(frequencies, policy.says.probs, atol=0.03, rtol=0)
        expected = policy.act(torch.zeros(M, N, 3), noise[..., column : column + 1], torch.zeros(M, N))[0]
        assert torch.equal(action[acted], expected[acted])


def test_both_memories_see_every_step():
    mixture = Mixture(always(0), always(2), torch.tensor(0.5))
    memory = mixture.memory(M, 5)
    for _ in range(3):
        _, (_, memory, _) = drive(mixture, 5, memory)
    assert all((part == 3).all() for part in memory)


def test_a_mixture_of_continuous_actions_keeps_them_whole():
    """All dimensions of an action come from one policy."""
    one = Constant(Normal(torch.tensor([1.0, 2.0]), torch.tensor([1e-6, 1e-6])), noise=2)
    two = Constant(Normal(torch.tensor([-1.0, -2.0]), torch.tensor([1e-6, 1e-6])), noise=2)
    _, (action, _, extras) = drive(Mixture(one, two, torch.tensor(0.5)))
    sign = torch.where(extras["first_acted"], 1.0, -1.0)
    torch.testing.assert_close(action, sign.unsqueeze(-1) * torch.tensor([1.0, 2.0]), atol=1e-4, rtol=0)


def test_epsilon_greedy():
    policy = EpsilonGreedy(Greedy(chooser(0.1, 0.8, 0.1)), Discrete(3), torch.tensor([0.0, 0.6]))
    _, (action, _, extras) = drive(policy)
    assert (action[0] == 1).all()
    assert not extras["explored"][0].any()
    frequencies = action[1].bincount(minlength=3) / N
    torch.testing.assert_close(frequencies, torch.tensor([0.2, 0.6, 0.2]), atol=0.03, rtol=0)
    torch.testing.assert_close(action[1][extras["explored"][1]].float().mean(), torch.tensor(1.0), atol=0.06, rtol=0)
    assert (action[1][~extras["explored"][1]] == 1).all()


def test_perturbed_adds_noise_of_the_given_width():
    teacher = Constant(Normal(torch.tensor([1.0, -1.0]), torch.tensor([1e-6, 1e-6])), noise=2)
    noise, (action, memory, extras) = drive(Perturbed(teacher, TORQUE, torch.tensor([0.5, 2.0])))
    displacement = action - torch.tensor([1.0, -1.0])
    torch.testing.assert_close(displacement.mean(1), torch.zeros(M, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(displacement.std(1), torch.tensor([[0.5, 0.5], [2.0, 2.0]]), rtol=0.05, atol=0)
    torch.testing.assert_close(displacement[0], 0.5 * normal(noise[0, :, 2:]), atol=1e-4, rtol=0)
    assert (memory == 1).all()
    assert torch.equal(extras["mine"], noise[..., 0])
    nothing = Perturbed(teacher, TORQUE, torch.tensor(0.0))
    _, (action, _, _) = drive(nothing)
    torch.testing.assert_close(action, torch.tensor([1.0, -1.0]).expand(M, N, 2), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="needs a Box"):
        Perturbed(teacher, Discrete(2), torch.tensor(0.1))


def test_random_is_uniform_over_choices():
    _, (action, _, _) = drive(Random(Discrete(5)))
    assert action.dtype == torch.int64
    torch.testing.assert_close(
        action.flatten().bincount(minlength=5) / (M * N), torch.full((5,), 0.2), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("box", [TORQUE, Box((3,), -2.0, 2.0), Box((2,), 0.0, (1.0, 5.0))])
def test_random_is_uniform_over_a_box(box):
    _, (action, _, _) = drive(Random(box))
    assert action.shape == (M, N, *box.shape)
    low, high = (torch.tensor(b).expand(box.shape) for b in (box.low, box.high))
    assert (action >= low).all()
    assert (action <= high).all()
    unit = ((action - low) / (high - low)).flatten(0, 1).sort(0).values
    even = (torch.arange(M * N) + 0.5).unsqueeze(1) / (M * N)
    assert (unit - even).abs().max() < 2 / (M * N) ** 0.5  # Kolmogorov and Smirnov, at 1 in 1000


def test_the_largest_uniform_takes_the_last_action():
    noise = torch.full((1, 1, 1), 1 - 2**-24)
    for n in (2, 3, 7, 18, 1_000, 2**20 - 1):
        assert int(Random(Discrete(n)).act(torch.zeros(1, 1), noise, None)[0]) == n - 1


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
def test_random_stays_in_range_at_the_ends_of_its_noise(noise):
    assert int(Random(Discrete(3)).act(torch.zeros(1, 1), torch.full((1, 1, 1), noise), None)[0]) == (
        0 if noise == 0 else 2
    )
    action = Random(TORQUE).act(torch.zeros(1, 1), torch.full((1, 1, 2), noise), None)[0]
    torch.testing.assert_close(action[0, 0], torch.tensor(TORQUE.low if noise == 0 else TORQUE.high))


def test_nothing_is_uniform_without_bounds():
    with pytest.raises(ValueError, match="finite bounds"):
        Random(Box((2,), -1.0))


def test_behaviours_drive_a_source():
    source = TensorSource(Walk(), id="Walk", num_envs=3, members=2)
    teacher = chooser(0.2, 0.2, 0.6)
    for policy in (Greedy(teacher), Mixture(teacher, Random(Walk.action), torch.tensor(0.5))):
        assert source.collect(policy, 9).action.shape == (9, 2, 3)


def test_persistent_random_actions_last_as_long_as_their_law_says():
    """P(n ≥ k) = 1/k, a bout goes on with one action, and the memory of an ended episode ends it."""
    behaviour = EpsilonZGreedy(always(2), Discrete(2), torch.tensor(0.25))
    noise = torch.rand(4_000, 1, 50, behaviour.noise, generator=torch.Generator().manual_seed(0))
    memory, lengths, running, previous = behaviour.memory(1, 50), [], [0] * 50, [None] * 50
    for step in noise:
        left = memory[0][0].tolist()
        action, memory, extras = behaviour.act(torch.zeros(1, 50, 1), step, memory)
        for n, (before, taken, explored) in enumerate(
            zip(left, action[0].tolist(), extras["explored"][0].tolist(), strict=True)
        ):
            assert explored == (taken != 2)
            if before > 0:
                assert taken == previous[n]  # goes on
                running[n] += 1
            elif explored:
                assert step[0, n, 0] < 0.25
                if running[n]:
                    lengths.append(running[n])
                running[n] = 1
            else:
                assert step[0, n, 0] >= 0.25
            previous[n] = taken
    for k in (2, 4, 10):
        share = sum(length >= k for length in lengths) / len(lengths)
        assert abs(share - 1 / k) < 3 * (1 / k / len(lengths)) ** 0.5
    assert len(lengths) > 2_000


def test_persistent_actions_are_finitely_many():
    with pytest.raises(ValueError, match="action: what lasts"):
        EpsilonZGreedy(always(2), Box((1,)), torch.tensor(0.1))
