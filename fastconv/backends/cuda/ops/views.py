"""Copies between host and device, and arrays under another shape or order of axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..runtime import layout, memory
from ..runtime.array import DeviceArray


def asarray(x) -> DeviceArray:
    """A host array as a device array with the same order of axes in memory."""
    return x if isinstance(x, DeviceArray) else memory.from_host(np.asarray(x))


def to_host(x) -> np.ndarray:
    """A copy on the host; a host array as it is."""
    if not isinstance(x, DeviceArray):
        return np.asarray(x)
    return memory.download(x if layout.is_dense(x) else layout.dense(x))


def zeros(shape: Sequence[int], dtype) -> DeviceArray:
    """A new C-contiguous array of zeros."""
    return layout.filled(shape, dtype, 0)


def reshape(x: DeviceArray, shape: Sequence[int]) -> DeviceArray:
    """The same elements in logical order; a view where strides allow."""
    strides = _reshaped_strides(x, shape) if x.size else None
    if strides is None:
        return layout.dense(x).reshape(*shape)
    return x.view(_completed(x, shape), strides)


def _completed(x, shape):
    """``shape`` with the extent that -1 stands for."""
    known = prod(n for n in shape if n != -1)
    return tuple(x.size // known if n == -1 else n for n in shape)


def _reshaped_strides(x, shape):
    """Strides of ``x`` under another shape, or None where there are none."""
    shape = _completed(x, shape)
    strides, d = [0] * len(shape), len(shape) - 1
    for extent, step in zip(*map(reversed, layout.merged(x.shape, x.strides))):
        while extent > 1:
            while d >= 0 and shape[d] == 1:
                d -= 1
            if d < 0 or extent % shape[d]:
                return None
            strides[d] = step
            step, extent, d = step * shape[d], extent // shape[d], d - 1
    return tuple(strides)


def permute(x: DeviceArray, axes: Sequence[int]) -> DeviceArray:
    """A view with the axes in another order."""
    return x.transpose(*axes)


def as_strided(x: DeviceArray, shape: Sequence[int], strides: Sequence[int]) -> DeviceArray:
    """A view with these strides that begins at the first element of ``x``."""
    return x.view(shape, strides)


def broadcast_to(x: DeviceArray, shape: Sequence[int]) -> DeviceArray:
    """A view that repeats ``x`` to ``shape``."""
    return layout.broadcast(x, tuple(shape))


def concatenate(xs: Sequence[DeviceArray], axis: int) -> DeviceArray:
    """Arrays one after the other along an axis, in the memory order of the first."""
    model = xs[0]
    shape = [sum(x.shape[axis] for x in xs) if i == axis else n for i, n in enumerate(model.shape)]
    order = layout.memory_order(model)
    y = memory.empty([shape[i] for i in order], np.result_type(*(x.dtype for x in xs)))
    y = y.transpose(*(order.index(i) for i in range(y.ndim)))
    start = 0
    for x in xs:
        part = y.view(x.shape, y.strides, start * y.strides[axis])
        layout.copy_to(x, part)
        start += x.shape[axis]
    return y
