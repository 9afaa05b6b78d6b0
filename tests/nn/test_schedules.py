"""Schedules that work on the learning rate of the moment, and states of optimizers and schedules that PyTorch
wrote."""

from __future__ import annotations

from math import cos, pi

import numpy as np
import pytest

import fastconv as fc
from fastconv import optim
from fastconv.optim import lr_scheduler

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 7, 7, 9], "gamma": 0.3}),
    ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 30}),
]
CHAINED = [s for s in SCHEDULES if s[0] != "OneCycleLR"]


def rates(opt):
    return [g["lr"] for g in opt.param_groups]


def pair(torch, kind="SGD", **options):
    """An optimizer of two groups, here and in PyTorch."""
    options = {"lr": 0.2, **({"momentum": 0.9} if kind == "SGD" else {}), **options}
    mine = getattr(optim, kind)([{"params": [fc.zeros(2)]}, {"params": [fc.zeros(3)], "lr": 0.7}], **options)
    theirs = getattr(torch.optim, kind)(
        [{"params": [torch.zeros(2)]}, {"params": [torch.zeros(3)], "lr": 0.7}], **options
    )
    return mine, theirs


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def together(mine, theirs, schedules, steps, event=None):
    """Both libraries side by side, the learning rates (and momenta) compared after each step."""
    for t in range(steps):
        if event:
            for opt in (mine, theirs):
                event(t, opt)
        theirs.step()
        for ours, reference in schedules:
            ours.step()
            reference.step()
        np.testing.assert_allclose(rates(mine), rates(theirs), rtol=1e-9, atol=1e-12)
        for g, h in zip(mine.param_groups, theirs.param_groups):
            key = "betas" if "betas" in h else "momentum"
            assert g[key] == pytest.approx(h[key], rel=1e-9)


def both(torch, mine, theirs, name, options):
    return getattr(lr_scheduler, name)(mine, **options), getattr(torch.optim.lr_scheduler, name)(
        theirs, **options
    )


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_a_rate_set_by_hand_like_torch(torch, name, options):
    mine, theirs = pair(torch)

    def by_hand(t, opt):
        if t in (4, 11):
            opt.param_groups[0]["lr"] = 0.05 * t
            opt.param_groups[1]["lr"] *= 2

    together(mine, theirs, [both(torch, mine, theirs, name, options)], 25, by_hand)


@pytest.mark.parametrize("first", CHAINED)
@pytest.mark.parametrize("second", SCHEDULES)
def test_two_schedules_at_once_like_torch(torch, first, second):
    mine, theirs = pair(torch)
    schedules = [both(torch, mine, theirs, *first), both(torch, mine, theirs, *second)]
    together(mine, theirs, schedules, 25)


def test_two_schedules_multiply():
    opt = optim.SGD([fc.zeros(2)], lr=1.0)
    schedules = [lr_scheduler.StepLR(opt, 2, 0.1), lr_scheduler.MultiStepLR(opt, [3], 0.5)]
    found = []
    for _ in range(5):
        found += rates(opt)
        for s in schedules:
            s.step()
    assert found == pytest.approx([1, 1, 0.1, 0.05, 0.005])


@pytest.mark.parametrize("name, options", SCHEDULES[:2])
def test_a_group_added_later_like_torch(torch, name, options):
    mine, theirs = pair(torch)

    def add(t, opt):
        if t == 4:
            opt.add_param_group({"params": [(fc if opt is mine else torch).zeros(1)], "lr": 0.5})

    together(mine, theirs, [both(torch, mine, theirs, name, options)], 20, add)
    assert len(rates(mine)) == 3 and rates(mine)[2] != 0.5


def test_a_group_added_later_by_hand():
    """It follows from the rate it came with, in the proportion of the others, also beyond the lowest point of
    a cosine."""
    opt = optim.SGD([fc.zeros(2)], lr=1.0)
    schedule = lr_scheduler.CosineAnnealingLR(opt, 4)
    schedule.step()
    opt.add_param_group({"params": [fc.zeros(1)], "lr": 0.3})
    half = [(1 + cos(pi * t / 4)) / 2 for t in range(9)]
    for t in range(2, 5):
        schedule.step()
        assert rates(opt) == pytest.approx([half[t], 0.3 * half[t] / half[1]], abs=1e-12)
    schedule.step()
    assert rates(opt) == pytest.approx([half[5], 0.3 * half[5]])  # up again, by its own first rate
    assert schedule.base_lrs == [1.0, 0.3]


def test_a_group_added_later_in_a_cycle():
    opt = optim.Adam([fc.zeros(2)])
    schedule = lr_scheduler.OneCycleLR(
        opt, 1.0, 11, pct_start=6 / 11, anneal_strategy="linear", div_factor=10
    )
    for _ in range(3):
        schedule.step()  # 0.1 + 3 * 0.18
    opt.add_param_group({"params": [fc.zeros(1)], "lr": 0.32, "betas": (0.5, 0.7)})
    schedule.step()
    assert rates(opt) == pytest.approx([0.82, 0.41])
    assert opt.param_groups[1]["betas"] == (opt.param_groups[0]["betas"][0], 0.7)


