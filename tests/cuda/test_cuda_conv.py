"""Convolution on the GPU beyond its results as an op: tensor cores, sums in parts, tiles. Simulated without a
GPU."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import HAS_GPU, needs_cuda
from support.rounding import BITS, TF32_STEP, nearest, rounded
from support.selection import every, full

import fastconv as fc
from fastconv import spec
from fastconv.backends import disk

pytestmark = needs_cuda

CASES = [  # copies of four channels; of single ones; groups; strides; more than one tile
    ((1, 8, 5, 4), (20, 8, 3, 3), {"padding": 1}),
    ((2, 3, 5, 6), (5, 3, 3, 2), {"padding": ((1, 0), (0, 2)), "stride": 2}),
    ((1, 8, 5, 5), (8, 4, 2, 2), {"groups": 2, "dilation": 2, "padding": 1}),
    ((1, 20, 3, 3), (4, 20, 1, 1), {}),
    ((1, 16, 5, 5), (24, 16, 3, 3), {"padding": 1, "stride": 2}),
]
ids = ["wide", "narrow", "groups", "1x1", "packed"]
#: Tensor cores cut off bits where they add products; the simulator and the machine for PTX round to nearest.
TENSOR_CORES = 2e-5 if HAS_GPU else 2e-6


@pytest.fixture
def engine():
    before = fc.get_float32_precision()
    yield fc.backends.load("cuda")
    fc.set_float32_precision(before)


def passes(engine, x, w, gy, geometry, **epilogue):
    """Forward, backward-data and backward-weight as implicit GEMM, on the host."""
    x, w, gy = (engine.asarray(np.asarray(v)) for v in (x, w, gy))
    results = (
        engine.conv_fwd(
            x,
            w,
            epilogue.get("bias"),
            geometry,
            "implicit_gemm",
            epilogue.get("residual"),
            epilogue.get("activation"),
        ),
        engine.conv_bwd_data(gy, w, geometry, "implicit_gemm"),
        engine.conv_bwd_weight(x, gy, geometry, "implicit_gemm"),
    )
    return [engine.to_host(r) for r in results]


def expected(x, w, gy, geometry):
    reference = fc.backends.load("numpy")
    x, w, gy = (v.astype(np.float64) for v in (x, w, gy))
    return [
        reference.conv_fwd(x, w, None, geometry),
        reference.conv_bwd_data(gy, w, geometry),
        reference.conv_bwd_weight(x, gy, geometry),
    ]


def inputs(x, w, options, seed=0):
    rng = np.random.default_rng(seed)
    geometry = spec.conv_spec(f"conv{len(x) - 2}d", x, w, **options)
    return *(rng.standard_normal(s).astype(np.float32) for s in (x, w, geometry.y_shape)), geometry


def error(got, want):
    """The largest; NaN if there is one, which ``max`` would pass over."""
    return np.max([np.abs(a - b).max() / max(1.0, np.abs(b).max()) for a, b in zip(got, want)])


@pytest.mark.parametrize(("precision", "bits"), [("highest", 0), ("high", 13), ("medium", 16)])
@pytest.mark.parametrize("case", every([(c,) for c in CASES], 3), ids=ids)
def test_precisions(case, precision, bits, engine):
    """Products of inputs rounded to TF32 or BF16 exactly as the mode says, summed in float32.

    The copies of Hopper round to TF32 in a way of their own.
    """
    *arrays, geometry = inputs(*case)
    fc.set_float32_precision(precision)
    got = passes(engine, *arrays, geometry)
    bound = TENSOR_CORES if bits else 2e-6
    ways = [expected(*(how(a, bits) for a in arrays), geometry) for how in (rounded, nearest)]
    for result, *wanted in zip(got, *ways):
        assert min(error([result], [w]) for w in wanted) < bound
    assert bits == 0 or error(got, expected(*arrays, geometry)) > 1e-4, "nothing was rounded"


def test_numbers_of_tf32(engine):
    """What ``ptx.tf32`` gives to ``mma``: as the emulation says, NaN and infinity as they are."""
    from fastconv.backends.cuda.codegen import ptx
    from fastconv.backends.cuda.runtime import launch

    tf32, count = ptx.tf32, 32

    def convert(x, y):
        for i in range(launch.cuda.threadIdx.x, x_size, count):
            y[i] = np.int32(tf32(x[i]) >> np.uint32(13))  # the bits that mma reads

    rng = np.random.default_rng(0)
    x = np.ldexp(rng.uniform(-2, 2, 96), rng.integers(-140, 127, 96)).astype(np.float32)
    x[:10] = 0, -0.0, 1, 1 + 2**-10, -2 + 2**-10, 2**-126, np.inf, -np.inf, np.nan, np.finfo(np.float32).max
    x_size = x.size
    to = engine.asarray(np.zeros(x_size, np.int32))
    launch.launch(launch.kernel(convert), 1, count, engine.asarray(x), to)
    got = engine.to_host(to).view(np.uint32) << np.uint32(13)
    np.testing.assert_array_equal(got.view(np.float32), rounded(x, BITS["tf32"]))
    np.testing.assert_array_equal(got.view(np.float32)[:9], x[:9])
    assert got[9] == np.float32(np.inf).view(np.uint32)


def test_tf32_has_no_bias():
    """Every mantissa: numbers of TF32 stay exact, and errors are about those of rounding, zero on average."""
    x = np.arange(2**23, 2**24)
    exact = x * (2**35 + int(TF32_STEP * 2**35))  # in units of 2^-35: a multiply-add before its one rounding
    unit = np.where(exact < 2**59, 2**35, 2**36)
    whole, rest = np.divmod(exact, unit)
    whole += (2 * rest > unit) | (2 * rest == unit) & (whole % 2 == 1)
    want = whole * (unit >> 35) // 2**13 * 2**13
    got = rounded(x.astype(np.float32), BITS["tf32"])
    np.testing.assert_array_equal(got, want)
    assert (got[:: 2**13] == x[:: 2**13]).all()
    errors, weights = (got - x) / 2**13, 2**23 / x  # as many numbers in each part of a logarithmic scale
    assert abs(np.average(errors, weights=weights)) < 1e-4
    assert np.average(errors**2, weights=weights) ** 0.5 == pytest.approx(0.31, abs=0.005)


@pytest.mark.full
@pytest.mark.parametrize("split_k", [3, 2])
@pytest.mark.parametrize("case", CASES[:2], ids=ids[:2])
def test_split_k(case, split_k, engine):
    """Every pass split along its sum; bias, residual and ReLU come last; the same bits on every run."""
    from fastconv.backends.cuda.conv import cost

    x, w, gy, geometry = inputs(*case)
    fc.set_float32_precision("highest")
    plan = cost.Plan(cost.SMALL[0], split_k, 1.0)
    rng = np.random.default_rng(1)
    bias, residual = (rng.standard_normal(s).astype(np.float32) for s in (w.shape[:1], gy.shape))
    epilogue = {"bias": engine.asarray(bias), "residual": engine.asarray(residual), "activation": "relu"}
    with cost.only_plans(plan):
        got = passes(engine, x, w, gy, geometry, **epilogue)
        again = passes(engine, x, w, gy, geometry, **epilogue)
    want = expected(x, w, gy, geometry)
    want[0] = np.maximum(want[0] + bias[:, None, None] + residual, 0)
    assert error(got, want) < 2e-6
    for a, b in zip(got, again):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES[:3], ids=ids[:3])
def test_arrays_whose_places_need_64_bits(case, engine, monkeypatch):
    """The weight gradient numbers places in 32 bits where it can; both ways give the same bits."""
    from fastconv.backends.cuda.conv import implicit_gemm_weight

    x, _, gy, geometry = inputs(*case)
    x, gy = engine.asarray(x), engine.asarray(gy)
    results = []
    for limit in (2**31, 0):
        monkeypatch.setattr(implicit_gemm_weight, "PLACES", limit)
        results.append(engine.to_host(engine.conv_bwd_weight(x, gy, geometry, "implicit_gemm")))
    np.testing.assert_array_equal(*results)


def device_tiles():
    from fastconv.backends.cuda.conv import cost

    return [(t, np.float32, m) for m, tiles in cost.WIDE.items() for t in (*tiles, *cost.NARROW)] + [
        (t, np.float64, "fma") for t in cost.DOUBLE
    ]


@pytest.mark.parametrize(
    "k_major", [(True, False), (True, True), (False, False)], ids=["fwd", "bwd_data", "bwd_weight"]
)
def test_device_tiles_fit(k_major):
    """Blocks and shared memory of the tiles that a device gets: threads, alignment, banks, and 227 KiB at
    most."""
    from fastconv.backends.cuda.codegen import mma_tile

    for shape, real, mode in device_tiles():
        s = mma_tile.slabs(shape, mode, real, *k_major)
        assert s.threads % 32 == 0 and s.threads <= 256 and s.bytes <= 227 << 10
        assert shape.BM * shape.BN == s.threads * s.sums_shape[0] * s.sums_shape[1]
        assert s.pitch_a % 4 == s.pitch_b % 4 == s.size_a % 4 == 0


@pytest.mark.parametrize("mode", ["fma", *full("tf32")])
def test_a_device_tile(mode, engine):
    """One of the device's own tiles, several warps in both directions; test_cuda_tiles.py has them all."""
    from fastconv.backends.cuda.conv import cost

    fc.set_float32_precision({"fma": "highest", "tf32": "high"}[mode])
    *arrays, geometry = inputs((2, 4, 9, 8), (20, 4, 3, 2), {})
    want = expected(*(rounded(a, 0 if mode == "fma" else 13) for a in arrays), geometry)
    with cost.only_plans(cost.Plan(cost.TENSOR[-1], 1, 1.0)):
        assert error(passes(engine, *arrays, geometry), want) < (2e-6 if mode == "fma" else TENSOR_CORES)


