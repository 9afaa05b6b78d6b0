"""What the geometry of a pass decides: compiled transforms, order of the loops, records, sizes of scratch.

A plan is made once for each geometry, type and number of threads, and kept. Its record holds addresses of
arrays of the plan, so a plan is kept as long as its record is used (``jit.by_address``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends.cpu.codegen import emitter, gemm_tile, transforms
from fastconv.backends.cpu.codegen.record import make_record, record_type
from fastconv.spec import ConvSpec

from ..passes import L2
from ..planes import planes_spec
from ..space_to_depth import stride_one_spec
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
#: What a pass over volumes has in addition::
#:
#:     taps                    of a kernel in depth
#:     ring                    planes that V holds
#:     plane_step, origin      input plane of tap t:  output plane + origin + plane_step * t
#:     blocks, segments        of the tiles of a plane, of the planes of a volume: the units of work
#:     filter_taps             address of a table: where the filters of each tap lie in U
VOLUMES = record_type(taps=1, ring=1, plane_step=1, origin=1, blocks=1, segments=1, filter_taps=1)
#: Numbers of backward-weight::
#:
#:     input_transform, grad_transform     addresses of the transforms of x and gy, for each kind of tiles
#:     filter_transform                    address of that of the gradient of the filters
#:     v_points, d_points                  addresses of tables: where each point lies in V and in D
#:     width                               channels of a panel, of x and of gy
#:     v_plane, d_plane                    bytes from point to point in V and in D
#:     block                               tiles that V and D hold
#:
#: The others are as in a FORWARD record.
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


# -------------------------------------------------------------------------------------------------- strategy
def needs_space_to_depth(spec: ConvSpec) -> bool:
    """Whether Winograd's method is applied to the convolution of stride 1 that ``spec`` becomes."""
    return spec.ndim == 2 and spec.stride == (2, 2) and spec.kernel != (3, 3)


def inner_spec(spec: ConvSpec) -> ConvSpec:
    """The convolution that Winograd's method is applied to, in a forward pass."""
    if spec.ndim == 3:
        return planes_spec(spec)
    return stride_one_spec(spec) if needs_space_to_depth(spec) else spec


def runs_by_panels(tiles: int, products: int, depth: int, panels: int, threads: int) -> bool:
    """Whether the loops of forward and backward-data run by panels instead of by tiles.

    They do if V of all tiles is less to read again than the weights, and a panel's sums fit L2; or if there
    are too few blocks of tiles.
    """
    sums = products * 2 * emitter.lanes(np.float32) * 4
    return (tiles * 2 <= depth and sums <= 0.75 * L2) or (
        tiles < 2 * gemm_tile.MAX_ROWS * threads and panels >= threads
    )


def runs_by_planes(spec: ConvSpec, is_dgrad: bool, m: Tile) -> bool:
    """Whether the loops of forward and backward-data of volumes run by planes; otherwise the planes are
    gathered first (``planes.py``).

    They do if the tiles of a plane fill the rows of a product. With fewer rows U is read again too often, but
    not if it stays near the core (fitted to measurements).
    """
    tiling = tiling_of(spec, is_dgrad, m)
    filters = len(tiling.points) * spec.kernel[0] * spec.c_in * spec.c_out * 4
    return spec.kernel[0] > 1 and (prod(tiling.grid) >= gemm_tile.MAX_ROWS or filters <= 4 * L2)


def gradient_by_planes(spec: ConvSpec, m: Tile) -> bool:
    """The same for backward-weight: they do if the sums, which are read again for every plane, are small for
    the tiles of a plane (fitted to measurements)."""
    tiling = tiling_of(spec, False, m)
    sums = len(tiling.points) * spec.kernel[0] * spec.c_in * spec.c_out * 4
    return spec.kernel[0] > 1 and sums <= prod(tiling.grid) * L2 / 5


def by_planes(spec: ConvSpec, which: str, m: Tile) -> bool:
    """Whether the loops of pass ``which`` run by planes."""
    if which == "bwd_weight":
        return gradient_by_planes(spec, m)
    return runs_by_planes(spec, which == "bwd_data", m)


