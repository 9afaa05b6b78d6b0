"""Convolution as a matrix product whose left matrix is never built: implicit GEMM, on channels-last arrays.

Forward and backward-data (``_gather``)::

                                   n: output channels of a group
                               +---------------------------+
        r: taps x channels     | w[r, n]                   |   grid: x = blocks of pixels, y = blocks of channels,
                               +---------------------------+         z = group, part of r
      +------------------------+---------------------------+   for r in steps of tile.depth:
    m | x[pixel(m) + tap(r),   | y[m, n] = sum over r      |       copy slabs of x and w to shared memory, `stages` - 1
      |   channel(r)]          |                           |         steps ahead (cp.async; outside the image: zeros)
      +------------------------+---------------------------+       multiply the slabs that have arrived
                                                               add bias and residual, clip at zero, write

A thread copies the same channels of several pixels, so it keeps one running (tap, channel) and a place per pixel.
Backward-data is the same kernel on gy, once for each residue of the input position (see ``conv_geometry.py``).

Backward-weight (``_weight_gradient``)::

                                   n: output channels
                               +---------------------------+
        p: pixels of gy        | gy[p, n]                  |   grid: x = blocks of r, y = blocks of n, z = group, part of p
                               +---------------------------+   for p in steps of tile.depth: as above
      +------------------------+---------------------------+
    r | x[pixel(p) + tap(r),   | gw[r, n] = sum over p     |   A thread copies several (tap, channel) of one pixel.
      |   channel(r)]          |                           |
      +------------------------+---------------------------+

Where the result has too few blocks for the device the sum is cut in parts; each part writes sums of its own, and
``_add_parts`` adds them in order, so results do not depend on which block is done first.
"""

from __future__ import annotations

import functools

import numpy as np

from . import ptx, tile
from .launch import body, cuda, grid, kernel, launch

BIAS, RESIDUAL, RELU, QUADS = 1, 2, 4, 8  # what happens to a sum; QUADS: it can be written four at a time
FAR = -(1 << 29)  # a coordinate outside every image


@body
def divide(n, magic, shift):
    """``n // d`` for 0 <= n < 2^31, with the numbers of :func:`magic`."""
    return np.int32((np.int64(n) * magic) >> shift)


@body
def clip(v):
    """ReLU; NaN stays NaN."""
    return type(v)(0) if v < 0 else v


