"""Winograd convolution, forward and backward-data, in three orders of the loops.

by tiles   (many tiles)                          by panels  (few tiles, many channels)
  threads share blocks of tiles                    threads share tiles:     V of ALL tiles
    V <- transform the block's tiles               threads share panels of output channels
    for each panel of output channels                for each slice of input channels
      for each point, 14 tiles: multiply               U <- transform the slice's filters, in L2
      y <- transform the panel's sums                  for each point, 14 tiles: multiply, accumulate
  V, sums and a panel of U stay in L2                y <- transform the panel's sums

by planes  (volumes)                             V: a ring of the planes that the taps in depth reach
  threads share blocks of the tiles of a plane     plane of y  0   V of planes  -  0  1   (-: zeros)
    for each plane of y                                        1                2  0  1   2 in the place of -
      V <- transform the block's tiles of one                  2                2  3  1
           more plane of x                         a point's product has a run of C for each tap
      then as by tiles

      for a point:      V  tiles x C      *     U  C x panel      =      sums  tiles x panel
                        +-----------+           +-------+                +-------+
                        | 14 x C    |           | C x 32|                | 14x32 |
                        | 14 x C    |           |       |                | 14x32 |
                        +-----------+           +-------+                +-------+
"""

from __future__ import annotations

import numpy as np

from fastconv.backends import settings
from fastconv.backends.cpu.codegen import emitter, gemm_tile, transforms
from fastconv.backends.cpu.codegen.emitter import address
from fastconv.backends.cpu.codegen.gemm_tile import ONE_TAP
from fastconv.backends.cpu.codegen.jit import body, by_address, in_parallel, kernel, split_range, stages
from fastconv.backends.cpu.runtime import memory
from fastconv.backends.cpu.runtime.scratch import per_thread
from fastconv.spec import ConvSpec

from .. import passes
from ..activation import activate
from ..planes import as_planes, as_volumes, gather_planes, planes_spec, weights_to_planes
from ..space_to_depth import depth_to_space, space_to_depth, stride_one_spec, weights_to_depth
from ..weights import Prepacked
from .filters import source_of, transform_filters, transformed
from .forward_plan import forward_plan
from .orders import needs_space_to_depth, runs_by_planes
from .tiles import AHEAD, image_table, pairs, prefetch_tile, sort_tiles, split_tables, unit_of_work
from .transforms import POINT, Tile

_POINT = np.empty(0, POINT)


# --------------------------------------------------------------------------------------------------- kernels
@body
def transform_inputs(t0, t1, start, g, kinds, places, x, v, table):
    """V of tiles ``t0 .. t1``.

    Parameters
    ----------
    start : the tile that ``kinds`` and ``places`` begin with
    g : the FORWARD record
    v : address
    table : scratch for the addresses of a tile's pixels
    """
    grid, origin = (g.grid[0], g.grid[1]), (g.origin[0], g.origin[1])
    side, _, step = pairs(g)
    row_bytes, v_plane = g.pitch * x.itemsize, g.v_plane
    for t in range(t0, t1):
        i = t - start
        prefetch_tile(t + AHEAD, grid, step, origin, x)
        image_table(table, 0, side, t, grid, step, origin, x, 0, g.zero_page)
        to = v + places[i] * row_bytes
        transforms.transform(g.input_transform[kinds[i]], address(table), 0, to, v_plane, 0, g.channels)


@body
def list_outputs(t0, t1, start, g, y, residual, targets):
    """The addresses of the outputs of tiles ``t0 .. t1``, and of what is added to them.

    Parameters
    ----------
    start : the tile that ``targets`` begins with
    g : the FORWARD record
    residual : what is added lies so many bytes behind ``y``; 0: nothing
    targets : of ``g.block`` tiles the addresses of their outputs, then of what is added
    """
    grid = g.grid[0], g.grid[1]
    _, m, _ = pairs(g)
    area = m[0] * m[1]
    for t in range(t0, t1):
        image_table(targets, (t - start) * area, m, t, grid, m, (0, 0), y, 0, g.sink)
        if residual:
            at = (g.block + t - start) * area
            image_table(targets, at, m, t, grid, m, (0, 0), y, residual, g.zero_page)


