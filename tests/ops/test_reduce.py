"""Reductions, scans and variances: the kernels, any shape against PyTorch, accuracy, errors."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from conftest import OP_BACKENDS, is_slow, op_backend
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import every, full

import fastconv as fc
from fastconv.backends import REDUCTIONS, load

backend = op_backend
FLOATS_ONLY = [n for n in REDUCTIONS if n.startswith("norm") or n in ("mean", "nansum")]


@pytest.fixture(scope="module", autouse=True)
def _kernels_for_small_arrays():
    """The cpu engine gives small arrays to NumPy; here its kernels take them, with short parts and chunks."""
    from fastconv.backends.cpu.ops import logsumexp, reduce, scan

    with pytest.MonkeyPatch.context() as m:
        for module in (logsumexp, reduce, scan):
            m.setattr(module, "SMALL", 1)
        m.setattr(reduce, "RUN", 64)
        yield


def laid_out(a, layout):
    """``a`` with its last or second axis last in memory, reversed, or repeated by a stride of 0."""
    if layout == "channels-last" and a.ndim > 1:
        return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    if layout == "reversed":
        return a[::-1].copy()[::-1]
    if layout == "repeated" and a.ndim > 1:
        return np.broadcast_to(a[:1], a.shape)
    return a


def assert_same(got, want, rtol, message=""):
    got, want = (v if isinstance(v, tuple) else (v,) for v in (got, want))
    for g, w in zip(got, want, strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype), message
        if w.dtype.kind != "f":
            np.testing.assert_array_equal(g, w, err_msg=message)
        else:
            scale = np.abs(w[np.isfinite(w)]).max(initial=1e-30)
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * scale, err_msg=message)


SHAPES = [(300,), (40, 7), (3, 200), (2, 3, 5, 8), (200, 3), (2, 300)]


def cases(shape):
    """Axes of a reduction: each alone, all, and two that are no neighbours."""
    n = len(shape)
    return [(i,) for i in range(n)] + ([tuple(range(n)), (0, n - 1)] if n > 1 else [])


#: Name and dtype. A kernel's source is the same for all dtypes, each of which takes seconds to compile: every
#: name has float32 and one more.
KERNELS = [
    *every([(name, "float32") for name in REDUCTIONS], 8),
    *full(
        *(
            (name, dtype)
            for name, dtype in zip(REDUCTIONS, itertools.cycle(("float64", "uint8", "int32", "bool")))
            if dtype == "float64" or name not in FLOATS_ONLY
        )
    ),
]


@pytest.mark.parametrize("name, dtype", KERNELS)
@pytest.mark.full_on("cuda")
def test_kernels_agree_with_the_reference(name, dtype, backend):
    """Every reduction over every group of axes, in every layout."""
    engine, reference = load(backend), load("numpy")
    rng = np.random.default_rng(0)
    for shape in SHAPES if not is_slow(backend) else SHAPES[1:4:2]:
        x = rng.integers(-2, 3, shape) if name != "prod" else rng.integers(1, 3, shape)
        x = x.astype(dtype) if np.dtype(dtype).kind != "f" else (x + rng.random(shape) / 8).astype(dtype)
        if name in ("nansum", "max", "any"):
            x.flat[:: x.size // 3] = 0 if np.dtype(dtype).kind != "f" else np.nan
        if name == "prod" and np.dtype(dtype).kind == "f":
            x = np.sqrt(x) / 1.2
        for layout in ("plain", "channels-last", "reversed", "repeated"):
            a = laid_out(x, layout)
            for i, axes in enumerate(cases(shape)):
                for keepdims in (False, True) if not is_slow(backend) else (i % 2 == 0,):
                    with np.errstate(all="ignore"):
                        want = reference.reduce_fwd(name, a, axes, keepdims, 3.0)
                    got = engine.to_host(engine.reduce_fwd(name, engine.asarray(a), axes, keepdims, 3.0))
                    assert_same(got, want, 2e-5 if name == "norm_p" else 2e-6, f"{shape} {layout} {axes}")


@pytest.mark.parametrize("dtype", ["float32", *full("float64", "int32", "uint8")])
def test_positions_of_extrema(dtype, backend):
    """The first of equal elements, and the first NaN."""
    engine, rng = load(backend), np.random.default_rng(0)
    for shape in SHAPES if not is_slow(backend) else SHAPES[1:4:2]:
        x = rng.integers(0, 4, shape).astype(dtype)
        for nan in (False, True) if x.dtype.kind == "f" else (False,):
            if nan:
                x.flat[:: x.size // 5 + 1] = np.nan
            for layout in ("plain", "channels-last", "reversed"):
                a = laid_out(x, layout)
                for axis in (None, *range(len(shape))):
                    for name in ("argmax", "argmin"):
                        got = engine.to_host(getattr(engine, name)(engine.asarray(a), axis, False))
                        np.testing.assert_array_equal(got, getattr(np, name)(a, axis))


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
def test_scans_agree_with_the_reference(dtype, backend):
    engine, reference, rng = load(backend), load("numpy"), np.random.default_rng(0)
    for shape in SHAPES if not is_slow(backend) else SHAPES[1:4:2]:
        x = rng.standard_normal(shape).astype(dtype)
        for layout in ("plain", "channels-last", "reversed"):
            a = laid_out(x, layout)
            for axis in range(len(shape)):
                for reverse in (False, True):
                    for name, values, factor in (
                        ("cumsum", a, None),
                        ("cumprod", 1 + a / 16, None),
                        ("logcumsumexp", a * 20, None),
                        ("cumsum", a, a / 2),
                    ):
                        want = reference.scan(name, values, axis, reverse, factor)
                        factor = None if factor is None else engine.asarray(factor)
                        got = engine.scan(name, engine.asarray(values), axis, reverse, factor)
                        assert_same(engine.to_host(got), want, 3e-6, f"{name} {shape} {layout} {axis}")
                ties = np.round(a)
                ties.flat[7::31] = np.nan
                for name in ("cummax", "cummin"):
                    got = engine.extremum_scan(name, engine.asarray(ties), axis)
                    want = reference.extremum_scan(name, ties, axis)
                    assert_same(tuple(map(engine.to_host, got)), want, 0, f"{name} {shape} {layout} {axis}")


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.full_on("cuda")
def test_moments_and_logsumexp_agree_with_the_reference(dtype, backend):
    engine, reference, rng = load(backend), load("numpy"), np.random.default_rng(0)
    for shape in SHAPES if not is_slow(backend) else SHAPES[1:4:2]:
        x = rng.standard_normal(shape).astype(dtype) * 30
        for layout in ("plain", "channels-last", "reversed"):
            a = laid_out(x, layout)
            for axes in cases(shape):
                want = reference.logsumexp(a.astype(np.float64), axes, False).astype(dtype)
                got = engine.to_host(engine.logsumexp(engine.asarray(a), axes, False))
                assert_same(got, want, 2e-6, f"{shape} {layout} {axes}")
                want = reference.moments(a, axes)
                got = tuple(map(engine.to_host, engine.moments(engine.asarray(a), axes)))
                assert_same(got, want, 2e-6, f"{shape} {layout} {axes}")


def test_a_variance_beside_a_large_mean(backend):
    """The mean is 10^5 deviations away: a sum of squares would lose every digit."""
    rng = np.random.default_rng(0)
    for shape, dim in (((4000,), None), ((40, 100), 0), ((40, 100), 1), ((100, 3), 0)):
        x = (1e4 + 0.1 * rng.standard_normal(shape)).astype(np.float32)
        want = x.astype(np.float64).var(axis=dim, ddof=1)
        device = "cuda" if backend == "cuda" else "cpu"
        np.testing.assert_allclose(fc.tensor(x, device=device).var(dim).numpy(), want, rtol=1e-4)


def test_infinities_in_logsumexp(backend):
    device = "cuda" if backend == "cuda" else "cpu"
    for row, want in (
        ([-np.inf] * 3, -np.inf),
        ([np.inf, 1.0, -np.inf], np.inf),
        ([np.nan, 1.0, np.inf], np.nan),
        ([-np.inf, 1e4, 1e4], 1e4 + np.log(2)),
        ([-np.inf] * 200 + [3.0], 3.0),
    ):
        for axes in (0, 1):
            x = np.array([row] if axes else row, np.float32).reshape((1, -1) if axes else (-1, 1))
            np.testing.assert_allclose(fc.tensor(x, device=device).logsumexp(axes).numpy(), [want], rtol=1e-6)


# ------------------------------------------------------------------------------------------- against PyTorch
#: name -> which kinds of numbers PyTorch's function takes
ANY = {
    "sum": "biuf", "prod": "biuf", "mean": "f", "amax": "biuf", "amin": "biuf", "any": "biuf", "all": "biuf",
    "count_nonzero": "biuf", "nansum": "biuf", "nanmean": "f", "var": "f", "std": "f", "norm": "f",
    "logsumexp": "f", "cumsum": "biuf", "cumprod": "biuf", "logcumsumexp": "f", "cummax": "biuf",
    "cummin": "biuf", "argmax": "iuf", "argmin": "iuf", "max": "biuf", "min": "biuf",
}  # fmt: skip
ONE_DIM = ("prod", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "argmax", "argmin", "max", "min")
NEEDS_DIM = ("logsumexp", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")
NO_KEEPDIM = ("count_nonzero", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")


@st.composite
def calls(draw):
    """A name, an array and arguments that PyTorch takes."""
    name = draw(st.sampled_from(sorted(ANY)))
    dtypes = {"b": ["bool"], "i": ["int8", "int32", "int64"], "u": ["uint8"], "f": ["float32", "float64"]}
    dtype = draw(st.sampled_from([d for kind in ANY[name] for d in dtypes[kind]]))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = (
        rng.integers(-3, 4, shape).astype(dtype)
        if dtype != "uint8"
        else rng.integers(0, 4, shape).astype(dtype)
    )
    if np.dtype(dtype).kind == "f" and draw(st.booleans()):
        x = np.asarray(rng.standard_normal(shape), dtype)
        if x.size and draw(st.booleans()):
            x.flat[draw(st.integers(0, x.size - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
    x = np.asarray(laid_out(x, draw(st.sampled_from(["plain", "channels-last", "reversed"]))) if shape else x)
    args, n = [], max(len(shape), 1)
    dims = st.integers(-n, n - 1)
    if name in ONE_DIM:
        args = [draw(dims)] if name in NEEDS_DIM or draw(st.booleans()) else []
    elif name in NEEDS_DIM or draw(st.booleans()):
        several = st.lists(dims, min_size=1, max_size=n, unique_by=lambda d: d % n).map(tuple)
        args = [draw(st.one_of(dims, several))]
    kwargs = {}
    if args and name not in NO_KEEPDIM and draw(st.booleans()):
        kwargs["keepdim"] = True
    if name == "norm":
        args = [draw(st.sampled_from([0, 1, 2, 3, 0.5, np.inf, -np.inf, -1])), *args]
    if name in ("var", "std") and draw(st.booleans()):
        kwargs["correction"] = draw(st.sampled_from([0, 1, 2, 0.5]))
        args, kwargs = [], {**kwargs, **({"dim": args[0]} if args else {})}
    return name, x, args, kwargs


@pytest.mark.parametrize("backend", every((b for b in ("numpy", "cpu") if b in OP_BACKENDS), 2))
@settings(max_examples=400)
@given(call=calls())
def test_any_shape_as_pytorch(backend, call):
    torch = pytest.importorskip("torch")
    name, x, args, kwargs = call
    expected = None
    with contextlib.suppress(RuntimeError, IndexError, NotImplementedError, ValueError):
        expected = getattr(torch, name)(torch.tensor(x.copy()), *args, **kwargs)
    with fc.backend(backend):
        if expected is None:  # e.g. the largest of no elements
            with pytest.raises((ValueError, IndexError, TypeError)):
                getattr(fc, name)(x, *args, **kwargs)
            return
        got = getattr(fc, name)(x, *args, **kwargs)
    pair = isinstance(expected, tuple)
    for g, e in zip(got if pair else [got], expected if pair else [expected], strict=True):
        g, e = g.numpy(), e.numpy()
        assert g.shape == e.shape and g.dtype == e.dtype
        if e.dtype.kind != "f":
            np.testing.assert_array_equal(g, e)
        else:
            np.testing.assert_allclose(g, e, rtol=3e-5, atol=3e-6)


def gradients(function, x, upstream_seed=0):
    """Result and gradient of ours in float32, and of PyTorch in float64."""
    torch = pytest.importorskip("torch")
    a, b = fc.tensor(x.astype(np.float32), requires_grad=True), torch.tensor(x, requires_grad=True)
    if fc.get_backend() == "cuda":
        a = fc.tensor(x.astype(np.float32), requires_grad=True, device="cuda")
    y, z = function(a), function(b)
    g = np.random.default_rng(upstream_seed).standard_normal(z.shape)
    y.backward(fc.tensor(g.astype(np.float32), device=str(y.device)))
    z.backward(torch.tensor(g))
    return (y.numpy(), z.detach().numpy()), (a.grad.numpy(), b.grad.numpy())


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t.prod(1),
        lambda t: t.prod(),
        lambda t: t.cumprod(1),
        lambda t: t.cumprod(0),
        lambda t: t.amax((0, 2)),
        lambda t: t.max(),
        lambda t: t.max(1)[0],
        lambda t: t.min(2)[0],
        lambda t: t.norm(1, (0, 1)),
        lambda t: t.norm(2, 1),
        lambda t: t.norm(3, (1, 2), True),
        lambda t: t.norm(0.5, 1) if (t == 0).sum() == 0 else t.norm(2),
        lambda t: t.norm(float("inf"), 1),
        lambda t: t.norm(-float("inf"), 1),
        lambda t: t.var((0, 2)),
        lambda t: t.std(1, keepdim=True),
        lambda t: t.logsumexp((1, 2)),
        lambda t: t.cummax(1)[0],
        lambda t: t.nansum(1),
    ],
    ids=range(19),
)
@pytest.mark.parametrize("values", ["ties", "plain", "zeros"])
@pytest.mark.full_on("cuda")
def test_gradients(function, values, backend):
    """Ties share or do not share as in PyTorch; zeros in a product have a gradient."""
    rng = np.random.default_rng(1)
    x = rng.integers(1, 3, (3, 5, 4)).astype(float) if values == "ties" else rng.standard_normal((3, 5, 4))
    if values == "zeros":
        x[0, 1, 2] = x[1, 2, 2] = x[1, 4, 2] = 0
    for got, want in gradients(function, np.asarray(x, np.float32).astype(np.float64)):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * max(1, np.abs(want).max()))


# ------------------------------------------------------------------------------------------- types, errors
@pytest.mark.full_on("cpu")
def test_types_of_results(backend):
    x = fc.tensor(np.arange(6, dtype=np.int32).reshape(2, 3))
    assert x.sum().dtype == x.prod(1).dtype == x.cumsum(0).dtype == np.int64
    assert x.sum(dtype="float64").dtype == x.mean(dtype="float64").dtype == np.float64
    assert x.sum(dtype="int32").dtype == x.cumsum(0, dtype="int32").dtype == np.int32
    assert x.amax().dtype == np.int32 and x.any().dtype == bool and x.count_nonzero().dtype == np.int64
    assert (x > 2).sum().item() == 3 and (x > 2).all(1).tolist() == [False, True]
    double = fc.tensor(np.ones((2, 3)))
    for name in ("sum", "mean", "var", "std", "norm", "nansum", "nanmean", "amax"):
        assert getattr(double, name)().dtype == np.float64
    assert fc.linalg.vector_norm(double, 3).dtype == np.float64


def test_a_sum_of_many_numbers_has_its_digits(backend):
    if is_slow(backend):
        pytest.skip("too large for the simulator")
    x = np.full(1_000_000, 0.1, np.float32)
    assert fc.tensor(x).sum().item() == pytest.approx(float(np.float64(np.float32(0.1)) * 1e6), rel=1e-7)
    assert fc.tensor(x).cumsum(0)[-1].item() == pytest.approx(
        float(np.float64(np.float32(0.1)) * 1e6), rel=1e-7
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x.sum((0, 0)), ValueError, ["sum: ", "twice", "(0, 0)"]),
        (lambda x: x.sum(2), IndexError, ["sum: ", "2"]),
        (lambda x: x.sum(1.5), TypeError, ["sum: ", "int", "1.5"]),
        (lambda x: x.sum(dtype="no"), TypeError, ["sum: ", "'no'"]),
        (lambda x: x.mean(dtype="int64"), TypeError, ["mean: ", "float", "int64"]),
        (lambda x: x.amax(3), IndexError, ["amax: ", "3"]),
        (lambda x: x[:0].amax(0), ValueError, ["amax: ", "empty", "0x3"]),
        (lambda x: x[:0].max(0), ValueError, ["max: ", "empty", "0x3"]),
        (lambda x: x[:0].argmax(), ValueError, ["argmax: ", "empty"]),
        (lambda x: x[:0].aminmax(), ValueError, ["aminmax: ", "empty"]),
        (lambda x: x.prod((0, 1)), TypeError, ["prod: ", "int", "tuple"]),
        (lambda x: x.any("a"), TypeError, ["any: ", "'a'"]),
        (lambda x: x.var(0, unbiased=True, correction=2), TypeError, ["var: ", "unbiased", "correction"]),
        (lambda x: x.astype("int64").std(), TypeError, ["std: ", "float32", "int64"]),
        (lambda x: x.var(correction="a"), TypeError, ["var: ", "correction", "'a'"]),
        (lambda x: x.norm("nuc"), ValueError, ["norm: ", "nuclear"]),
        (lambda x: x.norm("abc"), ValueError, ["norm: ", "'abc'"]),
        (lambda x: x.norm([1]), TypeError, ["norm: ", "p must be a number"]),
        (lambda x: x.astype("int64").norm(), TypeError, ["norm: ", "int64"]),
        (lambda x: x[:, :0].norm(float("inf"), 1), ValueError, ["norm: ", "empty"]),
        (lambda x: x.logsumexp(5), IndexError, ["logsumexp: ", "5"]),
        (lambda x: x.cumsum(2), IndexError, ["cumsum: ", "2"]),
        (lambda x: x.cumprod("a"), TypeError, ["cumprod: ", "'a'"]),
        (lambda x: x.cummax(2), IndexError, ["cummax: ", "2"]),
        (lambda x: x.max(fc.ones(4)), ValueError, ["maximum: ", "2x3", "4"]),
        (lambda x: x.max(0, axis=1), TypeError, ["max: ", "axis"]),
        (lambda x: fc.linalg.vector_norm(x, "fro"), TypeError, ["vector_norm: ", "'fro'"]),
        (lambda x: fc.linalg.norm(x, "nuc"), ValueError, ["norm: ", "'nuc'"]),
        (lambda x: fc.linalg.norm(x, 2), ValueError, ["norm: ", "singular values"]),
        (lambda x: fc.sum("text"), TypeError, ["sum: ", "'text'"]),
        (lambda x: fc.logsumexp(), TypeError, ["logsumexp: ", "'input'"]),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as e:
        call(fc.ones(2, 3))
    assert [w for w in words if w not in str(e.value)] == []
    assert str(e.value).startswith(words[0])
