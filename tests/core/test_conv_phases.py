"""The phases of a convolution list every product of its definition once, forward and backward."""

from __future__ import annotations

from itertools import product

import pytest

from fastconv import spec
from fastconv.backends.common.conv_phases import backward_axes, forward_axes

CASES = {
    "plain": {"padding": 1},
    "stride": {"stride": (2, 3), "padding": ((0, 2), (1, 0))},
    "dilation": {"dilation": (2, 3), "padding": 3},
    "stride and dilation have a common factor": {"stride": (4, 2), "dilation": (2, 2), "padding": 2},
    "stride longer than the kernel": {"stride": 5},
}


def products(axes, size):
    """(output pixel, input pixel, kernel position) of a phase, where the input pixel is inside the image."""
    per_axis = []
    for a, n in zip(axes, size):
        found = []
        for i, t in product(range(a.positions), range(a.taps)):
            source = a.in_stride * i + a.offset + a.offset_step * t
            if 0 <= source < n:
                found.append((a.out_offset + a.out_stride * i, source, a.position + a.position_step * t))
        per_axis.append(found)
    return [tuple(zip(*triple)) for triple in product(*per_axis)]


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_every_product_once(options):
    geometry = spec.conv_spec("conv2d", (1, 1, 11, 9), (1, 1, 4, 3), **options)
    rows, columns = (
        [(o, i, t) for o, t in product(range(n), range(k)) if 0 <= (i := o * s + t * d - before) < size]
        for n, k, s, d, (before, _), size in zip(
            geometry.out_size,
            geometry.kernel,
            geometry.stride,
            geometry.dilation,
            geometry.padding,
            geometry.in_size,
        )
    )
    want = sorted(tuple(zip(*pair)) for pair in product(rows, columns))
    (forward,) = forward_axes(geometry)
    assert sorted(products(forward, geometry.in_size)) == want
    backward = [p for axes in backward_axes(geometry) for p in products(axes, geometry.out_size)]
    assert sorted((gy, gx, tap) for gx, gy, tap in backward) == want
    written = [
        pixel
        for axes in backward_axes(geometry)
        for pixel in product(*(range(a.out_offset, n, a.out_stride) for a, n in zip(axes, geometry.in_size)))
    ]
    assert sorted(written) == list(product(*map(range, geometry.in_size))), "phases share or miss pixels"