@functools.cache
def _gather(shape, mode, real, deep_w, width_x, width_w):
    """The kernel for one kind of tile; ``width_x`` and ``width_w`` numbers are copied at once. ``deep_w``: weights lie with
    the channels that are summed over innermost, else with the output channels."""
    s = tile.slabs(shape, mode, real, True, deep_w)
    rows, cols, depth, stages = shape.rows, shape.cols, shape.depth, shape.stages
    threads, line_x, line_w, size_x = s.threads, s.line_a, s.line_b, s.size_a
    size = size_x + s.size_b
    per_line = depth // width_x  # copies per line of x
    down = threads // per_line  # lines that the threads copy in one go
    count = max(rows // down, 1)
    width_cols = width_x if deep_w else width_w
    copies_w = cols * per_line if deep_w else depth * (cols // width_w)
    count_w = -(-copies_w // threads)
    chunks = per_line if deep_w else cols // width_w
    each, (run_r, step_r), (run_c, step_c) = s.each, s.rows, s.cols
    zero, far = real(0), FAR
    origin, multiply = s.origin, s.multiply
    copy_x = ptx.copy_async(width_x * np.dtype(real).itemsize)
    copy_w = ptx.copy_async(width_cols * np.dtype(real).itemsize)
    commit, wait = ptx.commit, ptx.wait(stages - 2)
    load4, store2, store4 = ptx.load4, ptx.store2, ptx.store4
    line_y = s.line_y

    def implicit_gemm(x, w, bias, residual, y, parts, flags, geometry):
        slabs = cuda.shared.array(0, real, alignment=16)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * rows, np.int32(cuda.blockIdx.y) * cols
        group, part = np.int32(cuda.blockIdx.z) // parts, np.int32(cuda.blockIdx.z) % parts
        # the numbers of Phase.table, in its order
        pixels, columns, total = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[2])
        channels, x_line, y_line = np.int32(geometry[3]), np.int32(geometry[4]), np.int32(geometry[5])
        w_line, w_tap, w_group, part_size = geometry[6], geometry[7], geometry[8], geometry[9]
        size_d, size_h, size_w = np.int32(geometry[10]), np.int32(geometry[11]), np.int32(geometry[12])
        out_d, out_h, out_w = np.int32(geometry[13]), np.int32(geometry[14]), np.int32(geometry[15])
        taps_h, taps_w = np.int32(geometry[17]), np.int32(geometry[18])
        step_d, step_h, step_w = np.int32(geometry[19]), np.int32(geometry[20]), np.int32(geometry[21])
        place, place_d, place_h, place_w = geometry[22], geometry[23], geometry[24], geometry[25]

        # the lines this thread copies: first pixel they need, and its place in memory
        base = cuda.local.array(count, np.int32)
        at_d = cuda.local.array(count, np.int32)
        at_h = cuda.local.array(count, np.int32)
        at_w = cuda.local.array(count, np.int32)
        column = thread % per_line * width_x
        for i in range(count):
            m = top + thread // per_line + i * down
            a = divide(m, geometry[32], geometry[33])
            b = divide(a, geometry[34], geometry[35])
            image = divide(b, geometry[36], geometry[37])
            at_w[i] = (m - a * out_w) * geometry[28] + geometry[31]
            at_h[i] = (a - b * out_h) * geometry[27] + geometry[30]
            at_d[i] = (b - image * out_d) * geometry[26] + geometry[29] if m < pixels else far
            base[i] = ((image * size_d + at_d[i]) * size_h + at_h[i]) * size_w + at_w[i] if m < pixels else 0

        # this part's steps, and where in taps x channels this thread's column is at the first of them
        steps = (total + depth - 1) // depth
        first, last = np.int32(np.int64(part) * steps // parts), np.int32(np.int64(part + 1) * steps // parts)
        r = np.int32(first * depth + column)
        tap = r // channels
        c = np.int32(r - tap * channels)
        tap_w = np.int32(tap % taps_w)
        tap_h = np.int32(tap // taps_w % taps_h)
        tap_d = np.int32(tap // taps_w // taps_h)

        sums = cuda.local.array(each, real)
        for i in range(each[0]):
            for j in range(each[1]):
                sums[i, j] = zero
        for step in range(first - (stages - 1), last):
            if step >= first:
                wait()
                cuda.syncthreads()
            if step + stages - 1 < last:
                slab = np.int32((step + stages - 1 - first) % stages * size)
                d, h, v = tap_d * step_d, tap_h * step_h, tap_w * step_w
                tap_place = (d * size_h + h) * size_w + v
                for i in range(count):
                    line = thread // per_line + i * down
                    inside = (
                        np.uint32(at_d[i] + d) < np.uint32(size_d) and np.uint32(at_h[i] + h) < np.uint32(size_h)
                        and np.uint32(at_w[i] + v) < np.uint32(size_w) and r < total
                    )  # fmt: skip
                    source = np.int64(base[i] + tap_place) * x_line + (group * channels + c) if inside else np.int64(0)
                    if rows >= down or line < rows:
                        copy_x(slabs, np.int32(slab + line * line_x + column), x, source, inside)
                w_slab = slab + size_x
                if deep_w:
                    tap_w_place = place + tap_d * place_d + tap_h * place_h + tap_w * place_w
                for i in range(count_w):
                    line = (thread + i * threads) // chunks
                    if copies_w % threads == 0 or line * chunks < copies_w:
                        if deep_w:
                            inside = left + line < columns and r < total
                            source = group * w_group + tap_w_place * w_tap + (left + line) * w_line + c
                            to = line * line_w + column
                        else:
                            col = (thread + i * threads) % chunks * width_w
                            k = (step + stages - 1) * depth + line
                            inside = left + col < columns and k < total
                            source = group * w_group + k * w_line + (left + col)
                            to = line * line_w + col
                        copy_w(slabs, np.int32(w_slab + to), w, source if inside else np.int64(0), inside)
                r += depth
                c += depth
                while c >= channels:
                    c -= channels
                    tap_w += 1
                    if tap_w == taps_w:
                        tap_w = np.int32(0)
                        tap_h += 1
                        if tap_h == taps_h:
                            tap_h = np.int32(0)
                            tap_d += 1
            commit()
            if step >= first:
                slab = np.int32((step - first) % stages * size)
                multiply(slabs, slab, np.int32(slab + size_x), thread, sums)

        # through shared memory, so that neighbouring threads write neighbouring channels
        cuda.syncthreads()
        row0, col0 = origin(thread)
        for i in range(each[0]):
            for j in range(0, each[1], run_c):
                to = (row0 + i % run_r + i // run_r * step_r) * line_y + col0 + j // run_c * step_c
                if run_c == 2:
                    store2(slabs, np.int64(to), sums[i, j], sums[i, j + run_c - 1])
                else:
                    for q in range(run_c):
                        slabs[to + q] = sums[i, j + q]
        cuda.syncthreads()
        for e in range(thread, rows * cols // 4, threads):
            line, col = e // (cols // 4), e % (cols // 4) * 4
            m, n = np.int32(top + line), group * columns + left + col
            if m < pixels and left + col < columns:
                a = divide(m, geometry[32], geometry[33])
                b = divide(a, geometry[34], geometry[35])
                image = divide(b, geometry[36], geometry[37])
                pixel = (image * geometry[38] + (b - image * out_d) * geometry[41] + geometry[44]) * geometry[39]
                pixel = (pixel + (a - b * out_h) * geometry[42] + geometry[45]) * geometry[40]
                pixel += (m - a * out_w) * geometry[43] + geometry[46]
                to = part * part_size + pixel * y_line + n
                v = load4(slabs, np.int64(line * line_y + col))
                if flags & QUADS:
                    if flags & BIAS:
                        u = load4(bias, np.int64(n))
                        v = (v[0] + u[0], v[1] + u[1], v[2] + u[2], v[3] + u[3])
                    if flags & RESIDUAL:
                        u = load4(residual, to)
                        v = (v[0] + u[0], v[1] + u[1], v[2] + u[2], v[3] + u[3])
                    if flags & RELU:
                        v = (clip(v[0]), clip(v[1]), clip(v[2]), clip(v[3]))
                    store4(y, to, v[0], v[1], v[2], v[3])
                else:
                    for q in range(4):
                        if left + col + q < columns:
                            value = v[q]
                            if flags & BIAS:
                                value += bias[n + q]
                            if flags & RESIDUAL:
                                value += residual[to + q]
                            y[to + q] = clip(value) if flags & RELU else value

    return kernel(implicit_gemm, launch_bounds=s.threads), s


@functools.cache
def _weight_gradient(shape, mode, real, width_x, width_g):
    """The kernel for one kind of tile; ``width_x`` numbers of x and ``width_g`` of gy are copied at once."""
    s = tile.slabs(shape, mode, real, False, False)
    rows, cols, depth, stages = shape.rows, shape.cols, shape.depth, shape.stages
    line_x, line_g, size_x = s.line_a, s.line_b, s.size_a
    size = size_x + s.size_b
    beside = s.threads // depth  # threads that copy one pixel
    jump_x, jump_g = beside * width_x, beside * width_g
    count_x, count_g = -(-rows // jump_x), -(-cols // jump_g)
    each, (run_r, step_r), (run_c, step_c) = s.each, s.rows, s.cols
    zero, far = real(0), FAR
    origin, multiply = s.origin, s.multiply
    copy_x = ptx.copy_async(width_x * np.dtype(real).itemsize)
    copy_g = ptx.copy_async(width_g * np.dtype(real).itemsize)
    commit, wait = ptx.commit, ptx.wait(stages - 2)

    def implicit_gemm_weight(x, gy, gw, parts, geometry):
        slabs = cuda.shared.array(0, real, alignment=16)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * rows, np.int32(cuda.blockIdx.y) * cols
        group, part = np.int32(cuda.blockIdx.z) // parts, np.int32(cuda.blockIdx.z) % parts
        # the numbers of Phase.table, in its order
        pixels, columns, total = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[2])
        channels, x_line, y_line = np.int32(geometry[3]), np.int32(geometry[4]), np.int32(geometry[5])
        size_d, size_h, size_w = np.int32(geometry[10]), np.int32(geometry[11]), np.int32(geometry[12])
        out_d, out_h, out_w = np.int32(geometry[13]), np.int32(geometry[14]), np.int32(geometry[15])
        taps_h, taps_w = np.int32(geometry[17]), np.int32(geometry[18])
        stride_d, stride_h, stride_w = np.int32(geometry[26]), np.int32(geometry[27]), np.int32(geometry[28])

        # the (tap, channel) this thread copies
        at = cuda.local.array(count_x, np.int32)
        at_d = cuda.local.array(count_x, np.int32)
        at_h = cuda.local.array(count_x, np.int32)
        at_w = cuda.local.array(count_x, np.int32)
        pixel = thread // beside
        for i in range(count_x):
            r = top + thread % beside * width_x + i * jump_x
            tap = r // channels
            at_w[i] = tap % taps_w * geometry[21] + geometry[31]
            at_h[i] = tap // taps_w % taps_h * geometry[20] + geometry[30]
            at_d[i] = tap // taps_w // taps_h * geometry[19] + geometry[29] if r < total else far
            at[i] = group * channels + r - tap * channels

        steps = (pixels + depth - 1) // depth
        first, last = np.int32(np.int64(part) * steps // parts), np.int32(np.int64(part + 1) * steps // parts)
        sums = cuda.local.array(each, real)
        for i in range(each[0]):
            for j in range(each[1]):
                sums[i, j] = zero
        for step in range(first - (stages - 1), last):
            if step >= first:
                wait()
                cuda.syncthreads()
            if step + stages - 1 < last:
                slab = np.int32((step + stages - 1 - first) % stages * size)
                p = np.int32((step + stages - 1) * depth + pixel)
                a = divide(p, geometry[32], geometry[33])
                b = divide(a, geometry[34], geometry[35])
                image = divide(b, geometry[36], geometry[37])
                v, h, d = (p - a * out_w) * stride_w, (a - b * out_h) * stride_h, (b - image * out_d) * stride_d
                for i in range(count_x):
                    col = thread % beside * width_x + i * jump_x
                    inside = (
                        np.uint32(at_d[i] + d) < np.uint32(size_d) and np.uint32(at_h[i] + h) < np.uint32(size_h)
                        and np.uint32(at_w[i] + v) < np.uint32(size_w) and p < pixels
                    )  # fmt: skip
                    source = np.int64(((image * size_d + at_d[i] + d) * size_h + at_h[i] + h) * size_w + at_w[i] + v)
                    source = source * x_line + at[i] if inside else np.int64(0)
                    if rows % jump_x == 0 or col < rows:
                        copy_x(slabs, np.int32(slab + pixel * line_x + col), x, source, inside)
                for i in range(count_g):
                    col = thread % beside * width_g + i * jump_g
                    inside = left + col < columns and p < pixels
                    source = np.int64(p) * y_line + (group * columns + left + col) if inside else np.int64(0)
                    if cols % jump_g == 0 or col < cols:
                        copy_g(slabs, np.int32(slab + size_x + pixel * line_g + col), gy, source, inside)
            commit()
            if step >= first:
                slab = np.int32((step - first) % stages * size)
                multiply(slabs, slab, np.int32(slab + size_x), thread, sums)

        row0, col0 = origin(thread)
        for i in range(each[0]):
            r = top + row0 + i % run_r + i // run_r * step_r
            if r < total:
                to = (np.int64(part) * total + r) * y_line + group * columns
                for j in range(each[1]):
                    n = left + col0 + j % run_c + j // run_c * step_c
                    if n < columns:
                        gw[to + n] = sums[i, j]

    return kernel(implicit_gemm_weight, launch_bounds=s.threads), s


@functools.cache
def _add_parts(real):
    zero = real(0)

    def add_parts(sums, bias, residual, y, parts, flags, channels, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            v = sums[i]
            for part in range(1, parts):
                v += sums[part * np.int64(n) + i]
            if flags & BIAS:
                v += bias[i % channels]
            if flags & RESIDUAL:
                v += residual[i]
            if flags & RELU and v < zero:
                v = zero
            y[i] = v

    return kernel(add_parts)


def add_parts(sums, y, parts, bias=None, residual=None, relu=False):
    """``y`` = the sum of ``parts`` arrays of its size, in order, and what the flags add."""
    flags = BIAS * (bias is not None) | RESIDUAL * (residual is not None) | RELU * bool(relu)
    launch(_add_parts(y.dtype.type), *grid(y.size), sums, sums if bias is None else bias,
           sums if residual is None else residual, y, parts, flags, y.shape[-1], y.size)  # fmt: skip
