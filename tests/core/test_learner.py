import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from imitate.core import tree
from imitate.core.learner import Learner, per_member
from imitate.nets.convolution import Conv2d
from imitate.nets.layers import MLP
from tests.oracles import plain_mlp, stream

M, B, F = 3, 8, 5


def population(members=M, seed=0):
    return MLP(members, F, (6,), 2, init=stream(seed))


def batch(members=M, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(members, B, F, generator=generator), torch.randn(members, B, 2, generator=generator)


def regression(module):
    def loss(data):
        x, y = data
        error = (module(x) - y).square().mean((1, 2))
        return error, {"root": error.detach().sqrt()}

    return loss


def only(module, member):
    """A population of one with the weights of one member."""
    alone = population(1)
    with torch.no_grad():
        for mine, all_ in zip(alone.parameters(), module.parameters(), strict=True):
            mine.copy_(all_[member : member + 1])
    return alone


def flat(module, member=0):
    return torch.cat([p[member].flatten() for p in module.parameters()])


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("max_grad_norm", [None, 0.3, 100.0])
def test_a_step_is_that_of_torch(weight_decay, max_grad_norm):
    module = population(1)
    plain = plain_mlp(module, 0)
    learner = Learner(
        [module],
        regression(module),
        lr=3e-2,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        betas=(0.8, 0.95),
    )
    # AdamW without decay is Adam
    optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-2, weight_decay=weight_decay, betas=(0.8, 0.95))
    for i in range(20):
        x, y = batch(1, i)
        metrics = learner((x, y))
        loss = (plain(x[0]) - y[0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), max_grad_norm or float("inf"))
        optimizer.step()
        torch.testing.assert_close(metrics["loss"][0], loss.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(metrics["grad_norm"][0], norm, rtol=1e-5, atol=1e-6)
        if max_grad_norm == 0.3:
            assert norm > max_grad_norm  # the bound does something
    for a, b in zip(plain_mlp(module, 0).parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_adam_is_torchs_adam():
    module = population(1)
    plain = plain_mlp(module, 0)
    learner, optimizer = (
        Learner([module], regression(module), lr=0.05),
        torch.optim.Adam(plain.parameters(), lr=0.05),
    )
    for i in range(20):
        x, y = batch(1, i)
        learner((x, y))
        optimizer.zero_grad()
        (plain(x[0]) - y[0]).square().mean().backward()
        optimizer.step()
    for a, b in zip(plain_mlp(module, 0).parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_population_is_its_members_with_numbers_of_their_own():
    module, lr, decay = population(), (1e-3, 1e-2, 0.1), (0.0, 0.5, 0.1)
    singles = [only(module, m) for m in range(M)]
    together = Learner([module], regression(module), lr=lr, weight_decay=decay, max_grad_norm=0.5)
    alone = [
        Learner([s], regression(s), lr=lr[m], weight_decay=decay[m], max_grad_norm=0.5) for m, s in enumerate(singles)
    ]
    for i in range(20):
        # the gradients of the last member are a thousand times larger: a shared clip would show
        x, y = batch(M, i)
        y = y * torch.tensor([1.0, 1.0, 1000.0]).reshape(M, 1, 1)
        metrics = together((x, y))
        for m in range(M):
            single = alone[m]((x[m : m + 1], y[m : m + 1]))
            for name, value in single.items():
                torch.testing.assert_close(metrics[name][m], value[0], rtol=1e-4, atol=1e-5)
    for m, single in enumerate(singles):
        torch.testing.assert_close(flat(module, m), flat(single), rtol=1e-5, atol=1e-5)


def test_a_learning_rate_changed_in_place_takes_effect():
    module = population()
    before = [flat(module, m).detach().clone() for m in range(M)]
    learner = Learner([module], regression(module), lr=1e-2)
    learner.lr.copy_(torch.tensor([0.0, 1e-2, 1e-2]))
    learner(batch())
    assert torch.equal(flat(module, 0), before[0])
    assert not torch.equal(flat(module, 1), before[1])


class Both(nn.Module):
    """Convolution and linear layers."""

    def __init__(self):
        super().__init__()
        self.convolution = Conv2d(M, 1, 2, 2, 1, init=stream())
        self.head = MLP(M, 2 * 2 * 2, (3,), 2, init=stream(1))

    def forward(self, x):
        return self.head(torch.tanh(self.convolution(x.reshape(M, -1, 1, 3, 3))).flatten(2))


@pytest.mark.parametrize("build", [population, Both])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_member_that_diverges_leaves_the_others_intact(build, poison):
    """Its parameters become NaN; those of the others are, to the bit, what they are without it."""
    width = F if build is population else 9

    def run(poisoned):
        module = build()
        learner = Learner([module], regression(module), lr=1e-2, max_grad_norm=0.5)
        for i in range(3):
            generator = torch.Generator().manual_seed(i)
            x = torch.randn(M, B, width, generator=generator)
            y = torch.randn(M, B, 2, generator=generator)
            if poisoned and i == 1:
                x[1, 2] = poison
                y[1, 3] = poison
            metrics = learner((x, y))
        return module, metrics

    (sick, metrics), (well, _) = run(True), run(False)
    assert not flat(sick, 1).isfinite().any()
    assert not metrics["loss"][1].isfinite()
    for m in (0, 2):
        assert flat(sick, m).isfinite().all()
        assert torch.equal(flat(sick, m), flat(well, m))


def test_several_modules_are_clipped_together():
    one, two = population(1), population(1, seed=1)

    def loss(data):
        error = (one(data[0]) + two(data[0]) - data[1]).square().sum((1, 2))
        return error, {}

    learner = Learner([one, two], loss, lr=0.1, max_grad_norm=1.0)
    data = batch(1)
    expected = torch.autograd.grad(loss(data)[0].sum(), [*one.parameters(), *two.parameters()])
    metrics = learner(data)
    torch.testing.assert_close(metrics["grad_norm"][0], torch.cat([g.flatten() for g in expected]).norm())
    # the first moment is (1 − β₁) times the clipped gradient: of norm 1 over both modules
    torch.testing.assert_close(learner.mean.norm(), torch.tensor(0.1), rtol=1e-4, atol=0)


def test_a_layer_of_two_modules_is_trained_once():
    shared = population(1)
    wrapped = nn.ModuleList([shared])
    twin = population(1)
    learner = Learner([shared, wrapped], regression(shared), lr=0.1, max_grad_norm=0.1)
    reference = Learner([twin], regression(twin), lr=0.1, max_grad_norm=0.1)
    for i in range(3):
        a, b = learner(batch(1, i)), reference(batch(1, i))
    assert torch.equal(flat(shared), flat(twin))
    assert torch.equal(a["grad_norm"], b["grad_norm"])


def test_parameters_of_one_number_a_member_and_unused_ones():
    class Scalar(nn.Module):
        def __init__(self):
            super().__init__()
            self.temperature = nn.Parameter(torch.tensor([1.0, 2.0]))
            self.unused = nn.Parameter(torch.ones(2, 3))

    module = Scalar()
    learner = Learner([module], lambda _: (module.temperature.square(), {}), lr=0.1)
    learner(None)
    torch.testing.assert_close(module.temperature.detach(), torch.tensor([0.9, 1.9]))
    assert torch.equal(module.unused, torch.ones(2, 3))


def test_a_loss_that_is_not_one_number_a_member_is_refused():
    module = population()
    for loss in (lambda d: (module(d[0]).mean((1, 2)).mean(), {}), lambda d: (module(d[0]).mean(2), {})):
        with pytest.raises(ValueError, match="each of the 3 members"):
            Learner([module], loss, lr=0.1)(batch())


def test_the_learner_works_on_the_modules_own_parameters():
    module = population()
    learner = Learner([module], regression(module), lr=0.1)
    storage = learner.flat.untyped_storage().data_ptr()
    assert all(p.untyped_storage().data_ptr() == storage for p in module.parameters())
    assert torch.equal(learner.flat[1], flat(module, 1))
    with torch.no_grad():  # whoever loads weights afterwards loads them into the learner too
        module.load_state_dict(population(seed=9).state_dict())
    assert torch.equal(learner.flat[1], flat(population(seed=9), 1))


def test_state_dict_resumes_bit_for_bit():
    module = population()
    learner = Learner([module], regression(module), lr=1e-2, max_grad_norm=0.5)
    for i in range(5):
        learner(batch(seed=i))
    learner.lr.mul_(0.5)
    learning = tree.map(torch.clone, learner.state_dict())
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    for i in range(5, 10):
        learner(batch(seed=i))

    other = population(seed=4)
    resumed = Learner([other], regression(other), lr=1.0, max_grad_norm=0.5)
    other.load_state_dict(weights)
    resumed.load_state_dict(learning)
    assert resumed.lr.tolist() == [1.0] * M  # the rate is the run's, not the file's
    resumed.lr.copy_(learner.lr)
    for i in range(5, 10):
        resumed(batch(seed=i))
    assert torch.equal(resumed.flat, learner.flat)
    assert torch.equal(resumed.mean, learner.mean)


def test_state_of_another_size_is_refused():
    one, three = population(1), population(3)
    with pytest.raises(RuntimeError, match=r"\(3, "):
        Learner([one], regression(one), lr=0.1).load_state_dict(
            Learner([three], regression(three), lr=0.1).state_dict()
        )


def test_per_member():
    assert per_member(0.5, "lr", 3).tolist() == [0.5] * 3
    assert per_member((1.0, 2.0, 3.0), "lr", 3).tolist() == [1, 2, 3]
    single = per_member(0.5, "lr", 2)
    single[0] = 9  # not a view of one number
    assert single.tolist() == [9, 0.5]
    for wrong in ((1.0, 2.0), (1.0,), ((1.0, 2.0, 3.0),)):
        with pytest.raises(ValueError, match=r"gamma.*for 3 members"):
            per_member(wrong, "gamma", 3)


# Whose parameters they are


@pytest.mark.parametrize("members", [1, M])
def test_a_second_learner_of_the_same_parameters_moves_them_too(members):
    """Two optimisers take turns on one network, as those of torch do; each has moments of its own."""
    module = population(members)
    plain = [plain_mlp(module, m) for m in range(members)]
    learners = [
        Learner([module], regression(module), lr=3e-2),
        Learner([module], regression(module), lr=1e-2, betas=(0.5, 0.9)),
    ]
    assert learners[0].flat.data_ptr() == learners[1].flat.data_ptr()
    optimizers = [
        [torch.optim.Adam(p.parameters(), lr=3e-2), torch.optim.Adam(p.parameters(), lr=1e-2, betas=(0.5, 0.9))]
        for p in plain
    ]
    for i in range(12):
        turn, (x, y) = i % 3 % 2, batch(members, i)
        learners[turn]((x, y))
        for m, network in enumerate(plain):
            optimizers[m][turn].zero_grad()
            (network(x[m]) - y[m]).square().mean().backward()
            optimizers[m][turn].step()
    for m, network in enumerate(plain):
        torch.testing.assert_close(flat(module, m), flat_of(network), rtol=1e-5, atol=1e-6)
    assert [int(learner.count) for learner in learners] == [8, 4]


def flat_of(network):
    """Parameters of a plain network in the order of a population's, whose weights are transposed."""
    return torch.cat([(p.T if p.dim() == 2 else p).flatten() for p in network.parameters()])


@pytest.mark.parametrize("members", [1, M])
def test_a_second_learner_of_some_of_the_parameters_leaves_the_others(members):
    module = population(members)
    last = module.layers[-1]
    whole = Learner([module], regression(module), lr=1e-2)
    some = Learner([last], regression(module), lr=0.1)
    before = [p.detach().clone() for p in module.parameters()]
    some(batch(members))
    after = list(module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before[:-2], after[:-2], strict=True))
    for a, b in zip(before[-2:], after[-2:], strict=True):
        torch.testing.assert_close((a - b).abs(), torch.full_like(a, 0.1), rtol=1e-3, atol=0)  # Adam's first step
    assert torch.equal(whole.flat, torch.cat([p.detach().reshape(members, -1) for p in after], 1))
    whole(batch(members, 1))  # it still moves them all
    assert torch.equal(some.flat, torch.cat([p.detach().reshape(members, -1) for p in last.parameters()], 1))


@pytest.mark.parametrize("members", [1, 2])
def test_one_parameter_alone_has_two_learners(members):
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = nn.Parameter(torch.ones(members, 1))

    module = Temperature()
    learners = [Learner([module], lambda _: (module.log.squeeze(1), {}), lr=0.1) for _ in range(2)]
    for i in range(4):
        learners[i % 2](None)
    torch.testing.assert_close(module.log.detach(), torch.full((members, 1), 0.6))


def test_parameters_that_share_their_numbers_are_laid_out_anew():
    """Members that begin as one number, by `expand`, become numbers of their own."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.ones(1, 2).expand(3, 2))

    module = Shared()
    learner = Learner([module], lambda _: (module.x.sum(1), {}), lr=(0.1, 0.2, 0.3))
    learner(None)
    torch.testing.assert_close(module.x.detach()[:, 0], torch.tensor([0.9, 0.8, 0.7]))


MOVED = "learner: its parameters were moved away"


def test_a_learner_whose_parameters_were_laid_out_anew_says_so():
    one, two = population(), population(seed=1)

    def loss(data):
        return (one(data[0]) + two(data[0]) - data[1]).square().mean((1, 2)), {}

    former = Learner([one, two], loss, lr=0.1)
    former(batch())
    before, moments = flat(one).detach().clone(), former.mean.clone()
    later = Learner([two, one], loss, lr=0.1)  # in another order: they cannot stay where they are
    assert torch.equal(flat(one), before)
    with pytest.raises(RuntimeError, match=MOVED):
        former(batch())
    assert torch.equal(flat(one), before) and torch.equal(former.mean, moments)
    later(batch())
    assert not torch.equal(flat(one), before)


def test_a_learner_of_more_modules_takes_the_parameters_over():
    one, two = population(), population(seed=1)
    alone = Learner([one], regression(one), lr=0.1)

    def loss(data):
        return (one(data[0]) + two(data[0]) - data[1]).square().mean((1, 2)), {}

    Learner([one, two], loss, lr=0.1)(batch())
    with pytest.raises(RuntimeError, match=MOVED):
        alone(batch())


def zero_(x):
    return nn.Parameter(torch.zeros_like(x))


CHANGES = {
    "another type": lambda m: m.double(),
    "another type and back": lambda m: m.to(torch.float64).float(),
    "another device": lambda m: m.to("meta"),
    "its memory": lambda m: setattr(m.layers[0].weight, "data", m.layers[0].weight.detach().clone()),
    "assigned": lambda m: setattr(m.layers[0], "weight", zero_(m.layers[0].weight)),
    "assigned by a file": lambda m: m.load_state_dict(population(seed=9).state_dict(), assign=True),
    "another layer": lambda m: m.layers.__setitem__(1, population(seed=9).layers[1]),
    "one more": lambda m: m.register_parameter("more", nn.Parameter(torch.zeros(M, 1))),
    "one more layer": lambda m: m.layers.append(population().layers[1]),
    "one less": lambda m: delattr(m.layers[0], "bias"),
    "one switched off": lambda m: setattr(m.layers[0], "bias", None),
    "frozen": lambda m: m.layers[0].requires_grad_(False),
    "thawed": lambda m: m.layers[1].bias.requires_grad_(True),
    "parametrised": lambda m: parametrize.register_parametrization(m.layers[0], "weight", nn.Tanh()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("written", [False, True])
def test_a_learner_whose_parameters_were_changed_says_so(change, written):
    module = population()
    module.layers[1].bias.requires_grad_(False)

    def gradient(data):
        return torch.zeros(M), {}, [torch.zeros_like(p) for p in learner.parameters]

    learner = Learner([module], regression(module), gradient=gradient if written else None, lr=0.1)
    learner(batch())
    learner.loss = learner.gradient = lambda data: pytest.fail("it went on")
    change(module)
    with pytest.raises(RuntimeError, match=MOVED):
        learner(batch())


def test_a_copy_of_a_learner_has_no_parameters_to_move():
    module = population()
    copied = copy.deepcopy(Learner([module], regression(module), lr=0.1))
    with pytest.raises(RuntimeError, match=MOVED):
        copied(batch())


def test_what_leaves_parameters_in_place_is_no_move():
    module = population()
    learner = Learner([module], regression(module), lr=0.1)
    module.to("cpu").float().requires_grad_(True).eval().share_memory()
    module.load_state_dict(population(seed=9).state_dict())
    before = flat(module).detach().clone()
    learner(batch())
    assert not torch.equal(flat(module), before)


def test_a_copy_of_a_network_has_parameters_of_its_own():
    module = population()
    learner = Learner([module], regression(module), lr=0.1)
    copied = copy.deepcopy(module)
    before = flat(copied).detach().clone()
    other = Learner([copied], regression(copied), lr=0.1)
    learner(batch())
    assert torch.equal(flat(copied), before)
    other(batch())
    torch.testing.assert_close(flat(copied), flat(module))
