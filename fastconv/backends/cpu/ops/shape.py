"""Padding, resizing, unfold and fold: moves and short sums along one axis at a time.

Padding and resizing apply a sparse matrix to one axis after the other, and their gradients apply the
transposed matrices. One kernel serves them all::

    y[o, j, :] = sum over the entries e of row j:  weight[e] * x[o, item[e], :]     (fill, if row j is empty)

    threads: equal shares of the pairs (o, j); the innermost run is contiguous in memory

Unfold and fold are loops of their own::

    unfold   threads: equal shares of (image, channel, tap);  for each output pixel: one read, one write
    fold     threads: equal shares of (image, channel);       for each tap and output pixel: add to a pixel
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.common import resample

from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory


# ------------------------------------------------------------------------------------------- along one axis
@kernel
def _along_axis(threads, x, starts, items, weights, fill, y):
    outer, count, inner = y.shape
    for thread in prange(threads):
        first, end = split_range(thread, threads, outer * count)
        for job in range(first, end):
            o, j = job // count, job % count
            target = y[o, j]
            if starts[j] == starts[j + 1]:
                target[:] = fill
            for e in range(starts[j], starts[j + 1]):
                source, weight = x[o, items[e]], weights[e]
                if e == starts[j]:
                    for i in range(inner):
                        target[i] = weight * source[i]
                else:
                    for i in range(inner):
                        target[i] += weight * source[i]


def along_axis(x: np.ndarray, axis: int, rows: resample.Rows, fill: float = 0.0) -> np.ndarray:
    """Apply the sparse matrix ``rows`` to one axis; the result has the memory order of ``x``."""
    if x.dtype.char == "e":  # Numba has no float16 on the CPU
        return along_axis(x.astype(np.float32), axis, rows, fill).astype(x.dtype)
    order = layout.memory_order(x)
    at = order.index(axis)
    dense = layout.dense(x.transpose(order))
    shape = dense.shape
    y = memory.empty((*shape[:at], len(rows), *shape[at + 1 :]), x.dtype)
    view = (prod(shape[:at]), -1, prod(shape[at + 1 :]))
    if y.size:
        if dense.size == 0:
            y.fill(fill)
        else:
            _along_axis(
                dense.reshape(view[0], shape[at], view[2]),
                rows.starts,
                rows.items,
                rows.weights.astype(x.dtype),
                x.dtype.type(fill),
                y.reshape(view[0], len(rows), view[2]),
            )
    return y.transpose(np.argsort(order))


# ------------------------------------------------------------------------------------------- unfold and fold
@kernel
def _unfold(threads, x, kernel_size, stride, dilation, before, cols):
    # x: N, H, W, C -> cols: N, C, kh * kw, oh, ow
    images, height, width, channels = x.shape
    oh, ow = cols.shape[3], cols.shape[4]
    taps = kernel_size[0] * kernel_size[1]
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * channels * taps)
        for job in range(first, end):
            n, c, t = job // taps // channels, job // taps % channels, job % taps
            i0 = t // kernel_size[1] * dilation[0] - before[0]
            j0 = t % kernel_size[1] * dilation[1] - before[1]
            for p in range(oh):
                i = i0 + p * stride[0]
                for q in range(ow):
                    j = j0 + q * stride[1]
                    cols[n, c, t, p, q] = x[n, i, j, c] if 0 <= i < height and 0 <= j < width else 0


@kernel
def _fold(threads, cols, kernel_size, stride, dilation, before, x):
    # cols: N, C, kh * kw, oh, ow -> x: N, H, W, C
    images, height, width, channels = x.shape
    oh, ow = cols.shape[3], cols.shape[4]
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * channels)
        for job in range(first, end):
            n, c = job // channels, job % channels
            for i in range(height):
                for j in range(width):
                    x[n, i, j, c] = 0
            for t in range(kernel_size[0] * kernel_size[1]):
                i0 = t // kernel_size[1] * dilation[0] - before[0]
                j0 = t % kernel_size[1] * dilation[1] - before[1]
                for p in range(oh):
                    i = i0 + p * stride[0]
                    for q in range(ow):
                        j = j0 + q * stride[1]
                        if 0 <= i < height and 0 <= j < width:
                            x[n, i, j, c] += cols[n, c, t, p, q]


def _window(spec):
    return spec.kernel, spec.stride, spec.dilation, tuple(b for b, _ in spec.padding)


def _cols_shape(spec):
    return spec.batch, spec.c_in, prod(spec.kernel), *spec.out_size


def unfold(x, spec):
    cols = memory.empty(_cols_shape(spec), x.dtype)
    if cols.size:
        _unfold(layout.to_ndhwc(x)[:, 0], *_window(spec), cols)
    return cols.reshape(spec.batch, spec.c_in * prod(spec.kernel), prod(spec.out_size))


def fold(cols, spec):
    x, x5 = layout.empty(spec.x_shape, cols.dtype)
    if x.size:
        _fold(layout.dense(cols).reshape(_cols_shape(spec)), *_window(spec), x5[:, 0])
    return x


def copy(x):
    """A fresh dense array with the order of axes in memory of ``x``."""
    y = layout.empty_like(x)
    np.copyto(y, x)
    return y


pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd = resample.ops(along_axis, copy)
