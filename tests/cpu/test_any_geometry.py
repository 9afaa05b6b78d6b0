"""Convolution kernels on any geometry, between numbers that must not be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import full

from fastconv.backends import UNARY, load
from fastconv.backends.cpu.codegen.emitter import lanes
from fastconv.spec import conv_spec

MARGIN = 1 << 12  # elements
ACTIVATIONS = (None, "relu", ("hardtanh", 0.0, 6.0), ("silu", 0.0, 0.0))


def channels_last(values, dtype):
    """A copy in channels-last memory, between NaN."""
    moved = np.moveaxis(values, 1, -1)
    place = np.full(values.size + 2 * MARGIN, np.nan, dtype)
    place[MARGIN : MARGIN + values.size] = moved.ravel()
    return np.moveaxis(place[MARGIN : MARGIN + values.size].reshape(moved.shape), -1, 1)


@st.composite
def layers(draw, algorithm):
    """A geometry that the algorithm takes; the kernel fits the padded image."""
    n = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    kernel, stride, padding, dilation = each(1, 9 if n < 3 else 4), each(1, 3), each(0, 5), each(1, 3)
    if algorithm == "winograd":
        step = draw(st.integers(1, 2)) if n < 3 else 1
        taps = draw(st.sampled_from([3, 4, 5] if step == 1 else [3, 5, 6, 7] if n == 2 else [3]))
        kernel, stride, dilation = (kernel[0], taps, taps)[-n:], (step,) * n, (dilation[0], 1, 1)[-n:]
        padding = (padding[0],) * n if step == 2 else padding
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(a + draw(st.integers(0, 20 // n)) for a in least)
    if algorithm == "depthwise":
        inputs = draw(st.sampled_from([n for n in (1, 1, 2, 4, 8) if lanes(np.dtype("float64")) % n == 0]))
        groups = draw(st.integers(2, 67 // inputs))
        filters = draw(st.sampled_from([1, 1, 1, 2, 3])) if inputs == 1 else inputs
    else:
        groups = draw(st.sampled_from([1] if algorithm == "winograd" else [1, 1, 2, 5]))
        inputs, filters = (draw(st.integers(1, 67 // groups)) for _ in range(2))
    shape = draw(st.integers(0, 3)), groups * inputs, *size
    return conv_spec(
        f"conv{n}d", shape, (groups * filters, inputs, *kernel), stride, padding, dilation, groups
    )


@pytest.mark.parametrize("algorithm", ["depthwise", "direct", "im2col", "winograd"])
@pytest.mark.parametrize("examples, dtype", [(10, "float32"), *full((500, "float32"), (200, "float64"))])
def test_any_geometry(examples, algorithm, dtype):
    """All passes, with bias, residual and activation and without, agree with the reference in float64."""
    cpu, reference, step = load("cpu"), load("numpy"), np.finfo(dtype).eps
    if algorithm == "winograd":
        if dtype == "float64":
            pytest.skip("float32 only")
        step *= 30  # its transforms magnify rounding errors

    @settings(max_examples=examples)
    @given(layers(algorithm), st.sampled_from(ACTIVATIONS), st.integers(0, 2**32 - 1))
    def check(spec, activation, seed):
        rng = np.random.default_rng(seed)

        def pair(shape):
            values = rng.standard_normal(shape).astype(dtype).astype(np.float64)
            return values, channels_last(values, dtype) if len(shape) > 1 else values.astype(dtype)

        (x, x_), (w, w_), (b, b_) = pair(spec.x_shape), pair(spec.w_shape), pair((spec.c_out,))
        (gy, gy_), (added, added_), (gx, gx_) = pair(spec.y_shape), pair(spec.y_shape), pair(spec.x_shape)
        y, gx_want = reference.conv_fwd(x, w, None, spec), reference.conv_bwd_data(gy, w, spec)
        for got, want, terms in (
            (cpu.conv_fwd(x_, w_, None, spec, algorithm), y, w[0].size),
            (
                cpu.conv_fwd(x_, w_, b_, spec, algorithm, added_, activation),
                reference.conv_fwd(x, w, b, spec, None, added, activation),
                w[0].size,
            ),
            (cpu.conv_bwd_data(gy_, w_, spec, algorithm), gx_want, w[:, 0].size),
            (cpu.conv_bwd_data(gy_, w_, spec, algorithm, gx_), gx_want + gx, w[:, 0].size),
            (
                cpu.conv_bwd_weight(x_, gy_, spec, algorithm),
                reference.conv_bwd_weight(x, gy, spec),
                gy[:, 0].size,
            ),
        ):
            assert got.shape == want.shape and got.dtype == dtype
            # A sum grows like the root of its terms, and each of them rounds it.
            bound = step * (20 * (terms**0.5 + 4) + terms)
            np.testing.assert_allclose(got, want, rtol=0, atol=bound)

    check()


@pytest.mark.parametrize("part", [slice(0, None, 6), *full(slice(1, None))])
def test_every_activation(part):
    """Each op that a convolution can end with, on channels that fill no whole vector."""
    cpu, reference = load("cpu"), load("numpy")
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 5, 7, 6), (37, 5, 3, 3)))
    spec = conv_spec("conv2d", x.shape, w.shape)
    plain = cpu.conv_fwd(x, w, None, spec, "direct").astype(np.float64)
    for name in sorted(cpu.CONV_ACTIVATIONS)[part]:
        op = name, *(*UNARY[name].numbers, 0.0, 0.0)[:2]
        got = cpu.conv_fwd(x, w, None, spec, "direct", None, op)
        want = reference.unary_fwd(name, plain, *op[1:])
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)