@pytest.mark.parametrize("algorithm", ["direct", "implicit_gemm"])
def test_nothing_to_sum_or_to_write(algorithm, engine):
    """No images; and pixels of x that no output has seen."""
    *arrays, geometry = inputs((0, 4, 5, 5), (8, 4, 3, 3), {})
    x, w, gy = (engine.asarray(a) for a in arrays)
    assert engine.conv_fwd(x, w, None, geometry, algorithm).shape == (0, 8, 3, 3)
    assert engine.conv_bwd_data(gy, w, geometry, algorithm).shape == (0, 4, 5, 5)
    assert not engine.to_host(engine.conv_bwd_weight(x, gy, geometry, algorithm)).any()
    x, w, gy, geometry = inputs((1, 2, 7, 7), (3, 2, 1, 1), {"stride": 3})
    got = engine.to_host(engine.conv_bwd_data(engine.asarray(gy), engine.asarray(w), geometry, algorithm))
    assert not got[:, :, 1::3].any() and got[:, :, ::3, ::3].all()
    more = engine.conv_bwd_data(engine.asarray(gy), engine.asarray(w), geometry, algorithm, engine.asarray(x))
    np.testing.assert_allclose(engine.to_host(more), got + x, rtol=1e-5, atol=1e-6)


def test_the_choice():
    """Tensor cores for many channels, a number per thread where groups leave nothing to share, split k where
    blocks are few."""
    from fastconv.backends.cuda.conv import cost, registry

    def chosen(which, x, w, **options):
        geometry = spec.conv_spec("conv2d", x, w, **options)
        return registry.choose(geometry, which, np.dtype(np.float32), None).name

    for which in ("fwd", "bwd_data", "bwd_weight"):
        assert chosen(which, (128, 256, 8, 8), (256, 256, 3, 3), padding=1) == "implicit_gemm"
    assert chosen("fwd", (64, 128, 28, 28), (128, 1, 3, 3), padding=1, groups=128) == "depthwise"
    plan = cost.plans(9 * 64, 64, 128 * 32 * 32, 1, "tf32", 4, True)[0]
    assert plan.split_k > 8 and cost.plans(128 * 32 * 32, 64, 9 * 64, 1, "tf32", 4, True)[0].split_k == 1


