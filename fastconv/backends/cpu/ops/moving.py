"""Arrays joined and in other shapes, where elements move to other places in memory."""

from __future__ import annotations

import numpy as np

from fastconv.spec import reshaped_strides

from ..runtime import layout, memory
from ..runtime.strided_copy import SMALL, copy
from . import borrowed as reference


def _channels_last(x, shape):
    """Whether only channels are split or merged, of images whose channels are last in memory: ``N x channel
    axes x spatial`` becomes ``N x C x spatial``."""
    size = shape[2:]
    if not size or x.ndim <= len(shape) or x.shape[0] != shape[0] or x.shape[-len(size) :] != size:
        return False
    steps = [abs(step) if n > 1 else x.nbytes for n, step in zip(x.shape[1:], x.strides[1:])]
    return min(steps[: -len(size)]) < min(steps[-len(size) :])


def reshape(x, shape):
    if _channels_last(x, shape) and reshaped_strides(x.shape, x.strides, shape) is None:
        # a shuffle of channels; the layer that follows wants its images like this
        end = x.ndim - len(shape) + 2  # of the axes of channels
        pixels = x.transpose(0, *range(end, x.ndim), *range(1, end))
        y = memory.empty(pixels.shape, x.dtype)
        copy(y, pixels)
        return np.moveaxis(y.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
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
