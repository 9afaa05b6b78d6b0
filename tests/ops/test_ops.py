"""Every op on every backend, from the one list in ``cases.py``: results, gradients, layouts, NaN,
repeatability."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import OP_BACKENDS, SIMULATED, is_slow, op_backend
from support import oracle
from support.cases import CASES, exact
from support.run import assert_close, cotangent, reference, run, tensors
from support.selection import every, full

import fastconv as fc
from fastconv import spec
from fastconv.nn import functional as F

backend = op_backend
#: The backends of tests that look at what an engine does with its arguments. The others are as careful, and
#: --full says so.
ENGINES = ["cpu", *full(*(b for b in OP_BACKENDS if b != "cpu"))]
#: Backend and dtype. Without --full the reference runs in float64 and the others in float32; results on cuda
#: are then those of the test of NaN.
RUNS = [("numpy", "float64"), ("cpu", "float32"), *full(("numpy", "float32"), ("cpu", "float64"))]
CUDA = [("cuda", "float32"), *full(("cuda", "float64"))] if "cuda" in OP_BACKENDS else []
GRADIENT_CASES = [c for c in CASES if c.gradient]
CONV_CASES = [c for c in GRADIENT_CASES if c.name.startswith("conv") and not c.name.startswith("conv_")]


def test_cases_are_well_formed():
    default = {"float32": 2e-6, "float64": 1e-13}
    assert len({c.name for c in CASES}) == len(CASES), "two cases share a name"
    assert [c.name for c in CASES if c.rtol != default and not c.reason] == [], (
        "a wider tolerance needs a reason"
    )


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [*RUNS, *full(*(("cuda", d) for d in ("float32", "float64") if CUDA))],
    indirect=["backend"],
)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, dtype, backend):
    inputs, constants = tensors(case, dtype)
    y = case.function(F, *inputs, *constants)
    assert y.dtype == (dtype if case.expected.dtype.kind == "f" else case.expected.dtype)
    assert not y.requires_grad
    assert_close(y.numpy(), case.expected, case.rtol[dtype])


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
def test_gradient_of_reference(case):
    """Central differences in float64: all elements of each input together, then up to 12 of them one by
    one."""
    step, rng = 1e-6, np.random.default_rng(1)
    gy = cotangent(case)
    rounding = max(1e-7, 1e-9 * np.abs(case.expected * gy).sum())  # of the sums, divided by the step

    def value(arrays):
        inputs, constants = tensors(case, "float64", arrays=arrays)
        with fc.no_grad():
            return float((case.function(F, *inputs, *constants).numpy() * gy).sum())

    _, grads = reference(case)
    with fc.backend("numpy"):
        for k, (array, grad) in enumerate(zip(case.arrays, grads)):
            assert grad.shape == array.shape
            directions = [rng.uniform(0.5, 1.5, array.shape) * rng.choice([-1, 1], array.shape)]
            for i in rng.permutation(array.size)[:12]:
                directions.append(np.eye(1, array.size, i).reshape(array.shape))
            for direction in directions:
                above, below = list(case.arrays), list(case.arrays)
                above[k], below[k] = array + step * direction, array - step * direction
                slope = (value(above) - value(below)) / (2 * step)
                want = float((grad * direction).sum())
                assert slope == pytest.approx(want, rel=1e-7, abs=rounding), f"input {k}"


@pytest.mark.parametrize(("backend", "dtype"), [*RUNS[1:], *CUDA], indirect=["backend"])
@pytest.mark.parametrize("case", every(GRADIENT_CASES, 2), ids=str)
def test_gradient(case, dtype, backend):
    """Every backend's gradients are those of the numpy backend in float64."""
    _, want = reference(case)
    inputs, grads = case.arrays, run(case, dtype)[1]
    for k, (array, got, expected) in enumerate(zip(inputs, grads, want)):
        assert got.dtype == dtype and got.shape == array.shape
        assert_close(got, expected, 4 * case.rtol[dtype], f"gradient of input {k}")


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("case", every(CONV_CASES, 4), ids=str)
def test_forced_algorithm(case, algorithm, backend):
    """``direct`` and ``im2col`` take every convolution, forward and backward."""
    want, want_grads = reference(case)
    with fc.conv_algorithm(algorithm):
        y, grads = run(case, "float32")
    assert_close(y, want, case.rtol["float32"])
    for k, (got, expected) in enumerate(zip(grads, want_grads)):
        assert_close(got, expected, 4 * case.rtol["float32"], f"gradient of input {k}")


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    """The same values with other values between them, and the last axis running backwards."""
    if a.ndim == 0:
        return a
    big = np.full([2 * s for s in a.shape], 99, a.dtype)
    view = big[(slice(None, None, 2),) * a.ndim][..., ::-1]
    view[...] = a
    return view


