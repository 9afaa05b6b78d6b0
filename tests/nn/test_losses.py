"""The losses as functions and layers against PyTorch: every option, shapes and types that hypothesis draws,
gradients."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")

#: Loss -> layer, what input and target are, and the options that are drawn.
LOSSES = {
    "l1_loss": ("L1Loss", "normal", "normal", {}),
    "mse_loss": ("MSELoss", "normal", "normal", {}),
    "smooth_l1_loss": ("SmoothL1Loss", "normal", "normal", {"beta": st.sampled_from([0.0, 0.5, 1.0])}),
    "huber_loss": ("HuberLoss", "normal", "normal", {"delta": st.sampled_from([0.5, 1.0])}),
    "binary_cross_entropy": ("BCELoss", "share", "share", {}),
    "binary_cross_entropy_with_logits": ("BCEWithLogitsLoss", "normal", "share", {}),
    "kl_div": ("KLDivLoss", "normal", "share", {"log_target": st.booleans()}),
    "poisson_nll_loss": (
        "PoissonNLLLoss", "positive", "positive",
        {"log_input": st.booleans(), "full": st.booleans(), "eps": st.sampled_from([1e-8, 0.1])},
    ),
    "soft_margin_loss": ("SoftMarginLoss", "normal", "sign", {}),
    "hinge_embedding_loss": (
        "HingeEmbeddingLoss", "positive", "sign", {"margin": st.sampled_from([0.5, 2.0])}
    ),
    "multilabel_soft_margin_loss": ("MultiLabelSoftMarginLoss", "normal", "share", {}),
}  # fmt: skip
KINDS = {
    "normal": lambda rng, s: rng.standard_normal(s),
    "share": lambda rng, s: rng.uniform(0.02, 0.98, s),
    "positive": lambda rng, s: rng.uniform(0.1, 4, s),
    "sign": lambda rng, s: rng.choice([-1.0, 1.0], s),
}
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def compare(call, arrays, dtype, what, differentiable=None):
    """``call(library, *tensors)`` with fastconv and with PyTorch in float64: result and gradients."""
    count = len(arrays) if differentiable is None else differentiable
    learned = [i < count and a.dtype.kind == "f" for i, a in enumerate(arrays)]
    mine = [fc.tensor(a, requires_grad=g) for a, g in zip(arrays, learned)]
    theirs = [torch.tensor(a.astype(float) if a.dtype.kind == "f" else a) for a in arrays]
    theirs = [t.requires_grad_() if g else t for t, g in zip(theirs, learned)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, want = call(fc.nn, *mine), call(torch.nn, *theirs)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype], "err_msg": what}
    assert got.dtype == dtype and got.shape == tuple(want.shape), what
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), **tolerance)
    gy = np.random.default_rng(1).standard_normal(got.shape)
    got.backward(fc.tensor(gy.astype(dtype)))
    want.backward(torch.tensor(gy))
    for m, t, g in zip(mine, theirs, learned):
        if g:
            np.testing.assert_allclose(m.grad.numpy(), t.grad.numpy(), **tolerance)


def laid_out(a, layout):
    if layout == "reversed":
        return a[..., ::-1].copy()[..., ::-1]
    if layout == "channels-last" and a.ndim > 2:
        return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    return a


@st.composite
def calls(draw, name):
    _, x_kind, t_kind, options = LOSSES[name]
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    layout = draw(st.sampled_from(["plain", "reversed", "channels-last"]))
    x, t = (laid_out(KINDS[k](rng, shape).astype(dtype), layout) for k in (x_kind, t_kind))
    reductions = ["mean", "sum", "none"] + ["batchmean"] * (name == "kl_div")
    kwargs = {k: draw(v) for k, v in options.items()} | {"reduction": draw(st.sampled_from(reductions))}
    return x, t, dtype, kwargs


@pytest.mark.parametrize("name", LOSSES)
def test_as_pytorch(name, backend):
    layer = LOSSES[name][0]
    differentiable = 1 if LOSSES[name][2] == "sign" else None

    @given(calls(name))
    @settings(max_examples=25, deadline=None)
    def check(drawn):
        x, t, dtype, kwargs = drawn
        with fc.backend(backend):
            compare(
                lambda lib, a, b: getattr(lib.functional, name)(a, b, **kwargs),
                (x, t),
                dtype,
                f"{name} {kwargs}",
                differentiable,
            )
            compare(
                lambda lib, a, b: getattr(lib, layer)(**kwargs)(a, b), (x, t), dtype, layer, differentiable
            )

    check()


@pytest.mark.parametrize("name", LOSSES)
def test_layers_have_pytorchs_signatures(name):
    layer = LOSSES[name][0]
    names = [list(inspect.signature(getattr(lib, layer)).parameters) for lib in (nn, torch.nn)]
    assert names[0] == names[1]
    functions = [list(inspect.signature(getattr(lib, name)).parameters) for lib in (F, torch.nn.functional)]
    assert functions[0] == functions[1]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_three_inputs(reduction, backend):
    """Losses of three tensors, with every option that changes the formula."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((4, 6)) for _ in range(3))
    sign, row_sign = rng.choice([-1.0, 1.0], (4, 6)), rng.choice([-1.0, 1.0], 4)
    var = rng.uniform(0.1, 2, (4, 6))
    r = {"reduction": reduction}
    for margin in (0.0, 0.7):
        options = {"margin": margin, **r}
        compare(
            lambda lib, *t, o=options: lib.MarginRankingLoss(**o)(*t), (a, b, sign), "float64", "ranking", 2
        )
        compare(
            lambda lib, *t, o=options: lib.CosineEmbeddingLoss(**o)(*t),
            (a, b, row_sign),
            "float64",
            "cosine",
            2,
        )
    for options in ({}, {"p": 1.0}, {"swap": True}, {"margin": 3.0, "p": 3.0, "eps": 1e-3}):
        options = {**options, **r}
        compare(lambda lib, *t, o=options: lib.TripletMarginLoss(**o)(*t), (a, b, c), "float64", "triplet")

    def squares(x, y):
        return ((x - y) ** 2).sum(-1)

    for options in ({}, {"distance_function": squares}, {"swap": True, "margin": 0.3}):
        options = {**options, **r}
        compare(
            lambda lib, *t, o=options: lib.TripletMarginWithDistanceLoss(**o)(*t),
            (a, b, c),
            "float64",
            "triplet",
        )
    for options in ({}, {"full": True}, {"eps": 0.5}):
        options = {**options, **r}
        for v in (var, var[:, :1], var[:, 0]):
            compare(lambda lib, *t, o=options: lib.GaussianNLLLoss(**o)(*t), (a, b, v), "float64", "gaussian")
    compare(lambda lib, x, y: lib.functional.gaussian_nll_loss(x, y, 0.5, **r), (a, b), "float64", "number")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_class_margins(reduction, backend):
    rng = np.random.default_rng(0)
    x, labels, weight = rng.standard_normal((5, 4)), rng.integers(0, 4, 5), rng.uniform(0.5, 2, 4)
    for options in ({}, {"p": 2}, {"margin": 0.3}, {"margin": -1.0}):
        options = {**options, "reduction": reduction}
        compare(lambda lib, a, t, o=options: lib.MultiMarginLoss(**o)(a, t), (x, labels), "float64", "margin")
        got = nn.MultiMarginLoss(weight=fc.tensor(weight), **options)(fc.tensor(x), fc.tensor(labels))
        want = torch.nn.MultiMarginLoss(weight=torch.tensor(weight), **options)(
            torch.tensor(x), torch.tensor(labels)
        )
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)
    # the second -1 ends nothing; a class may occur twice
    several = np.array([[0, 2, -1, 1], [1, 1, -1, 0], [-1, 0, 0, 0], [3, 2, 1, 0], [2, -1, -1, -1]])
    compare(
        lambda lib, a, t: lib.MultiLabelMarginLoss(reduction=reduction)(a, t),
        (x, several),
        "float64",
        "several",
    )
    compare(
        lambda lib, a, t: lib.MultiLabelMarginLoss(reduction=reduction)(a, t),
        (x[0], several[0]),
        "float64",
        "one",
    )


