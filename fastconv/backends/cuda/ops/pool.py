"""Pooling of 1-D to 3-D windows in ``N, D, H, W, C`` memory.

::

    forward:   thread: an output pixel and 1 or 4 channels
                 for each input pixel of the window            maximum and its position, or sum
    backward:  thread: an input pixel and 1 or 4 channels
                 for each window that covers the pixel         sum of gradients

Backward collects what forward has spread, so it needs no atomic additions, and gradients repeat to the bit.
"""

from __future__ import annotations

import functools
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.backends.common.positions import position_dtype
from fastconv.spec import AdaptivePoolSpec

from ..codegen import ptx
from ..runtime import layout
from ..runtime.launch import body, cuda, grid, kernel, launch


class Windows(NamedTuple):
    """Geometry of all windows; tuples have three numbers, for planes, rows and columns."""

    size: tuple[int, ...]  #: the input
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]  #: padding before the input
    adaptive: bool  #: windows that share the input among the outputs; only the sizes count


class Divisor(NamedTuple):
    """What a sum of a window is divided by."""

    after: tuple[int, ...]  #: padding after the input
    padded: bool  #: whether padding counts
    fixed: np.floating  #: one divisor for all windows, or 0


def _windows(spec) -> Windows:
    if isinstance(spec, AdaptivePoolSpec):
        ones, zeros, lead = (1, 1, 1), (0, 0, 0), (1,) * (3 - len(spec.in_size))
        return Windows(lead + spec.in_size, lead + spec.out_size, ones, ones, ones, zeros, True)
    s = spec.as_3d()
    before = tuple(b for b, _ in s.padding)
    return Windows(s.in_size, s.out_size, s.kernel, s.stride, s.dilation, before, False)


def _divisor(spec, real) -> Divisor:
    if isinstance(spec, AdaptivePoolSpec):
        return Divisor((0, 0, 0), False, real(0))
    s, padded, fixed = spec.as_3d(), bool(spec.count_include_pad), spec.divisor or 0
    ends = ((out - 1) * step + k for out, step, k in zip(s.out_size, s.stride, s.kernel))
    room = zip(ends, s.in_size, s.padding)
    if not fixed and all(end <= b + n + a and (padded or b == a == 0) for end, n, (b, a) in room):
        fixed = prod(s.kernel)  # every window is whole
    return Divisor(tuple(a for _, a in s.padding), padded, real(fixed))


# ------------------------------------------------------------------------------------------- device functions
@body
def _window(o, d, w):
    """First input place, end and step of window ``o`` along axis ``d``, inside the input."""
    if w.adaptive:
        return o * w.size[d] // w.out_size[d], ((o + 1) * w.size[d] + w.out_size[d] - 1) // w.out_size[d], 1
    start = o * w.stride[d] - w.before[d]
    end = min(start + w.kernel[d] * w.dilation[d], w.size[d])
    if start < 0:
        start += (-start + w.dilation[d] - 1) // w.dilation[d] * w.dilation[d]
    return start, end, w.dilation[d]


