"""Tiles of implicit GEMM, and what each algorithm should cost: the rule by which ``auto`` chooses.

The model of implicit GEMM: blocks run in waves on the multiprocessors, one block on each. A block takes
``steps`` of k, and a step takes the longest of three::

    products                 operations / (rate of the multiprocessor * share for small warp tiles)
    instructions             of single threads: addresses, copies
    bytes                    of the slabs, from the second-level cache

    seconds = launch + waves * (steps * step + prologue and epilogue) + adding up the parts of split k

The numbers are those of an H200; only their ratios matter. On a device, ``autotune`` then measures the best
plans of the model once per shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen.mma_tile import Tile
from ..runtime.launch import SIMULATED
from . import geometry
from .geometry import Phase

PROCESSORS = 132
# operations per second of full tiles, by mode (codegen/mma_tile.py)
RATE = {"fma": 55e12, "tf32": 280e12, "bf16_on_read": 330e12, "bf16": 550e12}
ISSUE = 18e12  # instructions of single threads per second
ALONE = 3.5e-9  # seconds from one instruction of a thread to the next, where few threads run (measured, H200)
BANDWIDTH, CACHE = 4e12, 5.5e12  # bytes per second: memory, second-level cache
LAUNCH = 4e-6  # seconds to launch a kernel and fill its pipeline

#: Mode by precision setting, for float32.
MODES = {"highest": "fma", "high": "tf32", "medium": "bf16_on_read"}

# Tiles where copies of 16 bytes are possible. A warp tile of 64 x 64 leaves no register to count channels
# that BK does not divide.
LARGEST = Tile(256, 128, 32, (64, 64), (8, 8)), Tile(256, 64, 16, (64, 64), (8, 8))
TENSOR = (
    *LARGEST,
    Tile(128, 128, 32, (64, 32), (8, 8)),
    Tile(128, 64, 32, (64, 32), (8, 8)),
    Tile(64, 64, 32, (32, 32), (8, 4)),
    Tile(128, 16, 16, (32, 16), (4, 4)),
)
PLAIN = Tile(128, 128, 16, (64, 32), (8, 8)), *TENSOR[2:]
WIDE = {"fma": PLAIN, "tf32": TENSOR, "bf16_on_read": TENSOR, "bf16": TENSOR}
# Tiles where channels are copied one by one.
NARROW = (
    Tile(64, 64, 16, (32, 32), (8, 4)),
    Tile(64, 16, 16, (16, 16), (4, 4)),
    Tile(32, 16, 16, (16, 16), (4, 4)),
)
DOUBLE = (Tile(64, 64, 16, (32, 32), (4, 4)),)  # for float64
SMALL = (Tile(16, 16, 16, (16, 16), (4, 4)),)  # for the simulator

GRID = 65_535  # blocks along the second axis of a grid, and along the third
_MOST_CHANNELS = (
    max(t.BN for t in (SMALL if SIMULATED else DOUBLE)) * GRID
)  # of a group; some tile can do them

OUTPUTS = 4 if SIMULATED else 16  # output channels of a thread of the direct kernel, at most


# ------------------------------------------------------------------------------------------------- plans
@dataclass(frozen=True)
class Plan:
    """How implicit GEMM runs a phase: the tile, the parts of the sum, and the estimated seconds."""

    tile: Tile
    split_k: int
    seconds: float


@lru_cache(maxsize=4096)
def plans(
    m: int, n: int, k: int, groups: int, mode: str, itemsize: int, vectors: bool, chunked: bool = True
) -> list[Plan]:
    """Plans for ``groups`` matrix products of m x k and k x n numbers, the best by the model first.

    Parameters
    ----------
    mode : str
        One of ``codegen/mma_tile.py``.
    itemsize : int
        Bytes of a number.
    vectors : bool
        Whether copies of 16 bytes are possible.
    chunked : bool
        Whether runs of 32 numbers of k belong to the same tap.

    Returns
    -------
    list of Plan
        One per tile, without those that take 1.3 times as long as the best, because each tile takes seconds
        to compile.
    """
    best: dict[Tile, Plan] = {}
    for tile in SMALL if SIMULATED else DOUBLE if itemsize == 8 else WIDE[mode] if vectors else NARROW:
        if (tile in LARGEST and not chunked) or -(-n // tile.BN) > GRID:
            continue
        for plan in _tile_plans(tile, m, n, k, groups, mode, itemsize, vectors):
            best[tile] = min(best.get(tile, plan), plan, key=_order)
    first, *rest = sorted(best.values(), key=_order)
    return [first, *(p for p in rest if p.seconds < 1.3 * first.seconds)]


def _order(plan):
    return plan.seconds, plan.split_k


def _tile_plans(tile, m, n, k, groups, mode, itemsize, vectors):
    """A plan for each number of parts that the sum may be split into."""
    # What a warp (or a thread) reads from shared memory limits it. A small tile reads more per product.
    high, wide = tile.thread_tile if mode == "fma" else tile.warp_tile
    best = 4.0 if mode == "fma" else 32.0
    share = min(1.0, high * wide / (high + wide) / best)
    blocks = -(-m // tile.BM) * -(-n // tile.BN) * groups
    steps, threads = -(-k // tile.BK), tile.threads(mode)
    width = 2 if itemsize == 8 else 1
    step = 2 * tile.BM * tile.BN * tile.BK * width / (RATE[mode] / PROCESSORS * share)
    # Instructions counted in compiled kernels: a thread finds places and starts copies ...
    copies = (tile.BM + tile.BN) * tile.BK // (16 // itemsize if vectors else 1)
    step = max(step, (100 * threads + 12 * copies) * PROCESSORS / ISSUE)
    # (half of x comes from the first-level cache)
    step = max(step, (tile.BM // 2 + tile.BN) * tile.BK * itemsize * PROCESSORS / CACHE)
    # ... and before and after the loop it fills tables and writes.
    around = (600 * threads + 250 * tile.BM + 15 * tile.BM * tile.BN) * PROCESSORS / ISSUE
    for split_k in {1, *(min(2**i, steps) for i in range(1, 9))}:
        if split_k > 1 and groups * split_k > GRID:
            continue
        waves = max(-(-blocks * split_k // PROCESSORS), 1)
        added = LAUNCH + 2 * split_k * m * n * groups * max(itemsize, 4) / BANDWIDTH if split_k > 1 else 0
        yield Plan(tile, split_k, LAUNCH + waves * (-(-steps // split_k) * step + around) + added)


def mode_of(dtype) -> str:
    """The mode in which numbers of a type are multiplied, by the precision setting."""
    return MODES[settings.get_float32_precision()] if dtype == np.float32 else "fma"


def packed(mode: str, *channels: int) -> str:
    """The mode for so many channels.

    Where 16 bytes of bfloat16 lie together, arrays are rounded beforehand instead of on reading.
    """
    return "bf16" if mode == "bf16_on_read" and all(c % 8 == 0 for c in channels) else mode


def vector_width(channels: int, itemsize: int) -> int:
    """Numbers per copy to shared memory: those of 16 bytes, or one."""
    return 16 // itemsize if channels * itemsize % 16 == 0 else 1


def phase_plans(phase: Phase, dtype, mode: str | None = None) -> list[Plan]:
    """Plans of a phase of forward or backward-data; ``mode`` overrides that of the precision setting."""
    in_channels, out_channels = phase.channels
    mode = packed(mode or mode_of(dtype), in_channels, out_channels)
    size = 2 if mode == "bf16" else np.dtype(dtype).itemsize
    vectors = vector_width(in_channels, size) > 1 and (phase.is_dgrad or vector_width(out_channels, size) > 1)
    k, chunked = phase.taps * in_channels, in_channels % 32 == 0
    return plans(phase.pixels, out_channels, k, phase.spec.groups, mode, size, vectors, chunked)


def weight_plans(phase: Phase, dtype, mode: str | None = None) -> list[Plan]:
    """Plans of the weight gradient; ``mode`` overrides that of the precision setting."""
    in_channels, out_channels = phase.channels
    mode = packed(mode or mode_of(dtype), in_channels, out_channels)
    size = 2 if mode == "bf16" else np.dtype(dtype).itemsize
    vectors = vector_width(in_channels, size) > 1 and vector_width(out_channels, size) > 1
    m = phase.taps * in_channels
    return plans(m, out_channels, phase.pixels, phase.spec.groups, mode, size, vectors)


_only: ContextVar[Sequence[Plan] | None] = ContextVar("fastconv_cuda_plans", default=None)


@contextlib.contextmanager
def only_plans(*only: Plan) -> Iterator[None]:
    """Run implicit GEMM by these plans inside a ``with`` block, instead of those of the model.

    For tests, the compile report and the roofline, which need a certain tile. Estimates stay those of the
    model.
    """
    token = _only.set(only)
    try:
        yield
    finally:
        _only.reset(token)


def plans_to_run(found: list[Plan]) -> Sequence[Plan]:
    """The plans that may run: ``found``, or those of :func:`only_plans`."""
    only = _only.get()
    return found if only is None else only


# ------------------------------------------------------------------------------------------------- estimates
def phases(spec: ConvSpec, which: str) -> list[Phase]:
    """The phases of a pass that have taps."""
    spec = spec.as_3d()
    return [p for p in (geometry.backward if which == "bwd_data" else geometry.forward)(spec) if p.taps]


def has_many_taps(spec: ConvSpec) -> bool:
    """Whether implicit GEMM needs several blocks of taps."""
    return sum(spec.as_3d().kernel) > geometry.MASK_BITS


def too_large_a_grid(groups: int, *channels: int) -> str | None:
    """Why implicit GEMM cannot number its blocks for ``groups`` groups of so many channels, or None."""
    if groups > GRID or max(channels) > _MOST_CHANNELS:
        return (
            f"it computes up to {GRID} groups of up to {_MOST_CHANNELS} channels, got {groups} groups of "
            f"{' and '.join(map(str, channels))} channels"
        )
    return None


def implicit_gemm(spec: ConvSpec, which: str, dtype) -> float:
    if has_many_taps(spec):
        return inf  # auto leaves it to the others: sums over blocks of taps were never measured on a device
    if not spec.batch:
        return LAUNCH
    find = weight_plans if which == "bwd_weight" else phase_plans
    return sum(find(p, dtype)[0].seconds for p in phases(spec, which))


def implicit_gemm_workspace(spec: ConvSpec, which: str, dtype) -> int:
    found, size = phases(spec, which), np.dtype(dtype).itemsize
    result = {"fwd": spec.y_shape, "bwd_data": spec.x_shape, "bwd_weight": spec.w_shape}[which]
    if has_many_taps(spec):  # weights of the blocks of taps, and two results that are not complete
        return (prod(spec.w_shape) + (2 * prod(result) if which != "bwd_weight" else 0)) * size
    if not spec.batch or len(found) != 1:
        return 0
    split_k = (weight_plans if which == "bwd_weight" else phase_plans)(found[0], dtype)[0].split_k
    return split_k * prod(result) * size if split_k > 1 else 0


def has_narrow_groups(groups: int, channels: int) -> bool:
    """Whether a thread had better compute one number, because a group has so few channels."""
    return groups > 1 and channels < OUTPUTS // 2


def outputs_per_thread(out_channels: int) -> int:
    """Output channels of a thread of the direct kernel."""
    return next((n for n in (4, 8) if out_channels <= n), OUTPUTS)


def _one_by_one(phase, dtype) -> float:
    """Seconds where a thread computes one number."""
    in_channels, out_channels = phase.channels
    instructions = 60 * phase.pixels * phase.taps * in_channels * out_channels
    return LAUNCH + instructions * phase.spec.groups * np.dtype(dtype).itemsize / 4 / ISSUE


def _several(phase, dtype) -> float:
    """Seconds where a thread computes several output channels of a pixel."""
    in_channels, out_channels = phase.channels
    each = outputs_per_thread(out_channels)
    threads = phase.pixels * -(-out_channels // each) * phase.spec.groups
    instructions = (25 + 1.5 * each) * phase.taps * in_channels + 300
    together = threads * instructions * np.dtype(dtype).itemsize / 4 / ISSUE
    return LAUNCH + max(together, instructions * ALONE)


def depthwise(spec: ConvSpec, which: str, dtype) -> float:
    return sum(_one_by_one(p, dtype) for p in phases(spec, which)) or LAUNCH


def direct(spec: ConvSpec, which: str, dtype) -> float:
    seconds = 0.0
    for phase in phases(spec, which):
        one_by_one = _one_by_one(phase, dtype)
        if which == "bwd_weight":
            seconds += one_by_one
        elif has_narrow_groups(spec.groups, phase.channels[1]):
            # threads read addresses far apart, which the model does not know; never better than depthwise
            seconds += max(_several(phase, dtype), one_by_one)
        else:
            seconds += _several(phase, dtype)
    return seconds or LAUNCH


def direct_workspace(spec: ConvSpec, which: str, dtype) -> int:
    return 256 * prod(spec.w_shape) * np.dtype(dtype).itemsize if which == "bwd_weight" else 0
