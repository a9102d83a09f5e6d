"""How alike student and teacher answer, against a loop over states. Letters: T time, M members, N environments."""

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.experiment import Fidelity, fidelity
from imitate.policies import Greedy
from imitate.teachers import control_law
from tests.oracles import Reach, Walk

M, N, T = 2, 3, 20


def source(env=None):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=0)


def policies(env=None):
    made = [nets.policy(source(env), (8,), seed=seed) for seed in (1, 2)]
    with torch.no_grad():
        for one in made:
            one.head.linear.weight.mul_(100)
    return made


@torch.no_grad()
def test_it_is_a_loop_over_the_states_of_the_driver():
    teacher, student = policies()
    for driver in (teacher, student):
        found = fidelity(source(), teacher, student, driver=driver, steps=T)
        obs = source().collect(Greedy(driver), T).obs
        for member in range(M):
            same, kl = [], []
            for state in obs[:, member].reshape(-1, 2):
                at = state.expand(M, 1, 2)
                p, q = (one.distribution(at).logits[member, 0].double().softmax(-1) for one in (teacher, student))
                same.append(int(p.argmax() == q.argmax()))
                kl.append(float((p * (p.log() - q.log())).sum()))
            assert found.agreement[member] == pytest.approx(np.mean(same), abs=1e-12)
            assert found.kl[member] == pytest.approx(np.mean(kl), rel=1e-4)
    assert 0 < found.agreement.min() < 1


def test_a_teacher_is_its_own_copy():
    teacher, _ = policies()
    found = fidelity(source(), teacher, teacher, driver=teacher, steps=T)
    assert (found.agreement == 1).all() and (found.kl == 0).all()


def test_of_a_box_there_is_no_agreement_and_of_other_kinds_no_divergence():
    teacher, student = policies(Reach())
    found = fidelity(source(Reach()), teacher, student, driver=teacher, steps=T)
    assert found.agreement is None and (found.kl > 0).all()
    squashed = nets.policy(source(Reach()), (8,), squash=True)
    assert fidelity(source(Reach()), teacher, squashed, driver=teacher, steps=T).kl is None


def test_json_has_intervals_inside_of_what_can_be():
    document = Fidelity(np.array([1.0, 0.9]), np.array([0.0, 0.1])).as_json()
    assert document["agreement"] == 0.95 and document["agreement_high"] == 1.0
    assert document["kl"] == 0.05 and document["kl_low"] == 0.0
    assert Fidelity(None, np.array([0.5])).as_json() == dict.fromkeys(
        ("agreement", "agreement_low", "agreement_high", "kl_low", "kl_high")
    ) | {"kl": 0.5}


def test_a_teacher_that_tells_actions_alone_is_refused():
    with pytest.raises(ValueError, match=r"^steps: must be at least 1, not 0"):
        fidelity(source(), control_law("CartPole-v1"), policies()[0], driver=policies()[0], steps=0)
