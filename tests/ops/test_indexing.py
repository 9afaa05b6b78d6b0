"""Keys, gather and scatter and their like, masks: as in PyTorch, for every kind of index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.selection import full

import fastconv as fc

torch = pytest.importorskip("torch")


@st.composite
def keys(draw, shape):
    """A key of a tensor: ints, slices, None, Ellipsis, lists, arrays of ints, masks."""
    parts, at, width = [], 0, draw(st.integers(1, 3))
    while at < len(shape):
        n = shape[at]
        kind = draw(st.sampled_from(["int", "slice", "none", "list", "array", "mask", "end"]))
        if kind == "end":
            if draw(st.booleans()) and at < len(shape):
                parts.append(...)
            break
        at += kind != "none"
        if kind == "int":
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            parts.append(slice(draw(st.integers(-n, n)), draw(st.integers(-n, n)), draw(st.integers(1, 3))))
        elif kind == "none":
            parts.append(None)
        elif kind == "list":
            parts.append(draw(st.lists(st.integers(-n, n - 1), min_size=width, max_size=width)))
        elif kind == "array":
            found = draw(st.lists(st.integers(-n, n - 1), min_size=width, max_size=width))
            parts.append(np.array(found).reshape(draw(st.sampled_from([(-1,), (1, -1), (-1, 1)]))))
        else:
            mask = np.zeros(n, bool)
            mask[
                draw(
                    st.lists(
                        st.integers(0, n - 1), min_size=min(n, width), max_size=min(n, width), unique=True
                    )
                )
            ] = 1
            parts.append(mask)
    return tuple(parts)


def as_torch(key):
    return tuple(torch.tensor(k) if isinstance(k, (np.ndarray, list)) else k for k in key)


@given(data=st.data())
def test_keys(data):
    """Read, its gradient, and assigned."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    key = data.draw(keys(shape))
    a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x, y = fc.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    try:
        want = y[as_torch(key)]
    except IndexError:  # arrays that do not broadcast
        with pytest.raises(IndexError):
            x[key]
        return
    got = x[key]
    np.testing.assert_array_equal(got.numpy(), want.detach().numpy())
    weight = np.random.default_rng(0).standard_normal(want.shape).astype(np.float32)
    (got * weight).sum().backward()
    (want * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)
    x, y = fc.tensor(a), torch.tensor(a)
    x[key] = -1.0
    y[as_torch(key)] = -1.0
    np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize("backend", ["numpy", *full("cpu")])
def test_long_indices(backend):
    """Those that kernels read, and what they add in backward."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 30, 20)).astype(np.float32)
    index = rng.integers(-20, 20, (6, 25))
    for key in (
        (index % 40,),
        (slice(None), index),
        (..., index),
        (3, slice(None), index),
        (index, 3, index),
    ):
        with fc.backend(backend):
            x, y = fc.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
            got, want = x[key], y[as_torch(key)]
            np.testing.assert_array_equal(got.numpy(), want.detach().numpy())
            (got * got).sum().backward()
            (want * want).sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-4)
            with pytest.raises(IndexError, match="index: index 40 is out of bounds for axis 0 with size 40"):
                x[np.where(index == index[0, 0], 40, 0)]


def test_kinds_of_keys():
    a = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    x, y = fc.tensor(a), torch.tensor(a)
    for key in (
        True, False, [], [1, 0], (0, slice(None), [1, 2]), ((0, 1), (1, 2)), [True, False],
        ([True, False], 0),
        np.int64(1), (slice(None), True), (None, ..., [0, 1]), (0, None, [1]),
    ):  # fmt: skip
        np.testing.assert_array_equal(x[key].numpy(), y[key].numpy(), err_msg=str(key))
    tensors = [0, fc.tensor(1)], [0, torch.tensor(1)]
    np.testing.assert_array_equal(x[tensors[0]].numpy(), y[tuple(tensors[1])].numpy())
    byte = np.array([1, 0], np.uint8)
    np.testing.assert_array_equal(x[fc.tensor(byte)].numpy(), a[:1])


# ------------------------------------------------------------------------------------------ gather and others
def both(name, x, *args, **options):
    """The result and the gradients of a method, ours and PyTorch's."""
    results = []
    for module in (fc, torch):
        tensors = [module.tensor(x, requires_grad=x.dtype.kind == "f")]
        given_args = []
        for v in args:
            if isinstance(v, np.ndarray):
                v = module.tensor(v, requires_grad=v.dtype.kind == "f")
                tensors.append(v)
            given_args.append(v)
        y = getattr(tensors[0], name)(*given_args, **options)
        leaves = [t for t in tensors if t.requires_grad]
        if y.requires_grad:
            (y * y).sum().backward()
        grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in leaves]
        results.append([y.detach().numpy(), *grads])
    for got, want in zip(*results, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)