def test_a_group_that_was_removed():
    opt = optim.SGD([{"params": [fc.zeros(2)]}, {"params": [fc.zeros(3)]}])
    schedule = lr_scheduler.StepLR(opt, 2)
    opt.param_groups.pop()
    with pytest.raises(
        ValueError, match="StepLR: the schedule is for 2 parameter groups, but the optimizer has 1$"
    ):
        schedule.step()


@pytest.mark.parametrize("name, options", SCHEDULES)
@pytest.mark.parametrize("last", [2, 5])
def test_last_epoch_like_torch(torch, name, options, last):
    mine, theirs = pair(torch)
    for s in both(torch, mine, theirs, name, options):
        for _ in range(last + 1):
            s.step()
    continued = both(torch, mine, theirs, name, {**options, "last_epoch": last})
    assert rates(mine) == pytest.approx(rates(theirs))
    together(mine, theirs, [continued], 15)


def test_a_schedule_of_ones_own():
    """As PyTorch's documentation writes them: get_lr with the attributes of the base."""

    class Linear(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base * (1 - self.last_epoch / 10) for base in self.base_lrs]

    opt = optim.SGD([fc.zeros(2)], lr=1.0)
    schedule = Linear(opt)
    schedule.step()
    assert rates(opt) == schedule.get_last_lr() == [0.9]


OLD_STATES = [
    # what the schedules of earlier versions saved after three steps; base lr 0.2
    (
        "StepLR",
        {"step_size": 2, "gamma": 0.5},
        {"step_size": 2, "gamma": 0.5, "base_lrs": [0.2], "last_epoch": 3},
    ),
    (
        "MultiStepLR",
        {"milestones": [3, 1]},
        {"milestones": [1, 3], "gamma": 0.1, "base_lrs": [0.2], "last_epoch": 3},
    ),
    ("CosineAnnealingLR", {"T_max": 6}, {"T_max": 6, "eta_min": 0.0, "base_lrs": [0.2], "last_epoch": 3}),
    (
        "OneCycleLR",
        {"max_lr": 5.0, "total_steps": 10},
        {
            "total_steps": 10,
            "anneal_strategy": "cos",
            "cycle_momentum": True,
            "base_lrs": [0.2],
            "last_epoch": 3,
            "phases": [[2.0, 1, 25.0, 0.95, 0.85], [9, 25.0, 1 / 1e4, 0.85, 0.95]],
        },
    ),
]


@pytest.mark.parametrize("name, options, state", OLD_STATES)
def test_states_of_earlier_versions(name, options, state):
    def make():
        opt = optim.SGD([fc.zeros(2)], lr=0.2, momentum=0.9)
        return opt, getattr(lr_scheduler, name)(opt, **options)

    opt, schedule = make()
    for _ in range(3):
        schedule.step()
    again, other = make()
    other.load_state_dict(state)
    again.load_state_dict(opt.state_dict())
    for _ in range(4):
        schedule.step()
        other.step()
        assert rates(opt) == rates(again) and other.state_dict() == schedule.state_dict()


# ------------------------------------------------------------------------------------------------- states of
# PyTorch
SHAPES = [(3, 2, 3, 3), (5, 4), (7,)]
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3}),
]


def advance(kind, opt, params, steps):
    for step in steps:
        rng = np.random.default_rng(step)
        for i, p in enumerate(params):
            g = rng.standard_normal(tuple(p.shape))
            if i < 2 or step > 1:  # the last parameter joins late, so that its count differs
                p.grad = kind.tensor(g)
        opt.step()


@pytest.mark.parametrize("name, options", OPTIMIZERS)
@pytest.mark.parametrize("file", [False, True])
def test_an_optimizer_of_torch_goes_on_here(torch, backend, tmp_path, name, options, file):
    start = [np.random.default_rng(9).standard_normal(s) for s in SHAPES]
    theirs = [torch.tensor(a, requires_grad=True) for a in start]
    ref = getattr(torch.optim, name)(theirs, **options)
    advance(torch, ref, theirs, range(4))
    mine = [fc.tensor(p.detach().numpy(), requires_grad=True) for p in theirs]
    opt = getattr(optim, name)(mine, lr=0.5)
    state = ref.state_dict()
    if file:
        torch.save(state, tmp_path / "opt.pth")
        state = fc.load(tmp_path / "opt.pth")
    opt.load_state_dict(state)
    advance(torch, ref, theirs, range(4, 9))
    advance(fc, opt, mine, range(4, 9))
    for p, q in zip(mine, theirs):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_an_optimizer_from_here_goes_on_in_torch(torch, name, options):
    mine = [fc.tensor(np.random.default_rng(9).standard_normal(s), requires_grad=True) for s in SHAPES]
    opt = getattr(optim, name)(mine, **options)
    advance(fc, opt, mine, range(4))
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in mine]
    ref = getattr(torch.optim, name)(theirs, **options)
    state = opt.state_dict()
    state["state"] = {
        i: {
            k: torch.tensor(v.numpy()) if isinstance(v, fc.Tensor) else torch.tensor(float(v))
            for k, v in s.items()
        }
        for i, s in state["state"].items()
    }
    ref.load_state_dict(state)
    advance(torch, ref, theirs, range(4, 9))
    advance(fc, opt, mine, range(4, 9))
    for p, q in zip(mine, theirs):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-9)