def launched(monkeypatch):
    """The names of the kernels that are launched from now on."""
    from fastconv.backends.cuda.conv import depthwise, direct, implicit_gemm, implicit_gemm_weight

    names = []
    for module in (depthwise, direct, implicit_gemm, implicit_gemm_weight):
        start = module.launch
        monkeypatch.setattr(
            module,
            "launch",
            lambda k, *a, start=start, **o: names.append(k.py_func.__name__) or start(k, *a, **o),
        )
    return names


@pytest.mark.parametrize("name", ["implicit_gemm", *full("im2col")])
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 8, 40), (4, 8, 35), {"padding": 3}),
        *full(
            ((1, 3, 70), (5, 3, 64), {"stride": 2, "padding": 4}),
            ((1, 4, 19, 20), (4, 2, 16, 17), {"groups": 2, "padding": 1, "stride": 3}),
        ),
    ],
    ids=["line", "narrow", "plane"],
)
def test_many_taps_are_no_other_algorithm(x, w, options, name, engine, monkeypatch):
    """A forced implicit GEMM computes kernels that its masks cannot hold in blocks of taps.

    It is never replaced by direct convolution.
    """
    fc.set_float32_precision("highest")
    x, w, gy, geometry = inputs(x, w, options)
    bias = np.linspace(-1, 1, w.shape[0], dtype=np.float32)
    residual = np.random.default_rng(1).standard_normal(gy.shape).astype(np.float32)
    names = launched(monkeypatch)
    device = [engine.asarray(a) for a in (x, w, gy, bias, residual)]
    got = [
        engine.conv_fwd(*device[:2], device[3], geometry, name, device[4], "relu"),
        engine.conv_bwd_data(device[2], device[1], geometry, name),
        engine.conv_bwd_weight(device[0], device[2], geometry, name),
    ]
    assert set(names) == {"implicit_gemm", "implicit_gemm_weight"} and len(names) > 5
    want = expected(x, w, gy, geometry)
    want[0] = np.maximum(want[0] + bias.reshape(-1, *(1,) * geometry.ndim) + residual, 0)
    assert error([engine.to_host(v) for v in got], want) < 2e-6


