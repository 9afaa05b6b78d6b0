"""Winograd convolution F(m x m, 3x3): fewer multiplications for 3x3, stride 1 (Lavin and Gray, arXiv:1509.09308).

An output tile of m x m needs (m + 2)^2 products per pair of channels instead of 9 m^2: 36 instead of 144 for m = 4, 16
instead of 36 for m = 2. With n = m + 2, and for every tile of the image::

    V = B^t d B   (n x n input tile)      U = G g G^t   (3 x 3 weights)      Y = A^t [sum over channels U * V] A

The sum over channels is, for each of the n^2 points p, a matrix product  (tiles x C) * (C x K).

Forward and backward-data (the same with rotated, transposed weights), two orders of the loops::

    by tiles   (many tiles)                          by panels  (few tiles, many channels)
      threads share blocks of tiles                    threads share tiles:     V of ALL tiles
        V <- transform the block's tiles               threads share panels of output channels
        for each point, panel, 14 tiles: multiply        for each slice of input channels
        y <- transform the block's sums                    U <- transform the slice's weights, in L2
      V, sums and a panel of U stay in L2                  for each point, 14 tiles: multiply, accumulate
                                                         y <- transform the panel's sums

Backward-weight:  dW = G^t [sum over tiles V * (A dy A^t)] G, a product (C x tiles) * (tiles x K) per point::

    by tiles: each thread sums its own tiles into its own U-shaped table (small layers: the table fits L2)
    by panels: transforms of all tiles first, then threads share (channel block, panel) pairs
"""

from __future__ import annotations

from fractions import Fraction as Q
from functools import partial

import numpy as np

from .. import settings
from . import layout, memory, simd
from .conv_plan import backward_data, forward, pack, sum_partials
from .dense import row_block
from .jit import body, kernel, prange, share
from .simd import address

#: m -> (A^t, G, B^t). Points 0, 1, -1, infinity for m = 2, and 2, -2 besides for m = 4.
MATRICES = {
    2: (
        ((1, 1, 1, 0), (0, 1, -1, 1)),
        ((1, 0, 0), (Q(1, 2), Q(1, 2), Q(1, 2)), (Q(1, 2), Q(-1, 2), Q(1, 2)), (0, 0, 1)),
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    ),
    4: (
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
        ((Q(1, 4), 0, 0), (Q(-1, 6), Q(-1, 6), Q(-1, 6)), (Q(-1, 6), Q(1, 6), Q(-1, 6)),
         (Q(1, 24), Q(1, 12), Q(1, 6)), (Q(1, 24), Q(-1, 12), Q(1, 6)), (0, 0, 1)),
        ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
         (0, 4, 0, -5, 0, 1)),
    ),
}  # fmt: skip


def _transpose(matrix):
    return tuple(zip(*matrix))


def _transform(matrix, dtype, src_table=False, dst_table=False, masked=False, biased=False) -> int:
    return simd.transform_address(tuple(map(tuple, matrix)), np.dtype(dtype), src_table, dst_table, masked, biased)


@body
def tile_table(table, n, base, row, column, height, width, row_bytes, column_bytes, outside):
    """Addresses of the n x n pixels at (row, column) of an image at ``base``; pixels off the image point ``outside``."""
    for i in range(n):
        for j in range(n):
            inside = 0 <= row + i < height and 0 <= column + j < width
            at = base + (row + i) * row_bytes + (column + j) * column_bytes
            table[i * n + j] = at if inside else outside


