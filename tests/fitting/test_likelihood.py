"""Masks, sums, data in and out, and what is wrong with data."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from imitate.conditioning.choice import Bias, ChoiceKernel, Perseveration, Softmax, WinStayLoseShift
from imitate.conditioning.data import Choices
from imitate.conditioning.model import Contextual
from imitate.conditioning.models.rescorla_wagner import RescorlaWagner
from imitate.conditioning.response import GaussianResponse, Responses
from imitate.conditioning.two_step import TwoStepHybrid
from imitate.conditioning.values import EWA, DualRates, KalmanBandit, QLearning
from imitate.fitting.likelihood import log_likelihood, one_step, trial_log_likelihood

MODELS = {
    "q": Softmax(QLearning()),
    "dual": Softmax(QLearning(DualRates(), forgetting=True), ChoiceKernel(), lapse=True),
    "fictitious": Softmax(QLearning(fictitious=True), Perseveration()),
    "ewa": Softmax(EWA()),
    "kalman": Softmax(KalmanBandit()),
    "random": Softmax(Bias(1)),
    "wsls": WinStayLoseShift(),
    "two-step": TwoStepHybrid(),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def played(generator, model=MODELS["q"], trials=37, subjects=5):
    """A record of blocks; with places, if the model is told where it is."""
    shape = (trials, subjects)
    stage = torch.randint(0, 3, shape, generator=generator) if isinstance(model, Contextual) else None
    reward = torch.randn(shape, generator=generator, dtype=torch.float64)
    starts = torch.rand(shape, generator=generator) < 0.1
    return Choices(torch.randint(0, 2, shape, generator=generator), reward, 2, context=stage, starts=starts)


def value_and_gradient(model, data, subjects):
    """Likelihoods and gradients at parameters that differ from subject to subject, off the defaults."""
    theta = {}
    for i, (name, parameter) in enumerate(model.parameters.items()):
        z = torch.linspace(-1, 1, subjects, dtype=torch.float64) + 0.1 * i
        theta[name] = parameter.constrain(z).requires_grad_()
    value = log_likelihood(model, theta, data)
    return value.detach(), torch.stack(torch.autograd.grad(value.sum(), list(theta.values()), materialize_grads=True))


def padded(data, at, garbage):
    """Masked trials put in before index `at`, with garbage under the mask."""

    def insert(field, fill):
        if field is None:
            return None
        filled = torch.full((11, field.shape[1]), fill, dtype=field.dtype)
        return torch.cat([field[:at], filled, field[at:]])

    return Choices(
        insert(data.action, garbage), insert(data.reward, math.nan), 2, insert(data.learns, False),
        insert(data.scored, False), insert(data.context, garbage), starts=insert(data.starts, False),
    )  # fmt: skip


@every_model
@pytest.mark.parametrize("at", [0, 13, 37])
@pytest.mark.parametrize("garbage", [0, -7])
def test_masked_trials_change_nothing_at_all(model, at, garbage, generator):
    data = played(generator, model)
    value, gradient = value_and_gradient(model, data, 5)
    masked_value, masked_gradient = value_and_gradient(model, padded(data, at, garbage), 5)
    assert torch.equal(value, masked_value)
    assert torch.equal(gradient, masked_gradient)
    assert gradient.abs().sum() > 0


@every_model
def test_subjects_of_unequal_lengths_are_each_by_itself(model, generator):
    data, lengths = played(generator, model), [37, 1, 20, 5, 36]
    there = torch.arange(37).unsqueeze(1) < torch.tensor(lengths)
    together = replace(data, learns=there, scored=there)
    value, gradient = value_and_gradient(model, together, 5)
    for s, length in enumerate(lengths):
        whole = {name: x for name, x in vars(data).items() if isinstance(x, torch.Tensor)}
        cut = Choices(**{name: x[:length, s : s + 1].repeat(1, 5) for name, x in whole.items()}, actions=2)
        own_value, own_gradient = value_and_gradient(model, cut, 5)
        torch.testing.assert_close(own_value[s], value[s], rtol=1e-14, atol=0)
        torch.testing.assert_close(own_gradient[:, s], gradient[:, s], rtol=1e-12, atol=1e-14)


def test_the_two_masks_are_of_learning_and_of_scoring(generator):
    data, model = replace(played(generator), starts=None), Softmax(QLearning())
    each = trial_log_likelihood(model, {"alpha": 0.4, "beta": 2.0}, data)
    forced = torch.ones_like(data.learns)
    forced[3:6] = False
    scored = trial_log_likelihood(
        model, {"alpha": 0.4, "beta": 2.0}, Choices(data.action, data.reward, 2, scored=forced)
    )
    torch.testing.assert_close(scored, torch.where(forced, each, 0))  # learnt from, so the others are what they were
    silent = Choices(data.action, data.reward, 2, learns=forced)
    unlearnt = trial_log_likelihood(model, {"alpha": 0.4, "beta": 2.0}, silent)
    torch.testing.assert_close(unlearnt[:4], each[:4])
    gap = Choices(*(torch.cat([x[:3], x[6:]]) for x in (data.action, data.reward)), 2)
    torch.testing.assert_close(unlearnt[6:], trial_log_likelihood(model, {"alpha": 0.4, "beta": 2.0}, gap)[3:])
    assert silent.counts.tolist() == [37] * 5
    assert Choices(data.action, data.reward, 2, scored=forced).counts.tolist() == [34] * 5


@every_model
def test_trials_sum_to_subjects_and_are_among_what_was_expected(model, generator):
    data = played(generator, model)
    each = trial_log_likelihood(model, {}, data)
    torch.testing.assert_close(each.sum(0), log_likelihood(model, {}, data), rtol=1e-13, atol=0)
    every = one_step(model, {}, data)
    torch.testing.assert_close(every.exp().sum(-1), torch.ones_like(each))
    torch.testing.assert_close(every.gather(-1, data.action.unsqueeze(-1)).squeeze(-1), each)


def test_lanes_of_parameters_broadcast_against_subjects(generator):
    data, model = played(generator), Softmax(QLearning())
    alpha = torch.rand(3, 1, generator=generator, dtype=torch.float64)
    found = log_likelihood(model, {"alpha": alpha, "beta": 2.0}, data)
    assert found.shape == (3, 5)
    for row, a in zip(found, alpha, strict=True):
        torch.testing.assert_close(row, log_likelihood(model, {"alpha": a, "beta": 2.0}, data))
    # lanes that disagree on where they are masked
    masks = torch.rand(37, 5, generator=generator) < 0.7
    masked = Choices(data.action, data.reward, 2, masks, masks)
    torch.testing.assert_close(
        log_likelihood(model, {"alpha": alpha}, masked)[1], log_likelihood(model, {"alpha": alpha[1]}, masked)
    )


def test_a_gaussian_response_is_the_naive_loop(generator):
    cues = torch.randint(0, 2, (15, 2, 2), generator=generator).double()
    outcome = torch.rand(15, 2, 1, generator=generator, dtype=torch.float64)
    response = torch.randn(15, 2, generator=generator, dtype=torch.float64)
    learns, scored = (torch.rand(15, 2, generator=generator) < 0.8 for _ in range(2))
    data = Responses(cues, outcome, torch.where(scored, response, torch.nan), learns, scored)
    theta = {
        "alpha_A": 0.5, "alpha_B": 0.2, "beta_on": 0.6, "beta_off": 0.3, "gain": 2.0, "offset": -0.1, "sigma": 0.7,
    }  # fmt: skip
    model = GaussianResponse(RescorlaWagner(), ("A", "B"))
    found, expected = trial_log_likelihood(model, theta, data), one_step(model, theta, data)
    for s in range(2):
        v = [0.0, 0.0]
        for t in range(15):
            x, u = cues[t, s].tolist(), float(outcome[t, s, 0])
            total = x[0] * v[0] + x[1] * v[1]
            mean = -0.1 + 2 * total
            assert float(expected[t, s]) == pytest.approx(mean, abs=1e-12)
            law = torch.distributions.Normal(mean, 0.7)
            logp = float(law.log_prob(response[t, s])) if scored[t, s] else 0.0
            assert float(found[t, s]) == pytest.approx(logp, rel=1e-6)
            if learns[t, s]:
                v = [v[i] + x[i] * a * 0.6 * (u - total) for i, a in enumerate((0.5, 0.2))]
    torch.testing.assert_close(found.sum(0), log_likelihood(model, theta, data))
    shared = GaussianResponse(RescorlaWagner())
    same = {**{name: theta[name] for name in list(theta)[2:]}, "alpha": 0.3}
    split = {**theta, "alpha_A": 0.3, "alpha_B": 0.3}
    torch.testing.assert_close(log_likelihood(shared, same, data), log_likelihood(model, split, data))


def table():
    return pd.DataFrame(
        {
            "subject": ["ann", "bob", "ann", "bob", "ann"],
            "action": [0, 1, 1, float("nan"), 0],
            "reward": [1.0, 0.0, 0.5, float("nan"), 1.0],
        },
        index=[10, 11, 12, 13, 14],
    )


def test_tables_in_and_out():
    data = Choices.from_pandas(table(), 2)
    assert data.subjects == ("ann", "bob")
    assert data.action[:, 0].tolist() == [0, 1, 0]
    assert data.reward[:, 0].tolist() == [1.0, 0.5, 1.0]
    assert data.scored.tolist() == [[True, True], [True, False], [True, False]]
    assert data.counts.tolist() == [3, 1]
    back = data.to_pandas()
    assert back["subject"].tolist() == ["ann"] * 3 + ["bob"]
    assert back["trial"].tolist() == [0, 1, 2, 0]
    again = Choices.from_pandas(back, 2, learns="learns", scored="scored")
    for name in ("action", "scored", "learns"):
        assert torch.equal(getattr(again, name), getattr(data, name))
    named = table().rename(columns={"subject": "id", "action": "key", "reward": "points"})
    other = Choices.from_pandas(named.assign(place=2), 2, subject="id", action="key", reward="points", context="place")
    assert torch.equal(other.action, data.action)
    assert other.context.tolist() == [[2, 2], [2, 0], [2, 0]]


def test_subjects_from_lists():
    data = Choices.of_subjects([[0, 1, 1], [1]], [[0, 1, 0], [1]], 2, subjects=["a", "b"])
    assert data.counts.tolist() == [3, 1]
    assert data.subjects == ("a", "b")
    with pytest.raises(ValueError, match="reward: subject 'b' has 2 rewards for 1 actions"):
        Choices.of_subjects([[0, 1], [1]], [[0, 1], [1, 1]], 2, subjects=["a", "b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": [0, 1, 2, 0, 0]}, r"action: row 12 holds 2, which is none of the actions 0 to 1\."),
        ({"action": [0, -1, 1, 0, 0]}, "action: row 11 holds -1"),
        ({"action": [0, 1, 1, 0.5, 0]}, "action: row 13 holds 0.5, which is no whole number"),
        ({"action": [0, 1, 1, "left", 0]}, "action: row 13 holds 'left', which is no number"),
        ({"reward": [0, 1, float("nan"), 0, 0]}, "reward: row 12 holds nan, which is no reward; have a column"),
    ],
)
def test_a_bad_row_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Choices.from_pandas(table().assign(**change), 2)


def test_a_wrong_column_is_named():
    with pytest.raises(ValueError, match="column: 'reward' is unknown; did you mean 'rewards'"):
        Choices.from_pandas(table().rename(columns={"reward": "rewards"}), 2)


def test_a_bad_trial_is_named():
    action, reward = torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2)
    action[2, 1] = 2
    with pytest.raises(ValueError, match="action: trial 2 of subject 'b' is 2, but there are 2 actions"):
        Choices(action, reward, 2, subjects=("a", "b"))
    with pytest.raises(ValueError, match="reward: trial 1 of subject 0 has nan; set learns"):
        Choices(action * 0, reward.index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(math.nan)), 2)
    with pytest.raises(ValueError, match=r"reward: shape \(4,\)"):
        Choices(action * 0, reward[:, 0], 2)
    with pytest.raises(ValueError, match="at least one"):
        Choices(action[:0], reward[:0], 2)
    cues = torch.zeros(4, 2, 3)
    with pytest.raises(ValueError, match="response: trial 0 of subject 0 has nan"):
        Responses(cues, cues, reward * math.nan)
    with pytest.raises(ValueError, match=r"cues: shape \(4, 3\)"):
        Responses(cues[:, 0], cues, reward)


def test_a_bad_parameter_is_named(generator):
    data, model = played(generator), Softmax(QLearning())
    with pytest.raises(ValueError, match="theta: 'aplha' is unknown; did you mean 'alpha'"):
        log_likelihood(model, {"aplha": 0.1}, data)
    with pytest.raises(ValueError, match=r"alpha: 1.5 in lane 1 is outside \[0, 1\]"):
        log_likelihood(model, {"alpha": torch.tensor([0.1, 1.5, 0.2, 0.1, 0.1])}, data)
    with pytest.raises(ValueError, match=r"beta: -1 is outside \[0, inf\]"):
        log_likelihood(model, {"beta": -1.0}, data)
    with pytest.raises(ValueError, match="alpha: nan"):
        log_likelihood(model, {"alpha": math.nan}, data)
