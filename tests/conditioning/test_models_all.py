"""What every model obeys: exact gradients, masks that leave no trace, lanes that do not touch, one seedless result."""

from dataclasses import replace

import pytest
import torch

from imitate.conditioning.model import Model, Trial
from imitate.conditioning.models import MODELS, Course, TrialTemporalDifference
from imitate.core import tree
from tests.conditioning.pavlov import parameters

CUES, OUTCOMES, LANES = 3, 1, 4
models = pytest.mark.parametrize("name", sorted(MODELS))


def make(name, generator, lanes=LANES):
    """A model, parameters inside their bounds that differ by lane and cue, and 6 trials [T, lanes, ...]."""
    model = MODELS[name]
    if isinstance(model, TrialTemporalDifference):
        model = replace(model, course=Course(durations=3, gap=1, rest=2))
    theta = {}
    for key, p in model.parameters.items():
        shape = (lanes, CUES) if p.each_cue else (lanes,)
        inside = p.default if 0 < p.default < p.high else 0.5
        theta[key] = inside * (0.8 + 0.3 * torch.rand(*shape, generator=generator, dtype=torch.float64))
    x = (torch.rand(6, lanes, CUES, generator=generator) < 0.6).double()
    outcome = (torch.rand(6, lanes, OUTCOMES, generator=generator) < 0.6).double()
    return model, theta, x, outcome


def predictions(model, theta, x, outcome, mask=None, rest=False):
    """What is expected on each trial before it, [T, lanes, O], learning only where `mask` [T, lanes] says.

    With `rest` a model that knows pauses has one after the fourth trial.
    """
    state = model.initial(theta, tuple(x.shape[1:-1]), x.shape[-1], outcome.shape[-1])
    seen = []
    for t in range(len(x)):
        seen.append(model.predict(theta, state, x[t]))
        new = model.update(theta, state, Trial(x[t], outcome[t]))
        state = new if mask is None else tree.where(mask[t], new, state)
        if rest and hasattr(model, "rest") and t == 3:
            state = model.rest(theta, state, 2.0)
    return torch.stack(seen)


def with_grad(theta):
    return {name: value.clone().requires_grad_() for name, value in theta.items()}


@models
def test_it_is_a_model(name, generator):
    model, theta, x, _ = make(name, generator)
    assert isinstance(model, Model)
    state = model.initial(theta, (LANES,), CUES, OUTCOMES)
    assert model.predict(theta, state, x[0]).shape == (LANES, OUTCOMES)
    assert model.strengths(state).shape[0] == LANES and model.strengths(state).shape[-1] == OUTCOMES
    assert all(leaf.shape[0] == LANES and leaf.dtype == torch.float64 for leaf in tree.leaves(state))
    for p in model.parameters.values():
        assert p.low <= p.default <= p.high


@models
def test_gradients(name, generator):
    """By every parameter, through six trials, against finite differences."""
    model, theta, x, outcome = make(name, generator)
    names = list(theta)

    def function(*values):
        return predictions(model, dict(zip(names, values, strict=True)), x, outcome, rest=True)

    fast = isinstance(model, TrialTemporalDifference)  # random directions instead of all: its trials are long
    assert torch.autograd.gradcheck(function, tuple(with_grad(theta).values()), fast_mode=fast)


@models
def test_every_parameter_matters(name, generator):
    model, theta, x, outcome = make(name, generator)
    theta = with_grad(theta)
    predictions(model, theta, x, outcome, rest=True).square().sum().backward()
    still = [key for key, value in theta.items() if value.grad is None or not value.grad.abs().sum() > 0]
    assert not still, f"{still} change nothing in six trials"


@models
def test_masked_trials_leave_no_trace(name, generator):
    """Trials under the mask, of whatever content, change neither values nor gradients, to the last bit."""
    model, theta, x, outcome = make(name, generator)
    short, long = with_grad(theta), with_grad(theta)
    want = predictions(model, short, x, outcome)
    padding = [torch.zeros_like(x[:1]), torch.ones_like(x[:1]), 7 * torch.ones_like(x[:1])]
    blank = [torch.zeros_like(outcome[:1]), torch.ones_like(outcome[:1]), -9 * torch.ones_like(outcome[:1])]
    keep = [t for t in range(12) if t % 2 == 0]
    mixed_x = torch.stack([x[t // 2] if t in keep else padding[t % 3][0] for t in range(12)])
    mixed_u = torch.stack([outcome[t // 2] if t in keep else blank[t % 3][0] for t in range(12)])
    mask = torch.tensor([t in keep for t in range(12)]).unsqueeze(-1).expand(12, LANES)
    found = predictions(model, long, mixed_x, mixed_u, mask)[keep]
    assert torch.equal(found, want)
    want.square().sum().backward()
    found.square().sum().backward()
    for key in theta.keys() - {"tau_inhibition"}:  # which acts in a rest alone
        assert torch.isfinite(long[key].grad).all() and torch.equal(long[key].grad, short[key].grad), key


@models
def test_a_lane_that_never_learns_has_gradient_zero(name, generator):
    """All of its trials are masked, one of them without cues: its strengths stay, and no parameter matters to them."""
    model, theta, x, outcome = make(name, generator)
    theta = with_grad(theta)
    x[3] = 0
    mask = torch.ones(LANES, dtype=torch.bool)
    mask[1] = False
    start = state = model.initial(theta, (LANES,), CUES, OUTCOMES)
    for t in range(6):
        state = tree.where(mask, model.update(theta, state, Trial(x[t], outcome[t])), state)
    strengths = model.strengths(state)
    assert torch.equal(strengths[1], model.strengths(start)[1])
    assert (strengths[mask] != 0).any()
    strengths[1].sum().backward()
    assert all(value.grad is None or (value.grad == 0).all() for value in theta.values())


@models
def test_lanes_do_not_touch(name, generator):
    """A lane among others equals itself alone; and any leading shape serves."""
    model, theta, x, outcome = make(name, generator)
    together = predictions(model, theta, x, outcome)
    for lane in range(LANES):
        alone = {key: value[lane] for key, value in theta.items()}
        torch.testing.assert_close(predictions(model, alone, x[:, lane], outcome[:, lane]), together[:, lane])
    square = {key: value.unflatten(0, (2, 2)) for key, value in theta.items()}
    shaped = predictions(model, square, x.unflatten(1, (2, 2)), outcome.unflatten(1, (2, 2)))
    torch.testing.assert_close(shaped.flatten(1, 2), together)


@models
def test_parameters_broadcast_and_runs_repeat(name, generator):
    """One parameter for all lanes and cues equals it written out; the same call twice gives the same bits (A26)."""
    model, _, x, outcome = make(name, generator)
    one = parameters(model, CUES)
    written = {
        key: value.expand(LANES, CUES).clone() if model.parameters[key].each_cue else value.expand(LANES).clone()
        for key, value in one.items()
    }
    first = predictions(model, one, x, outcome)
    assert torch.equal(first, predictions(model, written, x, outcome))
    assert torch.equal(first, predictions(model, one, x, outcome))


@models
def test_float32(name, generator):
    model, theta, x, outcome = make(name, generator)
    single = {key: value.float() for key, value in theta.items()}
    found = predictions(model, single, x.float(), outcome.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), predictions(model, theta, x, outcome), rtol=1e-4, atol=1e-4)
