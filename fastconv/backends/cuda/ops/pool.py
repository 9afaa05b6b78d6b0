"""Pooling: a thread takes one output and up to four channels; backward one input, collecting from the windows
that cover it.

Collecting needs no atomics, so gradients repeat to the bit. Windows are 1-D to 3-D boxes in ``N, D, H, W, C``
memory.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common.positions import position_dtype
from fastconv.spec import AdaptivePoolSpec

from ..codegen import ptx
from ..runtime import layout
from ..runtime.launch import body, cuda, grid, kernel, launch


def _geometry(spec):
    """(size, out_size, kernel, stride, dilation, before, adaptive) with three spatial dimensions."""
    if isinstance(spec, AdaptivePoolSpec):
        ones, zeros = (1, 1, 1), (0, 0, 0)
        return (1, *spec.in_size), (1, *spec.out_size), ones, ones, ones, zeros, True
    s = spec.as_3d()
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


@functools.cache
def _decoder(number):
    """The function that gives (image, z, y, x, channel) of an element of N, D, H, W, C memory. ``number``:
    the type of pixels' numbers; dividing numbers of 32 bits takes a quarter of the time."""

    @body
    def decode(item, size, channels):
        pixel = number(item // channels)
        line = number(pixel // size[2])
        plane = number(line // size[1])
        image = number(plane // size[0])
        at = image, plane - image * size[0], line - plane * size[1], pixel - line * size[2]
        return *at, item - np.int64(pixel) * channels

    return decode


@functools.cache
def _max_kernel(real, each, number):
    decode, (load, store) = _decoder(number), ptx.vector_access(each)

    @kernel
    def max_pool(x, y, index, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, n):
        best, at = cuda.local.array(each, real), cuda.local.array(each, number)
        for item in range(cuda.grid(1) * each, n, cuda.gridsize(1) * each):
            image, oz, oy, ox, c = decode(item, out_size, channels)
            z0, z1, dz = _window(oz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1, dy = _window(oy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1, dx = _window(ox, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            start = np.int64(image) * (size[0] * size[1] * size[2]) * channels + c
            first = number((z0 * size[1] + y0) * size[2] + x0)
            v = load(x, start + first * channels)
            for k in range(each):
                best[k] = v[k]
                at[k] = first
            for iz in range(z0, z1, dz):
                for iy in range(y0, y1, dy):
                    line = (iz * size[1] + iy) * size[2]
                    for ix in range(x0, x1, dx):
                        place = number(line + ix)
                        v = load(x, start + place * channels)
                        for k in range(each):
                            if v[k] > best[k] or (v[k] != v[k] and best[k] == best[k]):
                                best[k] = v[k]
                                at[k] = place
            store(y, item, best)
            store(index, item, at)

    return max_pool


@functools.cache
def _max_bwd_kernel(real, each, number):
    zero = real(0)
    decode, (load, store) = _decoder(number), ptx.vector_access(each)

    @kernel
    def max_pool_bwd(
        gy, index, gx, channels, size, out_size, kernel_size, stride, dilation, before, adaptive, n
    ):
        value = cuda.local.array(each, real)
        for item in range(cuda.grid(1) * each, n, cuda.gridsize(1) * each):
            image, iz, iy, ix, c = decode(item, size, channels)
            z0, z1 = _covering(iz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1 = _covering(iy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1 = _covering(ix, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            place = (iz * size[1] + iy) * size[2] + ix
            start = np.int64(image) * (out_size[0] * out_size[1] * out_size[2]) * channels + c
            for k in range(each):
                value[k] = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    line = (oz * out_size[1] + oy) * out_size[2]
                    for ox in range(x0, x1):
                        o = start + (line + ox) * channels
                        at, g = load(index, o), load(gy, o)
                        for k in range(each):
                            if at[k] == place:
                                value[k] += g[k]
            store(gx, item, value)

    return max_pool_bwd


@functools.cache
def _avg_kernels(real, each, number):
    zero = real(0)
    decode, (load, store) = _decoder(number), ptx.vector_access(each)

    @body
    def divisor(
        oz, oy, ox, size, out_size, kernel_size, stride, dilation, before, adaptive, after, padded, fixed
    ):
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
    def avg_pool(
        x,
        y,
        channels,
        size,
        out_size,
        kernel_size,
        stride,
        dilation,
        before,
        adaptive,
        after,
        padded,
        fixed,
        n,
    ):
        value = cuda.local.array(each, real)
        for item in range(cuda.grid(1) * each, n, cuda.gridsize(1) * each):
            image, oz, oy, ox, c = decode(item, out_size, channels)
            z0, z1, _ = _window(oz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1, _ = _window(oy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1, _ = _window(ox, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            start = np.int64(image) * (size[0] * size[1] * size[2]) * channels + c
            for k in range(each):
                value[k] = zero
            for iz in range(z0, z1):
                for iy in range(y0, y1):
                    line = (iz * size[1] + iy) * size[2]
                    for ix in range(x0, x1):
                        v = load(x, start + (line + ix) * channels)
                        for k in range(each):
                            value[k] += v[k]
            count = divisor(
                oz,
                oy,
                ox,
                size,
                out_size,
                kernel_size,
                stride,
                dilation,
                before,
                adaptive,
                after,
                padded,
                fixed,
            )
            for k in range(each):
                value[k] = value[k] / count
            store(y, item, value)

    @kernel
    def avg_pool_bwd(
        gy,
        gx,
        channels,
        size,
        out_size,
        kernel_size,
        stride,
        dilation,
        before,
        adaptive,
        after,
        padded,
        fixed,
        n,
    ):
        value = cuda.local.array(each, real)
        for item in range(cuda.grid(1) * each, n, cuda.gridsize(1) * each):
            image, iz, iy, ix, c = decode(item, size, channels)
            z0, z1 = _covering(iz, 0, size, out_size, kernel_size, stride, dilation, before, adaptive)
            y0, y1 = _covering(iy, 1, size, out_size, kernel_size, stride, dilation, before, adaptive)
            x0, x1 = _covering(ix, 2, size, out_size, kernel_size, stride, dilation, before, adaptive)
            start = np.int64(image) * (out_size[0] * out_size[1] * out_size[2]) * channels + c
            for k in range(each):
                value[k] = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    line = (oz * out_size[1] + oy) * out_size[2]
                    for ox in range(x0, x1):
                        g = load(gy, start + (line + ox) * channels)
                        count = divisor(
                            oz,
                            oy,
                            ox,
                            size,
                            out_size,
                            kernel_size,
                            stride,
                            dilation,
                            before,
                            adaptive,
                            after,
                            padded,
                            fixed,
                        )
                        for k in range(each):
                            value[k] += g[k] / count
            store(gx, item, value)

    return avg_pool, avg_pool_bwd


def _number(spec):
    """The type that holds the number of every pixel of the batch, before and after pooling, and every
    position in a plane."""
    return position_dtype((spec.batch, max(prod(spec.in_size), prod(spec.out_size))))


def _start(kernels, spec, x, y, n, *arguments):
    """Launch the kernel that ``kernels`` makes for as many channels at once as lie together; ``x`` is read,
    ``y`` written."""
    each = layout.vector_width(y.shape[-1], x)
    launch(kernels(y.dtype.type, each, _number(spec)), *grid(n // each), x, *arguments, n)


def max_pool_fwd(x, spec):
    (y, y5), (index, index5) = layout.empty(spec.y_shape, x.dtype), layout.empty(spec.y_shape, _number(spec))
    _start(_max_kernel, spec, layout.to_ndhwc(x), y5, y.size, y5, index5, spec.channels, *_geometry(spec))
    return y, index


adaptive_max_pool_fwd = max_pool_fwd


def max_pool_bwd(gy, index, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    _start(
        _max_bwd_kernel,
        spec,
        layout.to_ndhwc(gy),
        gx5,
        gx.size,
        layout.to_ndhwc(index),
        gx5,
        spec.channels,
        *_geometry(spec),
    )
    return gx


def _averaging(spec, real):
    """How the divisor is found: padding after the input, whether padding counts, a fixed divisor or 0."""
    if isinstance(spec, AdaptivePoolSpec):
        return (0, 0, 0), False, real(0)
    return tuple(a for _, a in spec.as_3d().padding), bool(spec.count_include_pad), real(spec.divisor or 0)


def _average(which, x, shape, spec):
    y, y5 = layout.empty(shape, x.dtype)
    geometry = *_geometry(spec), *_averaging(spec, x.dtype.type)
    _start(
        lambda *how: _avg_kernels(*how)[which],
        spec,
        layout.to_ndhwc(x),
        y5,
        y.size,
        y5,
        spec.channels,
        *geometry,
    )
    return y


def avg_pool_fwd(x, spec):
    return _average(0, x, spec.y_shape, spec)


def avg_pool_bwd(gy, spec):
    return _average(1, gy, spec.x_shape, spec)


adaptive_avg_pool_fwd, adaptive_avg_pool_bwd = avg_pool_fwd, avg_pool_bwd