def test_each_algorithm_runs_its_own_kernel(engine, monkeypatch):
    """Forced or chosen, a depthwise layer runs the kernels of the algorithm that explain_conv names."""
    *arrays, geometry = inputs((1, 4, 5, 5), (4, 1, 3, 3), {"groups": 4})
    x, w, gy = (engine.asarray(a) for a in arrays)
    for name, kernel in (("depthwise", "depthwise"), ("direct", "direct"), (None, "depthwise")):
        names = launched(monkeypatch)
        engine.conv_fwd(x, w, None, geometry, name)
        engine.conv_bwd_data(gy, w, geometry, name)
        assert set(names) == {kernel}
    with fc.backend("cuda"):
        found = fc.explain_conv(geometry.x_shape, geometry.w_shape, groups=4, algorithm="im2col")
        auto = fc.explain_conv(geometry.x_shape, geometry.w_shape, groups=4)
        dense = fc.explain_conv((1, 16, 5, 5), (16, 16, 3, 3))
    assert set(found.algorithms) == {"implicit_gemm", "depthwise", "direct"}
    assert (
        set(found.chosen.values()) == {"implicit_gemm"} and "im2col, which is implicit_gemm" in found.reason
    )
    assert set(auto.chosen.values()) == {"depthwise"}
    assert dense.algorithms["depthwise"]["why_not"].endswith("got groups 1 of 16 and 16 channels")


