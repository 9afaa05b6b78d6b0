"""The weight gradient on Hopper where each tap copies its pixels: for all strides and kernel sizes.

::

    grid:  x = blocks of BM rows, y = blocks of BN channels, z = part of the pixels (split k)
    rows:  of each tap its input channels, in slices of 64; a block's slices may belong to several taps
    k:     pixels of gy, 64 in a step

                     stages of shared memory                          sums, in registers
                +---------------------+------------+                     BN
    producer -> | x: 64 pixels of     | gy: BN/64  |  --> warpgroups  +-------+-------+
    im2col and  |    BM/64 slices     |    x 64    |                  | high  |       |  each warpgroup:
    tiled boxes |                     |    pixels  |                  | slices|       |  64 high x
                +---------------------+------------+                  +-------+-------+  BN / across
                |         ...         |    ...     |                  |       |       |
                +---------------------+------------+                  +-------+-------+

    producer: one thread of the last warp            warpgroups
      for each 64 pixels                               for each 64 pixels
        find image, row and column of the first          wait until the stage is full
        wait until the stage is empty      <---+         start 4 products of 16 pixels each
        start the box of each slice, moved     |         wait for those of the step before
          by its tap                           +---        ... whose stage is then empty
        start the boxes of gy    ---> full             write the sums

What lies outside of the image, pixels behind the last one and channels behind the last one arrive as zeros.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..codegen import ptx
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, kernel
from ..runtime.tensor_map import LINE, TensorMap
from . import hopper as forward
from .geometry import Phase, first_tap, position, read_geometry

BK = 64  # pixels of a step
SLICE = 64  # channels of a line
BOX = BK * LINE  # bytes


@dataclass(frozen=True)
class Warpgroups:
    """Sizes of a block: ``down`` x ``across`` warpgroups, each with 64 ``high`` x ``wide`` sums."""

    down: int
    across: int
    high: int
    wide: int

    @property
    def layout(self) -> tuple:
        return type(self), self.down, self.across, self.high, self.wide

    @property
    def BM(self) -> int:
        return self.down * self.high * SLICE

    @property
    def BN(self) -> int:
        return self.across * self.wide

    @property
    def multipliers(self) -> int:
        """Threads of the warpgroups that multiply."""
        return 128 * self.down * self.across

    @property
    def threads(self) -> int:
        """With the warp that copies."""
        return self.multipliers + 32


@dataclass(frozen=True)
class SlicesTile(Warpgroups):
    """A tile each of whose slices is copied for itself, 64 pixels in a step.

    ``stages`` is the number of slabs in shared memory, ``per_processor`` the blocks that fit on a
    multiprocessor at once.
    """

    stages: int
    per_processor: int = 1
    BK = BK  # not a field

    @property
    def name(self) -> str:
        """What the tuner calls it."""
        return f"slices {self.BM}x{self.BN}x{self.BK}"

    @property
    def slices(self) -> int:
        return self.down * self.high

    def slab(self, phase: Phase) -> int:
        """Bytes of a stage."""
        return (self.slices + self.BN // SLICE) * BOX

    def blocks(self, phase: Phase) -> tuple[int, int]:
        """Blocks of rows, and of channels."""
        in_channels, out_channels = phase.channels
        return -(-phase.taps * -(-in_channels // SLICE) // self.slices), -(-out_channels // self.BN)

    def steps(self, phase: Phase) -> int:
        return -(-phase.pixels // BK)

    def stages_of(self, phase: Phase) -> int:
        return self.stages

    def maps(self, phase: Phase, x: DeviceArray, gy: DeviceArray) -> tuple[TensorMap, TensorMap]:
        """The tensor maps of x and of gy."""
        _, out_channels = phase.channels
        dims, line = (out_channels, phase.pixels), (2 * out_channels,)
        return forward.map_of_x(phase, "bf16", x, BK), TensorMap("bf16", gy.address, dims, line, (SLICE, BK))

    def refuses(self, phase: Phase) -> str | None:
        return None


@body
def part_of(split, split_k, steps, each):
    """The first step of a part of the sum, and the end.

    The first parts have a step more than the ``each`` = ``steps // split_k`` of others.
    """
    more = np.int32(steps - each * split_k)
    first = np.int32(split * each + min(split, more))
    return first, np.int32(first + each + (1 if split < more else 0))


@body
def slices_per_tap(g):
    return np.int32(np.int32(g.in_channels + (SLICE - 1)) // np.int32(SLICE))


@body
def note_rows(places, rows, i, tap, chunk, thread, start, g):
    """Where a thread's sums of the block ``i`` of 64 rows go, and how many rows there are from there on."""
    row = np.int32(16 * ((thread >> 5) & 3) + ((thread & 31) >> 2))
    place = np.int64(tap * np.int32(g.in_channels) + chunk + row) * g.out_channels
    places[i] = start + place + 2 * (thread & 3)
    rows[i] = np.int32(g.in_channels) - chunk - row if tap < np.int32(g.taps_h * g.taps_w) else 0


