"""Winograd convolution, backward-weight:  dW = G^t [sum over tiles V * (A dy A^t)] G.

For each point it is a product of V, the transformed x, and D, the transformed gy, in two orders of the
loops::

    by tiles   (many tiles, few channels)            by panels  (many channels)
      threads share tiles, block by block              threads share tiles:     V and D of ALL tiles
        V, D <- transform the block's tiles            threads share pairs of (panel of C, panel of K)
        for each run of points, each pair of panels      for each run of points
          U[filter] += V^t D                               U[filter] += V^t D
      dW <- transform the thread's U                     dW <- transform the pair's U
    sum over threads

          for a point:      V^t  panel of C x tiles    *   D  tiles x panel of K   =   U  32 x 32
                            +-------------------+          +-----+                     +-----+
                            | 32 x tiles        |          | t   |                     | 14  |
                            |                   |          | i   |                     | x   |
                            +-------------------+          | ...x32                    | 32  |
                                                           +-----+                     +-----+

Points of a run have their filter and their kinds of tiles in common, so a run is one tile of as many taps.

Volumes have a third order, by planes: as by tiles, but V is a ring of the planes that the taps in depth reach
(see ``forward.py``), and U has the filters of each tap.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends import settings
from fastconv.backends.cpu.codegen import gemm_tile, transforms
from fastconv.backends.cpu.codegen.emitter import address
from fastconv.backends.cpu.codegen.jit import body, by_address, in_parallel, kernel, split_range, stages
from fastconv.backends.cpu.runtime import layout, memory
from fastconv.backends.cpu.runtime.scratch import per_thread
from fastconv.spec import ConvSpec

from ..planes import as_planes, gather_planes, planes_spec, weights_to_volumes
from ..space_to_depth import space_to_depth, stride_one_spec, weights_to_space
from ..weights import empty_partials, sum_partials
from .gradient_plan import gradient_plan
from .orders import gradient_by_planes, needs_space_to_depth
from .tiles import AHEAD, image_table, pairs, prefetch_tile, sort_tiles, split_tables, unit_of_work
from .transforms import Tile


@body(inline=True)
def transform_panels(function, table, channels, width, panel_bytes, target, plane, size):
    """Transform one tile, ``width`` channels at a time, into panels ``panel_bytes`` apart."""
    for c in range(0, channels, width):
        to, here = target + c // width * panel_bytes, min(width, channels - c)
        transforms.transform(function, address(table), 0, to, plane, c * size, here)


@body
def _transform_tiles(t0, t1, kinds, places, g, functions, tile, x, v, v_plane, table):
    side, step, origin = tile
    grid, size, width, channels = (g.grid[0], g.grid[1]), x.itemsize, g.width, x.shape[4]
    panel_bytes = g.block * width * size
    for t in range(t0, t1):
        kind, place = kinds[t - t0], places[t - t0] * width * size
        prefetch_tile(t + AHEAD, grid, step, origin, x)
        image_table(table, 0, side, t, grid, step, origin, x, 0, g.zero_page)
        transform_panels(functions[kind], table, channels, width, panel_bytes, v + place, v_plane, size)


@body
def transform_inputs(t0, t1, kinds, places, g, x, v, table):
    """V of tiles ``t0 .. t1``: ``point, panel, place, width`` from the address ``v`` on.

    ``kinds`` and ``places`` begin with tile ``t0``, ``g`` is the GRADIENT record, ``table`` is scratch for
    the addresses of a tile's pixels.
    """
    side, _, step = pairs(g)
    tile = side, step, (g.origin[0], g.origin[1])
    _transform_tiles(t0, t1, kinds, places, g, g.input_transform, tile, x, v, g.v_plane, table)


@body
def transform_gradients(t0, t1, kinds, places, g, gy, d, table):
    """D of tiles ``t0 .. t1``, in the same way."""
    _, m, _ = pairs(g)
    _transform_tiles(t0, t1, kinds, places, g, g.grad_transform, (m, m, (0, 0)), gy, d, g.d_plane, table)


@body
def _multiply(g, run, tiles, rows, a, b, target, row, fresh):
    """Add the products of a run to the sums at ``target``, whose rows are ``row`` elements apart, or,
    if ``fresh``, write them. ``a`` and ``b`` are the addresses of the run's first tile in V and in D."""
    gemm_tile.tile(
        g.tile,
        rows,
        a=a,
        a_row=1,
        a_step=g.width,
        ta=g.v_points + run.first * 8,
        b=b,
        b_step=g.width,
        tb=g.d_points + run.first * 8,
        taps=run.end - run.first,
        depth=tiles,
        c=target,
        c_row=row,
        init=0 if fresh else target,
        init_row=row,
    )


