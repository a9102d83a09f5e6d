import numpy as np
import pytest
import torch

from imitate.losses.returns import lambda_returns
from imitate.losses.tabular import (
    decayed_trace,
    deposit,
    double_value,
    greedy_value,
    is_greedy,
    soft_value,
    step_size,
    td_error,
)


def test_values_of_the_next_state_by_hand():
    q, other = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    assert greedy_value(q).item() == 3
    assert soft_value(q, torch.tensor(0.3)).item() == pytest.approx(0.7 * 3 + 0.3 * 2)
    assert double_value(q, other).item() == 20
    assert td_error(torch.tensor(1.0), torch.tensor(0.5), torch.tensor(4.0), torch.tensor(2.5)).item() == 0.5


def test_soft_value_is_the_mean_over_the_epsilon_greedy_policy(generator):
    q, epsilon = torch.rand(4, 5, 3, generator=generator), torch.tensor([[0.0], [0.1], [0.5], [1.0]])
    policy = epsilon.unsqueeze(-1) / 3 + (1 - epsilon).unsqueeze(-1) * torch.nn.functional.one_hot(q.argmax(-1), 3)
    torch.testing.assert_close(soft_value(q, epsilon), (policy * q).sum(-1))
    assert torch.equal(soft_value(q, torch.zeros(4, 1)), greedy_value(q))
    torch.testing.assert_close(soft_value(q, torch.ones(4, 1)), q.mean(-1))


def test_double_value_of_a_table_with_itself_is_greedy(generator):
    q = torch.rand(2, 7, 4, generator=generator)
    assert torch.equal(double_value(q, q), greedy_value(q))


def test_the_mean_of_double_values_is_no_maximum(generator):
    """Of ten values that are all 0, seen with noise: the maximum is 1.54 too high, the double value is not."""
    noisy, again = torch.randn(20_000, 10, generator=generator), torch.randn(20_000, 10, generator=generator)
    assert greedy_value(noisy).mean().item() == pytest.approx(1.5388, abs=0.02)  # E of the largest of 10 normals
    assert abs(double_value(noisy, again).mean().item()) < 0.03


def test_every_action_of_a_tie_is_greedy():
    q = torch.tensor([[2.0, 1.0, 2.0]]).expand(3, 3)
    assert is_greedy(q, torch.tensor([0, 1, 2])).tolist() == [True, False, True]


def test_deposit_is_a_loop(generator):
    index = torch.randint(6, (3, 40), generator=generator)
    amount = torch.rand(3, 40, generator=generator)
    expected = np.zeros((3, 6))
    for m in range(3):
        for b in range(40):
            expected[m, index[m, b]] += amount[m, b].item()
    np.testing.assert_allclose(deposit(index, amount, 6).numpy(), expected, rtol=1e-5)


def test_traces_by_hand():
    trace = torch.zeros(1, 1, 3)
    for state, decay, expected in (
        (0, 0.0, [1, 0, 0]),
        (1, 0.5, [0.5, 1, 0]),
        (1, 0.5, [0.25, 1.5, 0]),
        (2, 0.0, [0, 0, 1]),
    ):
        trace = decayed_trace(trace, torch.tensor([[state]]), torch.tensor([[decay]]))
        assert trace[0, 0].tolist() == expected


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_forward_and_backward_view_agree(lam, generator):
    """Sutton & Barto (2018), §12.1: with values held still, Σ_t δ_t e_t(s) = Σ_t (G_t^λ − v(s_t)) 1[s_t = s]."""
    steps, members, envs, states, gamma = 50, 2, 3, 5, 0.9

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    values, reward = draw(members, states), draw(steps, members, envs)
    state, after = (torch.randint(states, (steps, members, envs), generator=generator) for _ in range(2))
    terminated, truncated = draw(steps, members, envs) < 0.1, draw(steps, members, envs) < 0.1
    truncated[-1], terminated[-1] = True, False
    truncated &= ~terminated
    for t in range(steps - 1):  # an episode goes on where it was
        state[t + 1] = torch.where(terminated[t] | truncated[t], state[t + 1], after[t])
    member = torch.arange(members).unsqueeze(1)
    value, next_value = values[member, state], values[member, after]
    discount = gamma * (~terminated).double()
    error = td_error(reward, discount, next_value, value)
    trace, backward = torch.zeros(members, envs, states, dtype=torch.float64), torch.zeros(members, states).double()
    goes_on = torch.zeros(members, envs, dtype=torch.bool)
    for t in range(steps):
        trace = decayed_trace(trace, state[t], gamma * lam * goes_on.double())
        backward += torch.einsum("mn,mns->ms", error[t], trace)
        goes_on = ~(terminated[t] | truncated[t])
    forward = lambda_returns(reward, discount, next_value, lam * (~truncated).double()) - value
    summed = sum(deposit(state[t], forward[t], states) for t in range(steps))
    torch.testing.assert_close(backward, summed)


def test_step_sizes():
    count, one = torch.tensor([[1.0, 4.0, 100.0, 0.0]]), torch.ones(1, 4)

    def sizes(share, alpha, omega):
        return step_size(count, share, torch.tensor([[alpha]]), torch.tensor([[omega]]))[0].tolist()

    assert sizes(one, 1.0, 1.0) == pytest.approx([1, 0.25, 0.01, 1])
    assert sizes(one, 0.5, 0.5) == pytest.approx([0.5, 0.25, 0.05, 0.5])
    assert sizes(one, 0.1, 0.0) == pytest.approx([0.1] * 4)  # constant
    assert sizes(20 * one, 0.1, 0.0) == pytest.approx([0.05] * 4)  # twenty at once move it to their mean, not beyond
    assert sizes(0.3 * one, 0.1, 0.0) == pytest.approx([0.1] * 4)


def test_many_at_once_are_the_running_mean(generator):
    targets, table, count = torch.rand(3, 8, generator=generator), torch.zeros(1, 1), torch.zeros(1, 1)
    for batch in targets:
        count += len(batch)
        size = step_size(count, torch.tensor([[8.0]]), torch.ones(1, 1), torch.ones(1, 1))
        table += size * (batch - table[0]).sum()
    torch.testing.assert_close(table[0, 0], targets.mean())
