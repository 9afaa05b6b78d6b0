"""Convolution on the GPU: the contract's three passes, and what they run on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf, prod

import numpy as np

from fastconv.backends import select, settings

from ..codegen.mma_tile import Tile
from ..runtime import autotune, layout, memory
from ..runtime.launch import SIMULATED, THREADS, grid, launch
from . import direct as direct
from . import geometry as geometry
from . import implicit_gemm as implicit
from .bf16 import rounded

# What the rule of choice assumes of a device (an H200); only ratios matter.
PROCESSORS = 132
RATE = {"fma": 55e12, "tf32": 280e12, "bf16": 330e12, "half": 550e12}  # operations per second of full tiles
ISSUE = 18e12  # instructions of single threads per second
BANDWIDTH, CACHE = 4e12, 5.5e12  # bytes per second: memory, second-level cache
START = 4e-6  # seconds to launch a kernel and fill its pipeline

MODES = {"highest": "fma", "high": "tf32", "medium": "bf16"}
# of 64 x 64 sums per warp: no register is left to count channels that the depth does not divide
LARGEST = Tile(256, 128, 32, (64, 64), (8, 8)), Tile(256, 64, 16, (64, 64), (8, 8))
TENSOR = (
    *LARGEST,
    Tile(128, 128, 32, (64, 32), (8, 8)),
    Tile(128, 64, 32, (64, 32), (8, 8)),
    Tile(64, 64, 32, (32, 32), (8, 4)),
    Tile(128, 16, 16, (32, 16), (4, 4)),
)
PLAIN = Tile(128, 128, 16, (64, 32), (8, 8)), *TENSOR[2:]
WIDE = {"fma": PLAIN, "tf32": TENSOR, "bf16": TENSOR, "half": TENSOR}
# channels are copied one by one
NARROW = (
    Tile(64, 64, 16, (32, 32), (8, 4)),
    Tile(64, 16, 16, (16, 16), (4, 4)),
    Tile(32, 16, 16, (16, 16), (4, 4)),
)
DOUBLE = (Tile(64, 64, 16, (32, 32), (4, 4)),)
SMALL = (Tile(16, 16, 16, (16, 16), (4, 4)),)  # for the simulator


@dataclass(frozen=True)
class Plan:
    """How one phase runs on tiles: the tile, in how many parts the sum is cut, and an estimate of the
    seconds."""

    tile: Tile
    parts: int
    seconds: float


@lru_cache(maxsize=4096)
def _plans(rows, cols, depth, groups, mode, itemsize, whole, even=True) -> list[Plan]:
    """For ``groups`` products of rows x depth and depth x cols: the best plan with each tile by a model of
    waves of blocks, the best of all first. ``whole``: 16 bytes lie together; ``even``: and 32 numbers that
    are added up."""
    plans = {}
    for tile in SMALL if SIMULATED else DOUBLE if itemsize == 8 else WIDE[mode] if whole else NARROW:
        if tile in LARGEST and not even:
            continue
        # what a warp (or a thread) reads from shared memory limits it: small ones read more per product
        high, wide = tile.each if mode == "fma" else tile.warp
        best = 4.0 if mode == "fma" else 32.0
        share = min(1.0, high * wide / (high + wide) / best)
        blocks = -(-rows // tile.rows) * -(-cols // tile.cols) * groups
        steps = -(-depth // tile.depth)
        step = (
            2
            * tile.rows
            * tile.cols
            * tile.depth
            * (2 if itemsize == 8 else 1)
            / (RATE[mode] / PROCESSORS * share)
        )
        # beside the products a thread prepares its lines, starts copies and writes; instructions counted in
        # compiled kernels
        copies = (tile.rows + tile.cols) * tile.depth // (16 // itemsize if whole else 1)
        step = max(step, (100 * tile.threads(mode) + 12 * copies) * PROCESSORS / ISSUE)
        # half of x is taken from the first-level cache
        step = max(step, (tile.rows // 2 + tile.cols) * tile.depth * itemsize * PROCESSORS / CACHE)
        around = (
            (600 * tile.threads(mode) + 250 * tile.rows + 15 * tile.rows * tile.cols) * PROCESSORS / ISSUE
        )
        for parts in {1, *(min(2**i, steps) for i in range(1, 9))}:
            waves = max(-(-blocks * parts // PROCESSORS), 1)
            added = (
                START + 2 * parts * rows * cols * groups * max(itemsize, 4) / BANDWIDTH if parts > 1 else 0
            )
            plan = Plan(tile, parts, START + waves * (-(-steps // parts) * step + around) + added)
            plans[tile] = min(plans.get(tile, plan), plan, key=_order)
    best, *rest = sorted(plans.values(), key=_order)
    return [best, *(p for p in rest if p.seconds < 1.3 * best.seconds)]  # each tile takes seconds to compile


def _order(plan):
    return plan.seconds, plan.parts


def _fastest(plans, run, *problem) -> Plan:
    """The plan to run a phase by: where there is a device the one that took least time on it once, else the
    first."""
    named = {f"{p.tile.rows}x{p.tile.cols}x{p.tile.depth}/{p.parts}": p for p in plans}
    return named[autotune.fastest(problem, {name: partial(run, p) for name, p in named.items()})]


def _mode(dtype) -> str:
    return MODES[settings.get_float32_precision()] if dtype == np.float32 else "fma"


def _width(channels: int, itemsize: int) -> int:
    """Numbers that one copy to shared memory can take: 16 bytes, or one."""
    return 16 // itemsize if channels * itemsize % 16 == 0 else 1


def _packed(mode, *channels) -> str:
    """The mode in which numbers of so many channels are multiplied: bfloat16 arrays instead of rounding on
    reading where 16 bytes of them lie together."""
    return "half" if mode == "bf16" and all(c % 8 == 0 for c in channels) else mode


def _phase_plans(phase, dtype, mode=None) -> list[Plan]:
    channels, columns = phase.channels
    mode = _packed(mode or _mode(dtype), channels, columns)
    size = 2 if mode == "half" else np.dtype(dtype).itemsize
    whole = _width(channels, size) > 1 and (phase.is_dgrad or _width(columns, size) > 1)
    return _plans(
        phase.pixels, columns, phase.taps * channels, phase.spec.groups, mode, size, whole, channels % 32 == 0
    )


def _weight_plans(phase, dtype, mode=None) -> list[Plan]:
    channels, columns = phase.channels
    mode = _packed(mode or _mode(dtype), channels, columns)
    size = 2 if mode == "half" else np.dtype(dtype).itemsize
    whole = _width(channels, size) > 1 and _width(columns, size) > 1
    return _plans(phase.taps * channels, columns, phase.pixels, phase.spec.groups, mode, size, whole)


def _aligned(x):
    """``x``, or a copy of it, at an address that wide loads accept."""
    if x is None or x.address % 16 == 0:
        return x
    y = memory.empty(x.shape, x.dtype)
    return layout.copy_to(x, y)


# ------------------------------------------------------------------------------------------------- implicit
def gather(phases, x, w, y, bias=None, residual=None, relu=False, mode=None):
    """Run phases of forward or backward-data as implicit GEMM; ``mode`` other than the precision's."""
    bias, residual, x, w = (_aligned(v) for v in (bias, residual, x, w))
    full, mode = all(p.taps for p in phases), _packed(mode or _mode(y.dtype), *phases[0].channels)
    if mode == "half":
        x, w = rounded(x, True), rounded(w, False)
    for phase in phases:
        if not phase.taps:
            continue

        def run(plan, phase=phase):
            parts = plan.parts if full and len(phases) == 1 else 1
            y.base.known.clear()  # of another plan that was tried
            target = y if parts == 1 else memory.empty((parts, *y.shape), y.dtype)
            _gather(phase, plan.tile, mode, x, w, target, parts, bias, residual, relu)
            if parts > 1:
                implicit.add_parts(target, y, parts, bias, residual, relu)

        run(_fastest(_phase_plans(phase, y.dtype, mode), run, phase, y.dtype, mode))


