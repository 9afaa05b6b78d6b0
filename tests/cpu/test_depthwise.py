"""Depthwise kernels on any geometry, between numbers that must not be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import full

from fastconv.backends import load
from fastconv.spec import conv_spec

MARGIN = 1 << 12  # elements


def channels_last(values, dtype):
    """A copy in channels-last memory, between NaN."""
    moved = np.moveaxis(values, 1, -1)
    place = np.full(values.size + 2 * MARGIN, np.nan, dtype)
    place[MARGIN : MARGIN + values.size] = moved.ravel()
    return np.moveaxis(place[MARGIN : MARGIN + values.size].reshape(moved.shape), -1, 1)


@st.composite
def layers(draw):
    """A geometry whose kernel fits the padded image."""
    n = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    kernel, stride, padding, dilation = each(1, 9 if n < 3 else 4), each(1, 3), each(0, 5), each(1, 3)
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(a + draw(st.integers(0, 20 // n)) for a in least)
    channels, filters = draw(st.integers(2, 67)), draw(st.sampled_from([1, 1, 1, 2, 3]))
    shape = draw(st.integers(0, 3)), channels, *size
    weight = channels * filters, 1, *kernel
    return conv_spec(f"conv{n}d", shape, weight, stride, padding, dilation, channels)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("examples", [25, *full(500)])
def test_any_geometry(examples, dtype):
    """All passes, with bias, residual and ReLU and without, agree with the reference in float64."""
    cpu, reference, step = load("cpu"), load("numpy"), np.finfo(dtype).eps

    @settings(max_examples=examples)
    @given(layers(), st.integers(0, 2**32 - 1))
    def check(spec, seed):
        rng = np.random.default_rng(seed)

        def pair(shape):
            values = rng.standard_normal(shape).astype(dtype).astype(np.float64)
            return values, channels_last(values, dtype) if len(shape) > 1 else values.astype(dtype)

        (x, x_), (w, w_), (b, b_) = pair(spec.x_shape), pair(spec.w_shape), pair((spec.c_out,))
        (gy, gy_), (added, added_), (gx, gx_) = pair(spec.y_shape), pair(spec.y_shape), pair(spec.x_shape)
        y = reference.conv_fwd(x, w, None, spec)
        total = reference.conv_fwd(x, w, b, spec) + added
        for got, want, terms in (
            (cpu.conv_fwd(x_, w_, None, spec, "depthwise"), y, w[0].size),
            (cpu.conv_fwd(x_, w_, b_, spec, "depthwise", added_, True), np.maximum(total, 0), w[0].size),
            (cpu.conv_bwd_data(gy_, w_, spec, "depthwise"), reference.conv_bwd_data(gy, w, spec), w[0].size),
            (
                cpu.conv_bwd_data(gy_, w_, spec, "depthwise", gx_),
                reference.conv_bwd_data(gy, w, spec) + gx,
                w[0].size,
            ),
            (
                cpu.conv_bwd_weight(x_, gy_, spec, "depthwise"),
                reference.conv_bwd_weight(x, gy, spec),
                gy[:, 0].size,
            ),
        ):
            assert got.shape == want.shape and got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=20 * step * (terms**0.5 + 4))

    check()
