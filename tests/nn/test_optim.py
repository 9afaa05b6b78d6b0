"""Optimizers and schedules: the written-out formulas, PyTorch step by step, states, refusals."""

from __future__ import annotations

import copy
import itertools
from math import cos, pi

import numpy as np
import pytest
from support.selection import every, full

import fastconv as fc
from fastconv import optim
from fastconv.optim import lr_scheduler

SHAPES = [(3, 2, 3, 3), (5, 4), (7,)]

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.3}),
]

SCHEDULES = [
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 11, 12], "gamma": 0.3}),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 51}),
    (
        "OneCycleLR",
        {
            "max_lr": 0.3,
            "epochs": 17,
            "steps_per_epoch": 3,
            "pct_start": 0.4,
            "anneal_strategy": "linear",
            "base_momentum": 0.5,
            "max_momentum": 0.99,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
        },
    ),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 51, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 51, "cycle_momentum": False}),
]


def start(shapes=SHAPES, dtype=np.float32):
    rng = np.random.default_rng(3)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def gradients(step, shapes=SHAPES, dtype=np.float32):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def leaves(arrays):
    return [fc.tensor(a, requires_grad=True) for a in arrays]


def advance(opt, step, params=None):
    params = params or [p for g in opt.param_groups for p in g["params"]]
    for p, g in zip(params, gradients(step)):
        p.grad = fc.tensor(g)
    opt.step()


def written_out(name, options, w, grads):
    """The weights after each step, by the update rules as the papers and PyTorch's documentation print
    them."""
    w, v, m = w.astype(np.float64), 0.0, 0.0
    lr, wd = options["lr"], options.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
    mu, damp = options.get("momentum", 0.0), options.get("dampening", 0.0)
    (b1, b2), eps = options.get("betas", (0.9, 0.999)), options.get("eps", 1e-8)
    for t, g in enumerate(grads, 1):
        g = g.astype(np.float64)
        if name == "SGD":
            g = g + wd * w
            v = g if t == 1 else mu * v + (1 - damp) * g
            w = w - lr * (g + mu * v if options.get("nesterov") else v if mu else g)
        else:
            if name == "Adam":
                g = g + wd * w
            else:
                w = w - lr * wd * w
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield w


