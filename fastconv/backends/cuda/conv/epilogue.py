"""What happens to sums after the last multiplication: bias, residual, ReLU, moments of channels, split k.

A block writes its tile of sums through shared memory, so that neighbouring threads write neighbouring
channels (``tile_epilogue``)::

      registers             shared memory                      global memory
      sums of thread  -->   BM lines of pitch_y numbers  -->   y[pixel, n], 4 channels per thread and line
                            (stage)                            (write)

          BN / 4 threads side by side: each has 4 channels
        +----+----+----+----+
        | t0 | t1 | t2 | t3 |   line 0           thread t has the lines t // (BN / 4) + i * stride,
        | t4 | t5 | t6 | t7 |   line 1           stride = threads / (BN / 4)
        | t0 | t1 | t2 | t3 |   line 2
        +----+----+----+----+

A BatchNorm often follows. Therefore, where nothing is added to the sums, the block also leaves mean and sum
of squared deviations of its lines of each channel (``moments``); ``ops/channel_reduce.py`` combines blocks.
Each thread first finds the mean of its own lines. Squares of deviations from that mean lose no digits to an
outlier, as they would from a single line. The threads of a channel are then combined in float64.

Source of the combination: T. Chan, G. Golub and R. LeVeque, "Algorithms for computing the sample variance",
1983.

With split k, each part of the sum writes an array of its own. ``split_k_reduce`` adds the arrays in order, so
results do not depend on which block ends first.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime import layout
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, body, cuda, grid, kernel, launch
from .geometry import output_pixel, position, read_geometry

# Flags: what is added to a sum, and how. QUADS: four channels are written at a time. DENSE: pixels lie in
# memory in the order of positions. MOMENTS: the block leaves moments.
BIAS, RESIDUAL, RELU, QUADS, DENSE, MOMENTS = 1, 2, 4, 8, 16, 32


def flags_of(bias: DeviceArray | None, residual: DeviceArray | None, relu: bool) -> int:
    """The flags of what is added to the sums."""
    return BIAS * (bias is not None) | RESIDUAL * (residual is not None) | RELU * bool(relu)


@body
def clip(v):
    """ReLU; NaN stays NaN."""
    return type(v)(0) if v < 0 else v


@functools.cache
def tile_epilogue(tile, slabs, real):
    """The functions ``stage(thread, sums, room)`` and ``write(...)`` of one kind of tile.

    A block may have more threads than ``slabs.threads``; these only meet the others at barriers.
    """
    BM, quads, pitch = tile.BM, tile.BN // 4, slabs.pitch_y
    threads, origin = slabs.threads, slabs.origin
    (high, wide), (run_r, step_r), (run_c, step_c) = slabs.sums_shape, slabs.row_layout, slabs.col_layout
    zero = real(0)
    BN, per_column, groups = tile.BN, threads // quads, threads // tile.BN  # threads that share a column
    EACH = 4
    assert per_column == groups * EACH and 11 * threads <= BM * pitch
    load4, store2, store4 = ptx.load4, ptx.store2, ptx.store4

    @body
    def stage(thread, sums, room):
        """Write a thread's sums to the tile in shared memory."""
        row0, col0 = origin(thread)
        own = row0 * pitch + col0
        for i in range(high):
            for j in range(0, wide, run_c):
                to = own + (i % run_r + i // run_r * step_r) * pitch + j // run_c * step_c
                if run_c == 2:
                    store2(room, to, sums[i, j], sums[i, j + run_c - 1])
                else:
                    for q in range(run_c):
                        room[to + q] = sums[i, j + q]

    @body
    def moments_of_lines(room, line, col, mine, found):
        """Means less those of line 0, and squared deviations, of a thread's ``mine`` lines and 4 channels."""
        head, n = load4(room, np.int64(col)), real(max(mine, 1))
        for q in range(8):
            found[q] = zero
        for i in range(mine):
            v = load4(room, np.int64((line + i * per_column) * pitch + col))
            for q in range(4):
                found[q] += v[q] - head[q]
        centre, shift = cuda.local.array(4, real), cuda.local.array(4, real)
        for q in range(4):
            centre[q], shift[q] = head[q] + found[q] / n, zero
        for i in range(mine):
            v = load4(room, np.int64((line + i * per_column) * pitch + col))
            for q in range(4):
                d = v[q] - centre[q]
                shift[q] += d
                found[q + 4] += d * d
        for q in range(4):
            error = shift[q] / n  # of the centre, which is a rounded mean
            found[q] = (centre[q] - head[q]) + error
            found[q + 4] -= shift[q] * error

    @body
    def finish(v, to, n, left, added, bias, residual, y, flags, g):
        """Add bias and residual to 4 channels of a pixel, apply ReLU and write."""
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
                if left + q < np.int32(g.out_channels):
                    value = v[q]
                    if flags & BIAS:
                        value += bias[n + q]
                    if flags & RESIDUAL:
                        value += residual[to + q]
                    y[to + q] = clip(value) if flags & RELU else value

    @body
    def merge(room, place, step, first, lines):
        """Lines, mean and squared deviations of a column in ``EACH`` threads' lines, from ``first`` on.

        Thread number i of a column has the lines i, i + per_column, .. of the tile.
        """
        whole, more = lines // per_column, lines % per_column
        count, mean, deviations = np.float64(0), np.float64(0), np.float64(0)
        for i in range(EACH):
            n = np.float64(whole + (1 if first + i < more else 0))
            count += n
            mean += np.float64(room[place + i * step]) * n
        mean /= max(count, np.float64(1))
        for i in range(EACH):
            n = np.float64(whole + (1 if first + i < more else 0))
            d = np.float64(room[place + i * step]) - mean
            deviations += np.float64(room[place + i * step + 4 * threads]) + d * d * n
        return count, mean, deviations

    @body
    def combine_moments(room, thread, lines, left, n, head, moments, g):
        """Moments of the block's lines: ``groups`` threads merge those of a column's threads, then one.

        ::

            room    threads: means of 4 channels | deviations | groups: means | deviations | lines
        """
        column, group = thread % BN, thread // BN
        if thread < threads:
            place = np.int64(group * EACH * quads + column // 4 + column % 4 * threads)
            count, mean, deviations = merge(room, place, quads, group * EACH, lines)
            room[8 * threads + thread] = mean
            room[9 * threads + thread] = deviations
            room[10 * threads + thread] = count
        cuda.syncthreads()
        if thread < BN and left + column < np.int32(g.out_channels):
            total, deviations = np.float64(0), np.float64(0)
            for i in range(groups):
                at = thread + i * BN
                total += np.float64(room[8 * threads + at]) * np.float64(room[10 * threads + at])
            mean = total / np.float64(lines)
            for i in range(groups):
                at = thread + i * BN
                d = np.float64(room[8 * threads + at]) - mean
                deviations += np.float64(room[9 * threads + at]) + d * d * np.float64(room[10 * threads + at])
            to = np.int64(n + column) * cuda.gridDim.x + cuda.blockIdx.x
            moments[to] = np.float64(head) + mean
            moments[to + g.y_pitch * cuda.gridDim.x] = deviations

    @body
    def write(room, top, left, group, split, bias, residual, y, moments, flags, geometry):
        """Write the tile whose first position is ``top`` and whose first channel of the group is ``left``."""
        # read here once more, so that the numbers take no registers in the loop before
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        pixels, out_channels = np.int32(g.pixels), np.int32(g.out_channels)
        line, col = thread // quads, thread % quads * 4
        n = group * out_channels + left + col
        added = (zero, zero, zero, zero)
        if flags & BIAS and left + col < out_channels and flags & QUADS:
            added = load4(bias, np.int64(n))
        # lines of the tile, and of this thread
        lines = np.int32(min(BM, pixels - top))
        mine = np.int32((lines - line + per_column - 1) // per_column) if thread < threads else np.int32(0)
        end = pixels if thread < threads else np.int32(0)
        for i in range(BM // per_column):
            m = np.int32(top + line + i * per_column)
            if m < end and left + col < out_channels:
                pixel = np.int64(m)
                if not flags & DENSE:
                    pixel = output_pixel(position(m, g), g)
                to = split * g.y_size + pixel * g.y_pitch + n
                v = load4(room, np.int64((line + i * per_column) * pitch + col))
                finish(v, to, n, left + col, added, bias, residual, y, flags, g)
        if flags & MOMENTS:
            found = cuda.local.array(8, real)
            head = room[thread % BN]
            moments_of_lines(room, line, col, mine, found)
            cuda.syncthreads()
            if thread < threads:
                for q in range(8):
                    room[thread + q * threads] = found[q]
            cuda.syncthreads()
            combine_moments(room, thread, lines, left, group * out_channels + left, head, moments, g)

    return stage, write


# ------------------------------------------------------------------------------------------------- split k
ADDERS = 2 if SIMULATED else 8  # threads that add the parts of a number


@functools.cache
def _split_k_reduce(real, vector_width):
    load, store = ptx.vector_access(vector_width)

    def split_k_reduce(sums, bias, residual, y, split_k, flags, channels, n):
        out = cuda.local.array(vector_width, real)
        i, step = np.int64(cuda.grid(1)) * vector_width, np.int64(cuda.gridsize(1)) * vector_width
        while i < n:
            v = load(sums, i)
            for k in range(vector_width):
                out[k] = v[k]
            for split in range(1, split_k):
                v = load(sums, split * np.int64(n) + i)
                for k in range(vector_width):
                    out[k] += v[k]
            if flags & BIAS:
                for k in range(vector_width):
                    out[k] += bias[i % channels + k]
            if flags & RESIDUAL:
                v = load(residual, i)
                for k in range(vector_width):
                    out[k] += v[k]
            if flags & RELU:
                for k in range(vector_width):
                    out[k] = clip(out[k])
            store(y, i, out)
            i += step

    return kernel(split_k_reduce)


def split_k_reduce(
    sums: DeviceArray,
    y: DeviceArray,
    split_k: int,
    bias: DeviceArray | None = None,
    residual: DeviceArray | None = None,
    relu: bool = False,
) -> None:
    """``y`` = the sum of ``split_k`` arrays of its size, in order, then bias, residual and ReLU."""
    arrays = (sums, y) if residual is None else (sums, y, residual)
    vector_width = layout.vector_width(y.shape[-1], *arrays)
    launch(
        _split_k_reduce(y.dtype.type, vector_width),
        *grid(y.size // vector_width),
        sums,
        sums if bias is None else bias,
        sums if residual is None else residual,
        y,
        split_k,
        flags_of(bias, residual, relu),
        y.shape[-1],
        y.size,
    )


@functools.cache
def _add_kernel(real, vector_width):
    load, store = ptx.vector_access(vector_width)
    numbers = 32 * vector_width
    size = ADDERS * numbers

    @kernel(launch_bounds=ADDERS * 32)
    def add_parts(parts, y, split_k, n):
        # a lane has vector_width numbers, each warp of the block some of their parts
        room = cuda.shared.array(size, real)
        lane, warp = np.int32(cuda.threadIdx.x & 31), np.int32(cuda.threadIdx.x >> 5)
        i = np.int64(cuda.blockIdx.x) * numbers + lane * vector_width
        sums = cuda.local.array(vector_width, real)
        for k in range(vector_width):
            sums[k] = real(0)
        if i < n:
            for split in range(warp, split_k, ADDERS):
                v = load(parts, np.int64(split) * n + i)
                for k in range(vector_width):
                    sums[k] += v[k]
        for k in range(vector_width):
            room[(warp * 32 + lane) * vector_width + k] = sums[k]
        cuda.syncthreads()
        if warp == 0 and i < n:
            for w in range(1, ADDERS):
                for k in range(vector_width):
                    sums[k] += room[(w * 32 + lane) * vector_width + k]
            store(y, i, sums)

    return add_parts


def add_parts(sums: DeviceArray, y: DeviceArray, split_k: int) -> None:
    """``y`` = the sum of ``split_k`` arrays of its size, in an order that depends on ``split_k`` alone.

    For many parts of few numbers: several threads add those of one number.
    """
    vector_width = layout.vector_width(y.size, sums, y)
    blocks = -(-y.size // (32 * vector_width))
    launch(_add_kernel(y.dtype.type, vector_width), blocks, ADDERS * 32, sums, y, split_k, y.size)
