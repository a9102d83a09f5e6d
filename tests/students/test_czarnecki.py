"""The rows of Czarnecki's table: which expected updates are gradients, of what, and the algorithm that takes the rows.

The exact part enumerates every trajectory of a small MDP in float64.
Letters: T time, K trajectories, S states, A actions.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch

import imitate
from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical
from imitate.losses import cross_entropy, lambda_returns, reverse_cross_entropy
from imitate.rewards import Labelled
from imitate.students import (
    EXPECTED_ENTROPY,
    N_DISTILL,
    ON_POLICY,
    ROWS,
    TEACHER_DRIVEN,
    TEACHER_VALUE,
    ActorCriticDistillation,
    ActorCriticDistillationConfig,
    Row,
)
from imitate_envs import GridWorld
from tests.oracles import Reach, Walk, plain_mlp

S, A, T = 5, 3, 3
STEP = 1e-4  # of central differences: they err by STEP² ≈ 1e-8 times third derivatives, and by 1e-12 of rounding


class Mdp:
    """A random MDP of T steps from state 0, all its trajectories, and a teacher with any values."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.transition, self.reward = draw(S, A, S).softmax(-1), draw(S, A)
        self.teacher, self.value, self.student = draw(S, A), draw(S), draw(S, A)
        walks = torch.tensor(list(product(range(A), range(S), repeat=T)))  # a₀ s₁ a₁ s₂ a₂ s₃
        self.action, self.after = walks[:, 0::2].T, walks[:, 1::2].T  # [T, K]
        self.state = torch.cat([torch.zeros(1, len(walks), dtype=torch.long), self.after[:-1]])

    def probability(self, logits):
        """P(trajectory) [K] where a policy acts."""
        chosen = logits.log_softmax(-1)[self.state, self.action]
        return (chosen + self.transition.log()[self.state, self.action, self.after]).sum(0).exp()

    def labelled(self, logits):
        """Every step of every trajectory, [T, K]."""
        return Labelled(
            Categorical(self.teacher[self.state]),
            Categorical(logits[self.state]),
            self.teacher.log_softmax(-1)[self.state, self.action],
            logits.log_softmax(-1)[self.state, self.action].detach(),
            self.reward[self.state, self.action],
            torch.ones(self.state.shape, dtype=torch.float64),
            self.value[self.state],
            self.value[self.after],
        )

    def update(self, row, logits, weight=0.0, later=False):
        """E_q[Σ_t −∇log π_θ R̂_t + ∇ℓ], [S, A]; with `later` r̂ is that of the next state, as the table writes it."""
        logits = logits.detach().requires_grad_()
        step, zero = self.labelled(logits), torch.zeros(self.state.shape, dtype=torch.float64)
        reward = weight * step.reward + (zero if row.reward is None else row.reward(step))
        if later:
            reward = torch.cat([reward[1:], zero[:1]])  # behind the last step nothing is lost
        returns = lambda_returns(reward, zero + 1, zero, zero + 1).detach()
        loss = -step.student.log_prob(self.action) * returns
        if row.loss is not None:
            loss = loss + row.loss(step.teacher, step.student, 1.0)
        weight = self.probability(self.teacher if row.teacher_acts else logits).detach()
        return torch.autograd.grad((weight * loss).sum(), logits)[0]

    def asymmetry(self, *what, **how):
        """The largest |∂g_i/∂θ_j − ∂g_j/∂θ_i|: 0 where the update g is the gradient of anything."""
        row, *rest = what
        columns = []
        for i in range(S * A):
            by = torch.zeros(S * A, dtype=torch.float64)
            by[i] = STEP
            up, down = (self.update(row, self.student + sign * by.view(S, A), *rest, **how) for sign in (1, -1))
            columns.append(((up - down) / (2 * STEP)).flatten())
        jacobian = torch.stack(columns, 1)
        assert jacobian.abs().max() > 0.01
        return (jacobian - jacobian.T).abs().max().item()

    def objective(self, logits, cost, drives=None):
        """E[Σ_t cost(s_t, a_t, s_{t+1})] from the distribution of states, without trajectories; cost is [S, A, S]."""
        policy = (logits if drives is None else drives).softmax(-1)
        total, at = torch.zeros((), dtype=torch.float64), torch.eye(S, dtype=torch.float64)[0]
        for _ in range(T):
            flow = at[:, None, None] * policy[:, :, None] * self.transition
            total, at = total + (flow * cost).sum(), flow.sum((0, 1))
        return total


