"""Forward and backward-data on Hopper: implicit GEMM whose slabs one thread copies and warpgroups multiply.

::

    grid:  x = blocks of BM pixels, y = blocks of BN channels, z = part of k (split k)
    k:     chunks of one line of channels, and in a chunk all taps

                  stages of shared memory                       a warpgroup's sums, in registers
                +-----------+------------+                              BN
    warp 8  --> | x: BM     | w: BN      |  --> warps 0-3   +------------------------+
    im2col and  |   lines   |   lines    |      warps 4-7   | BM / 2 rows of each    |
    tiled boxes +-----------+------------+                  +------------------------+
                |    ...    |    ...     |
                +-----------+------------+                  then stage, write (epilogue.py)

    warp 8, one thread                              warps 0-7
      for each chunk, for each tap                    for each chunk, for each tap
        wait until the stage is empty    <---+          wait until the stage is full
        start both boxes  ---> full          |          start 4 products along the lines
                                             |          wait for those of the step before
                                             +---         ... whose stage is then empty

What lies outside of the image, behind the last channel or the last pixel, arrives as zeros: the tensor map of
x knows the image and the walk over output positions, of which each is an input pixel under tap 0. A tap moves
all of them. The weights are a matrix of output channels x input channels for each tap.

Needs compute capability 9.0. There its tiles are among the plans of implicit GEMM (``implicit_gemm.py``).

Source: NVIDIA, CUTLASS, "Efficient GEMM in CUDA", section on warp specialization.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..codegen import ptx
from ..runtime import device, memory, tensor_map
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, kernel, launch
from ..runtime.tensor_map import LINE, TensorMap
from ..runtime.transpose import transposed
from . import cost, epilogue
from .geometry import Phase, read_geometry

MULTIPLIERS = 256  # threads of the warpgroups that multiply
THREADS = MULTIPLIERS + 32
ALIGN = 1024  # of slabs, in bytes
CAPABILITY = 9, 0
RATE = {"tf32": 330e12, "bf16": 600e12}  # operations per second
AROUND = 6  # steps that a block's start and its epilogue take as long as
KIND = {"tf32": ("tf32", 4), "bf16": ("bf16", 2)}  # of numbers in tensor maps, and their bytes, by mode


@dataclass(frozen=True)
class HopperTile:
    """Sizes of a block's tile: BM x BN sums.

    ``stages`` is the number of slabs in shared memory, ``per_processor`` the blocks that fit on a
    multiprocessor at once.
    """

    BM: int
    BN: int
    stages: int
    per_processor: int = 1

    @property
    def name(self) -> str:
        """What the tuner calls it."""
        return f"hopper {self.BM}x{self.BN} x{self.per_processor}"

    @property
    def high(self) -> int:
        """Blocks of 64 rows of a warpgroup."""
        return self.BM // 128


TILES = (
    HopperTile(128, 256, 4),
    HopperTile(256, 128, 4),
    HopperTile(128, 128, 3, 2),
    HopperTile(128, 64, 4, 2),
    HopperTile(128, 64, 3, 3),
)


class Slabs(NamedTuple):
    """What the epilogue asks of a tile's sums on their way to global memory."""

    threads: int
    pitch_y: int
    bytes: int  #: dynamic shared memory of a block
    sums_shape: tuple[int, int] = (0, 0)  # not used: the sums are stored by ``codegen/hopper.py``
    row_layout: tuple[int, int] = (1, 1)
    col_layout: tuple[int, int] = (1, 1)
    origin: None = None


def slabs_of(tile: HopperTile) -> Slabs:
    pitch = tile.BN + 8
    slabs = tile.stages * (tile.BM + tile.BN) * LINE
    return Slabs(MULTIPLIERS, pitch, ALIGN + max(slabs, tile.BM * pitch * 4))


