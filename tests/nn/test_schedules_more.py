"""Schedules beyond the step, the cosine and the one cycle, against PyTorch; chains, states, the plateau."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import every

import fastconv as fc
from fastconv import nn, optim, train
from fastconv.optim import lr_scheduler

SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.9**t, lambda t: 1 / (1 + t)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.8 if t % 2 else 1.1}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 3}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.7, "total_iters": 7}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 9, "power": 2.5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 3, "eta_min": 0.05}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 4}),
    ("CyclicLR", {"base_lr": [0.1, 0.2], "max_lr": [0.5, 1.0], "step_size_up": 3, "step_size_down": 5}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9}),
    (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 0.5,
            "step_size_up": 3,
            "scale_fn": lambda x: 0.9**x,
            "scale_mode": "iterations",
            "base_momentum": [0.5, 0.6],
            "max_momentum": 0.95,
        },
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "cycle_momentum": False}),
]
OTHERS = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 7], "gamma": 0.3}),
    ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 60}),
]
PLATEAUS = [
    {"patience": 2},
    {"patience": 1, "factor": 0.5, "threshold_mode": "abs", "threshold": 0.05, "cooldown": 2},
    {"mode": "max", "patience": 1, "min_lr": 0.05},
    {"mode": "max", "patience": 1, "min_lr": [0.01, 0.3], "threshold_mode": "abs", "factor": 0.3},
    {"patience": 0, "eps": 0.1},
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def pair(torch, kind="SGD"):
    """An optimizer of two groups, here and in PyTorch."""
    options = {"lr": 0.2, **({"momentum": 0.9} if kind == "SGD" else {})}
    return tuple(
        getattr(lib.optim, kind)(
            [{"params": [lib.zeros(2)]}, {"params": [lib.zeros(3)], "lr": 0.7}], **options
        )
        for lib in (fc, torch)
    )


def compare(mine, theirs):
    for g, h in zip(mine.param_groups, theirs.param_groups, strict=True):
        assert g["lr"] == pytest.approx(h["lr"], rel=1e-9, abs=1e-12)
        key = "betas" if "betas" in h else "momentum"
        assert g[key] == pytest.approx(h[key], rel=1e-9)


def together(mine, theirs, ours, reference, steps):
    compare(mine, theirs)
    for _ in range(steps):
        theirs.step()
        ours.step()
        reference.step()
        compare(mine, theirs)
        assert ours.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9, abs=1e-12)
        assert ours.last_epoch == getattr(reference, "last_epoch", ours.last_epoch)


def make(module, name, opt, options):
    return getattr(module, name)(opt, **options)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedules_like_torch(torch, name, options, kind):
    mine, theirs = pair(torch, kind)
    ours = make(lr_scheduler, name, mine, options)
    together(mine, theirs, ours, make(torch.optim.lr_scheduler, name, theirs, options), 40)
    assert name in repr(ours) and "lr" in repr(ours)


@pytest.mark.parametrize("name, options", SCHEDULES)
@pytest.mark.filterwarnings("ignore:Detected call")
def test_continuing_like_torch(torch, name, options):
    mine, theirs = pair(torch)
    for opt, module in (mine, lr_scheduler), (theirs, torch.optim.lr_scheduler):
        first = make(module, name, opt, options)
        for _ in range(4):
            first.step()
    options = {**options, "last_epoch": 3}
    ours = make(lr_scheduler, name, mine, options)
    together(mine, theirs, ours, make(torch.optim.lr_scheduler, name, theirs, options), 15)


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_signatures_are_those_of_torch(torch, name):
    ours, theirs = (
        inspect.signature(getattr(module, name)).parameters
        for module in (lr_scheduler, torch.optim.lr_scheduler)
    )
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


def states(torch, tmp_path, mine, theirs, ours, reference):
    """Both states, each in the form in which the other library gets it."""
    torch.save({"schedule": reference.state_dict(), "opt": theirs.state_dict()}, tmp_path / "theirs.pth")
    fc.save({"schedule": ours.state_dict(), "opt": mine.state_dict()}, tmp_path / "ours.npz")
    return fc.load(tmp_path / "theirs.pth"), fc.load(tmp_path / "ours.npz")


@pytest.mark.parametrize("name, options", SCHEDULES)
@pytest.mark.filterwarnings("ignore:Detected call")
def test_states_go_both_ways(torch, tmp_path, name, options):
    mine, theirs = pair(torch)
    ours = make(lr_scheduler, name, mine, options)
    reference = make(torch.optim.lr_scheduler, name, theirs, options)
    for _ in range(5):
        ours.step()
        reference.step()
    theirs_state, ours_state = states(torch, tmp_path, mine, theirs, ours, reference)
    here, there = pair(torch)
    a, b = make(lr_scheduler, name, here, options), make(torch.optim.lr_scheduler, name, there, options)
    a.load_state_dict(theirs_state["schedule"])
    here.load_state_dict(theirs_state["opt"])
    b.load_state_dict(ours_state["schedule"])
    there.load_state_dict(ours_state["opt"])
    together(here, theirs, a, reference, 9)
    together(mine, there, ours, b, 9)


def test_objects_with_attributes_as_functions(torch, tmp_path):
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, t):
            return self.rate**t

    opt = optim.SGD([fc.zeros(1)], lr=1.0, momentum=0.5)
    for schedule, other in (
        (lr_scheduler.LambdaLR(opt, Decay(0.5)), lr_scheduler.LambdaLR(opt, Decay(0.1))),
        (
            lr_scheduler.CyclicLR(opt, 0.1, 1.0, 2, scale_fn=Decay(0.5)),
            lr_scheduler.CyclicLR(opt, 0.1, 1.0, 2, scale_fn=Decay(0.1)),
        ),
    ):
        fc.save(schedule.state_dict(), tmp_path / "s.npz")
        other.load_state_dict(fc.load(tmp_path / "s.npz"))
        schedule.step()
        rate = schedule.get_last_lr()
        other.step()
        assert other.get_last_lr() == rate


# ------------------------------------------------------------------------------------------------- plateau
@pytest.mark.parametrize("options", PLATEAUS)
def test_the_plateau_like_torch(torch, tmp_path, options):
    mine, theirs = pair(torch)
    ours = lr_scheduler.ReduceLROnPlateau(mine, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    values = np.repeat(np.random.default_rng(0).random(30).cumsum()[::-1] % 1, 2)
    for t, value in enumerate(values):
        ours.step(fc.tensor(value) if t % 2 else value)
        reference.step(value)
        compare(mine, theirs)
        assert (ours.best, ours.num_bad_epochs, ours.in_cooldown) == (
            reference.best,
            reference.num_bad_epochs,
            reference.in_cooldown,
        )
        if t == 20:
            theirs_state, ours_state = states(torch, tmp_path, mine, theirs, ours, reference)
            ours.load_state_dict(theirs_state["schedule"])
            reference.load_state_dict(ours_state["schedule"])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_plateau_like_torch(data):
    torch = pytest.importorskip("torch")
    options = {
        "mode": data.draw(st.sampled_from(["min", "max"])),
        "threshold_mode": data.draw(st.sampled_from(["rel", "abs"])),
        "threshold": data.draw(st.floats(0, 0.3)),
        "patience": data.draw(st.integers(0, 3)),
        "cooldown": data.draw(st.integers(0, 3)),
        "factor": data.draw(st.floats(0.1, 0.9)),
    }
    mine, theirs = pair(torch)
    ours = lr_scheduler.ReduceLROnPlateau(mine, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for value in data.draw(st.lists(st.floats(-10, 10) | st.just(float("nan")), max_size=20)):
        ours.step(value)
        reference.step(value)
        compare(mine, theirs)


@pytest.mark.parametrize("mode, test", [("min", False), ("min", True), ("max", False), ("max", True)])
def test_fit_gives_the_plateau_what_it_follows(mode, test, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    batches = [(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]
    net = nn.Linear(3, 2)
    opt = optim.SGD(net.parameters(), lr=0.1)
    schedule, seen = lr_scheduler.ReduceLROnPlateau(opt, mode, factor=0.5, patience=0, threshold=0.05), []
    step = schedule.step
    schedule.step = lambda value: (seen.append(value), step(value))
    options = {"optimizer": opt, "scheduler": schedule, "progress": False}
    history = train.fit(net, batches, batches if test else None, epochs=6, **options)
    del schedule.step
    name = ("test_" if test else "train_") + ("accuracy" if mode == "max" else "loss")
    assert seen == [p[name] for p in history if p["epoch"] % 1 == 0] and len(seen) == 6
    assert opt.param_groups[0]["lr"] < 0.1


@pytest.mark.parametrize(
    "name, options",
    [
        ("ReduceLROnPlateau", {"patience": 0, "threshold": 0.5, "factor": 0.5}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}),
        ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2}),
        ("SequentialLR", {}),
        ("ChainedScheduler", {}),
    ],
)
def test_fit_resumes_with_the_schedule(tmp_path, name, options):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    batches = [(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]

    def run(epochs, path, resume=True):
        fc.manual_seed(0)
        net = nn.Linear(3, 2)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        parts = [lr_scheduler.LinearLR(opt, 0.5, total_iters=2), lr_scheduler.ExponentialLR(opt, 0.5)]
        if name == "SequentialLR":
            schedule = lr_scheduler.SequentialLR(opt, parts, [2])
        elif name == "ChainedScheduler":
            schedule = lr_scheduler.ChainedScheduler(parts)
        else:
            opt.param_groups[0]["lr"] = opt.param_groups[0]["initial_lr"] = 0.1
            schedule = getattr(lr_scheduler, name)(opt, **options)
        train.fit(
            net, batches, epochs=epochs, optimizer=opt, scheduler=schedule, checkpoint=path, progress=False
        )
        return net.weight.numpy().tobytes(), opt.param_groups[0]["lr"]

    whole = run(5, tmp_path / "a.npz")
    run(3, tmp_path / "b.npz")
    assert run(5, tmp_path / "b.npz") == whole


# ------------------------------------------------------------------------------------------------- chains
def chain(module, opt, members):
    return module.ChainedScheduler([make(module, name, opt, options) for name, options in members])


def sequence(module, opt, members, milestones):
    return module.SequentialLR(opt, [make(module, n, opt, o) for n, o in members], milestones)


LISTS = [
    [SCHEDULES[3], SCHEDULES[7]],
    [SCHEDULES[6], ("StepLR", {"step_size": 3}), SCHEDULES[2]],
    [("CosineAnnealingLR", {"T_max": 6}), SCHEDULES[9]],
]


@pytest.mark.parametrize("members", LISTS)
def test_chains_like_torch(torch, tmp_path, members):
    mine, theirs = pair(torch)
    ours, reference = (
        chain(m, o, members) for m, o in ((lr_scheduler, mine), (torch.optim.lr_scheduler, theirs))
    )
    together(mine, theirs, ours, reference, 6)
    theirs_state, ours_state = states(torch, tmp_path, mine, theirs, ours, reference)
    ours.load_state_dict(theirs_state["schedule"])
    reference.load_state_dict(ours_state["schedule"])
    together(mine, theirs, ours, reference, 6)


@pytest.mark.parametrize("first", every(((s,) for s in SCHEDULES + OTHERS), 5))
@pytest.mark.parametrize("second", every(((s,) for s in SCHEDULES + OTHERS), 3))
def test_sequences_like_torch(torch, first, second):
    if {first[0], second[0]} == {"OneCycleLR", "CyclicLR"}:
        pytest.skip("in PyTorch each overwrites the other's momenta in the parameter groups")
    mine, theirs = pair(torch)
    ours = sequence(lr_scheduler, mine, [first, second], [4])
    together(mine, theirs, ours, sequence(torch.optim.lr_scheduler, theirs, [first, second], [4]), 12)


@pytest.mark.filterwarnings("ignore:Detected call")
def test_a_sequence_of_three(torch, tmp_path):
    mine, theirs = pair(torch)
    members = [SCHEDULES[6], SCHEDULES[7], SCHEDULES[10]]
    ours = sequence(lr_scheduler, mine, members, [3, 8])
    reference = sequence(torch.optim.lr_scheduler, theirs, members, [3, 8])
    for _ in range(2):
        together(mine, theirs, ours, reference, 5)
        theirs_state, ours_state = states(torch, tmp_path, mine, theirs, ours, reference)
        ours.load_state_dict(theirs_state["schedule"])
        reference.load_state_dict(ours_state["schedule"])


def test_a_chain_in_a_sequence():
    opt = optim.SGD([fc.zeros(1)], lr=1.0)
    both = chain(lr_scheduler, opt, [("ExponentialLR", {"gamma": 0.5}), ("StepLR", {"step_size": 2})])
    schedule = lr_scheduler.SequentialLR(opt, [both, lr_scheduler.ConstantLR(opt, 0.5)], [3])
    found = []
    for _ in range(5):
        found += schedule.get_last_lr()
        schedule.step()
    assert found == pytest.approx([1, 0.5, 0.025, 0.5, 0.5])


def test_fractions_of_epochs(torch):
    mine, theirs = pair(torch)
    ours = lr_scheduler.CosineAnnealingWarmRestarts(mine, 2, T_mult=2)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 2, T_mult=2)
    for t in range(60):
        ours.step(t / 4)
        reference.step(t / 4)
        compare(mine, theirs)
        assert ours.last_epoch == reference.last_epoch


def test_a_group_added_later(torch):
    for name, options in SCHEDULES[7:8] + SCHEDULES[:1]:
        opt = optim.SGD([fc.zeros(1)], lr=1.0)
        schedule = make(lr_scheduler, name, opt, options)
        opt.add_param_group({"params": [fc.zeros(1)], "lr": 0.5})
        schedule.step()
        assert opt.param_groups[1]["lr"] == pytest.approx(0.5 * opt.param_groups[0]["lr"])


def sgd():
    return optim.SGD([fc.zeros(1)], lr=1.0)


def added(name, options):
    opt = optim.SGD([{"params": [fc.zeros(1)]}, {"params": [fc.zeros(1)]}], momentum=0.9)
    schedule = make(lr_scheduler, name, opt, options)
    opt.add_param_group({"params": [fc.zeros(1)]})
    schedule.step()


S = sgd()
M = optim.SGD([fc.zeros(1)], lr=1.0, momentum=0.9)
REFUSED = [
    (
        lambda: lr_scheduler.LambdaLR(S, 0.5),
        TypeError,
        "LambdaLR: lr_lambda must be a function of the epoch, got 0.5",
    ),
    (
        lambda: lr_scheduler.LambdaLR(S, [abs, abs]),
        ValueError,
        "LambdaLR: expected 1 values of lr_lambda, got 2",
    ),
    (
        lambda: lr_scheduler.ConstantLR(S, 1.5),
        ValueError,
        "ConstantLR: factor must be between 0 and 1, got 1.5",
    ),
    (lambda: lr_scheduler.LinearLR(S, 0), ValueError, r"LinearLR: start_factor must be in \(0, 1\], got 0"),
    (
        lambda: lr_scheduler.LinearLR(S, 0.5, 2),
        ValueError,
        "LinearLR: end_factor must be between 0 and 1, got 2",
    ),
    (
        lambda: lr_scheduler.PolynomialLR(S, 0),
        ValueError,
        "PolynomialLR: total_iters must be positive, got 0",
    ),
    (lambda: lr_scheduler.CosineAnnealingWarmRestarts(S, 0), ValueError, "T_0 must be a positive int, got 0"),
    (
        lambda: lr_scheduler.CosineAnnealingWarmRestarts(S, 2, 1.5),
        ValueError,
        "T_mult must be a positive int",
    ),
    (
        lambda: lr_scheduler.CosineAnnealingWarmRestarts(S, 2).step(-1),
        ValueError,
        "epoch must not be negative",
    ),
    (
        lambda: lr_scheduler.CyclicLR(S, 0.1, 1, mode="x"),
        ValueError,
        "CyclicLR: mode must be one of triangular",
    ),
    (
        lambda: lr_scheduler.CyclicLR(S, 0.1, [1, 2]),
        ValueError,
        "CyclicLR: expected 1 values of max_lr, got 2",
    ),
    (lambda: lr_scheduler.CyclicLR(S, 0.1, 1, 0), ValueError, "CyclicLR: step sizes must be positive, got 0"),
    (lambda: lr_scheduler.CyclicLR(S, 0.1, 1, scale_mode="x"), ValueError, "scale_mode must be 'cycle'"),
    (
        lambda: lr_scheduler.CyclicLR(optim.Adagrad([fc.zeros(1)]), 0.1, 1),
        ValueError,
        "CyclicLR: cycle_momentum needs an optimizer with momentum",
    ),
    (lambda: lr_scheduler.ReduceLROnPlateau(S, "low"), ValueError, "mode must be 'min' or 'max', got 'low'"),
    (lambda: lr_scheduler.ReduceLROnPlateau(S, factor=1), ValueError, "factor must be less than 1, got 1"),
    (
        lambda: lr_scheduler.ReduceLROnPlateau(S, threshold_mode="x"),
        ValueError,
        "threshold_mode must be 'rel'",
    ),
    (
        lambda: lr_scheduler.ReduceLROnPlateau(S, min_lr=[1, 2]),
        ValueError,
        "expected 1 values of min_lr, got 2",
    ),
    (lambda: lr_scheduler.ReduceLROnPlateau(7), TypeError, "ReduceLROnPlateau: expected an optimizer"),
    (lambda: lr_scheduler.ReduceLROnPlateau(S).step("x"), TypeError, "step needs a number, .* got 'x'"),
    (lambda: lr_scheduler.ReduceLROnPlateau(S).step(1.0, 3), ValueError, "leave the epoch out"),
    (
        lambda: lr_scheduler.StepLR(S, 2).step(3),
        ValueError,
        r"StepLR: step\(3\) is not supported; call step\(\)",
    ),
    (
        lambda: lr_scheduler.ChainedScheduler([]),
        ValueError,
        "ChainedScheduler: expected a list of at least one",
    ),
    (lambda: lr_scheduler.ChainedScheduler([7]), TypeError, "expected schedules, got int at index 0"),
    (
        lambda: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(sgd(), 2), lr_scheduler.StepLR(sgd(), 2)]),
        ValueError,
        "same optimizer, StepLR at index 1 is not",
    ),
    (
        lambda: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(S)]),
        ValueError,
        "ReduceLROnPlateau at index 0 needs a measurement",
    ),
    (
        lambda: lr_scheduler.SequentialLR(S, [lr_scheduler.StepLR(S, 2)], [3]),
        ValueError,
        "SequentialLR: 1 schedules need 0 milestones, got 1",
    ),
    (
        lambda: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(S, 2)]).load_state_dict(
            {"_schedulers": []}
        ),
        ValueError,
        "ChainedScheduler.load_state_dict: the state has 0 schedules, this one has 1",
    ),
    (lambda: lr_scheduler.StepLR(S, "2"), TypeError, "StepLR: step_size must be a number, got '2'"),
    (lambda: lr_scheduler.StepLR(S, 1.5), ValueError, "StepLR: step_size must be a whole number, got 1.5"),
    (lambda: lr_scheduler.StepLR(S, 0), ValueError, "StepLR: step_size must be positive, got 0"),
    (lambda: lr_scheduler.StepLR(S, True), TypeError, "StepLR: step_size must be a number, got True"),
    (lambda: lr_scheduler.StepLR(S, 2, "x"), TypeError, "StepLR: gamma must be a number, got 'x'"),
    (lambda: lr_scheduler.MultiStepLR(S, 3), TypeError, "MultiStepLR: milestones must be a list .* got 3"),
    (lambda: lr_scheduler.MultiStepLR(S, ["a"]), TypeError, "MultiStepLR: each of milestones must be a numb"),
    (lambda: lr_scheduler.MultiStepLR(S, [1.5]), ValueError, "each of milestones must be a whole number"),
    (lambda: lr_scheduler.MultiStepLR(S, [1], None), TypeError, "MultiStepLR: gamma must be a number, got N"),
    (lambda: lr_scheduler.ExponentialLR(S, float("nan")), ValueError, "ExponentialLR: gamma .* got NaN"),
    (lambda: lr_scheduler.ConstantLR(S, 0.5, 1.5), ValueError, "ConstantLR: total_iters must be a whole"),
    (lambda: lr_scheduler.ConstantLR(S, "x"), TypeError, "ConstantLR: factor must be a number, got 'x'"),
    (lambda: lr_scheduler.LinearLR(S, total_iters="x"), TypeError, "LinearLR: total_iters must be a number"),
    (lambda: lr_scheduler.PolynomialLR(S, [3]), TypeError, r"PolynomialLR: total_iters .* got \[3\]"),
    (lambda: lr_scheduler.PolynomialLR(S, 3, "x"), TypeError, "PolynomialLR: power must be a number"),
    (lambda: lr_scheduler.CosineAnnealingLR(S, "9"), TypeError, "CosineAnnealingLR: T_max must be a number"),
    (
        lambda: lr_scheduler.CosineAnnealingLR(S, 9, "x"),
        TypeError,
        "CosineAnnealingLR: eta_min must be a num",
    ),
    (
        lambda: lr_scheduler.CosineAnnealingWarmRestarts(S, 9, eta_min="x"),
        TypeError,
        "CosineAnnealingWarmRestarts: eta_min must be a number, got 'x'",
    ),
    (
        lambda: lr_scheduler.ReduceLROnPlateau(S, factor=-0.5),
        ValueError,
        "ReduceLROnPlateau: factor must not be negative, got -0.5",
    ),
    (
        lambda: lr_scheduler.ReduceLROnPlateau(S, patience="3"),
        TypeError,
        "ReduceLROnPlateau: patience must be a number, got '3'",
    ),
    (
        lambda: lr_scheduler.ReduceLROnPlateau(S, min_lr=["a"]),
        TypeError,
        "ReduceLROnPlateau: min_lr must be a number, got 'a'",
    ),
    (
        lambda: lr_scheduler.OneCycleLR(M, 0.1, 9, div_factor=0),
        ValueError,
        "OneCycleLR: div_factor must be positive, got 0",
    ),
    (
        lambda: lr_scheduler.OneCycleLR(M, 0.1, 9, final_div_factor=0),
        ValueError,
        "OneCycleLR: final_div_factor must be positive, got 0",
    ),
    (lambda: lr_scheduler.OneCycleLR(M, "x", 9), TypeError, "OneCycleLR: max_lr must be a number, got 'x'"),
    (
        lambda: lr_scheduler.OneCycleLR(M, 0.1, epochs="3", steps_per_epoch=2),
        TypeError,
        "OneCycleLR: epochs must be a number, got '3'",
    ),
    (lambda: lr_scheduler.CyclicLR(M, 0.1, "x"), TypeError, "CyclicLR: max_lr must be a number, got 'x'"),
    (lambda: lr_scheduler.CyclicLR(M, 0.1, 1, "x"), TypeError, "CyclicLR: step_size_up must be a number"),
    (
        lambda: added(*SCHEDULES[1]),
        ValueError,
        "LambdaLR: a parameter group was added, and there is no lr_lambda",
    ),
    (
        lambda: added(*SCHEDULES[12]),
        ValueError,
        "CyclicLR: a parameter group was added, and there is no max_lr",
    ),
]


def test_whole_numbers_may_be_floats():
    """Such as ``0.1 * epochs``; PyTorch accepts them too."""
    assert lr_scheduler.StepLR(sgd(), 3.0).step_size == 3
    assert lr_scheduler.MultiStepLR(sgd(), np.array([4, 2])).milestones == [2, 4]
    assert lr_scheduler.LinearLR(sgd(), total_iters=np.int64(5)).total_iters == 5
    assert lr_scheduler.CosineAnnealingLR(sgd(), 2.5).T_max == 2.5


@pytest.mark.parametrize("make, error, message", REFUSED)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
