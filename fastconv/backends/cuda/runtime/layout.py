"""Logical NCHW on channels-last memory: the views that kernels read, and the outputs that they write.

The cpu backend does the same. An array that does not lie in memory as a kernel wants it is copied once.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastconv.backends.common.pointwise import merged

from . import memory
from .array import DeviceArray, dense_strides, implements
from .launch import cuda, grid, kernel, launch


def steps(x: DeviceArray) -> tuple[int, ...]:
    """Strides in elements."""
    return x.geometry.steps


def unsigned(count: int, *tuples) -> tuple[tuple[np.unsignedinteger, ...], ...]:
    """Tuples of numbers as unsigned integers that are wide enough for ``count`` elements.

    A division of 32 bits is several times faster than one of 64.
    """
    kind = np.uint32 if count < 2**31 else np.uint64
    return tuple(tuple(kind(v) for v in t) for t in tuples)


@functools.cache
def copy_kernel(index: type) -> Any:
    """The kernel that copies between strides; ``index`` is the type of its places."""

    @kernel
    def copy_strided(x, y, shape, x_steps, y_steps, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, source, target = index(i), index(0), index(0)
            for d in range(len(shape) - 1, -1, -1):
                whole = rest // shape[d]
                place = rest - whole * shape[d]
                source += place * x_steps[d]
                target += place * y_steps[d]
                rest = whole
            y[target] = x[source]

    return copy_strided


def copy_to(x: DeviceArray, y: DeviceArray) -> DeviceArray:
    """Write the values of ``x`` into ``y``, of the same shape and dtype but any strides; returns ``y``."""
    y.base.known.clear()
    order = memory_order(y)
    strides = ([steps(a)[i] for i in order] for a in (x, y))
    shape, xs, ys = unsigned(max(x.span, y.span, y.size), *merged([y.shape[i] for i in order], *strides))
    launch(copy_kernel(type(shape[0])), *grid(y.size), x, y, shape, xs, ys, y.size)
    return y


@functools.cache
def fill_kernel() -> Any:
    """The kernel that writes one value."""

    @kernel
    def fill(y, value, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = value

    return fill


def filled(shape, dtype, value) -> DeviceArray:
    """A new C-contiguous array of one value."""
    y = memory.empty(shape, dtype)
    launch(fill_kernel(), *grid(y.size), y, y.dtype.type(value), y.size)
    return y


def memory_order(x: DeviceArray) -> tuple[int, ...]:
    """The axes from the slowest to the fastest varying in memory."""
    return x.geometry.order


def dense(x: DeviceArray) -> DeviceArray:
    """``x`` itself if C-contiguous, else a copy that is."""
    if x.geometry.flags.c_contiguous:
        return x
    y = memory.empty(x.shape, x.dtype)
    copy_to(x, y)
    return y


@functools.lru_cache(maxsize=4096)
def _ndhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``N, C, *spatial`` as ``N, D, H, W, C``."""
    n, c, *spatial = shape
    return n, *(1,) * (3 - len(spatial)), *spatial, c


@functools.lru_cache(maxsize=4096)
def _channels_last_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    n, c, *spatial = shape
    first, *others, last = dense_strides((n, *spatial, c), itemsize)
    return first, last, *others


def _dense_channels_last(x: DeviceArray) -> DeviceArray:
    """``x`` itself if it is channels-last in memory, else a copy in the order ``N, *spatial, C`` of axes."""
    return x if x.geometry.channels_last else dense(x.transpose(0, *range(2, x.ndim), 1))


def to_ndhwc(x: DeviceArray) -> DeviceArray:
    """``N, C, *spatial`` as a C-contiguous ``N, D, H, W, C`` array; a view of channels-last memory."""
    return _dense_channels_last(x).view(_ndhwc(x.shape), None)


def rows(x: DeviceArray) -> DeviceArray:
    """``N, C, *spatial`` as a C-contiguous ``(N * spatial, C)`` array."""
    c = x.shape[1]
    return _dense_channels_last(x).view((x.size // max(c, 1), c), None)


def empty(shape, dtype) -> tuple[DeviceArray, DeviceArray]:
    """A new channels-last array of logical ``shape``, and the 5-D ``N, D, H, W, C`` view kernels write."""
    shape = tuple(shape)
    y5 = memory.empty(_ndhwc(shape), dtype)
    return y5.view(shape, _channels_last_strides(shape, y5.itemsize)), y5


def empty_like(x: DeviceArray, dtype=None) -> DeviceArray:
    """A new dense array of ``x``'s shape with its order of axes in memory."""
    if is_dense(x):
        y = memory.empty((x.size,), dtype or x.dtype)
        strides = x.strides if y.itemsize == x.itemsize else [s * y.itemsize for s in x.geometry.steps]
        return y.view(x.shape, strides)
    order = memory_order(x)
    y = memory.empty([x.shape[i] for i in order], dtype or x.dtype)
    return y.transpose(*sorted(range(x.ndim), key=order.__getitem__))


def is_dense(x: DeviceArray) -> bool:
    """Whether the elements fill memory from the first to the last, in any order of axes."""
    known = x.geometry
    return known.span == known.size and known.flags.writeable


@implements("copy")
def copy(x: DeviceArray) -> DeviceArray:
    """A fresh array with the order of axes in memory of ``x``."""
    return copy_to(x, empty_like(x))


def like(x: DeviceArray, model: DeviceArray) -> DeviceArray:
    """``x`` with the memory order of ``model``, dense and of the same shape; a copy if its own differs."""
    if same_order(x, model):
        return x
    y = empty_like(model)
    copy_to(x, y)
    return y


def same_order(x: DeviceArray, model: DeviceArray) -> bool:
    """Whether two arrays of the same shape have the same strides in elements, extents of 1 aside."""
    a, b = x.geometry.steps, model.geometry.steps
    return a == b or all(n == 1 or i == j for n, i, j in zip(x.shape, a, b))


def alike(*arrays: DeviceArray) -> list[DeviceArray]:
    """Arrays of the same shape, all with the memory order of the first dense one; copies where it differs.

    A kernel can then walk them through memory, element by element, as one line.
    """
    model = next((a for a in arrays if is_dense(a)), None)
    if model is None:
        model = empty_like(arrays[0])
    return [like(a, model) for a in arrays]


def broadcast(x: DeviceArray, shape) -> DeviceArray:
    """A view that repeats ``x`` to ``shape``, by strides of zero."""
    lead = len(shape) - x.ndim
    strides = [0 if n == 1 != m else s for n, m, s in zip(x.shape, shape[lead:], x.strides)]
    return x.view(shape, (0,) * lead + tuple(strides))


def vector_width(channels: int, *arrays: DeviceArray) -> int:
    """How many channels of channels-last arrays a thread reads in one access."""
    return 4 if channels % 4 == 0 and all(a.address % 16 == 0 for a in arrays) else 1


def aligned(x: Any) -> Any:
    """The array ``x`` (None: None), or a copy of it, at an address that accesses of 16 bytes accept."""
    if x is None or x.address % 16 == 0:
        return x
    return copy_to(x, memory.empty(x.shape, x.dtype))