@pytest.mark.parametrize("dtype, rtol, atol", [(np.float32, 2e-5, 5e-6), *full((np.float64, 1e-6, 1e-9))])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_50_steps_by_the_formulas(backend, name, options, dtype, rtol, atol):
    params = leaves(start(dtype=dtype))
    opt = getattr(optim, name)(params, **options)
    all_grads = [gradients(step, dtype=dtype) for step in range(50)]
    expected = zip(*(written_out(name, options, w, g) for w, g in zip(start(dtype=dtype), zip(*all_grads))))
    for grads, weights in zip(all_grads, expected, strict=True):
        for p, g in zip(params, grads):
            p.grad = fc.tensor(g)
        opt.step()
        for p, w in zip(params, weights):
            np.testing.assert_allclose(p.numpy(), w, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_50_steps_like_torch(backend, name, options):
    torch = pytest.importorskip("torch")
    mine = [fc.tensor(a, requires_grad=True) for a in start(dtype=np.float64)]
    theirs = [torch.tensor(a, requires_grad=True) for a in start(dtype=np.float64)]
    opt, ref = getattr(optim, name)(mine, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(50):
        for p, q, g in zip(mine, theirs, gradients(step, dtype=np.float64)):
            p.grad, q.grad = fc.tensor(g), torch.tensor(g)
        opt.step()
        ref.step()
        for p, q in zip(mine, theirs):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-9)


LABELS = np.random.default_rng(5).integers(0, 4, 6)
LOSSES = {
    # name -> (the loss of scores (6, 4), written for either library, and the constant it is given)
    "cross entropy": (lambda nn, y, c: nn.CrossEntropyLoss()(y, c), LABELS),
    "smoothed, weighted": (
        lambda nn, y, c: nn.CrossEntropyLoss(weight=c[1], label_smoothing=0.1, ignore_index=2)(y, c[0]),
        (LABELS, np.array([1.0, 0.5, 2.0, 1.5])),
    ),
    "probabilities": (
        lambda nn, y, c: nn.CrossEntropyLoss()(y, c),
        np.random.default_rng(6).dirichlet(np.ones(4), 6),
    ),
    "nll": (lambda nn, y, c: nn.NLLLoss(reduction="sum")(nn.functional.log_softmax(y, 1), c), LABELS),
    "mse": (lambda nn, y, c: nn.MSELoss()(y, c), np.random.default_rng(7).standard_normal((6, 4))),
    "binary": (lambda nn, y, c: nn.BCEWithLogitsLoss()(y, c), np.random.default_rng(8).random((6, 4))),
}


@pytest.mark.parametrize("name", every(LOSSES, 4))
@pytest.mark.parametrize("recipe", ["AdamW", *full("SGD")])
def test_50_steps_of_training_like_torch(backend, name, recipe):
    """A small network, every loss, an optimizer and a schedule: the loss and the weights at each step."""
    torch = pytest.importorskip("torch")
    loss, constant = LOSSES[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 2, 5, 5))
    weights = [rng.standard_normal(s) * 0.3 for s in ((3, 2, 3, 3), (3,), (4, 27), (4,))]
    options = {
        "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        "AdamW": {"lr": 0.01},
    }[recipe]

    def steps(nn, optim, tensor, params):
        opt = getattr(optim, recipe)(params, **options)
        schedule = optim.lr_scheduler.OneCycleLR(opt, max_lr=0.05, total_steps=50)
        fixed = tuple(map(tensor, constant)) if isinstance(constant, tuple) else tensor(constant)
        F, images = nn.functional, tensor(x)
        for _ in range(50):
            y = F.linear(F.relu(F.conv2d(images, *params[:2])).flatten(1), *params[2:])
            value = loss(nn, y, fixed)
            opt.zero_grad()
            value.backward()
            opt.step()
            schedule.step()
            yield value.item(), [p.detach().numpy() for p in params]

    mine = steps(fc.nn, optim, fc.tensor, [fc.tensor(w, requires_grad=True) for w in weights])
    theirs = steps(
        torch.nn, torch.optim, torch.tensor, [torch.tensor(w, requires_grad=True) for w in weights]
    )
    for (a, ours), (b, reference) in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-6)
        for p, q in zip(ours, reference):
            np.testing.assert_allclose(p, q, rtol=1e-6, atol=1e-8)


