"""Models of choice against naive loops, golden numbers, and each other."""

import math

import numpy as np
import pytest
import torch

from imitate.conditioning.choice import CHOICE_MODELS, Bias, ChoiceKernel, Perseveration, Softmax, WinStayLoseShift
from imitate.conditioning.data import Choices
from imitate.conditioning.two_step import TwoStepHybrid
from imitate.conditioning.values import EWA, DualRates, KalmanBandit, QLearning, outcome
from imitate.fitting.likelihood import log_likelihood, one_step, trial_log_likelihood

TEN = Choices.of_subjects([[int(c) for c in "0110111011"]], [[int(r) for r in "0110101110"]], 2)
WILSON_COLLINS = {"Q0": 0.5, "alpha": 0.3, "beta": 3.0}


def softmax(logits):
    p = np.exp(np.asarray(logits) - max(logits))
    return p / p.sum()


def naive(name, p, choices, rewards, n):
    """Probabilities of every action in every trial, one subject, as the equations are written down."""
    q = [p.get("Q0", 0.0)] * n
    kernel, last, experience = [0.0] * n, None, [0.0] * n
    mu, s2 = [p.get("mean0")] * n, [p.get("sd0", 0.0) ** 2] * n
    stay = [1 / n] * n
    found = []
    for c, r in zip(choices, rewards, strict=True):
        logits = [0.0] * n
        if name == "kalman":
            logits = [p["beta"] * m for m in mu]
        elif name == "bias":
            logits = [p["bias_1"] * (a == 1) for a in range(n)]
        elif "beta" in p:
            logits = [p["beta"] * value for value in q]
        if "beta_c" in p:
            logits = [x + p["beta_c"] * k for x, k in zip(logits, kernel, strict=True)]
        if "persist" in p and last is not None:
            logits[last] += p["persist"]
        probs = softmax(logits)
        if "lapse" in p:
            probs = (1 - p["lapse"]) * probs + p["lapse"] / n
        if name == "wsls":
            probs = (1 - p["epsilon"]) * np.array(stay) + p["epsilon"] / n
        found.append(probs)

        if name == "kalman":
            gain = s2[c] / (s2[c] + 16)
            mu[c] += gain * (r - mu[c])
            s2[c] *= 1 - gain
            mu = [p["lambda"] * m + (1 - p["lambda"]) * p["theta"] for m in mu]
            s2 = [p["lambda"] ** 2 * s + p["sd_diffusion"] ** 2 for s in s2]
        elif name == "ewa":
            before = experience[c]
            experience[c] = p["rho"] * before + 1
            q[c] = (p["phi"] * before * q[c] + r) / experience[c]
        elif "beta" in p:
            error = r - q[c]
            if name == "dual":
                alpha = p["alpha_pos"] if error > 0 else p["alpha_neg"]
            elif name in ("dual_outcome", "fictitious_dual"):
                alpha = p["alpha_pos"] if (r if name == "dual_outcome" else error) > 0 else p["alpha_neg"]
            else:
                alpha = p["alpha"]
            for u in range(n):
                if u == c:
                    q[u] += alpha * error
                elif name == "forgetting":
                    q[u] += p["forget"] * (p["Q0"] - q[u])
                elif name.startswith("fictitious"):
                    q[u] += alpha * (-r - q[u])
        for a in range(n):
            if "alpha_c" in p:
                kernel[a] += p["alpha_c"] * ((a == c) - kernel[a])
            stay[a] = (1.0 if a == c else 0.0) if r > 0 else (0.0 if a == c else 1 / (n - 1))
        last = c
    return np.array(found)


DUAL = {"alpha_pos": 0.6, "alpha_neg": 0.2, "beta": 1.3, "Q0": 0.2}
PLAIN = {"alpha": 0.4, "beta": 1.3, "Q0": -0.3}
KERNEL = {"alpha_c": 0.25, "beta_c": 1.5}
CASES = {
    "q": (Softmax(QLearning()), PLAIN),
    "dual": (Softmax(QLearning(DualRates())), DUAL),
    "dual_outcome": (Softmax(QLearning(DualRates(outcome))), DUAL),
    "forgetting": (Softmax(QLearning(forgetting=True)), {**PLAIN, "forget": 0.15}),
    "fictitious": (Softmax(QLearning(fictitious=True)), PLAIN),
    "fictitious_dual": (Softmax(QLearning(DualRates(), fictitious=True)), DUAL),
    "q_kernel": (Softmax(QLearning(), ChoiceKernel()), {**PLAIN, **KERNEL}),
    "q_persist_lapse": (Softmax(QLearning(), Perseveration(), lapse=True), {**PLAIN, "persist": -0.7, "lapse": 0.1}),
    "kernel": (Softmax(ChoiceKernel()), KERNEL),
    "ewa": (Softmax(EWA()), {"phi": 0.7, "rho": 0.6, "beta": 1.1, "Q0": 0.0}),
    "bias": (Softmax(Bias(1)), {"bias_1": 0.4}),
    "wsls": (WinStayLoseShift(), {"epsilon": 0.2}),
    "kalman": (
        Softmax(KalmanBandit()),
        {"lambda": 0.9, "theta": 0.5, "sd_diffusion": 2.0, "mean0": 1.0, "sd0": 3.0, "beta": 0.8},
    ),
}


