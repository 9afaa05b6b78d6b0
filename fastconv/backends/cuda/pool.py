"""Pooling: a thread per output and channel; backward a thread per input, which collects from the windows that cover it.

Collecting needs no atomics, so gradients repeat to the bit. Windows are 1-D to 3-D boxes in ``N, D, H, W, C`` memory.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.spec import AdaptivePoolSpec

from . import layout
from .launch import body, cuda, grid, kernel, launch


def _geometry(spec):
    """(size, out_size, kernel, stride, dilation, before, adaptive) with three spatial dimensions."""
    if isinstance(spec, AdaptivePoolSpec):
        ones, zeros = (1, 1, 1), (0, 0, 0)
        return (1, *spec.in_size), (1, *spec.out_size), ones, ones, ones, zeros, True
    s = spec.lifted()
    return s.in_size, s.out_size, s.kernel, s.stride, s.dilation, tuple(b for b, _ in s.padding), False


@body
def _window(o, d, size, out_size, kernel_size, stride, dilation, before, adaptive):
    """First input place, end and step of window ``o`` along axis ``d``, inside the input."""
    if adaptive:
        return o * size[d] // out_size[d], ((o + 1) * size[d] + out_size[d] - 1) // out_size[d], 1
    start = o * stride[d] - before[d]
    end = min(start + kernel_size[d] * dilation[d], size[d])
    if start < 0:
        start += (-start + dilation[d] - 1) // dilation[d] * dilation[d]
    return start, end, dilation[d]


@body
def _covering(i, d, size, out_size, kernel_size, stride, dilation, before, adaptive):
    """First and end of the windows along axis ``d`` that may cover input place ``i``."""
    if adaptive:
        first = i * out_size[d] // size[d]
        end = ((i + 1) * out_size[d] + size[d] - 1) // size[d]
        return first, min(end, out_size[d])
    reach = i + before[d] - (kernel_size[d] - 1) * dilation[d]
    first = 0 if reach <= 0 else (reach + stride[d] - 1) // stride[d]
    return first, min((i + before[d]) // stride[d] + 1, out_size[d])


@body
def _decode(item, size, channels):
    """(image, z, y, x, channel) of an element of N, D, H, W, C memory."""
    rest = item // channels
    c = item - rest * channels
    x = rest % size[2]
    rest = rest // size[2]
    y = rest % size[1]
    rest = rest // size[1]
    z = rest % size[0]
    return rest // size[0], z, y, x, c


@functools.cache
def _max_kernel(real):
    @kernel
    def max_pool(x, y, index, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, n):
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            image, oz, oy, ox, c = _decode(item, out_size, channels)
            z0, z1, dz = _window(oz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1, dy = _window(oy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1, dx = _window(ox, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            at = (z0 * size[1] + y0) * size[2] + x0
            plane = image * size[0] * size[1] * size[2]
            best = x[(plane + at) * channels + c]
            for iz in range(z0, z1, dz):
                for iy in range(y0, y1, dy):
                    for ix in range(x0, x1, dx):
                        place = (iz * size[1] + iy) * size[2] + ix
                        v = x[(plane + place) * channels + c]
                        if v > best or (v != v and best == best):
                            best = v
                            at = place
            y[item] = best
            index[item] = at

    return max_pool


@functools.cache
def _max_bwd_kernel(real):
    zero = real(0)

    @kernel
    def max_pool_bwd(gy, index, gx, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, n):
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            image, iz, iy, ix, c = _decode(item, size, channels)
            z0, z1 = _covering(iz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1 = _covering(iy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1 = _covering(ix, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            place = (iz * size[1] + iy) * size[2] + ix
            value = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    for ox in range(x0, x1):
                        o = (((image * out_size[0] + oz) * out_size[1] + oy) * out_size[2] + ox) * channels + c
                        if index[o] == place:
                            value += gy[o]
            gx[item] = value

    return max_pool_bwd


@functools.cache
def _avg_kernels(real):
    zero = real(0)

    @body
    def divisor(oz, oy, ox, size, out_size, kernel_size, stride, dilation, before, adaptive, after, padded, fixed):
        """Elements that count in a window; what reaches over the padding never does."""
        if fixed != zero:
            return fixed
        count = 1
        for d in range(3):
            o = oz if d == 0 else oy if d == 1 else ox
            if adaptive or not padded:
                start, end, _ = _window(o, d, size, out_size, kernel_size, stride, dilation, before, adaptive)
                count *= end - start
            else:
                start = o * stride[d] - before[d]
                count *= min(start + kernel_size[d], size[d] + after[d]) - start
        return real(count)

    @kernel
    def avg_pool(x, y, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, after, padded, fixed, n):
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            image, oz, oy, ox, c = _decode(item, out_size, channels)
            z0, z1, _ = _window(oz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1, _ = _window(oy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1, _ = _window(ox, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            value = zero
            for iz in range(z0, z1):
                for iy in range(y0, y1):
                    for ix in range(x0, x1):
                        value += x[(((image * size[0] + iz) * size[1] + iy) * size[2] + ix) * channels + c]
            y[item] = value / divisor(oz, oy, ox, size, out_size, kernel_size, stride, dilation, before, adaptive, after,
                                      padded, fixed)  # fmt: skip

    @kernel
    def avg_pool_bwd(gy, gx, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, after, padded, fixed,
                     n):  # fmt: skip
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            image, iz, iy, ix, c = _decode(item, size, channels)
            z0, z1 = _covering(iz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1 = _covering(iy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1 = _covering(ix, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            value = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    for ox in range(x0, x1):
                        o = (((image * out_size[0] + oz) * out_size[1] + oy) * out_size[2] + ox) * channels + c
                        value += gy[o] / divisor(oz, oy, ox, size, out_size, kernel_size, stride, dilation, before, adaptive,
                                                 after, padded, fixed)  # fmt: skip
            gx[item] = value

    return avg_pool, avg_pool_bwd


def max_pool_fwd(x, spec):
    (y, y5), (index, index5) = layout.empty(spec.y_shape, x.dtype), layout.empty(spec.y_shape, np.int64)
    launch(_max_kernel(x.dtype.type), *grid(y.size), layout.lift(x), y5, index5, spec.channels, *_geometry(spec), y.size)
    return y, index


adaptive_max_pool_fwd = max_pool_fwd


def max_pool_bwd(gy, index, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    launch(_max_bwd_kernel(gy.dtype.type), *grid(gx.size), layout.lift(gy), layout.lift(index), gx5, spec.channels,
           *_geometry(spec), gx.size)  # fmt: skip
    return gx


def _averaging(spec, real):
    """How the divisor is found: padding after the input, whether padding counts, a fixed divisor or 0."""
    if isinstance(spec, AdaptivePoolSpec):
        return (0, 0, 0), False, real(0)
    return tuple(a for _, a in spec.lifted().padding), bool(spec.count_include_pad), real(spec.divisor or 0)


def avg_pool_fwd(x, spec):
    (y, y5), real = layout.empty(spec.y_shape, x.dtype), x.dtype.type
    launch(_avg_kernels(real)[0], *grid(y.size), layout.lift(x), y5, spec.channels, *_geometry(spec), *_averaging(spec, real),
           y.size)  # fmt: skip
    return y


def avg_pool_bwd(gy, spec):
    (gx, gx5), real = layout.empty(spec.x_shape, gy.dtype), gy.dtype.type
    launch(_avg_kernels(real)[1], *grid(gx.size), layout.lift(gy), gx5, spec.channels, *_geometry(spec),
           *_averaging(spec, real), gx.size)  # fmt: skip
    return gx


adaptive_avg_pool_fwd, adaptive_avg_pool_bwd = avg_pool_fwd, avg_pool_bwd