def written_rate(name, options, base, t):
    """Learning rate (and momentum, where the schedule moves it) after ``t`` steps, as the definitions print
    them."""
    if name == "StepLR":
        return base * options["gamma"] ** (t // options["step_size"]), None
    if name == "MultiStepLR":
        return base * options["gamma"] ** sum(t >= m for m in options["milestones"]), None
    if name == "CosineAnnealingLR":
        low = options["eta_min"]
        return low + (base - low) * (1 + cos(pi * t / options["T_max"])) / 2, None
    n = options.get("total_steps") or options["epochs"] * options["steps_per_epoch"]
    top, rise = options["max_lr"], options.get("pct_start", 0.3) * n - 1
    first = top / options.get("div_factor", 25.0)
    last = first / options.get("final_div_factor", 1e4)
    high, low = options.get("max_momentum", 0.95), options.get("base_momentum", 0.85)
    corners = [(0, first, high), (rise, top, low), (n - 1, last, high)]
    if options.get("three_phase"):
        corners[2:] = [(2 * rise, first, high), (n - 1, last, high)]
    (t0, a, p), (t1, b, q) = next(pair for pair in itertools.pairwise(corners) if t <= pair[1][0])
    share = (t - t0) / (t1 - t0)
    if options.get("anneal_strategy") != "linear":
        share = (1 - cos(pi * share)) / 2
    momentum = p + (q - p) * share if options.get("cycle_momentum", True) else None
    return a + (b - a) * share, momentum


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_50_steps_of_schedules_by_the_formulas(name, options):
    opt = optim.SGD([{"params": [fc.zeros(2)]}, {"params": [fc.zeros(3)], "lr": 0.7}], lr=0.2, momentum=0.9)
    schedule = getattr(lr_scheduler, name)(opt, **options)
    for t in range(50):
        for group, base in zip(opt.param_groups, (0.2, 0.7)):
            rate, momentum = written_rate(name, options, base, t)
            assert group["lr"] == pytest.approx(rate, rel=1e-9)
            assert group["momentum"] == pytest.approx(0.9 if momentum is None else momentum, rel=1e-9)
        schedule.step()


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedules_like_torch(name, options, kind):
    torch = pytest.importorskip("torch")
    extra = {"momentum": 0.9} if kind == "SGD" else {}
    opt = getattr(optim, kind)(
        [{"params": leaves(start())}, {"params": [fc.zeros(2)], "lr": 0.7}], lr=0.2, **extra
    )
    tensors = [torch.tensor(a) for a in start()]
    ref = getattr(torch.optim, kind)(
        [{"params": tensors}, {"params": [torch.zeros(2)], "lr": 0.7}], lr=0.2, **extra
    )
    mine = getattr(lr_scheduler, name)(opt, **options)
    theirs = getattr(torch.optim.lr_scheduler, name)(ref, **options)
    for _ in range(50):
        np.testing.assert_allclose(mine.get_last_lr(), theirs.get_last_lr(), rtol=1e-9, atol=1e-12)
        for g, h in zip(opt.param_groups, ref.param_groups):
            assert g["lr"] == pytest.approx(h["lr"], rel=1e-9)
            key = "momentum" if kind == "SGD" else "betas"
            assert g[key] == pytest.approx(h[key], rel=1e-9)
        opt.step()
        ref.step()
        mine.step()
        theirs.step()


def test_schedules_by_hand():
    def rates(schedule, n):
        found = []
        for _ in range(n):
            found += schedule.get_last_lr()
            schedule.step()
        return found

    def sgd():
        return optim.SGD([fc.zeros(2)], lr=1.0, momentum=0.9)

    assert rates(lr_scheduler.StepLR(sgd(), 2), 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates(lr_scheduler.MultiStepLR(sgd(), [1, 3], 0.5), 5) == pytest.approx([1, 0.5, 0.5, 0.25, 0.25])
    expected = [(1 + cos(pi * t / 4)) / 2 for t in range(5)]
    assert rates(lr_scheduler.CosineAnnealingLR(sgd(), 4), 5) == pytest.approx(expected)
    cycle = lr_scheduler.OneCycleLR(sgd(), 1.0, 11, pct_start=6 / 11, anneal_strategy="linear", div_factor=10)
    assert cycle.optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)
    found = rates(cycle, 10)
    assert found[:6] == pytest.approx([0.1 + 0.18 * t for t in range(6)])
    assert cycle.get_last_lr() == pytest.approx([0.1 / 1e4])


def test_parameters_without_gradient_are_skipped(backend):
    params = leaves(start())
    opt = optim.Adam(params, lr=0.1)
    for step in range(3):
        advance(opt, step, params[:2])
    assert np.array_equal(params[2].numpy(), start()[2])
    # One that joins late still starts with its own first step (bias correction, momentum).
    late = fc.tensor(start()[2], requires_grad=True)
    alone = optim.Adam([late], lr=0.1)
    params[2].grad = late.grad = fc.tensor(gradients(0)[2])
    opt.step()
    alone.step()
    assert np.array_equal(params[2].numpy(), late.numpy())


def test_groups_have_their_own_settings(backend):
    a, b, c = leaves(start())
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.0}], lr=0.5)
    opt.add_param_group({"params": [c], "lr": 0.25})
    advance(opt, 0)
    np.testing.assert_allclose(a.numpy(), start()[0] - 0.5 * gradients(0)[0], rtol=1e-6, atol=1e-6)
    assert np.array_equal(b.numpy(), start()[1])
    np.testing.assert_allclose(c.numpy(), start()[2] - 0.25 * gradients(0)[2], rtol=1e-6, atol=1e-6)


def test_one_backend_call_per_group(monkeypatch):
    with fc.backend("numpy"):
        engine = fc.zeros(1).engine
        calls, step = [], engine.optimizer_step
        monkeypatch.setattr(engine, "optimizer_step", lambda *args: calls.append(len(args[1])) or step(*args))
        a, b, c = leaves(start())
        opt = optim.SGD([{"params": [a, b]}, {"params": [c]}], lr=0.5, momentum=0.9)
        advance(opt, 0)
        advance(opt, 1)
    assert calls == [2, 1, 2, 1]