@body
def _finish(g, u, u_plane, u_row, part, table):
    """The gradient of the weights, ``taps, C, K``, from the sums of a thread."""
    taps, channels, out_channels = part.shape
    size = part.itemsize
    for c in range(channels):
        for q in range(taps):
            table[q] = address(part) + (q * channels + c) * out_channels * size
        row = u + c * u_row * size
        transforms.transform(g.filter_transform, row, u_plane * size, address(table), 0, 0, out_channels)


@kernel
def _by_tiles(thread, threads, geometry, runs, x, gy, v_all, d_all, u_all, partials, tables):
    # u_all: thread, filter, C x (panels * width); partials: thread, 1, taps, C, K.
    out_channels, channels = gy.shape[4], x.shape[4]
    size = x.itemsize
    u_plane, g = u_all[0, 0].size, geometry[0]
    width, block, grid = g.width, g.block, (g.grid[0], g.grid[1])
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    u_row = k_panels * width
    v, d, u = address(v_all[thread]), address(d_all[thread]), address(u_all[thread])
    table, starts, kinds, places, _ = split_tables(tables[thread], g.input_side[0] * g.input_side[1], block)
    t0, t1 = split_range(thread, threads, gy.shape[0] * grid[0] * grid[1])
    if t0 == t1:
        partials[thread] = 0
    for start in range(t0, t1, block):
        here = min(block, t1 - start)
        sort_tiles(start, start + here, grid, kinds, places, starts)
        transform_inputs(start, start + here, kinds, places, g, x, v, table)
        transform_gradients(start, start + here, kinds, places, g, gy, d, table)
        for i in range(runs.size):
            run = runs[i]
            at, tiles = starts[run.first_kind], starts[run.end_kind] - starts[run.first_kind]
            fresh = run.fresh == 1 and start == t0
            if fresh and tiles == 0:
                u_all[thread, run.filter] = 0
            for cb in range(c_panels if tiles else 0):
                for kb in range(k_panels):
                    target = u + (run.filter * u_plane + cb * width * u_row + kb * width) * size
                    rows, a = min(width, channels - cb * width), v + (cb * block + at) * width * size
                    b = d + (kb * block + at) * width * size
                    _multiply(g, run, tiles, rows, a, b, target, u_row, fresh)
    if t1 > t0:
        _finish(g, u, u_plane, u_row, partials[thread, 0], table)


@kernel
def _by_planes(thread, threads, geometry, volumes, runs, x, gy, v_all, d_all, u_all, partials, tables):
    # As by tiles; C are the channels of all taps in depth. V holds the planes that the taps reach, in a ring.
    out_channels, channels = gy.shape[4], x.shape[4]
    size, in_planes, out_planes = x.itemsize, x.shape[1], gy.shape[1]
    u_plane, g, s = u_all[0, 0].size, geometry[0], volumes[0]
    width, block, grid = g.width, g.block, (g.grid[0], g.grid[1])
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    u_row, slot, in_plane = k_panels * width, c_panels * block * width * size, grid[0] * grid[1]
    v, d, u = address(v_all[thread]), address(d_all[thread]), address(u_all[thread])
    table, starts, kinds, places, _ = split_tables(tables[thread], g.input_side[0] * g.input_side[1], block)
    first, end = split_range(thread, threads, x.shape[0] * s.blocks * s.segments)
    u_all[thread] = 0
    for unit in range(first, end):
        image, s0, here, first_plane, end_plane = unit_of_work(unit, s, block, in_plane, out_planes)
        sort_tiles(s0, s0 + here, grid, kinds, places, starts)
        for z in range(first_plane, end_plane):
            newest = z + s.origin + s.ring - 1
            for plane in range(z + s.origin if z == first_plane else newest, newest + 1):
                if 0 <= plane < in_planes:
                    t0 = (image * in_planes + plane) * in_plane + s0
                    to = v + plane % s.ring * slot
                    transform_inputs(t0, t0 + here, kinds, places, g, x, to, table)
            t0 = (image * out_planes + z) * in_plane + s0
            transform_gradients(t0, t0 + here, kinds, places, g, gy, d, table)
            for i in range(runs.size):
                run = runs[i]
                at, tiles = starts[run.first_kind], starts[run.end_kind] - starts[run.first_kind]
                for t in range(s.taps if tiles else 0):
                    plane = z + s.origin + t * s.plane_step
                    if plane < 0 or plane >= in_planes:
                        continue
                    for cb in range(c_panels):
                        for kb in range(k_panels):
                            row = t * channels + cb * width
                            target = u + (run.filter * u_plane + row * u_row + kb * width) * size
                            rows, a = min(width, channels - cb * width), (cb * block + at) * width * size
                            b = d + (kb * block + at) * width * size
                            a += v + plane % s.ring * slot
                            _multiply(g, run, tiles, rows, a, b, target, u_row, False)
    _finish(g, u, u_plane, u_row, partials[thread, 0], table)