@pytest.fixture
def played(generator):
    """Twenty trials of three subjects with three actions and rewards of either sign."""
    action = torch.randint(0, 3, (20, 3), generator=generator)
    return Choices(action, torch.randn(20, 3, generator=generator, dtype=torch.float64), 3)


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_the_naive_loop(name, played):
    model, theta = CASES[name]
    found = one_step(model, theta, played).exp()
    for s in range(3):
        expected = naive(name, theta, played.action[:, s].tolist(), played.reward[:, s].tolist(), 3)
        np.testing.assert_allclose(found[:, s], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("model", "theta", "expected"),
    [
        (Softmax(QLearning()), WILSON_COLLINS, 6.001239127),
        (Softmax(QLearning(DualRates())), {"Q0": 0.5, "alpha_pos": 0.3, "alpha_neg": 0.1, "beta": 3.0}, 6.107279300),
        (Softmax(QLearning(), ChoiceKernel()), {**WILSON_COLLINS, "alpha_c": 0.2, "beta_c": 1.5}, 6.651158050),
        (Softmax(QLearning(forgetting=True)), {**WILSON_COLLINS, "forget": 0.1}, 6.018405029),
    ],
)
def test_golden_likelihoods_of_ten_trials(model, theta, expected):
    assert -float(log_likelihood(model, theta, TEN)) == pytest.approx(expected, abs=1e-8)


def test_golden_gradient_of_ten_trials():
    theta = {name: torch.tensor(v, dtype=torch.float64, requires_grad=True) for name, v in WILSON_COLLINS.items()}
    (-log_likelihood(Softmax(QLearning()), theta, TEN).sum()).backward()
    assert float(theta["alpha"].grad) == pytest.approx(1.713788, abs=1e-6)
    assert float(theta["beta"].grad) == pytest.approx(0.102396, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name, played):
    model, theta = CASES[name]
    values = [torch.full((3,), v, dtype=torch.float64, requires_grad=True) for v in theta.values()]
    few = Choices(played.action[:6], played.reward[:6], 3)

    def function(*values):
        return log_likelihood(model, dict(zip(theta, values, strict=True)), few)

    assert torch.autograd.gradcheck(function, values, atol=1e-6)


def ten(model, theta):
    return trial_log_likelihood(model, theta, TEN)


def test_models_reduce_to_each_other():
    base = ten(Softmax(QLearning()), WILSON_COLLINS)
    equal = {"Q0": 0.5, "alpha_pos": 0.3, "alpha_neg": 0.3, "beta": 3.0}
    kernel = {**WILSON_COLLINS, "alpha_c": 1.0, "beta_c": 0.7}
    same = torch.testing.assert_close
    same(ten(Softmax(QLearning(DualRates())), equal), base)
    same(ten(Softmax(QLearning(forgetting=True)), {**WILSON_COLLINS, "forget": 0.0}), base)
    same(ten(Softmax(QLearning(), lapse=True), {**WILSON_COLLINS, "lapse": 0.0}), base)
    same(ten(Softmax(QLearning(), Bias(0)), {**WILSON_COLLINS, "bias_0": 0.0}), base)
    persist = ten(Softmax(QLearning(), Perseveration()), {**WILSON_COLLINS, "persist": 0.7})
    same(ten(Softmax(QLearning(), ChoiceKernel()), kernel), persist)
    lapsed = ten(Softmax(QLearning(), lapse=True), {**WILSON_COLLINS, "lapse": 1.0})
    same(lapsed, torch.full_like(lapsed, math.log(0.5)))
    # Outcomes of 0 and 1 and Q0 between them: the sign of the error is that of the outcome.
    dual = {**equal, "alpha_neg": 0.1}
    same(ten(Softmax(QLearning(DualRates(outcome))), dual), ten(Softmax(QLearning(DualRates())), dual))
    # A Kalman filter that neither drifts nor doubts its prior learns nothing; one without a prior takes the mean.
    still = {"lambda": 1.0, "theta": 0.0, "sd_diffusion": 0.0, "mean0": 0.5, "sd0": 0.0, "beta": 3.0}
    same(ten(Softmax(KalmanBandit()), still), torch.full_like(base, math.log(0.5)))


def test_kernel_and_value_add_up_in_the_logit():
    """Not their product, which would be .4403."""
    model = Softmax(QLearning(), ChoiceKernel())
    theta = {"beta": torch.tensor(1.0), "beta_c": torch.tensor(1.0)}
    probs = model.log_probs(theta, (torch.tensor([0.3, 0.3]), torch.tensor([0.1, 0.9]))).exp()
    assert float(probs[0]) == pytest.approx(0.3100, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, -0.6])