@kernel
def _by_tiles(threads, tile, max_rows, into, outof, m, x, panels, bias, y, origin, block, v_all, sums_all, nowhere):
    images, _, height, width, channels = x.shape
    _, _, out_height, out_width, out_channels = y.shape
    points, count, depth, lanes = panels.shape
    n, size = m + 2, x.itemsize
    down, across = (out_height + m - 1) // m, (out_width + m - 1) // m
    tiles = images * down * across
    blocks = (tiles + block - 1) // block
    pitch = v_all.shape[3]
    for thread in prange(threads):
        first, end = share(thread, threads, blocks)
        v, sums = address(v_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        v_plane, sum_plane = v_all[0, 0].size * size, sums_all[0, 0].size * size
        table, zero = np.empty(n * n, np.int64), np.zeros(1, np.int64)
        for b in range(first, end):
            t0 = b * block
            here = min(block, tiles - t0)
            for t in range(here):
                image, r = (t0 + t) // (down * across), (t0 + t) % (down * across)
                tile_table(table, n, address(x) + image * height * width * channels * size, r // across * m + origin[0],
                           r % across * m + origin[1], height, width, width * channels * size, channels * size,
                           address(nowhere))  # fmt: skip
                simd.transform(into, address(table), 0, v + t * pitch * size, v_plane, 0, channels)
            for p in range(points):
                for panel in range(count):
                    for q in range((here + max_rows - 1) // max_rows):
                        r0, r1 = row_block(here, q, max_rows)
                        simd.tile(
                            tile, r1 - r0, v + p * v_plane + r0 * pitch * size, pitch, 1, address(zero),
                            address(panels) + (p * count + panel) * depth * lanes * size, lanes, address(zero), 1, depth,
                            sums + p * sum_plane + (r0 * count + panel) * lanes * size, count * lanes, 0, 0, lanes,
                        )  # fmt: skip
            for t in range(here):
                image, r = (t0 + t) // (down * across), (t0 + t) % (down * across)
                tile_table(table, m, address(y) + image * out_height * out_width * out_channels * size, r // across * m,
                           r % across * m, out_height, out_width, out_width * out_channels * size, out_channels * size,
                           address(nowhere) + (nowhere.size // 2) * size)  # fmt: skip
                simd.transform(outof, sums + t * count * lanes * size, sum_plane, address(table), 0, address(bias),
                               out_channels)  # fmt: skip
        table[0] = zero[0] = 0  # keeps them alive: only their addresses were used


@kernel
def _by_panels(threads, tile, max_rows, into, weigh, outof, m, x, taps, bias, y, origin, slice_, v, u_all, sums_all, nowhere):
    images, _, height, width, channels = x.shape
    _, _, out_height, out_width, out_channels = y.shape
    count, _, depth, lanes = taps.shape
    n, size = m + 2, x.itemsize
    points = n * n
    down, across = (out_height + m - 1) // m, (out_width + m - 1) // m
    tiles = images * down * across
    pitch, v_plane = v.shape[2], v[0].size * size
    for thread in prange(threads):
        table = np.empty(points, np.int64)
        first, end = share(thread, threads, tiles)
        for t in range(first, end):
            image, r = t // (down * across), t % (down * across)
            tile_table(table, n, address(x) + image * height * width * channels * size, r // across * m + origin[0],
                       r % across * m + origin[1], height, width, width * channels * size, channels * size,
                       address(nowhere))  # fmt: skip
            simd.transform(into, address(table), 0, address(v) + t * pitch * size, v_plane, 0, channels)
        table[0] = 0  # keeps it alive: only its address was used
    for thread in prange(threads):
        u, sums = address(u_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        u_plane, sum_plane = u_all[0, 0].size * size, sums_all[0, 0].size * size
        table, zero = np.empty(points, np.int64), np.zeros(1, np.int64)
        first, end = share(thread, threads, count)
        for panel in range(first, end):
            for c0 in range(0, depth, slice_):
                part = min(slice_, depth - c0)
                for c in range(part):
                    simd.transform(weigh, address(taps) + (panel * 9 * depth + c0 + c) * lanes * size, depth * lanes * size,
                                   u + c * lanes * size, u_plane, 0, lanes)  # fmt: skip
                for p in range(points):
                    for q in range((tiles + max_rows - 1) // max_rows):
                        r0, r1 = row_block(tiles, q, max_rows)
                        target = sums + p * sum_plane + r0 * lanes * size
                        simd.tile(
                            tile, r1 - r0, address(v) + p * v_plane + (r0 * pitch + c0) * size, pitch, 1, address(zero),
                            u + p * u_plane, lanes, address(zero), 1, part,
                            target, lanes, target if c0 > 0 else 0, lanes, lanes,
                        )  # fmt: skip
            used = min(lanes, out_channels - panel * lanes)
            for t in range(tiles):
                image, r = t // (down * across), t % (down * across)
                base = address(y) + (image * out_height * out_width * out_channels + panel * lanes) * size
                tile_table(table, m, base, r // across * m, r % across * m, out_height, out_width,
                           out_width * out_channels * size, out_channels * size,
                           address(nowhere) + (nowhere.size // 2) * size)  # fmt: skip
                simd.transform(outof, sums + t * lanes * size, sum_plane, address(table), 0,
                               address(bias) + panel * lanes * size, used)  # fmt: skip
        table[0] = zero[0] = 0  # keeps them alive: only their addresses were used


@kernel
def _transform_weights(threads, weigh, taps, panels):
    points, count, depth, lanes = panels.shape
    size = taps.itemsize
    for thread in prange(threads):
        first, end = share(thread, threads, count * depth)
        for job in range(first, end):
            panel, c = job // depth, job % depth
            simd.transform(weigh, address(taps) + (panel * 9 * depth + c) * lanes * size, depth * lanes * size,
                           address(panels) + job * lanes * size, panels[0].size * size, 0, lanes)  # fmt: skip


def _pitch(channels: int, dtype) -> int:
    """Whole vectors of channels, plus one so that rows do not all start in the same cache set."""
    lanes = simd.lanes(dtype)
    return -(-channels // lanes) * lanes + lanes


def _run(x, w, b, y, spec, phases, swap, m):
    (phase,) = phases  # stride 1
    dtype, threads, n = x.dtype, settings.get_num_threads(), m + 2
    a_t, g, b_t = MATRICES[m]
    lanes = simd.lanes(dtype)
    packed = pack(w, spec, phase, swap, least=lanes)
    taps, tile = packed.data[0], packed.tile
    count, _, depth, width = taps.shape
    channels, out_channels = x.shape[-1], y.shape[-1]
    into = _transform(b_t, dtype, src_table=True, masked=channels % lanes != 0)
    weigh = _transform(g, dtype)
    outof = _transform(a_t, dtype, dst_table=True, masked=out_channels % lanes != 0, biased=True)
    bias = memory.zeros((count * width,), dtype)
    if b is not None:
        bias[:out_channels] = b
    # Zeros to read off the image, then as many elements to write into off the image.
    nowhere = memory.zeros((2 * (max(channels, out_channels) + lanes),), dtype)
    origin = (int(phase.offsets[1][0]), int(phase.offsets[2][0]))
    tiles = y.shape[0] * -(-y.shape[2] // m) * -(-y.shape[3] // m)
    pitch, points = _pitch(channels, dtype), n * n
    if tiles * 8 < depth or (tiles < 28 * threads and count >= threads):
        slice_ = min(depth, 128)
        v = memory.empty((points, tiles, pitch), dtype)
        u = memory.empty((threads, points, slice_ * width + lanes), dtype)
        sums = memory.empty((threads, points, tiles * width + lanes), dtype)
        _by_panels(tile, simd.MAX_ROWS, into, weigh, outof, m, x, taps, bias, y, origin, slice_, v, u, sums, nowhere)
        return
    panels = memory.empty((points, count, depth, width), dtype)
    _transform_weights(weigh, taps, panels)
    block = _tiles_per_block(tiles, channels, count * width, points, threads, x.itemsize)
    v = memory.empty((threads, points, block, pitch), dtype)
    sums = memory.empty((threads, points, block * count * width + lanes), dtype)
    _by_tiles(tile, simd.MAX_ROWS, into, outof, m, x, panels, bias, y, origin, block, v, sums, nowhere)


def _tiles_per_block(tiles, channels, out_channels, points, threads, itemsize) -> int:
    """Tiles per block: transforms and sums in half of L2, a multiple of the tile's rows, an equal share of blocks."""
    fit = (1 << 19) // (points * (channels + out_channels) * itemsize)
    fit = max(fit // simd.MAX_ROWS, 1) * simd.MAX_ROWS
    shares = threads * -(-tiles // (fit * threads))
    return -(-tiles // shares)


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)


# ------------------------------------------------------------------------------------------------- backward-weight
@body
def transform_panels(function, table, channels, width, panel_bytes, target, plane, size):
    """Transform one tile, ``width`` channels at a time, into panels ``panel_bytes`` apart."""
    for c in range(0, channels, width):
        simd.transform(function, address(table), 0, target + c // width * panel_bytes, plane, 0, min(width, channels - c))
        for q in range(table.size):
            table[q] += width * size


@body
def tiles_into_panels(t0, t1, at, m, into, grad, x, gy, origin, width, block, v, v_plane, d, d_plane, table, small, nowhere):
    """Transform tiles ``t0 .. t1`` of x and gy into V and D, which hold ``[point, panel, tile, width]``, from tile ``at``."""
    _, _, height, x_width, channels = x.shape
    _, _, out_height, out_width, out_channels = gy.shape
    size, n = x.itemsize, m + 2
    down, across = (out_height + m - 1) // m, (out_width + m - 1) // m
    for t in range(t0, t1):
        image, r = t // (down * across), t % (down * across)
        i, j = r // across * m, r % across * m
        place = (t - t0 + at) * width * size
        tile_table(table, n, address(x) + image * height * x_width * channels * size, i + origin[0], j + origin[1], height,
                   x_width, x_width * channels * size, channels * size, address(nowhere))  # fmt: skip
        transform_panels(into, table, channels, width, block * width * size, v + place, v_plane, size)
        tile_table(small, m, address(gy) + image * out_height * out_width * out_channels * size, i, j, out_height, out_width,
                   out_width * out_channels * size, out_channels * size, address(nowhere))  # fmt: skip
        transform_panels(grad, small, out_channels, width, block * width * size, d + place, d_plane, size)


@body
def weights_tile(tile, max_rows, v, d, u, u_row, u_plane, p, cb, kb, rows, here, block, v_plane, d_plane, width, first, zero,
                 size):  # fmt: skip
    """``U[p, cb, kb] (+)= V[p, cb]^t D[p, kb]`` over ``here`` tiles: ``rows`` input channels x ``width`` output channels."""
    for q in range((rows + max_rows - 1) // max_rows):
        r0, r1 = row_block(rows, q, max_rows)
        target = u + p * u_plane + r0 * u_row * size
        simd.tile(
            tile, r1 - r0, v + p * v_plane + (cb * block * width + r0) * size, 1, width, address(zero),
            d + p * d_plane + kb * block * width * size, width, address(zero), 1, here,
            target, u_row, 0 if first else target, u_row, width,
        )  # fmt: skip


@kernel
def _weights_by_tiles(threads, tile, max_rows, into, grad, back, m, x, gy, origin, width, block, v_all, d_all, u_all, partials,
                      nowhere):  # fmt: skip
    # u_all: thread, point, C x (panels * width); partials: thread, 9, C, K
    out_channels, channels = gy.shape[4], x.shape[4]
    size, n = x.itemsize, m + 2
    tiles = gy.shape[0] * ((gy.shape[2] + m - 1) // m) * ((gy.shape[3] + m - 1) // m)
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v_all[0, 0].size * size, d_all[0, 0].size * size, u_all[0, 0].size * size
    u_row = k_panels * width
    for thread in prange(threads):
        me = np.int64(thread)
        v, d, u = address(v_all[me]), address(d_all[me]), address(u_all[me])
        table, small, zero = np.empty(n * n, np.int64), np.empty(m * m, np.int64), np.zeros(1, np.int64)
        t0, t1 = share(thread, threads, tiles)
        if t0 == t1:
            partials[me] = 0
        for start in range(t0, t1, block):
            here = min(block, t1 - start)
            tiles_into_panels(start, start + here, 0, m, into, grad, x, gy, origin, width, block, v, v_plane, d, d_plane,
                              table, small, nowhere)  # fmt: skip
            for p in range(n * n):
                for cb in range(c_panels):
                    for kb in range(k_panels):
                        weights_tile(tile, max_rows, v, d, u + (cb * width * u_row + kb * width) * size, u_row, u_plane, p, cb,
                                     kb, min(width, channels - cb * width), here, block, v_plane, d_plane, width, start == t0,
                                     zero, size)  # fmt: skip
        if t1 > t0:
            part = partials[me]
            for c in range(channels):
                for q in range(9):
                    table[q] = address(part) + (q * channels + c) * out_channels * size
                simd.transform(back, u + c * u_row * size, u_plane, address(table), 0, 0, out_channels)
        table[0] = small[0] = zero[0] = 0  # keeps them alive: only their addresses were used


@kernel
def _weights_by_panels(threads, tile, max_rows, into, grad, back, m, x, gy, origin, width, v, d, u_all, partials, nowhere):
    out_channels, channels = gy.shape[4], x.shape[4]
    size, n = x.itemsize, m + 2
    tiles = gy.shape[0] * ((gy.shape[2] + m - 1) // m) * ((gy.shape[3] + m - 1) // m)
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v[0].size * size, d[0].size * size, u_all[0, 0].size * size
    for thread in prange(threads):
        table, small = np.empty(n * n, np.int64), np.empty(m * m, np.int64)
        t0, t1 = share(thread, threads, tiles)
        tiles_into_panels(t0, t1, t0, m, into, grad, x, gy, origin, width, tiles, address(v), v_plane, address(d), d_plane,
                          table, small, nowhere)  # fmt: skip
        table[0] = small[0] = 0  # keeps them alive: only their addresses were used
    part = partials[0]
    for thread in prange(threads):
        u = address(u_all[np.int64(thread)])
        table, zero = np.empty(9, np.int64), np.zeros(1, np.int64)
        first, end = share(thread, threads, k_panels * c_panels)
        for job in range(first, end):
            kb, cb = job // c_panels, job % c_panels
            rows = min(width, channels - cb * width)
            for p in range(n * n):
                weights_tile(tile, max_rows, address(v), address(d), u, width, u_plane, p, cb, kb, rows, tiles, tiles, v_plane,
                             d_plane, width, True, zero, size)  # fmt: skip
            for c in range(rows):
                for q in range(9):
                    table[q] = address(part) + ((q * channels + cb * width + c) * out_channels + kb * width) * size
                simd.transform(back, u + c * width * size, u_plane, address(table), 0, 0,
                               min(width, out_channels - kb * width))  # fmt: skip
        table[0] = zero[0] = 0  # keeps them alive: only their addresses were used


def bwd_weight(x, gy, spec, m):
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    shape, spec = spec.w_shape, spec.lifted()
    x, gy = layout.lift(x), layout.lift(gy)
    dtype, threads, points = x.dtype, settings.get_num_threads(), (m + 2) ** 2
    a_t, g, b_t = MATRICES[m]
    lanes = simd.lanes(dtype)
    width = 2 * lanes
    into = _transform(b_t, dtype, src_table=True, masked=spec.c_in % lanes != 0)
    grad = _transform(_transpose(a_t), dtype, src_table=True, masked=spec.c_out % lanes != 0)
    back = _transform(_transpose(g), dtype, dst_table=True, masked=spec.c_out % lanes != 0)
    tile = simd.tile_address(dtype, width)
    origin = (-spec.padding[1][0], -spec.padding[2][0])
    nowhere = memory.zeros((max(spec.c_in, spec.c_out) + width,), dtype)
    tiles = spec.batch * -(-spec.out_size[1] // m) * -(-spec.out_size[2] // m)
    c_panels, k_panels = -(-spec.c_in // width), -(-spec.c_out // width)
    if points * c_panels * k_panels * width * width * dtype.itemsize <= 1 << 20 or c_panels * k_panels < threads:
        block = max((1 << 18) // (points * (c_panels + k_panels) * width * dtype.itemsize), 8)
        block = min(block, -(-tiles // threads))
        v = memory.empty((threads, points, c_panels * block * width + lanes), dtype)
        d = memory.empty((threads, points, k_panels * block * width + lanes), dtype)
        u = memory.empty((threads, points, c_panels * width * k_panels * width + lanes), dtype)
        partials = memory.empty((threads, 1, 9, spec.c_in, spec.c_out), dtype)
        _weights_by_tiles(tile, simd.MAX_ROWS, into, grad, back, m, x, gy, origin, width, block, v, d, u, partials, nowhere)
    else:
        v = memory.empty((points, c_panels * tiles * width + lanes), dtype)
        d = memory.empty((points, k_panels * tiles * width + lanes), dtype)
        u = memory.empty((threads, points, width * width + lanes), dtype)
        partials = memory.empty((1, 1, 9, spec.c_in, spec.c_out), dtype)
        _weights_by_panels(tile, simd.MAX_ROWS, into, grad, back, m, x, gy, origin, width, v, d, u, partials, nowhere)
    return sum_partials(partials, spec, shape)
