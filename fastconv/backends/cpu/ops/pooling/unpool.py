"""Max unpooling: elements put back where max pooling took them from, and its gradient.

forward     threads: equal shares of the jobs (image, block of channels)
              clear the pixels, then write each element to its pixel
backward    threads: equal shares of the pixels of the input; each element reads its pixel
"""

from __future__ import annotations

from ...codegen.jit import kernel, split_range
from ...runtime import layout
from .maximum import CHANNEL_BLOCK, U, clear


@kernel
def _unpool(thread, threads, x, index, y):
    # x, index: N, inputs, C; y: N, outputs, C
    images, inputs, channels = x.shape
    outputs = y.shape[1]
    width = channels if images >= 4 * threads else CHANNEL_BLOCK
    blocks = (channels + width - 1) // width
    sources, places, planes = x.reshape(images, -1), index.reshape(images, -1), y.reshape(images, -1)
    first, end = split_range(thread, threads, images * blocks)
    for job in range(first, end):
        n, c0 = job // blocks, job % blocks * width
        c1 = min(c0 + width, channels)
        source, place, plane = sources[n], places[n], planes[n]
        clear(plane, 0, outputs, channels, c0, c1)
        for p in range(inputs):
            for c in range(c0, c1):
                e = U(p * channels + c)
                plane[U(place[e] * channels + c)] = source[e]


@kernel
def _unpool_bwd(thread, threads, gy, index, gx):
    images, outputs, channels = gy.shape
    inputs = gx.shape[1]
    gradients, places, target = gy.reshape(images, -1), index.reshape(images, -1), gx.reshape(images, -1)
    first, end = split_range(thread, threads, images * inputs)
    for pixel in range(first, end):
        n, p = pixel // inputs, pixel % inputs
        for c in range(channels):
            e = U(p * channels + c)
            target[n, e] = gradients[n, U(places[n, e] * channels + c)]


def _pixels(x):
    """``N, C, spatial`` as a C-contiguous ``N, pixels, C``."""
    return layout.to_ndhwc(x).reshape(x.shape[0], -1, x.shape[1])


def max_unpool_fwd(x, index, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    if y.size:
        _unpool(_pixels(x), _pixels(index), y5.reshape(spec.batch, -1, spec.channels))
    return y


def max_unpool_bwd(gy, index, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if gx.size:
        _unpool_bwd(_pixels(gy), _pixels(index), gx5.reshape(spec.batch, -1, spec.channels))
    return gx