@body
def _panel_tiles(thread, threads, geometry, x, gy, v, d, kinds, places, tables):
    t0, t1 = split_range(thread, threads, kinds.size)
    g, table, kinds, places = geometry[0], tables[thread], kinds[t0:t1], places[t0:t1]
    transform_inputs(t0, t1, kinds, places, g, x, address(v), table)
    transform_gradients(t0, t1, kinds, places, g, gy, address(d), table)


@body
def _panel_products(thread, threads, geometry, runs, x, gy, v, d, u_all, partials, starts, tiles, tables):
    out_channels, channels, size = gy.shape[4], x.shape[4], x.itemsize
    part, taps, u_plane = partials[0], partials.shape[2], u_all[0, 0].size
    g = geometry[0]
    width, u, table = g.width, address(u_all[thread]), tables[thread]
    c_panels, k_panels = (channels + width - 1) // width, (out_channels + width - 1) // width
    first, end = split_range(thread, threads, k_panels * c_panels)
    for job in range(first, end):
        kb, cb = job // c_panels, job % c_panels
        rows = min(width, channels - cb * width)
        for i in range(runs.size):
            run = runs[i]
            at, here = starts[run.first_kind], starts[run.end_kind] - starts[run.first_kind]
            if here:
                target = u + run.filter * u_plane * size
                a = address(v) + (cb * tiles + at) * width * size
                b = address(d) + (kb * tiles + at) * width * size
                _multiply(g, run, here, rows, a, b, target, width, run.fresh == 1)
            elif run.fresh:
                u_all[thread, run.filter] = 0
        used = min(width, out_channels - kb * width)
        for c in range(rows):
            for q in range(taps):
                at = (q * channels + cb * width + c) * out_channels + kb * width
                table[q] = address(part) + at * size
            row = u + c * width * size
            transforms.transform(g.filter_transform, row, u_plane * size, address(table), 0, 0, used)


@stages
def _by_panels(threads, geometry, runs, x, gy, v, d, u_all, partials, order, tables):
    tiles = gy.shape[0] * geometry[0].grid[0] * geometry[0].grid[1]
    _, starts, kinds, places, _ = split_tables(order, 0, tiles)
    sort_tiles(0, tiles, (geometry[0].grid[0], geometry[0].grid[1]), kinds, places, starts)
    in_parallel(_panel_tiles, threads, (geometry, x, gy, v, d, kinds, places, tables))
    in_parallel(
        _panel_products, threads, (geometry, runs, x, gy, v, d, u_all, partials, starts, tiles, tables)
    )


def bwd_weight(x: np.ndarray, gy: np.ndarray, spec: ConvSpec, m: Tile) -> np.ndarray:
    """The gradient of the weights, by tiles of ``m`` outputs.

    Parameters
    ----------
    x : ndarray, N x C_in x H x W
    gy : ndarray, N x C_out x H_out x W_out
    spec : ConvSpec
    m : int or pair of int

    Returns
    -------
    ndarray, C_out x C_in x kernel
    """
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    if spec.ndim == 3 and not gradient_by_planes(spec, m):
        planes = bwd_weight(gather_planes(x, spec), as_planes(gy), planes_spec(spec), m)
        return weights_to_volumes(planes, spec)
    if needs_space_to_depth(spec):
        inner = stride_one_spec(spec)
        return weights_to_space(bwd_weight(space_to_depth(x, inner), gy, inner, m), spec)
    x, gy = layout.to_ndhwc(x), layout.to_ndhwc(gy)
    plan = gradient_plan(spec.as_3d(), m, x.dtype, settings.get_num_threads())
    v, d, u = (memory.empty(shape, x.dtype) for shape in (plan.v, plan.d, plan.u))
    partials = empty_partials(plan.partials, x.dtype)
    tables = per_thread((plan.tables, np.int64))
    by_address(plan)
    operands = plan.runs, x, gy, v, d, u, partials
    if plan.volumes is not None:
        _by_planes(plan.record, plan.volumes, *operands, *tables)
        inner = planes_spec(spec)
        return weights_to_volumes(sum_partials(partials, inner.as_3d(), inner.w_shape), spec)
    if plan.by_tiles:
        _by_tiles(plan.record, *operands, *tables)
    else:
        order = memory.empty((plan.order,), np.int64)
        _by_panels(plan.record, *operands, order, *tables)
    return sum_partials(partials, spec.as_3d(), spec.w_shape)