def sums_by_tiles(filters: int, panels: int, transformed: int, threads: int) -> bool:
    """Whether each thread sums the gradient of its own tiles.

    It does if the sums (``panels`` squares of two vectors' lanes for each of ``filters``) fit L2, or if they
    are less to read again for every block than the ``transformed`` bytes of all tiles for every panel (fitted
    to measurements).
    """
    sums = filters * panels * (2 * emitter.lanes(np.float32)) ** 2 * 4
    return sums <= L2 or (sums <= 6 * L2 and 2.5 * threads * sums <= transformed)


def _tiles_per_block(tiles, tile_bytes, weight_bytes, threads) -> int:
    """Tiles per block: one or two times the rows of a tile of the product, as transforms and sums fit half of
    what the weights leave of L2, in equal shares."""
    fit = max(L2 - weight_bytes, L2 // 2) // 2 // tile_bytes // gemm_tile.MAX_ROWS
    shares = threads * -(-tiles // (min(max(fit, 1), 2) * gemm_tile.MAX_ROWS * threads))
    return -(-tiles // shares)


def _odd_vectors(elements: int, lanes: int) -> int:
    """At least so many elements, in an odd number of vectors. So many runs of them do not start in the same
    few sets of a cache."""
    return (-(-elements // lanes) | 1) * lanes


# ------------------------------------------------------------------------------------------------ transforms
def _transform(down, across, dtype, transposed=False, **options) -> int:
    """The address of a compiled transform."""
    if transposed:
        down, across = zip(*down), zip(*across)
    return transforms.transform_address(tuple(map(tuple, down)), tuple(map(tuple, across)), dtype, **options)


def _is_masked(channels: int, dtype) -> bool:
    """Whether the last vector of channels is used in part."""
    return channels % emitter.lanes(dtype) != 0


def _input_transforms(tiling: Tiling, dtype, channels: int) -> tuple[int, ...]:
    """Those for each kind of tiles."""
    masked = _is_masked(channels, dtype)
    return tuple(
        _transform(d.input_transform, a.input_transform, dtype, src_table=True, masked=masked)
        for d, a in tiling.kinds
    )


def _output_transforms(tiling: Tiling, dtype, channels: int, adding: bool) -> tuple[int, ...]:
    """Those for each kind of tiles; ``adding`` a residual."""
    options = {"dst_table": True, "masked": _is_masked(channels, dtype), "biased": True, "adding": adding}
    return tuple(
        _transform(d.output_transform, a.output_transform, dtype, **options) for d, a in tiling.kinds
    )


def _grad_transforms(tiling: Tiling, dtype, channels: int) -> tuple[int, ...]:
    """Those of the upstream gradient for each kind of tiles: the output's, transposed."""
    masked = _is_masked(channels, dtype)
    return tuple(
        _transform(d.output_transform, a.output_transform, dtype, True, src_table=True, masked=masked)
        for d, a in tiling.kinds
    )


def _filter_transform(tiling: Tiling, dtype, transposed=False, **options) -> int:
    """That of the filters."""
    down, across = tiling.whole
    return _transform(down.filter_transform, across.filter_transform, dtype, transposed, **options)


def _sides(tiling: Tiling) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Input and output pixels of a tile, down and across, and how many filters are made of one."""
    inputs = tuple(len(form.input_transform[0]) for form in tiling.whole)
    outputs = tuple(len(form.output_transform) for form in tiling.whole)
    return inputs, outputs, prod(len(form.filter_transform) for form in tiling.whole)


# ----------------------------------------------------------------------------------- forward, backward-data
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


def _volumes_record(
    spec: ConvSpec, is_dgrad: bool, ring: int, blocks: int, threads: int, filter_taps: int = 0
) -> np.ndarray:
    """The :data:`VOLUMES` record. A unit of work is a block of tiles in a segment of the planes. A segment
    begins with planes that the one before transforms as well, so there are as few as the threads need."""
    before, planes = spec.padding[0][0], (spec.in_size if is_dgrad else spec.out_size)[0]
    return make_record(
        VOLUMES,
        taps=spec.kernel[0],
        ring=ring,
        plane_step=spec.dilation[0] * (-1 if is_dgrad else 1),
        origin=before if is_dgrad else -before,
        blocks=blocks,
        segments=min(planes, -(-2 * threads // (spec.batch * blocks))),
        filter_taps=filter_taps,
    )


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
    side, outputs, filters = _sides(tiling)
    width = max(gemm_tile.panel_width(out_channels, dtype), lanes)
    taps, in_plane = spec.kernel[0], prod(tiling.grid)
    panels, tiles = -(-out_channels // width), spec.batch * in_plane
    pitch, targets = _odd_vectors(channels, lanes), 2 * prod(outputs)
    # zeros to read, then the sink
    zero_page = np.zeros(2 * (max(channels, out_channels) + width), dtype)
    by_panels = taps == 1 and runs_by_panels(tiles, spec.batch * tiling.products, channels, panels, threads)
    filter_taps, volumes = np.arange(taps, dtype=np.int64) * channels * width, None
    if by_panels:
        block, depth_slice = tiles, min(channels, 128)
        v, u = (points, _odd_vectors(tiles * pitch, lanes)), _odd_vectors(depth_slice * width, lanes)
        order, tables = tables_size(0, tiles) + targets * tiles, max(prod(side), lanes)
    else:
        ring = (taps - 1) * spec.dilation[0] + 1
        transformed = panels * filters * taps * channels * width * dtype.itemsize
        tile_bytes = points * (ring * channels + width) * dtype.itemsize
        block = _tiles_per_block(tiles if taps == 1 else in_plane, tile_bytes, transformed, threads)
        v, u, depth_slice = (threads, points, _odd_vectors(ring * block * pitch, lanes)), 0, 0
        order, tables = 0, tables_size(prod(side), block) + targets * block + taps
        if taps > 1:
            volumes = _volumes_record(
                spec, is_dgrad, ring, -(-in_plane // block), threads, filter_taps.ctypes.data
            )
    sums = threads, points, _odd_vectors(block * width, lanes)
    filter_transform = _filter_transform(tiling, dtype)
    record = make_record(
        FORWARD,
        tile=gemm_tile.tile_address(dtype, width, plain=True),
        input_transform=_input_transforms(tiling, dtype, channels),
        output_transform=_output_transforms(tiling, dtype, out_channels, adding),
        filter_transform=filter_transform,
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
        filter_transform,
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


# ------------------------------------------------------------------------------------------- backward-weight
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
    side, outputs, filters = _sides(tiling)
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
        v, d = ((threads, points, _odd_vectors(p * block * width, lanes)) for p in panels)
        rows = depth_taps * spec.c_in + width
        u, parts = (threads, filters, _odd_vectors(rows * k_panels * width, lanes)), threads
        volumes = _volumes_record(spec, False, ring, -(-in_plane // block), threads)
    elif by_tiles:
        block = max(L2 // (points * (c_panels + k_panels) * width * dtype.itemsize), 8)
        block = min(block, -(-tiles // threads))
        tables, order = tables_size(prod(side), block), 0
        v, d = ((threads, points, _odd_vectors(p * block * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, filters, _odd_vectors(c_panels * width * k_panels * width, lanes)), threads
    else:
        block, tables, order = tiles, prod(side), tables_size(0, tiles)
        v, d = ((points, _odd_vectors(p * tiles * width, lanes)) for p in (c_panels, k_panels))
        u, parts = (threads, filters, _odd_vectors(width * width, lanes)), 1
    sorted_points, runs = tiling.runs
    v_points, d_points = sorted_points * v[-1], sorted_points * d[-1]
    record = make_record(
        GRADIENT,
        tile=gemm_tile.tile_address(dtype, width, plain=True),
        input_transform=_input_transforms(tiling, dtype, spec.c_in),
        grad_transform=_grad_transforms(tiling, dtype, spec.c_out),
        filter_transform=_filter_transform(
            tiling, dtype, True, dst_table=True, masked=_is_masked(spec.c_out, dtype)
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
