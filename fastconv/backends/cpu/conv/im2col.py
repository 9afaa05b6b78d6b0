"""im2col: gather the pixels a tap touches into the rows of a matrix, then multiply.

Forward and backward-data, for every phase (see conv_plan)::

    threads: equal shares of (block of output pixels, group of panels)
      matrix <- one row per output pixel: tap 0's channels, tap 1's channels, ...      (a block's rows fit L2)
      for each panel of 16 or 32 output channels
        for each 14 rows:  tile, one loop over taps * channels

The matrix costs a copy of kernel-size times the input, but its rows need not be neighbours in one output row:
small images, wide strides and dilations fill the tile all the same.

Backward-weight: the same matrix, read by columns (14 of its columns x 32 output channels, summed over the
block's pixels).
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from fastconv.backends import settings

from ..codegen import emitter, gemm_tile
from ..codegen.emitter import address
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from .direct import L2, copy_run
from .passes import (
    backward_data,
    forward,
    forward_phases,
    panels,
    panels_per_job,
    split_rows,
    sum_partials,
    with_taps,
)


@body
def gather(flat, shape, first, count, out_size, in_stride, off_d, off_h, off_w, groups, matrix):
    """Rows ``first .. first + count`` (output pixels, images outermost): ``matrix[pixel, group, tap,
    channel]``."""
    _, depth, height, width, channels = shape
    od, oh, ow = out_size
    part = channels // groups
    taps = off_d.size * off_h.size * off_w.size
    for r in range(count):
        pixel = first + r
        n, i, j, k = pixel // ow // oh // od, pixel // ow // oh % od, pixel // ow % oh, pixel % ow
        t = 0
        for td in off_d:
            d = i * in_stride[0] + td
            for th in off_h:
                h = j * in_stride[1] + th
                for tw in off_w:
                    w = k * in_stride[2] + tw
                    outside = d < 0 or d >= depth or h < 0 or h >= height or w < 0 or w >= width
                    source = (((n * depth + d) * height + h) * width + w) * channels
                    for g in range(groups):
                        at = ((r * groups + g) * taps + t) * part
                        if outside:
                            matrix[at : at + part] = 0
                        else:
                            copy_run(flat, source + g * part, matrix, at, part)
                    t += 1


@kernel
def _taps(
    threads,
    tile,
    max_rows,
    x,
    weights,
    sizes,
    bias,
    has_bias,
    y,
    beside,
    relu,
    out_size,
    in_stride,
    out_stride,
    out_offset,
    off_d,
    off_h,
    off_w,
    block,
    panel_step,
    matrices,
    results,
):
    groups, count, depth, width, weights_step, _, row = sizes
    out_channels = y.shape[4]
    columns = out_channels // groups
    size = x.itemsize
    od, oh, ow = out_size
    pixels = x.shape[0] * od * oh * ow
    panel_blocks = (groups * count + panel_step - 1) // panel_step
    jobs = (pixels + block - 1) // block * panel_blocks
    flat = x.reshape(-1)
    run = off_d.size * off_h.size * off_w.size * depth
    in_place = out_stride == (1, 1, 1)  # pixels of a block are neighbours in y
    source, target = emitter.view1d(address(y) + beside, y.size, y), y.reshape(-1)
    for thread in prange(threads):
        table = address(ONE_TAP)
        matrix, result = matrices[thread], results[thread]
        first_job, end_job = split_range(thread, threads, jobs)
        for job in range(first_job, end_job):
            start = job // panel_blocks * block
            rows = min(block, pixels - start)
            gather(flat, x.shape, start, rows, out_size, in_stride, off_d, off_h, off_w, groups, matrix)
            first = job % panel_blocks * panel_step
            for panel in range(first, min(first + panel_step, groups * count)):
                g, p = panel // count, panel % count
                k = g * columns + p * width
                used = min(width, columns - p * width)
                for b in range((rows + max_rows - 1) // max_rows):
                    m0, m1 = gemm_tile.row_block(rows, b, max_rows)
                    c = address(y) + ((start + m0) * out_channels + k) * size if in_place else address(result)
                    gemm_tile.tile(
                        tile,
                        m1 - m0,
                        address(matrix) + (m0 * groups + g) * run * size,
                        groups * run,
                        1,
                        table,
                        address(weights) + panel * weights_step * size,
                        row,
                        table,
                        1,
                        run,
                        c,
                        out_channels if in_place else width,
                        address(bias) + k * size if has_bias else 0,
                        0,
                        used,
                        c + beside if beside and in_place else 0,
                        relu,
                    )
                    for m in range(m0, m0 if in_place else m1):
                        pixel = start + m
                        n, i, j, q = (
                            pixel // ow // oh // od,
                            pixel // ow // oh % od,
                            pixel // ow % oh,
                            pixel % ow,
                        )
                        i, j, q = (
                            out_offset[0] + i * out_stride[0],
                            out_offset[1] + j * out_stride[1],
                            out_offset[2] + q * out_stride[2],
                        )
                        to = (((n * y.shape[1] + i) * y.shape[2] + j) * y.shape[3] + q) * out_channels + k
                        for c in range(used):
                            target[to + c] = result[(m - m0) * width + c]
                        if beside:
                            for c in range(used):
                                target[to + c] += source[to + c]


def _run(x, w, b, y, spec, phases, is_dgrad, beside, relu):
    threads = settings.get_num_threads()
    for phase, _ in with_taps(phases, y):
        weights = panels(w, spec.groups, phase.taps, is_dgrad)
        run = len(phase.taps) * x.shape[-1]
        pixels = x.shape[0] * prod(phase.out_size)
        block = max(L2 // 2 // (run * x.itemsize), gemm_tile.MAX_ROWS)
        block = max(min(block, -(-pixels // (2 * threads))), gemm_tile.MAX_ROWS)
        blocks = -(-pixels // block)
        panel_step = panels_per_job(weights.groups * weights.count, blocks, threads)
        matrices = memory.empty((threads, block * run), x.dtype)
        _taps(
            weights.tile,
            gemm_tile.MAX_ROWS,
            x,
            weights.data,
            weights.sizes,
            layout.dense(b) if b is not None else matrices[0],
            b is not None,
            y,
            beside,
            relu,
            phase.out_size,
            phase.in_stride,
            phase.out_stride,
            phase.out_offset,
            *phase.offsets,
            block,
            panel_step,
            matrices,
            *per_thread((gemm_tile.MAX_ROWS * weights.width, x.dtype)),
        )


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)


@kernel
def _weights(
    threads, tile, width, max_rows, x, gy, in_stride, off_d, off_h, off_w, by_rows, block, matrices, partials
):
    images, od, oh, ow, out_channels = gy.shape
    _, groups, taps, depth, columns = partials.shape
    size = x.itemsize
    run = taps * depth
    count = (columns + width - 1) // width
    pixels = images * od * oh * ow
    row_blocks = (run + max_rows - 1) // max_rows
    jobs = groups * count * row_blocks
    flat = x.reshape(-1)
    for thread in prange(threads):
        table = address(ONE_TAP)
        p0, p1 = split_range(thread, threads, pixels) if by_rows else (0, pixels)
        job0, job1 = (0, jobs) if by_rows else split_range(thread, threads, jobs)
        part = partials[np.int64(thread) if by_rows else 0]
        matrix = matrices[thread]
        if p0 == p1:
            part[:] = 0
        for start in range(p0, p1, block):
            rows = min(block, p1 - start)
            gather(flat, x.shape, start, rows, (od, oh, ow), in_stride, off_d, off_h, off_w, groups, matrix)
            for job in range(job0, job1):
                g, p = job // row_blocks // count, job // row_blocks % count
                m0, m1 = gemm_tile.row_block(run, job % row_blocks, max_rows)
                c = address(part) + ((g * run + m0) * columns + p * width) * size
                gemm_tile.tile(
                    tile,
                    m1 - m0,
                    address(matrix) + (g * run + m0) * size,
                    1,
                    groups * run,
                    table,
                    address(gy) + (start * out_channels + g * columns + p * width) * size,
                    out_channels,
                    table,
                    1,
                    rows,
                    c,
                    columns,
                    c if start > p0 else 0,
                    columns,
                    min(width, columns - p * width),
                    0,
                    0,
                )


def bwd_weight(x, gy, spec):
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    shape, spec = spec.w_shape, spec.as_3d()
    x, gy = layout.to_ndhwc(x), layout.to_ndhwc(gy)
    threads = settings.get_num_threads()
    by_rows = split_rows(spec, threads, x.itemsize)
    k, c, taps = spec.c_out // spec.groups, spec.c_in // spec.groups, prod(spec.kernel)
    partials = memory.empty((threads if by_rows else 1, spec.groups, taps, c, k), x.dtype)
    block = max(L2 // 2 // (taps * spec.c_in * x.itemsize), gemm_tile.MAX_ROWS)
    matrices = memory.empty((threads, block * taps * spec.c_in), x.dtype)
    width = gemm_tile.panel_width(k, x.dtype)
    phase = forward_phases(spec)[0]
    _weights(
        gemm_tile.tile_address(x.dtype, width),
        width,
        gemm_tile.MAX_ROWS,
        x,
        gy,
        spec.stride,
        *phase.offsets,
        by_rows,
        block,
        matrices,
        partials,
    )
    return sum_partials(partials, spec, shape)
