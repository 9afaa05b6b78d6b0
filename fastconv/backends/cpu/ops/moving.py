"""Arrays joined and in other shapes, where elements move to other places in memory."""

from __future__ import annotations

import numpy as np

from fastconv.spec import reshaped_strides

from ..runtime import layout, memory
from ..runtime.strided_copy import SMALL, copy
from . import borrowed as reference


def reshape(x, shape):
    if x.size < SMALL or reshaped_strides(x.shape, x.strides, shape) is not None:
        return reference.reshape(x, shape)
    return layout.dense(x).reshape(shape)


def concatenate(xs, axis):
    sizes = [x.size for x in xs]
    if sum(sizes) < SMALL or len({x.dtype for x in xs}) > 1:
        return reference.concatenate(xs, axis)
    order = layout.memory_order(xs[sizes.index(max(sizes))])
    shape = [sum(x.shape[axis] for x in xs) if i == axis else n for i, n in enumerate(xs[0].shape)]
    y = memory.empty([shape[i] for i in order], xs[0].dtype).transpose(np.argsort(order))
    place = [slice(None)] * y.ndim
    for x in xs:
        start = place[axis].stop or 0
        place[axis] = slice(start, start + x.shape[axis])
        copy(y[tuple(place)], x)
    return y
