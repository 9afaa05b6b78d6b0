"""Max unpooling: elements put back where max pooling took them from, and its gradient.

::

    forward:   thread: an image and a channel
                 clear the plane, then write each element to its place, in order: the last one stays
    backward:  thread: an element of the input; it reads the gradient of its place
"""

from __future__ import annotations

import functools
from math import prod

from ..runtime import layout
from ..runtime.launch import cuda, grid, kernel, launch


@functools.cache
def _unpool_kernel(real):
    zero = real(0)

    @kernel
    def max_unpool(x, index, y, channels, inputs, outputs, n):
        # x, index: N, inputs, C -> y: N, outputs, C
        for plane in range(cuda.grid(1), n, cuda.gridsize(1)):
            image = plane // channels
            c = plane - image * channels
            source, target = image * inputs * channels + c, image * outputs * channels + c
            for p in range(outputs):
                y[target + p * channels] = zero
            for p in range(inputs):
                y[target + index[source + p * channels] * channels] = x[source + p * channels]

    return max_unpool


@functools.cache
def _unpool_bwd_kernel():
    @kernel
    def max_unpool_bwd(gy, index, gx, channels, inputs, outputs, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            pixel = i // channels
            image = pixel // inputs
            gx[i] = gy[(image * outputs + index[i]) * channels + i - pixel * channels]

    return max_unpool_bwd


def _sizes(spec):
    return spec.channels, prod(spec.in_size), prod(spec.out_size)


def max_unpool_fwd(x, index, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    planes = spec.batch * spec.channels
    arrays = layout.to_ndhwc(x), layout.to_ndhwc(index), y5
    launch(_unpool_kernel(x.dtype.type), *grid(planes), *arrays, *_sizes(spec), planes)
    return y


def max_unpool_bwd(gy, index, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    arrays = layout.to_ndhwc(gy), layout.to_ndhwc(index), gx5
    launch(_unpool_bwd_kernel(), *grid(gx.size), *arrays, *_sizes(spec), gx.size)
    return gx
