"""Sorting, selecting and counting: kernels against the reference, any shape against PyTorch, errors."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from conftest import OP_BACKENDS, is_slow, op_backend
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import every, full

import fastconv as fc
from fastconv.backends import load

backend = op_backend
DTYPES = ["float32", *full("int16", "float64", "bool", "uint8", "int32", "int64", "uint32", "uint64")]


@pytest.fixture(scope="module", autouse=True)
def _kernels_for_small_arrays():
    """The cpu engine gives small arrays to NumPy; here its kernels take them."""
    from fastconv.backends.cpu.ops import sort

    with pytest.MonkeyPatch.context() as m:
        m.setattr(sort, "SMALL", 1)
        yield


def numbers(shape, dtype, seed=0):
    """Numbers with many equal ones; floats with NaN, infinities and zeros of both signs."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind != "f":
        x = rng.integers(0, 9, shape) if dtype.kind != "i" else rng.integers(-9, 9, shape)
        x = x.astype(dtype)
        if dtype.kind in "iu" and x.size > 5:
            x.flat[:: x.size // 4] = np.iinfo(dtype).max
            x.flat[1 :: x.size // 4] = np.iinfo(dtype).min
        return x
    x = np.asarray(np.round(rng.standard_normal(shape) * 4) / 2, dtype)
    for i, special in enumerate((np.nan, np.inf, -np.inf, -0.0, np.nan, np.finfo(dtype).max)):
        x.flat[i :: 17 + i] = special
    return x


def assert_same(got, want):
    for g, w in zip(got, want, strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        np.testing.assert_array_equal(g, w)
    if want[0].dtype.kind == "f":  # which zero it is
        np.testing.assert_array_equal(np.signbit(got[0]), np.signbit(want[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.full_on("cuda")
def test_kernels_agree_with_the_reference(dtype, backend):
    """Stable in both directions, rows short and long, every axis."""
    engine, reference = load(backend), load("numpy")

    def run(op, x, *args):
        args = [engine.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
        return tuple(map(engine.to_host, getattr(engine, op)(engine.asarray(x), *args)))

    shapes = [(1,), (5,), (47,), (300,), (3, 49), (60, 2), (2, 130, 3)]
    for shape in shapes if not is_slow(backend) else shapes[1:2] + [(3, 21), (2, 9, 3)]:
        x = numbers(shape, dtype)
        for a in (x, x[::-1], np.asfortranarray(x)):
            for axis in range(x.ndim):
                n = x.shape[axis]
                for descending in (False, True):
                    assert_same(run("sort", a, axis, descending), reference.sort(a, axis, descending))
                    for k in {1, min(3, n), n // 5, n}:
                        assert_same(
                            run("topk", a, k, axis, descending), reference.topk(a, k, axis, descending)
                        )
                k = np.random.default_rng(1).integers(
                    1, n + 1, [1 if i == axis else s for i, s in enumerate(shape)]
                )
                assert_same(run("kthvalue", a, k, axis), reference.kthvalue(a, k, axis))


@pytest.mark.full_on("cpu")
def test_large_rows(backend):
    """Every digit of the keys, and parts of a row that share some."""
    if is_slow(backend):
        pytest.skip("too large for the simulator")
    engine, rng = load(backend), np.random.default_rng(0)
    for x in (
        rng.standard_normal(100_000).astype(np.float32),
        np.exp(rng.standard_normal((2, 50_000)) * 30),
        rng.integers(-(2**62), 2**62, 50_000),
        np.arange(50_000, dtype=np.float32),
        np.zeros(50_000, np.float32),
    ):
        values, index = engine.sort(x, x.ndim - 1, False)
        np.testing.assert_array_equal(index, np.argsort(x, -1, kind="stable"))
        np.testing.assert_array_equal(values, np.sort(x, -1))
        values, index = engine.topk(x, 10, x.ndim - 1, True)
        np.testing.assert_array_equal(values, np.sort(x, -1)[..., :-11:-1])


@st.composite
def calls(draw):
    """A name, an array and arguments that PyTorch takes."""
    name = draw(st.sampled_from(["sort", "argsort", "msort", "topk", "kthvalue", "median", "nanmedian"]))
    dtype = draw(st.sampled_from(["float32", "float64", "int64", "uint8", "int16"]))
    shape = tuple(draw(st.lists(st.integers(0, 7), max_size=3)))
    x = numbers(shape, dtype, draw(st.integers(0, 99)))
    n = max(len(shape), 1)
    args, kwargs = [draw(st.integers(-n, n - 1))], {}
    if name in ("sort", "argsort"):
        args, kwargs = [], {"dim": args[0], "descending": draw(st.booleans()), "stable": True}
    elif name in ("topk", "kthvalue"):
        args = [draw(st.integers(-1, 8)), *args]
        kwargs = {"largest": draw(st.booleans())} if name == "topk" else {"keepdim": draw(st.booleans())}
    elif name == "msort" or draw(st.booleans()):
        args = []
    return name, x, args, kwargs


@pytest.mark.parametrize("backend", every((b for b in ("numpy", "cpu") if b in OP_BACKENDS), 2))
@settings(max_examples=200)
@given(call=calls())
def test_any_shape_as_pytorch(backend, call):
    """Values always; positions where equal elements leave no choice (PyTorch's topk is not stable)."""
    torch = pytest.importorskip("torch")
    name, x, args, kwargs = call
    expected = None
    with contextlib.suppress(RuntimeError, IndexError):
        expected = getattr(torch, name)(torch.tensor(x.copy()), *args, **kwargs)
    if "median" in name and not args and not x.size and x.dtype.kind != "f":
        expected = None  # PyTorch returns the smallest integer
    with fc.backend(backend):
        if expected is None:
            with pytest.raises((ValueError, IndexError)):
                getattr(fc, name)(x, *args, **kwargs)
            return
        got = getattr(fc, name)(x, *args, **kwargs)
    if not isinstance(expected, tuple):
        assert got.numpy().dtype == expected.numpy().dtype
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
        return
    np.testing.assert_array_equal(got.values.numpy(), expected[0].numpy())
    assert got.values.dtype == x.dtype and got.indices.dtype == np.int64
    if name == "sort":
        np.testing.assert_array_equal(got.indices.numpy(), expected[1].numpy())
    elif x.ndim and got.values.numpy().size:
        axis, index, values = args[-1] % x.ndim, got.indices.numpy(), got.values.numpy()
        if index.ndim < x.ndim:
            index, values = np.expand_dims(index, axis), np.expand_dims(values, axis)
        np.testing.assert_array_equal(np.take_along_axis(x, index, axis), values)


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t.sort(1).values,
        lambda t: t.sort(0, descending=True)[0],
        lambda t: t.topk(2, 1)[0],
        lambda t: t.topk(3, 1, largest=False).values,
        lambda t: t.kthvalue(2, 1)[0],
        lambda t: t.median(1)[0],
        lambda t: t.median(),
        lambda t: t.nanmedian(0, True).values,
        lambda t: t.msort(),
        lambda t: t.min(1).values,
    ],
    ids=range(10),
)
def test_gradients_go_where_the_elements_came_from(function, backend):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).permutation(60).reshape(3, 5, 4) / 8
    device = "cuda" if backend == "cuda" else "cpu"
    ours, theirs = fc.tensor(x, requires_grad=True, device=device), torch.tensor(x, requires_grad=True)
    y, z = function(ours), function(theirs)
    g = np.random.default_rng(1).standard_normal(z.shape)
    y.backward(fc.tensor(g, device=device))
    z.backward(torch.tensor(g))
    np.testing.assert_array_equal(y.numpy(), z.detach().numpy())
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


def test_the_median_of_equal_elements_shares_its_gradient(backend):
    x = fc.tensor([2.0, 1.0, 2.0, 5.0, 2.0], requires_grad=True)
    x.median().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.array([1, 0, 1, 0, 1]) / 3, rtol=1e-6)
    x = fc.tensor([np.nan, 1.0, np.nan], requires_grad=True)
    x.median().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.5, 0, 0.5])


# ------------------------------------------------------------------------------------------------- counting
@settings(max_examples=100)
@given(data=st.data())
def test_counts_as_pytorch(data):
    torch = pytest.importorskip("torch")
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=3)))
    x = numbers(shape, data.draw(st.sampled_from(["float32", "int64"])), data.draw(st.integers(0, 9)))
    t = torch.tensor(x)
    options = data.draw(st.sampled_from([{}, {"return_inverse": True}, {"return_counts": True}]))
    for name in ("unique", "unique_consecutive"):
        got, want = getattr(fc, name)(x, **options), getattr(torch, name)(t, **options)
        several = isinstance(want, tuple)
        for g, w in zip(got if several else [got], want if several else [want], strict=True):
            if not np.isnan(np.asarray(w.numpy(), float)).any():
                np.testing.assert_array_equal(g.numpy(), w.numpy())
    np.testing.assert_array_equal(fc.nonzero(x).numpy(), torch.nonzero(t).numpy())
    for g, w in zip(fc.nonzero(x, as_tuple=True), torch.nonzero(t, as_tuple=True), strict=True):
        np.testing.assert_array_equal(g.numpy(), w.numpy())
    counted = np.abs(np.nan_to_num(x.astype(float) % 9, posinf=0, neginf=0)).astype(np.int64).reshape(-1)
    weights = np.arange(counted.size, dtype=np.float32)
    n = data.draw(st.integers(0, 12))
    for w in (None, weights):
        got = fc.bincount(counted, w, minlength=n)
        want = torch.bincount(torch.tensor(counted), None if w is None else torch.tensor(w), minlength=n)
        assert got.dtype == want.numpy().dtype or not counted.size  # PyTorch forgets the weights then
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    edges = np.array([-1.0, 0.0, 0.5, 2.0], np.float32)
    right = data.draw(st.booleans())
    values = np.nan_to_num(x.astype(np.float32))
    got, want = (
        fc.bucketize(values, edges, right=right),
        torch.bucketize(torch.tensor(values), torch.tensor(edges), right=right),
    )
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    got = fc.histc(values, 5, -2, 2).numpy()
    np.testing.assert_array_equal(got, torch.histc(torch.tensor(values), 5, -2, 2).numpy())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x.sort(2), IndexError, ["sort: ", "2"]),
        (lambda x: x.sort("a"), TypeError, ["sort: ", "'a'"]),
        (lambda x: x.argsort(-3), IndexError, ["argsort: ", "-3"]),
        (lambda x: x.topk(4), ValueError, ["topk: ", "between 0 and 3", "4"]),
        (lambda x: x.topk(-1), ValueError, ["topk: ", "between 0 and 3", "-1"]),
        (lambda x: x.topk(1.5), TypeError, ["topk: ", "int", "1.5"]),
        (lambda x: x.kthvalue(0), ValueError, ["kthvalue: ", "between 1 and 3", "0"]),
        (lambda x: x.kthvalue("a"), TypeError, ["kthvalue: ", "'a'"]),
        (lambda x: x.median(5), IndexError, ["median: ", "5"]),
        (lambda x: x[:0].median(0), ValueError, ["median: ", "empty", "0x3"]),
        (lambda x: x[:0].astype("int64").median(), ValueError, ["median: ", "empty"]),
        (lambda x: x.unique(dim=2), IndexError, ["unique: ", "2"]),
        (lambda x: x.bincount(), ValueError, ["bincount: ", "1 dimensions", "2x3"]),
        (lambda x: x[0].bincount(), TypeError, ["bincount: ", "integers", "float32"]),
        (lambda x: (x[0] - 2).astype("int64").bincount(), ValueError, ["bincount: ", "-1"]),
        (lambda x: x[0].astype("int64").bincount(f32(2)), ValueError, ["bincount: ", "weights", "3", "2"]),
        (
            lambda x: x[0].astype("int64").bincount(minlength=-1),
            ValueError,
            ["bincount: ", "minlength", "-1"],
        ),
        (lambda x: x.astype("int64").histc(), TypeError, ["histc: ", "int64"]),
        (lambda x: x.histc(0), ValueError, ["histc: ", "bins", "0"]),
        (lambda x: x.histc(3, 2, 1), ValueError, ["histc: ", "larger", "1", "2"]),
        (lambda x: (x * float("nan")).histc(3), ValueError, ["histc: ", "not finite"]),
        (lambda x: fc.searchsorted(1.0, x), ValueError, ["searchsorted: ", "scalar"]),
        (lambda x: fc.searchsorted(x, f32(3)), ValueError, ["searchsorted: ", "2x3", "3"]),
        (lambda x: fc.searchsorted(x[0], x, side="up"), ValueError, ["searchsorted: ", "'up'"]),
        (
            lambda x: fc.searchsorted(x[0], x, right=True, side="left"),
            ValueError,
            ["searchsorted: ", "contradict"],
        ),
        (
            lambda x: fc.searchsorted(x[0], x, sorter=f32(3)),
            ValueError,
            ["searchsorted: ", "int64", "float32"],
        ),
        (lambda x: x.bucketize("a"), TypeError, ["bucketize: ", "'a'"]),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as e:
        call(fc.ones(2, 3))
    assert [w for w in words if w not in str(e.value)] == []
    assert str(e.value).startswith(words[0])


def f32(*shape):
    return np.ones(shape, np.float32)
