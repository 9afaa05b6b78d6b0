"""The weight gradient on Hopper in bfloat16: implicit GEMM along pixels, of slabs as the copies bring them.

::

                                     n: output channels
                                  +------------------------+    two kernels:
        p: pixels of gy           | gy[p, n]               |    hopper_weight_rows.py    stride 1, 3 rows
                                  +------------------------+                             of taps
      +---------------------------+------------------------+    hopper_weight_slices.py  all others
    r | x[pixel(p) + tap(r),      | gw[r, n] = sum over p  |
      |   channel(r)]             |                        |    r: taps x channels, in slices of 64 channels
      +---------------------------+------------------------+

In shared memory a pixel is a line of 64 channels. So channels run along lines, and k does not (*transposed*
in ``codegen/hopper.py``), which the tensor cores read in bfloat16 only.

With split k, each part of the pixels writes a gradient of its own; ``epilogue.add_parts`` adds them.

Needs compute capability 9.0. There its tiles are among the plans of ``implicit_gemm_weight.py``.
"""

from __future__ import annotations

import functools

from ..runtime import device, memory, tensor_map
from ..runtime.array import DeviceArray
from ..runtime.launch import launch
from . import cost, epilogue, hopper_weight_rows, hopper_weight_slices
from . import hopper as forward
from .geometry import Phase
from .hopper_weight_rows import RowsTile
from .hopper_weight_slices import SlicesTile

TILES = (*hopper_weight_slices.TILES, *hopper_weight_rows.TILES)

MOST_PLANS = 5
# Estimates: operations per second, bytes per second of a multiprocessor's shared memory, seconds until the
# first slab has arrived, and seconds for a part that ``add_parts`` adds.
RATE, SHARED = 750e12, 220e9
FILL, ADD = 1.5e-6, 0.02e-6


# ------------------------------------------------------------------------------------------------- launches
def refuses(phase: Phase, mode: str) -> str | None:
    """Why the weight gradient of a forward phase cannot run here, or None."""
    if mode != "bf16":
        return f"tensor cores read operands whose channels run along lines in bf16 only, got {mode}"
    return forward.refuses(phase, mode)


def is_usable(phase: Phase, mode: str) -> bool:
    """Whether the device can run these kernels, and they take this phase in this mode."""
    return device.capability() == forward.CAPABILITY and refuses(phase, mode) is None


def run_tile(
    phase: Phase, x: DeviceArray, gy: DeviceArray, gw: DeviceArray, tile: SlicesTile | RowsTile, split_k: int
) -> None:
    """The weight gradient on one tile, with ``x`` and ``gy`` in bfloat16.

    Parameters
    ----------
    split_k : int
        Parts of the sum over pixels.
    """
    target = gw if split_k == 1 else memory.empty((split_k, *gw.shape), gw.dtype)
    launch(
        _kernel_of(phase, tile),
        (*tile.blocks(phase), split_k),
        tile.threads,
        tensor_map.table(*tile.maps(phase, x, gy)),
        x,
        gy,
        target,
        split_k,
        phase.table,
        shared=forward.ALIGN + tile.stages_of(phase) * tile.slab(phase),
    )
    if split_k > 1:
        epilogue.add_parts(target, gw, split_k)


def _kernel_of(phase, tile):
    if isinstance(tile, SlicesTile):
        return hopper_weight_slices.slices_kernel(tile)
    between = phase.axes[1].offset_step
    return hopper_weight_rows.rows_kernel(tile, *tile.step_of(phase), between, tile.stages_of(phase))


# --------------------------------------------------------------------------------------------------- the plan
@functools.lru_cache(maxsize=1024)
def plans(phase: Phase) -> list[cost.Plan]:
    """Tiles and parts of the sum, the best by a model like that of ``cost.py`` first.

    One plan for each layout of warpgroups, ``MOST_PLANS`` at most, because each takes seconds to compile.
    """
    best = [_best_plan(phase, tile) for tile in TILES if not tile.refuses(phase)]
    best.sort(key=lambda p: p.seconds)
    first = {p.tile.layout: p for p in reversed(best)}
    return [p for p in best if p is first[p.tile.layout] and p.seconds < 1.5 * best[0].seconds][:MOST_PLANS]


def _best_plan(phase, tile):
    return min(_tile_plans(phase, tile), key=lambda p: p.seconds)


def _tile_plans(phase, tile):
    steps, (rows, columns) = tile.steps(phase), tile.blocks(phase)
    cache = cost.CACHE / cost.PROCESSORS
    # each product reads 16 pixels of 64 rows and of its columns
    products = tile.BK // 16 * tile.multipliers // 128 * tile.high
    read = products * 16 * 2 * (hopper_weight_slices.SLICE + tile.wide)
    slab = tile.slab(phase)
    multiplied = 2 * tile.BM * tile.BN * tile.BK / (RATE / cost.PROCESSORS)
    step = max(multiplied, (read + slab) / SHARED, slab / cache)
    # the first slab on its way, and the sums; blocks that share a processor do this while others multiply
    around = (FILL + 4 * tile.BM * tile.BN / cache) / tile.per_processor
    result = 4 * phase.taps * phase.channels[0] * phase.channels[1]
    for split_k in range(1, min(steps, 2 * cost.PROCESSORS) + 1):
        waves = -(-rows * columns * split_k // cost.PROCESSORS)
        seconds = cost.LAUNCH + waves * (-(-steps // split_k) * step + around)
        if split_k > 1:
            seconds += cost.LAUNCH + split_k * (2 * result / cost.BANDWIDTH + ADD)
        yield cost.Plan(tile, split_k, seconds)