@st.composite
def gathered(draw, smaller=True):
    """An array, an axis, and an index with the shape of what is read."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(shape) - 1))
    extents = [
        draw(st.integers(0, 5)) if d == axis else draw(st.integers(1, n)) if smaller else n
        for d, n in enumerate(shape)
    ]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = (
        rng.permutation(np.prod(shape))
        .reshape(shape)
        .astype(draw(st.sampled_from(["float32", "float64", "int64"])))
    )
    return x, axis, rng.integers(0, shape[axis], extents), rng


@given(drawn=gathered(), data=st.data())
def test_gather(drawn, data):
    x, axis, index, _ = drawn
    both("gather", x, axis - x.ndim * data.draw(st.booleans()), index)


@given(drawn=gathered(), data=st.data())
def test_scatter(drawn, data):
    """Values for one element are not compared where PyTorch leaves open which one is kept."""
    x, axis, index, rng = drawn
    src = rng.standard_normal(index.shape).astype(x.dtype)
    both("scatter_add", x, axis, index, src)
    larger = np.pad(src, [(0, data.draw(st.integers(0, 1))) for _ in index.shape])
    got = fc.tensor(x).scatter_add(axis, fc.tensor(index), fc.tensor(larger))
    want = torch.tensor(x).scatter_add(axis, torch.tensor(index), torch.tensor(larger))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)
    both("scatter", x, axis, index, 3)
    index = np.sort(index, axis) if index.shape[axis] <= x.shape[axis] else index[..., :0]
    if index.size:
        rows = np.arange(index.shape[axis]).reshape([-1 if d == axis else 1 for d in range(x.ndim)])
        both("scatter", x, axis, np.broadcast_to(rows, index.shape).copy(), src)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@given(drawn=gathered(), included=st.booleans(), zeros=st.booleans())
def test_scatter_reduce(reduce, drawn, included, zeros):
    x, axis, index, rng = drawn
    if x.dtype.kind != "f":
        x = x + 1
    src = rng.permutation(index.size).reshape(index.shape).astype(x.dtype) + (0 if zeros else 1)
    if x.dtype.kind != "f" and reduce == "mean" and not included:
        return  # PyTorch divides before it counts, and rounds otherwise
    both("scatter_reduce", x, axis, index, src, reduce, include_self=included)


@given(drawn=gathered(smaller=False))
def test_slices(drawn):
    x, axis, index, rng = drawn
    places = index.reshape(-1)[:4] if index.size else index.reshape(-1)
    shape = [len(places) if d == axis else n for d, n in enumerate(x.shape)]
    source = rng.standard_normal(shape).astype(x.dtype)
    both("index_select", x, axis, places)
    both("index_add", x, axis, places, source, alpha=2)
    both("index_fill", x, axis, places - x.shape[axis], 5)
    unique = np.unique(places)
    both("index_copy", x, axis, unique, source.take(range(len(unique)), axis))
    both("take", x, rng.integers(-x.size, x.size, (2, 3)))
    both("take_along_dim", x, index - x.shape[axis], axis)


def test_int32_indices_and_scalars():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    both("gather", x, 1, np.array([[0], [2]], np.int32))
    both("index_select", x, 1, np.array([2, 0], np.int32))
    both("gather", np.array(3.0, np.float32), 0, np.array(0))
    both("gather", np.array(3.0, np.float32), 0, np.array([0, 0]))
    both("index_select", np.array(3.0, np.float32), 0, np.array([0]))
    both("scatter_add", np.array(3.0, np.float32), 0, np.array(0), np.array(4.0, np.float32))


def test_scatter_with_an_operation():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    index = np.array([[0, 0], [2, 1]])
    for name in ("add", "multiply"):
        got = fc.tensor(x).scatter(1, fc.tensor(index), 2.0, reduce=name)
        want = torch.tensor(x).scatter(1, torch.tensor(index), 2.0, reduce=name)
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    both("scatter", x, 1, index[:, :1], value=4.0)


# ------------------------------------------------------------------------------------------- masks
@given(data=st.data())
def test_masks(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    wide = [n if data.draw(st.booleans()) else 1 for n in shape]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = rng.random(wide) < 0.5
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.1] = np.nan
    a, b = fc.tensor(x), torch.tensor(x)
    m, n = fc.tensor(mask), torch.tensor(mask)
    np.testing.assert_array_equal(a.masked_fill(m, -np.inf).numpy(), b.masked_fill(n, -np.inf).numpy())
    np.testing.assert_array_equal(a.masked_select(m).numpy(), b.masked_select(n).numpy())
    source = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(
        a.masked_scatter(m, fc.tensor(source)).numpy(), b.masked_scatter(n, torch.tensor(source)).numpy()
    )


def test_masks_keep_the_type_and_gradients():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    both("masked_fill", x, x > 2, np.array(7.0, np.float32))
    both("masked_select", x, x > 2)
    assert fc.arange(3).masked_fill(fc.tensor([True, False, True]), 1.5).tolist() == [1, 1, 1]
    assert (
        fc.ones(2).masked_fill(fc.tensor([True, False]), fc.tensor(2.0, dtype="float64")).dtype == fc.float32
    )
    # NaN outside of a triangle is no NaN inside of it
    assert fc.tensor([[1.0, np.nan], [2.0, 3.0]]).tril().tolist() == [[1, 0], [2, 3]]


def test_index_put():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for accumulate in (False, True):
        for index, values in (
            ((np.array([0, 1]), np.array([2, 0])), np.float32([7, 8])),
            ((np.array([1]),), np.float32([[1, 2, 3]])),
            ((x > 3,), np.array(9.0, np.float32)),
        ):
            a, b = (m.tensor(x, requires_grad=True) for m in (fc, torch))
            v, w = (m.tensor(values, requires_grad=True) for m in (fc, torch))
            got = a.index_put(tuple(map(fc.tensor, index)), v, accumulate=accumulate)
            want = b.index_put(tuple(map(torch.tensor, index)), w, accumulate=accumulate)
            np.testing.assert_array_equal(got.numpy(), want.detach().numpy())
            (got * got).sum().backward()
            (want * want).sum().backward()
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())
            np.testing.assert_allclose(v.grad.numpy(), w.grad.numpy())


def test_in_place():
    """The methods with a trailing underscore: values, gradients of what was before and of what is written."""
    index, places, mask = (
        np.array([[0, 2], [1, 0]]),
        np.array([1]),
        np.array([[True, False, True], [False] * 3]),
    )
    src, row = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6, 7]])
    for name, *args in (
        ("scatter_", 1, index, src),
        ("scatter_", 1, index, 2.0),
        ("scatter_add_", 1, index, src),
        ("scatter_reduce_", 1, index, src, "amax"),
        ("index_add_", 0, places, row),
        ("index_copy_", 0, places, row),
        ("index_fill_", 0, places, 3.0),
        ("masked_fill_", mask, 7.0),
        ("masked_scatter_", mask, row),
        ("index_put_", (places,), row),
        ("tril_",),
        ("triu_", 1),
    ):
        results = []
        for module in (fc, torch):
            x = module.tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3), requires_grad=True)
            leaves, given_args = [x], []
            for v in args:
                if isinstance(v, tuple):
                    v = tuple(map(module.tensor, v))
                elif isinstance(v, np.ndarray):
                    v = module.tensor(v, requires_grad=v.dtype.kind == "f")
                    leaves += [v] * v.requires_grad
                given_args.append(v)
            y = x * 2
            assert getattr(y, name)(*given_args) is y
            (y * y).sum().backward()
            results.append([y.detach().numpy(), *(t.grad.numpy() for t in leaves)])
        for got, want in zip(*results, strict=True):
            np.testing.assert_allclose(got, want, err_msg=name)
        with pytest.raises(RuntimeError, match=f"{name}: .*a leaf that requires gradients"):
            getattr(fc.ones(2, 3, requires_grad=True), name)(
                *(fc.tensor(a) if isinstance(a, np.ndarray) else a for a in args)
            )