def channels_last(a):
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 2 else a.copy(order="F")


@pytest.mark.parametrize("backend", ENGINES, indirect=True)
@pytest.mark.parametrize("layout", [channels_last, *full(read_only, strided)], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
def test_layout(case, layout, backend):
    """Read-only, strided and channels-last arguments give the same, uncopied on the way in, and are left
    alone."""
    arrays = [layout(a.astype("float32")) for a in case.arrays]
    constants = [layout(a.astype("float32") if a.dtype.kind == "f" else a) for a in case.constants]
    inputs = [fc.from_numpy(a).requires_grad_() for a in arrays]
    y = case.function(F, *inputs, *map(fc.from_numpy, constants))
    want, want_grads = reference(case)
    assert_close(y.numpy(), want, case.rtol["float32"])
    y.backward(fc.from_numpy(layout(cotangent(case).astype("float32"))))
    for k, (t, expected) in enumerate(zip(inputs, want_grads)):
        assert_close(t.grad.numpy(), expected, 4 * case.rtol["float32"], f"gradient of input {k}")
    for array, original in zip(arrays, case.arrays):
        np.testing.assert_array_equal(array, original, "an argument was written to")


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # invalid values are the point
@pytest.mark.parametrize("backend", ENGINES, indirect=True)
@pytest.mark.parametrize("poison", [np.nan, *full(np.inf, -np.inf)], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("case", [c for c in CASES if not c.finite_only], ids=str)
def test_nan_and_infinity_propagate(case, poison, backend):
    """One NaN or infinity in the first input comes out exactly where IEEE arithmetic in the oracle puts
    it."""
    arrays = [a.copy() for a in case.arrays]
    arrays[0].flat[arrays[0].size // 2] = poison
    with np.errstate(all="ignore"):
        want = np.asarray(case.oracle(*arrays, *case.constants))
        inputs, constants = tensors(case, "float32", arrays=arrays)
        got = case.function(F, *inputs, *constants).numpy()
    assert_close(got, want, case.rtol["float32"])


@pytest.mark.full
@pytest.mark.parametrize("backend", [b for b in OP_BACKENDS if not is_slow(b)], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_repeat_is_bit_identical(case, backend):
    """Whatever the threads of a kernel do; a simulator runs them in a fixed order."""
    y, grads = run(case, "float32")
    y2, grads2 = run(case, "float32")
    for a, b in zip((y, *grads), (y2, *grads2)):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------- statistics
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5), (2, 3, 4, 3), (2, 3, 2, 3, 2)])
def test_running_statistics(shape, backend):
    """The unbiased variance feeds the running average, whatever holds the averages."""
    x = exact(3 + 2 * np.random.default_rng(0).standard_normal(shape))
    start = exact([0.5, -1, 2]), exact([1, 0.25, 4])
    want = oracle.running_statistics(x, *start, momentum=0.3)
    for make in (fc.tensor, np.copy):
        got = [make(a.astype("float32")) for a in start]
        F.batch_norm(x.astype("float32"), *got, training=True, momentum=0.3)
        for a, b in zip(got, want):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-6)
        F.batch_norm(x.astype("float32"), *got, training=False)  # evaluation reads them only
        for a, b in zip(got, want):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-6)