# ----------------------------------------------------------------------------------------------- the pipeline
@functools.cache
def pipeline(stages: int, warps: int):
    """The functions ``open_pipeline(room)`` and ``next_stage(stage, parity)`` of a block.

    ``room`` is the block's dynamic shared memory. The first function returns the addresses of the first slab,
    of the barriers of stages that are full, and of those of stages that ``warps`` warps have emptied.
    """
    from ..codegen import hopper  # which the simulator does not have

    start_barrier, publish_barriers = hopper.start_barrier, hopper.publish_barriers
    shared_address, barriers = hopper.shared_address, 2 * stages

    @body
    def open_pipeline(room):
        first_slab = (shared_address(room) + np.uint32(ALIGN - 1)) & np.uint32(-ALIGN & 0xFFFFFFFF)
        full = shared_address(cuda.shared.array(barriers, np.uint64))
        empty = full + np.uint32(8 * stages)
        if cuda.threadIdx.x == 0:
            for i in range(stages):
                start_barrier(full + np.uint32(8 * i), np.uint32(1))
                start_barrier(empty + np.uint32(8 * i), np.uint32(warps))
            publish_barriers()
        cuda.syncthreads()
        return first_slab, full, empty

    @body
    def next_stage(stage, parity):
        """The stage after ``stage``, and the parity of its phase."""
        stage = np.uint32(stage + np.uint32(1))
        if stage == np.uint32(stages):
            return np.uint32(0), np.uint32(parity ^ np.uint32(1))
        return stage, parity

    return open_pipeline, next_stage


