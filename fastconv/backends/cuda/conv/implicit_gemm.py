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

A thread copies the same channels of several pixels. What can be known before the loop is worked out before
it: of each pixel its place in memory, and which rows, columns and planes of taps meet the image, a bit for
each; in the loop a place is one addition and a tap one comparison of bits. Where the channels are a multiple
of the depth the taps run fastest, so that x comes from the first-level cache in eight of nine taps.

Backward-data is the same kernel on gy, once for each residue of the input position (see ``geometry.py``).

Backward-weight (``_weight_gradient``)::

                                   n: output channels
                               +---------------------------+
        p: pixels of gy        | gy[p, n]                  |   grid: x = blocks of r, y = blocks of n, z = group, part of p
                               +---------------------------+   for p in steps of tile.depth: as above
      +------------------------+---------------------------+
    r | x[pixel(p) + tap(r),   | gw[r, n] = sum over p     |   A thread copies several (tap, channel) of one pixel.
      |   channel(r)]          |                           |
      +------------------------+---------------------------+

Where the result has too few blocks for the device the sum is cut in parts; each part writes sums of its own,
and ``_add_parts`` adds them in order, so results do not depend on which block is done first.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import mma_tile, ptx
from ..runtime.launch import body, cuda, grid, kernel, launch

# what happens to a sum; QUADS: it can be written four at a time; DENSE: pixels lie in order; MOMENTS: a block
# leaves mean and sum of squared deviations of its part of each channel for a BatchNorm
# (ops/channel_reduce.py)
BIAS, RESIDUAL, RELU, QUADS, DENSE, MOMENTS = 1, 2, 4, 8, 16, 32
TAPS = 30  # rows + columns + planes of taps whose bits fit a number


@body
def divide(n, magic, shift):
    """``n // d`` for 0 <= n < 2^31, with the numbers of :func:`magic`."""
    return np.int32((np.int64(n) * magic) >> shift)


@body
def meets_at(at, size):
    """Whether a place along one dimension is inside the image."""
    return np.uint32(at) < np.uint32(size)


@body
def meets(at, step, taps, size, bit):
    """A bit, from ``bit`` on, for each tap of one dimension that meets the image."""
    bits = np.int32(0)
    for _ in range(taps):
        bits = np.int32(bits | (bit if meets_at(at, size) else 0))
        at, bit = np.int32(at + step), np.int32(bit << 1)
    return bits


@body
def clip(v):
    """ReLU; NaN stays NaN."""
    return type(v)(0) if v < 0 else v