FUSED = [  # channel counts around the vector widths, rows that fill no tile, every algorithm's kernels
    ((2, 17, 9, 7), (19, 17, 3, 3), {"padding": 1}),
    ((2, 16, 8, 8), (32, 16, 3, 3), {"padding": 1}),
    ((1, 70, 5, 6), (40, 70, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 5, 6, 5), (18, 5, 1, 1), {"stride": 2}),
    ((1, 140, 6, 5), (33, 140, 3, 3), {"padding": 1}),
    ((3, 33, 7, 5), (21, 33, 1, 1), {}),
    ((2, 4, 9, 7), (6, 2, 3, 2), {"stride": 2, "groups": 2, "padding": ((1, 2), (0, 3))}),
    ((2, 5, 6, 6), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    ((2, 3, 13), (5, 3, 4), {"padding": 2}),
    ((1, 3, 4, 5, 4), (20, 3, 2, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [*FUSED[:3], FUSED[7], *full(*FUSED[3:7], *FUSED[8:])],
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else "",
)
def test_conv_with_residual_and_relu(x, w, options, dtype, backend):
    """Both are part of the convolution itself: each algorithm, each combination, weights as they are and
    prepacked."""
    engine, rng = fc.backends.load(backend), np.random.default_rng(0)
    geometry = spec.conv_spec(f"conv{len(x) - 2}d", x, w, **options)
    if backend == "cuda" and SIMULATED and (geometry.flops * geometry.groups > 30_000 or dtype == "float64"):
        pytest.skip("too large for the simulator")
    x, w, b, other = (exact(rng.standard_normal(s)) for s in (x, w, w[:1], geometry.y_shape))
    other[0, 0].flat[0] = np.nan
    plain = oracle.conv(x, w, None, **options)
    x, w, b, other = (engine.asarray(a.astype(dtype)) for a in (x, w, b, other))
    weights = w, engine.conv_prepack(w)
    residuals = None, other, engine.asarray(channels_last(engine.to_host(other)))
    for residual, relu, bias in itertools.product(residuals, (None, "relu"), (None, b)):
        want = plain if bias is None else plain + engine.to_host(bias).reshape(-1, *(1,) * geometry.ndim)
        want = want if residual is None else want + engine.to_host(other)
        want = np.maximum(want, 0) if relu else want
        for algorithm, weight in itertools.product(engine.CONV_ALGORITHMS, weights):
            if algorithm.refuses(geometry, np.dtype(dtype)) is None:
                got = engine.conv_fwd(x, weight, bias, geometry, algorithm.name, residual, relu)
                rtol = 1e-4 if algorithm.name == "winograd" else {"float32": 2e-6, "float64": 1e-13}[dtype]
                assert_close(engine.to_host(got), want, rtol, f"{algorithm.name}, relu {relu}")


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [*FUSED[:3], FUSED[7], *full(*FUSED[3:7], *FUSED[8:])],
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else "",
)
def test_conv_backward_with_residual(x, w, options, dtype, backend):
    engine, rng = fc.backends.load(backend), np.random.default_rng(0)
    geometry = spec.conv_spec(f"conv{len(x) - 2}d", x, w, **options)
    if backend == "cuda" and SIMULATED and (geometry.flops * geometry.groups > 30_000 or dtype == "float64"):
        pytest.skip("too large for the simulator")
    x, w, gy = (exact(rng.standard_normal(s)) for s in (x, w, geometry.y_shape))
    want = fc.backends.load("numpy").conv_bwd_data(gy, w, geometry) + x
    x, w, gy = (engine.asarray(a.astype(dtype)) for a in (x, w, gy))
    for algorithm in engine.CONV_ALGORITHMS:
        if algorithm.refuses(geometry, np.dtype(dtype)) is None:
            for residual in (x, engine.asarray(channels_last(engine.to_host(x)))):
                got = engine.conv_bwd_data(gy, w, geometry, algorithm.name, residual)
                rtol = 1e-4 if algorithm.name == "winograd" else {"float32": 2e-6, "float64": 1e-13}[dtype]
                assert_close(engine.to_host(got), want, rtol, algorithm.name)
            assert_close(engine.to_host(residual), engine.to_host(x), 0, "the residual is only read")


@pytest.mark.parametrize("mode", ["upscale_in_train", "downgrade_in_infer"])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_dropout(p, mode, backend):
    """A share p is dropped, the rest scaled by the convention; backward drops the same; every call draws
    anew."""
    n = 40_000
    x = fc.ones(4, 10, 50, 20, requires_grad=True)
    y = F.dropout(x, p, True, mode=mode)
    y.sum().backward()
    values = y.numpy()
    kept = values != 0
    deviation = np.sqrt(n * p * (1 - p))
    assert abs(kept.sum() - n * (1 - p)) < 5 * deviation
    for axis in (1, 2, 3):  # no plane, row or column is favoured
        share = kept.mean(tuple(a for a in range(4) if a != axis))
        assert np.abs(share - (1 - p)).max() < 5 * np.sqrt(p * (1 - p) / (n / kept.shape[axis]))
    np.testing.assert_allclose(values[kept], 1 / (1 - p) if mode == "upscale_in_train" else 1.0, rtol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert (F.dropout(x, p, True, mode=mode).numpy() != values).any()
    fc.manual_seed(0)
    np.testing.assert_array_equal(F.dropout(x, p, True, mode=mode).numpy(), values)


def test_dropout_does_not_see_the_layout(backend):
    """The mask belongs to logical positions: channels-last memory gives the same result."""
    x = np.random.default_rng(0).standard_normal((3, 5, 6, 7)).astype("float32")
    results = []
    for layout in (np.array, channels_last, strided, read_only):
        fc.manual_seed(3)
        results.append(F.dropout(layout(x), 0.4, True).numpy())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
