"""The weight gradient as implicit GEMM.

::

                                     n: output channels of a group
                                  +------------------------+
        p: pixels of gy           | gy[p, n]               |    grid: x = blocks of rows,
                                  +------------------------+          y = blocks of channels,
      +---------------------------+------------------------+          z = group, part of p (split k)
    r | x[pixel(p) + tap(r),      | gw[r, n] = sum over p  |
      |   channel(r)]             |                        |    r: taps x channels
      +---------------------------+------------------------+

    block:   row table: of each of the BM rows (tap, channel), its distance from tap 0 in x, and its bits
             for each step of BK pixels, `stages` - 1 steps ahead
                 multiply:         half of the slabs that have arrived
                 load_x, load_gy:  copies of slabs to shared memory (cp.async; zeros outside of the image)
                 multiply:         the other half
                 note_pixels:      every few steps, of each pixel of the next few steps, where tap 0 is in x,
                                   and the mask of its taps inside the image
             write:                the sums, from registers

A note takes a few hundred instructions that depend on each other. So all threads note a pixel each at the
same time. If some did so in every step, the others would wait for them.

A thread copies several rows of one pixel. Both slabs have pixels as lines, so neither is k-major.

With split k, each part of the pixels writes a gradient of its own; ``epilogue.add_parts`` adds them.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import mma_tile, ptx
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, kernel, launch
from . import cost, epilogue, hopper_weight
from .bf16 import rounded
from .geometry import Geometry, Phase, first_tap, input_pixel, position, read_geometry, tap_bits, taps_inside
from .implicit_gemm import fastest

# Arrays of fewer elements get kernels that number them in 32 bits. Tests lower the limit.
PLACES = 2**31
FIELDS = len(Geometry._fields)


@body
def quotient(a, b):
    """``a // b`` of numbers that are not negative, in 32 bits; Numba would divide in 64."""
    return np.int32(np.uint32(a) // np.uint32(b))


@functools.cache
def _tables(tile, threads, place):
    """The functions ``fill_row_table`` and ``note_pixels``; ``place`` is the type of places in x."""
    BM = tile.BM

    @body
    def fill_row_table(thread, top, distance_of, bits_of, g):
        """Of each row (tap, channel): its distance in x from tap 0 of channel 0, and the bits of its tap."""
        in_channels, x_pitch = np.int32(g.in_channels), g.x_pitch
        taps_d, taps_h, taps_w = np.int32(g.taps_d), np.int32(g.taps_h), np.int32(g.taps_w)
        for i in range(thread, BM, threads):
            r = np.int32(top + i)
            tap = quotient(r, in_channels)
            line = quotient(tap, taps_w)
            tap_d = quotient(line, taps_h)
            tap_h, tap_w = line - tap_d * taps_h, tap - line * taps_w
            bits_of[i] = tap_bits(tap_w, tap_h, min(tap_d, taps_d), g)
            rows = tap_d * g.tap_step_d * g.size_h + tap_h * g.tap_step_h
            at = (rows * g.size_w + tap_w * g.tap_step_w) * x_pitch + (r - tap * in_channels)
            distance_of[i] = place(at)

    @body
    def note_pixels(first, line, thread, group, start_of, mask_of, table):
        """Of a pixel per thread: where tap 0 is in x, and the mask of its taps inside the image."""
        # read here once more, so that the numbers take no registers while slabs are multiplied
        g = read_geometry(table)
        m = np.int32(first + thread)
        at = position(m, g)
        tap = first_tap(at, g)
        mask = taps_inside(tap, g)
        start_of[line + thread] = place(input_pixel(at[0], tap, g) * g.x_pitch + group * g.in_channels)
        mask_of[line + thread] = np.int32(mask if m < np.int32(g.pixels) else 0)

    return fill_row_table, note_pixels


@functools.cache
def _tile_loads(tile, slabs, mode, real, vector_x, vector_gy, place):
    """The functions ``take_rows``, ``load_x`` and ``load_gy``, rows per thread, and threads per pixel."""
    BM, BN, BK = tile.BM, tile.BN, tile.BK
    per_pixel = slabs.threads // BK  # threads that copy one pixel
    jump_x, jump_gy = per_pixel * vector_x, per_pixel * vector_gy
    count_x, count_gy = -(-BM // jump_x), -(-BN // jump_gy)
    pitch_x, pitch_gy, size_x = slabs.pitch_a, slabs.pitch_b, slabs.size_a
    itemsize = np.dtype(mma_tile.stored(mode, real)).itemsize
    copy_x = ptx.copy_async(vector_x * itemsize)
    copy_gy = ptx.copy_async(vector_gy * itemsize, l1=False)

    @body
    def take_rows(thread, distance_of, bits_of, distance, bits):
        """The rows of the row table that a thread copies."""
        row = thread % per_pixel * vector_x
        for i in range(count_x):
            if BM % jump_x == 0 or row + i * jump_x < BM:
                distance[i] = distance_of[row + i * jump_x]
                bits[i] = bits_of[row + i * jump_x]

    @body
    def load_x(slabs, into, thread, x, start, mask, distance, bits):
        """Start the copies of a slab of x to place ``into``."""
        pixel, row = np.int32(thread // per_pixel), np.int32(thread % per_pixel * vector_x)
        to = np.int64(np.int32(into + np.int32(pixel * pitch_x + row)))
        for i in range(count_x):
            if BM % jump_x == 0 or row + i * jump_x < BM:
                inside = np.int32(mask & bits[i]) == bits[i]
                copy_x(slabs, to + i * jump_x, x, np.int64(place(start + distance[i])), inside)

    @body
    def load_gy(slabs, into, thread, gy, from_gy, columns):
        """Start the copies of a slab of gy, of which ``columns`` from this thread's first one on exist."""
        pixel, col = np.int32(thread // per_pixel), np.int32(thread % per_pixel * vector_gy)
        to = np.int64(np.int32(into + np.int32(pixel * pitch_gy + col))) + size_x
        source = np.int64(from_gy)
        for i in range(count_gy):
            if BN % jump_gy == 0 or col + i * jump_gy < BN:
                copy_gy(slabs, to + i * jump_gy, gy, source + i * jump_gy, np.int32(i * jump_gy) < columns)

    return take_rows, load_x, load_gy, count_x, per_pixel


@functools.cache
def _write(slabs):
    """The function ``write``, which leaves a thread's sums in gw."""
    (high, wide), (run_r, step_r), (run_c, step_c) = slabs.sums_shape, slabs.row_layout, slabs.col_layout
    origin, store2, store4 = slabs.origin, ptx.store2, ptx.store4

    @body
    def write(sums, top, left, group, split, gw, geometry):
        # read here once more, so that the numbers take no registers in the loop before
        g = read_geometry(geometry)
        row0, col0 = origin(np.int32(cuda.threadIdx.x))
        rows, out_channels = np.int32(g.k_size), np.int32(g.out_channels)
        for i in range(high):
            r = top + row0 + i % run_r + i // run_r * step_r
            if r < rows:
                to = (np.int64(split) * rows + r) * g.y_pitch + group * out_channels
                for j in range(0, wide, run_c):
                    n = left + col0 + j // run_c * step_c
                    if out_channels % run_c == 0:  # then addresses are multiples of the size of the access
                        if n < out_channels and run_c == 2:
                            store2(gw, to + n, sums[i, j], sums[i, j + run_c - 1])
                        elif n < out_channels:
                            store4(
                                gw,
                                to + n,
                                sums[i, j],
                                sums[i, j + run_c // 4],
                                sums[i, j + run_c // 2],
                                sums[i, j + run_c - 1],
                            )
                    else:
                        for q in range(run_c):
                            if n + q < out_channels:
                                gw[to + n + q] = sums[i, j + q]

    return write


@functools.cache
def weight_kernel(tile, mode, real, vector_x, vector_gy, place=np.int32):
    """The kernel for one kind of tile, and its slabs.

    Parameters
    ----------
    vector_x, vector_gy : int
        Numbers per copy.
    place : {np.int32, np.int64}
        The type of places in x and gy; the first, with half the instructions, if it can number them.
    """
    s = mma_tile.slabs(tile, mode, real, False, False)
    BM, BN, BK, ahead = tile.BM, tile.BN, tile.BK, tile.stages - 1
    size_x, size = s.size_a, s.size_a + s.size_b
    high, wide = s.sums_shape
    zero, store = real(0), mma_tile.stored(mode, real)
    # all threads note a pixel each, which are the pixels of ``noted`` steps (a power of 2); the table has two
    # such parts, one that is read and one that is written
    threads, noted, lines = s.threads, s.threads // BK, 2 * s.threads
    starts, (multiply, multiply_rest) = s.starts, s.halves
    commit, wait, pointer = ptx.commit, ptx.wait(tile.stages - 2), ptx.pointer
    fill_row_table, note_pixels = _tables(tile, s.threads, place)
    take_rows, load_x, load_gy, count_x, per_pixel = _tile_loads(
        tile, s, mode, real, vector_x, vector_gy, place
    )
    write = _write(s)

    def implicit_gemm_weight(x, gy, gw, split_k, geometry):
        slabs = pointer(cuda.shared.array(0, store, alignment=16))
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(np.int32(cuda.blockIdx.x) * BM), np.int32(np.int32(cuda.blockIdx.y) * BN)
        z = np.int32(cuda.blockIdx.z)
        group = quotient(z, split_k)
        split = np.int32(z - group * split_k)

        # the steps of this part of the pixels
        steps = quotient(g.pixels + (BK - 1), BK)
        count = quotient(steps, split_k)
        more = np.int32(steps - count * split_k)  # the first parts have one more
        first = np.int32(split * count + min(split, more))
        count = np.int32(count + 1 if split < more else count)
        # the geometry once more, where it is near
        table = pointer(cuda.shared.array(FIELDS, np.int64))
        for i in range(thread, FIELDS, threads):
            table[i] = geometry[i]
        start_of = pointer(cuda.shared.array(lines, place))
        mask_of = pointer(cuda.shared.array(lines, np.int32))

        distance_of = pointer(cuda.shared.array(BM, place))
        bits_of = pointer(cuda.shared.array(BM, np.int32))
        fill_row_table(thread, top, distance_of, bits_of, g)
        cuda.syncthreads()
        note_pixels(first * BK, 0, thread, group, start_of, mask_of, table)
        distance = cuda.local.array(count_x, place)
        bits = cuda.local.array(count_x, np.int32)
        take_rows(thread, distance_of, bits_of, distance, bits)

        # this thread's pixel, its line in the table, and what it copies of gy
        pixel = np.int32(thread // per_pixel)
        column = np.int32(left + thread % per_pixel * vector_gy)
        columns = np.int32(g.out_channels - column)
        p, line = np.int32(first * BK + pixel), pixel
        from_gy = place(p * g.y_pitch + group * g.out_channels + column)
        gy_step, pixels = place(BK * g.y_pitch), np.int32(g.pixels)
        sums = cuda.local.array((high, wide), real)
        for i in range(high):
            for j in range(wide):
                sums[i, j] = zero
        start_a, start_b = starts(thread)
        into, at = np.int32(0), np.int32(0)  # the slabs being filled and being read
        for copied in range(np.int32(count + ahead)):  # steps that have been copied
            if copied >= ahead:
                wait()
            cuda.syncthreads()
            if copied >= ahead:
                multiply(slabs, at + start_a, at + size_x + start_b, sums)
            if copied < count:  # here, so that tensor cores work while addresses are computed
                load_x(slabs, into, thread, x, start_of[line], mask_of[line], distance, bits)
                load_gy(slabs, into, thread, gy, from_gy, columns if p < pixels else np.int32(0))
                into = np.int32(into + size if into < ahead * size else 0)
                p, from_gy = np.int32(p + BK), place(from_gy + gy_step)
                line = np.int32(line + BK if line < lines - BK else pixel)
            commit()
            if copied >= ahead:
                multiply_rest(slabs, at + start_a, at + size_x + start_b, sums)
                at = np.int32(at + size if at < ahead * size else 0)
            following = np.int32(copied + 1)
            if np.int32(following & (noted - 1)) == 0 and following < count:
                part = np.int32(following & noted) * BK
                note_pixels((first + following) * BK, part, thread, group, start_of, mask_of, table)
        write(sums, top, left, group, split, gw, geometry)

    return kernel(implicit_gemm_weight, launch_bounds=s.threads), s


# ------------------------------------------------------------------------------------------------- launches
def plans_of(phase: Phase, dtype, mode: str | None = None) -> list[cost.Plan]:
    """The plans of the weight gradient on this device; parameters as of ``implicit_gemm.plans_of``."""
    mode = cost.packed(mode or cost.mode_of(dtype), *phase.channels)
    found = cost.weight_plans(phase, dtype, mode)
    return [*hopper_weight.plans(phase), found[0]] if hopper_weight.is_usable(phase, mode) else found


def run(phase: Phase, x: DeviceArray, gy: DeviceArray, gw: DeviceArray, mode: str | None = None) -> None:
    """The weight gradient.

    Parameters
    ----------
    phase : Phase
        The forward pass.
    x, gy : DeviceArray, ``N, D, H, W, C``
    gw : DeviceArray, ``*kernel, C/groups, K``
        The result.
    mode : str, optional
        Overrides the mode of the precision setting.
    """
    mode = cost.packed(mode or cost.mode_of(x.dtype), *phase.channels)
    x, gy = layout.aligned(x), layout.aligned(gy)
    if mode == "bf16":
        x, gy = rounded(x, True), rounded(gy, True)
    blocks = phase.tap_blocks
    if len(blocks) == 1:
        _run_phase(phase, mode, x, gy, gw)
        return
    every = gw.reshape(*phase.kernel, *gw.shape[-2:])
    for block in blocks:
        part = memory.empty((*block.phase.kernel, *gw.shape[-2:]), gw.dtype)
        _run_phase(block.phase, mode, x, gy, part)
        layout.copy_to(part, block.of(every))


def _run_phase(phase, mode, x, gy, gw):
    in_channels, out_channels = phase.channels
    widths = [cost.vector_width(c, x.itemsize) for c in phase.channels]
    place = np.int32 if max(x.size, gy.size) < PLACES else np.int64

    def run_plan(plan):
        tile, split_k = plan.tile, plan.split_k
        if not isinstance(tile, mma_tile.Tile):
            hopper_weight.run_tile(phase, x, gy, gw, tile, split_k)
            return
        kernel, slabs = weight_kernel(tile, mode, gw.dtype.type, *widths, place)
        target = gw if split_k == 1 else memory.empty((split_k, *gw.shape), gw.dtype)
        rows = phase.taps * in_channels
        grid = -(-rows // tile.BM), -(-out_channels // tile.BN), phase.spec.groups * split_k
        launch(kernel, grid, slabs.threads, x, gy, target, split_k, phase.table, shared=slabs.bytes)
        if split_k > 1:
            epilogue.add_parts(target, gw, split_k)

    plans = cost.plans_to_run(plans_of(phase, gw.dtype, mode))
    run_plan(fastest(plans, run_plan, gw, "weight", phase, gw.dtype, mode))
