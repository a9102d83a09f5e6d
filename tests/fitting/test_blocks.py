"""Values that start anew in every block: in the likelihood, in fits, in simulation."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import ChoiceKernel, Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.model import Parameter
from imitate.conditioning.models.rescorla_wagner import RescorlaWagner
from imitate.conditioning.response import GaussianResponse, Responses
from imitate.conditioning.two_step import TwoStepHybrid
from imitate.conditioning.values import QLearning
from imitate.fitting.fit import fit
from imitate.fitting.likelihood import log_likelihood, one_step, trial_log_likelihood
from imitate.fitting.recover import recover
from imitate_envs.bandits import StationaryBandit, UniformMeans

Q = Softmax(QLearning(), ChoiceKernel())
BEGINS = torch.tensor([True, False, False, False, False, True, False, True, False, False])


def pieces(data):
    """Each block of a record as a record of its own."""
    cuts = [*BEGINS.nonzero().squeeze(-1).tolist(), len(BEGINS)]
    fields = {name: x for name, x in vars(data).items() if isinstance(x, torch.Tensor) and name != "starts"}
    for begin, end in pairwise(cuts):
        yield replace(data, **{name: x[begin:end] for name, x in fields.items()}, starts=None)


def choices(generator, context=None):
    reward = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    action = torch.randint(0, 2, (10, 3), generator=generator)
    return Choices(action, reward, 2, context=context, starts=BEGINS.unsqueeze(1).expand(10, 3))


def responses(generator):
    cues, outcome = (torch.rand(10, 3, n, generator=generator, dtype=torch.float64) for n in (2, 1))
    return Responses(cues, outcome, outcome.squeeze(-1), starts=BEGINS.unsqueeze(1).expand(10, 3))


CASES = {
    "choices": lambda generator: (Q, choices(generator)),
    "two steps": lambda generator: (TwoStepHybrid(), choices(generator, torch.randint(0, 3, (10, 3)))),
    "responses": lambda generator: (GaussianResponse(RescorlaWagner()), responses(generator)),
}


@pytest.mark.parametrize("case", CASES)
def test_blocks_are_subjects_of_one_mind(case, generator):
    model, data = CASES[case](generator)
    apart = [trial_log_likelihood(model, {}, piece) for piece in pieces(data)]
    together = trial_log_likelihood(model, {}, data)
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-14, atol=0)
    joined = trial_log_likelihood(model, {}, replace(data, starts=None))
    torch.testing.assert_close(together[:5], joined[:5], rtol=1e-14, atol=0)
    assert (together[6] != joined[6]).all()


def test_a_block_that_begins_with_a_missing_trial_begins():
    generator = torch.Generator().manual_seed(1)
    data = choices(generator)
    there = torch.ones(10, 3, dtype=torch.bool)
    there[5] = False
    masked = trial_log_likelihood(Q, {}, replace(data, learns=there, scored=there))
    later = torch.ones(4, 3, dtype=torch.bool)
    alone = Choices(data.action[6:], data.reward[6:], 2, later, later, starts=data.starts[6:])
    torch.testing.assert_close(masked[6:], trial_log_likelihood(Q, {}, alone), rtol=1e-14, atol=0)


def hddm(subjects=20, blocks=6, trials=25, alpha=0.3, beta=4.0):
    """Choices of subjects who forget at the beginning of each block, by a loop of its own."""
    rng, rows = np.random.default_rng(1), []
    for subject in range(subjects):
        for block in range(blocks):
            q, good = np.zeros(2), rng.integers(2)
            for _ in range(trials):
                chosen = int(rng.random() < 1 / (1 + np.exp(-beta * (q[1] - q[0]))))
                reward = float(rng.random() < (0.8 if chosen == good else 0.2))
                q[chosen] += alpha * (reward - q[chosen])
                rows.append((subject, block, chosen, reward))
    return pd.DataFrame(rows, columns=["subject", "block", "action", "reward"])


@pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")
def test_a_fit_that_is_told_of_blocks_finds_the_truth():
    model = Softmax(QLearning())
    table = hddm()
    told = fit(model, Choices.from_pandas(table, 2, block="block"), starts=1)
    joined = fit(model, Choices.from_pandas(table, 2), starts=1)
    for name, true in (("alpha", 0.3), ("beta", 4.0)):
        # The error of a median is 1.25 times that of a mean: four of them.
        error = 1.25 * float(told.se[name].nanmean()) / 20**0.5
        assert float(told.theta[name].median()) == pytest.approx(true, abs=4 * error)
    assert (told.log_likelihood.sum() - joined.log_likelihood.sum()) > 50


def test_simulated_subjects_start_anew():
    theta = {"alpha": torch.full((2_000,), 0.5), "beta": 5.0}
    starts = torch.arange(30) % 10 == 0
    made = simulate_choices(Softmax(QLearning()), theta, StationaryBandit((0.1, 0.9)), 30, starts=starts)
    assert torch.equal(made.starts, starts.unsqueeze(1).expand(30, 2_000))
    share = made.action.double().mean(1)
    # naive at the start of each block: 4.5 standard errors of a share of 2,000
    assert (share[starts] - 0.5).abs().max() < 4.5 * 0.5 / 2_000**0.5
    assert share[[9, 19, 29]].min() > 0.8
    expected = one_step(Softmax(QLearning()), theta, made).exp()
    torch.testing.assert_close(expected[10], torch.full_like(expected[10], 0.5))
    # The bandit is another one in each block.
    drawn = StationaryBandit(UniformMeans())
    rich = simulate_choices(Softmax(QLearning()), {"beta": torch.zeros(2_000)}, drawn, 20, starts=starts[:20])
    means = [torch.where(rich.action == 1, rich.reward, 0)[part].sum(0) for part in (slice(10), slice(10, 20))]
    assert float(torch.corrcoef(torch.stack(means))[0, 1]) < 0.1
    # What is predicted of a record has its blocks: draws of parameters beside subjects.
    again = simulate_choices(
        Softmax(QLearning()), {"alpha": torch.full((3, 2_000), 0.5)}, drawn, 30, starts=made.starts
    )
    assert again.action.shape == again.starts.shape == (30, 3, 2_000)
    with pytest.raises(ValueError, match="starts: bool for each of 29 trials"):
        simulate_choices(Softmax(QLearning()), {}, drawn, 29, starts=starts)


@pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")
def test_recovery_in_blocks():
    model, bandit = Softmax(QLearning()), StationaryBandit((0.2, 0.8))
    truth = {"alpha": torch.linspace(0.1, 0.9, 20).double(), "beta": torch.full((20,), 4.0).double()}
    found = recover(model, truth, bandit, 60, block=15, upper={"beta": 20.0}, starts=1)
    assert found.correlation("alpha") > 0.5
    assert found.fit.theta["beta"].max() <= 20
    with pytest.raises(ValueError, match="block: at least 1 trial"):
        recover(model, truth, bandit, 60, block=0)


# Choices of probability 0


@dataclass(frozen=True)
class Barred:
    """Prefers action 0 by `beta`; the last of three actions cannot be chosen."""

    parameters = {"beta": Parameter(1.0, 0.0, float("inf"))}  # noqa: RUF012

    def initial(self, theta, shape, actions):
        return torch.zeros(*shape, actions, dtype=torch.float64)

    def log_probs(self, theta, state):
        first = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        barred = torch.tensor([False, False, True])
        logits = torch.where(barred, -torch.inf, theta["beta"].unsqueeze(-1) * first + state)
        return logits - logits.logsumexp(-1, keepdim=True)

    def update(self, theta, state, action, reward):
        return state


def test_what_cannot_be_chosen_costs_nothing():
    beta = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    action = torch.tensor([[0, 1], [1, 0], [0, 0]])
    data = Choices(action, action * 0.0, 3)
    found = log_likelihood(Barred(), {"beta": beta}, data)
    p = beta.sigmoid()
    torch.testing.assert_close(found, 2 * p.log() + (1 - p).log())
    (gradient,) = torch.autograd.grad(found.sum(), beta)
    torch.testing.assert_close(gradient, 2 - 3 * p)
    impossible = log_likelihood(Barred(), {"beta": 1.0}, replace(data, action=action + 1))
    assert impossible.tolist() == [-torch.inf, -torch.inf]
    unscored = replace(data, action=torch.full_like(action, 2), scored=torch.zeros_like(action, dtype=torch.bool))
    value = log_likelihood(Barred(), {"beta": beta}, unscored)
    assert value.tolist() == [0.0, 0.0]
    assert torch.autograd.grad(value.sum(), beta)[0].tolist() == [0.0, 0.0]


def test_places_are_refused_where_there_are_none():
    generator = torch.Generator().manual_seed(0)
    placed = choices(generator, torch.ones(10, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="context: Softmax takes none; leave it out, or give blocks as starts"):
        fit(Q, placed)
    with pytest.raises(ValueError, match="context: 3 is none of the places of TwoStepHybrid, 0 to 2"):
        log_likelihood(TwoStepHybrid(), {}, replace(placed, context=placed.context + 2))


@pytest.mark.parametrize("beta", [1e3, 1e300, float("inf"), float("nan"), 1e308])
def test_a_likelihood_is_a_number_or_refused(beta):
    data = Choices.of_subjects([[1, 1, 0, 1]], [[1e5, 1.0, 0.0, 1.0]], 2)
    if beta <= 1e300:
        assert log_likelihood(Softmax(QLearning()), {"alpha": 0.3, "beta": beta}, data).isfinite().all()
    else:
        with pytest.raises(
            ValueError, match=r"beta: (inf|nan) is no finite number|theta: the log-likelihood of lane 0"
        ):
            log_likelihood(Softmax(QLearning()), {"alpha": 0.3, "beta": beta}, data)
