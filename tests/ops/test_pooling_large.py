"""Pooling with large windows: sliding maxima and sums, their memory, and positions in planes of more than
2^31 elements."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest
from conftest import OP_BACKENDS, op_backend
from support import oracle
from support.cases import CASES
from support.run import assert_close, cotangent, reference, run, tensors
from support.selection import every, full

import fastconv as fc
from fastconv import spec
from fastconv.backends.common import positions
from fastconv.backends.cpu.ops.pooling import average, cost, maximum
from fastconv.backends.cpu.runtime import memory
from fastconv.nn import functional as F

backend = op_backend
POOLING = [c for c in CASES if "pool" in c.name and not c.name.startswith("shape")]


@pytest.fixture
def slides(monkeypatch):
    """Every window that is more than one element is taken by sliding."""
    with fc.backend("cpu"):
        for name in ("max_slides", "sum_slides"):
            monkeypatch.setattr(cost, name, lambda batch, channels, dims, _: not all(w.trivial for w in dims))
        _forget()
        yield
    _forget()


def _forget():
    maximum.max_plan.cache_clear()
    average.average_plan.cache_clear()


# ------------------------------------------------------------------------------------------------- values
@pytest.mark.parametrize(
    "case, dtype",
    [*every([(c, "float32") for c in POOLING], 2), *full(*((c, "float64") for c in POOLING[::4]))],
    ids=str,
)
def test_sliding_gives_what_windows_give(case, dtype, slides):
    y, grads = run(case, dtype)
    assert_close(y, case.expected, case.rtol[dtype])
    for got, want in zip(grads, reference(case)[1]):
        assert_close(got, want, 4 * case.rtol[dtype])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("case", POOLING, ids=str)
def test_sliding_keeps_nan_and_infinity_in_their_windows(case, poison, slides):
    arrays = [a.copy() for a in case.arrays]
    arrays[0].flat[arrays[0].size // 2] = poison
    with np.errstate(all="ignore"):
        want = np.asarray(case.oracle(*arrays, *case.constants))
    got = case.function(F, *tensors(case, "float32", arrays=arrays)[0], *case.constants).numpy()
    assert_close(got, want, case.rtol["float32"])


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("seed", range(30))
def test_sliding_at_random(seed, slides):
    """Any size, kernel, stride, dilation and padding; channels around a vector's; ties, and several NaN;
    against the loops."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    size = rng.integers(6, {1: 60, 2: 16, 3: 9}[n], n)
    kernel, dilation = rng.integers(1, size // 2 + 1), rng.integers(1, 3, n)
    padding = [int(rng.integers(0, (d * (k - 1) + 1) // 2 + 1)) for k, d in zip(kernel, dilation)]
    options = {
        "kernel_size": tuple(map(int, kernel)),
        "stride": tuple(map(int, rng.integers(1, 4, n))),
        "padding": tuple(padding),
        "ceil_mode": bool(rng.integers(2)),
    }
    x = rng.integers(0, 4, (2, int(rng.choice([1, 2, 7])), *size)).astype(np.float32)
    x.flat[rng.integers(0, x.size, 3)] = np.nan
    maximum, average = getattr(F, f"max_pool{n}d"), getattr(F, f"avg_pool{n}d")
    try:
        y, index = maximum(x, dilation=tuple(map(int, dilation)), return_indices=True, **options)
    except ValueError:  # a dilated window of padding alone
        dilation[:] = 1
        options["padding"] = tuple(min(p, k // 2) for p, k in zip(padding, options["kernel_size"]))
        y, index = maximum(x, return_indices=True, **options)
    given = {**options, "dilation": tuple(map(int, dilation))}
    np.testing.assert_array_equal(y.numpy(), oracle.max_pool(x, **given))
    np.testing.assert_array_equal(index.numpy(), oracle.max_pool(x, return_indices=True, **given))
    options["padding"] = tuple(min(p, k // 2) for p, k in zip(options["padding"], options["kernel_size"]))
    for include in (True, False):
        got = average(x, count_include_pad=include, **options).numpy()
        np.testing.assert_allclose(
            got, oracle.avg_pool(x, count_include_pad=include, **options), rtol=0, atol=2e-6
        )


def test_sums_are_as_exact_as_the_windows_they_are_of(slides):
    """A running sum that subtracts what leaves the window would lose the small numbers behind the large
    one."""
    x = np.full((1, 1, 4000), 1e-3, np.float32)
    x[0, 0, 1000] = 1e8
    y = F.avg_pool1d(x, 500, 1).numpy()[0, 0]
    np.testing.assert_allclose(y[1001:], 1e-3, rtol=1e-6)
    np.testing.assert_allclose(y[:501], 1e-3, rtol=1e-6)
    np.testing.assert_allclose(y[501:1001], 1e8 / 500, rtol=1e-6)


def test_long_line_is_cut_for_the_threads(slides):
    """Pieces of one line, by several threads, give to the bit what one thread gives, forward and backward."""
    x = fc.rand(1, 1, 3001)
    found = []
    before = fc.get_num_threads()
    for threads in (1, 2):
        fc.set_num_threads(threads)
        t = fc.tensor(x.numpy(), requires_grad=True)
        y, index = F.max_pool1d(t, 31, 1, 15, return_indices=True)
        z = F.avg_pool1d(t, 31, 1, 15)
        (y.sum() + (z * z).sum()).backward()
        found.append([a.numpy() for a in (y, index, z, t.grad)])
    fc.set_num_threads(before)
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


# ------------------------------------------------------------------------------------------------- the
# choice, its cost
def test_large_windows_slide_and_small_ones_do_not():
    def max_slides(shape, *options):
        s = spec.pool_spec(f"max_pool{len(shape) - 2}d", shape, *options)
        return maximum.max_plan(s, np.dtype("int32"))[0] is not None

    def sum_slides(shape, *options, backward=False):
        s = spec.pool_spec(f"avg_pool{len(shape) - 2}d", shape, *options)
        return average.average_plan(s, np.dtype("float32"), backward, 1)[0]

    for slide in (max_slides, sum_slides):
        assert slide((1, 1, 100_000), 500, 1)
        assert slide((4, 64, 200, 200), 61, 1, 30)
        assert slide((1, 16, 60, 60, 60), 31, 1)
        for shape, kernel in (
            ((64, 6, 24, 24), 2),
            ((8, 64, 56, 56), 3),
            ((8, 3, 224, 224), 3),
            ((2, 8, 8, 8, 8), 2),
        ):
            assert not slide(shape, kernel, 2)
            assert not slide(shape, kernel, 1)
            assert not slide(shape, 1, 1)
        assert not slide((8, 512, 7, 7), 7)  # one window
        assert not slide((1, 1, 100_000), 1000, 1000)  # each element is in one
    assert sum_slides((1, 1, 100_000), 500, 1, backward=True)
    s = spec.adaptive_pool_spec("adaptive_max_pool2d", (1, 1, 3, 100_000), (2, 7))
    assert maximum.max_plan(s, np.dtype("int32"))[0] is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", [9, 500])
@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
def test_memory_of_long_lines(op, kernel, channels):
    """Stride 1 over a line of 0.4 MB per channel: results, positions and gradients, and little beside
    them."""
    engine, x = fc.backends.load("cpu"), np.random.default_rng(0).random((1, channels, 100_000), np.float32)
    geometry = spec.pool_spec(op + "1d", x.shape, kernel, 1, kernel // 2)
    memory.trim()

    def forward_backward():
        y = getattr(engine, op + "_fwd")(x, geometry)
        if op == "max_pool":
            return engine.max_pool_bwd(y[0], y[1], geometry)
        return engine.avg_pool_bwd(y, geometry)

    forward_backward()
    memory.trim()
    before = memory.statistics()
    forward_backward()
    after = memory.statistics()
    assert (
        after["used_bytes"] + after["free_bytes"] - before["used_bytes"] - before["free_bytes"] < 6 * x.nbytes
    )


def test_time_does_not_grow_with_the_window():
    x = np.random.default_rng(0).random((1, 1, 200_000), np.float32)
    with fc.backend("cpu"), fc.no_grad():
        for op in (F.max_pool1d, F.avg_pool1d):
            op(x, 100, 1)  # compiles
            start = time.perf_counter()
            y = op(x, 50_000, 1).numpy()
            assert time.perf_counter() - start < 5  # window by window: 10 s and more
            places = np.arange(0, y.shape[2], 30_000)
            want = [
                (np.max if op is F.max_pool1d else np.mean)(x[0, 0, p : p + 50_000].astype(float))
                for p in places
            ]
            np.testing.assert_allclose(y[0, 0, places], want, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 17])
@pytest.mark.parametrize(
    "size, out",
    [
        ((4, 1), (3, 3)),
        ((4, 1), (3, 2)),
        ((1, 1), (3, 3)),
        ((40, 1), (3, 5)),
        ((5, 2), (3, 7)),
        ((1, 4), (2, 9)),
        ((6, 1), (2, 1)),
    ],
)
def test_windows_that_all_begin_at_the_same_pixel(size, out, channels, backend):
    engine, rng = fc.backends.load(backend), np.random.default_rng(0)
    x = rng.standard_normal((2, channels, *size)).astype(np.float32)
    geometry = spec.adaptive_pool_spec("adaptive_max_pool2d", x.shape, out)
    y, index = engine.adaptive_max_pool_fwd(engine.asarray(x), geometry)
    want = oracle.adaptive_pool(x, out, kind="max")
    np.testing.assert_array_equal(engine.to_host(y), want)
    flat = x.reshape(2, channels, -1)
    at = engine.to_host(index).reshape(2, channels, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, at, 2).reshape(want.shape), want)


# ------------------------------------------------------------------------------------------------- positions
# beyond 2^31
PLANES = [
    ("max_pool1d", (2, 3, 12), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool1d", (1, 2, 14), {"kernel_size": 3, "stride": 1, "dilation": 3}),
    ("max_pool2d", (2, 4, 6, 5), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("max_pool2d", (1, 33, 4, 5), {"kernel_size": 2}),
    ("max_pool3d", (1, 2, 4, 3, 4), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("adaptive_max_pool2d", (2, 3, 7, 5), {"output_size": (3, 2)}),
]


@pytest.mark.full
@pytest.mark.parametrize(("name", "shape", "options"), PLANES, ids=lambda v: v if isinstance(v, str) else "")
def test_planes_beyond_the_limit_have_positions_of_64_bits(name, shape, options, backend, monkeypatch):
    engine, rng = fc.backends.load(backend), np.random.default_rng(0)
    adaptive = name.startswith("adaptive")
    geometry = (spec.adaptive_pool_spec if adaptive else spec.pool_spec)(name, shape, **options)
    pooled = (lambda x, **o: oracle.adaptive_pool(x, kind="max", **o)) if adaptive else oracle.max_pool
    x, gy = (
        rng.integers(0, 3, shape).astype(np.float32),
        rng.standard_normal(geometry.y_shape).astype(np.float32),
    )
    want, want_index = pooled(x, **options), pooled(x, return_indices=True, **options)
    want_gx = np.zeros((*shape[:2], np.prod(shape[2:])))
    for n, c in np.ndindex(shape[:2]):
        np.add.at(want_gx[n, c], want_index[n, c].ravel(), gy[n, c].ravel())
    small = np.int64 if backend == "numpy" else np.int32
    for sliding, (limit, dtype) in itertools.product(
        (False, True) if backend == "cpu" else (False,), ((10, np.int64), (10**6, small))
    ):
        monkeypatch.setattr(positions, "INT32_PLANE", limit)
        monkeypatch.setattr(cost, "max_slides", lambda *_, sliding=sliding: sliding)
        _forget()
        y, index = getattr(engine, name[:-2] + "_fwd")(engine.asarray(x), geometry)
        assert index.dtype == dtype
        gx = engine.max_pool_bwd(engine.asarray(gy), index, geometry)
        np.testing.assert_array_equal(engine.to_host(y), want)
        np.testing.assert_array_equal(engine.to_host(index), want_index)
        np.testing.assert_allclose(engine.to_host(gx), want_gx.reshape(shape), rtol=0, atol=1e-6)
    _forget()


@pytest.mark.skipif("cuda" not in OP_BACKENDS, reason="needs a CUDA device or a stand-in")
@pytest.mark.parametrize("name", ["avg_pool2d-overlap", "adaptive_avg_pool2d-(3,2)"])
def test_cuda_averages_number_pixels_in_64_bits_beyond_the_limit(name, monkeypatch):
    case = next(c for c in POOLING if c.name == name)
    monkeypatch.setattr(positions, "INT32_PLANE", 10)
    x = fc.tensor(case.arrays[0].astype("float32"), device="cuda", requires_grad=True)
    y = case.function(F, x)
    assert_close(y.numpy(), case.expected, case.rtol["float32"])
    y.backward(fc.tensor(cotangent(case).astype("float32"), device="cuda"))
    assert_close(x.grad.numpy(), reference(case)[1][0], 4 * case.rtol["float32"])


@pytest.mark.skipif("cuda" not in OP_BACKENDS, reason="needs a CUDA device or a stand-in")
def test_cuda_refuses_more_pixels_than_it_can_number(monkeypatch):
    """Its convolutions number pixels in 32 bits; a limit of some thousands stands for 2^31."""
    from fastconv.backends.cuda.conv import geometry

    monkeypatch.setattr(geometry, "PIXELS", geometry.MARGIN + 100)
    x, w = fc.rand(3, 2, 7, 9, device="cuda"), fc.rand(4, 2, 3, 3, device="cuda")
    message = (
        r"conv2d: pixels are numbered in 32 bits, and the input has 189 in all \(3x7x9\); use smaller batches"
    )
    with pytest.raises(ValueError, match=message):
        F.conv2d(x, w)
    for name in ("direct", "im2col"):
        with pytest.raises(ValueError, match="189 in all"):
            F.conv2d(x, w, algorithm=name)
    with pytest.raises(
        ValueError, match=r"linear: pixels are numbered in 32 bits, and the input has 301 in all"
    ):
        F.linear(fc.rand(301, 2, device="cuda"), fc.rand(3, 2, device="cuda"))


@pytest.mark.skipif(
    os.environ.get("FASTCONV_TEST_HUGE") != "1", reason="takes 14 GB; FASTCONV_TEST_HUGE=1 runs it"
)
@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_a_plane_of_more_than_2_to_the_31(name):
    """Positions behind 2^31 - 1, and gradients at them."""
    engine, side = fc.backends.load("cpu"), 46_400  # 46400^2 = 2.15e9 > 2^31
    x = np.zeros((1, 1, side, side), np.float32)  # pages of zeros take no memory until they are read
    memory.trim()
    if name == "max_pool2d":
        geometry = spec.pool_spec(name, x.shape, (464, 928))
    else:
        geometry = spec.adaptive_pool_spec(name, x.shape, (100, 50))
    last = side * side - 3
    assert last > 2**31
    x.reshape(-1)[last] = 2
    y, index = getattr(engine, name[:-2] + "_fwd")(x, geometry)
    assert index.dtype == np.int64 and index.min() == 0 and index.max() == index[0, 0, -1, -1] == last
    assert y.max() == y[0, 0, -1, -1] == 2 and y.sum() == 2
    first = np.arange(100)[:, None] * 464 * side + np.arange(50) * 928
    np.testing.assert_array_equal(index.reshape(-1)[:-1], first.reshape(-1)[:-1])
    del x
    gx = engine.max_pool_bwd(np.full(y.shape, 3, np.float32), index, geometry)
    assert gx.reshape(-1)[last] == 3 and gx[0, 0, 0, 0] == 3 and gx.reshape(-1)[last + 1 :].sum() == 0
    places = np.flatnonzero(gx[0, 0, -464:])
    assert len(places) == 50 and places[-1] == last - (side - 464) * side
