"""Convolution without tensor cores or copies ahead: few channels, one channel per group, float64; takes every
case.

Few channels (``_few``): a thread owns one pixel and 4, 8 or 16 output channels, which share every number read from x::

            output channels
           +------------+
    tap,   | slab of w  |  SLAB lines in shared memory, read by all threads at once (a broadcast)
    channel+------------+
    pixel 0| sums of thread 0
    pixel 1| sums of thread 1      x[pixel + tap, channel]: neighbouring threads read neighbouring pixels
     ...

One output per thread (``_single``), for depthwise and other small groups: neighbouring threads have
neighbouring channels of one pixel, in x, w and y.

Backward-weight (``_weight_gradient``): a thread owns one number of gw and walks a part of the pixels;
neighbouring threads have neighbouring output channels. The parts are added in order.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime.launch import SIMULATED, THREADS, cuda, kernel
from .implicit_gemm import BIAS, RELU, RESIDUAL, clip, divide, meets_at

EACH = 4 if SIMULATED else 16  # at most
SLAB = 16 if SIMULATED else 32


@functools.cache
def _few(real, deep_w, each):
    zero, threads, slab, size = real(0), THREADS, SLAB, SLAB * each
    pointer, load4 = ptx.pointer, ptx.load4

    def direct_few(x, w, bias, residual, y, flags, geometry):
        weights = pointer(cuda.shared.array(size, real))
        thread, group = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.z)
        m, first = np.int32(cuda.blockIdx.x) * threads + thread, np.int32(cuda.blockIdx.y) * each
        pixels, columns, total = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[2])
        channels, x_line = np.int32(geometry[3]), geometry[4]
        size_d, size_h, size_w = geometry[10], geometry[11], geometry[12]
        taps_h, taps_w = np.int32(geometry[17]), np.int32(geometry[18])
        step_d, step_h, step_w = np.int32(geometry[19]), np.int32(geometry[20]), np.int32(geometry[21])
        a = divide(m, geometry[32], geometry[33])
        b = divide(a, geometry[34], geometry[35])
        image = divide(b, geometry[36], geometry[37])
        column, row, plane = m - a * geometry[15], a - b * geometry[14], b - image * geometry[13]
        at_d = np.int32(plane * geometry[26] + geometry[29])
        at_h = np.int32(row * geometry[27] + geometry[30])
        at_w = np.int32(column * geometry[28] + geometry[31])
        # where the next number of x lies; after the channels of a tap, of a row and of a plane of taps
        at = (((image * size_d + at_d) * size_h + at_h) * size_w + at_w) * x_line + group * channels
        next_w, next_h = step_w * x_line, step_h * size_w * x_line
        next_d = step_d * size_h * size_w * x_line - taps_h * next_h
        next_h, next_w = next_h - taps_w * next_w, next_w - channels
        sums = cuda.local.array(each, real)
        for q in range(each):
            sums[q] = zero
        c, v, h, d = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        inside = m < pixels and meets_at(at_d, size_d) and meets_at(at_h, size_h) and meets_at(at_w, size_w)
        for start in range(0, total, slab):
            cuda.syncthreads()
            for e in range(thread, size, threads):
                r, n = np.int32(start + e // each), first + e % each
                value = zero
                if r < total and n < columns:
                    if deep_w:
                        tap = np.int32(r // channels)
                        tap_h = np.int32(tap // taps_w)
                        tap_d = np.int32(tap_h // taps_h)
                        place = geometry[22] + tap_d * geometry[23] + (tap_h - tap_d * taps_h) * geometry[24]
                        place += (tap - tap_h * taps_w) * geometry[25]
                        value = w[
                            group * geometry[8] + place * geometry[7] + n * geometry[6] + r - tap * channels
                        ]
                    else:
                        value = w[group * geometry[8] + r * geometry[6] + n]
                weights[e] = value
            cuda.syncthreads()
            for r in range(0, min(slab, total - start) * each, each):
                if inside:
                    value = x[at]
                    for n in range(0, each, 4):
                        u = load4(weights, r + n)
                        for q in range(4):
                            sums[n + q] += value * u[q]
                at += 1
                c = np.int32(c + 1)
                if c == channels:
                    at += next_w
                    c, v = np.int32(0), np.int32(v + 1)
                    if v == taps_w:
                        at += next_h
                        v, h = np.int32(0), np.int32(h + 1)
                        if h == taps_h:
                            at += next_d
                            h, d = np.int32(0), np.int32(d + 1)
                    inside = (
                        m < pixels
                        and meets_at(at_d + d * step_d, size_d)
                        and meets_at(at_h + h * step_h, size_h)
                    )
                    inside = inside and meets_at(at_w + v * step_w, size_w)
        if m < pixels:
            place = (image * geometry[38] + plane * geometry[41] + geometry[44]) * geometry[39]
            place = (
                (place + row * geometry[42] + geometry[45]) * geometry[40]
                + column * geometry[43]
                + geometry[46]
            )
            to = place * geometry[5] + group * columns + first
            for n in range(each):
                if first + n < columns:
                    value = sums[n]
                    if flags & BIAS:
                        value += bias[group * columns + first + n]
                    if flags & RESIDUAL:
                        value += residual[to + n]
                    y[to + n] = clip(value) if flags & RELU else value

    return kernel(direct_few, launch_bounds=(THREADS, 2))  # 128 registers each


def width(columns: int) -> int:
    """How many of ``columns`` output channels a thread takes."""
    return next((n for n in (4, 8) if columns <= n), EACH)


@functools.cache
def _single(real, deep_w):
    zero = real(0)

    def direct_single(x, w, bias, residual, y, flags, geometry):
        pixels, columns, channels = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[3])
        x_line, y_line = geometry[4], geometry[5]
        size_d, size_h, size_w = np.int32(geometry[10]), np.int32(geometry[11]), np.int32(geometry[12])
        for i in range(cuda.grid(1), pixels * y_line, cuda.gridsize(1)):
            m = np.int32(i // y_line)
            k = np.int32(i - m * y_line)
            group = k // columns
            n = k - group * columns
            a = divide(m, geometry[32], geometry[33])
            b = divide(a, geometry[34], geometry[35])
            image = divide(b, geometry[36], geometry[37])
            column, row, plane = m - a * geometry[15], a - b * geometry[14], b - image * geometry[13]
            total = zero
            for d in range(geometry[16]):
                for h in range(geometry[17]):
                    for v in range(geometry[18]):
                        p = plane * geometry[26] + geometry[29] + d * geometry[19]
                        q = row * geometry[27] + geometry[30] + h * geometry[20]
                        s = column * geometry[28] + geometry[31] + v * geometry[21]
                        if 0 <= p < size_d and 0 <= q < size_h and 0 <= s < size_w:
                            source = (
                                ((image * size_d + p) * size_h + q) * size_w + s
                            ) * x_line + group * channels
                            tap = geometry[22] + d * geometry[23] + h * geometry[24] + v * geometry[25]
                            at = group * geometry[8] + (
                                tap * geometry[7] + n * geometry[6]
                                if deep_w
                                else tap * channels * geometry[6] + n
                            )
                            for c in range(channels):
                                total += x[source + c] * w[at + (c if deep_w else c * geometry[6])]
            place = (image * geometry[38] + plane * geometry[41] + geometry[44]) * geometry[39]
            place = (
                (place + row * geometry[42] + geometry[45]) * geometry[40]
                + column * geometry[43]
                + geometry[46]
            )
            to = place * y_line + k
            if flags & BIAS:
                total += bias[k]
            if flags & RESIDUAL:
                total += residual[to]
            y[to] = clip(total) if flags & RELU else total

    return kernel(direct_single)


@functools.cache
def _weight_gradient(real):
    zero = real(0)

    def direct_weight(x, gy, gw, parts, geometry):
        pixels, columns, channels = geometry[0], np.int32(geometry[1]), np.int32(geometry[3])
        x_line, y_line, numbers = geometry[4], geometry[5], geometry[2] * geometry[5]
        size_d, size_h, size_w = np.int32(geometry[10]), np.int32(geometry[11]), np.int32(geometry[12])
        i = np.int64(cuda.grid(1))
        if i < numbers:
            r = np.int32(i // y_line)
            k = np.int32(i - r * y_line)
            tap = r // channels
            c = r - tap * channels + k // columns * channels
            at_w = tap % geometry[18] * geometry[21] + geometry[31]
            at_h = tap // geometry[18] % geometry[17] * geometry[20] + geometry[30]
            at_d = tap // geometry[18] // geometry[17] * geometry[19] + geometry[29]
            total, part = zero, np.int64(cuda.blockIdx.y)
            for m in range(part * pixels // parts, (part + 1) * pixels // parts):
                a = divide(m, geometry[32], geometry[33])
                b = divide(a, geometry[34], geometry[35])
                image = divide(b, geometry[36], geometry[37])
                p = at_d + (b - image * geometry[13]) * geometry[26]
                q = at_h + (a - b * geometry[14]) * geometry[27]
                s = at_w + (m - a * geometry[15]) * geometry[28]
                if 0 <= p < size_d and 0 <= q < size_h and 0 <= s < size_w:
                    total += (
                        x[(((image * size_d + p) * size_h + q) * size_w + s) * x_line + c]
                        * gy[m * y_line + k]
                    )
            gw[part * numbers + i] = total

    return kernel(direct_weight)
