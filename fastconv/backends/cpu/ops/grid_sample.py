"""Sampling at the places of a grid: forward, and the gradients of the input and of the grid.

    taps of a place     per axis up to four pixels, their weights, and the weights' derivatives by the place

    forward     threads: equal shares of the places
                  for each tap: all channels in one loop (few channels: for each channel all taps)
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
from ..codegen.jit import U, body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
PADDING = {"zeros": 0, "border": 1, "reflection": 2}
A = -0.75  # of cubic convolution
FEW = 8  # channels from which a loop over them is worth its start
TAPS, MOST = 4, 16  # of an axis and of a place, at most
# Scratch of a thread. Numbers: weights of the axes' taps, from SLOPES on their slopes, from WEIGHT on the
# weights of the place's taps and three slopes of each. Places: those of the axes' taps, from TAP on pixels.
SLOPES, WEIGHT, TAP = 3 * TAPS, 6 * TAPS, 3 * TAPS


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
def axis_taps(g, axis, size, options, at, numbers):
    """Write the taps of one axis: places (-1 outside), weights, their slopes by ``g``; returns how many."""
    real = type(g)
    mode, padding, align = options
    first_weight, first_slope, first_place = axis * TAPS, SLOPES + axis * TAPS, axis * TAPS
    scale, shift = (real(size - 1) / real(2), real(0)) if align else (real(size) / real(2), real(-0.5))
    x, last = (g + real(1)) * scale + shift, real(size - 1)
    if not abs(x) < real(np.inf):  # np.isfinite tests x - x, which the compiler may take for 0
        x, scale = shift, real(0)
    if mode == 2:
        first = np.floor(x)
        for k in range(4):
            d = abs(x - first + real(1 - k))  # from the tap to the place
            if k == 1 or k == 2:
                weight = ((real(A) + real(2)) * d - (real(A) + real(3))) * d * d + real(1)
                slope = (real(3) * (real(A) + real(2)) * d - real(2) * (real(A) + real(3))) * d
            else:
                weight = ((real(A) * d - real(5 * A)) * d + real(8 * A)) * d - real(4 * A)
                slope = (real(3 * A) * d - real(10 * A)) * d + real(8 * A)
            numbers[first_weight + k] = weight
            numbers[first_slope + k] = (slope if k < 2 else -slope) * scale
            tap, _ = bounded(first + real(k - 1), size, padding, align)
            at[first_place + k] = np.int64(tap) if real(0) <= tap <= last else -1
        return 4
    x, slope = bounded(x, size, padding, align)
    if mode == 1:
        tap = np.rint(x)
        numbers[first_weight], numbers[first_slope] = real(1), real(0)
        at[first_place] = np.int64(tap) if real(0) <= tap <= last else -1
        return 1
    first = np.floor(x)
    for k in range(2):
        tap = first + real(k)
        at[first_place + k] = np.int64(tap) if real(0) <= tap <= last else -1
    numbers[first_weight], numbers[first_weight + 1] = first + real(1) - x, x - first
    numbers[first_slope], numbers[first_slope + 1] = -slope * scale, slope * scale
    return 2


@body
def taps_of(grid, p, sizes, options, slopes, at, numbers):
    """Write the taps of place ``p`` that are inside of the input, from ``TAP`` and ``WEIGHT`` on.

    With ``slopes`` also the derivatives of each weight by the numbers of the grid. Returns how many taps
    there are.
    """
    real, dims = type(grid[0, 0]), grid.shape[1]
    depths, heights, widths = 1, 1, 1
    if dims == 3:
        depths = axis_taps(grid[p, 2], 0, sizes[0], options, at, numbers)
    else:  # a plane is a volume of depth 1
        at[0], numbers[0], numbers[SLOPES] = 0, real(1), real(0)
    heights = axis_taps(grid[p, 1], 1, sizes[1], options, at, numbers)
    widths = axis_taps(grid[p, 0], 2, sizes[2], options, at, numbers)
    count = 0
    for d in range(depths):
        for h in range(TAPS, TAPS + heights):
            plane, weight = (at[d] * sizes[1] + at[h]) * sizes[2], numbers[d] * numbers[h]
            if at[d] < 0 or at[h] < 0:
                continue
            for w in range(2 * TAPS, 2 * TAPS + widths):
                if at[w] < 0:
                    continue
                at[TAP + count], numbers[WEIGHT + count] = plane + at[w], weight * numbers[w]
                if slopes:
                    by = WEIGHT + MOST + 3 * count  # x, y, z
                    numbers[by] = weight * numbers[SLOPES + w]
                    numbers[by + 1] = numbers[d] * numbers[SLOPES + h] * numbers[w]
                    numbers[by + 2] = numbers[SLOPES + d] * numbers[h] * numbers[w]
                count += 1
    return count


@body(inline=True)
def pixel_of(a, pixel, channels):
    """The channels of a pixel as a 1-D array."""
    return view1d(address(a) + pixel * channels * a.itemsize, channels, a)


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


@kernel
def _forward(thread, threads, x, grid, sizes, options, y, numbers, places):
    # x: N, pixels, C; grid: N * outputs, dims; y: N, outputs, C
    images, pixels, channels = x.shape
    outputs = y.shape[1]
    first, end = split_range(thread, threads, images * outputs)
    numbers_of, at = numbers[thread], places[thread]
    for p in range(first, end):
        count = taps_of(grid, p, sizes, options, False, at, numbers_of)
        out, image = pixel_of(y, p, channels), p // outputs * pixels
        if channels < FEW:
            source = pixel_of(x, image, channels)  # its extent is not looked at
            for c in range(channels):
                total = x.dtype.type(0)
                for t in range(count):
                    total += source[U(at[U(TAP + t)] * channels + c)] * numbers_of[U(WEIGHT + t)]
                out[U(c)] = total
            continue
        out[:] = 0
        for t in range(count):
            add_scaled(out, pixel_of(x, image + at[TAP + t], channels), numbers_of[WEIGHT + t])


@kernel
def _backward_data(thread, threads, gy, grid, sizes, options, parts, gx, numbers, places):
    # gy: N, outputs, C; gx: N, pixels, C. A job owns one of ``parts`` ranges of an image's pixels.
    images, outputs, channels = gy.shape
    pixels = gx.shape[1]
    begin, end = split_range(thread, threads, images * parts)
    numbers_of, at = numbers[thread], places[thread]
    for job in range(begin, end):
        n = job // parts
        first, last = split_range(job % parts, parts, pixels)
        own = address(gx) + (n * pixels + first) * channels * gx.itemsize
        view1d(own, (last - first) * channels, gx)[:] = 0
        for p in range(n * outputs, (n + 1) * outputs):
            count = taps_of(grid, p, sizes, options, False, at, numbers_of)
            gradient = pixel_of(gy, p, channels)
            for t in range(count):
                pixel = at[TAP + t]
                if first <= pixel < last:
                    add_scaled(pixel_of(gx, n * pixels + pixel, channels), gradient, numbers_of[WEIGHT + t])


@kernel
def _backward_grid(thread, threads, gy, x, grid, sizes, options, ggrid, numbers, places):
    images, pixels, channels = x.shape
    outputs, dims = gy.shape[1], grid.shape[1]
    first, end = split_range(thread, threads, images * outputs)
    numbers_of, at = numbers[thread], places[thread]
    for p in range(first, end):
        count = taps_of(grid, p, sizes, options, True, at, numbers_of)
        gradient, image = pixel_of(gy, p, channels), p // outputs * pixels
        for k in range(dims):
            ggrid[p, k] = 0
        for t in range(count):
            along = dot(gradient, pixel_of(x, image + at[TAP + t], channels))
            for k in range(dims):
                ggrid[p, k] += along * numbers_of[WEIGHT + MOST + 3 * t + k]


def _pixels(x):
    """``N, C, spatial`` as a C-contiguous ``N, pixels, C``."""
    return layout.to_ndhwc(x).reshape(x.shape[0], -1, x.shape[1])


def _geometry(spec):
    sizes = (1,) * (3 - spec.ndim) + spec.in_size
    return sizes, (MODES[spec.mode], PADDING[spec.padding_mode], int(spec.align_corners))


def _places(grid):
    return layout.dense(grid).reshape(-1, grid.shape[-1])


def _scratch(dtype):
    return per_thread((WEIGHT + 4 * MOST, dtype), (TAP + MOST, np.int64))


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