@pytest.mark.parametrize("name", ["l1_loss", "mse_loss", "huber_loss", "binary_cross_entropy"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weights(name, reduction, backend):
    rng = np.random.default_rng(0)
    x, t, w = (rng.uniform(0.1, 0.9, (3, 4)) for _ in range(3))
    compare(
        lambda lib, a, b, c: getattr(lib.functional, name)(a, b, weight=c, reduction=reduction),
        (x, t, w),
        "float64",
        name,
        2,
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_positive_weights(reduction, backend):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((3, 4)) * 5, rng.uniform(0, 1, (3, 4))
    for pos in (rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, (3, 1))):
        compare(
            lambda lib, a, b, c: lib.functional.binary_cross_entropy_with_logits(
                a, b, pos_weight=c, weight=c / 2, reduction=reduction
            ),
            (x, t, pos),
            "float64",
            "pos_weight",
            2,
        )


@pytest.mark.parametrize("name", ["l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss"])
def test_shapes_that_differ_are_broadcast_with_a_warning(name, backend):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, 1)), rng.standard_normal(3)
    with pytest.warns(UserWarning, match=rf"{name}: input 4x1 and target 3 differ"):
        getattr(F, name)(x, t)
    compare(lambda lib, a, b: getattr(lib.functional, name)(a, b), (x, t), "float64", name)


