"""Which order of the loops a pass takes, and what it is applied to: decided from the geometry."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.cpu.codegen import emitter, gemm_tile
from fastconv.spec import ConvSpec

from ..passes import L2
from ..planes import planes_spec
from ..space_to_depth import stride_one_spec
from .transforms import Tile, tiling_of


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
