"""Dropout by a hash of a seed and each element's place.

    threads: equal shares of the elements, in memory order
      for each pixel in a share: one loop over its channels

    memory    N, pixels, C
    place     (n * C + c) * pixels + pixel

Places count in logical C order, whatever the order in memory is. Where whole channels are dropped, the place
is that of the element's channel: ``n * C + c``.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.common import random_bits

from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory

_bits24 = body(random_bits.bits24)


@body
def drop(x, threshold, scale, start, step, y):
    """Keep element ``c`` of ``x`` or not by the bits of the number ``start + c * step``."""
    zero = x.dtype.type(0)
    for c in range(x.size):
        bits = _bits24(start + np.uint64(c) * step)
        y[c] = x[c] * scale if bits >= threshold else zero


@kernel
def _dropout(thread, threads, x, pixels, channels, steps, threshold, scale, origin, y):
    # x: flat, in the memory order N, pixels, C; steps: how much the number of an element grows with each of
    # the three; origin: the number of the first element
    image_step, pixel_step, channel_step = steps
    start, end = split_range(thread, threads, x.size)
    while start < end:
        r, c = start // channels, start % channels
        stop = min(end, (r + 1) * channels)
        first = origin + np.uint64(r // pixels * image_step + r % pixels * pixel_step + c * channel_step)
        drop(x[start:stop], threshold, scale, first, np.uint64(channel_step), y[start:stop])
        start = stop


def dropout(x, p, scale, seed, channels=False):
    start, threshold = random_bits.start(seed), random_bits.threshold(p)
    if 3 <= x.ndim <= 5 and not x.flags.c_contiguous:
        y, out = layout.empty(x.shape, x.dtype)
        source, pixels, inner = layout.to_ndhwc(x), prod(x.shape[2:]), x.shape[1]
        steps = (inner, 0, 1) if channels else (inner * pixels, 1, pixels)
    else:
        y = out = memory.empty(x.shape, x.dtype)
        # one row of all elements, or a row for each channel, whose elements have the same number
        spatial = prod(x.shape[2:]) if channels else 1
        source, pixels, inner = layout.dense(x), 1, spatial if spatial > 1 else x.size
        steps = (1, 0, 0) if spatial > 1 else (0, 0, 1)
    if y.size:
        scale = x.dtype.type(scale)
        _dropout(source.reshape(-1), pixels, inner, steps, threshold, scale, start, out.reshape(-1))
    return y