def test_zero_grad():
    (w,) = leaves([np.ones(3, np.float32)])
    opt = optim.SGD([w], lr=1.0)
    (w * 2).sum().backward()
    opt.zero_grad(set_to_none=False)
    assert np.array_equal(w.grad.numpy(), [0, 0, 0])
    opt.zero_grad()
    assert w.grad is None


def test_a_step_between_forward_and_backward_is_noticed(backend):
    (w,) = leaves([np.ones(3, np.float32)])
    opt = optim.SGD([w], lr=1.0)
    loss = (w * w).sum()
    w.grad = fc.ones(3)
    opt.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_state_dict_continues_bit_identically(backend, name, options):
    params = leaves(start())
    opt = getattr(optim, name)(params, **options)
    for step in range(3):
        advance(opt, step)
    saved, weights = copy.deepcopy({k: v for k, v in opt.state_dict().items() if k != "state"}), None
    saved["state"] = {
        i: {k: fc.tensor(v) if k != "step" else v for k, v in s.items()}
        for i, s in opt.state_dict()["state"].items()
    }
    weights = [p.numpy().copy() for p in params]
    for step in range(3, 6):
        advance(opt, step)
    again = leaves(weights)
    other = getattr(optim, name)(again, **{**options, "lr": 0.9})
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == options["lr"]
    for step in range(3, 6):
        advance(other, step)
    for p, q in zip(params, again):
        assert np.array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedule_state_dict(name, options):
    def make():
        opt = optim.SGD([fc.zeros(2)], lr=0.2, momentum=0.9)
        return opt, getattr(lr_scheduler, name)(opt, **options)

    opt, schedule = make()
    for _ in range(9):
        schedule.step()
    other, again = make()
    again.load_state_dict(schedule.state_dict())
    other.load_state_dict(opt.state_dict())
    for _ in range(9):
        assert again.get_last_lr() == schedule.get_last_lr()
        assert other.param_groups[0]["momentum"] == opt.param_groups[0]["momentum"]
        schedule.step()
        again.step()


W = fc.zeros(3, requires_grad=True)
REFUSED = [
    (lambda: optim.SGD([], lr=0.1), ValueError, "empty"),
    (lambda: optim.SGD(W, lr=0.1), TypeError, "one Tensor"),
    (
        lambda: optim.SGD(fc.nn.Linear(2, 2).parameters),
        TypeError,
        r"SGD: .* method Linear.parameters; .* net.parameters\(\)",
    ),
    (
        lambda: optim.SGD([{"params": fc.nn.Linear(2, 2).parameters}]),
        TypeError,
        r"SGD: 'params' .* net.parameters\(\)",
    ),
    (lambda: optim.SGD(fc.nn.Linear(2, 2)), TypeError, r"one Linear; give .* net.parameters\(\)"),
    (lambda: optim.SGD({W}), TypeError, "one set; a set has no order"),
    (lambda: optim.SGD(7), TypeError, "got one int; give a list"),
    (lambda: optim.SGD([W], lr="0.1"), TypeError, "SGD: lr must be a number, got '0.1'"),
    (lambda: optim.Adam([W], betas=0.9), ValueError, "Adam: betas must be two numbers"),
    (lambda: optim.SGD([1.0], lr=0.1), TypeError, "float"),
    (lambda: optim.SGD([W, W], lr=0.1), ValueError, "more than once"),
    (lambda: optim.SGD([W * 2], lr=0.1), ValueError, "leaf"),
    (lambda: optim.SGD([{"lr": 1.0}]), TypeError, "'params'"),
    (lambda: optim.SGD([W], lr=-0.1), ValueError, "SGD: lr must not be negative, got -0.1"),
    (lambda: optim.SGD([W], lr=float("nan")), ValueError, "lr must be a number, got NaN"),
    (lambda: optim.SGD([W], momentum=-1), ValueError, "momentum must not be negative"),
    (lambda: optim.SGD([W], weight_decay=-1), ValueError, "weight_decay must not be negative"),
    (lambda: optim.SGD([W], nesterov=True), ValueError, "nesterov needs momentum"),
    (lambda: optim.SGD([W], nesterov=True, momentum=0.9, dampening=0.1), ValueError, "dampening 0.1"),
    (lambda: optim.SGD([{"params": [W], "lr": -1}]), ValueError, "lr must not be negative, got -1"),
    (lambda: optim.Adam([W], betas=(0.9, 1.0)), ValueError, r"Adam: betas .* got \(0.9, 1.0\)"),
    (lambda: optim.AdamW([W], eps=-1e-8), ValueError, "AdamW: eps"),
    (lambda: lr_scheduler.StepLR(optim.SGD([W]), 0), ValueError, "step_size"),
    (lambda: lr_scheduler.CosineAnnealingLR(optim.SGD([W]), 0), ValueError, "T_max"),
    (lambda: lr_scheduler.StepLR(optim.SGD([W]), 2, last_epoch=4), ValueError, "initial_lr"),
    (
        lambda: lr_scheduler.StepLR(fc.nn.Linear(2, 2), 2),
        TypeError,
        "StepLR: expected an optimizer, .* got Linear",
    ),
    (
        lambda: lr_scheduler.OneCycleLR(optim.SGD, 1.0, 10),
        TypeError,
        "OneCycleLR: expected an optimizer, .* got SGD",
    ),
    (
        lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0, 9, base_momentum=[0.8]),
        TypeError,
        "base_momentum must be one",
    ),
    (lambda: lr_scheduler.OneCycleLR(optim.SGD([W]), 1.0, 10), ValueError, "momentum"),
    (lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0), ValueError, "total_steps"),
    (lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0, -3), ValueError, "positive int, got -3"),
    (lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0, 9, pct_start=2), ValueError, "pct_start"),
    (
        lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0, 9, anneal_strategy="no"),
        ValueError,
        "anneal_strategy",
    ),
    (
        lambda: lr_scheduler.OneCycleLR(optim.Adam([W]), [1.0, 2.0], 9),
        ValueError,
        "1 values of max_lr, got 2",
    ),
]