@body
def transform_outputs(tiles, panel, width, g, kinds, places, sums, bias, y, targets, activation):
    """Write a panel of the outputs of the first ``tiles`` tiles; ``sums`` is an address, the other arguments
    are as in :func:`transform_inputs` and :func:`list_outputs`."""
    area, column = g.output_side[0] * g.output_side[1], panel * width * y.itemsize
    channels = min(width, g.out_channels - panel * width)
    for t in range(tiles):
        target = address(targets) + t * area * 8
        transforms.transform_finally(
            g.output_transform[kinds[t]],
            sums + places[t] * width * y.itemsize,
            g.sum_plane,
            target,
            0,
            column,
            channels,
            address(bias) + column,
            target + g.block * area * 8,
            activation,
        )
        activate(activation, column, area, 0, channels, target)


@body
def _block(here, g, tap_numbers, filters, size, kinds, places, starts, v, sums, bias, y, targets, activation):
    """Products and outputs of the ``here`` tiles of a block.

    ``tap_numbers``: taps of a kernel in depth, and the addresses of the tables of their places in V and in
    the filters.
    """
    panels, count, depth, width = filters.shape
    taps, v_taps, filter_taps = tap_numbers
    points = emitter.view1d(g.point_table, g.points, _POINT)
    pixels = here * g.output_side[0] * g.output_side[1]
    for panel in range(panels):
        for p in range(g.points):
            first_pixel, end_pixel = split_range(p, g.points, pixels)
            for pixel in range(first_pixel, end_pixel):
                emitter.prefetch_to_write(targets[pixel] + panel * width * size, width * size)
            point = points[p]
            start, stop = starts[point.first_kind], starts[point.end_kind]
            gemm_tile.tile(
                g.tile,
                stop - start,
                a=v + p * g.v_plane + start * g.pitch * size,
                a_row=g.pitch,
                a_step=1,
                ta=v_taps,
                b=address(filters) + (panel * count + point.filter) * depth * width * size,
                b_step=width,
                tb=filter_taps,
                taps=taps,
                depth=depth // taps,
                c=sums + p * g.sum_plane + start * width * size,
                c_row=width,
            )
        transform_outputs(here, panel, width, g, kinds, places, sums, bias, y, targets, activation)


