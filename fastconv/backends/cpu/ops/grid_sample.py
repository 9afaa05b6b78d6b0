"""Sampling at the places of a grid: forward, and the gradients of the input and of the grid.

    taps of a place     per axis up to four pixels, their weights, and the weights' derivatives by the place

    forward     threads: equal shares of the places
                  for each tap: all channels in one loop
    input       threads: equal shares of the jobs (image, range of its pixels)
                  for each place and each tap of it in the range: add the gradient, all channels in one loop
    grid        threads: equal shares of the places
                  for each tap: the sum over the channels of gradient * input, times the derivatives

Images lie channels-last in memory, as ``N, pixels, C``. The gradient of the input has no atomic additions, so
it is the same in every run: a job owns its pixels, and skips the taps outside of its range.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.settings import get_num_threads

from ..codegen.emitter import address, view1d
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
PADDING = {"zeros": 0, "border": 1, "reflection": 2}
A = -0.75  # of cubic convolution


@body
def bounded(x, size, padding, align):
    """A coordinate moved into the input, and the derivative of that."""
    real = type(x)
    slope, zero, last = real(1), real(0), real(size - 1)
    if padding == 0:
        return x, slope
    if padding == 2:
        low, span = (zero, last) if align else (real(-0.5), real(size))
        if span == zero:
            return zero, zero
        x -= low
        if x < zero:
            x, slope = -x, -slope
        flips = np.floor(x / span)
        x = x - flips * span
        if flips != real(2) * np.floor(flips / real(2)):
            x, slope = span - x, -slope
        x += low
    if x <= zero:
        return zero, zero
    if x >= last:
        return last, zero
    return x, slope


@body
def axis_taps(g, size, mode, padding, align, at, weights, slopes):
    """Write the taps of one axis: places (-1 outside), weights, their slopes by ``g``; returns the number."""
    real = type(g)
    scale, shift = (real(size - 1) / real(2), real(0)) if align else (real(size) / real(2), real(-0.5))
    x = (g + real(1)) * scale + shift
    if not abs(x) < real(np.inf):  # np.isfinite tests x - x, which the compiler may take for 0
        x, scale = shift, real(0)
    if mode == 2:
        first = np.floor(x)
        for k in range(4):
            t = x - first + real(1 - k)  # from the tap to the place
            d = abs(t)
            if k == 1 or k == 2:
                weights[k] = ((real(A) + real(2)) * d - (real(A) + real(3))) * d * d + real(1)
                slope = (real(3) * (real(A) + real(2)) * d - real(2) * (real(A) + real(3))) * d
            else:
                weights[k] = ((real(A) * d - real(5 * A)) * d + real(8 * A)) * d - real(4 * A)
                slope = (real(3 * A) * d - real(10 * A)) * d + real(8 * A)
            slopes[k] = (slope if k < 2 else -slope) * scale
            tap, _ = bounded(first + real(k - 1), size, padding, align)
            at[k] = np.int64(tap) if real(0) <= tap <= real(size - 1) else -1
        return 4
    x, slope = bounded(x, size, padding, align)
    if mode == 1:
        tap = np.rint(x)
        weights[0], slopes[0] = real(1), real(0)
        at[0] = np.int64(tap) if real(0) <= tap <= real(size - 1) else -1
        return 1
    first = np.floor(x)
    for k in range(2):
        tap = first + real(k)
        at[k] = np.int64(tap) if real(0) <= tap <= real(size - 1) else -1
    weights[0], weights[1] = first + real(1) - x, x - first
    slopes[0], slopes[1] = -slope * scale, slope * scale
    return 2


@body
def taps_of(grid, p, sizes, options, scratch):
    """Write the taps of place ``p`` that are inside of the input to ``scratch`` (see :func:`split_scratch`):
    pixels, weights, and the derivatives of a weight by each number of the grid; returns their number."""
    mode, padding, align = options
    axis_at, axis_weights, axis_slopes, at, weights, slopes = scratch
    dims = grid.shape[1]
    counts = [1, 1, 1]
    for k in range(3):
        if k < 3 - dims:  # a plane is a volume of depth 1
            axis_at[k, 0], axis_weights[k, 0], axis_slopes[k, 0] = 0, 1, 0
        else:
            counts[k] = axis_taps(
                grid[p, 2 - k], sizes[k], mode, padding, align, axis_at[k], axis_weights[k], axis_slopes[k]
            )
    count = 0
    for d in range(counts[0]):
        for h in range(counts[1]):
            for w in range(counts[2]):
                z, y, x = axis_at[0, d], axis_at[1, h], axis_at[2, w]
                if z < 0 or y < 0 or x < 0:
                    continue
                wd, wh, ww = axis_weights[0, d], axis_weights[1, h], axis_weights[2, w]
                at[count] = (z * sizes[1] + y) * sizes[2] + x
                weights[count] = wd * wh * ww
                slopes[count, 0] = wd * wh * axis_slopes[2, w]
                slopes[count, 1] = wd * axis_slopes[1, h] * ww
                slopes[count, 2] = axis_slopes[0, d] * wh * ww
                count += 1
    return count


@body(inline=True)
def pixel_of(a, pixel, channels):
    """The channels of a pixel as a 1-D array."""
    return view1d(address(a) + pixel * channels * a.itemsize, channels, a)


@body
def clear(out):
    """Zero all elements. (In a kernel itself ``out[:] = 0`` would be a parallel loop of its own.)"""
    for c in range(out.size):
        out[c] = 0


@body
def add_scaled(out, a, weight):
    """Add ``weight * a`` to ``out``."""
    for c in range(out.size):
        out[c] += weight * a[c]


@body
def dot(a, b):
    """The sum of products."""
    total = a.dtype.type(0)
    for c in range(a.size):
        total += a[c] * b[c]
    return total


@body
def split_scratch(numbers, places):
    """The scratch of one thread as the arrays of :func:`taps_of`."""
    return (
        places[:12].reshape(3, 4),
        numbers[:12].reshape(3, 4),
        numbers[12:24].reshape(3, 4),
        places[12:28],
        numbers[24:40],
        numbers[40:88].reshape(16, 3),
    )


@kernel
def _forward(threads, x, grid, sizes, options, y, numbers, places):
    # x: N, pixels, C; grid: N * outputs, dims; y: N, outputs, C
    images, pixels, channels = x.shape
    outputs = y.shape[1]
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * outputs)
        taps = split_scratch(numbers[thread], places[thread])
        at, weights = taps[3], taps[4]
        for p in range(first, end):
            count = taps_of(grid, p, sizes, options, taps)
            out, image = pixel_of(y, p, channels), p // outputs * pixels
            clear(out)
            for t in range(count):
                add_scaled(out, pixel_of(x, image + at[t], channels), weights[t])


@kernel
def _backward_data(threads, gy, grid, sizes, options, parts, gx, numbers, places):
    # gy: N, outputs, C; gx: N, pixels, C. A job owns one of ``parts`` ranges of an image's pixels.
    images, outputs, channels = gy.shape
    pixels = gx.shape[1]
    for thread in prange(threads):
        begin, end = split_range(thread, threads, images * parts)
        taps = split_scratch(numbers[thread], places[thread])
        at, weights = taps[3], taps[4]
        for job in range(begin, end):
            n = job // parts
            first, last = split_range(job % parts, parts, pixels)
            own = address(gx) + (n * pixels + first) * channels * gx.itemsize
            clear(view1d(own, (last - first) * channels, gx))
            for p in range(n * outputs, (n + 1) * outputs):
                count = taps_of(grid, p, sizes, options, taps)
                gradient = pixel_of(gy, p, channels)
                for t in range(count):
                    if first <= at[t] < last:
                        add_scaled(pixel_of(gx, n * pixels + at[t], channels), gradient, weights[t])


@kernel
def _backward_grid(threads, gy, x, grid, sizes, options, ggrid, numbers, places):
    images, pixels, channels = x.shape
    outputs, dims = gy.shape[1], grid.shape[1]
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * outputs)
        taps = split_scratch(numbers[thread], places[thread])
        at, slopes = taps[3], taps[5]
        for p in range(first, end):
            count = taps_of(grid, p, sizes, options, taps)
            gradient, image = pixel_of(gy, p, channels), p // outputs * pixels
            for k in range(dims):
                ggrid[p, k] = 0
            for t in range(count):
                along = dot(gradient, pixel_of(x, image + at[t], channels))
                for k in range(dims):
                    ggrid[p, k] += along * slopes[t, k]


def _pixels(x):
    """``N, C, spatial`` as a C-contiguous ``N, pixels, C``."""
    return layout.to_ndhwc(x).reshape(x.shape[0], -1, x.shape[1])


def _geometry(spec):
    sizes = (1,) * (3 - spec.ndim) + spec.in_size
    return sizes, (MODES[spec.mode], PADDING[spec.padding_mode], int(spec.align_corners))


def _places(grid):
    return layout.dense(grid).reshape(-1, grid.shape[-1])


def _scratch(dtype):
    return per_thread((88, dtype), (28, np.int64))


def grid_sample_fwd(x, grid, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    if y.size:
        out = y5.reshape(spec.batch, prod(spec.out_size), spec.channels)
        _forward(_pixels(x), _places(grid), *_geometry(spec), out, *_scratch(x.dtype))
    return y


def grid_sample_bwd_data(gy, grid, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if not gy.size:
        gx.fill(0)
    elif gx.size:
        threads = get_num_threads()
        parts = 1 if spec.batch >= 4 * threads else threads
        out = gx5.reshape(spec.batch, prod(spec.in_size), spec.channels)
        _backward_data(_pixels(gy), _places(grid), *_geometry(spec), parts, out, *_scratch(gy.dtype))
    return gx


def grid_sample_bwd_grid(gy, x, grid, spec):
    ggrid = memory.empty(grid.shape, grid.dtype)
    if ggrid.size:
        flat = ggrid.reshape(-1, grid.shape[-1])
        _backward_grid(_pixels(gy), _pixels(x), _places(grid), *_geometry(spec), flat, *_scratch(x.dtype))
    return ggrid
