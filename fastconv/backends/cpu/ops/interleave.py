"""The channels of two arrays in turn: ``x0 y0 x1 y1 ...``, as the channel shuffle of two groups has them.

::

    threads: equal shares of the pixels
      for each pixel, each vector of channels:
        x    x0 x1 x2 x3 ...
        y    y0 y1 y2 y3 ...     ->     x0 y0 x1 y1 ... | ... x3 y3        two vectors

The inputs may be slices of the channels of other arrays, which are read in place.
"""

from __future__ import annotations

import numpy as np

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import by_address, kernel, split_range
from ..runtime import layout


@kernel
def _interleave(thread, threads, lanes, x, y, channels, result):
    # x, y: address and bytes from pixel to pixel; result: pixels x channels of both
    pixels, both = result.shape
    size = result.itemsize
    first, end = split_range(thread, threads, pixels)
    for pixel in range(first, end):
        a, b = x[0] + pixel * x[1], y[0] + pixel * y[1]
        target = address(result) + pixel * both * size
        for c in range(0, channels - lanes + 1, lanes):
            u, v = emitter.load(a + c * size, result), emitter.load(b + c * size, result)
            emitter.store(emitter.alternating(u, v), target + 2 * c * size)
            emitter.store(emitter.alternating_behind(u, v), target + (2 * c + lanes) * size)
        rest = channels % lanes
        if rest:
            c = channels - rest
            u = emitter.load_part(a + c * size, rest, result)
            v = emitter.load_part(b + c * size, rest, result)
            at = target + 2 * c * size
            emitter.store_part(emitter.alternating(u, v), at, min(2 * rest, lanes))
            if 2 * rest > lanes:
                emitter.store_part(emitter.alternating_behind(u, v), at + lanes * size, 2 * rest - lanes)


def interleave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The channels of ``x`` and ``y`` in turn (see the contract)."""
    channels = x.shape[1]
    result, _ = layout.empty((x.shape[0], 2 * channels, *x.shape[2:]), x.dtype)
    if x.dtype.char not in "fd":
        result[:, ::2], result[:, 1::2] = x, y
        return result
    (x, x_pitch), (y, y_pitch) = layout.pixels(x), layout.pixels(y)
    if result.size:
        by_address((x, y))
        _interleave(
            emitter.lanes(x.dtype),
            (x.ctypes.data, x_pitch * x.itemsize),
            (y.ctypes.data, y_pitch * y.itemsize),
            channels,
            layout.rows(result),
        )
    return result