# A thread has up to 168 registers where there are two warpgroups, and 128 where there are three.
TILES = (
    SlicesTile(2, 1, 2, 128, 4),
    SlicesTile(3, 1, 1, 128, 5),
    SlicesTile(2, 1, 1, 128, 3, 2),
    SlicesTile(1, 2, 1, 128, 5),
    SlicesTile(3, 1, 3, 64, 2),
    SlicesTile(3, 1, 1, 64, 6),
    SlicesTile(2, 1, 1, 64, 4, 2),
)


# ------------------------------------------------------------------------------------------------- the kernel
@functools.cache
def slices_kernel(tile: SlicesTile):
    """The kernel for one tile."""
    from ..codegen import hopper  # which the simulator does not have

    slices, high, wide, BN, stages = tile.slices, tile.high, tile.wide, tile.BN, tile.stages
    down, multipliers, size = tile.down, tile.multipliers, (tile.slices + tile.BN // SLICE) * BOX
    zeros, finish = hopper.sums(wide, high), hopper.await_products(wide, high)
    advance = hopper.ADVANCE_TRANSPOSED, hopper.ADVANCE_TRANSPOSED
    multiply = hopper.products(wide, "bf16", 1, high, BK // 16, advance, (1, 1))
    store, describe = hopper.store_sums_inside(wide, high), hopper.descriptor(hopper.transposed(BK))
    copy_x, copy_gy = hopper.copy_im2col, hopper.copy_tiled
    map_address, acquire_map = hopper.map_address, hopper.acquire_map
    arrive, arrive_expecting, await_phase = hopper.arrive, hopper.arrive_expecting, hopper.await_phase
    open_pipeline, next_stage = forward.pipeline(stages, multipliers // 32)
    pointer, quotient, size_x = ptx.pointer, hopper.quotient, slices * BOX

    def hopper_weight(maps, x, gy, gw, split_k, geometry):
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * slices, np.int32(cuda.blockIdx.y) * BN
        split = np.int32(cuda.blockIdx.z)
        in_channels, taps_w, taps = np.int32(g.in_channels), np.int32(g.taps_w), np.int32(g.taps_h * g.taps_w)
        per_tap = slices_per_tap(g)
        # of each slice: its first channel, and how its tap moves pixels
        channel_of, right_of = cuda.shared.array(slices, np.int32), cuda.shared.array(slices, np.int32)
        below_of = cuda.shared.array(slices, np.int32)
        if thread < slices:
            tap = quotient(np.int32(top + thread), per_tap)
            tap_h = quotient(tap, taps_w)
            right_of[thread] = np.int32((tap - tap_h * taps_w) * np.int32(g.tap_step_w))
            below_of[thread] = np.int32((tap_h if tap < taps else 0) * np.int32(g.tap_step_h))
            chunk = np.int32((top + thread - tap * per_tap) * SLICE)
            channel_of[thread] = chunk if tap < taps else in_channels  # behind the last tap: zeros
        first_slab, full, empty = open_pipeline(pointer(cuda.shared.array(0, np.float32, alignment=16)))

        steps = np.int32(np.int32(g.pixels + (BK - 1)) // np.int32(BK))
        first, last = part_of(split, split_k, steps, quotient(steps, split_k))
        stage, parity = np.uint32(0), np.uint32(0)
        if thread == multipliers:
            map_x, map_gy = map_address(maps, np.int32(0)), map_address(maps, np.int32(1))
            acquire_map(map_x)
            acquire_map(map_gy)
            # the input pixel under tap 0 of the first pixel, and the way to that of the next step
            stride_h, stride_w = np.int32(g.stride_h), np.int32(g.stride_w)
            count_h, count_w = np.int32(g.count_h), np.int32(g.count_w)
            at, on = position(np.int32(first * BK), g), position(np.int32(BK), g)
            image, (_, line, column) = np.int32(at[0]), first_tap(at, g)
            on_image, on_h, on_w = np.int32(on[0]), np.int32(on[2] * stride_h), np.int32(on[3] * stride_w)
            size_h, size_w = np.int32(count_h * stride_h), np.int32(count_w * stride_w)
            end_h, end_w = np.int32(size_h + g.offset_h), np.int32(size_w + g.offset_w)
            pixel = np.int32(first * BK)
            for _ in range(first, last):
                await_phase(empty + np.uint32(8) * stage, parity ^ np.uint32(1))
                bar, to = full + np.uint32(8) * stage, first_slab + np.uint32(size) * stage
                arrive_expecting(bar, np.uint32(size))
                for i in range(slices):
                    right, below = right_of[i], below_of[i]
                    copy_x(
                        to + np.uint32(i * BOX), map_x, bar, channel_of[i], column, line, image, right, below
                    )
                for i in range(BN // SLICE):
                    to_gy = to + np.uint32(size_x + i * BOX)
                    copy_gy(to_gy, map_gy, bar, np.int32(left + i * SLICE), pixel)
                pixel, column = np.int32(pixel + BK), np.int32(column + on_w)
                line, image = np.int32(line + on_h), np.int32(image + on_image)
                if column >= end_w:
                    column, line = np.int32(column - size_w), np.int32(line + stride_h)
                if line >= end_h:
                    line, image = np.int32(line - size_h), np.int32(image + 1)
                stage, parity = next_stage(stage, parity)
        if thread < multipliers:
            sums = zeros()
            group, lane = np.int32(thread >> 7), np.int32(thread & 31)
            across = np.int32(group // down)
            down_slices = np.int32((group - across * down) * high)
            own_x = np.uint32(down_slices * BOX)
            own_gy = np.uint32(size_x + across * (wide // SLICE * BOX))
            before = empty
            for step in range(first, last):
                await_phase(full + np.uint32(8) * stage, parity)
                at = first_slab + np.uint32(size) * stage
                sums = multiply(sums, describe(at + own_x), describe(at + own_gy))
                if lane == 0 and step > first:
                    arrive(before)
                before = empty + np.uint32(8) * stage
                stage, parity = next_stage(stage, parity)
            sums = finish(sums)

            h = read_geometry(geometry)  # once more, so that the numbers take no registers in the loop before
            columns, chunks = left + across * wide, slices_per_tap(h)
            start = np.int64(split) * h.k_size * h.out_channels + columns
            places, rows = cuda.local.array(high, np.int64), cuda.local.array(high, np.int32)
            for i in range(high):
                number = np.int32(top + down_slices + i)
                tap = quotient(number, chunks)
                note_rows(places, rows, i, tap, np.int32((number - tap * chunks) * SLICE), thread, start, h)
            store(gw, places, rows, np.int32(h.out_channels - columns), h.out_channels, sums)

    return kernel(hopper_weight, launch_bounds=(tile.threads, tile.per_processor))