def each_state(values):
    """[S] -> [S, A, S]"""
    return values[:, None, None].expand(S, A, S)


def objectives(mdp, logits):
    """What each row that is a gradient is the gradient of, written down from its definition."""
    log_teacher, log_student = mdp.teacher.log_softmax(-1), logits.log_softmax(-1)
    forward = each_state(-(log_teacher.exp() * log_student).sum(-1))
    backward = each_state(-(log_student.exp() * log_teacher).sum(-1))
    better = mdp.reward[:, :, None] + mdp.value[None, None, :] - mdp.value[:, None, None]
    return {
        "teacher-driven": mdp.objective(logits, forward, mdp.teacher),
        "entropy": mdp.objective(logits, backward),
        "n-distill": mdp.objective(logits, forward),
        "expected-entropy": mdp.objective(logits, backward),
        "teacher-value": mdp.objective(logits, -better),
    }


def test_trajectories_are_all_there():
    mdp = Mdp()
    for logits in (mdp.teacher, mdp.student):
        assert mdp.probability(logits).sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "on-policy"])
def test_the_expected_update_is_the_gradient_of_its_objective(name):
    mdp = Mdp()
    logits = mdp.student.clone().requires_grad_()
    (expected,) = torch.autograd.grad(objectives(mdp, logits)[name], logits)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(mdp.update(ROWS[name], mdp.student), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ROWS)
def test_which_rows_are_gradients(name, seed):
    """The Jacobian of the expected update is symmetric to 1e-6 where the paper says so, and far from it where not."""
    found = Mdp(seed).asymmetry(ROWS[name])
    if name == "on-policy":
        assert found > 0.01
    else:
        assert found < 1e-6


def test_the_environments_reward_adds_its_own_gradient():
    mdp = Mdp()
    logits = mdp.student.clone().requires_grad_()
    reward = mdp.objective(logits, -mdp.reward[:, :, None].expand(S, A, S))
    (expected,) = torch.autograd.grad(0.5 * reward, logits)
    for name in ("on-policy", "n-distill", "expected-entropy"):
        difference = mdp.update(ROWS[name], mdp.student, 0.5) - mdp.update(ROWS[name], mdp.student)
        torch.testing.assert_close(difference, expected, rtol=0, atol=1e-12)
    assert mdp.asymmetry(EXPECTED_ENTROPY, 0.5) < 1e-6 and mdp.asymmetry(ON_POLICY, 0.5) > 0.01


@pytest.mark.parametrize("row", [N_DISTILL, EXPECTED_ENTROPY])
def test_the_reward_of_this_state_and_of_the_next_one_expect_the_same(row):
    """The table writes −ℓ(s_{t+1}); −ℓ(s_t) adds what does not depend on the action."""
    mdp = Mdp()
    torch.testing.assert_close(
        mdp.update(row, mdp.student), mdp.update(row, mdp.student, later=True), rtol=0, atol=1e-12
    )


def test_entropy_and_expected_entropy_expect_the_same_and_differ_in_variance():
    mdp, spread = Mdp(), {}
    sampled, expected = (mdp.update(ROWS[name], mdp.student) for name in ("entropy", "expected-entropy"))
    torch.testing.assert_close(sampled, expected, rtol=0, atol=1e-12)
    for name in ("entropy", "expected-entropy"):  # of the update of a single step, so that nothing follows
        step, row = mdp.labelled(mdp.student), ROWS[name]
        probability = mdp.probability(mdp.student)
        logits = mdp.student[0].expand(len(probability), A).clone().requires_grad_()
        student = Categorical(logits)
        baseline = (probability * row.reward(step)[0]).sum()
        loss = -student.log_prob(mdp.action[0]) * (row.reward(step)[0] - baseline)
        if row.loss is not None:
            loss = loss + row.loss(Categorical(mdp.teacher[0].expand(len(probability), A)), student, 1.0)
        (each,) = torch.autograd.grad(loss.sum(), logits)
        mean = (probability[:, None] * each).sum(0)
        spread[name] = (probability[:, None] * (each - mean).square()).sum().item()
    assert spread["expected-entropy"] < 1e-12 < 0.01 < spread["entropy"]