@body
def _covering(i, d, w):
    """First and end of the windows along axis ``d`` that may cover input place ``i``."""
    if w.adaptive:
        first = i * w.out_size[d] // w.size[d]
        end = ((i + 1) * w.out_size[d] + w.size[d] - 1) // w.size[d]
        return first, min(end, w.out_size[d])
    reach = i + w.before[d] - (w.kernel[d] - 1) * w.dilation[d]
    first = 0 if reach <= 0 else (reach + w.stride[d] - 1) // w.stride[d]
    return first, min((i + w.before[d]) // w.stride[d] + 1, w.out_size[d])


@functools.cache
def _decoder(number):
    """The function that gives (image, z, y, x, channel) of an element of N, D, H, W, C memory.

    ``number`` is the type of pixels' numbers. A division of 32 bits takes a quarter of the time of 64 bits.
    """

    @body
    def decode(item, size, channels):
        pixel = number(item // channels)
        line = number(pixel // size[2])
        plane = number(line // size[1])
        image = number(plane // size[0])
        at = image, plane - image * size[0], line - plane * size[1], pixel - line * size[2]
        return *at, item - np.int64(pixel) * channels

    return decode


# ------------------------------------------------------------------------------------------------- maxima
@functools.cache
def _max_kernel(real, vector_width, number):
    decode, (load, store) = _decoder(number), ptx.vector_access(vector_width)

    @kernel
    def max_pool(x, y, index, channels, windows, n):
        best, at = cuda.local.array(vector_width, real), cuda.local.array(vector_width, number)
        size = windows.size
        item = cuda.grid(1) * vector_width
        while item < n:
            image, oz, oy, ox, c = decode(item, windows.out_size, channels)
            z0, z1, dz = _window(oz, 0, windows)
            y0, y1, dy = _window(oy, 1, windows)
            x0, x1, dx = _window(ox, 2, windows)
            start = np.int64(image) * (size[0] * size[1] * size[2]) * channels + c
            first = number((z0 * size[1] + y0) * size[2] + x0)
            v = load(x, start + first * channels)
            for k in range(vector_width):
                best[k] = v[k]
                at[k] = first
            iz = z0
            while iz < z1:
                iy = y0
                while iy < y1:
                    line = (iz * size[1] + iy) * size[2]
                    ix = x0
                    while ix < x1:
                        place = number(line + ix)
                        v = load(x, start + place * channels)
                        for k in range(vector_width):
                            if v[k] > best[k] or (v[k] != v[k] and best[k] == best[k]):
                                best[k] = v[k]
                                at[k] = place
                        ix += dx
                    iy += dy
                iz += dz
            store(y, item, best)
            store(index, item, at)
            item += cuda.gridsize(1) * vector_width

    return max_pool


@functools.cache
def _max_bwd_kernel(real, vector_width, number):
    zero = real(0)
    decode, (load, store) = _decoder(number), ptx.vector_access(vector_width)

    @kernel
    def max_pool_bwd(gy, index, gx, channels, windows, n):
        value = cuda.local.array(vector_width, real)
        size, out_size = windows.size, windows.out_size
        item = cuda.grid(1) * vector_width
        while item < n:
            image, iz, iy, ix, c = decode(item, size, channels)
            z0, z1 = _covering(iz, 0, windows)
            y0, y1 = _covering(iy, 1, windows)
            x0, x1 = _covering(ix, 2, windows)
            place = (iz * size[1] + iy) * size[2] + ix
            start = np.int64(image) * (out_size[0] * out_size[1] * out_size[2]) * channels + c
            for k in range(vector_width):
                value[k] = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    line = (oz * out_size[1] + oy) * out_size[2]
                    for ox in range(x0, x1):
                        o = start + (line + ox) * channels
                        at, g = load(index, o), load(gy, o)
                        for k in range(vector_width):
                            if at[k] == place:
                                value[k] += g[k]
            store(gx, item, value)
            item += cuda.gridsize(1) * vector_width

    return max_pool_bwd


# ------------------------------------------------------------------------------------------------- averages
@functools.cache
def _divisor_of(real):
    """The function that gives the number of elements by which the sum of a window is divided."""
    zero = real(0)

    @body
    def divisor_of(oz, oy, ox, windows, divisor):
        if divisor.fixed != zero:
            return divisor.fixed
        count = 1
        for d in range(3):
            o = oz if d == 0 else oy if d == 1 else ox
            if windows.adaptive or not divisor.padded:
                start, end, _ = _window(o, d, windows)
                count *= end - start
            else:  # what reaches behind the padding never counts
                start = o * windows.stride[d] - windows.before[d]
                count *= min(start + windows.kernel[d], windows.size[d] + divisor.after[d]) - start
        return real(count)

    return divisor_of


@functools.cache
def _avg_kernel(real, vector_width, number):
    zero, divisor_of = real(0), _divisor_of(real)
    decode, (load, store) = _decoder(number), ptx.vector_access(vector_width)

    @kernel
    def avg_pool(x, y, channels, windows, divisor, n):
        value = cuda.local.array(vector_width, real)
        size = windows.size
        item = cuda.grid(1) * vector_width
        while item < n:
            image, oz, oy, ox, c = decode(item, windows.out_size, channels)
            z0, z1, _ = _window(oz, 0, windows)
            y0, y1, _ = _window(oy, 1, windows)
            x0, x1, _ = _window(ox, 2, windows)
            start = np.int64(image) * (size[0] * size[1] * size[2]) * channels + c
            for k in range(vector_width):
                value[k] = zero
            for iz in range(z0, z1):
                for iy in range(y0, y1):
                    line = (iz * size[1] + iy) * size[2]
                    for ix in range(x0, x1):
                        v = load(x, start + (line + ix) * channels)
                        for k in range(vector_width):
                            value[k] += v[k]
            count = divisor_of(oz, oy, ox, windows, divisor)
            for k in range(vector_width):
                value[k] = value[k] / count
            store(y, item, value)
            item += cuda.gridsize(1) * vector_width

    return avg_pool


@functools.cache
def _avg_bwd_kernel(real, vector_width, number):
    zero, divisor_of = real(0), _divisor_of(real)
    decode, (load, store) = _decoder(number), ptx.vector_access(vector_width)

    @kernel
    def avg_pool_bwd(gy, gx, channels, windows, divisor, n):
        value = cuda.local.array(vector_width, real)
        size, out_size = windows.size, windows.out_size
        item = cuda.grid(1) * vector_width
        while item < n:
            image, iz, iy, ix, c = decode(item, size, channels)
            z0, z1 = _covering(iz, 0, windows)
            y0, y1 = _covering(iy, 1, windows)
            x0, x1 = _covering(ix, 2, windows)
            start = np.int64(image) * (out_size[0] * out_size[1] * out_size[2]) * channels + c
            for k in range(vector_width):
                value[k] = zero
            for oz in range(z0, z1):
                for oy in range(y0, y1):
                    line = (oz * out_size[1] + oy) * out_size[2]
                    for ox in range(x0, x1):
                        g = load(gy, start + (line + ox) * channels)
                        count = divisor_of(oz, oy, ox, windows, divisor)
                        for k in range(vector_width):
                            value[k] += g[k] / count
            store(gx, item, value)
            item += cuda.gridsize(1) * vector_width

    return avg_pool_bwd


# ------------------------------------------------------------------------------------------ the contract
def _number(spec):
    """The type that holds the number of every pixel of the batch and every position in a plane."""
    return position_dtype((spec.batch, max(prod(spec.in_size), prod(spec.out_size))))


def _start(make_kernel, spec, x, y, n, *arguments):
    """Launch the kernel for as many channels at once as lie together; it reads ``x`` and writes ``y``."""
    vector_width = layout.vector_width(y.shape[-1], x)
    pool = make_kernel(y.dtype.type, vector_width, _number(spec))
    launch(pool, *grid(n // vector_width), x, *arguments, n)


def max_pool_fwd(x, spec):
    (y, y5), (index, index5) = layout.empty(spec.y_shape, x.dtype), layout.empty(spec.y_shape, _number(spec))
    x5, windows = layout.to_ndhwc(x), _windows(spec)
    _start(_max_kernel, spec, x5, y5, y.size, y5, index5, spec.channels, windows)
    return y, index


adaptive_max_pool_fwd = max_pool_fwd


def max_pool_bwd(gy, index, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    gy5, index5, windows = layout.to_ndhwc(gy), layout.to_ndhwc(index), _windows(spec)
    _start(_max_bwd_kernel, spec, gy5, gx5, gx.size, index5, gx5, spec.channels, windows)
    return gx


def _average(make_kernel, x, shape, spec):
    y, y5 = layout.empty(shape, x.dtype)
    windows, divisor = _windows(spec), _divisor(spec, x.dtype.type)
    _start(make_kernel, spec, layout.to_ndhwc(x), y5, y.size, y5, spec.channels, windows, divisor)
    return y


def avg_pool_fwd(x, spec):
    return _average(_avg_kernel, x, spec.y_shape, spec)


def avg_pool_bwd(gy, spec):
    return _average(_avg_bwd_kernel, gy, spec.x_shape, spec)


adaptive_avg_pool_fwd, adaptive_avg_pool_bwd = avg_pool_fwd, avg_pool_bwd
