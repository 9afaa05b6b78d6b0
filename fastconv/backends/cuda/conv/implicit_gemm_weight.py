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
                 note_pixels:      of each pixel one step later, where tap 0 is in x, and the mask of its taps
                                   inside the image (BK threads)
                 load_x, load_gy:  copies of slabs to shared memory (cp.async; zeros outside of the image)
                 multiply:         the slabs that have arrived
             write:                the sums, from registers

A thread copies several rows of one pixel. Both slabs have pixels as lines, so neither is k-major.

With split k, each part of the pixels writes a gradient of its own; ``epilogue.split_k_reduce`` adds them in
order.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import mma_tile, ptx
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, kernel, launch
from . import cost, epilogue
from .bf16 import rounded
from .geometry import Phase, first_tap, input_pixel, position, read_geometry, tap_bits, taps_inside
from .implicit_gemm import fastest


@functools.cache
def _tables(tile, threads):
    """The functions ``fill_row_table`` and ``note_pixels``."""
    BM, BK = tile.BM, tile.BK

    @body
    def fill_row_table(thread, top, distance_of, bits_of, g):
        """Of each row (tap, channel): its distance in x from tap 0 of channel 0, and the bits of its tap."""
        in_channels, x_pitch = np.int32(g.in_channels), g.x_pitch
        taps_d, taps_h, taps_w = np.int32(g.taps_d), np.int32(g.taps_h), np.int32(g.taps_w)
        for i in range(thread, BM, threads):
            r = np.int32(top + i)
            tap = np.int32(r // in_channels)
            line = np.int32(tap // taps_w)
            tap_d = np.int32(line // taps_h)
            tap_h, tap_w = line - tap_d * taps_h, tap - line * taps_w
            bits_of[i] = tap_bits(tap_w, tap_h, min(tap_d, taps_d), g)
            rows = tap_d * g.tap_step_d * g.size_h + tap_h * g.tap_step_h
            distance_of[i] = (rows * g.size_w + tap_w * g.tap_step_w) * x_pitch + (r - tap * in_channels)

    @body
    def note_pixels(step, half, thread, x_group, start_of, mask_of, g):
        """Of a pixel per thread: where tap 0 is in x, and the mask of its taps inside the image."""
        m = np.int32(step * BK + thread)
        at = position(m, g)
        tap = first_tap(at, g)
        line = half * BK + thread
        start_of[line] = input_pixel(at[0], tap, g) * g.x_pitch + x_group
        mask_of[line] = np.int32(taps_inside(tap, g) if m < np.int32(g.pixels) else 0)

    return fill_row_table, note_pixels


@functools.cache
def _tile_loads(tile, slabs, mode, real, vector_x, vector_gy):
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
        pixel, row = thread // per_pixel, thread % per_pixel * vector_x
        to = np.int64(pixel * pitch_x + row)
        for i in range(count_x):
            if BM % jump_x == 0 or row + i * jump_x < BM:
                inside = np.int32(mask & bits[i]) == bits[i]
                copy_x(slabs, into + to + i * jump_x, x, start + distance[i], inside)

    @body
    def load_gy(slabs, into, thread, gy, p, left, from_gy, g):
        """Start the copies of a slab of gy."""
        pixel, col = thread // per_pixel, thread % per_pixel * vector_gy
        to = np.int64(size_x + pixel * pitch_gy + col)
        for i in range(count_gy):
            if BN % jump_gy == 0 or col + i * jump_gy < BN:
                inside = left + col + i * jump_gy < np.int32(g.out_channels) and p < np.int32(g.pixels)
                copy_gy(slabs, into + to + i * jump_gy, gy, p * g.y_pitch + from_gy + i * jump_gy, inside)

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
def weight_kernel(tile, mode, real, vector_x, vector_gy):
    """The kernel for one kind of tile, and its slabs; ``vector_x`` and ``vector_gy`` numbers per copy."""
    s = mma_tile.slabs(tile, mode, real, False, False)
    BM, BN, BK, stages = tile.BM, tile.BN, tile.BK, tile.stages
    size_x, size = s.size_a, s.size_a + s.size_b
    high, wide = s.sums_shape
    zero, store, two_steps = real(0), mma_tile.stored(mode, real), 2 * tile.BK
    starts, multiply = s.starts, s.multiply
    commit, wait, pointer = ptx.commit, ptx.wait(stages - 2), ptx.pointer
    fill_row_table, note_pixels = _tables(tile, s.threads)
    take_rows, load_x, load_gy, count_x, per_pixel = _tile_loads(tile, s, mode, real, vector_x, vector_gy)
    write = _write(s)

    def implicit_gemm_weight(x, gy, gw, split_k, geometry):
        slabs = pointer(cuda.shared.array(0, store, alignment=16))
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * BM, np.int32(cuda.blockIdx.y) * BN
        group, split = np.int32(cuda.blockIdx.z) // split_k, np.int32(cuda.blockIdx.z) % split_k

        distance_of = pointer(cuda.shared.array(BM, np.int64))
        bits_of = pointer(cuda.shared.array(BM, np.int32))
        fill_row_table(thread, top, distance_of, bits_of, g)
        cuda.syncthreads()
        distance = cuda.local.array(count_x, np.int64)
        bits = cuda.local.array(count_x, np.int32)
        take_rows(thread, distance_of, bits_of, distance, bits)
        pixel, col = thread // per_pixel, thread % per_pixel * vector_gy
        from_gy = np.int64(group * np.int32(g.out_channels) + left + col)
        x_group = group * np.int32(g.in_channels)

        steps = (np.int32(g.pixels) + BK - 1) // BK
        first = np.int32(np.int64(split) * steps // split_k)
        last = np.int32(np.int64(split + 1) * steps // split_k)
        # pixels of the two steps that are copied next, in turn
        start_of = pointer(cuda.shared.array(two_steps, np.int64))
        mask_of = pointer(cuda.shared.array(two_steps, np.int32))
        sums = cuda.local.array((high, wide), real)
        for i in range(high):
            for j in range(wide):
                sums[i, j] = zero
        start_a, start_b = starts(thread)
        into, at = np.int32(0), np.int32(0)  # the slabs being filled and being read
        for step in range(first - stages, last):
            if step >= first:
                wait()
            cuda.syncthreads()
            if thread < BK and step + stages < last:
                note_pixels(step + stages, step + stages - first & 1, thread, x_group, start_of, mask_of, g)
            if first - stages < step < last - (stages - 1):
                line = (step + stages - 1 - first & 1) * BK + pixel
                p = np.int32((step + stages - 1) * BK + pixel)
                load_x(slabs, into, thread, x, start_of[line], mask_of[line], distance, bits)
                load_gy(slabs, into, thread, gy, p, left, from_gy, g)
                into = np.int32(into + size if into < (stages - 1) * size else 0)
            if step > first - stages:
                commit()
            if step >= first:
                multiply(slabs, at + start_a, at + size_x + start_b, sums)
                at = np.int32(at + size if at < (stages - 1) * size else 0)
        write(sums, top, left, group, split, gw, geometry)

    return kernel(implicit_gemm_weight, launch_bounds=s.threads), s


# ------------------------------------------------------------------------------------------------- launches
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
    x, gy, mode = (
        layout.aligned(x),
        layout.aligned(gy),
        cost.packed(mode or cost.mode_of(x.dtype), *phase.channels),
    )
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

    def run_plan(plan):
        tile, split_k = plan.tile, plan.split_k
        kernel, slabs = weight_kernel(tile, mode, gw.dtype.type, *widths)
        target = gw if split_k == 1 else memory.empty((split_k, *gw.shape), gw.dtype)
        rows = phase.taps * in_channels
        grid = -(-rows // tile.BM), -(-out_channels // tile.BN), phase.spec.groups * split_k
        launch(kernel, grid, slabs.threads, x, gy, target, split_k, phase.table, shared=slabs.bytes)
        if split_k > 1:
            epilogue.split_k_reduce(target, gw, split_k)

    plans = cost.plans_to_run(cost.weight_plans(phase, gw.dtype, mode))
    run_plan(fastest(plans, run_plan, gw, "weight", phase, gw.dtype, mode))
