"""Shapes nobody wrote down: hypothesis draws them, the cpu backend has to agree with the reference in
float64."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BACKENDS
from hypothesis import given
from hypothesis import strategies as st
from support.selection import full

import fastconv as fc
from fastconv.nn import functional as F

FAST_BACKENDS = [b for b in BACKENDS if b != "numpy"]
CHANNELS = st.one_of(st.integers(1, 9), st.integers(1, 67))  # around the vector widths, small ones more often
BATCH = st.integers(0, 3)
LAYOUTS = ("plain", "read-only", "strided", "reversed", "channels-last")


def laid_out(a, layout):
    """The values of ``a`` as a float32 array in the given memory layout."""
    a = a.astype(np.float32)
    if layout == "read-only":
        a.flags.writeable = False
    elif layout == "strided":
        a = np.repeat(a, 2, axis=-1)[..., ::2]
    elif layout == "reversed":
        a = a[::-1].copy()[::-1]
    elif layout == "channels-last" and a.ndim > 2:
        a = np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    return a


def results(function, arrays, backend):
    """The result and the gradients of all arrays, started from a fixed cotangent."""
    with fc.backend(backend):
        inputs = [fc.from_numpy(a).requires_grad_() for a in arrays]
        y = function(*inputs)
        gy = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
        y.backward(fc.tensor(gy.astype(arrays[0].dtype)))
        return [y.numpy(), *(t.grad.numpy() for t in inputs)]


def assert_agree(function, shapes, layout, backend, rtol=5e-6):
    """float32 on ``backend`` against float64 on the reference, relative to the largest element of each
    array."""
    rng = np.random.default_rng(3)
    arrays = [laid_out(rng.standard_normal(s), layout) for s in shapes]
    got = results(function, arrays, backend)
    want = results(function, [a.astype(np.float64) for a in arrays], "numpy")
    for k, (a, b) in enumerate(zip(got, want)):
        assert a.shape == b.shape and a.dtype == np.float32
        scale = max(1.0, np.abs(b).max(initial=0.0))
        what = f"gradient {k - 1}" if k else "result"
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, err_msg=what)


@st.composite
def windows(draw, dims, max_kernel, pooling=False):
    """Extents, kernel, stride, dilation and padding pairs that leave at least one output element."""
    size = draw(st.tuples(*[st.integers(1, 9)] * dims))
    kernel = draw(st.tuples(*[st.integers(1, max_kernel)] * dims))
    stride = draw(st.tuples(*[st.integers(1, 3)] * dims))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * dims))
    padding = []
    for i, k, d in zip(size, kernel, dilation):
        extent = d * (k - 1) + 1
        most = extent // 2 if pooling else extent + 1
        before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
        if not pooling:  # a kernel larger than the input needs at least this much
            after += max(0, extent - i - before - after)
        padding.append((before, after))
    return size, {"stride": stride, "dilation": dilation, "padding": tuple(padding)}, kernel


@st.composite
def convolutions(draw, dims, grouping="dense"):
    """Shapes of input, weight and perhaps bias, and the options of the call."""
    size, options, kernel = draw(windows(dims, 5 if dims < 3 else 3))
    c_in, c_out, groups = draw(CHANNELS), draw(CHANNELS), 1
    if grouping == "grouped":
        groups = draw(st.sampled_from([2, 3, 8]))
        c_in, c_out = groups * min(c_in, 6), groups * min(c_out, 6)
    elif grouping == "depthwise":
        groups, c_out = c_in, c_in * draw(st.integers(1, 2))
    x, w = (draw(BATCH), c_in, *size), (c_out, c_in // groups, *kernel)
    shapes = [x, w, (c_out,)] if draw(st.booleans()) else [x, w]
    return shapes, {
        **options,
        "groups": groups,
        "algorithm": draw(st.sampled_from(["auto", "direct", "im2col"])),
    }


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("grouping", ["dense", "grouped", "depthwise"])
@given(data=st.data())
def test_convolution(grouping, dims, backend, data):
    shapes, options = data.draw(convolutions(dims, grouping))
    layout = data.draw(st.sampled_from(LAYOUTS))
    assert_agree(lambda *t: getattr(F, f"conv{dims}d")(*t, **options), shapes, layout, backend)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize("kind", ["max", "avg"])
@given(data=st.data())
def test_pooling(kind, backend, data):
    dims = data.draw(st.sampled_from([1, 2, 2, 3]))
    size, options, kernel = data.draw(windows(dims, 4, pooling=True))
    options["ceil_mode"] = data.draw(st.booleans())
    if kind == "avg":
        del options["dilation"]
        options["padding"] = tuple(
            (min(b, k // 2), min(a, k // 2)) for (b, a), k in zip(options["padding"], kernel)
        )
        options["count_include_pad"] = data.draw(st.booleans())
    dilation = options.get("dilation", (1,) * dims)
    # every window holds an element: with gaps between its taps that takes a whole window of them
    size = tuple(
        max(i, d * (k - 1) + 1 if d > 1 else k - sum(p))
        for i, d, k, p in zip(size, dilation, kernel, options["padding"])
    )
    shape = (data.draw(BATCH), data.draw(CHANNELS), *size)
    layout = data.draw(st.sampled_from(LAYOUTS))
    assert_agree(lambda x: getattr(F, f"{kind}_pool{dims}d")(x, kernel, **options), [shape], layout, backend)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@given(data=st.data())
def test_batch_norm(backend, data):
    training = data.draw(st.booleans())
    channels, affine = data.draw(CHANNELS), data.draw(st.booleans())
    space = data.draw(st.lists(st.integers(1, 6), max_size=3))
    batch = data.draw(BATCH) if not training else data.draw(st.integers(4, 7))
    shapes = [(batch, channels, *space)] + [(channels,)] * (2 * affine)

    def function(x, weight=None, bias=None):
        statistics = [None, None] if training else [np.full(channels, v, x.dtype) for v in (0.3, 1.7)]
        return F.batch_norm(x, *statistics, weight, bias, training)

    # four values can lie close together: the reciprocal of their deviation, up to 300, multiplies the
    # rounding
    assert_agree(function, shapes, data.draw(st.sampled_from(LAYOUTS)), backend, rtol=2e-5)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@given(data=st.data())
def test_linear(backend, data):
    rows = data.draw(st.lists(st.integers(0, 5), max_size=2))
    n_in, n_out = data.draw(CHANNELS), data.draw(CHANNELS)
    shapes = [(*rows, n_in), (n_out, n_in)] + [(n_out,)] * data.draw(st.integers(0, 1))
    assert_agree(F.linear, shapes, data.draw(st.sampled_from(LAYOUTS)), backend)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@given(data=st.data())
def test_softmax_and_cross_entropy(backend, data):
    shape = (
        data.draw(st.integers(1, 5)),
        data.draw(CHANNELS),
        *data.draw(st.lists(st.integers(1, 4), max_size=2)),
    )
    labels = np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    layout = data.draw(st.sampled_from(LAYOUTS))
    assert_agree(lambda x: F.cross_entropy(x, labels), [shape], layout, backend)
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    assert_agree(lambda x: F.softmax(x, dim=dim), [shape], layout, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grouping", ["dense", *full("grouped", "depthwise")])
@given(data=st.data())
def test_backward_of_convolution_is_its_adjoint(grouping, backend, data):
    """<conv(x), y> = <x, backward_data(y)> = <w, backward_weight(y)>: holds whatever the oracle says."""
    shapes, options = data.draw(convolutions(2, grouping))
    rng = np.random.default_rng(5)
    x, w = (rng.standard_normal(s) for s in shapes[:2])
    with fc.backend(backend):
        tx, tw = fc.tensor(x, requires_grad=True), fc.tensor(w, requires_grad=True)
        z = F.conv2d(tx, tw, **options)
        y = rng.standard_normal(z.shape)
        z.backward(fc.tensor(y))
        z, gx, gw = z.numpy(), tx.grad.numpy(), tw.grad.numpy()
    inner, scale = float((z * y).sum()), max(1.0, float(np.abs(z * y).sum()))
    assert abs(inner - float((x * gx).sum())) < 1e-12 * scale
    assert abs(inner - float((w * gw).sum())) < 1e-12 * scale