# ------------------------------------------------------------------------------------------------- the kernel
@functools.cache
def gemm_kernel(tile: HopperTile, mode: str):
    """The kernel for one tile, and its slabs."""
    from ..codegen import hopper  # which the simulator does not have

    BM, BN, high, stages, real = tile.BM, tile.BN, tile.high, tile.stages, np.float32
    line = 32 if mode == "tf32" else 64  # channels of a chunk
    slabs = slabs_of(tile)
    pitch = slabs.pitch_y
    zeros, multiply = hopper.sums(BN, high), hopper.products(BN, mode, 1, high)
    finish, store = hopper.await_products(BN, high), hopper.store_sums(BN, high)
    describe, map_address = hopper.descriptor(), hopper.map_address
    copy_x, copy_w, acquire_map = hopper.copy_im2col, hopper.copy_tiled_3d, hopper.acquire_map
    arrive, arrive_expecting, await_phase = hopper.arrive, hopper.arrive_expecting, hopper.await_phase
    open_pipeline, next_stage = pipeline(stages, MULTIPLIERS // 32)
    pointer, quotient = ptx.pointer, hopper.quotient
    size_x, size = BM * LINE, (BM + BN) * LINE
    own, own_bytes = BM // 2, BM // 2 * LINE
    _, write = epilogue.tile_epilogue(tile, slabs, real)

    def hopper_gemm(maps, x, w, bias, residual, y, moments, split_k, flags, geometry):
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * BM, np.int32(cuda.blockIdx.y) * BN
        split = np.int32(cuda.blockIdx.z)
        room = pointer(cuda.shared.array(0, real, alignment=16))
        first_slab, full, empty = open_pipeline(room)

        taps_w, taps = np.int32(g.taps_w), np.int32(g.taps_h * g.taps_w)
        steps = np.int32((np.int32(g.in_channels) + line - 1) // line * taps)
        # the first parts have a step more than others
        each = quotient(steps, split_k)
        more = np.int32(steps - each * split_k)
        first = np.int32(split * each + min(split, more))
        last = np.int32(first + each + (1 if split < more else 0))
        stage, parity = np.uint32(0), np.uint32(0)
        if thread == MULTIPLIERS:
            map_x, map_w = map_address(maps, np.int32(0)), map_address(maps, np.int32(1))
            acquire_map(map_x)
            acquire_map(map_w)
            # the first output position, and the first tap
            row = quotient(top, np.int32(g.count_w))
            image = quotient(row, np.int32(g.count_h))
            step_h, step_w = np.int32(g.tap_step_h), np.int32(g.tap_step_w)
            # taps move by 0 or more: from the tap with the lowest place on
            low_h = np.int32(min(step_h * (np.int32(g.taps_h) - 1), 0))
            low_w = np.int32(min(step_w * (taps_w - 1), 0))
            column = np.int32((top - row * np.int32(g.count_w)) * np.int32(g.stride_w) + g.offset_w + low_w)
            line_h = np.int32((row - image * np.int32(g.count_h)) * np.int32(g.stride_h) + g.offset_h + low_h)
            walked = quotient(first, taps)
            chunk, tap = np.int32(walked * line), np.int32(first - walked * taps)
            tap_h = quotient(tap, taps_w)
            tap_w = np.int32(tap - tap_h * taps_w)
            for _ in range(first, last):
                await_phase(empty + np.uint32(8) * stage, parity ^ np.uint32(1))
                bar, to = full + np.uint32(8) * stage, first_slab + np.uint32(size) * stage
                arrive_expecting(bar, np.uint32(size))
                right, down = np.int32(tap_w * step_w - low_w), np.int32(tap_h * step_h - low_h)
                copy_x(to, map_x, bar, chunk, column, line_h, image, right, down)
                place = np.int32(
                    g.kernel_first + tap_h * np.int32(g.kernel_step_h) + tap_w * np.int32(g.kernel_step_w)
                )
                copy_w(to + np.uint32(size_x), map_w, bar, chunk, left, place)
                tap_w = np.int32(tap_w + 1)
                if tap_w == taps_w:
                    tap_w, tap_h = np.int32(0), np.int32(tap_h + 1)
                    if tap_h == np.int32(g.taps_h):
                        tap_h, chunk = np.int32(0), np.int32(chunk + line)
                stage, parity = next_stage(stage, parity)
        sums = zeros()
        group, lane = np.int32(thread >> 7), np.int32(thread & 31)
        if thread < MULTIPLIERS:
            before = empty
            for step in range(first, last):
                await_phase(full + np.uint32(8) * stage, parity)
                at = first_slab + np.uint32(size) * stage
                rows = at + np.uint32(group) * np.uint32(own_bytes)
                sums = multiply(sums, describe(rows), describe(at + np.uint32(size_x)))
                if lane == 0 and step > first:
                    arrive(before)
                before = empty + np.uint32(8) * stage
                stage, parity = next_stage(stage, parity)
            sums = finish(sums)

        # every box has arrived and was multiplied, so the slabs' memory is free
        cuda.syncthreads()
        if thread < MULTIPLIERS:
            line_y = np.int32(group * own + 16 * ((thread >> 5) & 3) + (lane >> 2))
            store(room, np.int64(line_y * pitch + 2 * (lane & 3)), np.int64(pitch), sums)
        cuda.syncthreads()
        write(room, top, left, np.int32(0), split, bias, residual, y, moments, flags, geometry)

    return kernel(hopper_gemm, launch_bounds=(THREADS, tile.per_processor)), slabs


# ------------------------------------------------------------------------------------------------- launches
def refuses(phase: Phase, mode: str) -> str | None:
    """Why a phase cannot run here, or None."""
    spec, (_, axis_h, axis_w) = phase.spec, phase.axes
    in_size = spec.out_size if phase.is_dgrad else spec.in_size
    if mode not in ("tf32", "bf16"):
        return f"tensor cores compute in tf32 and bf16, got {mode}"
    if spec.groups > 1 or in_size[0] > 1 or phase.axes[0].taps > 1 or phase.axes[0].positions > 1:
        return "it takes no groups and two spatial dimensions"
    if any(c % (4 if mode == "tf32" else 8) for c in phase.channels):
        return f"lines of channels must be multiples of 16 bytes, got {phase.channels} channels"
    for axis, size in ((axis_h, in_size[1]), (axis_w, in_size[2])):
        lower, upper, reach = corners(axis, size)
        if axis.in_stride > 8 or min(lower, upper) < -128 or max(lower, upper) > 127 or reach > 255:
            return "tensor maps hold strides up to 8, and taps and padding up to 127 pixels"
    return None


def corners(axis, size):
    """The corners of a tensor map: first and last input pixel under the lowest tap; and the highest tap."""
    span = axis.offset_step * (axis.taps - 1)
    lower = axis.offset + min(span, 0)
    return lower, lower + (axis.positions - 1) * axis.in_stride - (size - 1), abs(span)


def map_of_x(phase: Phase, mode: str, x: DeviceArray, pixels: int) -> TensorMap:
    """The tensor map of x for boxes of one line of channels and ``pixels`` output positions."""
    spec, (_, axis_h, axis_w) = phase.spec, phase.axes
    in_channels, _ = phase.channels
    _, height, width = spec.out_size if phase.is_dgrad else spec.in_size
    kind, itemsize = KIND[mode]
    pixel = in_channels * itemsize
    (lower_h, upper_h, _), (lower_w, upper_w, _) = corners(axis_h, height), corners(axis_w, width)
    return TensorMap(
        kind,
        x.address,
        (in_channels, width, height, spec.batch),
        (pixel, width * pixel, height * width * pixel),
        (LINE // itemsize, pixels),
        (lower_w, lower_h),
        (upper_w, upper_h),
        (axis_w.in_stride, axis_h.in_stride),
    )


def maps(phase: Phase, tile: HopperTile, mode: str, x: DeviceArray, w: DeviceArray) -> DeviceArray:
    """The tensor maps of x and of w, ``kernel taps x output channels x input channels``, on the device."""
    in_channels, out_channels = phase.channels
    kind, itemsize = KIND[mode]
    pixel, taps = in_channels * itemsize, w.size // (in_channels * out_channels)
    of_w = TensorMap(
        kind,
        w.address,
        (in_channels, out_channels, taps),
        (pixel, out_channels * pixel),
        (LINE // itemsize, tile.BN, 1),
    )
    return tensor_map.table(map_of_x(phase, mode, x, tile.BM), of_w)


# ------------------------------------------------------------------------------------------------- plans
def is_usable(phase: Phase, mode: str) -> bool:
    """Whether the device can run these kernels, and they take this phase in this mode."""
    return device.capability() == CAPABILITY and refuses(phase, mode) is None


def plans(phase: Phase, mode: str) -> list[cost.Plan]:
    """The plans of a phase, the best by a model of waves first; those that take 1.5 times as long are left
    out."""
    (in_channels, out_channels), line = phase.channels, 32 if mode == "tf32" else 64
    steps = -(-in_channels // line) * phase.taps
    found = []
    for tile in TILES:
        blocks = -(-phase.pixels // tile.BM) * -(-out_channels // tile.BN)
        step = 2 * tile.BM * tile.BN * line / (RATE[mode] / cost.PROCESSORS)
        for split_k in (1, 2, 3, 4, 6, 8):
            if split_k > 1 and (blocks * split_k > 2 * cost.PROCESSORS or split_k > steps // 4):
                break
            waves = -(-blocks * split_k // (cost.PROCESSORS * tile.per_processor)) * tile.per_processor
            waves = min(waves, -(-blocks * split_k // cost.PROCESSORS))
            added = split_k * phase.pixels * out_channels * 8 / cost.BANDWIDTH if split_k > 1 else 0
            seconds = (1 + (split_k > 1)) * cost.LAUNCH + waves * (-(-steps // split_k) + AROUND) * step
            found.append(cost.Plan(tile, split_k, seconds + added))
    found.sort(key=lambda p: (p.seconds, p.split_k))
    return [p for p in found if p.seconds < 1.5 * found[0].seconds][:6]


# ------------------------------------------------------------------------------------------------- launches
def lines(phase: Phase, w: DeviceArray) -> DeviceArray:
    """The weights with the channels that are summed over along lines: a copy for forward."""
    return w if phase.is_dgrad else transposed(w)


def launch_phase(
    phase: Phase,
    tile: HopperTile,
    mode: str,
    x: DeviceArray,
    w: DeviceArray,
    y: DeviceArray,
    split_k: int,
    bias: DeviceArray | None,
    residual: DeviceArray | None,
    relu: bool,
) -> None:
    """Run a phase on one tile; ``w`` as :func:`lines` returns it.

    Parameters
    ----------
    y : DeviceArray
        The result; with ``split_k`` above 1, that many sums, to which nothing was added.
    """
    _, out_channels = phase.channels
    found, slabs = gemm_kernel(tile, mode)
    flags = epilogue.flags_of(bias, residual, relu) if split_k == 1 else 0
    flags |= epilogue.QUADS * (out_channels % 4 == 0) | epilogue.DENSE * phase.dense
    moments = None
    if split_k == 1 and not phase.is_dgrad and bias is None and residual is None and not relu:
        flags |= epilogue.MOMENTS
        blocks = -(-phase.pixels // tile.BM)
        moments = memory.empty((2, out_channels, blocks), np.float64)
        y.base.known["moments"] = moments, tile.BM, (phase.pixels, y.shape[-1])
    launch(
        found,
        (-(-phase.pixels // tile.BM), -(-out_channels // tile.BN), split_k),
        THREADS,
        maps(phase, tile, mode, x, w),
        x,
        w,
        y if bias is None else bias,
        y if residual is None else residual,
        y,
        y if moments is None else moments,
        split_k,
        flags,
        phase.table,
        shared=slabs.bytes,
    )
