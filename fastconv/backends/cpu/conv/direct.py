"""Direct convolution: no matrix is built, tiles read the input where it lies.

Forward and backward-data, for every phase (see ``phases.py``)::

    threads: equal shares of (image, output depth, block of output rows, group of panels)
      slab <- the input rows that the block needs, with their padding: the thread's own, in L2
              (where no tap leaves the input there is no slab, and the tiles read x itself)
      for each panel of 16 or 32 output channels
        for each output row of the block
          tiles of 14 output pixels x 32 channels:
            sum over input channels, and over the taps whose row is on the image

          slab row   |pad| x x x x x x x x |pad|      One tap of a 3-wide kernel shifts the 14 rows of
          tap 0       [14 pixels .....]               the tile by one pixel. Undilated taps of one kernel
          tap 1         [14 pixels .....]             row lie next to each other in memory, so kernel_w * C
          tap 2           [14 pixels .....]           is ONE loop of the tile.

Backward-weight: a tile is 14 (tap, input channel) rows x 32 output channels, and its loops run over pixels::

    threads: equal shares of the output rows (each with a partial gradient), or of the (panel, tap) pairs
      for each chunk of output rows that fits L2
        for each panel
          pack it: the chunk's pixels x 32 channels, so that rows do not evict each other from L1
          for each kernel row, each 14 of its kernel_w * C numbers
            tile: sum over the chunk's rows (taps of the tile) and their pixels (depth of the tile)
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import gemm_tile
from ..codegen.emitter import address
from ..codegen.jit import U, body, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from .activation import activate
from .passes import (
    L2,
    backward_data,
    bias_argument,
    channels_of,
    forward,
    panels_per_job,
    phases_with_taps,
    shares,
    taps_inside,
    transposed,
)
from .phases import PHASE_FIELDS
from .weights import empty_partials, panels, split_rows, sum_partials

#: The numbers of a phase. ``channels``, ``out_channels``: those of the input and of the result. ``merged``:
#: the taps of a kernel row are one loop. ``inside``: no tap leaves the input. ``clear``: the kernel clears
#: the pixels between those it writes. A job is ``row_step`` output rows and ``panel_step`` panels.
PHASE = record_type(
    **PHASE_FIELDS, channels=1, out_channels=1, merged=1, inside=1, clear=1, row_step=1, panel_step=1
)
#: The numbers of backward-weight. A tile has ``width`` columns. ``by_rows``: threads share output rows.
#: ``chunk``: output rows that are summed at a time.
GRADIENT = record_type(tile=1, width=1, stride=3, dilation=3, kernel_size=3, merged=1, by_rows=1, chunk=1)


# --------------------------------------------------------------------------------------------------- the slab
@body(inline=True)
def copy_run(source, at, target, to, n):
    """``target[to : to + n] = source[at : at + n]``, which Numba would do through a fresh copy if the two
    overlapped."""
    for i in range(n):
        target[U(to + i)] = source[U(at + i)]


@body
def copy_slab(x, channels, n, d0, h0, w0, h_count, w_count, offsets_d, slab):
    """``slab[i, h, w] = x[n, d0 + offsets_d[i], h0 + h, w0 + w, :channels]``, zero outside x."""
    _, depth, height, width, pitch = x.shape
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
                start = (((n * depth + d) * height + h) * width + w0 + left) * pitch
                if pitch == channels:
                    copy_run(flat, start, row, left * channels, (right - left) * channels)
                else:
                    for w in range(right - left):
                        copy_run(flat, start + w * pitch, row, (left + w) * channels, channels)
            row[right * channels :] = 0


# ------------------------------------------------------------------------------------ forward, backward-data
@body(inline=True)
def on_image(offsets, at, size):
    """The range of the ascending ``offsets`` that lie, from ``at``, on an image of ``size`` rows.

    Where none does it is the last alone, because a tile needs a tap: the slab is zero there.
    """
    first, end = taps_inside(offsets, at, size)
    return (first if first < end else offsets.size - 1), (end if first < end else offsets.size)


@body
def clear_block(y, n, d0, d1, h0, h1):
    """``y[n, d0:d1, h0:h1] = 0``."""
    flat, line = y.reshape(-1), y.shape[3] * y.shape[4]
    for d in range(d0, d1):
        start = (n * y.shape[1] + d) * y.shape[2]
        flat[(start + h0) * line : (start + h1) * line] = 0


@kernel
def _convolve(
    thread, threads, phase, panel_layout, x, weights, bias, y, residual, activation, offsets, slabs, tables
):
    images, x_depth, x_height, x_width, x_step = x.shape
    off_d, off_h, off_w = offsets
    size = x.itemsize
    g, panels = phase[0], panel_layout[0]
    y_step = y.shape[4]
    # from pixel to pixel in what the tiles read
    step = x_step if g.inside else g.channels
    inside, count, depth, width = g.inside, panels.count, panels.depth, panels.width
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    columns = g.out_channels // panels.groups
    row_blocks = (oh + g.row_step - 1) // g.row_step
    panel_blocks = (panels.groups * count + g.panel_step - 1) // g.panel_step
    # Taps of one kernel row that touch in memory are one loop of the tile.
    tap_columns = 1 if g.merged else off_w.size
    run = off_w.size * depth if g.merged else depth
    most = off_d.size * off_h.size * tap_columns
    a_table, b_table = tables[thread, :most], tables[thread, most:]
    slab = slabs[thread]
    blocks = images * od * row_blocks
    first_block, count_blocks, first_job, end_job = shares(thread, threads, blocks, panel_blocks)
    for job in range(first_job, end_job):
        block = first_block + job % count_blocks
        n, i = block // row_blocks // od, block // row_blocks % od
        j0 = block % row_blocks * g.row_step
        j1 = min(j0 + g.row_step, oh)
        if inside:
            height, pitch = x_height, x_width
            pixel = ((n * x_depth + i * step_d) * height + j0 * step_h) * pitch
            base = address(x) + pixel * step * size
        else:
            height = (j1 - 1 - j0) * step_h + off_h[-1] - off_h[0] + 1
            pitch = (ow - 1) * step_w + off_w[-1] - off_w[0] + 1
            base = address(slab)
            top, left = j0 * step_h + off_h[0], off_w[0]
            copy_slab(x, step, n, i * step_d, top, left, height, pitch, off_d, slab)
        if g.clear:
            d0, h0 = i * g.out_stride[0], j0 * g.out_stride[1]
            d1 = y.shape[1] if i + 1 == od else d0 + g.out_stride[0]
            h1 = y.shape[2] if j1 == oh else j1 * g.out_stride[1]
            clear_block(y, n, d0, d1, h0, h1)
        first = job // count_blocks * g.panel_step
        first_d, end_d = on_image(off_d, i * step_d, x_depth)
        built_first, built_end, taps = -1, -1, 0
        for panel in range(first, min(first + g.panel_step, panels.groups * count)):
            group, p = panel // count, panel % count
            k = group * columns + p * width
            for j in range(j0, j1):
                first_h, end_h = on_image(off_h, j * step_h, x_height)
                if first_h != built_first or end_h != built_end:
                    built_first, built_end, taps = first_h, end_h, 0
                    for td in range(first_d, end_d):
                        for th in range(first_h, end_h):
                            for tw in range(tap_columns):
                                if inside:
                                    at = (off_d[td] * height + off_h[th]) * pitch + off_w[tw]
                                else:
                                    at = (td * height + off_h[th] - off_h[0]) * pitch
                                    at += off_w[tw] - off_w[0]
                                a_table[taps] = at * step
                                tap = (td * off_h.size + th) * off_w.size + tw
                                b_table[taps] = tap * panels.tap_step
                                taps += 1
                line = (n * y.shape[1] + g.out_offset[0] + i * g.out_stride[0]) * y.shape[2]
                line += g.out_offset[1] + j * g.out_stride[1]
                pixel = line * y.shape[3] + g.out_offset[2]
                target = address(y) + (pixel * y_step + k) * size
                used = min(width, columns - p * width)
                init = address(bias) + k * size if bias.size else 0
                added = target + residual if residual else 0
                gemm_tile.tile(
                    panels.tile,
                    ow,
                    a=base + ((j - j0) * step_h * pitch * step + group * depth) * size,
                    a_row=step_w * step,
                    a_step=1,
                    ta=address(a_table),
                    b=address(weights) + panel * panels.panel_step * size,
                    b_step=panels.row_step,
                    tb=address(b_table),
                    taps=taps,
                    depth=run,
                    c=target,
                    c_row=g.out_stride[2] * y_step,
                    init=init,
                    init_row=0,
                    cols=used,
                    added=added,
                    activation=activation,
                )
                activate(activation, target, ow, g.out_stride[2] * y_step * size, used)


@lru_cache(maxsize=1024)
def _plan(
    phase,
    clear: bool,
    merged: bool,
    lines: int,
    channels: tuple[int, int],
    panels: int,
    panel_bytes: int,
    threads: int,
    itemsize: int,
):
    """The :data:`PHASE` and the shape of the slabs. ``lines``: output planes of the batch; ``channels``: of
    the input and of the result."""
    reach_h, reach_w = phase.reach[1:]
    pitch = ((phase.out_size[2] - 1) * phase.in_stride[2] + reach_w + 1) * channels[0] * len(phase.offsets[0])
    # Rows per block: a slab of a quarter of L2, but enough blocks for the threads to share evenly.
    fit = L2 // 4 // (pitch * itemsize) - reach_h
    row_step = min(max(fit // phase.in_stride[1], 4), phase.out_size[1])
    while row_step > 4 and lines * -(-phase.out_size[1] // row_step) < 4 * threads:
        row_step = -(-row_step // 2)
    blocks = lines * -(-phase.out_size[1] // row_step)
    rows = (row_step - 1) * phase.in_stride[1] + reach_h + 1
    record = make_record(
        PHASE,
        **phase.fields,
        channels=channels[0],
        out_channels=channels[1],
        merged=merged and phase.dense,
        inside=phase.inside,
        clear=clear,
        row_step=row_step,
        # A block that clears its part of y must be one job: another thread may have written there.
        panel_step=panels if clear else panels_per_job(panels, blocks, threads, panel_bytes),
    )
    return record, (threads, 1 if phase.inside else rows * pitch)


def _run(x, w, b, y, spec, phases, is_dgrad, residual, activation):
    """Sum over taps (see ``passes.py``)."""
    threads, channels = settings.get_num_threads(), channels_of(spec, is_dgrad)
    for phase, clear in phases_with_taps(phases, y, may_clear=True):
        weights = panels(w, spec.groups, phase.taps, is_dgrad)
        lines, total = y.shape[0] * phase.out_size[0], weights.groups * weights.count
        panel_bytes = weights.data.nbytes // total
        # Taps are neighbours in the slab, and in x if that is no slice of channels.
        merged = spec.groups == 1 and (not phase.inside or x.shape[-1] == channels[0])
        record, shape = _plan(phase, clear, merged, lines, channels, total, panel_bytes, threads, x.itemsize)
        _convolve(
            record,
            weights.record,
            x,
            weights.data,
            bias_argument(b, x.dtype),
            y,
            residual,
            activation,
            phase.offsets,
            memory.empty(shape, x.dtype),
            *per_thread((2 * len(phase.taps), np.int64)),
        )


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)
conv_transpose = partial(transposed, _run)


# ------------------------------------------------------------------------------------------- backward-weight
@kernel
def _pad(thread, threads, x, before, depth_offset, padded):
    images, depth, height = padded.shape[:3]
    rows = images * depth * height
    first_r, end_r = split_range(thread, threads, rows)
    for r in range(first_r, end_r):
        n, d, h = r // height // depth, r // height % depth, r % height
        row = padded[n, d, h].reshape(-1)
        d0, h0, w0 = d - before[0], h - before[1], -before[2]
        copy_slab(x, x.shape[4], n, d0, h0, w0, 1, padded.shape[3], depth_offset, row)


@kernel
def _weight_gradient(thread, threads, gradient, x, gy, partials, tables, packs):
    _, x_depth, x_height, x_width, channels = x.shape
    images, od, oh, ow, out_channels = gy.shape
    _, groups, _, depth, columns = partials.shape
    size = x.itemsize
    total_rows = images * od * oh
    g = gradient[0]
    width, chunk, by_rows = g.width, g.chunk, g.by_rows
    kd, kh, kw = g.kernel_size[0], g.kernel_size[1], g.kernel_size[2]
    tap_columns = 1 if g.merged else kw
    run = kw * depth if g.merged else depth
    taps = kd * kh * tap_columns
    count = (columns + width - 1) // width
    jobs = groups * count * taps
    r0, r1 = split_range(thread, threads, total_rows) if by_rows else (0, total_rows)
    job0, job1 = (0, jobs) if by_rows else split_range(thread, threads, jobs)
    part = partials[thread if by_rows else 0]
    a_table, b_table = tables[thread, :chunk], tables[thread, chunk:]
    pack, source = packs[thread], gy.reshape(-1)
    if r0 == r1:
        part[:] = 0
    for start in range(r0, r1, chunk):
        rows = min(chunk, r1 - start)
        for r in range(rows):
            n, d, h = (start + r) // oh // od, (start + r) // oh % od, (start + r) % oh
            line = (n * x_depth + d * g.stride[0]) * x_height + h * g.stride[1]
            a_table[r] = line * x_width * channels
            b_table[r] = r * ow * width
        packed = -1
        for job in range(job0, job1):
            panel, t = job // taps, job % taps
            group, p = panel // count, panel % count
            used = min(width, columns - p * width)
            if panel != packed:
                packed, at = panel, start * ow * out_channels + group * columns + p * width
                for pixel in range(rows * ow):
                    copy_run(source, at + pixel * out_channels, pack, pixel * width, used)
            td, th, tw = t // tap_columns // kh, t // tap_columns % kh, t % tap_columns
            pixel = (td * g.dilation[0] * x_height + th * g.dilation[1]) * x_width + tw * g.dilation[2]
            target = address(part) + ((group * taps + t) * run * columns + p * width) * size
            gemm_tile.tile(
                g.tile,
                run,
                a=address(x) + (pixel * channels + group * depth) * size,
                a_row=1,
                a_step=g.stride[2] * channels,
                ta=address(a_table),
                b=address(pack),
                b_step=width,
                tb=address(b_table),
                taps=rows,
                depth=ow,
                c=target,
                c_row=columns,
                init=target if start > r0 else 0,
                init_row=columns,
                cols=used,
            )


@lru_cache(maxsize=1024)
def _gradient_plan(spec, dtype, threads: int):
    """The :data:`GRADIENT` and the shape of the partial gradients."""
    by_rows = split_rows(spec, threads, dtype.itemsize)
    k, c = spec.c_out // spec.groups, spec.c_in // spec.groups
    padded_width = spec.in_size[2] + sum(spec.padding[2])
    width = gemm_tile.panel_width(k, dtype)
    line = (padded_width * spec.c_in * spec.stride[1] + spec.out_size[2] * width) * dtype.itemsize
    record = make_record(
        GRADIENT,
        tile=gemm_tile.tile_address(dtype, width),
        width=width,
        stride=spec.stride,
        dilation=spec.dilation,
        kernel_size=spec.kernel,
        merged=spec.groups == 1 and spec.dilation[2] == 1,
        by_rows=by_rows,
        chunk=min(max(L2 // 2 // line, 1), spec.batch * prod(spec.out_size[:2])),
    )
    return record, (threads if by_rows else 1, spec.groups, prod(spec.kernel), c, k)


def bwd_weight(x: np.ndarray, gy: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The gradient of the weights.

    Parameters
    ----------
    x : ndarray, N x C_in x spatial
    gy : ndarray, N x C_out x spatial
    spec : ConvSpec

    Returns
    -------
    ndarray, C_out x C_in / groups x kernel
    """
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    shape, spec = spec.w_shape, spec.as_3d()
    x, gy = layout.to_ndhwc(x), layout.to_ndhwc(gy)
    if any(b or a for b, a in spec.padding):
        size = [i + b + a for i, (b, a) in zip(spec.in_size, spec.padding)]
        padded = memory.empty((spec.batch, *size, spec.c_in), x.dtype)
        _pad(x, tuple(b for b, _ in spec.padding), np.zeros(1, np.int64), padded)
        x = padded
    record, parts = _gradient_plan(spec, x.dtype, settings.get_num_threads())
    partials = empty_partials(parts, x.dtype)
    chunk, width = int(record["chunk"][0]), int(record["width"][0])
    scratch = per_thread((2 * chunk, np.int64), (chunk * spec.out_size[2] * width, x.dtype))
    _weight_gradient(record, x, gy, partials, *scratch)
    return sum_partials(partials, spec, shape)
