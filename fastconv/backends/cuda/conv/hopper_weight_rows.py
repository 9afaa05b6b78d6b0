"""The weight gradient on Hopper where the taps of a column share what is copied: stride 1, 3 rows of taps.

::

    grid:  x = blocks of columns of taps x 64 channels, y = blocks of BN channels, z = part of k (split k)
    k:     rows of gy, the same of several images: BK pixels in a step

       x under one column of taps            gy                       sums of a warpgroup
       rows + 2                              rows                          wide
       +-----------+  -+                                                +--------+
       | row -1    |   | tap row 0                                      | tap    |
       +-----------+   | -+               +-----------+                 | row 0  |  64 channels each
       | row 0     |   |  | tap row 1     | row 0     |                 +--------+
       +-----------+   |  | -+            +-----------+     multiply    | row 1  |
       | row 1     |  -+  |  | 2          | row 1     |     ------->    +--------+
       +-----------+      |  |            +-----------+                 | row 2  |
       | row 2     |     -+  |                                          +--------+
       +-----------+         |
       | row 3     |        -+
       +-----------+

A tap one row below the other multiplies the same slab of x from a row later on. So each pixel of x is copied
once per column of taps, and not once per tap. A row must have a multiple of 8 pixels, because slabs are
swizzled in blocks of so many lines (``codegen/hopper.py``). Where images are narrow it is therefore a row of
several images: in the slab of a step images run faster than rows. What lies outside of an image, and images
behind the last one, arrive as zeros.

Producer, stages and warpgroups are those of ``hopper_weight_slices.py``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..codegen import ptx
from ..runtime.array import DeviceArray
from ..runtime.launch import cuda, kernel
from ..runtime.tensor_map import LINE, TensorMap
from . import hopper as forward
from .geometry import Phase, read_geometry
from .hopper_weight_slices import SLICE, Warpgroups, note_rows, part_of, slices_per_tap

ROOM = 224 << 10  # bytes of all stages
MOST_STAGES = 8


@dataclass(frozen=True)
class RowsTile(Warpgroups):
    """A tile of ``down`` columns of taps x 64 channels, with ``high`` rows of taps; BK pixels in a step."""

    BK: int
    per_processor = 1  # not a field

    @property
    def name(self) -> str:
        """What the tuner calls it."""
        return f"rows {self.BM}x{self.BN}x{self.BK}"

    def refuses(self, phase: Phase) -> str | None:
        """Why a phase has no such steps, or None."""
        _, axis_h, axis_w = phase.axes
        if axis_h.in_stride > 1 or axis_w.in_stride > 1 or axis_h.taps != self.high:
            return f"it takes stride 1 and {self.high} rows of taps"
        if self.step_of(phase) is None:
            return (
                f"{self.BK} pixels are no rows of 8, 16, ... pixels of some images, which divide the height"
            )
        if self.rows_of_x(phase) > 256 or self.slab(phase) * 2 > ROOM:
            return "the slabs take too much memory"
        return None

    def step_of(self, phase: Phase) -> tuple[int, int] | None:
        """Images and rows of a step: as few images as possible, so that few rows are copied twice."""
        _, axis_h, axis_w = phase.axes
        for images in range(1, self.BK // axis_w.positions + 1):
            row = axis_w.positions * images
            if row % 8 == 0 and self.BK % row == 0 and axis_h.positions % (self.BK // row) == 0:
                return images, self.BK // row
        return None

    def rows_of_x(self, phase: Phase) -> int:
        _, rows = self.step_of(phase)
        axis_h = phase.axes[1]
        return rows + (axis_h.taps - 1) * axis_h.offset_step

    def slab(self, phase: Phase) -> int:
        """Bytes of a stage."""
        row = phase.axes[2].positions * self.step_of(phase)[0]
        return (self.down * self.rows_of_x(phase) * row + self.BN // SLICE * self.BK) * LINE

    def blocks(self, phase: Phase) -> tuple[int, int]:
        """Blocks of columns of taps x channels, and of channels."""
        in_channels, out_channels = phase.channels
        return -(-phase.axes[2].taps * -(-in_channels // SLICE) // self.down), -(-out_channels // self.BN)

    def steps(self, phase: Phase) -> int:
        images, rows = self.step_of(phase)
        return -(-phase.spec.batch // images) * (phase.axes[1].positions // rows)

    def stages_of(self, phase: Phase) -> int:
        return min(ROOM // self.slab(phase), MOST_STAGES)

    def maps(self, phase: Phase, x: DeviceArray, gy: DeviceArray) -> tuple[TensorMap, TensorMap]:
        """The tensor maps of x and of gy: channels, columns, images, rows."""
        images, rows_of_gy = self.step_of(phase)
        rows = self.rows_of_x(phase), rows_of_gy
        sizes = phase.spec.in_size[1:], phase.spec.out_size[1:]
        return tuple(
            TensorMap(
                "bf16",
                array.address,
                (channels, size[1], phase.spec.batch, size[0]),
                (2 * channels, 2 * channels * size[1] * size[0], 2 * channels * size[1]),
                (SLICE, phase.axes[2].positions, images, count),
            )
            for array, channels, size, count in zip((x, gy), phase.channels, sizes, rows)
        )


# Of each shape those whose steps are whole rows.
TILES = tuple(
    RowsTile(*warpgroups, BK)
    for warpgroups in ((3, 1, 3, 64), (2, 1, 3, 64), (1, 2, 3, 64))
    for BK in (64, 112, 128)
)


# ------------------------------------------------------------------------------------------------- the kernel
@functools.cache
def rows_kernel(tile: RowsTile, images: int, rows: int, between: int, stages: int):
    """The kernel for one tile, steps of so many images and rows, and ``between`` rows from tap to tap."""
    from ..codegen import hopper  # which the simulator does not have

    down, high, wide, BN, BK = tile.down, tile.high, tile.wide, tile.BN, tile.BK
    row = BK // rows  # pixels of a row of all images
    box_x, box_gy = (rows + (high - 1) * between) * row * LINE, BK * LINE
    size_x, size = down * box_x, down * box_x + BN // SLICE * box_gy
    multipliers = tile.multipliers
    zeros, finish = hopper.sums(wide, high), hopper.await_products(wide, high)
    advance, apart = (
        (hopper.ADVANCE_TRANSPOSED, hopper.ADVANCE_TRANSPOSED),
        between * row * LINE >> 4,
    )
    multiply = hopper.products(wide, "bf16", 1, high, BK // 16, advance, (1, 1), apart)
    store, describe = hopper.store_sums_inside(wide, high), hopper.descriptor(hopper.transposed(BK))
    copy, map_address, acquire_map = hopper.copy_tiled_4d, hopper.map_address, hopper.acquire_map
    arrive, arrive_expecting, await_phase = hopper.arrive, hopper.arrive_expecting, hopper.await_phase
    open_pipeline, next_stage = forward.pipeline(stages, multipliers // 32)
    pointer, quotient = ptx.pointer, hopper.quotient

    def hopper_weight_rows(maps, x, gy, gw, split_k, geometry):
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * down, np.int32(cuda.blockIdx.y) * BN
        split = np.int32(cuda.blockIdx.z)
        in_channels, taps_w, per_tap = np.int32(g.in_channels), np.int32(g.taps_w), slices_per_tap(g)
        # of each column of taps x channels: its first channel, and the first column of x
        channel_of, column_of = cuda.shared.array(down, np.int32), cuda.shared.array(down, np.int32)
        if thread < down:
            tap = quotient(np.int32(top + thread), per_tap)
            chunk = np.int32((top + thread - tap * per_tap) * SLICE)
            column_of[thread] = np.int32(tap * np.int32(g.tap_step_w) + g.offset_w)
            channel_of[thread] = chunk if tap < taps_w else in_channels  # behind the last tap: zeros
        first_slab, full, empty = open_pipeline(pointer(cuda.shared.array(0, np.float32, alignment=16)))

        steps_per_image = np.int32(np.int32(g.count_h) // np.int32(rows))
        batch = quotient(np.int32(g.pixels), np.int32(g.count_h * g.count_w))
        groups = np.int32(np.int32(batch + (images - 1)) // np.int32(images))
        steps = np.int32(groups * steps_per_image)
        first, last = part_of(split, split_k, steps, quotient(steps, split_k))
        stage, parity = np.uint32(0), np.uint32(0)
        if thread == multipliers:
            map_x, map_gy = map_address(maps, np.int32(0)), map_address(maps, np.int32(1))
            acquire_map(map_x)
            acquire_map(map_gy)
            group = quotient(first, steps_per_image)  # of images
            line, up = np.int32((first - group * steps_per_image) * rows), np.int32(g.offset_h)
            image = np.int32(group * images)
            end = np.int32(g.count_h)
            for _ in range(first, last):
                await_phase(empty + np.uint32(8) * stage, parity ^ np.uint32(1))
                bar, to = full + np.uint32(8) * stage, first_slab + np.uint32(size) * stage
                arrive_expecting(bar, np.uint32(size))
                for i in range(down):
                    to_x = to + np.uint32(i * box_x)
                    copy(to_x, map_x, bar, channel_of[i], column_of[i], image, np.int32(line + up))
                for i in range(BN // SLICE):
                    to_gy = to + np.uint32(size_x + i * box_gy)
                    copy(to_gy, map_gy, bar, np.int32(left + i * SLICE), np.int32(0), image, line)
                line = np.int32(line + rows)
                if line == end:
                    line, image = np.int32(0), np.int32(image + images)
                stage, parity = next_stage(stage, parity)
        if thread < multipliers:
            sums = zeros()
            group, lane = np.int32(thread >> 7), np.int32(thread & 31)
            across = np.int32(group // down)
            unit = np.int32(group - across * down)
            own_x = np.uint32(unit * box_x)
            own_gy = np.uint32(size_x + across * (wide // SLICE * box_gy))
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
            places, rows_left = cuda.local.array(high, np.int64), cuda.local.array(high, np.int32)
            tap_w = quotient(np.int32(top + unit), chunks)
            chunk = np.int32((top + unit - tap_w * chunks) * SLICE)
            for i in range(high):
                tap = np.int32(tap_w + i * np.int32(h.taps_w) if tap_w < np.int32(h.taps_w) else 1 << 20)
                note_rows(places, rows_left, i, tap, chunk, thread, start, h)
            store(gw, places, rows_left, np.int32(h.out_channels - columns), h.out_channels, sums)

    return kernel(hopper_weight_rows, launch_bounds=(tile.threads, tile.per_processor))
