"""A block of images in a thread's memory: images in and out, activations, and sums over rows.

    x  N, C, H, W  ->  block  [channel][row][column][image]  ->  y  N, C, H, W

Loops run over the images of a block and the columns of a row, which are next to each other.
"""

from __future__ import annotations

import numpy as np

from ..codegen import vector_math
from ..codegen.jit import body
from .records import RELU, SIGMOID, TANH

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64


@body
def clear(x, start, n):
    """Zero ``n`` elements; a function of its own, because Numba takes stores to an array that only addresses
    read afterwards for dead code."""
    x[start : start + n] = 0


@body
def load_images(x, strides, first, count, images, filled, flat, start, view):
    """Read ``count`` images of ``x``, from ``first`` on, into a block.

    After these the last image is repeated up to the place ``filled``; the rest is zero.
    """
    for c in range(view.channels):
        for h in range(view.height):
            for w in range(view.width):
                source = c * strides[1] + h * strides[2] + w * strides[3]
                to = start + c * view.plane + h * view.pitch + w * images
                for n in range(images):
                    flat[U(to + n)] = x[U((first + min(n, count - 1)) * strides[0] + source)]
                for n in range(filled, images):
                    flat[U(to + n)] = 0


@body
def store_images(flat, start, view, images, y, strides, first, count):
    """Write the images of a block to ``count`` images of ``y``, from ``first`` on."""
    for n in range(count):
        for c in range(view.channels):
            for h in range(view.height):
                at = start + c * view.plane + h * view.pitch + n
                to = (first + n) * strides[0] + c * strides[1] + h * strides[2]
                for w in range(view.width):
                    y[U(to + w * strides[3])] = flat[U(at + w * images)]


@body
def activate(kind, x, start, n):
    """Apply an activation to ``n`` elements."""
    if kind == RELU:
        zero = x.dtype.type(0)
        for e in range(n):
            v = x[U(start + e)]
            x[U(start + e)] = zero if v <= zero else v
    elif kind == SIGMOID:
        for e in range(n):
            x[U(start + e)] = vector_math.sigmoid(x[U(start + e)])
    elif kind == TANH:
        for e in range(n):
            x[U(start + e)] = vector_math.tanh(x[U(start + e)])


@body
def _slope(kind, y, y_start, g, g_start, n):
    """``g`` times the activation's derivative, which is a function of its result ``y``."""
    zero, one = g.dtype.type(0), g.dtype.type(1)
    if kind == RELU:
        for e in range(n):
            g[U(g_start + e)] = zero if y[U(y_start + e)] <= zero else g[U(g_start + e)]
    elif kind == SIGMOID:
        for e in range(n):
            s = y[U(y_start + e)]
            g[U(g_start + e)] = g[U(g_start + e)] * s * (one - s)
    elif kind == TANH:
        for e in range(n):
            s = y[U(y_start + e)]
            g[U(g_start + e)] = g[U(g_start + e)] * (one - s * s)


@body
def activation_slopes(view, flat, start, g, g_start, images, channel, channels, row, rows):
    """:func:`_slope` of some rows of some channels, for the activation that ``view`` has."""
    for c in range(channel, channel + channels if view.activation else channel):
        for h in range(row, row + rows):
            at = c * view.plane + h * view.pitch
            _slope(view.activation, flat, start + at, g, g_start + at, view.width * images)


@body
def row_sums(g, start, view, row, rows, images, sums, at):
    """Add each channel's sum over some rows to ``sums[at...]``."""
    for c in range(view.channels):
        total = g.dtype.type(0)
        for h in range(row, row + rows):
            first = start + c * view.plane + h * view.pitch
            for e in range(view.width * images):
                total += g[U(first + e)]
        sums[at + c] += total
