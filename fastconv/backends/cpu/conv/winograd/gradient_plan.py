"""The plan of a backward-weight pass (see ``plan.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends.cpu.codegen import emitter, gemm_tile
from fastconv.backends.cpu.codegen.record import make_record, record_type
from fastconv.spec import ConvSpec

from ..passes import L2
from .orders import sums_by_tiles
from .plan import filter_transform, input_transforms, is_masked, odd_vectors, sides, transform, volumes_record
from .tiles import tables_size
from .transforms import Tile, Tiling, tiling_of

#: Numbers of backward-weight::
#:
#:     input_transform, grad_transform     addresses of the transforms of x and gy, for each kind of tiles
#:     filter_transform                    address of that of the gradient of the filters
#:     v_points, d_points                  addresses of tables: where each point lies in V and in D
#:     width                               channels of a panel, of x and of gy
#:     v_plane, d_plane                    bytes from point to point in V and in D
#:     block                               tiles that V and D hold
#:
#: The others are as in a :data:`~.forward_plan.FORWARD` record.
GRADIENT = record_type(
    tile=1,
    input_transform=4,
    grad_transform=4,
    filter_transform=1,
    grid=2,
    input_side=2,
    output_side=2,
    step=2,
    origin=2,
    v_points=1,
    d_points=1,
    zero_page=1,
    width=1,
    v_plane=1,
    d_plane=1,
    block=1,
)


def _grad_transforms(tiling: Tiling, dtype, channels: int) -> tuple[int, ...]:
    """Those of the upstream gradient for each kind of tiles: the output's, transposed."""
    masked = is_masked(channels, dtype)
    return tuple(
        transform(d.output_transform, a.output_transform, dtype, True, src_table=True, masked=masked)
        for d, a in tiling.kinds
    )


@dataclass(frozen=True, eq=False)
class GradientPlan:
    """Backward-weight of a geometry.

    Attributes
    ----------
    record : ndarray
        The :data:`GRADIENT` record.
    runs : ndarray
        The :data:`~.transforms.RUN` records.
    by_tiles : bool
        The order of the loops.
    volumes : ndarray or None
        The :data:`VOLUMES` record, if the order is by planes.
    zero_page, v_points, d_points : ndarray
        What the record knows by address.
    v, d, u, partials : tuple of int
        Shapes of the transformed x, the transformed gy, their products and the partial gradients.
    order, tables : int
        Elements of the table of all tiles (by panels only) and of the tables of a thread.
    """

    record: np.ndarray
    runs: np.ndarray
    by_tiles: bool
    volumes: np.ndarray | None
    zero_page: np.ndarray
    v_points: np.ndarray
    d_points: np.ndarray
    v: tuple[int, ...]
    d: tuple[int, ...]
    u: tuple[int, ...]
    partials: tuple[int, ...]
    order: int
    tables: int


@lru_cache(maxsize=1024)
def gradient_plan(spec: ConvSpec, m: Tile, dtype, threads: int) -> GradientPlan:
    """The plan of a backward-weight pass.

    Parameters
    ----------
    spec : ConvSpec
        In three dimensions. If its kernel has taps in depth, the order of the loops is by planes.
    m : int or pair of int
        Outputs of a tile (see :func:`~.transforms.tiling_of`).
    dtype : dtype
    threads : int
    """
    lanes = emitter.lanes(dtype)
    width = 2 * lanes
    tiling = tiling_of(spec, False, m)
    points, tiles = len(tiling.points), spec.batch * prod(tiling.grid)
    side, outputs, filters = sides(tiling)
    zero_page = np.zeros(max(spec.c_in, spec.c_out) + width, dtype)
    c_panels, k_panels = -(-spec.c_in // width), -(-spec.c_out // width)
    transformed = spec.batch * tiling.products * (spec.c_in + spec.c_out) * dtype.itemsize
    by_tiles = (
        sums_by_tiles(filters, c_panels * k_panels, transformed, threads) or c_panels * k_panels < threads
    )
    depth_taps, in_plane, volumes = spec.kernel[0], prod(tiling.grid), None
    if depth_taps > 1:
        ring = (depth_taps - 1) * spec.dilation[0] + 1
        block = max(L2 // (points * (ring * c_panels + k_panels) * width * dtype.itemsize), 8)
        block = -(-in_plane // -(-in_plane // block))
        tables, order = tables_size(prod(side), block), 0
        panels = ring * c_panels, k_panels
        v, d = ((threads, points, odd_vectors(p * block * width, lanes)) for p in panels)
        rows = depth_taps * spec.c_in + width
        u, parts = (threads, filters, odd_vectors(rows * k_panels * width, lanes)), threads
        volumes = volumes_record(spec, False, ring, -(-in_plane // block), threads)
    elif by_tiles:
        block = max(L2 // (points * (c_panels + k_panels) * width * dtype.itemsize), 8)
        block = min(block, -(-tiles // threads))
        tables, order = tables_size(prod(side), block), 0
        v, d = ((threads, points, odd_vectors(p * block * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, filters, odd_vectors(c_panels * width * k_panels * width, lanes)), threads
    else:
        block, tables, order = tiles, prod(side), tables_size(0, tiles)
        v, d = ((points, odd_vectors(p * tiles * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, filters, odd_vectors(width * width, lanes)), 1
    sorted_points, runs = tiling.runs
    v_points, d_points = sorted_points * v[-1], sorted_points * d[-1]
    record = make_record(
        GRADIENT,
        tile=gemm_tile.tile_address(dtype, width, plain=True),
        input_transform=input_transforms(tiling, dtype, spec.c_in),
        grad_transform=_grad_transforms(tiling, dtype, spec.c_out),
        filter_transform=filter_transform(
            tiling, dtype, True, dst_table=True, masked=is_masked(spec.c_out, dtype)
        ),
        grid=tiling.grid,
        input_side=side,
        output_side=outputs,
        step=[form.step for form in tiling.whole],
        origin=[-before for before, _ in spec.padding[1:]],
        v_points=v_points.ctypes.data,
        d_points=d_points.ctypes.data,
        zero_page=zero_page.ctypes.data,
        width=width,
        v_plane=v[-1] * dtype.itemsize,
        d_plane=d[-1] * dtype.itemsize,
        block=block,
    )
    return GradientPlan(
        record,
        runs,
        by_tiles,
        volumes,
        zero_page,
        v_points,
        d_points,
        v,
        d,
        u,
        partials=(parts, 1, prod(spec.kernel[1:]), depth_taps * spec.c_in, spec.c_out),
        order=order,
        tables=tables,
    )
