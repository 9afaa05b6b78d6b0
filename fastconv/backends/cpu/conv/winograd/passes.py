"""Winograd convolution: fewer multiplications for kernels of 3x3 to 5x5 (Lavin and Gray, arXiv:1509.09308).

An output tile of m x m needs (m + r - 1)^2 products per pair of channels instead of m^2 r^2 for r x r
weights: 36 instead
of 144 with r = 3, m = 4; 16 instead of 36 with m = 2; 36 instead of 100 with r = 5. For every tile of the image::

    V = B^t d B   (input tile d)      U = G g G^t   (r x r weights g)      Y = A^t [sum over channels U * V] A

The sum over channels is, for each point p of the transformed tile, a matrix product  (tiles x C) * (C x K).

Larger kernels of stride 2 are made kernels of stride 1 (see conv_fold). Stride 2 of a 3x3 kernel is two
convolutions of stride 1 per dimension, one of the even pixels with taps 0 and 2, one of the odd pixels with
tap 1. The first is Winograd's
with m + 1 points, the second stays as it is and takes m::

      pixels   0 1 2 3 4 5 6 7 8        points  e0 e1 e2 e3 e4   from pixels 0 2 4 6 8  by B^t of F(4, 2)
      taps     0 1 2                            o0 o1 o2 o3      pixels 1 3 5 7 themselves
                   0 1 2                outputs A^t (e * u) + o * w[1]

so a 4 x 4 tile of outputs takes 9^2 = 81 products instead of 144; the four odd points have one weight in
common, which leaves 6^2 matrices of weights. Backward-data of stride 2 is the same for the even and odd
pixels of its output.

Forward and backward-data, two orders of the loops::

    by tiles   (many tiles)                          by panels  (few tiles, many channels)
      threads share blocks of tiles                    threads share tiles:     V of ALL tiles
        V <- transform the block's tiles               threads share panels of output channels
        for each panel of output channels                for each slice of input channels
          for each point, 14 tiles: multiply               U <- transform the slice's weights, in L2
          y <- transform the panel's sums                  for each point, 14 tiles: multiply, accumulate
      V, sums and a panel of U stay in L2                y <- transform the panel's sums

Backward-weight:  dW = G^t [sum over tiles V * (A dy A^t)] G, a product (C x tiles) * (tiles x K) per point::

    by tiles: each thread sums its own tiles, block by block, into its own table in the shape of U (many
    tiles, a small table) by panels: transforms of all tiles first, then threads share (channel block, panel)
    pairs
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from types import SimpleNamespace

import numpy as np

from fastconv.backends import settings
from fastconv.backends.cpu.codegen import emitter, gemm_tile, transforms
from fastconv.backends.cpu.codegen.emitter import address
from fastconv.backends.cpu.codegen.gemm_tile import ONE_TAP
from fastconv.backends.cpu.codegen.jit import body, kernel, prange, split_range
from fastconv.backends.cpu.ops.pointwise import binary_fwd
from fastconv.backends.cpu.runtime import layout, memory
from fastconv.backends.cpu.runtime.scratch import per_thread

from ..direct import L2
from ..passes import Prepacked, arranged, backward_data, forward, keep, panels, sum_partials
from ..space_to_depth import fold, fold_weights, folded, unfold, unfold_weights
from .transforms import Form, Tiling, tiling_of


# ------------------------------------------------------------------------------------------------- compiled
# transforms
def _transform(down, across, dtype, transposed=False, **options) -> int:
    if transposed:
        down, across = zip(*down), zip(*across)
    return transforms.transform_address(tuple(map(tuple, down)), tuple(map(tuple, across)), dtype, **options)


def _transforms(cut: Tiling, dtype, channels: int, out_channels: int, adding: bool):
    """Compiled transforms of input and output for each kind of tile, between them that of weights, for
    numbers of channels; ``adding`` a residual to the output."""
    masked_into, masked_outof = (n % emitter.lanes(dtype) != 0 for n in (channels, out_channels))
    return (
        tuple(_transform(d.into, a.into, dtype, src_table=True, masked=masked_into) for d, a in cut.kinds),
        _transform(cut.form.weigh, cut.form.weigh, dtype),
        tuple(
            _transform(
                d.outof, a.outof, dtype, dst_table=True, masked=masked_outof, biased=True, adding=adding
            )
            for d, a in cut.kinds
        ),
    )


def _gradient_transforms(cut: Tiling, dtype, channels: int, out_channels: int):
    """Compiled transforms of input and upstream gradient for each kind of tile, and of the weight
    gradient."""
    masked_into, masked_outof = (n % emitter.lanes(dtype) != 0 for n in (channels, out_channels))
    return (
        tuple(_transform(d.into, a.into, dtype, src_table=True, masked=masked_into) for d, a in cut.kinds),
        tuple(
            _transform(d.outof, a.outof, dtype, True, src_table=True, masked=masked_outof)
            for d, a in cut.kinds
        ),
        _transform(cut.form.weigh, cut.form.weigh, dtype, True, dst_table=True, masked=masked_outof),
    )


# ------------------------------------------------------------------------------------------------- forward,
# backward-data
AHEAD = 4  # tiles between the one that is transformed and the one whose pixels are asked for
ROWS_AHEAD = 8  # the same for rows of weights


@body
def tile_table(table, at, n, base, row, column, height, width, row_bytes, column_bytes, outside):
    """Addresses of the n x n pixels at (row, column) of an image at ``base``; pixels off the image point
    ``outside``."""
    for i in range(n):
        for j in range(n):
            inside = 0 <= row + i < height and 0 <= column + j < width
            place = base + (row + i) * row_bytes + (column + j) * column_bytes
            table[at + i * n + j] = place if inside else outside


@body(inline=True)
def image_table(table, at, n, t, grid, step, origin, image, beside, outside):
    """The :func:`tile_table` of tile ``t`` of a batch of images, ``grid`` tiles in each, ``step`` pixels
    apart; the images lie ``beside`` bytes behind ``image``."""
    down, across = grid
    _, _, height, width, channels = image.shape
    size = image.itemsize
    r = t % (down * across)
    base = address(image) + beside + t // (down * across) * height * width * channels * size
    tile_table(
        table,
        at,
        n,
        base,
        r // across * step + origin[0],
        r % across * step + origin[1],
        height,
        width,
        width * channels * size,
        channels * size,
        outside,
    )


@body(inline=True)
def kind_of(t, grid):
    """The kind of tile ``t`` (see winograd_forms)."""
    down, across = grid
    r = t % (down * across)
    last = int(r % across == across - 1)
    return 2 + last if r // across == down - 1 else 1 - last


@body
def sort_tiles(first, end, grid, kinds, places, starts):
    """Sort tiles ``first .. end`` by kind: those of kind k get the places ``starts[k] .. starts[k + 1]``."""
    starts[:] = 0
    for t in range(end - first):
        kinds[t] = kind_of(first + t, grid)
        starts[kinds[t] + 2] += 1
    for k in range(2, 5):
        starts[k + 1] += starts[k]
    for t in range(end - first):  # where a kind starts becomes where it ends
        places[t] = starts[kinds[t] + 1]
        starts[kinds[t] + 1] += 1


@body(inline=True)
def tile_tables(row, n, tiles):
    """A thread's tables, one behind the other in ``row``: n x n addresses of pixels, where the kinds of tiles
    start, the kinds and places of ``tiles`` (see :func:`sort_tiles`), and what is left of ``row``."""
    kinds = n * n + 6
    return (
        row[: n * n],
        row[n * n : kinds],
        row[kinds : kinds + tiles],
        row[kinds + tiles : kinds + 2 * tiles],
        row[kinds + 2 * tiles :],
    )


@body(inline=True)
def prefetch_tile(t, grid, step, origin, image):
    """Ask for the pixels of a later tile ``t`` that the tiles before it do not read."""
    down, across = grid
    _, _, height, width, channels = image.shape
    r = t % (down * across)
    row, column = r // across * step + origin[0], r % across * step + origin[1]
    line = channels * image.itemsize
    at = address(image) + ((t // (down * across) * height + row) * width + column) * line
    for i in range(step):
        emitter.prefetch(at + i * width * line, step * line)


@kernel
def _by_tiles(
    threads,
    tile,
    into,
    outof,
    n,
    m,
    step,
    grid,
    planes,
    spans,
    origin,
    pitch,
    nowhere,
    block,
    panels,
    x,
    bias,
    y,
    beside,
    relu,
    v_all,
    sums_all,
    tables,
):
    channels, out_channels = x.shape[4], y.shape[4]
    count, weights, depth, width = panels.shape
    size = x.itemsize
    tiles = x.shape[0] * grid[0] * grid[1]
    blocks = (tiles + block - 1) // block
    for thread in prange(threads):
        first, end = split_range(thread, threads, blocks)
        v, sums = address(v_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        v_plane, sum_plane = v_all[0, 0].size * size, sums_all[0, 0].size * size
        table, starts, kinds, places, rest = tile_tables(tables[thread], n, block)
        targets = rest[: 2 * block * m * m]
        one_tap = address(ONE_TAP)
        dump = address(nowhere) + (nowhere.size // 2) * size
        for b in range(first, end):
            t0 = b * block
            here = min(block, tiles - t0)
            sort_tiles(t0, t0 + here, grid, kinds, places, starts)
            for t in range(here):
                prefetch_tile(t0 + t + AHEAD, grid, step, origin, x)
                image_table(table, 0, n, t0 + t, grid, step, origin, x, 0, address(nowhere))
                transforms.transform(
                    into[kinds[t]], address(table), 0, v + places[t] * pitch * size, v_plane, 0, channels
                )
                image_table(targets, t * m * m, m, t0 + t, grid, m, (0, 0), y, 0, dump)
                if beside:
                    image_table(
                        targets, (block + t) * m * m, m, t0 + t, grid, m, (0, 0), y, beside, address(nowhere)
                    )
            for panel in range(count):
                for p in range(planes.size):
                    first_pixel, end_pixel = split_range(p, planes.size, here * m * m)
                    for pixel in range(first_pixel, end_pixel):
                        emitter.prefetch_to_write(targets[pixel] + panel * width * size, width * size)
                    start, stop = starts[spans[p, 0]], starts[spans[p, 1]]
                    gemm_tile.tile(
                        tile,
                        stop - start,
                        v + p * v_plane + start * pitch * size,
                        pitch,
                        1,
                        one_tap,
                        address(panels) + (panel * weights + planes[p]) * depth * width * size,
                        width,
                        one_tap,
                        1,
                        depth,
                        sums + p * sum_plane + start * width * size,
                        width,
                        0,
                        0,
                        width,
                        0,
                        0,
                    )
                column = panel * width * size
                for t in range(here):
                    target = address(targets) + t * m * m * 8
                    transforms.transform_finally(
                        outof[kinds[t]],
                        sums + places[t] * width * size,
                        sum_plane,
                        target,
                        0,
                        column,
                        min(width, out_channels - panel * width),
                        address(bias) + column,
                        target + block * m * m * 8,
                        relu,
                    )


@body
def transform_weights(weigh, turn, lanes, kernel, taps, sizes, panel, first, end, u, u_plane, block, table):
    """U of rows ``first .. end`` of a panel of weights. ``turn``: the address of the transposition of those
    that lie with the rows as the fastest axis, a ``block`` of ``lanes`` rows at a time, by a ``table`` of
    ``lanes`` addresses; else 0."""
    _, _, width, panel_step, tap_step, row_step, column_step = sizes
    size = block.itemsize
    start = address(taps) + panel * panel_step * size
    if not turn:
        for c in range(first, end):
            at = start + c * row_step * size
            for t in range(kernel):
                emitter.prefetch(at + (t * tap_step + ROWS_AHEAD * row_step) * size, width * size)
            transforms.transform(
                weigh, at, tap_step * size, u + (c - first) * width * size, u_plane, 0, width
            )
        return
    line = column_step * size
    for c in range(first, end, lanes):
        for t in range(kernel):
            for column in range(0, width, lanes):
                at = start + (t * tap_step + c) * size + column * line
                for q in range(lanes):
                    table[q] = address(block) + ((q * kernel + t) * width + column) * size
                    emitter.prefetch(at + lanes * size + q * line, 1)
                transforms.transpose(turn, at, line, address(table))
        for q in range(lanes):
            transforms.transform(
                weigh,
                address(block) + q * kernel * width * size,
                width * size,
                u + (c - first + q) * width * size,
                u_plane,
                0,
                width,
            )


@kernel
def _by_panels(
    threads,
    tile,
    into,
    outof,
    n,
    m,
    step,
    grid,
    planes,
    spans,
    origin,
    pitch,
    nowhere,
    weigh,
    lanes,
    kernel,
    slice_,
    turn,
    taps,
    sizes,
    x,
    bias,
    y,
    beside,
    relu,
    v,
    u_all,
    sums_all,
    blocks,
    sorted_,
    tables,
):
    channels, out_channels = x.shape[4], y.shape[4]
    count, depth, width = sizes[:3]
    size = x.itemsize
    tiles = x.shape[0] * grid[0] * grid[1]
    v_plane = v.shape[1] * size
    _, starts, kinds, places, targets = tile_tables(sorted_, 0, tiles)
    sort_tiles(0, tiles, grid, kinds, places, starts)
    for thread in prange(threads):
        table = tables[thread]
        first, end = split_range(thread, threads, tiles)
        for t in range(first, end):
            prefetch_tile(t + AHEAD, grid, step, origin, x)
            image_table(table, 0, n, t, grid, step, origin, x, 0, address(nowhere))
            transforms.transform(
                into[kinds[t]], address(table), 0, address(v) + places[t] * pitch * size, v_plane, 0, channels
            )
            dump = address(nowhere) + (nowhere.size // 2) * size
            image_table(targets, t * m * m, m, t, grid, m, (0, 0), y, 0, dump)
            if beside:
                image_table(targets, (tiles + t) * m * m, m, t, grid, m, (0, 0), y, beside, address(nowhere))
    for thread in prange(threads):
        u, sums = address(u_all[np.int64(thread)]), address(sums_all[np.int64(thread)])
        u_plane, sum_plane = u_all[0, 0].size * size, sums_all[0, 0].size * size
        one_tap = address(ONE_TAP)
        first, end = split_range(thread, threads, count)
        for panel in range(first, end):
            for c0 in range(0, depth, slice_):
                part = min(slice_, depth - c0)
                transform_weights(
                    weigh,
                    turn,
                    lanes,
                    kernel,
                    taps,
                    sizes,
                    panel,
                    c0,
                    c0 + part,
                    u,
                    u_plane,
                    blocks[np.int64(thread)],
                    tables[thread],
                )
                for p in range(planes.size):
                    start, stop = starts[spans[p, 0]], starts[spans[p, 1]]
                    target = sums + p * sum_plane + start * width * size
                    gemm_tile.tile(
                        tile,
                        stop - start,
                        address(v) + p * v_plane + (start * pitch + c0) * size,
                        pitch,
                        1,
                        one_tap,
                        u + planes[p] * u_plane,
                        width,
                        one_tap,
                        1,
                        part,
                        target,
                        width,
                        target if c0 > 0 else 0,
                        width,
                        width,
                        0,
                        0,
                    )
            column = panel * width * size
            for t in range(tiles):
                target = address(targets) + t * m * m * 8
                transforms.transform_finally(
                    outof[kinds[t]],
                    sums + places[t] * width * size,
                    sum_plane,
                    target,
                    0,
                    column,
                    min(width, out_channels - panel * width),
                    address(bias) + column,
                    target + tiles * m * m * 8,
                    relu,
                )


@kernel
def _transform_weights(threads, weigh, lanes, kernel, turn, taps, sizes, panels, blocks, tables):
    count, depth, width = sizes[:3]
    size = taps.itemsize
    parts = (depth + lanes - 1) // lanes
    for thread in prange(threads):
        first, end = split_range(thread, threads, count * parts)
        for job in range(first, end):
            panel, c = job // parts, job % parts * lanes
            transform_weights(
                weigh,
                turn,
                lanes,
                kernel,
                taps,
                sizes,
                panel,
                c,
                min(c + lanes, depth),
                address(panels[panel]) + c * width * size,
                depth * width * size,
                blocks[np.int64(thread)],
                tables[thread],
            )


def _odd(elements: int, lanes: int) -> int:
    """At least so many elements, in an odd number of vectors, so that many runs of them do not start in the
    same few cache sets."""
    return (-(-elements // lanes) | 1) * lanes


@keep
def _in_order(w, width: int):
    """Weights as ``panel, C, taps, width``, the order in which they are transformed."""
    a = arranged(w)
    kernel, depth, columns = a.shape
    count = -(-columns // width)
    padded = np.zeros((kernel, depth, count * width), w.dtype)
    padded[:, :, :columns] = a
    in_order = np.ascontiguousarray(padded.reshape(kernel, depth, count, width).transpose(2, 1, 0, 3))
    return 0, in_order.reshape(-1), (count, depth, width, depth * kernel * width, width, kernel * width, 1)


def _source(w, is_dgrad: bool, width: int):
    """Weights for :func:`transform_weights`: ``turn``, the array and its sizes. They are read where they lie
    if whole panels do, else packed; prepacked ones lie in order."""
    if isinstance(w, Prepacked):
        return _in_order(w, width)
    k, c, *kernel = w.shape
    (columns, depth), lanes = (c, k) if is_dgrad else (k, c), emitter.lanes(w.dtype)
    if columns % width == 0 and (not is_dgrad or depth % lanes == 0):
        turn = transforms.transpose_address(w.dtype) if is_dgrad else 0
        steps = (width * k, c * k, 1, k) if is_dgrad else (width, c * k, k, 1)
        return turn, arranged(w).reshape(-1), (columns // width, depth, width, *steps)
    p = panels(w, 1, tuple(range(prod(kernel))), is_dgrad, lanes)
    return 0, p.data, (p.count, depth, width, p.panel_step, p.tap_step, p.row_step, 1)


@keep
def _transformed(w, f: Form, weigh, is_dgrad, width):
    """The weights of a form: ``panel, weight, depth, width``."""
    kernel, lanes, threads = len(f.weigh[0]) ** 2, emitter.lanes(w.dtype), settings.get_num_threads()
    turn, taps, sizes = _source(w, is_dgrad, width)
    transformed = memory.empty((sizes[0], len(f.weigh) ** 2, sizes[1], width), w.dtype)
    blocks = memory.empty((threads, lanes * kernel * width if turn else 1), w.dtype)
    _transform_weights(
        weigh, lanes, kernel, turn, taps, sizes, transformed, blocks, *per_thread((lanes, np.int64))
    )
    return transformed


def _table_size(n: int, tiles: int) -> int:
    """Elements that :func:`tile_tables` takes."""
    return n * n + 6 + 2 * tiles


@lru_cache(maxsize=1024)
def _plan(spec, is_dgrad: bool, m: int, dtype, adding: bool, threads: int) -> SimpleNamespace:
    """What the geometry of a pass decides: compiled transforms, the order of the loops, shapes of the
    workspaces. ``common`` are the kernels' first arguments, ``slice`` is 0 where the loops run by tiles."""
    padding, stride, r = [before for before, _ in spec.padding[1:]], spec.stride[1], spec.kernel[1]
    if not is_dgrad:
        channels, out_channels, origin = spec.c_in, spec.c_out, [-p for p in padding]
    else:
        channels, out_channels = spec.c_out, spec.c_in
        origin = [p - r + 1 if stride == 1 else p // 2 - 1 + p % 2 for p in padding]
    cut = tiling_of(spec, is_dgrad, m)
    f, lanes, points = cut.form, emitter.lanes(dtype), cut.planes.size
    into, weigh, outof = _transforms(cut, dtype, channels, out_channels, adding)
    width = max(gemm_tile.panel_width(out_channels, dtype), lanes)
    count, tiles, pitch = -(-out_channels // width), spec.batch * prod(cut.grid), _odd(channels, lanes)
    # zeros to read off the image, then place to write
    nowhere = np.zeros(2 * (max(channels, out_channels) + width), dtype)
    tile = gemm_tile.tile_address(dtype, width, plain=True)
    n, outputs = len(f.into[0]), len(f.outof)
    plan = SimpleNamespace(
        form=f,
        weigh=weigh,
        count=count,
        width=width,
        zeros=nowhere,
        slice=0,
        common=(
            tile,
            into,
            outof,
            n,
            outputs,
            f.step,
            cut.grid,
            cut.planes,
            cut.spans,
            tuple(origin),
            pitch,
            nowhere,
        ),
    )
    weights = len(f.weigh) ** 2
    if few_tiles(tiles, spec.batch * cut.products, channels, count, threads):
        plan.slice = min(channels, 128)
        plan.v = points, _odd(tiles * pitch, lanes)
        plan.u = threads, weights, _odd(plan.slice * width, lanes)
        plan.blocks = threads, lanes * r * r * width
        plan.common = *plan.common, weigh, lanes, r * r, plan.slice
        plan.sums = threads, points, _odd(tiles * width, lanes)
        plan.sorted, plan.tables = _table_size(0, tiles) + 2 * tiles * outputs**2, max(n * n, lanes)
    else:
        transformed = count * weights * channels * width * dtype.itemsize
        plan.block = _tiles_per_block(
            tiles, points * (channels + width) * dtype.itemsize, transformed, threads
        )
        plan.v = threads, points, _odd(plan.block * pitch, lanes)
        plan.sums = threads, points, _odd(plan.block * width, lanes)
        plan.tables = _table_size(n, plan.block) + 2 * plan.block * outputs**2
    return plan


def _run(x, w, b, y, spec, phases, is_dgrad, beside, relu, m):
    dtype = x.dtype
    plan = _plan(spec, is_dgrad, m, dtype, beside != 0, settings.get_num_threads())
    bias = plan.zeros
    if b is not None:
        bias = memory.zeros((plan.count * plan.width,), dtype)
        bias[: b.size] = b
    v, sums, tables = (
        memory.empty(plan.v, dtype),
        memory.empty(plan.sums, dtype),
        per_thread((plan.tables, np.int64)),
    )
    if plan.slice:
        u, blocks = memory.empty(plan.u, dtype), memory.empty(plan.blocks, dtype)
        sorted_ = memory.empty((plan.sorted,), np.int64)
        _by_panels(
            *plan.common,
            *_source(w, is_dgrad, plan.width),
            x,
            bias,
            y,
            beside,
            relu,
            v,
            u,
            sums,
            blocks,
            sorted_,
            *tables,
        )
    else:
        transformed = _transformed(w, plan.form, plan.weigh, is_dgrad, plan.width)
        _by_tiles(*plan.common, plan.block, transformed, x, bias, y, beside, relu, v, sums, *tables)


def folds(spec) -> bool:
    """Whether it is the folded convolution that Winograd's method is applied to."""
    return spec.stride == (2, 2) and spec.kernel != (3, 3)


def inner(spec):
    """The convolution that Winograd's method is applied to."""
    return folded(spec) if folds(spec) else spec


def few_tiles(tiles: int, products: int, depth: int, panels: int, threads: int) -> bool:
    """Whether the loops run by panels: V of all tiles is less to read again than the weights, and a panel's
    sums fit L2, or there are too few blocks of tiles."""
    sums = products * 2 * emitter.lanes(np.float32) * 4
    return (tiles * 2 <= depth and sums <= 0.75 * L2) or (tiles < 28 * threads and panels >= threads)


def _tiles_per_block(tiles, tile_bytes, weight_bytes, threads) -> int:
    """Tiles per block: one or two times a tile's rows, as transforms and sums fit half of what the weights
    leave of L2, in equal shares."""
    fit = max(L2 - weight_bytes, L2 // 2) // 2 // tile_bytes // gemm_tile.MAX_ROWS
    shares = threads * -(-tiles // (min(max(fit, 1), 2) * gemm_tile.MAX_ROWS * threads))
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


# -------------------------------------------------------------------------------------------------
# backward-weight
@body(inline=True)
def transform_panels(function, table, channels, width, panel_bytes, target, plane, size):
    """Transform one tile, ``width`` channels at a time, into panels ``panel_bytes`` apart."""
    for c in range(0, channels, width):
        transforms.transform(
            function,
            address(table),
            0,
            target + c // width * panel_bytes,
            plane,
            c * size,
            min(width, channels - c),
        )


@body
def tiles_into_panels(
    t0,
    t1,
    kinds,
    places,
    n,
    m,
    step,
    grid,
    into,
    grad,
    x,
    gy,
    origin,
    width,
    block,
    v,
    v_plane,
    d,
    d_plane,
    table,
    nowhere,
):
    """Transform tiles ``t0 .. t1`` of x and gy into V and D, which hold ``[point, panel, place, width]``."""
    size = x.itemsize
    for t in range(t0, t1):
        kind, place = kinds[t - t0], places[t - t0] * width * size
        prefetch_tile(t + AHEAD, grid, step, origin, x)
        prefetch_tile(t + AHEAD, grid, m, (0, 0), gy)
        image_table(table, 0, n, t, grid, step, origin, x, 0, address(nowhere))
        transform_panels(into[kind], table, x.shape[4], width, block * width * size, v + place, v_plane, size)
        image_table(table, 0, m, t, grid, m, (0, 0), gy, 0, address(nowhere))
        transform_panels(
            grad[kind], table, gy.shape[4], width, block * width * size, d + place, d_plane, size
        )


@kernel
def _weights_by_tiles(
    threads,
    tile,
    into,
    grad,
    back,
    n,
    m,
    step,
    grid,
    v_taps,
    d_taps,
    runs,
    origin,
    width,
    nowhere,
    block,
    x,
    gy,
    v_all,
    d_all,
    u_all,
    partials,
    tables,
):
    # u_all: thread, weight, C x (panels * width); partials: thread, 1, taps, C, K.
    out_channels, channels = gy.shape[4], x.shape[4]
    size = x.itemsize
    tiles = gy.shape[0] * grid[0] * grid[1]
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v_all[0, 0].size, d_all[0, 0].size, u_all[0, 0].size
    u_row, taps = k_panels * width, partials.shape[2]
    for thread in prange(threads):
        me = np.int64(thread)
        v, d, u = address(v_all[me]), address(d_all[me]), address(u_all[me])
        table, starts, kinds, places, _ = tile_tables(tables[thread], n, block)
        t0, t1 = split_range(thread, threads, tiles)
        if t0 == t1:
            partials[me] = 0
        for start in range(t0, t1, block):
            here = min(block, t1 - start)
            sort_tiles(start, start + here, grid, kinds, places, starts)
            tiles_into_panels(
                start,
                start + here,
                kinds,
                places,
                n,
                m,
                step,
                grid,
                into,
                grad,
                x,
                gy,
                origin,
                width,
                block,
                v,
                v_plane * size,
                d,
                d_plane * size,
                table,
                nowhere,
            )
            for i in range(runs.shape[0]):
                weight, point, many, fresh = (
                    runs[i, 0],
                    runs[i, 1],
                    runs[i, 2] - runs[i, 1],
                    runs[i, 5] == 1 and start == t0,
                )
                at, tiles_now = starts[runs[i, 3]], starts[runs[i, 4]] - starts[runs[i, 3]]
                if fresh and tiles_now == 0:
                    u_all[me, weight] = 0
                for cb in range(c_panels if tiles_now else 0):
                    for kb in range(k_panels):
                        target = u + (weight * u_plane + cb * width * u_row + kb * width) * size
                        gemm_tile.tile(
                            tile,
                            min(width, channels - cb * width),
                            v + (cb * block + at) * width * size,
                            1,
                            width,
                            address(v_taps) + point * 8,
                            d + (kb * block + at) * width * size,
                            width,
                            address(d_taps) + point * 8,
                            many,
                            tiles_now,
                            target,
                            u_row,
                            0 if fresh else target,
                            u_row,
                            width,
                            0,
                            0,
                        )
        if t1 > t0:
            part = partials[me]
            for c in range(channels):
                for q in range(taps):
                    table[q] = address(part) + (q * channels + c) * out_channels * size
                transforms.transform(
                    back, u + c * u_row * size, u_plane * size, address(table), 0, 0, out_channels
                )


@kernel
def _weights_by_panels(
    threads,
    tile,
    into,
    grad,
    back,
    n,
    m,
    step,
    grid,
    v_taps,
    d_taps,
    runs,
    origin,
    width,
    nowhere,
    x,
    gy,
    v,
    d,
    u_all,
    partials,
    sorted_,
    tables,
):
    out_channels, channels = gy.shape[4], x.shape[4]
    size = x.itemsize
    tiles = gy.shape[0] * grid[0] * grid[1]
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    v_plane, d_plane, u_plane = v[0].size, d[0].size, u_all[0, 0].size
    _, starts, kinds, places, _ = tile_tables(sorted_, 0, tiles)
    sort_tiles(0, tiles, grid, kinds, places, starts)
    for thread in prange(threads):
        table = tables[thread]
        t0, t1 = split_range(thread, threads, tiles)
        tiles_into_panels(
            t0,
            t1,
            kinds[t0:t1],
            places[t0:t1],
            n,
            m,
            step,
            grid,
            into,
            grad,
            x,
            gy,
            origin,
            width,
            tiles,
            address(v),
            v_plane * size,
            address(d),
            d_plane * size,
            table,
            nowhere,
        )
    part, taps = partials[0], partials.shape[2]
    for thread in prange(threads):
        me = np.int64(thread)
        u = address(u_all[me])
        table = tables[thread]
        first, end = split_range(thread, threads, k_panels * c_panels)
        for job in range(first, end):
            kb, cb = job // c_panels, job % c_panels
            rows = min(width, channels - cb * width)
            for i in range(runs.shape[0]):
                weight, point, many, fresh = runs[i, 0], runs[i, 1], runs[i, 2] - runs[i, 1], runs[i, 5] == 1
                at, tiles_now = starts[runs[i, 3]], starts[runs[i, 4]] - starts[runs[i, 3]]
                if tiles_now:
                    target = u + weight * u_plane * size
                    gemm_tile.tile(
                        tile,
                        rows,
                        address(v) + (cb * tiles + at) * width * size,
                        1,
                        width,
                        address(v_taps) + point * 8,
                        address(d) + (kb * tiles + at) * width * size,
                        width,
                        address(d_taps) + point * 8,
                        many,
                        tiles_now,
                        target,
                        width,
                        0 if fresh else target,
                        width,
                        width,
                        0,
                        0,
                    )
                elif fresh:
                    u_all[me, weight] = 0
            for c in range(rows):
                for q in range(taps):
                    table[q] = (
                        address(part) + ((q * channels + cb * width + c) * out_channels + kb * width) * size
                    )
                transforms.transform(
                    back,
                    u + c * width * size,
                    u_plane * size,
                    address(table),
                    0,
                    0,
                    min(width, out_channels - kb * width),
                )


def sum_by_tiles(weights: int, panels: int, transformed: int, threads: int) -> bool:
    """Whether each thread sums the gradient of its own tiles: the sums (``panels`` squares of two vectors'
    lanes for each of ``weights``) fit L2, or they are less to read again for every block than the
    ``transformed`` bytes of all tiles for every panel (fitted to measurements)."""
    sums = weights * panels * (2 * emitter.lanes(np.float32)) ** 2 * 4
    return sums <= L2 or (sums <= 6 * L2 and 2.5 * threads * sums <= transformed)


@lru_cache(maxsize=1024)
def _gradient_plan(spec, m: int, dtype, threads: int) -> SimpleNamespace:
    """What the geometry of backward-weight decides, like :func:`_plan`; ``block`` is 0 where the loops run by
    panels."""
    r, lanes = spec.kernel[1], emitter.lanes(dtype)
    width = 2 * lanes
    cut = tiling_of(spec, False, m)
    f, points, tiles = cut.form, cut.planes.size, spec.batch * prod(cut.grid)
    n = len(f.into[0])
    nowhere = np.zeros(max(spec.c_in, spec.c_out) + width, dtype)
    c_panels, k_panels, weights = -(-spec.c_in // width), -(-spec.c_out // width), len(f.weigh) ** 2
    transformed = spec.batch * cut.products * (spec.c_in + spec.c_out) * dtype.itemsize
    if sum_by_tiles(weights, c_panels * k_panels, transformed, threads) or c_panels * k_panels < threads:
        block = max(L2 // (points * (c_panels + k_panels) * width * dtype.itemsize), 8)
        block = min(block, -(-tiles // threads))
        tables, ordered = _table_size(n, block), 0
        v, d = ((threads, points, _odd(p * block * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, weights, _odd(c_panels * width * k_panels * width, lanes)), threads
    else:
        block, tables, ordered = 0, n * n, _table_size(0, tiles)
        v, d = ((points, _odd(p * tiles * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, weights, _odd(width * width, lanes)), 1
    order, runs = cut.runs
    common = (
        gemm_tile.tile_address(dtype, width, plain=True),
        *_gradient_transforms(cut, dtype, spec.c_in, spec.c_out),
        n,
        m,
        f.step,
        cut.grid,
        order * v[-1],
        order * d[-1],
        runs,
        tuple(-before for before, _ in spec.padding[1:]),
        width,
        nowhere,
    )
    return SimpleNamespace(
        common=common,
        block=block,
        v=v,
        d=d,
        u=u,
        partials=(parts, 1, r * r, spec.c_in, spec.c_out),
        tables=tables,
        sorted=ordered,
    )


def bwd_weight(x, gy, spec, m):
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    if folds(spec):
        within = folded(spec)
        return unfold_weights(bwd_weight(fold(x, within), gy, within, m), spec)
    x, gy = layout.to_ndhwc(x), layout.to_ndhwc(gy)
    plan = _gradient_plan(spec.as_3d(), m, x.dtype, settings.get_num_threads())
    v, d, u, partials = (memory.empty(shape, x.dtype) for shape in (plan.v, plan.d, plan.u, plan.partials))
    tables = per_thread((plan.tables, np.int64))
    if plan.block:
        _weights_by_tiles(*plan.common, plan.block, x, gy, v, d, u, partials, *tables)
    else:
        _weights_by_panels(
            *plan.common, x, gy, v, d, u, partials, memory.empty((plan.sorted,), np.int64), *tables
        )
    return sum_partials(partials, spec.as_3d(), spec.w_shape)