def test_reverse_cross_entropy_is_its_definition():
    teacher, student = Categorical(torch.randn(7, 4).double()), Categorical(torch.randn(7, 4).double())
    for temperature in (1.0, 0.5, 2.0):
        q, p = (d.logits.div(temperature).log_softmax(-1) for d in (teacher, student))
        expected = -(temperature**2) * (p.exp() * q).sum(-1)
        torch.testing.assert_close(reverse_cross_entropy(teacher, student, temperature), expected)
    torch.testing.assert_close(reverse_cross_entropy(teacher, student), cross_entropy(student, teacher))


# The algorithm

M, N = 2, 4
SMALL = ActorCriticDistillationConfig(steps=160, rollout=5, lr=1e-2, critic_lr=1e-2, lam=0.8, gamma=0.9)


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def teacher_of(place):
    teacher = nets.policy(place, (8,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    return teacher


def made(config=SMALL, row=EXPECTED_ENTROPY, members=M, env=None, value=lambda obs: obs[..., 0], **student):
    place = source(env, members)
    pupil = nets.policy(place, (8,), seed=1, **student)
    return ActorCriticDistillation(place, teacher_of(place), pupil, config, row=row, value=value)


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_a_step_is_the_textbooks(name, gate):
    """Loops over steps, plain layers, torch's Adam: the student and the critics after one step, one member."""
    row, reward = ROWS[name], 0.0 if ROWS[name].teacher_acts else 0.7
    distillation = made(replace(SMALL, reward=reward, gate=gate, max_grad_norm=0.3), row, members=1)
    student, teacher = plain_mlp(distillation.policy, 0), distillation.teacher
    critics = {key: plain_mlp(critic, 0) for key, critic in distillation.critics.items()}  # copies of now
    seen = []
    collect = distillation.source.collect
    distillation.source.collect = lambda policy, steps: seen.append((policy, collect(policy, steps))) or seen[-1][1]
    distillation.step()
    (driver, rollout), gamma, lam = seen[0], SMALL.gamma, SMALL.lam
    assert driver is distillation.driver  # a teacher sees past any view
    assert (driver.policy is teacher) if row.teacher_acts else (driver is distillation.policy)

    def value(key, obs):
        return critics[key](obs).item()

    losses = []
    for n in range(N):
        returns = None
        for t in reversed(range(SMALL.rollout)):
            obs, action, after = rollout.obs[t, 0, n], rollout.action[t, 0, n], rollout.next_obs[t, 0, n]
            p = teacher.distribution(obs.view(1, 1, -1)).logits[0, 0].log_softmax(-1).detach()
            q = student(obs).log_softmax(-1)
            g = 1.0 if not gate else float(obs[0] > value("gate", obs))
            ends = bool(rollout.terminated[t, 0, n])
            forward, backward = -(p.exp() * q).sum(), -(q.exp() * p).sum()
            ahead = 0.0 if ends else gamma
            earned = rollout.reward[t, 0, n].item()
            own = {
                "entropy": p[action],
                "n-distill": -forward,
                "expected-entropy": -backward,
                "teacher-value": earned + ahead * after[0] - obs[0],
            }.get(name, torch.tensor(0.0))
            r = reward * earned + g * own.item()
            loss = torch.tensor(0.0)
            if "returns" in critics:
                keep = 0.0 if t == SMALL.rollout - 1 or rollout.truncated[t, 0, n] else lam
                bootstrap = value("returns", after)
                returns = r + ahead * ((1 - keep) * bootstrap + keep * (returns if keep else 0.0))
                loss = loss - q[action] * (returns - value("returns", obs))
            losses.append(loss + g * {cross_entropy: forward, reverse_cross_entropy: backward}.get(row.loss, 0.0))
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    torch.stack(losses).mean().backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 0.3)
    optimizer.step()
    for mine, theirs in zip(plain_mlp(distillation.policy, 0).parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)
    assert set(critics) == ({"returns"} if row.reward or reward else set()) | ({"gate"} if gate else set())
    assert int(distillation.progress.labels[0]) == SMALL.rollout * N


@pytest.mark.parametrize("name", ["teacher-driven", "on-policy", "n-distill", "expected-entropy"])
def test_the_student_comes_to_do_as_its_teacher(name):
    distillation = made(replace(SMALL, steps=6_000, gamma=0.0), ROWS[name])
    first = distillation.step()
    while not distillation.progress.finished:
        last = distillation.step()
    assert (last["agreement"] > first["agreement"] + 0.1).all()
    assert (last["agreement"] >= 0.85).all()


def test_members_learn_as_they_would_alone():
    both = made(replace(SMALL, reward=1.0, gate=True))
    obs = torch.randn(M, 9, 2, generator=torch.Generator().manual_seed(0))
    rollouts = [both.source.collect(both.driver, SMALL.rollout).clone() for _ in range(3)]
    both.source.collect = lambda policy, steps: rollouts[both.progress.steps // 20]
    members = []
    for m in range(M):
        alone = made(replace(SMALL, reward=1.0, gate=True), members=1)
        for mine, theirs in ((alone.policy, both.policy), (alone.critics, both.critics), (alone.teacher, both.teacher)):
            mine.load_state_dict({key: value[m : m + 1] for key, value in theirs.state_dict().items()})
        own = [imitate.core.tree.map(lambda x, m=m: x[:, m : m + 1], one) for one in rollouts]
        alone.source.collect = lambda policy, steps, own=own, alone=alone: own[alone.progress.steps // 20]
        members.append(alone)
    for learner in (both, *members):
        for _ in range(3):
            learner.step()
    together = both.policy.distribution(obs).logits
    for m, alone in enumerate(members):
        torch.testing.assert_close(
            alone.policy.distribution(obs[m : m + 1]).logits[0], together[m], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ROWS)
def test_continuous_actions(name):
    metrics = made(replace(SMALL, reward=0.0 if ROWS[name].teacher_acts else 1.0), ROWS[name], env=Reach()).step()
    assert all(value.shape == (M,) and value.isfinite().all() for value in metrics.values())


def test_rows_of_ones_own():
    """KL in place of the cross-entropy: both of its forms have the gradient of E Σ KL(π_θ ‖ π), and are learnt from."""
    sampled = Row(reward=lambda step: step.log_prob - step.student_log_prob)
    expected = Row(imitate.losses.reverse_kl, lambda step: -imitate.losses.reverse_kl(step.teacher, step.student))
    mdp = Mdp()
    logits = mdp.student.clone().requires_grad_()
    kl = (logits.softmax(-1) * (logits.log_softmax(-1) - mdp.teacher.log_softmax(-1))).sum(-1)
    (gradient,) = torch.autograd.grad(mdp.objective(logits, each_state(kl)), logits)
    for row in (sampled, expected):
        torch.testing.assert_close(mdp.update(row, mdp.student), gradient, rtol=0, atol=1e-12)
        assert made(row=row).step()["loss"].isfinite().all()


def test_a_teacher_that_knows_its_choices_worth_needs_no_value():
    place = source(GridWorld(max_steps=9))
    planner, config = imitate.teachers.planner(place.env), replace(SMALL, reward=1.0, gate=True)
    obs = torch.arange(25).view(1, 25)
    assert torch.equal(planner.action_values(obs).amax(-1), planner.values)
    learnt = [
        ActorCriticDistillation(place, planner, nets.policy(place, ()), config, row=ON_POLICY, value=value)
        for place, value in ((source(GridWorld(max_steps=9)), v) for v in (None, lambda obs: planner.values[0][obs]))
    ]
    for one in learnt:
        one.step()
    for mine, theirs in zip(*(one.policy.parameters() for one in learnt), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Row(), "loss: with neither a loss nor a reward"),
        (lambda: replace(N_DISTILL, teacher_acts=True), "reward: no policy gradient of the student"),
        (lambda: made(replace(SMALL, reward=1.0), TEACHER_DRIVEN), "reward: the teacher acts in this row"),
        (lambda: made(replace(SMALL, gate=True), value=None), "teacher: a Actor knows no values"),
        (lambda: made(row=TEACHER_VALUE, value=None), "teacher: a Actor knows no values"),
        (lambda: made(replace(SMALL, reward=-1.0)), "reward: must be at least 0"),
        (lambda: made(replace(SMALL, reward=(1.0, 1.0, 1.0))), "reward: 3 values for 2 members"),
        (lambda: made(replace(SMALL, lam=1.5)), "lam: must be in"),
        (lambda: made(gru=3), "student: it has a memory"),
        (lambda: made(env=Reach(), squash=True).step(), "teacher: its answers are Normal"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