@kernel
def _by_tiles(thread, threads, geometry, filters, x, bias, y, residual, activation, v_all, sums_all, tables):
    g, size = geometry[0], x.itemsize
    grid = g.grid[0], g.grid[1]
    tiles = x.shape[0] * grid[0] * grid[1]
    v, sums = address(v_all[thread]), address(sums_all[thread])
    input_area = g.input_side[0] * g.input_side[1]
    table, starts, kinds, places, targets = split_tables(tables[thread], input_area, g.block)
    taps = 1, address(ONE_TAP), address(ONE_TAP)
    first, end = split_range(thread, threads, (tiles + g.block - 1) // g.block)
    for b in range(first, end):
        t0 = b * g.block
        here = min(g.block, tiles - t0)
        sort_tiles(t0, t0 + here, grid, kinds, places, starts)
        transform_inputs(t0, t0 + here, t0, g, kinds, places, x, v, table)
        list_outputs(t0, t0 + here, t0, g, y, residual, targets)
        _block(here, g, taps, filters, size, kinds, places, starts, v, sums, bias, y, targets, activation)


@kernel
def _by_planes(
    thread, threads, geometry, volumes, filters, x, bias, y, residual, activation, v_all, sums_all, tables
):
    g, s, size = geometry[0], volumes[0], x.itemsize
    grid = g.grid[0], g.grid[1]
    in_plane, in_planes, out_planes = grid[0] * grid[1], x.shape[1], y.shape[1]
    v, sums = address(v_all[thread]), address(sums_all[thread])
    input_area = g.input_side[0] * g.input_side[1]
    table, starts, kinds, places, targets = split_tables(tables[thread], input_area, g.block)
    v_taps = targets[2 * g.block * g.output_side[0] * g.output_side[1] :]
    taps = s.taps, address(v_taps), s.filter_taps
    slot = g.block * g.pitch
    before = s.origin + min(0, (s.taps - 1) * s.plane_step)
    first, end = split_range(thread, threads, x.shape[0] * s.blocks * s.segments)
    for unit in range(first, end):
        image, s0, here, first_plane, end_plane = unit_of_work(unit, s, g.block, in_plane, out_planes)
        sort_tiles(s0, s0 + here, grid, kinds, places, starts)
        for d in range(first_plane, end_plane):
            newest = d + before + s.ring - 1
            for plane in range(d + before if d == first_plane else newest, newest + 1):
                at = plane % s.ring * slot
                if 0 <= plane < in_planes:
                    t0 = (image * in_planes + plane) * in_plane + s0
                    transform_inputs(t0, t0 + here, t0, g, kinds, places, x, v + at * size, table)
                else:
                    v_all[thread, :, at : at + here * g.pitch] = 0
            for t in range(s.taps):
                v_taps[t] = (d + s.origin + t * s.plane_step) % s.ring * slot
            t0 = (image * out_planes + d) * in_plane + s0
            list_outputs(t0, t0 + here, t0, g, y, residual, targets)
            _block(here, g, taps, filters, size, kinds, places, starts, v, sums, bias, y, targets, activation)


@body
def _panel_inputs(thread, threads, geometry, x, y, residual, v, kinds, places, targets, tables):
    first, end = split_range(thread, threads, kinds.size)
    transform_inputs(first, end, 0, geometry[0], kinds, places, x, address(v), tables[thread])
    list_outputs(first, end, 0, geometry[0], y, residual, targets)


@body
def _panel_products(thread, threads, geometry, source, w, x, bias, y, activation, scratch, order, tables):
    v, u_all, sums_all, blocks = scratch
    size, tiles = x.itemsize, order[0].size
    g, s = geometry[0], source[0]
    points = emitter.view1d(g.point_table, g.points, _POINT)
    depth, width, pitch = s.depth, s.width, g.pitch
    kinds, places, starts, targets = order
    u, sums = address(u_all[thread]), address(sums_all[thread])
    u_plane, block = u_all[0, 0].size * size, blocks[thread]
    one_tap = address(ONE_TAP)
    first, end = split_range(thread, threads, s.panels)
    for panel in range(first, end):
        for c0 in range(0, depth, g.depth_slice):
            part = min(g.depth_slice, depth - c0)
            transform_filters(
                g.filter_transform, s, w, panel, c0, c0 + part, u, u_plane, block, tables[thread]
            )
            for p in range(g.points):
                point = points[p]
                start, stop = starts[point.first_kind], starts[point.end_kind]
                target = sums + p * g.sum_plane + start * width * size
                gemm_tile.tile(
                    g.tile,
                    stop - start,
                    a=address(v) + p * g.v_plane + (start * pitch + c0) * size,
                    a_row=pitch,
                    a_step=1,
                    ta=one_tap,
                    b=u + point.filter * u_plane,
                    b_step=width,
                    tb=one_tap,
                    taps=1,
                    depth=part,
                    c=target,
                    c_row=width,
                    init=target if c0 > 0 else 0,
                    init_row=width,
                )
        transform_outputs(tiles, panel, width, g, kinds, places, sums, bias, y, targets, activation)


@stages
def _by_panels(threads, geometry, source, w, x, bias, y, residual, activation, scratch, order, tables):
    tiles = x.shape[0] * geometry[0].grid[0] * geometry[0].grid[1]
    _, starts, kinds, places, targets = split_tables(order, 0, tiles)
    sort_tiles(0, tiles, (geometry[0].grid[0], geometry[0].grid[1]), kinds, places, starts)
    in_parallel(
        _panel_inputs, threads, (geometry, x, y, residual, scratch[0], kinds, places, targets, tables)
    )
    in_order = kinds, places, starts, targets
    in_parallel(
        _panel_products, threads, (geometry, source, w, x, bias, y, activation, scratch, in_order, tables)
    )


# ---------------------------------------------------------------------------------------------------- passes
def _run(x, w, b, y, spec, phases, is_dgrad, residual, activation, m):
    """Both passes (see ``conv/passes.py``), by tiles of ``m`` outputs."""
    dtype = x.dtype
    plan = forward_plan(spec, is_dgrad, m, dtype, residual != 0, settings.get_num_threads())
    bias = plan.zero_page
    if b is not None:
        bias = memory.zeros((plan.panels * plan.width,), dtype)
        bias[: b.size] = b
    v, sums = memory.empty(plan.v, dtype), memory.empty(plan.sums, dtype)
    tables = per_thread((plan.tables, np.int64))
    if plan.by_panels:
        u, blocks = memory.empty(plan.u, dtype), memory.empty(plan.filters, dtype)
        order = memory.empty((plan.order,), np.int64)
        source, data = source_of(w, is_dgrad, plan.width)
        by_address(plan)
        scratch = v, u, sums, blocks
        _by_panels(plan.record, source, data, x, bias, y, residual, activation, scratch, order, *tables)
    else:
        filters = transformed(w, plan.filter_count, plan.filter_transform, is_dgrad, plan.width)
        by_address(plan)
        operands = filters, x, bias, y, residual, activation, v, sums, *tables
        if plan.volumes is None:
            _by_tiles(plan.record, *operands)
        else:
            _by_planes(plan.record, plan.volumes, *operands)


def fwd(
    x: np.ndarray,
    w: np.ndarray | Prepacked,
    b: np.ndarray | None,
    spec: ConvSpec,
    residual: np.ndarray | None,
    activation: str | tuple[str, float, float] | None,
    m: Tile,
) -> np.ndarray:
    """The forward pass by tiles of ``m`` outputs; the other arguments are those of ``passes.forward``."""
    if spec.ndim == 3:
        weights_2d = weights_to_planes(w, spec.kernel, False)
        if runs_by_planes(spec, False, m):
            return passes.forward(_run, x, weights_2d, b, spec, residual, activation, m)
        planes = gather_planes(x, spec)
        added = None if residual is None else as_planes(residual)
        y = passes.forward(_run, planes, weights_2d, b, planes_spec(spec), added, activation, m)
        return as_volumes(y, spec.batch, spec.out_size[0])
    if not needs_space_to_depth(spec):
        return passes.forward(_run, x, w, b, spec, residual, activation, m)
    inner = stride_one_spec(spec)
    x, w = space_to_depth(x, inner), weights_to_depth(w, spec)
    return passes.forward(_run, x, w, b, inner, residual, activation, m)


def bwd_data(
    gy: np.ndarray, w: np.ndarray, spec: ConvSpec, residual: np.ndarray | None, m: Tile
) -> np.ndarray:
    """The backward-data pass by tiles of ``m`` outputs; the other arguments are those of
    ``passes.backward_data``."""
    if spec.ndim == 3:
        weights_2d = weights_to_planes(w, spec.kernel, True)
        if runs_by_planes(spec, True, m):
            return passes.backward_data(_run, gy, weights_2d, spec, residual, m)
        planes = gather_planes(gy, spec, True)
        added = None if residual is None else as_planes(residual)
        gx = passes.backward_data(_run, planes, weights_2d, planes_spec(spec, True), added, m)
        return as_volumes(gx, spec.batch, spec.in_size[0])
    if not needs_space_to_depth(spec):
        return passes.backward_data(_run, gy, w, spec, residual, m)
    blocks = passes.backward_data(_run, gy, weights_to_depth(w, spec), stride_one_spec(spec), None, m)
    return passes.add_residual(depth_to_space(blocks, spec.x_shape), residual)
