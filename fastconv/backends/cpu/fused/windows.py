"""Pooling layers of a block: one row of windows, forward and backward.

for each window of the row
  for each vector of images:  maximum or sum of the window's pixels
"""

from __future__ import annotations

from ..codegen import emitter
from ..codegen.jit import body
from .records import AVERAGE


@body
def _window(step, pitch, at, images, like):
    """The maximum or the sum of the window at address ``at``, for a vector of images."""
    result = emitter.load(at, like)
    for i in range(step.kernel_h):
        for j in range(step.kernel_w):
            value = emitter.load(at + (i * pitch + j * images) * like.itemsize, like)
            if step.kind != AVERAGE:
                result = emitter.maximum(result, value)
            elif i + j:
                result = emitter.add(result, value)
    return result


@body
def pool_row(step, x_pitch, width, at, to, images, like):
    """A row of windows at address ``at`` becomes the row at ``to``."""
    scale = emitter.fill(like.dtype.type(step.scale))
    for q in range(width):
        for v in range(0, images * like.itemsize, emitter.VECTOR_BYTES):
            result = _window(step, x_pitch, at + q * step.stride_w * images * like.itemsize + v, images, like)
            if step.kind == AVERAGE:
                result = emitter.multiply(result, scale)
            emitter.store(result, to + q * images * like.itemsize + v)


@body
def pool_row_bwd(step, x_pitch, width, at, g_at, g_to, images, like):
    """Hand the gradients of a row of results, at ``g_to``, on to their windows.

    ``at``: address of the windows' pixels, ``g_at``: of the gradients of these.
    """
    scale, zero = emitter.fill(like.dtype.type(step.scale)), emitter.fill(like.dtype.type(0))
    for q in range(width):
        for v in range(0, images * like.itemsize, emitter.VECTOR_BYTES):
            inside, outside = q * step.stride_w * images * like.itemsize + v, q * images * like.itemsize + v
            left = emitter.load(g_to + outside, like)
            part = best = emitter.multiply(left, scale)
            if step.kind != AVERAGE:
                best = _window(step, x_pitch, at + inside, images, like)
            for i in range(step.kernel_h):
                for j in range(step.kernel_w):
                    place = inside + (i * x_pitch + j * images) * like.itemsize
                    if step.kind != AVERAGE:  # the first maximum, or the first NaN, takes all of it
                        value = emitter.load(at + place, like)
                        part, left = (
                            emitter.if_same(value, best, left, zero),
                            emitter.if_same(value, best, zero, left),
                        )
                    if step.overlap:
                        emitter.store(emitter.add(emitter.load(g_at + place, like), part), g_at + place)
                    else:
                        emitter.store(part, g_at + place)