def _implicit(phases, x, w, y, bias, residual, relu):
    (_direct if _has_many_taps(phases[0].spec) else gather)(phases, x, w, y, bias, residual, relu)


def _flags(bias, residual, relu):
    return (
        implicit.BIAS * (bias is not None)
        | implicit.RESIDUAL * (residual is not None)
        | implicit.RELU * bool(relu)
    )


def _gather(phase, tile, mode, x, w, y, parts, bias, residual, relu):
    channels, columns = phase.channels
    size = x.itemsize
    kernel, slabs = implicit._gather(
        tile,
        mode,
        y.dtype.type,
        phase.is_dgrad,
        _width(channels, size),
        _width(columns, size),
        channels % tile.depth == 0,
    )
    flags = (_flags(bias, residual, relu) if parts == 1 else 0) | implicit.QUADS * (columns % 4 == 0)
    flags |= implicit.DENSE * phase.dense
    moments = None
    # a BatchNorm is likely to follow
    if parts == 1 and not phase.is_dgrad and bias is None and residual is None and not relu:
        flags |= implicit.MOMENTS
        moments = memory.empty((2, columns * phase.spec.groups, -(-phase.pixels // tile.rows)), np.float64)
        y.base.known["moments"] = moments, tile.rows, (phase.pixels, y.shape[-1])
    blocks = -(-phase.pixels // tile.rows), -(-columns // tile.cols), phase.spec.groups * parts
    launch(
        kernel,
        blocks,
        slabs.threads,
        x,
        w,
        y if bias is None else bias,
        y if residual is None else residual,
        y,
        y if moments is None else moments,
        parts,
        flags,
        phase.table,
        shared=slabs.bytes,
    )


def gather_weight(phase, x, gy, gw, mode=None):
    """The weight gradient as implicit GEMM; ``mode`` other than the precision's."""
    channels, columns = phase.channels
    x, gy, mode = _aligned(x), _aligned(gy), _packed(mode or _mode(x.dtype), channels, columns)
    if mode == "half":
        x, gy = rounded(x, True), rounded(gy, True)
    size = x.itemsize

    def run(plan):
        tile, parts = plan.tile, plan.parts
        kernel, slabs = implicit._weight_gradient(
            tile, mode, gw.dtype.type, _width(channels, size), _width(columns, size)
        )
        target = gw if parts == 1 else memory.empty((parts, *gw.shape), gw.dtype)
        blocks = -(-phase.taps * channels // tile.rows), -(-columns // tile.cols), phase.spec.groups * parts
        launch(kernel, blocks, slabs.threads, x, gy, target, parts, phase.table, shared=slabs.bytes)
        if parts > 1:
            implicit.add_parts(target, gw, parts)

    run(_fastest(_weight_plans(phase, gw.dtype, mode), run, "weight", phase, gw.dtype, mode))


def _implicit_weight(phase, x, gy, gw):
    (_direct_weight if _has_many_taps(phase.spec) else gather_weight)(phase, x, gy, gw)


# ------------------------------------------------------------------------------------------------- direct
def _is_narrow(phase) -> bool:
    """Groups of so few channels that a thread computes one output."""
    return phase.spec.groups > 1 and phase.channels[1] < direct.EACH // 2


def _direct(phases, x, w, y, bias, residual, relu):
    flags, real = _flags(bias, residual, relu), x.dtype.type
    for phase in phases:
        if not phase.taps:
            continue
        narrow, columns = _is_narrow(phase), phase.channels[1]
        each = direct.width(columns)
        kernel = direct._single(real, phase.is_dgrad) if narrow else direct._few(real, phase.is_dgrad, each)
        blocks = -(-phase.pixels // THREADS), -(-columns // each), phase.spec.groups
        where = grid(phase.pixels * y.shape[-1]) if narrow else (blocks, THREADS)
        launch(
            kernel,
            *where,
            x,
            w,
            y if bias is None else bias,
            y if residual is None else residual,
            y,
            flags,
            phase.table,
        )


def _direct_weight(phase, x, gy, gw):
    blocks = -(-gw.size // THREADS)
    parts = max(1, min(8 * PROCESSORS // blocks, phase.pixels // 32, 256))
    target = gw if parts == 1 else memory.empty((parts, *gw.shape), gw.dtype)
    launch(direct._weight_gradient(x.dtype.type), (blocks, parts), THREADS, x, gy, target, parts, phase.table)
    if parts > 1:
        implicit.add_parts(target, gw, parts)


# ------------------------------------------------------------------------------------------------- the passes
def _fwd(run):
    def fwd(x, w, b, spec, residual, relu):
        y, y5 = layout.empty(spec.y_shape, x.dtype)
        if y.size:
            residual = None if residual is None else layout.to_ndhwc(residual)
            b = None if b is None else layout.dense(b)
            run(
                geometry.forward(spec.as_3d()), layout.to_ndhwc(x), geometry.weights(w), y5, b, residual, relu
            )
        return y

    return fwd


def _bwd_data(run):
    def bwd_data(gy, w, spec, residual):
        gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
        phases = geometry.backward(spec.as_3d())
        if gx.size:
            residual = None if residual is None else layout.to_ndhwc(residual)
            if not all(p.taps for p in phases):
                _clear(gx5) if residual is None else layout.copy_to(residual, gx5)
            run(phases, layout.to_ndhwc(gy), geometry.weights(w), gx5, None, residual, False)
        return gx

    return bwd_data


def _clear(x):
    """Zeros, by a copy of one zero."""
    zero = memory.constant(np.zeros(1, x.dtype))
    layout.copy_to(zero.view(x.shape, (0,) * x.ndim), x)


def _bwd_weight(run):
    def bwd_weight(x, gy, spec):
        gw, memory_order = geometry.empty_weights(spec.w_shape, x.dtype)
        if gy.size:
            run(geometry.forward(spec.as_3d())[0], layout.to_ndhwc(x), layout.to_ndhwc(gy), memory_order)
        else:
            _clear(memory_order)
        return gw

    return bwd_weight


def _phases(spec, which):
    spec = spec.as_3d()
    return [p for p in (geometry.backward if which == "bwd_data" else geometry.forward)(spec) if p.taps]


def _has_many_taps(spec) -> bool:
    return sum(spec.kernel) > implicit.TAPS


def _implicit_cost(spec, which, dtype) -> float:
    if _has_many_taps(spec.as_3d()):
        return inf
    if not spec.batch:
        return START
    plans = _weight_plans if which == "bwd_weight" else _phase_plans
    return sum(plans(p, dtype)[0].seconds for p in _phases(spec, which))


def _direct_cost(spec, which, dtype) -> float:
    seconds = 0.0
    for phase in _phases(spec, which):
        columns = phase.channels[1]
        steps, groups = phase.pixels * phase.taps * phase.channels[0], phase.spec.groups
        if which == "bwd_weight" or _is_narrow(phase):
            instructions = 60 * steps * columns
        else:
            each = direct.width(columns)
            instructions = -(-columns // each) * ((25 + 1.5 * each) * steps + 300 * phase.pixels)
        seconds += START + instructions * groups * np.dtype(dtype).itemsize / 4 / ISSUE
    return seconds or START


def _implicit_workspace(spec, which, dtype) -> int:
    phases, size = _phases(spec, which), np.dtype(dtype).itemsize
    if not spec.batch or len(phases) != 1:
        return 0
    parts = (_weight_plans if which == "bwd_weight" else _phase_plans)(phases[0], dtype)[0].parts
    shape = {"fwd": spec.y_shape, "bwd_data": spec.x_shape, "bwd_weight": spec.w_shape}[which]
    return parts * prod(shape) * size if parts > 1 else 0


def _direct_workspace(spec, which, dtype) -> int:
    return 256 * prod(spec.w_shape) * np.dtype(dtype).itemsize if which == "bwd_weight" else 0


def _refuses(spec, dtype):
    return geometry.too_many_pixels(spec)


CONV_ALGORITHMS = [
    select.Algorithm(
        "im2col",
        _fwd(_implicit),
        _bwd_data(_implicit),
        _bwd_weight(_implicit_weight),
        _refuses,
        _implicit_cost,
        _implicit_workspace,
    ),
    select.Algorithm(
        "direct",
        _fwd(_direct),
        _bwd_data(_direct),
        _bwd_weight(_direct_weight),
        _refuses,
        _direct_cost,
        _direct_workspace,
    ),
]


@lru_cache(maxsize=4096)
def _chosen(spec, which, dtype, name, precision):
    return select.choose(CONV_ALGORITHMS, spec, which, dtype, name)


def _choose(spec, which, dtype, name):
    return _chosen(spec, which, dtype, name, settings.get_float32_precision())


def conv_prepack(w):
    arranged = geometry.weights(w)
    last = arranged.ndim - 1
    return arranged.transpose(last, last - 1, *range(last - 1))


def conv_fwd(x, w, b, spec, algorithm=None, residual=None, relu=False):
    return _choose(spec, "fwd", x.dtype, algorithm).fwd(x, w, b, spec, residual, relu)


def conv_bwd_data(gy, w, spec, algorithm=None, residual=None):
    return _choose(spec, "bwd_data", gy.dtype, algorithm).bwd_data(gy, w, spec, residual)


def conv_bwd_weight(x, gy, spec, algorithm=None):
    return _choose(spec, "bwd_weight", x.dtype, algorithm).bwd_weight(x, gy, spec)
