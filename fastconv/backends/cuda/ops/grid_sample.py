"""Sampling at the places of a grid: forward, and the gradients of the input and of the grid.

::

    forward:   thread: an output pixel and a channel
                 for each tap of its place                     weighted sum
    input:     thread: a row of input pixels of an image, and a channel
                 for each place, each tap of it in this row    add the gradient to the pixel
    grid:      thread: an output pixel
                 for each tap, each channel                    gradient * input * derivatives of the weight

A thread owns the pixels that it adds to, so there are no atomic additions, and gradients repeat to the bit.
It reads all places of its image; threads that run together take neighbouring channels and read the same ones.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from ..runtime import layout, memory
from ..runtime.launch import body, cuda, kernel, launch, math
from ..runtime.launch import grid as blocks

MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
PADDING = {"zeros": 0, "border": 1, "reflection": 2}
TAPS = 4  # of an axis, at most
ALL_TAPS = 3 * TAPS  # of three axes; the size of a local array is one constant


@functools.cache
def _axis_taps(real):
    """The function that writes the taps of one axis: places (-1 outside), weights, derivatives of the weights
    by the number of the grid; it returns how many there are."""
    zero, half, one, two, three = real(0), real(0.5), real(1), real(2), real(3)
    a, infinity = real(-0.75), real("inf")  # a: of cubic convolution

    @body
    def bounded(x, size, padding, align):
        slope, last = one, real(size - 1)
        if padding == 0:
            return x, slope
        if padding == 2:
            low = zero if align else -half
            span = last if align else real(size)
            if span == zero:
                return zero, zero
            x -= low
            if x < zero:
                x, slope = -x, -slope
            flips = math.floor(x / span)
            x = real(x - real(flips) * span)
            if flips % 2 != 0:
                x, slope = span - x, -slope
            x = real(x + low)
        if x <= zero:
            return zero, zero
        if x >= last:
            return last, zero
        return x, slope

    @body
    def axis_taps(g, size, mode, padding, align, first, at, weights, slopes):
        scale = real(size - 1) * half if align else real(size) * half
        shift = zero if align else -half
        x = real((g + one) * scale + shift)
        if not abs(x) < infinity:
            x, scale = shift, zero
        if mode == 2:
            start = real(math.floor(x))
            for k in range(4):
                d = abs(real(x - start + real(1 - k)))  # from the tap to the place
                if k == 1 or k == 2:
                    weights[first + k] = ((a + two) * d - (a + three)) * d * d + one
                    slope = (three * (a + two) * d - two * (a + three)) * d
                else:
                    weights[first + k] = ((a * d - real(5) * a) * d + real(8) * a) * d - real(4) * a
                    slope = (three * a * d - real(10) * a) * d + real(8) * a
                slopes[first + k] = (slope if k < 2 else -slope) * scale
                tap, _ = bounded(real(start + real(k - 1)), size, padding, align)
                at[first + k] = int(tap) if tap >= zero and tap <= real(size - 1) else -1
            return 4
        x, slope = bounded(x, size, padding, align)
        if mode == 1:
            start = real(math.floor(x))
            tap = start
            if x - start > half or (x - start == half and math.floor(start * half) * two != start):
                tap = real(start + one)  # of two equally near ones the even one
            weights[first], slopes[first] = one, zero
            at[first] = int(tap) if tap >= zero and tap <= real(size - 1) else -1
            return 1
        start = real(math.floor(x))
        for k in range(2):
            tap = start + real(k)
            at[first + k] = int(tap) if tap >= zero and tap <= real(size - 1) else -1
        weights[first], weights[first + 1] = start + one - x, x - start
        slopes[first], slopes[first + 1] = -slope * scale, slope * scale
        return 2

    return axis_taps


@functools.cache
def _place_taps(real):
    """The function that writes the taps of all three axes of a place."""
    axis_taps = _axis_taps(real)

    @body
    def place_taps(grid, p, dims, sizes, options, at, weights, slopes):
        counts_d, counts_h = 1, 1
        mode, padding, align = options
        if dims == 3:
            g = grid[p * dims + 2]
            counts_d = axis_taps(g, sizes[0], mode, padding, align, 0, at, weights, slopes)
        else:  # a plane is a volume of depth 1
            at[0], weights[0], slopes[0] = 0, real(1), real(0)
        g = grid[p * dims + 1]
        counts_h = axis_taps(g, sizes[1], mode, padding, align, TAPS, at, weights, slopes)
        g = grid[p * dims]
        counts_w = axis_taps(g, sizes[2], mode, padding, align, 2 * TAPS, at, weights, slopes)
        return counts_d, counts_h, counts_w

    return place_taps


@functools.cache
def _forward_kernel(real):
    place_taps, zero = _place_taps(real), real(0)

    @kernel
    def grid_sample(x, places, y, dims, sizes, options, channels, outputs, n):
        # x: N, D, H, W, C; places: N, outputs, dims; y: N, outputs, C
        at = cuda.local.array(ALL_TAPS, np.int32)
        weights, slopes = cuda.local.array(ALL_TAPS, real), cuda.local.array(ALL_TAPS, real)
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            p = i // channels
            c, image = i - p * channels, p // outputs
            counts = place_taps(places, p, dims, sizes, options, at, weights, slopes)
            value = zero
            for d in range(counts[0]):
                for h in range(TAPS, TAPS + counts[1]):
                    for w in range(2 * TAPS, 2 * TAPS + counts[2]):
                        if at[d] >= 0 and at[h] >= 0 and at[w] >= 0:
                            pixel = ((image * sizes[0] + at[d]) * sizes[1] + at[h]) * sizes[2] + at[w]
                            value += weights[d] * weights[h] * weights[w] * x[pixel * channels + c]
            y[i] = value

    return grid_sample


@functools.cache
def _data_kernel(real):
    place_taps, zero = _place_taps(real), real(0)

    @kernel
    def grid_sample_bwd_data(gy, places, gx, dims, sizes, options, channels, outputs, n):
        # an item is a row of pixels of gx (N, D, H, W, C) and a channel
        at = cuda.local.array(ALL_TAPS, np.int32)
        weights, slopes = cuda.local.array(ALL_TAPS, real), cuda.local.array(ALL_TAPS, real)
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            row = i // channels
            c, plane = i - row * channels, row // sizes[1]
            own_h, image = row - plane * sizes[1], plane // sizes[0]
            own_d = plane - image * sizes[0]
            for w in range(sizes[2]):
                gx[(row * sizes[2] + w) * channels + c] = zero
            for p in range(image * outputs, (image + 1) * outputs):
                counts = place_taps(places, p, dims, sizes, options, at, weights, slopes)
                gradient = gy[p * channels + c]
                for d in range(counts[0]):
                    for h in range(TAPS, TAPS + counts[1]):
                        if at[d] == own_d and at[h] == own_h:
                            for w in range(2 * TAPS, 2 * TAPS + counts[2]):
                                if at[w] >= 0:
                                    place = (row * sizes[2] + at[w]) * channels + c
                                    gx[place] = gx[place] + weights[d] * weights[h] * weights[w] * gradient

    return grid_sample_bwd_data


@functools.cache
def _grid_kernel(real):
    place_taps, zero = _place_taps(real), real(0)

    @kernel
    def grid_sample_bwd_grid(gy, x, places, ggrid, dims, sizes, options, channels, outputs, n):
        at = cuda.local.array(ALL_TAPS, np.int32)
        weights, slopes = cuda.local.array(ALL_TAPS, real), cuda.local.array(ALL_TAPS, real)
        for p in range(cuda.grid(1), n, cuda.gridsize(1)):
            image = p // outputs
            counts = place_taps(places, p, dims, sizes, options, at, weights, slopes)
            by_x, by_y, by_z = zero, zero, zero
            for d in range(counts[0]):
                for h in range(TAPS, TAPS + counts[1]):
                    for w in range(2 * TAPS, 2 * TAPS + counts[2]):
                        if at[d] >= 0 and at[h] >= 0 and at[w] >= 0:
                            pixel = ((image * sizes[0] + at[d]) * sizes[1] + at[h]) * sizes[2] + at[w]
                            along = zero
                            for c in range(channels):
                                along += gy[p * channels + c] * x[pixel * channels + c]
                            by_x += along * weights[d] * weights[h] * slopes[w]
                            by_y += along * weights[d] * slopes[h] * weights[w]
                            by_z += along * slopes[d] * weights[h] * weights[w]
            ggrid[p * dims], ggrid[p * dims + 1] = by_x, by_y
            if dims == 3:
                ggrid[p * dims + 2] = by_z

    return grid_sample_bwd_grid


def _geometry(spec):
    sizes = (1,) * (3 - spec.ndim) + spec.in_size
    options = MODES[spec.mode], PADDING[spec.padding_mode], int(spec.align_corners)
    return spec.ndim, sizes, options, spec.channels, prod(spec.out_size)


def grid_sample_fwd(x, grid, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    arrays = layout.to_ndhwc(x), layout.dense(grid), y5
    launch(_forward_kernel(x.dtype.type), *blocks(y.size), *arrays, *_geometry(spec), y.size)
    return y


def grid_sample_bwd_data(gy, grid, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    rows = gx.size // spec.in_size[-1]
    arrays = layout.to_ndhwc(gy), layout.dense(grid), gx5
    launch(_data_kernel(gy.dtype.type), *blocks(rows), *arrays, *_geometry(spec), rows)
    return gx


def grid_sample_bwd_grid(gy, x, grid, spec):
    ggrid = memory.empty(grid.shape, grid.dtype)
    places = ggrid.size // spec.ndim
    arrays = layout.to_ndhwc(gy), layout.to_ndhwc(x), layout.dense(grid), ggrid
    launch(_grid_kernel(gy.dtype.type), *blocks(places), *arrays, *_geometry(spec), places)
    return ggrid