def test_measuring(engine, monkeypatch):
    """The shortest of several replays of a recording; what the device refuses to launch takes for ever."""
    from fastconv.backends.cuda.runtime import autotune

    class Event:
        def record(self, stream):
            self.at = next(clock)

        def elapsed_time(self, after):
            return after.at - self.at

    def refused():
        raise RuntimeError("implicit_gemm: 110592 bytes of shared memory per block are not available here")

    x = engine.asarray(np.zeros(3, np.float32))
    clock, launched = iter([0, 90, 120, 190]), []
    monkeypatch.setattr(autotune, "cuda", SimpleNamespace(event=Event))
    monkeypatch.setattr(autotune.launch, "record", lambda work: (lambda: launched.append("replay"), work()))
    count = autotune.seconds(lambda: launched.append(memory_of(engine.copy(x))))
    assert count == pytest.approx(3e-3) and launched.count("replay") == 1 + autotune.REPLAYS
    ours, theirs = launched[0], set(launched[1:]) - {"replay"}
    assert len(launched) == 2 + autotune.LAUNCHES + autotune.REPLAYS
    assert ours not in theirs, "a replay writes to no memory that other threads may get"
    assert autotune.seconds(refused) == np.inf


def memory_of(x):
    """The pool that an array's memory came from."""
    return id(x.base.pool)


def test_measurements_that_come_with_fastconv(engine, monkeypatch, tmp_path):
    """Those of a device's name count until it is measured anew; names of tiles that are gone do not."""
    from fastconv.backends.cuda.runtime import autotune, device

    (tmp_path / "NVIDIA-A1.json").write_text('{"known": "fast", "gone": "removed"}')
    monkeypatch.setattr(autotune, "TUNED", tmp_path)
    monkeypatch.setattr(autotune.disk, "folder", lambda *parts: tmp_path)
    monkeypatch.setattr(device, "name", lambda: "NVIDIA A1")
    found = autotune.measurements.__wrapped__()
    valid = ("fast", "slow").__contains__
    assert found.get("known", valid, lambda: "slow") == "fast"
    assert found.get("gone", valid, lambda: "slow") == "slow"
    assert json.loads((tmp_path / "fastest.json").read_text()) == {"gone": "slow"}
    monkeypatch.setattr(device, "name", lambda: "another")
    assert autotune.measurements.__wrapped__().known == {}


def test_a_tile_with_another_result_is_not_used(engine, monkeypatch):
    from fastconv.backends.cuda.runtime import autotune, memory

    y = engine.asarray(np.arange(12, dtype=np.float32))

    def way(change):
        def run():
            values = np.arange(12, dtype=np.float32)
            values[-1] += change
            memory.write(y, values)

        return run

    ways = {"first": way(0), "other order": way(1e-3), "wrong": way(1), "not a number": way(np.nan)}
    times = {"first": 3.0, "other order": 2.0, "wrong": 1.0, "not a number": 0.5}
    monkeypatch.setattr(autotune, "can_measure", lambda: True)
    monkeypatch.setattr(
        autotune, "seconds", lambda run: (run(), times[next(n for n, w in ways.items() if w is run)])[1]
    )
    monkeypatch.setattr(autotune, "measurements", functools.cache(lambda: disk.Measurements(None)))
    with pytest.warns(RuntimeWarning, match="result differs from that of first") as given:
        assert autotune.fastest(("a problem of this test",), ways, y) == "other order"
    assert [str(w.message).split()[1] for w in given] == ["wrong", "not"]


