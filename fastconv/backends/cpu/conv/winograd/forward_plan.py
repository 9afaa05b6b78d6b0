"""The plan of a forward or backward-data pass (see ``plan.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends.cpu.codegen import emitter, gemm_tile
from fastconv.backends.cpu.codegen.record import make_record, record_type
from fastconv.spec import ConvSpec

from ..passes import L2
from .orders import runs_by_panels
from .plan import filter_transform, input_transforms, is_masked, odd_vectors, sides, transform, volumes_record
from .tiles import tables_size
from .transforms import Tile, Tiling, tiling_of

#: Numbers of a pass, forward or backward-data::
#:
#:     tile                                address of the matrix product
#:     input_transform, output_transform   addresses of the transforms, for each kind of tiles
#:     filter_transform                    address
#:     grid                                tiles of an image, down and across
#:     input_side, output_side             pixels of a tile, down and across
#:     channels, out_channels              those of the input and of the result
#:     step, origin                        input pixel (row and column) of a tile:  step * tile + origin
#:     points, point_table                 how many points a tile has, address of their POINT records
#:     zero_page, sink                     addresses of zeros to read and of memory to write (see tiles.py)
#:     pitch                               elements from tile to tile in V
#:     v_plane, sum_plane                  bytes from point to point in V and in the sums
#:     block                               tiles that V holds
#:     depth_slice                         channels whose filters are transformed at a time; by panels only
FORWARD = record_type(
    tile=1,
    input_transform=4,
    output_transform=4,
    filter_transform=1,
    grid=2,
    input_side=2,
    output_side=2,
    channels=1,
    out_channels=1,
    step=2,
    origin=2,
    points=1,
    point_table=1,
    zero_page=1,
    sink=1,
    pitch=1,
    v_plane=1,
    sum_plane=1,
    block=1,
    depth_slice=1,
)


def _tiles_per_block(tiles, tile_bytes, weight_bytes, threads) -> int:
    """Tiles per block: one or two times the rows of a tile of the product, as transforms and sums fit half of
    what the weights leave of L2, in equal shares."""
    fit = max(L2 - weight_bytes, L2 // 2) // 2 // tile_bytes // gemm_tile.MAX_ROWS
    shares = threads * -(-tiles // (min(max(fit, 1), 2) * gemm_tile.MAX_ROWS * threads))
    return -(-tiles // shares)


def _output_transforms(tiling: Tiling, dtype, channels: int, adding: bool) -> tuple[int, ...]:
    """Those for each kind of tiles; ``adding`` a residual."""
    options = {"dst_table": True, "masked": is_masked(channels, dtype), "biased": True, "adding": adding}
    return tuple(transform(d.output_transform, a.output_transform, dtype, **options) for d, a in tiling.kinds)


@dataclass(frozen=True, eq=False)
class ForwardPlan:
    """Forward or backward-data of a geometry.

    Attributes
    ----------
    record : ndarray
        The :data:`FORWARD` record.
    filter_transform, filter_count : int
        Address of the transform of filters, and how many it makes of one.
    panels, width : int
        Panels of output channels, and their width.
    by_panels : bool
        The order of the loops.
    volumes : ndarray or None
        The :data:`VOLUMES` record, if the order is by planes.
    zero_page, points, filter_taps : ndarray
        What the records know by address: zeros and then the sink, the points, the places of filters.
    v, sums, u, filters : tuple of int
        Shapes of scratch: transformed input, sums, transformed filters, and filters that are transposed. The
        last two are for loops by panels only.
    order, tables : int
        Elements of the table of all tiles (by panels only) and of the tables of a thread.
    """

    record: np.ndarray
    filter_transform: int
    filter_count: int
    panels: int
    width: int
    by_panels: bool
    volumes: np.ndarray | None
    zero_page: np.ndarray
    points: np.ndarray
    filter_taps: np.ndarray
    v: tuple[int, ...]
    sums: tuple[int, ...]
    u: tuple[int, ...]
    filters: tuple[int, ...]
    order: int
    tables: int


@lru_cache(maxsize=1024)
def forward_plan(spec: ConvSpec, is_dgrad: bool, m: Tile, dtype, adding: bool, threads: int) -> ForwardPlan:
    """The plan of a forward or backward-data pass.

    Parameters
    ----------
    spec : ConvSpec
        In three dimensions. If its kernel has taps in depth, the order of the loops is by planes.
    is_dgrad : bool
        Whether it is backward-data.
    m : int or pair of int
        Outputs of a tile (see :func:`~.transforms.tiling_of`).
    dtype : dtype
    adding : bool
        Whether a residual is added.
    threads : int
    """
    padding, stride, r = [before for before, _ in spec.padding[1:]], spec.stride[1:], spec.kernel[1:]
    if not is_dgrad:
        channels, out_channels, origin = spec.c_in, spec.c_out, [-p for p in padding]
    else:
        channels, out_channels = spec.c_out, spec.c_in
        origin = [
            p - taps + 1 if step == 1 else p // 2 - 1 + p % 2 for p, taps, step in zip(padding, r, stride)
        ]
    tiling = tiling_of(spec, is_dgrad, m)
    lanes, points = emitter.lanes(dtype), len(tiling.points)
    side, outputs, filters = sides(tiling)
    width = max(gemm_tile.panel_width(out_channels, dtype), lanes)
    taps, in_plane = spec.kernel[0], prod(tiling.grid)
    panels, tiles = -(-out_channels // width), spec.batch * in_plane
    pitch, targets = odd_vectors(channels, lanes), 2 * prod(outputs)
    # zeros to read, then the sink
    zero_page = np.zeros(2 * (max(channels, out_channels) + width), dtype)
    by_panels = taps == 1 and runs_by_panels(tiles, spec.batch * tiling.products, channels, panels, threads)
    filter_taps, volumes = np.arange(taps, dtype=np.int64) * channels * width, None
    if by_panels:
        block, depth_slice = tiles, min(channels, 128)
        v, u = (points, odd_vectors(tiles * pitch, lanes)), odd_vectors(depth_slice * width, lanes)
        order, tables = tables_size(0, tiles) + targets * tiles, max(prod(side), lanes)
    else:
        ring = (taps - 1) * spec.dilation[0] + 1
        transformed = panels * filters * taps * channels * width * dtype.itemsize
        tile_bytes = points * (ring * channels + width) * dtype.itemsize
        block = _tiles_per_block(tiles if taps == 1 else in_plane, tile_bytes, transformed, threads)
        v, u, depth_slice = (threads, points, odd_vectors(ring * block * pitch, lanes)), 0, 0
        order, tables = 0, tables_size(prod(side), block) + targets * block + taps
        if taps > 1:
            volumes = volumes_record(
                spec, is_dgrad, ring, -(-in_plane // block), threads, filter_taps.ctypes.data
            )
    sums = threads, points, odd_vectors(block * width, lanes)
    transform_filters = filter_transform(tiling, dtype)
    record = make_record(
        FORWARD,
        tile=gemm_tile.tile_address(dtype, width, plain=True),
        input_transform=input_transforms(tiling, dtype, channels),
        output_transform=_output_transforms(tiling, dtype, out_channels, adding),
        filter_transform=transform_filters,
        grid=tiling.grid,
        input_side=side,
        output_side=outputs,
        channels=channels,
        out_channels=out_channels,
        step=[form.step for form in tiling.whole],
        origin=origin,
        points=points,
        point_table=tiling.points.ctypes.data,
        zero_page=zero_page.ctypes.data,
        sink=zero_page[zero_page.size // 2 :].ctypes.data,
        pitch=pitch,
        v_plane=v[-1] * dtype.itemsize,
        sum_plane=sums[-1] * dtype.itemsize,
        block=block,
        depth_slice=depth_slice,
    )
    return ForwardPlan(
        record,
        transform_filters,
        filters,
        panels,
        width,
        by_panels,
        volumes,
        zero_page,
        tiling.points,
        filter_taps,
        v,
        sums,
        u=(threads, filters, u),
        filters=(threads, lanes * prod(r) * width),
        order=order,
        tables=tables,
    )