@pytest.mark.parametrize("make, error, message", REFUSED)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_cycle_ends():
    schedule = lr_scheduler.OneCycleLR(optim.Adam([W]), 1.0, 3)
    for _ in range(3):  # one after each of three batches is right
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([1 / 25 / 1e4])
    with pytest.raises(ValueError, match="beyond the cycle of 3 steps"):
        schedule.step()


def test_states_that_do_not_fit():
    sgd = optim.SGD(leaves(start()), momentum=0.9)
    advance(sgd, 0)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, got \[3\]"):
        optim.SGD([W]).load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="betas, eps is missing"):
        optim.Adam(leaves(start())).load_state_dict(sgd.state_dict())
    for shapes in itertools.permutations(SHAPES):
        if list(shapes) != SHAPES:
            with pytest.raises(ValueError, match="momentum_buffer of parameter"):
                optim.SGD(leaves(start(shapes))).load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="'state' and 'param_groups'"):
        sgd.load_state_dict({})
    with pytest.raises(ValueError, match="is it the state of another schedule"):
        lr_scheduler.StepLR(sgd, 3).load_state_dict(lr_scheduler.MultiStepLR(sgd, [3]).state_dict())


def test_a_gradient_of_another_shape():
    (w,) = leaves([np.ones((2, 3), np.float32)])
    w.grad = fc.zeros(3, 2)
    with pytest.raises(ValueError, match="SGD: gradient must have shape 2x3"):
        optim.SGD([w]).step()


@pytest.mark.parametrize("name, options", [OPTIMIZERS[1], OPTIMIZERS[3], OPTIMIZERS[6]])
@pytest.mark.parametrize("layout", ["channels-last", "sliced"])
def test_parameters_of_any_layout(backend, name, options, layout):
    """Parameters keep the memory they were given: another order of axes than their gradients', or not dense
    at all."""
    values = start()[0]
    if layout == "channels-last":
        array = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    else:
        array = np.repeat(values, 2, axis=0)[::2]
    param = fc.Tensor(array, requires_grad=True)
    opt = getattr(optim, name)([param], **options)
    for step in range(4):
        param.grad = fc.tensor(gradients(step)[0])
        opt.step()
    *_, expected = written_out(name, options, values, [gradients(s)[0] for s in range(4)])
    np.testing.assert_allclose(array, expected, rtol=2e-5, atol=2e-6)
