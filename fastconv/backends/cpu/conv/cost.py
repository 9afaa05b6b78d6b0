"""What a pass of each algorithm should cost: the rule by which ``auto`` chooses.

    seconds  =  launches  +  bytes of input and output / memory  +  bytes of weights / memory
              + operations / (share of peak)  +  bytes gathered or transformed / (share of memory)

Peak and memory are measured once per machine and number of threads (``rates``). The coefficients
below were fitted to the times of all shapes in ``bench/shapes`` on one machine. They are shares of what is
measured, so they belong to the kernels and not to the machine.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import emitter, gemm_tile
from ..runtime.machine import L3, rates
from .planes import planes_spec
from .winograd import orders, transforms

#: Seconds to start a kernel from Python: the time of the smallest layers.
LAUNCH = 30e-6

# ------------------------------------------------------------------- shares of the measured peak (FLOP/s)
#: ``direct``, forward and backward-data, for long rows and runs: its tiles read the input in place. Short
#: ones reach less (see :func:`direct`).
DIRECT = 0.95
#: ``direct``, backward-weight.
DIRECT_WEIGHT = 0.95
#: ``direct`` at most, for groups whose filters fill no more than one vector.
DIRECT_GROUPS = 0.55
#: ``im2col``, forward and backward-data: the product alone, without the gathering of the matrix.
IM2COL = 0.93
#: ``im2col``, backward-weight: the matrix is read by columns, which are not neighbours in memory.
IM2COL_WEIGHT = 0.83
#: ``winograd``, forward and backward-data: the products alone; less for few channels, whose sums are short.
WINOGRAD = 0.84
#: ``winograd``, backward-weight: both factors are read from memory, and sums are loaded and stored.
WINOGRAD_WEIGHT = 0.72
#: ``depthwise``: most layers wait for memory; those of many taps for their loads.
DEPTHWISE = 0.4
#: The same for groups of several channels, which use what they load several times.
GROUPS = 0.65
#: The same for groups as wide as a vector, by their slowest pass, backward-weight: ``direct`` multiplies no
#: zeros there either.
WIDE_GROUPS = 0.32

# ------------------------------------------------ shares of the measured copy rate (bytes read and written)
#: Input and output: each is read or written once, partly in the caches.
STREAM = 2.5
#: Weights: read once, and in backward passes written or packed as well.
WEIGHTS = 1.2
#: The matrix of im2col.
GATHER = 0.57
#: Bytes that a row of im2col's matrix costs more, for each tap and group: the work of a copy's start.
GATHER_RUN = 77
#: Tiles of Winograd's method, forward and backward-data.
TRANSFORM = 1.55
#: The same in backward-weight, which transforms x and gy.
TRANSFORM_GRADIENT = 0.85
#: The same where the gradient's tiles, all at once, outgrow the third-level cache.
TRANSFORM_LARGE = 0.3
#: What input and output have beyond this cache, forward and backward-data: tiles read and write short pieces.
PIECES = 0.2
#: Filters of Winograd's method, if their transforms go through memory.
TRANSFORM_WEIGHTS = 0.63
#: The same, if they stay in the second-level cache.
TRANSFORM_WEIGHTS_CACHED = 1.5
#: Pixels that become channels, and back.
SPACE_TO_DEPTH = 0.5


def _tile_share(rows: int) -> float:
    """Share of peak of a tile with so many rows. Short tiles wait for the multiply-add's latency."""
    return min(1.0, 0.17 + 0.3 * rows / -(-rows // gemm_tile.MAX_ROWS))


class _Pass:
    """The numbers of one pass that all algorithms' costs are made of.

    ``columns`` and ``depth`` are the output and input channels of a group as the pass sees them, ``row`` the
    pixels of a row of tiles. ``base`` are the seconds that do not depend on the algorithm.
    """

    def __init__(self, spec: ConvSpec, which: str, dtype):
        itemsize = np.dtype(dtype).itemsize
        self.spec, self.dtype, self.which, self.itemsize = spec, dtype, which, itemsize
        self.peak, self.copy = rates(settings.get_num_threads())
        self.peak *= 4 / itemsize
        columns, depth = spec.c_out // spec.groups, spec.c_in // spec.groups
        is_dgrad = which == "bwd_data"
        self.columns, self.depth = (depth, columns) if is_dgrad else (columns, depth)
        width = gemm_tile.panel_width(self.columns, dtype)
        # columns fill whole panels
        self.flops = spec.flops * -(-self.columns // width) * width / self.columns
        self.phases = prod(spec.stride) if is_dgrad else 1
        self.size = spec.in_size if is_dgrad else spec.out_size
        self.row = -(-self.size[-1] // spec.stride[-1]) if is_dgrad else self.size[-1]
        io = (prod(spec.x_shape) + prod(spec.y_shape)) * itemsize
        weights = prod(spec.w_shape) * itemsize * (1 if which == "fwd" else 2)
        self.streams = io / (STREAM * self.copy)
        launches = min(self.phases, prod(spec.kernel))
        self.base = launches * LAUNCH + self.streams + weights / (WEIGHTS * self.copy)


def depthwise(spec: ConvSpec, which: str, dtype) -> float:
    """Seconds of pass ``which`` by the depthwise kernels."""
    p, lanes = _Pass(spec, which, dtype), emitter.lanes(dtype)
    flops = spec.flops * -(-spec.c_out // lanes) * lanes / spec.c_out
    reached = DEPTHWISE if spec.c_in == spec.groups else GROUPS
    if spec.c_in // spec.groups == lanes > 1:
        reached = WIDE_GROUPS
    return p.base + flops / (reached * p.peak)


def direct(spec: ConvSpec, which: str, dtype) -> float:
    """Seconds of pass ``which`` by direct convolution. ``merged`` taps of a kernel row are one run."""
    p = _Pass(spec, which, dtype)
    merged = spec.kernel[-1] if spec.groups == 1 and spec.dilation[-1] == 1 and p.phases == 1 else 1
    if which == "bwd_weight":
        reached = DIRECT_WEIGHT * _tile_share(merged * p.depth) * p.row / (p.row + 2)
    else:
        reached = DIRECT * _tile_share(p.row) * merged * p.depth / (merged * p.depth + 2)
    if spec.groups > 1 and p.columns <= emitter.lanes(dtype):
        reached = min(reached, DIRECT_GROUPS)
    seconds = p.base + p.flops / (reached * p.peak)
    # The shares were not fitted to groups of one channel, so the estimate does not beat the special kernels.
    return max(seconds, depthwise(spec, which, dtype)) if spec.depthwise else seconds


def im2col(spec: ConvSpec, which: str, dtype) -> float:
    """Seconds of pass ``which`` by im2col."""
    p = _Pass(spec, which, dtype)
    rows, taps = spec.batch * prod(p.size), prod(spec.kernel) / p.phases
    gathered = rows * taps * spec.groups * (p.depth * p.itemsize + GATHER_RUN)
    reached = IM2COL_WEIGHT if which == "bwd_weight" else IM2COL
    return p.base + p.flops / (reached * p.peak) + gathered / (GATHER * p.copy)


def winograd_tiles(spec: ConvSpec, which: str, m: transforms.Tile) -> tuple[int, int]:
    """Tiles of a pass, and products per pair of channels, for tiles of ``m`` outputs."""
    tiling = transforms.tiling_of(spec, which == "bwd_data", m)
    return spec.batch * prod(tiling.grid), spec.batch * tiling.products


def winograd(spec: ConvSpec, which: str, dtype, m: transforms.Tile) -> float:
    """Seconds of pass ``which`` by Winograd's method with tiles of ``m`` outputs."""
    if spec.ndim == 3:
        is_dgrad, itemsize, lanes = which == "bwd_data", np.dtype(dtype).itemsize, emitter.lanes(dtype)
        inner, copy = planes_spec(spec, is_dgrad), rates(settings.get_num_threads())[1]
        gathered = prod(inner.y_shape if is_dgrad else inner.x_shape) * itemsize
        seconds = winograd(inner, which, dtype, m)
        if not orders.by_planes(spec, which, m):
            return seconds + LAUNCH + 2 * gathered / (GATHER * copy)
        # the tiles of a plane are read and transformed once, not for every tap
        c, taps = spec.c_out if is_dgrad else spec.c_in, spec.kernel[0]
        vectors = -(-taps * c // lanes) - -(-c // lanes)
        once = itemsize * winograd_tiles(inner, which, m)[1] * vectors * lanes
        once /= TRANSFORM_GRADIENT if which == "bwd_weight" else TRANSFORM
        return seconds - (once + gathered * (1 - 1 / taps) / STREAM) / copy
    if orders.needs_space_to_depth(spec):
        inner, copy = orders.inner_spec(spec), rates(settings.get_num_threads())[1]
        moved = 2 * prod(inner.x_shape) * np.dtype(dtype).itemsize
        return winograd(inner, which, dtype, m) + LAUNCH + moved / (SPACE_TO_DEPTH * copy)
    p = _Pass(spec, which, dtype)
    tiles, products = winograd_tiles(spec, which, m)
    gradient, lanes = which == "bwd_weight", emitter.lanes(dtype)
    tiling = transforms.tiling_of(spec, which == "bwd_data", m)
    planes = prod(len(form.filter_transform) for form in tiling.whole)
    width = 2 * lanes if gradient else max(gemm_tile.panel_width(p.columns, dtype), lanes)
    flops = 2 * products * p.depth * -(-p.columns // width) * width
    vectors = (-(-spec.c_in // lanes) - (-spec.c_out // lanes)) * lanes
    panels, threads = -(-p.columns // width), settings.get_num_threads()
    in_cache = gradient or orders.runs_by_panels(tiles, products, p.depth, panels, threads)
    share = TRANSFORM_WEIGHTS_CACHED if in_cache else TRANSFORM_WEIGHTS
    weights = p.itemsize * planes * spec.c_in * spec.c_out / share
    transformed = p.itemsize * products * vectors
    if gradient:
        panels *= -(-spec.c_in // width)
        in_cache = transformed < L3 or orders.sums_by_tiles(planes, panels, transformed, threads)
        transformed /= TRANSFORM_GRADIENT if in_cache else TRANSFORM_LARGE
    else:
        io = (prod(spec.x_shape) + prod(spec.y_shape)) * p.itemsize
        transformed = transformed / TRANSFORM + max(io - L3, 0) / PIECES
    reached = WINOGRAD_WEIGHT if gradient else WINOGRAD * p.depth / (p.depth + 4)
    return 2 * LAUNCH + p.streams + flops / (reached * p.peak) + (transformed + weights) / p.copy
