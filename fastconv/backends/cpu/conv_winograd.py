"""Winograd convolution: fewer multiplications for kernels of 3x3 to 5x5 (Lavin and Gray, arXiv:1509.09308).

An output tile of m x m needs (m + r - 1)^2 products per pair of channels instead of m^2 r^2 for r x r weights: 36 instead
of 144 with r = 3, m = 4; 16 instead of 36 with m = 2; 36 instead of 100 with r = 5. For every tile of the image::

    V = B^t d B   (input tile d)      U = G g G^t   (r x r weights g)      Y = A^t [sum over channels U * V] A

The sum over channels is, for each point p of the transformed tile, a matrix product  (tiles x C) * (C x K).

Larger kernels of stride 2 are made kernels of stride 1 (see conv_fold). Stride 2 of a 3x3 kernel is two convolutions of
stride 1 per dimension, one of the even pixels with taps 0 and 2, one of the odd pixels with tap 1. The first is Winograd's
with m + 1 points, the second stays as it is and takes m::

      pixels   0 1 2 3 4 5 6 7 8        points  e0 e1 e2 e3 e4   from pixels 0 2 4 6 8  by B^t of F(4, 2)
      taps     0 1 2                            o0 o1 o2 o3      pixels 1 3 5 7 themselves
                   0 1 2                outputs A^t (e * u) + o * w[1]

so a 4 x 4 tile of outputs takes 9^2 = 81 products instead of 144; the four odd points have one weight in common, which leaves
6^2 matrices of weights. Backward-data of stride 2 is the same for the even and odd pixels of its output.

Forward and backward-data, two orders of the loops::

    by tiles   (many tiles)                          by panels  (few tiles, many channels)
      threads share blocks of tiles                    threads share tiles:     V of ALL tiles
        V <- transform the block's tiles               threads share panels of output channels
        for each panel of output channels                for each slice of input channels
          for each point, 14 tiles: multiply               U <- transform the slice's weights, in L2
          y <- transform the panel's sums                  for each point, 14 tiles: multiply, accumulate
      V, sums and a panel of U stay in L2                y <- transform the panel's sums

Backward-weight:  dW = G^t [sum over tiles V * (A dy A^t)] G, a product (C x tiles) * (tiles x K) per point::

    by tiles: each thread sums its own tiles into its own U-shaped table (small layers: the table fits L2)
    by panels: transforms of all tiles first, then threads share (channel block, panel) pairs
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction as Q
from functools import cache, cached_property

import numpy as np

from .. import settings
from . import layout, memory, simd
from .conv_direct import L2
from .conv_fold import fold, fold_weights, folded, unfold, unfold_weights
from .conv_plan import backward_data, forward, keep, panels, sum_partials
from .dense import row_block
from .jit import body, kernel, prange, share
from .pointwise import binary_fwd
from .simd import address


# ------------------------------------------------------------------------------------------------- the matrices
def toom_cook(m: int, r: int):
    """``A^t, G, B^t`` of F(m, r): m outputs of r taps from the points 0, 1, -1, 2, -2 (as many as needed) and infinity.

    Row p of B^t holds the coefficients of the polynomial that is zero at all points but p (Lagrange's, unscaled; the
    scale is in G)."""
    points = [Q(0), Q(1), Q(-1), Q(2), Q(-2)][: m + r - 2]

    def polynomial(roots):
        coefficients = [Q(1)]
        for root in roots:
            coefficients = [a - root * b for a, b in zip([Q(0), *coefficients], [*coefficients, Q(0)])]
        return (*coefficients, *[Q(0)] * (m + r - 1 - len(coefficients)))

    others = [[q for q in points if q != p] for p in points]
    scale = [np.prod([p - q for q in rest]) for p, rest in zip(points, others)]
    a_t = [(*[p**i for p in points], Q(i == m - 1)) for i in range(m)]
    g = [*[tuple(p**k / s for k in range(r)) for p, s in zip(points, scale)], tuple(Q(k == r - 1) for k in range(r))]
    return a_t, g, [polynomial(roots) for roots in [*others, points]]


@dataclass(frozen=True, eq=False)
class Form:
    """One dimension of a pass.

    ``into`` (points x input pixels), ``weigh`` (weights x taps) and ``outof`` (output pixels x points) are the matrices;
    ``weight`` tells which weight each point is multiplied with. Tile t reads from input pixel ``step * t + origin`` (origin
    is the caller's) and writes from output pixel ``len(outof) * t``.
    """

    into: tuple
    weigh: tuple
    outof: tuple
    weight: tuple
    step: int

    @cached_property
    def planes(self) -> np.ndarray:
        """For each of the points of a two-dimensional tile: which of the two-dimensional weights it is multiplied with."""
        one = np.array(self.weight, np.int64)
        return (one[:, None] * len(self.weigh) + one).reshape(-1)

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """The points sorted by their weight, and where in this list each weight's points start."""
        points = np.argsort(self.planes, kind="stable")
        return points, np.searchsorted(self.planes[points], np.arange(len(self.weigh) ** 2 + 1))


def _unit(n, i):
    return tuple(Q(int(j == i)) for j in range(n))


def _spread(row, n, places):
    """``row`` with its entries at ``places`` of a row of ``n``."""
    wide = [Q(0)] * n
    for value, place in zip(row, places):
        wide[place] = value
    return tuple(wide)


@cache
def form(m: int, r: int, stride: int, swap: bool = False, odd: bool = False) -> Form:
    """The form of a pass of r x r kernels: forward, or backward-data if ``swap``. Stride 2 is for r = 3 (``odd``: an odd
    padding, which decides whether the even or the odd output pixels of backward-data have two taps)."""
    if stride == 1:
        a_t, g, b_t = toom_cook(m, r)
        g = [row[::-1] for row in g] if swap else g
        return Form(tuple(b_t), tuple(g), tuple(a_t), tuple(range(m + r - 1)), m)
    a_t, g, b_t = toom_cook(m, 2)
    two, n = m + 1, 2 * m + 1
    weigh = (*[_spread(row[::-1] if swap else row, 3, (0, 2)) for row in g], _unit(3, 1))
    weight = (*range(two), *[two] * m)
    if not swap:
        into = (*[_spread(row, n, range(0, n, 2)) for row in b_t], *[_unit(n, 2 * i + 1) for i in range(m)])
        outof = tuple((*row, *_unit(m, i)) for i, row in enumerate(a_t))
        return Form(into, weigh, outof, weight, 2 * m)
    into = (*b_t, *[_unit(two, i + (not odd)) for i in range(m)])
    pairs = [((*row, *[Q(0)] * m), (*[Q(0)] * two, *_unit(m, i))) for i, row in enumerate(a_t)]
    outof = tuple(row for pair in pairs for row in (reversed(pair) if odd else pair))
    return Form(tuple(into), weigh, outof, weight, m)


def _transform(matrix, dtype, transposed=False, **options) -> int:
    matrix = zip(*matrix) if transposed else matrix
    return simd.transform_address(tuple(map(tuple, matrix)), dtype, **options)


@cache
def _transforms(f: Form, dtype, channels: int, out_channels: int, adding: bool) -> tuple[int, int, int]:
    """Compiled transforms of input, weights and output, for numbers of channels; ``adding`` a residual to the output."""
    into, out = (n % simd.lanes(dtype) != 0 for n in (channels, out_channels))
    return (
        _transform(f.into, dtype, src_table=True, masked=into),
        _transform(f.weigh, dtype),
        _transform(f.outof, dtype, dst_table=True, masked=out, biased=True, adding=adding),
    )


@cache
def _gradient_transforms(f: Form, dtype, channels: int, out_channels: int) -> tuple[int, int, int]:
    """Compiled transforms of input, upstream gradient and weight gradient."""
    into, out = (n % simd.lanes(dtype) != 0 for n in (channels, out_channels))
    return (
        _transform(f.into, dtype, src_table=True, masked=into),
        _transform(f.outof, dtype, True, src_table=True, masked=out),
        _transform(f.weigh, dtype, True, dst_table=True, masked=out),
    )


# ------------------------------------------------------------------------------------------------- forward, backward-data
AHEAD = 4  # tiles between the one that is transformed and the one whose pixels are asked for


@body
def tile_table(table, at, n, base, row, column, height, width, row_bytes, column_bytes, outside):
    """Addresses of the n x n pixels at (row, column) of an image at ``base``; pixels off the image point ``outside``."""
    for i in range(n):
        for j in range(n):
            inside = 0 <= row + i < height and 0 <= column + j < width
            place = base + (row + i) * row_bytes + (column + j) * column_bytes
            table[at + i * n + j] = place if inside else outside


@body
def image_table(table, at, n, t, grid, step, origin, image, beside, outside):
    """The :func:`tile_table` of tile ``t`` of a batch of images, ``grid`` tiles in each, ``step`` pixels apart; the images
    lie ``beside`` bytes behind ``image``."""
    down, across = grid
    _, _, height, width, channels = image.shape
    size = image.itemsize
    r = t % (down * across)
    base = address(image) + beside + t // (down * across) * height * width * channels * size
    tile_table(table, at, n, base, r // across * step + origin[0], r % across * step + origin[1], height, width,
               width * channels * size, channels * size, outside)  # fmt: skip


@body
def prefetch_tile(t, grid, step, origin, image):
    """Ask for the pixels of a later tile ``t`` that the tiles before it do not read."""
    down, across = grid
    _, _, height, width, channels = image.shape
    r = t % (down * across)
    row, column = r // across * step + origin[0], r % across * step + origin[1]
    line = channels * image.itemsize
    at = address(image) + ((t // (down * across) * height + row) * width + column) * line
    for i in range(step):
        simd.prefetch(at + i * width * line, step * line)


@kernel
def _by_tiles(threads, tile, max_rows, into, outof, n, m, step, grid, planes, x, panels, bias, y, beside, relu, origin, block,
              pitch, v_all, sums_all, nowhere):  # fmt: skip
    channels, out_channels = x.shape[4], y.shape[4]
    count, weights, depth, lanes = panels.shape
    size = x.itemsize
    tiles = x.shape[0] * grid[0] * grid[1]
    blocks = (tiles + block - 1) // block
    for thread in prange(threads):
        first, end = share(thread, threads, blocks)
        v, sums = address(v_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        v_plane, sum_plane = v_all[0, 0].size * size, sums_all[0, 0].size * size
        table, targets, zero = np.empty(n * n, np.int64), np.empty(2 * block * m * m, np.int64), np.zeros(1, np.int64)
        dump = address(nowhere) + (nowhere.size // 2) * size
        for b in range(first, end):
            t0 = b * block
            here = min(block, tiles - t0)
            for t in range(here):
                prefetch_tile(t0 + t + AHEAD, grid, step, origin, x)
                image_table(table, 0, n, t0 + t, grid, step, origin, x, 0, address(nowhere))
                simd.transform(into, address(table), 0, v + t * pitch * size, v_plane, 0, channels)
                image_table(targets, t * m * m, m, t0 + t, grid, m, (0, 0), y, 0, dump)
                if beside:
                    image_table(targets, (block + t) * m * m, m, t0 + t, grid, m, (0, 0), y, beside, address(nowhere))
            for panel in range(count):
                for p in range(planes.size):
                    first_pixel, end_pixel = share(p, planes.size, here * m * m)
                    for pixel in range(first_pixel, end_pixel):
                        simd.prefetch_to_write(targets[pixel] + panel * lanes * size, lanes * size)
                    for q in range((here + max_rows - 1) // max_rows):
                        r0, r1 = row_block(here, q, max_rows)
                        simd.tile(
                            tile, r1 - r0, v + p * v_plane + r0 * pitch * size, pitch, 1, address(zero),
                            address(panels) + (panel * weights + planes[p]) * depth * lanes * size, lanes, address(zero), 1,
                            depth, sums + p * sum_plane + r0 * lanes * size, lanes, 0, 0, lanes, 0, 0,
                        )  # fmt: skip
                column = panel * lanes * size
                for t in range(here):
                    target = address(targets) + t * m * m * 8
                    simd.transform_finally(
                        outof, sums + t * lanes * size, sum_plane, target, 0, column, min(lanes, out_channels - panel * lanes),
                        address(bias) + column, target + block * m * m * 8, relu,
                    )  # fmt: skip
        table[0] = targets[0] = zero[0] = 0  # keeps them alive: only their addresses were used


@kernel
def _by_panels(threads, tile, max_rows, into, weigh, outof, n, m, step, grid, planes, x, taps, sizes, bias, y, beside, relu,
               origin, slice_, pitch, v, u_all, sums_all, nowhere):  # fmt: skip
    channels, out_channels = x.shape[4], y.shape[4]
    _, count, depth, lanes, panel_step, tap_step, row_step = sizes
    size = x.itemsize
    tiles = x.shape[0] * grid[0] * grid[1]
    v_plane = v.shape[1] * size
    targets = np.empty(2 * tiles * m * m, np.int64)
    for thread in prange(threads):
        table = np.empty(n * n, np.int64)
        first, end = share(thread, threads, tiles)
        for t in range(first, end):
            prefetch_tile(t + AHEAD, grid, step, origin, x)
            image_table(table, 0, n, t, grid, step, origin, x, 0, address(nowhere))
            simd.transform(into, address(table), 0, address(v) + t * pitch * size, v_plane, 0, channels)
            dump = address(nowhere) + (nowhere.size // 2) * size
            image_table(targets, t * m * m, m, t, grid, m, (0, 0), y, 0, dump)
            if beside:
                image_table(targets, (tiles + t) * m * m, m, t, grid, m, (0, 0), y, beside, address(nowhere))
        table[0] = 0  # keeps it alive: only its address was used
    for thread in prange(threads):
        u, sums = address(u_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        u_plane, sum_plane = u_all[0, 0].size * size, sums_all[0, 0].size * size
        zero = np.zeros(1, np.int64)
        first, end = share(thread, threads, count)
        for panel in range(first, end):
            for c0 in range(0, depth, slice_):
                part = min(slice_, depth - c0)
                for c in range(part):
                    simd.transform(weigh, address(taps) + (panel * panel_step + (c0 + c) * row_step) * size, tap_step * size,
                                   u + c * lanes * size, u_plane, 0, lanes)  # fmt: skip
                for p in range(planes.size):
                    for q in range((tiles + max_rows - 1) // max_rows):
                        r0, r1 = row_block(tiles, q, max_rows)
                        target = sums + p * sum_plane + r0 * lanes * size
                        simd.tile(
                            tile, r1 - r0, address(v) + p * v_plane + (r0 * pitch + c0) * size, pitch, 1, address(zero),
                            u + planes[p] * u_plane, lanes, address(zero), 1, part,
                            target, lanes, target if c0 > 0 else 0, lanes, lanes, 0, 0,
                        )  # fmt: skip
            column = panel * lanes * size
            for t in range(tiles):
                target = address(targets) + t * m * m * 8
                simd.transform_finally(
                    outof, sums + t * lanes * size, sum_plane, target, 0, column, min(lanes, out_channels - panel * lanes),
                    address(bias) + column, target + tiles * m * m * 8, relu,
                )  # fmt: skip
        zero[0] = 0  # keeps it alive: only its address was used
    targets[0] = 0  # likewise


@kernel
def _transform_weights(threads, weigh, taps, sizes, panels):
    size = taps.itemsize
    _, count, depth, lanes, panel_step, tap_step, row_step = sizes
    for thread in prange(threads):
        first, end = share(thread, threads, count * depth)
        for job in range(first, end):
            panel, c = job // depth, job % depth
            simd.transform(weigh, address(taps) + (panel * panel_step + c * row_step) * size, tap_step * size,
                           address(panels[panel]) + c * lanes * size, depth * lanes * size, 0, lanes)  # fmt: skip


def _odd(elements: int, lanes: int) -> int:
    """At least so many elements, in an odd number of vectors, so that many runs of them do not start in the same few cache
    sets."""
    return (-(-elements // lanes) | 1) * lanes


@keep
def _transformed(w, taps, f, weigh):
    """The weights of a form: ``panel, weight, depth, width``, from panels of ``w``."""
    transformed = memory.empty((taps.count, len(f.weigh) ** 2, taps.depth, taps.width), w.dtype)
    _transform_weights(weigh, taps.data, taps.sizes, transformed)
    return transformed


def _run(x, w, b, y, spec, phases, swap, beside, relu, m):
    dtype, threads = x.dtype, settings.get_num_threads()
    padding, stride, r = [before for before, _ in spec.padding[1:]], spec.stride[1], spec.kernel[1]
    f = form(m, r, stride, swap, swap and padding[0] % 2 == 1)
    if not swap:
        origin = tuple(-p for p in padding)
    else:
        origin = tuple(p - r + 1 if stride == 1 else p // 2 - 1 + p % 2 for p in padding)
    lanes, planes, n, points, extent = simd.lanes(dtype), f.planes, len(f.into[0]), len(f.into) ** 2, len(f.outof)
    taps = panels(w, 1, tuple(range(r * r)), swap, lanes)
    count, depth, width = taps.count, taps.depth, taps.width
    channels, out_channels = x.shape[-1], y.shape[-1]
    into, weigh, outof = _transforms(f, dtype, channels, out_channels, beside != 0)
    bias = memory.zeros((count * width,), dtype)
    if b is not None:
        bias[:out_channels] = b
    # Zeros to read off the image, then as many elements to write into off the image.
    nowhere = memory.zeros((2 * (max(channels, out_channels) + lanes),), dtype)
    grid = -(-y.shape[2] // extent), -(-y.shape[3] // extent)
    tiles = y.shape[0] * grid[0] * grid[1]
    pitch, weights = _odd(channels, lanes), len(f.weigh) ** 2
    tile = simd.tile_address(dtype, width, plain=True)
    common = n, extent, f.step, grid, planes, x
    if few_tiles(tiles, depth, count, threads):
        slice_ = min(depth, 128)
        v = memory.empty((points, _odd(tiles * pitch, lanes)), dtype)
        u = memory.empty((threads, weights, _odd(slice_ * width, lanes)), dtype)
        sums = memory.empty((threads, points, _odd(tiles * width, lanes)), dtype)
        _by_panels(tile, simd.MAX_ROWS, into, weigh, outof, *common, taps.data, taps.sizes, bias, y, beside, relu, origin,
                   slice_, pitch, v, u, sums, nowhere)  # fmt: skip
        return
    transformed = _transformed(w, taps, f, weigh)
    block = _tiles_per_block(tiles, points * (channels + width) * x.itemsize, transformed.nbytes, threads)
    v = memory.empty((threads, points, _odd(block * pitch, lanes)), dtype)
    sums = memory.empty((threads, points, _odd(block * width, lanes)), dtype)
    _by_tiles(tile, simd.MAX_ROWS, into, outof, *common, transformed, bias, y, beside, relu, origin, block, pitch, v, sums,
              nowhere)  # fmt: skip


def folds(spec) -> bool:
    """Whether it is the folded convolution that Winograd's method is applied to."""
    return spec.stride == (2, 2) and spec.kernel != (3, 3)


def inner(spec):
    """The convolution that Winograd's method is applied to."""
    return folded(spec) if folds(spec) else spec


def few_tiles(tiles: int, depth: int, panels: int, threads: int) -> bool:
    """Whether the loops run by panels: V of all tiles is less to read again than the weights, or there are too few blocks of
    tiles."""
    return tiles * 2 <= depth or (tiles < 28 * threads and panels >= threads)


def _tiles_per_block(tiles, tile_bytes, weight_bytes, threads) -> int:
    """Tiles per block: one or two times a tile's rows, as transforms and sums fit half of what the weights leave of L2, in
    equal shares."""
    fit = max(L2 - weight_bytes, L2 // 2) // 2 // tile_bytes // simd.MAX_ROWS
    shares = threads * -(-tiles // (min(max(fit, 1), 2) * simd.MAX_ROWS * threads))
    return -(-tiles // shares)


def fwd(x, w, b, spec, residual, relu, m):
    if not folds(spec):
        return forward(_run, x, w, b, spec, residual, relu, m)
    within = folded(spec)
    return forward(_run, fold(x, within), fold_weights(w, spec), b, within, residual, relu, m)


def bwd_data(gy, w, spec, residual, m):
    if not folds(spec):
        return backward_data(_run, gy, w, spec, residual, m)
    gx = unfold(backward_data(_run, gy, fold_weights(w, spec), folded(spec), None, m), spec.x_shape)
    return gx if residual is None else binary_fwd("add", gx, residual)


# ------------------------------------------------------------------------------------------------- backward-weight
@body
def transform_panels(function, table, channels, width, panel_bytes, target, plane, size):
    """Transform one tile, ``width`` channels at a time, into panels ``panel_bytes`` apart."""
    for c in range(0, channels, width):
        simd.transform(function, address(table), 0, target + c // width * panel_bytes, plane, c * size,
                       min(width, channels - c))  # fmt: skip


@body
def tiles_into_panels(t0, t1, at, n, m, step, grid, into, grad, x, gy, origin, width, block, v, v_plane, d, d_plane, table,
                      nowhere):  # fmt: skip
    """Transform tiles ``t0 .. t1`` of x and gy into V and D, which hold ``[point, panel, tile, width]``, from tile ``at``."""
    size = x.itemsize
    for t in range(t0, t1):
        place = (t - t0 + at) * width * size
        prefetch_tile(t + AHEAD, grid, step, origin, x)
        prefetch_tile(t + AHEAD, grid, m, (0, 0), gy)
        image_table(table, 0, n, t, grid, step, origin, x, 0, address(nowhere))
        transform_panels(into, table, x.shape[4], width, block * width * size, v + place, v_plane, size)
        image_table(table, 0, m, t, grid, m, (0, 0), gy, 0, address(nowhere))
        transform_panels(grad, table, gy.shape[4], width, block * width * size, d + place, d_plane, size)


@body
def weights_tile(tile, max_rows, v, v_taps, d, d_taps, taps, u, u_row, cb, kb, rows, here, block, width, first, size):
    """``U[cb, kb] (+)= sum over points V[point, cb]^t D[point, kb]`` over ``here`` tiles and the ``taps`` points of one
    weight: ``rows`` input channels x ``width`` output channels."""
    for q in range((rows + max_rows - 1) // max_rows):
        r0, r1 = row_block(rows, q, max_rows)
        target = u + r0 * u_row * size
        simd.tile(
            tile, r1 - r0, v + (cb * block * width + r0) * size, 1, width, v_taps,
            d + kb * block * width * size, width, d_taps, taps, here,
            target, u_row, 0 if first else target, u_row, width, 0, 0,
        )  # fmt: skip


@kernel
def _weights_by_tiles(threads, tile, max_rows, into, grad, back, n, m, step, grid, starts, points, x, gy, origin, width, block,
                      v_all, d_all, u_all, partials, nowhere):  # fmt: skip
    # u_all: thread, weight, C x (panels * width); partials: thread, 1, taps, C, K. The points of weight i are
    # points[starts[i] : starts[i + 1]].
    out_channels, channels = gy.shape[4], x.shape[4]
    size = x.itemsize
    tiles = gy.shape[0] * grid[0] * grid[1]
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v_all[0, 0].size, d_all[0, 0].size, u_all[0, 0].size
    u_row, taps = k_panels * width, partials.shape[2]
    for thread in prange(threads):
        me = np.int64(thread)
        v, d, u = address(v_all[me]), address(d_all[me]), address(u_all[me])
        table = np.empty(n * n, np.int64)
        v_taps, d_taps = points * v_plane, points * d_plane
        t0, t1 = share(thread, threads, tiles)
        if t0 == t1:
            partials[me] = 0
        for start in range(t0, t1, block):
            here = min(block, t1 - start)
            tiles_into_panels(start, start + here, 0, n, m, step, grid, into, grad, x, gy, origin, width, block, v,
                              v_plane * size, d, d_plane * size, table, nowhere)  # fmt: skip
            for i in range(starts.size - 1):
                for cb in range(c_panels):
                    for kb in range(k_panels):
                        weights_tile(tile, max_rows, v, address(v_taps) + starts[i] * 8, d, address(d_taps) + starts[i] * 8,
                                     starts[i + 1] - starts[i], u + (i * u_plane + cb * width * u_row + kb * width) * size,
                                     u_row, cb, kb, min(width, channels - cb * width), here, block, width, start == t0,
                                     size)  # fmt: skip
        if t1 > t0:
            part = partials[me]
            for c in range(channels):
                for q in range(taps):
                    table[q] = address(part) + (q * channels + c) * out_channels * size
                simd.transform(back, u + c * u_row * size, u_plane * size, address(table), 0, 0, out_channels)
        table[0] = v_taps[0] = d_taps[0] = 0  # keeps them alive: only their addresses were used


@kernel
def _weights_by_panels(threads, tile, max_rows, into, grad, back, n, m, step, grid, starts, points, x, gy, origin, width, v, d,
                       u_all, partials, nowhere):  # fmt: skip
    out_channels, channels = gy.shape[4], x.shape[4]
    size = x.itemsize
    tiles = gy.shape[0] * grid[0] * grid[1]
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v[0].size, d[0].size, u_all[0, 0].size
    for thread in prange(threads):
        table = np.empty(n * n, np.int64)
        t0, t1 = share(thread, threads, tiles)
        tiles_into_panels(t0, t1, t0, n, m, step, grid, into, grad, x, gy, origin, width, tiles, address(v), v_plane * size,
                          address(d), d_plane * size, table, nowhere)  # fmt: skip
        table[0] = 0  # keeps it alive: only its address was used
    part, taps = partials[0], partials.shape[2]
    for thread in prange(threads):
        u = address(u_all[np.int64(thread)])
        table = np.empty(taps, np.int64)
        v_taps, d_taps = points * v_plane, points * d_plane
        first, end = share(thread, threads, k_panels * c_panels)
        for job in range(first, end):
            kb, cb = job // c_panels, job % c_panels
            rows = min(width, channels - cb * width)
            for i in range(starts.size - 1):
                weights_tile(tile, max_rows, address(v), address(v_taps) + starts[i] * 8, address(d),
                             address(d_taps) + starts[i] * 8, starts[i + 1] - starts[i], u + i * u_plane * size, width, cb, kb,
                             rows, tiles, tiles, width, True, size)  # fmt: skip
            for c in range(rows):
                for q in range(taps):
                    table[q] = address(part) + ((q * channels + cb * width + c) * out_channels + kb * width) * size
                simd.transform(back, u + c * width * size, u_plane * size, address(table), 0, 0,
                               min(width, out_channels - kb * width))  # fmt: skip
        table[0] = v_taps[0] = d_taps[0] = 0  # keeps them alive: only their addresses were used


def sums_fit(weights: int, panels: int) -> bool:
    """Whether a thread's sums of the gradient fit L2: ``panels`` squares of two vectors' lanes for each of ``weights``."""
    return weights * panels * (2 * simd.lanes(np.float32)) ** 2 * 4 <= L2


def bwd_weight(x, gy, spec, m):
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    if folds(spec):
        within = folded(spec)
        return unfold_weights(bwd_weight(fold(x, within), gy, within, m), spec)
    shape, spec = spec.w_shape, spec.lifted()
    x, gy = layout.lift(x), layout.lift(gy)
    dtype, threads = x.dtype, settings.get_num_threads()
    f, taps = form(m, spec.kernel[1], spec.stride[1]), spec.kernel[1] ** 2
    lanes = simd.lanes(dtype)
    width = 2 * lanes
    into, grad, back = _gradient_transforms(f, dtype, spec.c_in, spec.c_out)
    tile = simd.tile_address(dtype, width, plain=True)
    origin = tuple(-before for before, _ in spec.padding[1:])
    nowhere = memory.zeros((max(spec.c_in, spec.c_out) + width,), dtype)
    grid = -(-spec.out_size[1] // m), -(-spec.out_size[2] // m)
    tiles = spec.batch * grid[0] * grid[1]
    points, starts = f.points
    c_panels, k_panels = -(-spec.c_in // width), -(-spec.c_out // width)
    weights = len(f.weigh) ** 2
    common = simd.MAX_ROWS, into, grad, back, len(f.into[0]), m, f.step, grid, starts, points, x, gy, origin, width
    if sums_fit(weights, c_panels * k_panels) or c_panels * k_panels < threads:
        block = max(L2 // (points.size * (c_panels + k_panels) * width * dtype.itemsize), 8)
        block = min(block, -(-tiles // threads))
        v = memory.empty((threads, points.size, _odd(c_panels * block * width, lanes)), dtype)
        d = memory.empty((threads, points.size, _odd(k_panels * block * width, lanes)), dtype)
        u = memory.empty((threads, weights, _odd(c_panels * width * k_panels * width, lanes)), dtype)
        partials = memory.empty((threads, 1, taps, spec.c_in, spec.c_out), dtype)
        _weights_by_tiles(tile, *common, block, v, d, u, partials, nowhere)
    else:
        v = memory.empty((points.size, _odd(c_panels * tiles * width, lanes)), dtype)
        d = memory.empty((points.size, _odd(k_panels * tiles * width, lanes)), dtype)
        u = memory.empty((threads, weights, _odd(width * width, lanes)), dtype)
        partials = memory.empty((1, 1, taps, spec.c_in, spec.c_out), dtype)
        _weights_by_panels(tile, *common, v, d, u, partials, nowhere)
    return sum_partials(partials, spec, shape)
