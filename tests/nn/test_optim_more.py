"""Optimizers beyond SGD and Adam, and what all optimizers share: options, groups, names, hooks, states."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import every

import fastconv as fc
from fastconv import nn, optim
from fastconv.backends.common.optimizers import COUNTS, NUMBERS, RULES, STATES

SHAPES = [(3, 2, 3, 3), (5, 4), (7,), ()]

OPTIMIZERS = [
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "maximize": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {"amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "alpha": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.8, "lr": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "betas": (0.8, 0.9), "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "betas": (0.8, 0.9), "maximize": True}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.9)}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 10, "weight_decay": 0.1, "maximize": True}),
]
EVERY = sorted({name for name, _ in OPTIMIZERS})


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def start(dtype=np.float64):
    rng = np.random.default_rng(3)
    return [rng.standard_normal(s).astype(dtype) for s in SHAPES]


def gradients(step, dtype=np.float64):
    rng = np.random.default_rng(100 + step)
    found = [rng.standard_normal(s).astype(dtype) for s in SHAPES]
    found[1][step % 5] = 0  # Rprop and RAdam decide by such
    return found


def parameters(lib, arrays):
    return [lib.tensor(a, requires_grad=True) for a in arrays]


def advance(lib, opt, params, steps, dtype=np.float64):
    """Steps in which the last parameter takes part from step 2 on, so that its count differs."""
    for step in steps:
        for i, (p, g) in enumerate(zip(params, gradients(step, dtype))):
            p.grad = None if i == len(params) - 1 and step < 2 else lib.tensor(g)
        opt.step()


# PyTorch keeps the counters of ASGD and NAdam (eta, mu, mu_product) in float32.
def same(mine, theirs, rtol=1e-6, atol=1e-7):
    for p, q in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype, rtol, atol", every([(np.float64, 1e-6, 1e-7), (np.float32, 1e-5, 1e-5)], 2))
@pytest.mark.parametrize("name, options", every(OPTIMIZERS, 2))
def test_50_steps_like_torch(torch, backend, name, options, dtype, rtol, atol):
    mine, theirs = parameters(fc, start(dtype)), parameters(torch, start(dtype))
    opt, ref = getattr(optim, name)(mine, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(50):
        advance(fc, opt, mine, [step], dtype)
        advance(torch, ref, theirs, [step], dtype)
    same(mine, theirs, rtol, atol)
    assert all(p.dtype == dtype for p in mine)


@pytest.mark.parametrize("name, options", OPTIMIZERS)
@pytest.mark.parametrize("file", [False, True])
def test_an_optimizer_of_torch_goes_on_here(torch, tmp_path, name, options, file):
    theirs = parameters(torch, start())
    ref = getattr(torch.optim, name)(theirs, **options)
    advance(torch, ref, theirs, range(4))
    mine = parameters(fc, [p.detach().numpy() for p in theirs])
    opt = getattr(optim, name)(mine, lr=0.5)
    state = ref.state_dict()
    if file:
        torch.save(state, tmp_path / "opt.pth")
        state = fc.load(tmp_path / "opt.pth")
    opt.load_state_dict(state)
    advance(torch, ref, theirs, range(4, 9))
    advance(fc, opt, mine, range(4, 9))
    same(mine, theirs)


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_an_optimizer_from_here_goes_on_in_torch(torch, name, options):
    mine = parameters(fc, start())
    opt = getattr(optim, name)(mine, **options)
    advance(fc, opt, mine, range(4))
    theirs = parameters(torch, [p.numpy() for p in mine])
    ref = getattr(torch.optim, name)(theirs, **options)
    state = opt.state_dict()
    state["state"] = {
        i: {k: torch.tensor(v.numpy()) if isinstance(v, fc.Tensor) else v for k, v in entries.items()}
        for i, entries in state["state"].items()
    }
    ref.load_state_dict(state)
    advance(torch, ref, theirs, range(4, 9))
    advance(fc, opt, mine, range(4, 9))
    same(mine, theirs)


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_a_saved_state_continues_to_the_same_bits(tmp_path, name, options):
    params = parameters(fc, start(np.float32))
    opt = getattr(optim, name)(params, **options)
    advance(fc, opt, params, range(4), np.float32)
    fc.save(opt.state_dict(), tmp_path / "opt.npz")
    again = parameters(fc, [p.numpy().copy() for p in params])
    other = getattr(optim, name)(again, lr=0.9)
    other.load_state_dict(fc.load(tmp_path / "opt.npz"))
    advance(fc, opt, params, range(4, 8), np.float32)
    advance(fc, other, again, range(4, 8), np.float32)
    for p, q in zip(params, again):
        assert np.array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("name", EVERY)
def test_signatures_are_those_of_torch(torch, name):
    ours, theirs = (inspect.signature(getattr(lib, name)).parameters for lib in (optim, torch.optim))
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


@pytest.mark.parametrize("name", EVERY)
def test_switches_of_torch(name):
    """foreach and fused do nothing; what would have a meaning is refused."""
    make, w = getattr(optim, name), fc.zeros(2, requires_grad=True)
    usual = inspect.signature(make).parameters
    for key in {"foreach", "fused"} & set(usual):
        for value in (None, False, True):
            make([w], **{key: value})
    for key in {"capturable", "differentiable"} & set(usual):
        make([w], **{key: False})
        with pytest.raises(ValueError, match=f"{name}: {key}=True is not supported; leave it out"):
            make([w], **{key: True})


def test_the_table():
    """The kernels have room for every rule."""
    assert max(RULES.values()) == STATES
    assert max(COUNTS.values()) == NUMBERS + 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_settings_like_torch(data):
    """Any optimizer with any settings, over groups, on parameters of any shape and order in memory."""
    torch = pytest.importorskip("torch")
    name, _ = data.draw(st.sampled_from(OPTIMIZERS))
    share, small = st.floats(0, 0.99), st.floats(0, 0.2)
    strategies = {
        "lr": st.floats(1e-4, 0.5),
        "momentum": share,
        "dampening": share,
        "weight_decay": small,
        "eps": st.floats(1e-8, 1e-2),
        "betas": st.tuples(share, share),
        "alpha": share,
        "rho": share,
        "lr_decay": small,
        "momentum_decay": small,
        "lambd": small,
        "t0": st.floats(0, 10),
        "etas": st.tuples(st.floats(0.1, 0.9), st.floats(1.1, 2)),
        "maximize": st.booleans(),
        "amsgrad": st.booleans(),
        "centered": st.booleans(),
        "decoupled_weight_decay": st.booleans(),
    }
    known = [k for k in inspect.signature(getattr(optim, name)).parameters if k in strategies]
    options = [
        {k: data.draw(strategies[k]) for k in data.draw(st.lists(st.sampled_from(known), unique=True))}
        for _ in range(2)
    ]
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    arrays = [rng.standard_normal(shape), rng.standard_normal(shape[::-1]).T]

    def train(lib, make):
        params = parameters(lib, [a.copy() for a in arrays])
        opt = make([{"params": [p], **o} for p, o in zip(params, options)])
        draw = np.random.default_rng(1)
        for _ in range(6):
            for p in params:
                p.grad = lib.tensor(draw.standard_normal(tuple(p.shape)))
            opt.step()
        return params

    with np.errstate(all="ignore"):
        mine = train(fc, getattr(optim, name))
    theirs = train(torch, getattr(torch.optim, name))
    # a centred variance of nearly nothing is a difference of nearly equal numbers
    loose = any(o.get("centered") for o in options)
    for p, q in zip(mine, theirs):
        a, b = p.numpy(), q.detach().numpy()
        fine = np.isfinite(b) & (np.abs(b) < 1e6)
        np.testing.assert_allclose(
            a[fine], b[fine], rtol=1e-3 if loose else 1e-6, atol=1e-6 if loose else 1e-7
        )


# ------------------------------------------------------------------------------------------------- groups
@pytest.mark.parametrize("name", EVERY)
def test_groups_with_options_of_their_own_like_torch(torch, name):
    def train(lib, make):
        params = parameters(lib, start())
        opt = make([{"params": params[:1]}, {"params": params[1], "lr": 0.3, "maximize": True}], lr=0.1)
        opt.add_param_group({"params": params[2:], "lr": 0.05})
        advance(lib, opt, params, range(5))
        return params, opt

    mine, opt = train(fc, getattr(optim, name))
    theirs, ref = train(torch, getattr(torch.optim, name))
    same(mine, theirs)
    shared = opt.defaults.keys() & ref.defaults.keys()
    assert set(ref.defaults) - shared <= {"foreach", "fused", "capturable", "differentiable"}
    for g, h in zip(opt.param_groups, ref.param_groups):
        assert {k: g[k] for k in shared} == {k: h[k] for k in shared}


def test_named_parameters(torch):
    net, twin = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    opt, ref = optim.SGD(net.named_parameters(), lr=0.1), torch.optim.SGD(twin.named_parameters(), lr=0.1)
    assert opt.param_groups[0]["param_names"] == ref.param_groups[0]["param_names"] == ["weight", "bias"]
    assert [p is q for p, q in zip(opt.param_groups[0]["params"], net.parameters())] == [True, True]
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    opt.add_param_group({"params": [("more", fc.zeros(2))]})
    assert opt.param_groups[1]["param_names"] == ["more"]
    with pytest.raises(ValueError, match="SGD: some parameters have names and others have none"):
        opt.add_param_group({"params": [fc.zeros(2)]})
    with pytest.raises(ValueError, match="some parameters have names"):
        optim.SGD([("a", fc.zeros(2)), fc.zeros(2)])
    with pytest.raises(TypeError, match="SGD: parameters must be Tensors, got tuple"):
        optim.SGD([("a", fc.zeros(2), 1)])
    optim.SGD(net.parameters()).load_state_dict(ref.state_dict())


def test_a_learning_rate_that_is_a_tensor():
    opt = optim.Adam([fc.zeros(2)], lr=fc.tensor(0.25))
    assert opt.param_groups[0]["lr"] == 0.25 and isinstance(opt.param_groups[0]["lr"], float)


def test_frozen_parameters_keep_still(backend):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    for p in net[0].parameters():
        p.requires_grad_(False)
    frozen, free = net[0].weight.numpy().copy(), net[1].weight.numpy().copy()
    opt = optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        opt.zero_grad()
        net(fc.ones(2, 3)).sum().backward()
        opt.step()
    assert np.array_equal(net[0].weight.numpy(), frozen) and not np.array_equal(net[1].weight.numpy(), free)
    assert len(opt.state) == 2


# ------------------------------------------------------------------------------------------------- steps
def test_a_closure():
    w = fc.ones(2, requires_grad=True)
    opt = optim.SGD([w], lr=0.5)

    def closure():
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 2.0
    assert w.tolist() == [0.0, 0.0]
    assert opt.step() is None


def test_hooks():
    w = fc.ones(2, requires_grad=True)
    w.grad = fc.ones(2)
    opt, seen = optim.SGD([w], lr=0.5), []
    before = opt.register_step_pre_hook(lambda *call: seen.append(("before", *call, w.tolist())))
    after = opt.register_step_post_hook(lambda *call: seen.append(("after", *call, w.tolist())))
    opt.step()
    assert seen == [("before", opt, (), {}, [1.0, 1.0]), ("after", opt, (), {}, [0.5, 0.5])]
    before.remove()
    before.remove()
    opt.step()
    assert len(seen) == 3
    after.remove()
    calls = []
    opt.register_step_pre_hook(lambda opt, args, kwargs: ((lambda: calls.append(1),), kwargs))
    opt.step()
    assert calls == [1]
    opt.register_step_pre_hook(lambda opt, args, kwargs: 7)
    with pytest.raises(
        TypeError, match=r"SGD: a hook before the step must return None or \(args, kwargs\), got 7"
    ):
        opt.step()


def test_an_optimizer_of_ones_own():
    """As PyTorch's documentation writes them: a dict of defaults, ``state``, ``param_groups``, ``step``."""

    class Signs(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    with fc.no_grad():
                        p -= group["lr"] * np.sign(p.grad.numpy())

    w, seen = fc.zeros(2, requires_grad=True), []
    opt = Signs([w], lr=0.5)
    opt.register_step_post_hook(lambda *call: seen.append(1))
    w.grad = fc.tensor([2.0, -3.0])
    opt.step()
    assert w.tolist() == [-0.5, 0.5] and opt.state[w] == {"count": 1} and seen == [1]
    schedule = optim.lr_scheduler.StepLR(opt, 1, 0.5)
    schedule.step()
    other = Signs([w])
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]["lr"] == 0.25 and other.state[w] == {"count": 1}


