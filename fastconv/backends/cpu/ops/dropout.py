"""Dropout by a hash of a seed and each element's place.

    threads: equal shares of the elements, in memory order
      for each pixel in a share: one loop over its channels

    memory    N, pixels, C
    place     (n * C + c) * pixels + pixel

Places count in logical C order, whatever the order in memory is.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.common import random_bits

from ..codegen.jit import body, kernel, prange, split_range
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
def _dropout(threads, x, pixels, channels, threshold, scale, origin, y):
    # x: flat, in the memory order N, pixels, C; origin: the number of the first element
    for thread in prange(threads):
        start, end = split_range(thread, threads, x.size)
        while start < end:
            r, c = start // channels, start % channels
            stop = min(end, (r + 1) * channels)
            first = (r // pixels * channels + c) * pixels + r % pixels
            drop(x[start:stop], threshold, scale, origin + np.uint64(first), np.uint64(pixels), y[start:stop])
            start = stop


def dropout(x, p, scale, seed):
    start, threshold = random_bits.start(seed), random_bits.threshold(p)
    if 3 <= x.ndim <= 5 and not x.flags.c_contiguous:
        y, out = layout.empty(x.shape, x.dtype)
        source, pixels, channels = layout.to_ndhwc(x), prod(x.shape[2:]), x.shape[1]
    else:
        y = out = memory.empty(x.shape, x.dtype)
        source, pixels, channels = layout.dense(x), 1, x.size
    if y.size:
        _dropout(source.reshape(-1), pixels, channels, threshold, x.dtype.type(scale), start, out.reshape(-1))
    return y
