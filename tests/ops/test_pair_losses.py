"""The losses of pairs of elements: every row on every engine against functions of two numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import is_slow, op_backend
from support.selection import every, full

from fastconv.backends import PAIR_LOSSES, load

backend = op_backend


def entropy(p, q):
    return -(q * max(math.log(p), -100) + (1 - q) * max(math.log1p(-p), -100))


def softplus(v):
    return math.log1p(math.exp(-abs(v))) + max(v, 0)


def stirling(t):
    return t * math.log(t) - t + 0.5 * math.log(2 * math.pi * t) if t > 1 else 0


def huber(x, t, p):
    d = abs(x - t)
    return 0.5 * d * d if d <= p else p * (d - 0.5 * p)


def smooth(x, t, p):
    d = abs(x - t)
    return 0.5 * d * d / p if d < p else d - 0.5 * p


def gauss(x, t, p):
    return 0.5 * (math.log(max(t, p)) + x * x / max(t, p))


def embedded(x, t, p):
    return x if t == 1 else max(0, p - x)


#: Loss -> the function of input, target and number; what inputs and targets are; the number.
SCALAR = {
    "l1": (lambda x, t, p: abs(x - t), "any", "any", None),
    "mse": (lambda x, t, p: (x - t) ** 2, "any", "any", None),
    "smooth_l1": (smooth, "any", "any", 0.7),
    "huber": (huber, "any", "any", 0.7),
    "bce": (lambda x, t, p: entropy(x, t), "share", "share", None),
    "bce_with_logits": (lambda x, t, p: t * softplus(-x) + (1 - t) * softplus(x), "any", "share", None),
    "bce_positive": (lambda x, t, p: t * softplus(-x), "any", "share", None),
    "bce_negative": (lambda x, t, p: (1 - t) * softplus(x), "any", "share", None),
    "kl_div": (lambda x, t, p: t * (math.log(t) - x), "any", "share", None),
    "kl_div_log_target": (lambda x, t, p: math.exp(t) * (t - x), "any", "any", None),
    "poisson_nll": (lambda x, t, p: x - t * math.log(x + p), "positive", "positive", 0.1),
    "poisson_nll_log_input": (lambda x, t, p: math.exp(x) - t * x, "any", "positive", None),
    "poisson_nll_full": (
        lambda x, t, p: x - t * math.log(x + p) + stirling(t), "positive", "positive", 0.1
    ),
    "poisson_nll_log_input_full": (
        lambda x, t, p: math.exp(x) - t * x + stirling(t), "any", "positive", None
    ),
    "gaussian_nll": (gauss, "any", "positive", 0.05),
    "hinge_embedding": (embedded, "any", "sign", 0.8),
    "margin_ranking": (lambda x, t, p: max(0, p - t * x), "any", "sign", 0.3),
    "cosine_embedding": (lambda x, t, p: 1 - x if t == 1 else max(0, x - p), "any", "sign", 0.2),
    "soft_margin": (lambda x, t, p: softplus(-t * x), "any", "sign", None),
}  # fmt: skip
KINDS = {
    "any": lambda rng, n: 2 * rng.standard_normal(n),
    "share": lambda rng, n: rng.uniform(0.02, 0.98, n),
    "positive": lambda rng, n: rng.uniform(0.1, 5, n),
    "sign": lambda rng, n: rng.choice([-1.0, 1.0], n),
}
SMALL, LARGE = (3, 5), (3, 67, 47)  # what NumPy computes for the cpu engine, and what its kernels do
RTOL = {"float32": 4e-6, "float64": 1e-13}


@pytest.fixture
def engine(backend):
    return load(backend)


def made(name, shape, dtype):
    """Input, target, the function of two numbers, its values, and the number."""
    function, x_kind, t_kind, number = SCALAR[name]
    rng = np.random.default_rng(len(name))
    x, t = (KINDS[k](rng, math.prod(shape)).reshape(shape).astype(dtype) for k in (x_kind, t_kind))
    return x, t, np.vectorize(lambda a, b: function(a, b, number), otypes=[float]), number


def close(got, want, dtype, factor=1.0):
    assert got.dtype == dtype and got.shape == np.shape(want)
    scale = max(1.0, np.abs(want).max(initial=0.0))
    np.testing.assert_allclose(got, want, rtol=factor * RTOL[dtype], atol=factor * RTOL[dtype] * scale)


def test_list_is_complete():
    assert SCALAR.keys() == PAIR_LOSSES.keys()
    assert {n for n, row in SCALAR.items() if row[3] is not None} == {
        n for n, number in PAIR_LOSSES.items() if number is not None
    }


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", every(SCALAR, 5))
def test_values_and_derivatives(engine, name, shape, dtype, backend):
    """Losses, sums, means, and both gradients, which start from one number or from one for each element."""
    if is_slow(backend) and shape == LARGE:
        shape = (2, 33)  # more than one piece, and quick enough for a simulator
    x, t, function, number = made(name, shape, dtype)
    want = function(x.astype(float), t.astype(float))
    a, b = engine.asarray(x), engine.asarray(t)
    losses = engine.to_host(engine.pair_loss_fwd(name, a, b, number, "none"))
    close(losses, want, dtype)
    close(engine.to_host(engine.pair_loss_fwd(name, a, b, number, "sum")), want.sum(), dtype)
    close(engine.to_host(engine.pair_loss_fwd(name, a, b, number, "mean")), want.mean(), dtype)
    h, p, q = 1e-6, x.astype(float), t.astype(float)
    slopes = (
        (function(p + h, q) - function(p - h, q)) / (2 * h),
        (function(p, q + h) - function(p, q - h)) / (2 * h),
    )
    each = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for operand, slope in enumerate(slopes):
        if operand == 1 and SCALAR[name][2] == "sign":
            continue  # a class, not a number
        for gy in (np.array(0.75, dtype), each):
            got = engine.to_host(engine.pair_loss_bwd(name, operand, engine.asarray(gy), a, b, number))
            assert got.dtype == dtype
            np.testing.assert_allclose(got, gy * slope, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("order", ["plain", "strided", "channels-last", "broadcast"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_memory_layouts(engine, reduction, order, backend):
    shape = (2, 5, 3, 2) if is_slow(backend) else (4, 32, 12, 9)
    rng = np.random.default_rng(0)
    x, t = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    if order == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif order == "channels-last":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    elif order == "broadcast":
        t = np.broadcast_to(t[:, :1], shape)
    a, b = engine.asarray(x), engine.asarray(t)
    d = x.astype(float) - t
    want = {"none": d * d, "sum": (d * d).sum(), "mean": (d * d).mean()}[reduction]
    close(engine.to_host(engine.pair_loss_fwd("mse", a, b, None, reduction)), want, "float32")
    gx = engine.to_host(engine.pair_loss_bwd("mse", 0, engine.asarray(np.ones((), np.float32)), a, b, None))
    close(gx, 2 * d, "float32")


@pytest.mark.parametrize("n", [6, *full(9000)])
def test_nan_and_infinity(engine, n, backend):
    """Both propagate; what is extreme but defined stays finite."""
    if is_slow(backend) and n > 100:
        n = 40
    x, t = np.zeros(n, np.float32), np.ones(n, np.float32)
    x[:5] = np.nan, np.inf, -np.inf, 200, -200
    a, b = engine.asarray(x), engine.asarray(t)
    for name in ("l1", "mse", "smooth_l1", "huber", "soft_margin"):
        y = engine.to_host(engine.pair_loss_fwd(name, a, b, PAIR_LOSSES[name], "none"))
        assert np.isnan(y[0]) and np.isfinite(y[3:]).all(), name
        assert np.isnan(engine.to_host(engine.pair_loss_fwd(name, a, b, PAIR_LOSSES[name], "sum"))), name
    y = engine.to_host(engine.pair_loss_fwd("soft_margin", a, b, None, "none"))
    np.testing.assert_allclose(y[1:5], [0, np.inf, 0, 200])
    y = engine.to_host(engine.pair_loss_fwd("bce_with_logits", a, b, None, "none"))
    np.testing.assert_allclose(y[3:5], [0, 200])
    x[:6] = 0, 1, 0, 1, 0.5, np.nan
    t[:6] = 0, 1, 1, 0, 0.5, 1
    y = engine.to_host(engine.pair_loss_fwd("bce", engine.asarray(x), engine.asarray(t), None, "none"))
    np.testing.assert_allclose(y[:6], [0, 0, 100, 100, math.log(2), np.nan], rtol=1e-6)
    g = engine.to_host(
        engine.pair_loss_bwd("bce", 0, engine.asarray(np.ones((), np.float32)), engine.asarray(x), b, None)
    )
    assert np.isfinite(g[:5]).all()


def test_nothing(engine):
    """The sum of no losses is 0, their mean NaN."""
    a = engine.asarray(np.zeros((0, 3), np.float32))
    assert engine.to_host(engine.pair_loss_fwd("l1", a, a, None, "none")).shape == (0, 3)
    assert engine.to_host(engine.pair_loss_fwd("l1", a, a, None, "sum")) == 0
    assert np.isnan(engine.to_host(engine.pair_loss_fwd("l1", a, a, None, "mean")))
    gy = engine.asarray(np.ones((), np.float32))
    assert engine.to_host(engine.pair_loss_bwd("l1", 0, gy, a, a, None)).shape == (0, 3)


def test_results_repeat(engine):
    rng = np.random.default_rng(0)
    x, t = (engine.asarray(rng.standard_normal(20000).astype(np.float32)) for _ in range(2))
    results = [engine.to_host(engine.pair_loss_fwd("mse", x, t, None, "mean")) for _ in range(3)]
    assert len({r.tobytes() for r in results}) == 1
