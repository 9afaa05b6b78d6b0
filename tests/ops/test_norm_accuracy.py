"""Normalisation of data whose variance is hard to compute: far from zero, with outliers in every place,
constant, not finite.

The expectation is two passes in float64. A variance summed about one sample fails where that sample is an
outlier, one summed about zero fails where the mean is large.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import is_slow, needs_cuda
from support.selection import every, full

import fastconv as fc
from fastconv import spec
from fastconv.backends import load
from fastconv.nn import functional as F

BACKENDS = ["numpy", "cpu", pytest.param("cuda", marks=needs_cuda)]
PLACES = {
    "none": (slice(0), slice(None)),
    "first pixel": (0, slice(None), 0, 0),
    "pixel of the first block": (0, slice(None), 1, 2),
    "middle pixel": (1, slice(None), 2, 3),
    "last pixel": (-1, slice(None), -1, -1),
    "first row": (0, slice(None), 0),
    "first image": (0,),
}
SHAPES = [
    (8, 64, 16, 16),
    (3, 21, 9, 7),
    (4, 3, 17, 19),
    (2, 130, 5, 5),
    (5, 6, 1, 2),
    (64, 40),
    (300, 3),
    (2, 5, 1000),
    (2, 4, 3, 4, 5),
]


def data(shape, place="none", value=0.0, dtype=np.float32, mean=1000.0):
    """``mean`` + N(0, 1), but for one place."""
    x = (np.random.default_rng(0).standard_normal(shape) + mean).astype(dtype)
    x[PLACES[place] if x.ndim == 4 else PLACES[place][:1]] = value
    return x


def moments(x, axes):
    x = x.astype(np.float64)
    mean = x.mean(axes, keepdims=True)
    return mean, np.square(x - mean).mean(axes, keepdims=True)


def expected(kind, x, gy, weight, groups, eps):
    """Result and gradients of input and weight in float64, from the definition."""
    x, gy = x.astype(np.float64), gy.astype(np.float64)
    column = (1, -1, *(1,) * (x.ndim - 2))
    rows = {"batch": x.shape, "group": (len(x), groups, -1), "layer": (len(x), -1)}[kind]
    axes = (0, *range(2, x.ndim)) if kind == "batch" else len(rows) - 1
    mean, variance = moments(x.reshape(rows), axes)
    xhat = (x.reshape(rows) - mean) / np.sqrt(variance + eps)
    scale = weight.astype(np.float64).reshape(x.shape[1:] if kind == "layer" else column)
    g = (gy * scale).reshape(rows)
    gx = (g - g.mean(axes, keepdims=True) - xhat * (g * xhat).mean(axes, keepdims=True)) / np.sqrt(
        variance + eps
    )
    xhat = xhat.reshape(x.shape)
    return (
        xhat * scale,
        gx.reshape(x.shape),
        (gy * xhat).sum(0 if kind == "layer" else (0, *range(2, x.ndim))),
    )


def computed(library, functions, leaf, kind, x, gy, weight, groups, eps):
    x, weight = leaf(x), leaf(weight)
    if kind == "batch":
        y = functions.batch_norm(x, None, None, weight, None, True, 0.1, eps)
    elif kind == "group":
        y = functions.group_norm(x, groups, weight, None, eps)
    else:
        y = functions.layer_norm(x, tuple(x.shape[1:]), weight, None, eps)
    y.backward(library.from_numpy(gy).to(y.device))
    return [t.cpu().numpy() for t in (y.detach(), x.grad, weight.grad)]


def ours(backend, *case):
    def leaf(a):
        t = fc.from_numpy(a).to("cuda" if backend == "cuda" else "cpu")
        t.requires_grad = True
        return t

    with fc.backend("cpu" if backend == "cuda" else backend):
        return computed(fc, F, leaf, *case)


def case_of(kind, x, eps=1e-5):
    rng = np.random.default_rng(1)
    weight = (rng.random(x.shape[1:] if kind == "layer" else x.shape[1]) + 0.5).astype(x.dtype)
    return kind, x, rng.standard_normal(x.shape).astype(x.dtype), weight, 2, eps


def errors(got, want):
    """Of the result: beside 1 and its values; of the gradients: beside their largest value."""
    (y, *grads), (y_want, *grads_want) = got, want
    return [
        (np.abs(y - y_want) / (1 + np.abs(y_want))).max(),
        *(np.abs(g - w).max() / np.abs(w).max() for g, w in zip(grads, grads_want)),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
@pytest.mark.parametrize("value", [1e6, *full(0.0)])
@pytest.mark.parametrize("place", every(PLACES, 2))
def test_outliers(place, value, kind, backend):
    x = data((4, 4, 5, 6) if is_slow(backend) else (4, 24, 40, 40), place, value)
    case = case_of(kind, x)
    # A float32 mean of 1000 is known to 3e-5, in units of a deviation of 1.
    for error, bound in zip(errors(ours(backend, *case), expected(*case)), (5e-5, 2e-5, 5e-5)):
        assert error < bound


@pytest.mark.parametrize("place", PLACES)
def test_no_worse_than_pytorch(place):
    torch = pytest.importorskip("torch")
    case = case_of("batch", data((4, 24, 40, 40), place, 0.0))
    want = expected(*case)
    theirs = computed(
        torch, torch.nn.functional, lambda a: torch.from_numpy(a).clone().requires_grad_(), *case
    )
    for error, bound in zip(errors(ours("cpu", *case), want), errors(theirs, want)):
        assert error < 2 * bound + 1e-6


def test_a_large_batch():
    """A first pixel of 0 before 131071 of 1000 + N(0, 1)."""
    x = data((8, 64, 128, 128), "first pixel", 0.0)
    with fc.backend("cpu"):
        y = F.batch_norm(fc.from_numpy(x), None, None, training=True).numpy()
    for c in range(x.shape[1]):
        mean, variance = moments(x[:, c], (0, 1, 2))
        want = (x[:, c] - mean) / np.sqrt(variance + 1e-5)
        assert (np.abs(y[:, c] - want) / (1 + np.abs(want))).max() < 5e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_batch_statistics(shape, dtype, backend):
    """Relative to the exact variance, and to the mean's distance from zero, which float64 blocks are merged
    at."""
    if is_slow(backend) and np.prod(shape) > 2000:
        pytest.skip("slow in the simulator")
    engine, axes = load(backend), (0, *range(2, len(shape)))
    unit, bound = np.finfo(dtype).eps, {"float32": 1.5e-6, "float64": 1e-13}[dtype]
    places = ("first pixel", "last pixel", "first image")
    for place, value in (("none", 0), *((p, v) for p in places for v in (0, -1e6, 1e12))):
        x = data(shape, place, value, dtype)
        mean, variance = (engine.to_host(v) for v in engine.batch_norm_stats(engine.asarray(x)))
        want_mean, want_variance = (v.reshape(-1) for v in moments(x, axes))
        np.testing.assert_allclose(
            mean, want_mean, rtol=4 * unit, atol=8 * unit * np.sqrt(want_variance.max())
        )
        # A numpy mean is rounded to the dtype before deviations are taken from it.
        np.testing.assert_allclose(
            variance, want_variance, rtol=bound, atol=(unit * np.abs(want_mean).max()) ** 2
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567, -3e7])
def test_constant_channels(value, dtype, backend):
    """Variance zero, or nothing beside the mean, and never negative."""
    engine = load(backend)
    for shape in ((3, 5, 7, 9), (2, 64, 4, 4), (130, 6)):
        x = np.full(shape, value, dtype)
        if is_slow(backend) and x.size > 2500:
            continue
        mean, variance = (engine.to_host(v) for v in engine.batch_norm_stats(engine.asarray(x)))
        np.testing.assert_allclose(mean, x.reshape(-1)[0], rtol=16 * np.finfo(dtype).eps)
        assert (variance >= 0).all() and (variance <= (16 * np.finfo(dtype).eps * value) ** 2).all()
        with fc.backend("cpu" if backend == "cuda" else backend):
            y = F.batch_norm(fc.from_numpy(x), None, None, training=True)
        # At most some rounding of the mean, times 1 / sqrt(eps).
        assert np.abs(y.numpy()).max() <= 16 * np.finfo(dtype).eps * abs(value) / np.sqrt(1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 1, 0, 0), (0, 1, 2, 1), (2, 1, 4, 4)])
def test_what_is_not_finite_stays_in_its_channel(at, bad, backend):
    x = data((3, 4, 5, 5))
    spoiled = x.copy()
    spoiled[at] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        clean, dirty = (ours(backend, *case_of("batch", a))[0] for a in (x, spoiled))
    assert np.isnan(dirty[:, 1]).all()
    np.testing.assert_array_equal(np.delete(dirty, 1, 1), np.delete(clean, 1, 1))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_scales(kind, scale):
    """Only the ratio of values and deviation counts, with an eps far below the variance."""
    x = data((4, 8, 12, 12), mean=3.0)
    eps = 1e-5 * scale**2
    want = ours("cpu", *case_of(kind, x))
    got = ours("cpu", *case_of(kind, (x * scale).astype(np.float32), eps))
    np.testing.assert_allclose(got[0], want[0], atol=5e-6)
    np.testing.assert_allclose(got[1] * scale, want[1], atol=5e-6)


@needs_cuda
@pytest.mark.parametrize("place", PLACES)
def test_moments_that_a_convolution_leaves(place):
    """A BatchNorm on the GPU takes its statistics from the convolution before it, here one that changes
    nothing."""
    from fastconv.backends.cuda.ops import channel_reduce

    engine, before = load("cuda"), fc.get_float32_precision()
    fc.set_float32_precision("highest")
    try:
        x = data((4, 8, 7, 9), place, 1e6)
        w = np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1)
        y = engine.conv_fwd(
            engine.asarray(x), engine.asarray(w), None, spec.conv_spec("conv2d", x.shape, w.shape), "im2col"
        )
        assert channel_reduce.known_moments(channel_reduce.matrix(y)) is not None
        mean, variance = (engine.to_host(v) for v in engine.batch_norm_stats(y))
    finally:
        fc.set_float32_precision(before)
    want_mean, want_variance = (v.reshape(-1) for v in moments(x, (0, 2, 3)))
    np.testing.assert_allclose(mean, want_mean, rtol=3e-7, atol=2e-7 * np.sqrt(want_variance.max()))
    np.testing.assert_allclose(variance, want_variance, rtol=2e-6)
