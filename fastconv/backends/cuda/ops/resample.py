"""Padding, resizing, and windows as columns.

Padding and resizing are sparse matrices applied to one axis after the other
(``backends/common/resample.py``), and
their gradients the transposed matrices::

    y[o, j, :] = sum over the entries e of row j:  weight[e] * x[o, item[e], :]    (fill where row j is empty)
"""

from __future__ import annotations

import functools
from math import prod

from fastconv.backends.common import resample

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import cuda, grid, kernel, launch


@functools.cache
def _along_axis_kernel(real):
    zero = real(0)

    @kernel
    def along_axis(x, starts, items, weights, fill, y, before, after, inner, n):
        # x: outer x before x inner -> y: outer x after x inner
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            column = i // inner
            outer = column // after
            row = column - outer * after
            at = outer * before * inner + i - column * inner
            value = zero if starts[row] < starts[row + 1] else fill
            for e in range(starts[row], starts[row + 1]):
                value += weights[e] * x[at + items[e] * inner]
            y[i] = value

    return along_axis


def along_axis(x: DeviceArray, axis: int, rows: resample.Rows, fill: float = 0.0) -> DeviceArray:
    """Apply the sparse matrix ``rows`` to one axis; the result has the memory order of ``x``."""
    order = layout.memory_order(x)
    at = order.index(axis)
    dense = layout.dense(x.transpose(*order))
    shape, real = dense.shape, x.dtype.type
    y = memory.empty((*shape[:at], len(rows), *shape[at + 1 :]), x.dtype)
    tables = rows.starts, rows.items, rows.weights.astype(x.dtype)
    launch(
        _along_axis_kernel(real),
        *grid(y.size),
        dense,
        *map(memory.constant, tables),
        real(fill),
        y,
        shape[at],
        len(rows),
        prod(shape[at + 1 :]),
        y.size,
    )
    return y.transpose(*(order.index(i) for i in range(x.ndim)))


def apply(x: DeviceArray, matrices: dict[int, resample.Rows], fill: float = 0.0) -> DeviceArray:
    """Apply sparse matrices to one axis after the other."""
    for axis, rows in matrices.items():
        x = along_axis(x, axis, rows, fill)
    return x


pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd = resample.ops(apply, layout.copy)


# -------------------------------------------------------------------------------------- windows as columns
@functools.cache
def _unfold_kernel(real):
    zero = real(0)

    @kernel
    def unfold_windows(x, cols, channels, size, kernel_size, stride, dilation, before, out_size, n):
        # x: N, H, W, C -> cols: N, C, kh, kw, oh, ow; a thread writes one number of cols
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest = item // out_size[1]
            q = item - rest * out_size[1]
            p = rest % out_size[0]
            rest = rest // out_size[0]
            v = rest % kernel_size[1]
            rest = rest // kernel_size[1]
            u = rest % kernel_size[0]
            rest = rest // kernel_size[0]
            image = rest // channels
            c = rest - image * channels
            i = p * stride[0] + u * dilation[0] - before[0]
            j = q * stride[1] + v * dilation[1] - before[1]
            inside = i >= 0 and i < size[0] and j >= 0 and j < size[1]
            cols[item] = x[((image * size[0] + i) * size[1] + j) * channels + c] if inside else zero

    return unfold_windows


@functools.cache
def _fold_kernel(real):
    zero = real(0)

    @kernel
    def fold_windows(cols, x, channels, size, kernel_size, stride, dilation, before, out_size, n):
        # a thread adds up the numbers of cols that belong to one of x
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest = item // channels
            c = item - rest * channels
            j = rest % size[1] + before[1]
            rest = rest // size[1]
            i = rest % size[0] + before[0]
            image = rest // size[0]
            value = zero
            for u in range(kernel_size[0]):
                a = i - u * dilation[0]
                p = a // stride[0]
                if a >= 0 and p * stride[0] == a and p < out_size[0]:
                    for v in range(kernel_size[1]):
                        b = j - v * dilation[1]
                        q = b // stride[1]
                        if b >= 0 and q * stride[1] == b and q < out_size[1]:
                            tap = ((image * channels + c) * kernel_size[0] + u) * kernel_size[1] + v
                            value += cols[(tap * out_size[0] + p) * out_size[1] + q]
            x[item] = value

    return fold_windows


def _windows(spec):
    return (
        spec.c_in,
        spec.in_size,
        spec.kernel,
        spec.stride,
        spec.dilation,
        tuple(b for b, _ in spec.padding),
        spec.out_size,
    )


def unfold(x: DeviceArray, spec) -> DeviceArray:
    """The windows of ``N, C, H, W`` images as columns ``N, C * kh * kw, oh * ow``."""
    cols = memory.empty((spec.batch, spec.c_in * prod(spec.kernel), prod(spec.out_size)), x.dtype)
    launch(
        _unfold_kernel(x.dtype.type), *grid(cols.size), layout.to_ndhwc(x), cols, *_windows(spec), cols.size
    )
    return cols


def fold(cols: DeviceArray, spec) -> DeviceArray:
    """The sum of columns into images: the transpose of :func:`unfold`."""
    x, x5 = layout.empty(spec.x_shape, cols.dtype)
    launch(_fold_kernel(cols.dtype.type), *grid(x.size), layout.dense(cols), x5, *_windows(spec), x.size)
    return x