@pytest.mark.parametrize("name", ["soft_margin_loss", "hinge_embedding_loss", "poisson_nll_loss", "kl_div"])
def test_others_are_broadcast_in_silence(name, backend):
    rng = np.random.default_rng(0)
    shape = (4, 3) if name == "soft_margin_loss" else (4, 1)  # whose input is not broadcast
    x, t = rng.standard_normal(shape), rng.uniform(0.1, 1, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(F, name)(x, t, reduction="sum")
    learned = 1 if LOSSES[name][2] == "sign" else None
    compare(
        lambda lib, a, b: getattr(lib.functional, name)(a, b, reduction="sum"),
        (x, t),
        "float64",
        name,
        learned,
    )


@pytest.mark.parametrize("name", ["l1_loss", "soft_margin_loss", "binary_cross_entropy_with_logits"])
def test_targets_of_integers_are_converted(name, backend):
    x = fc.tensor([0.5, -1.0, 2.0], requires_grad=True)
    loss = getattr(F, name)(x, fc.tensor([1, 0, 1]))
    assert loss.dtype == np.float32
    assert loss.item() == getattr(F, name)(x, fc.tensor([1.0, 0.0, 1.0])).item()
    loss.backward()
    assert x.grad is not None


def test_mean_of_divergence_warns():
    with pytest.warns(UserWarning, match="'batchmean' divides by the batch"):
        F.kl_div(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("rows", [5, 9000])
def test_an_ignored_row_of_log_probabilities_may_be_infinite(rows, backend):
    rng = np.random.default_rng(0)
    x, target = np.log(rng.random((rows, 7), np.float32)), rng.integers(0, 7, rows)
    x[2, 3], target[2], weight = -np.inf, 3, rng.random(7, np.float32)
    for reduction in ("mean", "sum", "none"):
        for w in (None, weight):
            found = []
            for lib in (torch, fc):
                a, options = lib.tensor(x, requires_grad=True), {"ignore_index": 3, "reduction": reduction}
                with fc.backend(backend):
                    loss = lib.nn.functional.nll_loss(
                        a, lib.tensor(target), None if w is None else lib.tensor(w), **options
                    )
                    loss.sum().backward()
                found.append((loss.detach().numpy(), a.grad.numpy()))
            for want, got in zip(*found):
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-9)


def test_cross_entropy_takes_pytorchs_positions():
    x, t = fc.tensor(np.eye(3, dtype=np.float32)), fc.tensor([0, 1, 1])
    got = F.cross_entropy(x, t, None, None, 1, None, "sum", 0.1).item()
    want = torch.nn.functional.cross_entropy(
        torch.eye(3), torch.tensor([0, 1, 1]), None, None, 1, None, "sum", 0.1
    ).item()
    assert got == pytest.approx(want, rel=1e-6)


def test_state_of_layers():
    """Class weights are buffers; the other options are not in the state."""
    assert nn.L1Loss().state_dict() == {}
    assert list(nn.MultiMarginLoss(weight=fc.ones(3)).state_dict()) == ["weight"]
    assert not hasattr(nn.MSELoss(), "size_average")
