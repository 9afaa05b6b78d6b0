"""Forward and backward-data as a matrix product whose left matrix is never built: implicit GEMM.

::

                                     n: output channels of a group
                                  +------------------------+
        k: taps x channels        | w[k, n]                |    grid: x = blocks of pixels,
                                  +------------------------+          y = blocks of channels,
      +---------------------------+------------------------+          z = group, part of k (split k)
    m | x[pixel(m) + tap(k),      | y[m, n] = sum over k   |
      |   channel(k)]             |                        |
      +---------------------------+------------------------+

    block:   pixel table: of each of the BM lines of x, pixel and mask of the taps inside the image
             for each step of BK numbers of k, `stages` - 1 steps ahead
                 load_x, load_w:   copies of slabs to shared memory (cp.async; zeros outside of the image)
                 next_tap:         on to the next taps and channels
                 multiply:         the slabs that have arrived
             stage, write:         the sums, with bias, residual and ReLU (epilogue.py)

A thread copies the same channels of several pixels. What is known before the loop is computed before it: the
place of each pixel in memory, and a bit for each row, column and plane of taps inside the image. In the loop
a place is then one addition, and a tap one comparison of bits.

Order of k: where BK divides the channels (``chunked``), taps run faster than chunks of BK channels, so eight
of nine taps of a 3x3 kernel find x in the first-level cache. Otherwise channels run fastest.

Backward-data is the same kernel on gy, once for each phase (``geometry.py``). A mask holds 30 bits. A kernel
with more rows, columns and planes of taps is computed in blocks of taps, each added to the result so far.

Source: S. Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..codegen import mma_tile, ptx
from ..runtime import autotune, layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, kernel, launch
from . import cost, epilogue, hopper
from .bf16 import rounded
from .geometry import (
    Phase,
    first_tap,
    input_pixel,
    position,
    read_geometry,
    tap_bits,
    taps_inside,
)


# ------------------------------------------------------------------------------------------ the tap walk
class TapSteps(NamedTuple):
    """How far the places in x and w move from step to step of k."""

    taps_w: np.int32
    taps_h: np.int32
    taps_d: np.int32
    x_step_w: np.int32  #: in x, to the next column of taps
    x_step_h: np.int32  #: and to the next row of taps, from behind the last column
    x_step_d: np.int32
    x_step_chunk: np.int32  #: and to the first tap of the next channels, from behind the last plane
    w_step_kw: np.int32  #: in w, likewise
    w_step_kh: np.int32
    w_step_kd: np.int32
    w_step_chunk: np.int32


class TapWalk(NamedTuple):
    """The tap of a step of k, and the places in x and w that belong to it."""

    tap_w: np.int32
    tap_h: np.int32
    tap_d: np.int32
    at_x: Any
    at_w: Any


@functools.cache
def _tap_walk(BK, k_major_w, chunked):
    """The functions ``tap_steps``, ``start_walk`` and ``next_tap`` for one order of k."""
    w_by_taps = k_major_w or chunked  # else the lines of w follow each other as k does

    @body
    def tap_steps(g):
        x_pitch, w_row, w_tap = np.int32(g.x_pitch), g.w_row, g.w_tap
        taps_w, taps_h, taps_d = np.int32(g.taps_w), np.int32(g.taps_h), np.int32(g.taps_d)
        x_w, x_h = x_pitch * g.tap_step_w, x_pitch * g.size_w * g.tap_step_h
        x_d = x_pitch * g.size_w * g.size_h * g.tap_step_d
        x_chunk = np.int32(BK - taps_d * x_d)
        x_w, x_h, x_d = np.int32(x_w), np.int32(x_h - taps_w * x_w), np.int32(x_d - taps_h * x_h)
        w_w, w_h, w_d = w_tap * g.kernel_step_w, w_tap * g.kernel_step_h, w_tap * g.kernel_step_d
        w_chunk = np.int32((BK if k_major_w else BK * w_row) - taps_d * w_d)
        w_d, w_h, w_w = np.int32(w_d - taps_h * w_h), np.int32(w_h - taps_w * w_w), np.int32(w_w)
        return TapSteps(taps_w, taps_h, taps_d, x_w, x_h, x_d, x_chunk, w_w, w_h, w_d, w_chunk)

    @body
    def start_walk(first, column, x_group, w_base, s, g):
        """The channel in its tap, and the walk, of ``column`` in step ``first`` of k."""
        k = np.int32(first * BK)
        if chunked:
            all_taps = np.int32(s.taps_d * s.taps_h * s.taps_w)
            tap = np.int32(first % all_taps)
            c = np.int32(first // all_taps * BK + column)
        else:
            in_channels = np.int32(g.in_channels)
            tap = np.int32((k + column) // in_channels)
            c = np.int32(k + column - tap * in_channels)
        tap_w, tap_h = np.int32(tap % s.taps_w), np.int32(tap // s.taps_w % s.taps_h)
        tap_d = np.int32(tap // s.taps_w // s.taps_h)
        at_x = tap * s.x_step_w + (tap // s.taps_w) * s.x_step_h + tap_d * s.x_step_d + x_group + c
        at_w = w_base
        if w_by_taps:
            at_w += g.kernel_first * g.w_tap + tap * s.w_step_kw + (tap // s.taps_w) * s.w_step_kh
            at_w += tap_d * s.w_step_kd + (c if k_major_w else (c - column) * g.w_row)
        else:
            at_w += k * g.w_row
        return c, TapWalk(tap_w, tap_h, tap_d, at_x, at_w)

    @body
    def next_tap(walk, s):
        """The walk one tap on."""
        tap_w, tap_h, tap_d, at_x, at_w = walk
        tap_w = np.int32(tap_w + 1)
        at_x += s.x_step_w
        if w_by_taps:
            at_w += s.w_step_kw
        if tap_w == s.taps_w:
            tap_w, tap_h = np.int32(0), np.int32(tap_h + 1)
            at_x += s.x_step_h
            if w_by_taps:
                at_w += s.w_step_kh
            if tap_h == s.taps_h:
                tap_h, tap_d = np.int32(0), np.int32(tap_d + 1)
                at_x += s.x_step_d
                if w_by_taps:
                    at_w += s.w_step_kd
                if chunked and tap_d == s.taps_d:
                    tap_d = np.int32(0)
                    at_x += s.x_step_chunk
                    at_w += s.w_step_chunk
        return TapWalk(tap_w, tap_h, tap_d, at_x, at_w)

    @body
    def next_step(c, walk, s, g):
        """Channel and walk one step of k on."""
        if chunked:
            return c, next_tap(walk, s)
        in_channels = np.int32(g.in_channels)
        c = np.int32(c + BK)
        tap_w, tap_h, tap_d, at_x, at_w = walk
        walk = TapWalk(tap_w, tap_h, tap_d, at_x + BK, at_w + (BK if k_major_w else BK * g.w_row))
        while c >= in_channels:
            c = np.int32(c - in_channels)
            tap_w, tap_h, tap_d, at_x, at_w = walk
            back = at_w - in_channels if k_major_w else at_w
            walk = next_tap(TapWalk(tap_w, tap_h, tap_d, at_x - in_channels, back), s)
        return c, walk

    return tap_steps, start_walk, next_step


# ------------------------------------------------------------------------------------------------- tile loads
@functools.cache
def _tile_loads(tile, slabs, mode, real, k_major_w, vector_x, vector_w, chunked):
    """The functions that fill and read the pixel table and copy slabs, and the lines of x per thread.

    ``vector_x`` numbers of x and ``vector_w`` of w are copied at once.
    """
    BM, BN, BK, threads = tile.BM, tile.BN, tile.BK, slabs.threads
    per_line = BK // vector_x  # copies per line of x
    down = threads // per_line  # lines that the threads copy in one go
    count = max(BM // down, 1)
    chunks = per_line if k_major_w else BN // vector_w  # copies per line of w
    down_w = threads // chunks
    copies_w = BN * per_line if k_major_w else BK * chunks
    count_w = -(-copies_w // threads)
    width_w = vector_x if k_major_w else vector_w
    pitch_x, pitch_w, size_x = slabs.pitch_a, slabs.pitch_b, slabs.size_a
    itemsize = np.dtype(mma_tile.stored(mode, real)).itemsize
    copy_x = ptx.copy_async(vector_x * itemsize)
    copy_w = ptx.copy_async(width_w * itemsize, l1=False)

    @body
    def fill_pixel_table(thread, top, pixel_of, mask_of, g):
        """Of each line of x: number of the pixel under tap 0, and the mask of its taps inside the image."""
        for i in range(thread, BM, threads):
            m = np.int32(top + i)
            at = position(m, g)
            tap = first_tap(at, g)
            pixel_of[i] = np.int32(input_pixel(at[0], tap, g))
            mask_of[i] = np.int32(taps_inside(tap, g) if m < np.int32(g.pixels) else 0)

    @body
    def take_lines(thread, pixel_of, mask_of, first_pixel, mask):
        """The lines of the pixel table that a thread copies."""
        line = thread // per_line
        for i in range(count):
            if BM >= down or line < BM:
                first_pixel[i] = pixel_of[line + i * down]
                mask[i] = mask_of[line + i * down]

    @body
    def column_of(thread):
        """First column of k that a thread copies of x."""
        return thread % per_line * vector_x

    @body
    def start_of_w(thread, left, group, g):
        """Place in w of what a thread copies of the first step, without taps and channels."""
        line, col = thread // chunks, thread % chunks * width_w
        n = left + (line if k_major_w else col)
        return group * g.w_group + (n * g.w_row if k_major_w else line * g.w_row + n)

    @body
    def load_x(slabs, into, thread, x, walk, first_pixel, mask, g):
        """Start the copies of a slab of x to place ``into``."""
        line = thread // per_line
        to = np.int64(line * pitch_x + column_of(thread))
        bit = tap_bits(walk.tap_w, walk.tap_h, walk.tap_d, g)
        for i in range(count):
            if BM >= down or line < BM:
                source = np.int64(first_pixel[i]) * np.int32(g.x_pitch) + walk.at_x
                copy_x(slabs, into + to + i * (down * pitch_x), x, source, np.int32(mask[i] & bit) == bit)

    @body
    def load_w(slabs, into, thread, left, w, k, walk, g):
        """Start the copies of a slab of w, whose first line is ``k``."""
        line, col = thread // chunks, thread % chunks * width_w
        n = left + (line if k_major_w else col)
        to = np.int64(size_x + line * pitch_w + col)
        out_channels = np.int32(g.out_channels)
        for i in range(count_w):
            if copies_w % threads == 0 or line + i * down_w < (BN if k_major_w else BK):
                if k_major_w:
                    inside = n + i * down_w < out_channels and (chunked or walk.tap_d < np.int32(g.taps_d))
                else:
                    inside = n < out_channels and (chunked or k + line + i * down_w < np.int32(g.k_size))
                copy_w(slabs, into + to + i * down_w * pitch_w, w, walk.at_w + i * down_w * g.w_row, inside)

    return fill_pixel_table, take_lines, column_of, start_of_w, load_x, load_w, count


# ------------------------------------------------------------------------------------------------- the kernel
@functools.cache
def gemm_kernel(tile, mode, real, k_major_w, vector_x, vector_w, chunked):
    """The kernel for one kind of tile, and its slabs.

    Parameters
    ----------
    k_major_w : bool
        Whether the channels that are summed over run along memory in w (backward-data), else output channels.
    vector_x, vector_w : int
        Numbers per copy.
    chunked : bool
        Whether BK divides the channels.
    """
    s = mma_tile.slabs(tile, mode, real, True, k_major_w)
    BM, BN, BK, ahead = tile.BM, tile.BN, tile.BK, tile.stages - 1
    size_x, size = s.size_a, s.size_a + s.size_b
    high, wide = s.sums_shape
    zero, store = real(0), mma_tile.stored(mode, real)
    starts, multiply = s.starts, s.multiply
    commit, wait, pointer = ptx.commit, ptx.wait(tile.stages - 2), ptx.pointer
    tap_steps, start_walk, next_step = _tap_walk(BK, k_major_w, chunked)
    fill_pixel_table, take_lines, column_of, start_of_w, load_x, load_w, count = _tile_loads(
        tile, s, mode, real, k_major_w, vector_x, vector_w, chunked
    )
    stage, write = epilogue.tile_epilogue(tile, s, real)

    def implicit_gemm(x, w, bias, residual, y, moments, split_k, flags, geometry):
        slabs = pointer(cuda.shared.array(0, store, alignment=16))
        g = read_geometry(geometry)
        thread = np.int32(cuda.threadIdx.x)
        top, left = np.int32(cuda.blockIdx.x) * BM, np.int32(cuda.blockIdx.y) * BN
        group, split = np.int32(cuda.blockIdx.z) // split_k, np.int32(cuda.blockIdx.z) % split_k

        pixel_of = pointer(cuda.shared.array(BM, np.int32))
        mask_of = pointer(cuda.shared.array(BM, np.int32))
        fill_pixel_table(thread, top, pixel_of, mask_of, g)
        cuda.syncthreads()
        first_pixel = cuda.local.array(count, np.int32)
        mask = cuda.local.array(count, np.int32)
        take_lines(thread, pixel_of, mask_of, first_pixel, mask)

        # the steps of this part of k, and where this thread's column is in the first of them
        steps = np.int32((np.int32(g.k_size) + BK - 1) // BK)
        first = np.int32(np.int64(split) * steps // split_k)
        last = np.int32(np.int64(split + 1) * steps // split_k)
        tap_step = tap_steps(g)
        k = np.int32(first * BK)
        w_base = start_of_w(thread, left, group, g)
        c, walk = start_walk(first, column_of(thread), group * np.int32(g.in_channels), w_base, tap_step, g)

        sums = cuda.local.array((high, wide), real)
        for i in range(high):
            for j in range(wide):
                sums[i, j] = zero
        start_a, start_b = starts(thread)
        into, at = np.int32(0), np.int32(0)  # the slabs being filled and being read
        for step in range(first - ahead, last):
            if step >= first:
                wait()
                cuda.syncthreads()
            if step + ahead < last:
                load_x(slabs, into, thread, x, walk, first_pixel, mask, g)
                load_w(slabs, into, thread, left, w, k, walk, g)
                k = np.int32(k + BK)
                c, walk = next_step(c, walk, tap_step, g)
                into = np.int32(into + size if into < ahead * size else 0)
            commit()
            if step >= first:
                multiply(slabs, at + start_a, at + size_x + start_b, sums)
                at = np.int32(at + size if at < ahead * size else 0)

        cuda.syncthreads()
        room = pointer(cuda.shared.array(0, real, alignment=16))  # the memory of the slabs
        stage(thread, sums, room)
        cuda.syncthreads()
        write(room, top, left, group, split, bias, residual, y, moments, flags, geometry)

    return kernel(implicit_gemm, launch_bounds=s.threads), s


# ------------------------------------------------------------------------------------------------- launches
def fastest(plans, run, result: DeviceArray, *problem) -> cost.Plan:
    """The plan that is fastest on the device, measured once by ``run(plan)``, which writes ``result``.

    Without a device it is the first. A single plan runs unmeasured, so what :func:`cost.only_plans` asks for
    is not remembered for the problem.
    """
    if len(plans) == 1:
        return plans[0]
    named = {f"{p.tile.name}/{p.split_k}": p for p in plans}
    return named[autotune.fastest(problem, {name: partial(run, p) for name, p in named.items()}, result)]


def plans_of(phase: Phase, dtype, mode: str | None = None) -> list[cost.Plan]:
    """The plans of a phase of forward or backward-data on this device, the best by the models first.

    ``mode`` overrides that of the precision setting.
    """
    mode = cost.packed(mode or cost.mode_of(dtype), *phase.channels)
    found = cost.phase_plans(phase, dtype, mode)
    return [*hopper.plans(phase, mode), found[0]] if hopper.is_usable(phase, mode) else found


def run(
    phases: list[Phase],
    x: DeviceArray,
    w: DeviceArray,
    y: DeviceArray,
    bias: DeviceArray | None = None,
    residual: DeviceArray | None = None,
    relu: bool = False,
    mode: str | None = None,
) -> None:
    """Run phases of forward or backward-data.

    Parameters
    ----------
    phases : list of Phase
        They read the same arrays and write different pixels of ``y``.
    x, y : DeviceArray, ``N, D, H, W, C``
        What is read (backward-data: gy), and the result.
    w : DeviceArray, ``*kernel, C/groups, K``
    bias, residual, relu
        What is added to the sums.
    mode : str, optional
        Overrides the mode of the precision setting.
    """
    bias, residual, x, w = (layout.aligned(v) for v in (bias, residual, x, w))
    complete = len(phases) == 1 and phases[0].taps > 0
    mode = cost.packed(mode or cost.mode_of(y.dtype), *phases[0].channels)
    if mode == "bf16":
        x, w = rounded(x, True), rounded(w, False)
    for phase in phases:
        if not phase.taps:
            continue
        blocks = phase.tap_blocks
        if len(blocks) == 1:
            _run_phase(phase, complete, mode, x, w, y, bias, residual, relu)
            continue
        every, summed = w.reshape(*phase.kernel, *w.shape[-2:]), residual
        for i, block in enumerate(blocks):  # each adds what the blocks before it have summed up
            first, last = i == 0, i == len(blocks) - 1
            part = memory.empty((*block.phase.kernel, *w.shape[-2:]), w.dtype)
            result = y if last else memory.empty(y.shape, y.dtype)
            epilogue_of = bias if first else None, summed, relu and last
            _run_phase(
                block.phase, complete, mode, x, layout.copy_to(block.of(every), part), result, *epilogue_of
            )
            summed = result


def _run_phase(phase, complete, mode, x, w, y, bias, residual, relu):
    """Run a phase by its fastest plan. ``complete``: it writes all of ``y``, so k may be split."""
    lines = functools.cache(lambda: hopper.lines(phase, w))

    def run_plan(plan):
        split_k = plan.split_k if complete else 1
        y.base.known.clear()  # of another plan that was tried
        target = y if split_k == 1 else memory.empty((split_k, *y.shape), y.dtype)
        epilogue_of = target, split_k, bias, residual, relu
        if isinstance(plan.tile, hopper.HopperTile):
            hopper.launch_phase(phase, plan.tile, mode, x, lines(), *epilogue_of)
        else:
            _launch(phase, plan.tile, mode, x, w, *epilogue_of)
        if split_k > 1:
            epilogue.split_k_reduce(target, y, split_k, bias, residual, relu)

    plans = cost.plans_to_run(plans_of(phase, y.dtype, mode))
    run_plan(fastest(plans, run_plan, y, phase, y.dtype, mode))


def _launch(phase, tile, mode, x, w, y, split_k, bias, residual, relu):
    in_channels, out_channels = phase.channels
    vector_x, vector_y = (cost.vector_width(c, x.itemsize) for c in phase.channels)
    vector_w = vector_x if phase.is_dgrad else vector_y  # along which w lies in memory
    chunked = in_channels % tile.BK == 0
    kernel, slabs = gemm_kernel(tile, mode, y.dtype.type, phase.is_dgrad, vector_x, vector_w, chunked)
    flags = epilogue.flags_of(bias, residual, relu) if split_k == 1 else 0
    flags |= epilogue.QUADS * (out_channels % 4 == 0) | epilogue.DENSE * phase.dense
    moments = None
    # a BatchNorm is likely to follow
    if split_k == 1 and not phase.is_dgrad and bias is None and residual is None and not relu:
        flags |= epilogue.MOMENTS
        blocks = -(-phase.pixels // tile.BM)
        moments = memory.empty((2, out_channels * phase.spec.groups, blocks), np.float64)
        y.base.known["moments"] = moments, tile.BM, (phase.pixels, y.shape[-1])
    grid = -(-phase.pixels // tile.BM), -(-out_channels // tile.BN), phase.spec.groups * split_k
    launch(
        kernel,
        grid,
        slabs.threads,
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
