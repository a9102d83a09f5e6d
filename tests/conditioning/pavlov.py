"""What the tests of the models share: trials from a short string, parameters, and the loop over trials."""

import string

import numpy as np
import torch

from imitate.conditioning.model import Trial
from imitate.core import tree


def parameters(model, cues, dtype=torch.float64, **values):
    """Parameters of a model: its defaults, and `values` (numbers, lists with one number a cue, or tensors)."""
    unknown = values.keys() - model.parameters.keys()
    assert not unknown, f"{unknown} are no parameters"
    theta = {}
    for name, p in model.parameters.items():
        value = torch.as_tensor(values.get(name, p.default), dtype=dtype)
        theta[name] = value.expand(cues) if p.each_cue and value.dim() == 0 else value
    return theta


def drawn(model, generator, lanes, cues):
    """Parameters well inside their bounds, another one for every lane and cue."""
    theta = {}
    for name, p in model.parameters.items():
        shape = (lanes, cues) if p.each_cue else (lanes,)
        low, high = (p.low, p.high) if np.isfinite(p.high) else (0.2, 1.0)
        theta[name] = low + (high - low) * (0.1 + 0.8 * torch.rand(shape, generator=generator, dtype=torch.float64))
    return theta


def trials(text, cues=None, dtype=torch.float64):
    """Cues [T, C] and outcomes [T, 1] from "A+ 3AB- B+2.5": letters, then + and a magnitude, or −."""
    x, outcome = [], []
    for word in text.split():
        count = word[: len(word) - len(word.lstrip(string.digits))]
        names, sign, magnitude = word[len(count) :].replace("-", "+-").partition("+")
        assert sign
        x += [[ord(name) - ord("A") for name in names]] * int(count or 1)
        outcome += [0.0 if magnitude == "-" else float(magnitude or 1)] * int(count or 1)
    width = cues or 1 + max(max(row, default=0) for row in x)
    on = torch.zeros(len(x), width, dtype=dtype)
    for t, row in enumerate(x):
        on[t, row] = 1
    return on, torch.tensor(outcome, dtype=dtype).unsqueeze(-1)


def learn(model, theta, cues, outcome, state=None):
    """States after each trial of cues [T, ..., C] and outcomes [T, ..., O], stacked."""
    if state is None:
        state = model.initial(theta, tuple(cues.shape[1:-1]), cues.shape[-1], outcome.shape[-1])
    states = []
    for x, u in zip(cues, outcome, strict=True):
        state = model.update(theta, state, Trial(x, u))
        states.append(state)
    return tree.stack(states)


def after(model, text, cues=None, state=None, **values):
    """The last state, and strengths [T, C] after each trial, of one subject that meets `trials(text)`."""
    x, outcome = trials(text, cues)
    states = learn(model, parameters(model, x.shape[-1], **values), x, outcome, state)
    last = tree.map(lambda s: s[-1], states)
    return last, torch.stack([model.strengths(tree.map(lambda s, t=t: s[t], states)) for t in range(len(x))])[..., 0]


def against(loop, model, generator, *, lanes=6, time=25, cues=3, outcomes=2):
    """Lanes of random parameters and trials equal a loop over trials, cues and outcomes.

    `loop(x [C], outcome [O], p, memory)` gives the strengths [C, O] after a trial; `p` holds numbers, or arrays [C],
    and `memory` is a dict that it may fill, empty on the first trial.
    """
    theta = drawn(model, generator, lanes, cues)
    x = (torch.rand(time, lanes, cues, generator=generator) < 0.6).double()
    outcome = 1.5 * torch.rand(time, lanes, outcomes, generator=generator, dtype=torch.float64)
    outcome *= torch.rand(time, lanes, outcomes, generator=generator) < 0.6
    states = learn(model, theta, x, outcome)
    for lane in range(lanes):
        numbers, memory = {name: value[lane].numpy() for name, value in theta.items()}, {}
        for t in range(time):
            expected = loop(x[t, lane].numpy(), outcome[t, lane].numpy(), numbers, memory)
            found = model.strengths(tree.map(lambda s, at=(t, lane): s[at], states))
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12, err_msg=f"trial {t}")