@pytest.mark.full
def test_the_fastest_tile_is_measured_once(engine, monkeypatch, tmp_path):
    """On a device: every tile's best plan is tried on the arrays of the first call, and the choice is kept on
    disk."""
    from fastconv.backends.cuda.conv import cost, implicit_gemm
    from fastconv.backends.cuda.runtime import autotune

    tiles = cost.SMALL[0], cost.Tile(16, 16, 16, (16, 16), (4, 4), stages=2)
    plans = [cost.Plan(tiles[0], 1, 1.0), cost.Plan(tiles[1], 2, 2.0)]
    measured = []

    def seconds(run):
        run()
        measured.append(run.args[0].split_k)
        return 3.0 - run.args[0].split_k

    def another_process():
        autotune.measurements.cache_clear()
        autotune.chosen.clear()

    another_process()
    monkeypatch.setattr(autotune, "can_measure", lambda: True)
    monkeypatch.setattr(autotune, "seconds", seconds)
    store = functools.cache(lambda: disk.Measurements(tmp_path / "fastest.json"))
    monkeypatch.setattr(autotune, "measurements", store)
    fc.set_float32_precision("highest")
    arrays = inputs((2, 4, 5, 4), (8, 4, 3, 3), {"padding": 1})
    for counts in ([1, 2] * 3, [], []):
        measured.clear()
        want = expected(*arrays)
        with cost.only_plans(*plans):
            assert error(passes(engine, *arrays), want) < 2e-6
        assert measured == counts
        if not counts:
            another_process()  # which finds the file
    assert set(json.loads((tmp_path / "fastest.json").read_text()).values()) == {"16x16x16/2"}
    (tmp_path / "fastest.json").write_text("[1")
    another_process()
    with cost.only_plans(*plans):
        passes(engine, *arrays)
    assert measured == [1, 2] * 3
    monkeypatch.setattr(autotune, "can_measure", lambda: False)
    assert implicit_gemm.fastest(plans, lambda plan: None, None, "new") is plans[0]
    another_process()


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_moments_of_channels(case, engine):
    """A BatchNorm takes mean and variance from the convolution before it, unless somebody has written to its
    result since."""
    from fastconv.backends.cuda.ops import channel_reduce

    x, w, gy, geometry = inputs(*case)
    fc.set_float32_precision("highest")
    y = engine.conv_fwd(engine.asarray(x + 3), engine.asarray(w), None, geometry, "implicit_gemm")
    known = channel_reduce.known_moments(channel_reduce.matrix(y))
    if known is None:
        pytest.skip("the sum was cut in parts")
    values = engine.to_host(y).astype(np.float64)
    axes = (0, *range(2, values.ndim))
    for got, want in zip(engine.batch_norm_stats(y), (values.mean(axes), values.var(axes))):
        np.testing.assert_allclose(engine.to_host(got), want, rtol=1e-5, atol=1e-6)
    few = y.view((*y.shape[:2], y.shape[2] - 1, *y.shape[3:]), y.strides)
    np.testing.assert_allclose(
        engine.to_host(engine.batch_norm_stats(few)[0]), values[:, :, :-1].mean(axes), rtol=1e-5
    )
    engine.setitem(y, (slice(None), 1), 2.5)
    assert channel_reduce.known_moments(channel_reduce.matrix(y)) is None
    np.testing.assert_allclose(engine.to_host(engine.batch_norm_stats(y)[0])[1], 2.5)
    for options in ({"residual": engine.asarray(gy)}, {"activation": "relu"}):
        y = engine.conv_fwd(engine.asarray(x), engine.asarray(w), None, geometry, "implicit_gemm", **options)
        assert channel_reduce.known_moments(channel_reduce.matrix(y)) is None