def test_values_of_zero_and_below_learn_like_others(value):
    theta = {name: torch.tensor(x, dtype=torch.float64) for name, x in {**WILSON_COLLINS, "Q0": value}.items()}
    q = QLearning()
    state = q.update(theta, q.initial(theta, (), 2), torch.tensor(1), torch.tensor(1.0, dtype=torch.float64))
    assert state.tolist() == pytest.approx([value, value + 0.3 * (1 - value)])


def test_beta_is_an_inverse_temperature():
    state = (torch.tensor([0.0, 1.0]),)
    better = [Softmax(QLearning()).log_probs({"beta": torch.tensor(b)}, state)[1].exp() for b in (0.0, 1.0, 5.0)]
    assert [float(p) for p in better] == pytest.approx([1 / (1 + math.exp(-b)) for b in (0, 1, 5)])


def test_extreme_parameters_stay_finite():
    theta = {"alpha": torch.tensor(1.0), "beta": torch.tensor(1e5, requires_grad=True), "lapse": torch.tensor(0.0)}
    value = log_likelihood(Softmax(QLearning(), lapse=True), theta, TEN)
    value.sum().backward()
    assert value.isfinite().all()
    assert theta["beta"].grad.isfinite()
    assert log_likelihood(WinStayLoseShift(), {"epsilon": 0.0}, TEN).isfinite().all()


def test_float32_stays_float32():
    for model in CHOICE_MODELS.values():
        theta = {name: torch.tensor(p.default) for name, p in model.parameters.items()}
        assert log_likelihood(model, theta, TEN).dtype == torch.float32


def two_step_loop(p, record):
    """Probabilities of what was chosen, one subject, decision by decision."""
    first, second, previous, found = [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]], None, []
    for stage, action, reward in record:
        if stage == 0:
            best = [max(pair) for pair in second]
            plan = [0.7 * best[0] + 0.3 * best[1], 0.3 * best[0] + 0.7 * best[1]]
            logits = [p["beta1"] * (p["w"] * plan[a] + (1 - p["w"]) * first[a]) for a in (0, 1)]
            if previous is not None:
                logits[previous] += p["pi"]
            previous = action
        else:
            here = second[stage - 1]
            logits = [p["beta2"] * value for value in here]
            first[previous] += p["alpha1"] * (here[action] - first[previous])
        found.append(softmax(logits)[action])
        if stage:
            here[action] += p["alpha2"] * (reward - here[action])
            first[previous] += p["lambda"] * p["alpha1"] * (reward - here[action])
    return found


def test_the_two_step_hybrid_is_the_naive_loop(generator):
    theta = {"alpha1": 0.4, "beta1": 3.0, "alpha2": 0.6, "beta2": 2.0, "pi": 0.5, "w": 0.7, "lambda": 0.8}
    stage = torch.zeros(40, 2, dtype=torch.int64)
    stage[1::2] = torch.randint(1, 3, (20, 2), generator=generator)
    reward = torch.randint(0, 2, (40, 2), generator=generator) * (stage > 0)
    record = Choices(torch.randint(0, 2, (40, 2), generator=generator), reward.double(), 2, context=stage)
    found = trial_log_likelihood(TwoStepHybrid(), theta, record).exp()
    for s in range(2):
        columns = (record.context[:, s].tolist(), record.action[:, s].tolist(), record.reward[:, s].tolist())
        expected = two_step_loop(theta, list(zip(*columns, strict=True)))
        np.testing.assert_allclose(found[:, s], expected, rtol=1e-12)
    values = [torch.full((2,), v, dtype=torch.float64, requires_grad=True) for v in theta.values()]
    assert torch.autograd.gradcheck(
        lambda *values: log_likelihood(TwoStepHybrid(), dict(zip(theta, values, strict=True)), record), values
    )


def test_bad_models():
    with pytest.raises(ValueError, match="terms: two have a parameter 'Q0'"):
        Softmax(QLearning(), EWA())
    with pytest.raises(ValueError, match="terms: at least one"):
        Softmax()
    with pytest.raises(ValueError, match="choose one"):
        QLearning(forgetting=True, fictitious=True)
    with pytest.raises(ValueError, match=r"Bias\(2\) needs an action of 0 … 1"):
        log_likelihood(Softmax(Bias(2)), {}, TEN)
    with pytest.raises(ValueError, match="context: TwoStepHybrid"):
        log_likelihood(TwoStepHybrid(), {}, TEN)
    with pytest.raises(ValueError, match="actions: the two-step task has 2"):
        nowhere = Choices(TEN.action, TEN.reward, 3, context=torch.zeros_like(TEN.action))
        log_likelihood(TwoStepHybrid(), {}, nowhere)
