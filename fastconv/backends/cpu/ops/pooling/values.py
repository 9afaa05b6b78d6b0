"""Max pooling that gives the maxima alone, without their positions, as inference needs them.

::

    threads: equal shares of the output rows (image, depth, row)
      for each output pixel, each vector of channels (the last one in part)
        prefetch the pixels below that the next row reads, where images are larger than the caches
        largest = -infinity                     in a register
        for each tap of the window              (what is beside the image is left out)
          largest = maximum(largest, x)         NaN stays NaN
"""

from __future__ import annotations

import numpy as np

from ...codegen import emitter
from ...codegen.emitter import address
from ...codegen.jit import body, kernel, split_range
from ...runtime import layout
from ...runtime.machine import CACHED
from .maximum import max_pool_fwd
from .windows import windows


@body(inline=True)
def _largest(source, window, sizes, part, like):
    """The maxima of a vector of channels: ``part`` of its lanes, or, where that is 0, all of them."""
    (d0, d1, d_step), (h0, h1, h_step), (w0, w1, w_step) = window
    plane, line, pixel = sizes
    found = emitter.fill(like.dtype.type(-np.inf))
    for d in range(d0, d1, d_step):
        for h in range(h0, h1, h_step):
            at = source + d * plane + h * line
            for w in range(w0, w1, w_step):
                if part:
                    x = emitter.load_part(at + w * pixel, part, like)
                else:
                    x = emitter.load(at + w * pixel, like)
                found = emitter.maximum(found, x)
    return found


@kernel
def _maxima(thread, threads, lanes, channels, ahead, x, starts, stops, steps, y):
    # x and y may be slices of channels (see layout.wide).
    images, depth, height, width, x_step = x.shape
    _, od, oh, ow, y_step = y.shape
    (d_start, h_start, w_start), (d_stop, h_stop, w_stop) = starts, stops
    pixel, out_pixel = x_step * x.itemsize, y_step * x.itemsize
    sizes = height * width * pixel, width * pixel, pixel
    rest = channels % lanes
    first, end = split_range(thread, threads, images * od * oh)
    for r in range(first, end):
        n, i, j = r // oh // od, r // oh % od, r % oh
        source = address(x) + n * depth * sizes[0]
        deep, high = (d_start[i], d_stop[i], steps[0]), (h_start[j], h_stop[j], steps[1])
        below, last = h_stop[j], h_stop[min(j + 1, oh - 1)] if ahead else 0
        for q in range(ow):
            window = deep, high, (w_start[q], w_stop[q], steps[2])
            for h in range(below, last):
                at = source + d_start[i] * sizes[0] + h * sizes[1] + w_start[q] * pixel
                emitter.prefetch(at, (w_start[min(q + 1, ow - 1)] - w_start[q]) * pixel)
            target = address(y) + (r * ow + q) * out_pixel
            for c in range(0, (channels - rest) * x.itemsize, lanes * x.itemsize):
                emitter.store(_largest(source + c, window, sizes, 0, x), target + c)
            if rest:
                c = (channels - rest) * x.itemsize
                emitter.store_part(_largest(source + c, window, sizes, rest, x), target + c, rest)


def max_pool_values(x: np.ndarray, spec) -> np.ndarray:
    """The maxima of ``max_pool_fwd`` (see the contract)."""
    dims = windows(spec)
    if max(w.longest for w in dims) > 5 or x.dtype.kind != "f":  # other kernels share work between windows
        return max_pool_fwd(x, spec)[0]
    y, y5 = layout.result(spec.y_shape, x.dtype)
    if y.size:
        tables = (tuple([getattr(w, name) for w in dims]) for name in ("starts", "stops", "step"))
        ahead = x.nbytes + y.nbytes > CACHED
        _maxima(emitter.lanes(x.dtype), spec.channels, ahead, layout.wide(x), *tables, y5)
    return y