def test_rounded_copies(engine):
    """What was rounded to bfloat16 serves again until somebody writes to the memory, or may do so."""
    from fastconv.backends.cuda.runtime import layout

    def channels_last(a):
        return layout.copy_to(engine.asarray(a), layout.empty(a.shape, a.dtype)[0])

    *arrays, geometry = inputs(*CASES[-1])
    fc.set_float32_precision("medium")
    x, w, gy = map(channels_last, arrays)
    engine.conv_fwd(x, w, None, geometry, "implicit_gemm")
    engine.conv_bwd_data(gy, w, geometry, "implicit_gemm")
    kept = [a.base.known["bf16"][-1] for a in (x, gy)]
    engine.conv_bwd_weight(x, gy, geometry, "implicit_gemm")
    assert (
        all(a.base.known["bf16"][-1] is copy for a, copy in zip((x, gy), kept)) and "bf16" not in w.base.known
    )
    engine.setitem(x, (slice(None), slice(3, 7)), 0.75)
    assert not x.base.known
    fresh = channels_last(engine.to_host(x))
    got, want = (engine.to_host(engine.conv_fwd(a, w, None, geometry, "implicit_gemm")) for a in (x, fresh))
    np.testing.assert_array_equal(got, want)
    engine.dlpack.lend(x)
    engine.conv_fwd(x, w, None, geometry, "implicit_gemm")
    assert not x.base.known


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_batch_norm_leaves_a_rounded_copy(precision, engine):
    """In bfloat16, of its result and of its gradient, where channels fit; what ``rounded`` would compute."""
    from fastconv.backends.cuda.conv import bf16
    from fastconv.backends.cuda.runtime import layout

    fc.set_float32_precision(precision)
    values = np.random.default_rng(0).standard_normal((2, 8, 3, 4)).astype(np.float32)
    x = fc.tensor(values, device="cuda", requires_grad=True)
    y = fc.nn.functional.batch_norm(x, None, None, training=True, activation="relu")
    (y * x.data).sum().backward()
    for array in (y.array, x.grad.array):
        assert ("bf16" in array.base.known) == (precision == "medium")
        rows = layout.to_ndhwc(array)
        found, want = bf16.rounded(rows, True), bf16.rounded(layout.copy(rows), False)
        np.testing.assert_array_equal(engine.to_host(found), engine.to_host(want))


@pytest.mark.parametrize(("precision", "kind"), [("highest", None), ("high", "hopper"), ("medium", "hopper")])
def test_plans_of_hopper(precision, kind, monkeypatch):
    """Its tiles come first where the device has them and they take the layer; one for others comes last."""
    from fastconv.backends.cuda.conv import cost, implicit_gemm, implicit_gemm_weight
    from fastconv.backends.cuda.runtime import device

    fc.set_float32_precision(precision)

    def names(which, capability, channels=64, **options):
        monkeypatch.setattr(device, "capability", lambda: capability)
        geometry = spec.conv_spec(
            "conv2d", (8, channels, 9, 9), (64, channels // options.get("groups", 1), 3, 3), **options
        )
        find = (implicit_gemm_weight if which == "bwd_weight" else implicit_gemm).plans_of
        return [p.tile.name for p in find(cost.phases(geometry, which)[0], np.dtype(np.float32))]

    for which in ("fwd", "bwd_data", "bwd_weight"):
        plain = names(which, (8, 0), padding=1)
        assert not any(" " in name for name in plain)
        for options in ({"groups": 2}, {"channels": 3}):
            assert names(which, (9, 0), **options) == names(which, (8, 0), **options)
        found = names(which, (9, 0), padding=1)
        if kind is None or which == "bwd_weight" and precision == "high":
            assert found == plain
        else:
            *first, last = found
            assert first and all(" " in name for name in first) and last in plain


def test_the_assembler(monkeypatch, tmp_path):
    """A ptxas on the path, or below CUDA_HOME; none is no error."""
    from fastconv.backends.cuda.codegen import compiler

    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    find = compiler.find_ptxas.__wrapped__
    assert find() is None
    program = tmp_path / "cuda" / "bin" / "ptxas"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert find() == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("CUDA_HOME")
    assert find() == str(program)
