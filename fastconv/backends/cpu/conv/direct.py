"""Direct convolution: no matrix is built, tiles read the input where it lies.

Forward and backward-data, for every phase (see conv_plan)::

    threads: equal shares of (image, output depth, block of output rows, group of panels)
      slab <- the input rows the block needs, with their padding       (thread's own, in L2; skipped where no tap leaves
      for each panel of 16 or 32 output channels                        the input: then the tiles read x itself)
        for each output row of the block
          for each run of <= 14 output pixels
            tile:  14 pixels x 32 channels, sum over input channels and the taps whose row is on the image

          slab row   |pad| x x x x x x x x |pad|          One tap of a 3-wide kernel shifts the 14 rows of the tile by
          tap 0       [14 pixels .....]                   one pixel. Undilated taps of one kernel row lie next to each
          tap 1         [14 pixels .....]                 other in memory, so kernel_w * C is ONE loop of the tile.
          tap 2           [14 pixels .....]

Backward-weight: a tile is 14 (tap, input channel) rows x 32 output channels, and its loops run over pixels::

    threads: equal shares of the output rows (each with a partial gradient), or of the (panel, tap) pairs
      for each chunk of output rows that fits L2
        for each panel, each kernel row, each 14 of its kernel_w * C numbers
          tile: sum over the chunk's rows (taps of the tile) and their pixels (depth of the tile)
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod

import numpy as np

from fastconv.backends import settings

from ..codegen import gemm_tile
from ..codegen.emitter import address
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from .passes import U, backward_data, forward, panels, panels_per_job, split_rows, sum_partials, with_taps

L2 = 1 << 20  # bytes of a core's second-level cache, or less


# ------------------------------------------------------------------------------------------------- forward,
# backward-data
@body(inline=True)
def copy_run(source, at, target, to, n):
    """``target[to : to + n] = source[at : at + n]``, which Numba would do through a fresh copy if the two
    overlapped."""
    for i in range(n):
        target[U(to + i)] = source[U(at + i)]


@body
def copy_slab(x, n, d0, h0, w0, h_count, w_count, offsets_d, slab):
    """``slab[i, h, w] = x[n, d0 + offsets_d[i], h0 + h, w0 + w]``, zero outside x."""
    _, depth, height, width, channels = x.shape
    flat = x.reshape(-1)
    left = min(max(-w0, 0), w_count)
    right = max(min(width - w0, w_count), left)
    at = 0
    for i in range(offsets_d.size):
        d = d0 + offsets_d[i]
        for h in range(h0, h0 + h_count):
            row = slab[at : at + w_count * channels]
            at += w_count * channels
            if d < 0 or d >= depth or h < 0 or h >= height:
                row[:] = 0
                continue
            row[: left * channels] = 0
            if right > left:
                start = (((n * depth + d) * height + h) * width + w0 + left) * channels
                copy_run(flat, start, row, left * channels, (right - left) * channels)
            row[right * channels :] = 0


@body(inline=True)
def on_image(offsets, at, size):
    """The first of the ascending ``offsets`` from ``at`` that is on an image of ``size`` rows, and the one
    after the last; where none is, the last alone, for a tile needs a tap: its slab row is zero."""
    first, end = 0, offsets.size
    while first < end and at + offsets[first] < 0:
        first += 1
    while first < end and at + offsets[end - 1] >= size:
        end -= 1
    return (first if first < end else offsets.size - 1), (end if first < end else offsets.size)


@body
def clear_block(y, n, d0, d1, h0, h1):
    """``y[n, d0:d1, h0:h1] = 0``."""
    flat, line = y.reshape(-1), y.shape[3] * y.shape[4]
    for d in range(d0, d1):
        start = (n * y.shape[1] + d) * y.shape[2]
        flat[(start + h0) * line : (start + h1) * line] = 0


@kernel
def _taps(
    threads,
    tile,
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
    merged,
    inside,
    clear,
    row_step,
    panel_step,
    slabs,
    tables,
):
    images, x_depth, x_height, x_width, channels = x.shape
    groups, count, depth, width, weights_step, tap_step, row = sizes
    out_channels = y.shape[4]
    columns = out_channels // groups
    size = x.itemsize
    od, oh, ow = out_size
    row_blocks = (oh + row_step - 1) // row_step
    panel_blocks = (groups * count + panel_step - 1) // panel_step
    jobs = images * od * row_blocks * panel_blocks
    # Taps of one kernel row that touch in memory are one loop of the tile.
    tap_columns = 1 if merged else off_w.size
    run = off_w.size * depth if merged else depth
    most = off_d.size * off_h.size * tap_columns
    for thread in prange(threads):
        a_table, b_table = tables[thread, :most], tables[thread, most:]
        slab = slabs[thread]
        first_job, end_job = split_range(thread, threads, jobs)
        for job in range(first_job, end_job):
            block = job // panel_blocks
            n, i = block // row_blocks // od, block // row_blocks % od
            j0 = block % row_blocks * row_step
            j1 = min(j0 + row_step, oh)
            if inside:
                height, pitch = x_height, x_width
                base = (
                    address(x)
                    + ((n * x_depth + i * in_stride[0]) * height + j0 * in_stride[1])
                    * pitch
                    * channels
                    * size
                )
            else:
                height = (j1 - 1 - j0) * in_stride[1] + off_h[-1] - off_h[0] + 1
                pitch = (ow - 1) * in_stride[2] + off_w[-1] - off_w[0] + 1
                base = address(slab)
                copy_slab(
                    x, n, i * in_stride[0], j0 * in_stride[1] + off_h[0], off_w[0], height, pitch, off_d, slab
                )
            if clear:
                clear_block(
                    y,
                    n,
                    i * out_stride[0],
                    y.shape[1] if i + 1 == od else (i + 1) * out_stride[0],
                    j0 * out_stride[1],
                    y.shape[2] if j1 == oh else j1 * out_stride[1],
                )
            first = job % panel_blocks * panel_step
            first_d, end_d = on_image(off_d, i * in_stride[0], x_depth)
            built_first, built_end, taps = -1, -1, 0
            for panel in range(first, min(first + panel_step, groups * count)):
                g, p = panel // count, panel % count
                k = g * columns + p * width
                for j in range(j0, j1):
                    first_h, end_h = on_image(off_h, j * in_stride[1], x_height)
                    if first_h != built_first or end_h != built_end:
                        built_first, built_end, taps = first_h, end_h, 0
                        for td in range(first_d, end_d):
                            for th in range(first_h, end_h):
                                for tw in range(tap_columns):
                                    if inside:
                                        at = (off_d[td] * height + off_h[th]) * pitch + off_w[tw]
                                    else:
                                        at = (
                                            (td * height + off_h[th] - off_h[0]) * pitch
                                            + off_w[tw]
                                            - off_w[0]
                                        )
                                    a_table[taps] = at * channels
                                    b_table[taps] = ((td * off_h.size + th) * off_w.size + tw) * tap_step
                                    taps += 1
                    source = base + ((j - j0) * in_stride[1] * pitch * channels + g * depth) * size
                    line = (n * y.shape[1] + out_offset[0] + i * out_stride[0]) * y.shape[2]
                    line += out_offset[1] + j * out_stride[1]
                    target = address(y) + ((line * y.shape[3] + out_offset[2]) * out_channels + k) * size
                    gemm_tile.tile(
                        tile,
                        ow,
                        source,
                        in_stride[2] * channels,
                        1,
                        address(a_table),
                        address(weights) + panel * weights_step * size,
                        row,
                        address(b_table),
                        taps,
                        run,
                        target,
                        out_stride[2] * out_channels,
                        address(bias) + k * size if has_bias else 0,
                        0,
                        min(width, columns - p * width),
                        target + beside if beside else 0,
                        relu,
                    )


@lru_cache(maxsize=1024)
def _blocks(
    phase, clear: bool, merged: bool, lines: int, channels: int, panels: int, threads: int, itemsize: int
):
    """Output rows and panels of a job, and the shape of the slabs. ``lines``: output planes of the batch."""
    reach_h, reach_w = phase.reach[1:]
    pitch = ((phase.out_size[2] - 1) * phase.in_stride[2] + reach_w + 1) * channels * len(phase.offsets[0])
    # Rows per block: a slab of a quarter of L2, but enough blocks for the threads to share evenly.
    fit = L2 // 4 // (pitch * itemsize) - reach_h
    row_step = min(max(fit // phase.in_stride[1], 4), phase.out_size[1])
    while row_step > 4 and lines * -(-phase.out_size[1] // row_step) < 4 * threads:
        row_step = -(-row_step // 2)
    blocks = lines * -(-phase.out_size[1] // row_step)
    # A block that clears its part of y must be one job: another thread may have written there.
    panel_step = panels if clear else panels_per_job(panels, blocks, threads)
    rows = (row_step - 1) * phase.in_stride[1] + reach_h + 1
    geometry = (
        phase.out_size,
        phase.in_stride,
        phase.out_stride,
        phase.out_offset,
        *phase.offsets,
        merged and phase.dense,
        phase.inside,
        clear,
        row_step,
        panel_step,
    )
    return geometry, (threads, 1 if phase.inside else rows * pitch)


def _run(x, w, b, y, spec, phases, is_dgrad, beside, relu):
    """Sum over taps: ``y`` gets every pixel of every phase (x, y lifted)."""
    threads, merged = settings.get_num_threads(), spec.groups == 1
    for phase, clear in with_taps(phases, y, may_clear=True):
        weights = panels(w, spec.groups, phase.taps, is_dgrad)
        geometry, slabs = _blocks(
            phase,
            clear,
            merged,
            y.shape[0] * phase.out_size[0],
            x.shape[-1],
            weights.groups * weights.count,
            threads,
            x.itemsize,
        )
        slabs = memory.empty(slabs, x.dtype)
        bias = layout.dense(b) if b is not None else slabs[0]
        _taps(
            weights.tile,
            x,
            weights.data,
            weights.sizes,
            bias,
            b is not None,
            y,
            beside,
            relu,
            *geometry,
            slabs,
            *per_thread((2 * len(phase.taps), np.int64)),
        )


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)


# -------------------------------------------------------------------------------------------------
# backward-weight
@kernel
def _pad(threads, x, before, depth_offset, padded):
    images, depth, height = padded.shape[:3]
    rows = images * depth * height
    for thread in prange(threads):
        first_r, end_r = split_range(thread, threads, rows)
        for r in range(first_r, end_r):
            n, d, h = r // height // depth, r // height % depth, r % height
            copy_slab(
                x,
                n,
                d - before[0],
                h - before[1],
                -before[2],
                1,
                padded.shape[3],
                depth_offset,
                padded[n, d, h].reshape(-1),
            )


@kernel
def _weights(
    threads, tile, width, x, gy, stride, dilation, kernel_size, merged, by_rows, chunk, partials, tables
):
    _, x_depth, x_height, x_width, channels = x.shape
    images, od, oh, ow, out_channels = gy.shape
    _, groups, _, depth, columns = partials.shape
    size = x.itemsize
    kd, kh, kw = kernel_size
    tap_columns = 1 if merged else kw
    run = kw * depth if merged else depth
    taps = kd * kh * tap_columns
    count = (columns + width - 1) // width
    jobs = groups * count * taps
    total_rows = images * od * oh
    for thread in prange(threads):
        r0, r1 = split_range(thread, threads, total_rows) if by_rows else (0, total_rows)
        job0, job1 = (0, jobs) if by_rows else split_range(thread, threads, jobs)
        part = partials[np.int64(thread) if by_rows else 0]
        a_table, b_table = tables[thread, :chunk], tables[thread, chunk:]
        if r0 == r1:
            part[:] = 0
        for start in range(r0, r1, chunk):
            rows = min(chunk, r1 - start)
            for r in range(rows):
                n, d, h = (start + r) // oh // od, (start + r) // oh % od, (start + r) % oh
                a_table[r] = ((n * x_depth + d * stride[0]) * x_height + h * stride[1]) * x_width * channels
                b_table[r] = (start + r) * ow * out_channels
            for job in range(job0, job1):
                panel, t = job // taps, job % taps
                g, p = panel // count, panel % count
                td, th, tw = t // tap_columns // kh, t // tap_columns % kh, t % tap_columns
                at = (
                    (td * dilation[0] * x_height + th * dilation[1]) * x_width + tw * dilation[2]
                ) * channels
                source = address(x) + (at + g * depth) * size
                upstream = address(gy) + (g * columns + p * width) * size
                target = address(part) + ((g * taps + t) * run * columns + p * width) * size
                gemm_tile.tile(
                    tile,
                    run,
                    source,
                    1,
                    stride[2] * channels,
                    address(a_table),
                    upstream,
                    out_channels,
                    address(b_table),
                    rows,
                    ow,
                    target,
                    columns,
                    target if start > r0 else 0,
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
    if any(b or a for b, a in spec.padding):
        size = [i + b + a for i, (b, a) in zip(spec.in_size, spec.padding)]
        padded = memory.empty((spec.batch, *size, spec.c_in), x.dtype)
        _pad(x, tuple(b for b, _ in spec.padding), np.zeros(1, np.int64), padded)
        x = padded
    threads = settings.get_num_threads()
    by_rows = split_rows(spec, threads, x.itemsize)
    k, c = spec.c_out // spec.groups, spec.c_in // spec.groups
    taps = prod(spec.kernel)
    partials = memory.empty((threads if by_rows else 1, spec.groups, taps, c, k), x.dtype)
    line = (x.shape[3] * x.shape[4] * spec.stride[1] + gy.shape[3] * gy.shape[4]) * x.itemsize
    chunk = min(max(L2 // 2 // line, 1), prod(gy.shape[:3]))
    merged = spec.groups == 1 and spec.dilation[2] == 1
    width = gemm_tile.panel_width(k, x.dtype)
    _weights(
        gemm_tile.tile_address(x.dtype, width),
        width,
        x,
        gy,
        spec.stride,
        spec.dilation,
        spec.kernel,
        merged,
        by_rows,
        chunk,
        partials,
        *per_thread((2 * chunk, np.int64)),
    )
    return sum_partials(partials, spec, shape)