def test_a_torch_state_without_velocity(torch):
    """Older PyTorch wrote None for it."""
    (w,) = mine = [fc.zeros(3, requires_grad=True)]
    opt = optim.SGD(mine, lr=1.0, momentum=0.5)
    state = opt.state_dict()
    state["state"] = {0: {"momentum_buffer": None}}
    opt.load_state_dict(state)
    for _ in range(2):
        w.grad = fc.ones(3)
        opt.step()
    assert w.tolist() == [-2.5] * 3


def test_groups_are_matched_by_their_numbers(torch):
    """PyTorch numbers parameters through all groups; a state names them in any order."""
    a, b = fc.zeros(2, requires_grad=True), fc.zeros(2, requires_grad=True)
    opt = optim.SGD([{"params": [a]}, {"params": [b]}], lr=1.0, momentum=0.5)
    state = opt.state_dict()
    for g, number in zip(state["param_groups"], (7, 3)):
        g["params"] = [number]
    state["state"] = {3: {"momentum_buffer": fc.ones(2) * 3}, 7: {"momentum_buffer": fc.ones(2) * 7}}
    opt.load_state_dict(state)
    assert opt.state[a]["momentum_buffer"].tolist() == [7, 7] and opt.state[b][
        "momentum_buffer"
    ].tolist() == [3, 3]


def test_a_learning_rate_that_is_a_tensor(torch):
    p = torch.zeros(2)
    ref = torch.optim.Adam([p], lr=torch.tensor(0.25))
    opt = optim.Adam([fc.zeros(2)])
    state = ref.state_dict()
    state["param_groups"][0]["lr"] = fc.tensor(0.25)  # as fc.load reads it
    opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 0.25 and isinstance(opt.param_groups[0]["lr"], float)


@pytest.mark.parametrize(
    "kind, other, options, message",
    [
        ("Adamax", "Adam", {"amsgrad": True}, "Adamax.*amsgrad=True, which this one does not have"),
        ("Adamax", "AdamW", {}, "Adamax.*decoupled_weight_decay=True, which this one does not have"),
        ("AdamW", "Adam", {}, "AdamW: decoupled_weight_decay must be True, got False; .* use optim.Adam"),
    ],
)
def test_torch_states_that_mean_something_else(torch, kind, other, options, message):
    ref = getattr(torch.optim, other)([torch.zeros(2)], **options)
    with pytest.raises(ValueError, match=message):
        getattr(optim, kind)([fc.zeros(2)]).load_state_dict(ref.state_dict())


def test_an_incomplete_state():
    opt = optim.Adam([fc.zeros(2)])
    state = opt.state_dict()
    state["state"] = {0: {"exp_avg": fc.zeros(2)}}
    with pytest.raises(ValueError, match="the state of parameter 0 has no exp_avg_sq, step"):
        opt.load_state_dict(state)


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_a_schedule_of_torch_goes_on_here(torch, tmp_path, name, options):
    mine, theirs = pair(torch)
    _, reference = both(torch, mine, theirs, name, options)
    for _ in range(4):
        theirs.step()
        reference.step()
    torch.save({"schedule": reference.state_dict(), "optimizer": theirs.state_dict()}, tmp_path / "x.pth")
    saved = fc.load(tmp_path / "x.pth")
    again, _ = pair(torch)
    schedule = getattr(lr_scheduler, name)(again, **options)
    schedule.load_state_dict(saved["schedule"])
    again.load_state_dict(saved["optimizer"])
    assert schedule.last_epoch == 4
    together(again, theirs, [(schedule, reference)], 15)


def test_a_cycle_of_torch_with_other_arguments(torch):
    mine, theirs = pair(torch)
    _, reference = both(torch, mine, theirs, "OneCycleLR", {"max_lr": 0.3, "total_steps": 30})
    for options in (
        {"max_lr": 0.3, "total_steps": 40},
        {"max_lr": 0.4, "total_steps": 30},
        {"max_lr": 0.3, "total_steps": 30, "pct_start": 0.5},
    ):
        with pytest.raises(ValueError, match="PyTorch's schedule was made with other arguments"):
            lr_scheduler.OneCycleLR(mine, **options).load_state_dict(reference.state_dict())


def test_schedule_states_that_do_not_fit():
    opt = optim.SGD([{"params": [fc.zeros(2)]}, {"params": [fc.zeros(3)]}])
    state = lr_scheduler.StepLR(opt, 2).state_dict()
    with pytest.raises(
        ValueError, match="the state has 2 parameter groups, but the optimizer has 1; add the others first"
    ):
        lr_scheduler.StepLR(optim.SGD([fc.zeros(2)]), 2).load_state_dict(state)
    schedule = lr_scheduler.StepLR(opt, 2)
    with pytest.raises(TypeError, match="expected a dict as state_dict.. returns it, got method"):
        schedule.load_state_dict(schedule.state_dict)