@pytest.mark.parametrize("layout", ["channels-last", "sliced"])
@pytest.mark.parametrize("name", EVERY)
def test_parameters_of_any_layout(backend, name, layout):
    values = start(np.float32)[0]
    array = values.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    if layout == "sliced":
        array = np.repeat(values, 2, axis=0)[::2]
    param, plain = fc.Tensor(array, requires_grad=True), fc.tensor(values, requires_grad=True)
    opt, ref = getattr(optim, name)([param]), getattr(optim, name)([plain])
    for step in range(4):
        param.grad = plain.grad = fc.tensor(gradients(step, np.float32)[0])
        opt.step()
        ref.step()
    np.testing.assert_allclose(array, plain.numpy(), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------- errors
W = fc.zeros(3, requires_grad=True)
REFUSED = [
    (lambda: optim.RMSprop([W], alpha=-1), ValueError, "RMSprop: alpha must not be negative, got -1"),
    (lambda: optim.RMSprop([W], alpha="x"), TypeError, "RMSprop: alpha must be a number, got 'x'"),
    (lambda: optim.RMSprop([W], momentum=-1), ValueError, "RMSprop: momentum must not be negative"),
    (lambda: optim.RMSprop([W], eps=-1), ValueError, "RMSprop: eps must not be negative"),
    (lambda: optim.Adagrad([W], lr_decay=-1), ValueError, "Adagrad: lr_decay must not be negative"),
    (lambda: optim.Adagrad([W], initial_accumulator_value=-1), ValueError, "initial_accumulator_value"),
    (lambda: optim.Adadelta([W], rho=1.5), ValueError, "Adadelta: rho must be between 0 and 1, got 1.5"),
    (lambda: optim.Adadelta([W], rho=-0.5), ValueError, "Adadelta: rho must not be negative"),
    (lambda: optim.Adamax([W], betas=(1.0, 0.9)), ValueError, "Adamax: betas must be two numbers"),
    (lambda: optim.NAdam([W], momentum_decay=-1), ValueError, "NAdam: momentum_decay must not be negative"),
    (lambda: optim.NAdam([W], betas=(0.9,)), ValueError, "NAdam: betas must be two numbers"),
    (lambda: optim.RAdam([W], weight_decay=-1), ValueError, "RAdam: weight_decay must not be negative"),
    (lambda: optim.Rprop([W], etas=(1.2, 0.5)), ValueError, r"Rprop: etas must be .* got \(1.2, 0.5\)"),
    (lambda: optim.Rprop([W], step_sizes=3), ValueError, "Rprop: step_sizes must be two numbers, got 3"),
    (
        lambda: optim.Rprop([W], step_sizes=("a", 1)),
        TypeError,
        r"Rprop: step_sizes must be two numbers, got \('a', 1\)",
    ),
    (lambda: optim.Rprop([W], step_sizes=(2, 1)), ValueError, r"Rprop: step_sizes .* min <= max, got \(2, 1"),
    (lambda: optim.Rprop([W], etas=(None, 2)), TypeError, r"Rprop: etas must be two numbers, got \(None, 2"),
    (lambda: optim.RMSprop([W], alpha=1.5), ValueError, "RMSprop: alpha must be between 0 and 1, got 1.5"),
    (lambda: optim.Adam([W], betas=("a", 0.9)), TypeError, r"Adam: betas must be two numbers .* got \('a'"),
    (lambda: optim.Adam([W], betas=(float("nan"), 0.9)), ValueError, "Adam: betas must be .* got .nan, 0.9"),
    (lambda: optim.SGD([W], lr=True), TypeError, "SGD: lr must be a number, got True"),
    (lambda: optim.SGD([W], lr=float("nan")), ValueError, "SGD: lr must be a number, got NaN"),
    (lambda: optim.ASGD([W], lambd=None), TypeError, "ASGD: lambd must be a number, got None"),
    (lambda: optim.ASGD([W], lr=-1), ValueError, "ASGD: lr must not be negative"),
    (
        lambda: optim.Adagrad([W]).load_state_dict(optim.Adamax([W]).state_dict()),
        ValueError,
        "initial_accumulator_value, lr_decay is missing",
    ),
]


def test_settings_may_be_tensors():
    optimizer = optim.Adam([W], lr=fc.tensor(0.5), betas=(fc.tensor(0.5), fc.tensor(0.75)))
    assert optimizer.param_groups[0]["lr"] == 0.5 and optimizer.param_groups[0]["betas"] == (0.5, 0.75)


@pytest.mark.parametrize("make, error, message", REFUSED)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_state_of_an_earlier_version():
    """It has no settings for what was added since."""
    for name, count in (("SGD", 5), ("Adam", 4), ("AdamW", 4)):
        opt = getattr(optim, name)([W])
        state = opt.state_dict()
        for key in ("maximize", "amsgrad", "decoupled_weight_decay"):
            state["param_groups"][0].pop(key, None)
        assert len(state["param_groups"][0]) == count + 1
        opt.load_state_dict(state)
        assert opt.param_groups[0]["maximize"] is False
        assert opt.param_groups[0].get("decoupled_weight_decay", name == "AdamW") == (name == "AdamW")