@functools.cache
def _gather(shape, mode, real, deep_w, width_x, width_w, even):
    """The kernel for one kind of tile; ``width_x`` and ``width_w`` numbers are copied at once. ``deep_w``:
    weights lie with the channels that are summed over innermost, else with the output channels. ``even``: the
    depth divides the channels."""
    s = mma_tile.slabs(shape, mode, real, True, deep_w)
    rows, cols, depth, stages = shape.rows, shape.cols, shape.depth, shape.stages
    threads, line_x, line_w, size_x = s.threads, s.line_a, s.line_b, s.size_a
    size = size_x + s.size_b
    per_line = depth // width_x  # copies per line of x
    down = threads // per_line  # lines that the threads copy in one go
    count = max(rows // down, 1)
    width_cols = width_x if deep_w else width_w
    chunks = per_line if deep_w else cols // width_w  # copies per line of w
    down_w = threads // chunks
    copies_w = cols * per_line if deep_w else depth * chunks
    count_w = -(-copies_w // threads)
    each, (run_r, step_r), (run_c, step_c) = s.each, s.rows, s.cols
    zero, store = real(0), mma_tile.stored(mode, real)
    origin, starts, multiply = s.origin, s.starts, s.multiply
    copy_x = ptx.copy_async(width_x * np.dtype(store).itemsize)
    copy_w = ptx.copy_async(width_cols * np.dtype(store).itemsize, near=False)
    commit, wait = ptx.commit, ptx.wait(stages - 2)
    pointer, load4, store2, store4 = ptx.pointer, ptx.load4, ptx.store2, ptx.store4
    line_y, quads = s.line_y, cols // 4

    def implicit_gemm(x, w, bias, residual, y, moments, parts, flags, geometry):
        slabs = pointer(cuda.shared.array(0, store, alignment=16))
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * rows, np.int32(cuda.blockIdx.y) * cols
        group, part = np.int32(cuda.blockIdx.z) // parts, np.int32(cuda.blockIdx.z) % parts
        # the numbers of Phase.table, in its order
        pixels, columns, total = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[2])
        channels, x_line = np.int32(geometry[3]), np.int32(geometry[4])
        w_line, w_tap, w_group = geometry[6], geometry[7], geometry[8]
        size_d, size_h, size_w = geometry[10], geometry[11], geometry[12]
        out_d, out_h, out_w = geometry[13], geometry[14], geometry[15]
        taps_d, taps_h, taps_w = np.int32(geometry[16]), np.int32(geometry[17]), np.int32(geometry[18])
        place, place_d, place_h, place_w = geometry[22], geometry[23], geometry[24], geometry[25]
        # from one tap to the next in x and w, once the taps of the dimensions before are done; and from the
        # last tap to the next channels
        next_w, next_h, next_d = (
            x_line * geometry[21],
            x_line * size_w * geometry[20],
            x_line * size_w * size_h * geometry[19],
        )
        again_x = np.int32(depth - taps_d * next_d)
        next_w, next_h, next_d = (
            np.int32(next_w),
            np.int32(next_h - taps_w * next_w),
            np.int32(next_d - taps_h * next_h),
        )
        next_w_w, next_w_h, next_w_d = w_tap * place_w, w_tap * place_h, w_tap * place_d
        again_w = np.int32((depth if deep_w else depth * w_line) - taps_d * next_w_d)
        next_w_d, next_w_h = np.int32(next_w_d - taps_h * next_w_h), np.int32(next_w_h - taps_w * next_w_w)
        next_w_w = np.int32(next_w_w)
        first_h, first_d = np.int32(1 << taps_w), np.int32(1 << (taps_w + taps_h))  # bits

        # of each line of the slab of x: the pixel of its first tap, and which taps meet the image
        pixel_of = pointer(cuda.shared.array(rows, np.int32))
        met_of = pointer(cuda.shared.array(rows, np.int32))
        for i in range(thread, rows, threads):
            m = np.int32(top + i)
            a = divide(m, geometry[32], geometry[33])
            b = divide(a, geometry[34], geometry[35])
            image = divide(b, geometry[36], geometry[37])
            v = np.int32((m - a * out_w) * geometry[28] + geometry[31])
            h = np.int32((a - b * out_h) * geometry[27] + geometry[30])
            d = np.int32((b - image * out_d) * geometry[26] + geometry[29])
            pixel_of[i] = np.int32(((image * size_d + d) * size_h + h) * size_w + v)
            bits = meets(v, geometry[21], taps_w, size_w, np.int32(1)) | meets(
                h, geometry[20], taps_h, size_h, first_h
            )
            met_of[i] = np.int32(bits | meets(d, geometry[19], taps_d, size_d, first_d) if m < pixels else 0)
        cuda.syncthreads()

        # the lines of x this thread copies
        column, line = thread % per_line * width_x, thread // per_line
        first_pixel = cuda.local.array(count, np.int32)
        met = cuda.local.array(count, np.int32)
        for i in range(count):
            if rows >= down or line < rows:
                first_pixel[i] = pixel_of[line + i * down]
                met[i] = met_of[line + i * down]
        to_x = np.int64(line * line_x + column)
        down_x = down * line_x

        # and those of w
        line_of_w, col = thread // chunks, thread % chunks * width_cols
        n = left + (line_of_w if deep_w else col)
        w_base = group * w_group + (n * w_line if deep_w else line_of_w * w_line + n)
        to_w = np.int64(size_x + line_of_w * line_w + col)

        # this part's steps, and where in taps x channels this thread's column is at the first of them
        steps = np.int32((total + depth - 1) // depth)
        first, last = np.int32(np.int64(part) * steps // parts), np.int32(np.int64(part + 1) * steps // parts)
        k = np.int32(first * depth)
        if even:
            all_taps = np.int32(taps_d * taps_h * taps_w)
            tap = np.int32(first % all_taps)
            c = np.int32(first // all_taps * depth + column)
        else:
            tap = np.int32((k + column) // channels)
            c = np.int32(k + column - tap * channels)
        tap_w = np.int32(tap % taps_w)
        tap_h = np.int32(tap // taps_w % taps_h)
        tap_d = np.int32(tap // taps_w // taps_h)
        from_x = tap * next_w + (tap // taps_w) * next_h + tap_d * next_d + group * channels + c
        from_w = w_base + (
            k * w_line
            if not (deep_w or even)
            else place * w_tap
            + tap * next_w_w
            + (tap // taps_w) * next_w_h
            + tap_d * next_w_d
            + (c if deep_w else (c - column) * w_line)
        )

        sums = cuda.local.array(each, real)
        for i in range(each[0]):
            for j in range(each[1]):
                sums[i, j] = zero
        start_a, start_b = starts(thread)
        into, at = np.int32(0), np.int32(0)  # the slabs being filled and read
        for step in range(first - (stages - 1), last):
            if step >= first:
                wait()
                cuda.syncthreads()
            if step + (stages - 1) < last:
                bit = np.int32((1 << tap_w) | (first_h << tap_h) | (first_d << tap_d))
                for i in range(count):
                    if rows >= down or line < rows:
                        source = np.int64(first_pixel[i]) * x_line + from_x
                        copy_x(slabs, into + to_x + i * down_x, x, source, np.int32(met[i] & bit) == bit)
                for i in range(count_w):
                    if copies_w % threads == 0 or line_of_w + i * down_w < (cols if deep_w else depth):
                        if deep_w:
                            inside = n + i * down_w < columns and (even or tap_d < taps_d)
                        else:
                            inside = n < columns and (even or k + line_of_w + i * down_w < total)
                        copy_w(
                            slabs, into + to_w + i * down_w * line_w, w, from_w + i * down_w * w_line, inside
                        )
                if not even:
                    k, c = np.int32(k + depth), np.int32(c + depth)
                    from_x += depth
                    from_w += depth if deep_w else depth * w_line
                while even or c >= channels:  # on to the next tap
                    if not even:
                        c = np.int32(c - channels)
                        from_x -= channels
                    if deep_w and not even:
                        from_w -= channels
                    tap_w = np.int32(tap_w + 1)
                    from_x += next_w
                    if deep_w or even:
                        from_w += next_w_w
                    if tap_w == taps_w:
                        tap_w, tap_h = np.int32(0), np.int32(tap_h + 1)
                        from_x += next_h
                        if deep_w or even:
                            from_w += next_w_h
                        if tap_h == taps_h:
                            tap_h, tap_d = np.int32(0), np.int32(tap_d + 1)
                            from_x += next_d
                            if deep_w or even:
                                from_w += next_w_d
                            if even and tap_d == taps_d:
                                tap_d = np.int32(0)
                                from_x += again_x
                                from_w += again_w
                    if even:
                        break
                into = np.int32(into + size if into < (stages - 1) * size else 0)
            commit()
            if step >= first:
                multiply(slabs, at + start_a, at + size_x + start_b, sums)
                at = np.int32(at + size if at < (stages - 1) * size else 0)

        # through shared memory, so that neighbouring threads write neighbouring channels
        cuda.syncthreads()
        room = pointer(cuda.shared.array(0, real, alignment=16))  # the same memory
        row0, col0 = origin(thread)
        own = row0 * line_y + col0
        for i in range(each[0]):
            for j in range(0, each[1], run_c):
                to = own + (i % run_r + i // run_r * step_r) * line_y + j // run_c * step_c
                if run_c == 2:
                    store2(room, to, sums[i, j], sums[i, j + run_c - 1])
                else:
                    for q in range(run_c):
                        room[to + q] = sums[i, j + q]
        cuda.syncthreads()
        # read again, so that they keep no registers through the loop
        pixels, columns, y_line = np.int32(geometry[0]), np.int32(geometry[1]), geometry[5]
        out_d, out_h, out_w = geometry[13], geometry[14], geometry[15]
        line, col = thread // quads, thread % quads * 4
        n = group * columns + left + col
        added = (zero, zero, zero, zero)
        if flags & BIAS and left + col < columns and flags & QUADS:
            added = load4(bias, np.int64(n))
        centre, shift, square = (
            cuda.local.array(4, real),
            cuda.local.array(4, real),
            cuda.local.array(4, real),
        )
        # lines of the tile, from one of a thread's lines to its next, lines of this thread
        lines, stride = np.int32(min(rows, pixels - top)), np.int32(threads // quads)
        mine = np.int32((lines - line + stride - 1) // stride)
        head = load4(room, np.int64(col))
        # their mean: an outlier cannot spoil the squares of deviations from it, as it would from one line
        if flags & MOMENTS:
            for q in range(4):
                centre[q] = shift[q] = square[q] = zero
            for i in range(mine):
                v = load4(room, np.int64((line + i * stride) * line_y + col))
                for q in range(4):
                    centre[q] += v[q] - head[q]
            for q in range(4):
                centre[q] = head[q] + centre[q] / real(max(mine, 1))
        for i in range(rows * quads // threads):
            m = np.int32(top + line + i * (threads // quads))
            if m < pixels and left + col < columns:
                pixel = np.int64(m)
                if not flags & DENSE:
                    a = divide(m, geometry[32], geometry[33])
                    b = divide(a, geometry[34], geometry[35])
                    image = divide(b, geometry[36], geometry[37])
                    pixel = (
                        image * geometry[38] + (b - image * out_d) * geometry[41] + geometry[44]
                    ) * geometry[39]
                    pixel = (pixel + (a - b * out_h) * geometry[42] + geometry[45]) * geometry[40]
                    pixel += (m - a * out_w) * geometry[43] + geometry[46]
                to = part * geometry[9] + pixel * y_line + n
                v = load4(room, np.int64((line + i * (threads // quads)) * line_y + col))
                if flags & MOMENTS:
                    for q in range(4):
                        shift[q] += v[q] - centre[q]
                        square[q] += (v[q] - centre[q]) * (v[q] - centre[q])
                if flags & QUADS:
                    if flags & BIAS:
                        v = (v[0] + added[0], v[1] + added[1], v[2] + added[2], v[3] + added[3])
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
        if flags & MOMENTS:
            cuda.syncthreads()
            for q in range(4):
                error = shift[q] / real(max(mine, 1))
                room[thread + q * threads] = (centre[q] - head[q]) + error
                room[thread + (q + 4) * threads] = square[q] - shift[q] * error
            cuda.syncthreads()
            if thread < quads:
                for q in range(4):
                    mean, deviations = np.float64(0), np.float64(0)
                    for i in range(min(stride, lines)):
                        mean += np.float64(room[thread + i * quads + q * threads]) * (
                            (lines - i + stride - 1) // stride
                        )
                    mean /= lines
                    for i in range(min(stride, lines)):
                        d = np.float64(room[thread + i * quads + q * threads]) - mean
                        deviations += np.float64(room[thread + i * quads + (q + 4) * threads])
                        deviations += d * d * ((lines - i + stride - 1) // stride)
                    if left + col + q < columns:
                        to = np.int64(n + q) * cuda.gridDim.x + cuda.blockIdx.x
                        moments[to] = np.float64(head[q]) + mean
                        moments[to + y_line * cuda.gridDim.x] = deviations

    return kernel(implicit_gemm, launch_bounds=s.threads), s


@functools.cache
def _weight_gradient(shape, mode, real, width_x, width_g):
    """The kernel for one kind of tile; ``width_x`` numbers of x and ``width_g`` of gy are copied at once."""
    s = mma_tile.slabs(shape, mode, real, False, False)
    rows, cols, depth, stages = shape.rows, shape.cols, shape.depth, shape.stages
    line_x, line_g, size_x = s.line_a, s.line_b, s.size_a
    size = size_x + s.size_b
    threads, ahead = s.threads, 2 * depth
    beside = threads // depth  # threads that copy one pixel
    jump_x, jump_g = beside * width_x, beside * width_g
    count_x, count_g = -(-rows // jump_x), -(-cols // jump_g)
    each, (run_r, step_r), (run_c, step_c) = s.each, s.rows, s.cols
    zero, store = real(0), mma_tile.stored(mode, real)
    origin, starts, multiply = s.origin, s.starts, s.multiply
    copy_x = ptx.copy_async(width_x * np.dtype(store).itemsize)
    copy_g = ptx.copy_async(width_g * np.dtype(store).itemsize, near=False)
    commit, wait = ptx.commit, ptx.wait(stages - 2)
    pointer, store2, store4 = ptx.pointer, ptx.store2, ptx.store4

    def implicit_gemm_weight(x, gy, gw, parts, geometry):
        slabs = pointer(cuda.shared.array(0, store, alignment=16))
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * rows, np.int32(cuda.blockIdx.y) * cols
        group, part = np.int32(cuda.blockIdx.z) // parts, np.int32(cuda.blockIdx.z) % parts
        # the numbers of Phase.table, in its order
        pixels, columns, total = np.int32(geometry[0]), np.int32(geometry[1]), np.int32(geometry[2])
        channels, x_line, y_line = np.int32(geometry[3]), geometry[4], geometry[5]
        size_d, size_h, size_w = geometry[10], geometry[11], geometry[12]
        out_d, out_h, out_w = geometry[13], geometry[14], geometry[15]
        taps_d, taps_h, taps_w = np.int32(geometry[16]), np.int32(geometry[17]), np.int32(geometry[18])
        step_d, step_h, step_w = geometry[19], geometry[20], geometry[21]
        stride_d, stride_h, stride_w = geometry[26], geometry[27], geometry[28]
        offset_d, offset_h, offset_w = geometry[29], geometry[30], geometry[31]
        magic_w, shift_w, magic_h, shift_h = geometry[32], geometry[33], geometry[34], geometry[35]
        magic_d, shift_d = geometry[36], geometry[37]
        first_h, first_d = np.int32(1 << taps_w), np.int32(1 << (taps_w + taps_h))  # bits

        # of each line of the slab of x, a (tap, channel): how far it is from a pixel's first tap, and its
        # bits
        base_of = pointer(cuda.shared.array(rows, np.int64))
        bit_of = pointer(cuda.shared.array(rows, np.int32))
        for i in range(thread, rows, threads):
            r = np.int32(top + i)
            tap = np.int32(r // channels)
            line = np.int32(tap // taps_w)
            tap_d = np.int32(line // taps_h)
            tap_h, tap_w = line - tap_d * taps_h, tap - line * taps_w
            bit_of[i] = np.int32((1 << tap_w) | (first_h << tap_h) | (first_d << min(tap_d, taps_d)))
            base_of[i] = ((tap_d * step_d * size_h + tap_h * step_h) * size_w + tap_w * step_w) * x_line + (
                r - tap * channels
            )
        cuda.syncthreads()

        # those this thread copies
        pixel, col_x = thread // beside, thread % beside * width_x
        base = cuda.local.array(count_x, np.int64)
        bit = cuda.local.array(count_x, np.int32)
        for i in range(count_x):
            if rows % jump_x == 0 or col_x + i * jump_x < rows:
                base[i] = base_of[col_x + i * jump_x]
                bit[i] = bit_of[col_x + i * jump_x]
        col_g = thread % beside * width_g
        from_g = np.int64(group * columns + left + col_g)
        to_x, to_g = np.int64(pixel * line_x + col_x), np.int64(size_x + pixel * line_g + col_g)

        steps = (pixels + depth - 1) // depth
        first, last = np.int32(np.int64(part) * steps // parts), np.int32(np.int64(part + 1) * steps // parts)
        # of each line of the slabs copied next: where its pixel's first tap lies in x, and which taps meet
        # the image; the first `depth` threads work it out, one step before it is needed
        start_of = pointer(cuda.shared.array(ahead, np.int64))
        met_of = pointer(cuda.shared.array(ahead, np.int32))
        sums = cuda.local.array(each, real)
        for i in range(each[0]):
            for j in range(each[1]):
                sums[i, j] = zero
        start_a, start_b = starts(thread)
        into, at = np.int32(0), np.int32(0)  # the slabs being filled and read
        for step in range(first - stages, last):
            if step >= first:
                wait()
            cuda.syncthreads()
            if thread < depth and step + stages < last:
                m = np.int32((step + stages) * depth + thread)
                a = divide(m, magic_w, shift_w)
                b = divide(a, magic_h, shift_h)
                image = divide(b, magic_d, shift_d)
                v = np.int32((m - a * out_w) * stride_w + offset_w)
                h = np.int32((a - b * out_h) * stride_h + offset_h)
                d = np.int32((b - image * out_d) * stride_d + offset_d)
                bits = meets(v, step_w, taps_w, size_w, np.int32(1)) | meets(
                    h, step_h, taps_h, size_h, first_h
                )
                bits = np.int32(bits | meets(d, step_d, taps_d, size_d, first_d) if m < pixels else 0)
                line = (step + stages - first & 1) * depth + thread
                start_of[line] = (
                    ((image * size_d + d) * size_h + h) * size_w + v
                ) * x_line + group * channels
                met_of[line] = bits
            if first - stages < step < last - (stages - 1):
                line = (step + stages - 1 - first & 1) * depth + pixel
                p, from_x, met = np.int32((step + stages - 1) * depth + pixel), start_of[line], met_of[line]
                for i in range(count_x):
                    if rows % jump_x == 0 or col_x + i * jump_x < rows:
                        inside = np.int32(met & bit[i]) == bit[i]
                        copy_x(slabs, into + to_x + i * jump_x, x, from_x + base[i], inside)
                for i in range(count_g):
                    if cols % jump_g == 0 or col_g + i * jump_g < cols:
                        inside = left + col_g + i * jump_g < columns and p < pixels
                        copy_g(slabs, into + to_g + i * jump_g, gy, p * y_line + from_g + i * jump_g, inside)
                into = np.int32(into + size if into < (stages - 1) * size else 0)
            if step > first - stages:
                commit()
            if step >= first:
                multiply(slabs, at + start_a, at + size_x + start_b, sums)
                at = np.int32(at + size if at < (stages - 1) * size else 0)

        row0, col0 = origin(thread)
        columns, y_line = np.int32(geometry[1]), geometry[5]
        for i in range(each[0]):
            r = top + row0 + i % run_r + i // run_r * step_r
            if r < total:
                to = (np.int64(part) * total + r) * y_line + group * columns
                for j in range(0, each[1], run_c):
                    n = left + col0 + j // run_c * step_c
                    if columns % run_c == 0:  # their addresses are multiples of their size
                        if n < columns and run_c == 2:
                            store2(gw, to + n, sums[i, j], sums[i, j + run_c - 1])
                        elif n < columns:
                            store4(
                                gw,
                                to + n,
                                sums[i, j],
                                sums[i, j + run_c // 4],
                                sums[i, j + run_c // 2],
                                sums[i, j + run_c - 1],
                            )
                    else:
                        for q in range(run_c):
                            if n + q < columns:
                                gw[to + n + q] = sums[i, j + q]

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
    launch(
        _add_parts(y.dtype.type),
        *grid(y.size),
        sums,
        sums if bias is None else bias,
        sums if residual is None else residual,
        y,
        parts,
        flags,
        y.shape[-1],
        y.size,
    )
