"""im2col: gather the pixels a tap touches into the rows of a matrix, then multiply.

Forward and backward-data, for every phase (see ``phases.py``)::

    threads: equal shares of (block of output pixels, group of panels)
      matrix <- one row per output pixel: tap 0's channels, tap 1's channels, ...      (a block's rows fit L2)
      for each panel of 16 or 32 output channels
        for each 14 rows:  tile, one loop over taps * channels

          matrix     | tap 0: C | tap 1: C | ... |      *      panel     | tap 0: C x width |
          14 rows    |          |          |     |                       | tap 1: C x width |
                     |          |          |     |                       | ...              |

The matrix costs a copy of kernel-size times the input, but its rows need not be neighbours in one output row:
small images, wide strides and dilations fill the tile all the same.

Backward-weight: the same matrix, read by columns (14 of its columns x 32 output channels, summed over the
block's pixels).
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import emitter, gemm_tile
from ..codegen.emitter import address
from ..codegen.gemm_tile import MAX_ROWS, ONE_TAP
from ..codegen.jit import body, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from .activation import activate
from .direct import copy_run
from .passes import (
    L2,
    backward_data,
    bias_argument,
    channels_of,
    forward,
    panels_per_job,
    phases_with_taps,
    shares,
    transposed,
)
from .phases import PHASE_FIELDS, forward_phases
from .weights import empty_partials, panels, split_rows, sum_partials

#: The numbers of a phase. ``channels``, ``out_channels``: those of the input and of the result. A job is
#: ``block`` output pixels and ``panel_step`` panels. ``in_place``: the pixels of a block are neighbours in y,
#: so tiles write them there. ``groups``: of channels.
PHASE = record_type(**PHASE_FIELDS, channels=1, out_channels=1, block=1, panel_step=1, in_place=1, groups=1)
#: The numbers of backward-weight. A tile has ``width`` columns. ``by_rows``: threads share output pixels.
#: ``block``: output pixels whose rows are gathered at a time. ``channels``: of the input.
GRADIENT = record_type(tile=1, width=1, out_size=3, in_stride=3, by_rows=1, block=1, channels=1, groups=1)


@body
def gather(x, shape, first, count, g, off_d, off_h, off_w, matrix):
    """Rows ``first .. first + count`` (output pixels, images outermost) of ``matrix[pixel, group, tap,
    channel]``; ``x`` has one dimension, and ``g`` is one of the records."""
    _, depth, height, width, pitch = shape
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    groups = g.groups
    part = g.channels // groups
    taps = off_d.size * off_h.size * off_w.size
    for r in range(count):
        pixel = first + r
        n, i, j, k = pixel // ow // oh // od, pixel // ow // oh % od, pixel // ow % oh, pixel % ow
        t = 0
        for td in off_d:
            d = i * step_d + td
            for th in off_h:
                h = j * step_h + th
                for tw in off_w:
                    w = k * step_w + tw
                    outside = d < 0 or d >= depth or h < 0 or h >= height or w < 0 or w >= width
                    source = (((n * depth + d) * height + h) * width + w) * pitch
                    for group in range(groups):
                        at = ((r * groups + group) * taps + t) * part
                        if outside:
                            matrix[at : at + part] = 0
                        else:
                            copy_run(x, source + group * part, matrix, at, part)
                    t += 1


@body
def scatter(result, pitch, start, count, used, g, k, y, target, added, residual):
    """Write ``count`` rows of ``used`` numbers to the output pixels from ``start`` on, channels ``k ..``;
    ``target`` is ``y`` in one dimension, and ``added``, if ``residual`` is not 0, what to add."""
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    for m in range(count):
        pixel = start + m
        n, i, j, q = pixel // ow // oh // od, pixel // ow // oh % od, pixel // ow % oh, pixel % ow
        i = g.out_offset[0] + i * g.out_stride[0]
        j = g.out_offset[1] + j * g.out_stride[1]
        q = g.out_offset[2] + q * g.out_stride[2]
        to = (((n * y.shape[1] + i) * y.shape[2] + j) * y.shape[3] + q) * y.shape[4] + k
        for c in range(used):
            target[to + c] = result[m * pitch + c]
        if residual:
            for c in range(used):
                target[to + c] += added[to + c]


@kernel
def _convolve(
    thread,
    threads,
    phase,
    panel_layout,
    x,
    weights,
    bias,
    y,
    residual,
    activation,
    offsets,
    matrices,
    results,
):
    off_d, off_h, off_w = offsets
    y_step, size = y.shape[4], x.itemsize
    flat = x.reshape(-1)
    addends, target = emitter.view1d(address(y) + residual, y.size, y), y.reshape(-1)
    g, panels = phase[0], panel_layout[0]
    groups, count, width, in_place = panels.groups, panels.count, panels.width, g.in_place
    columns = g.out_channels // groups
    pixels = x.shape[0] * g.out_size[0] * g.out_size[1] * g.out_size[2]
    panel_blocks = (groups * count + g.panel_step - 1) // g.panel_step
    blocks = (pixels + g.block - 1) // g.block
    run = off_d.size * off_h.size * off_w.size * panels.depth
    table = address(ONE_TAP)
    matrix, result = matrices[thread], results[thread]
    first_block, count_blocks, first_job, end_job = shares(thread, threads, blocks, panel_blocks)
    for job in range(first_job, end_job):
        start = (first_block + job % count_blocks) * g.block
        rows = min(g.block, pixels - start)
        gather(flat, x.shape, start, rows, g, off_d, off_h, off_w, matrix)
        first = job // count_blocks * g.panel_step
        for panel in range(first, min(first + g.panel_step, groups * count)):
            group, p = panel // count, panel % count
            k = group * columns + p * width
            used = min(width, columns - p * width)
            for b in range((rows + MAX_ROWS - 1) // MAX_ROWS):
                m0, m1 = gemm_tile.row_block(rows, b, MAX_ROWS)
                c = address(y) + ((start + m0) * y_step + k) * size if in_place else address(result)
                c_row = y_step if in_place else width
                init = address(bias) + k * size if bias.size else 0
                added = c + residual if residual and in_place else 0
                gemm_tile.tile(
                    panels.tile,
                    m1 - m0,
                    a=address(matrix) + (m0 * groups + group) * run * size,
                    a_row=groups * run,
                    a_step=1,
                    ta=table,
                    b=address(weights) + panel * panels.panel_step * size,
                    b_step=panels.row_step,
                    tb=table,
                    taps=1,
                    depth=run,
                    c=c,
                    c_row=c_row,
                    init=init,
                    init_row=0,
                    cols=used,
                    added=added,
                    activation=activation,
                )
                activate(activation, c, m1 - m0, c_row * size, used)
                if not in_place:
                    scatter(result, width, start + m0, m1 - m0, used, g, k, y, target, addends, residual)


@lru_cache(maxsize=1024)
def _plan(
    phase,
    images: int,
    channels: tuple[int, int],
    panels: int,
    panel_bytes: int,
    groups: int,
    threads: int,
    itemsize: int,
):
    """The :data:`PHASE` and the shape of the matrices. ``channels``: of the input and of the result."""
    run = len(phase.taps) * channels[0]
    pixels = images * prod(phase.out_size)
    block = max(L2 // 2 // (run * itemsize), MAX_ROWS)
    block = max(min(block, -(-pixels // (2 * threads))), MAX_ROWS)
    record = make_record(
        PHASE,
        **phase.fields,
        channels=channels[0],
        out_channels=channels[1],
        block=block,
        panel_step=panels_per_job(panels, -(-pixels // block), threads, panel_bytes),
        in_place=phase.out_stride == (1, 1, 1),
        groups=groups,
    )
    return record, (threads, block * run)


def _run(x, w, b, y, spec, phases, is_dgrad, residual, activation):
    """Sum over taps (see ``passes.py``)."""
    threads, channels = settings.get_num_threads(), channels_of(spec, is_dgrad)
    for phase, _ in phases_with_taps(phases, y):
        weights = panels(w, spec.groups, phase.taps, is_dgrad)
        total = weights.groups * weights.count
        panel_bytes = weights.data.nbytes // total
        record, shape = _plan(
            phase, x.shape[0], channels, total, panel_bytes, spec.groups, threads, x.itemsize
        )
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
            *per_thread((MAX_ROWS * weights.width, x.dtype)),
        )


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)
conv_transpose = partial(transposed, _run)


# ------------------------------------------------------------------------------------------- backward-weight
@kernel
def _weight_gradient(thread, threads, gradient, x, gy, offsets, matrices, partials):
    images, od, oh, ow, out_channels = gy.shape
    _, groups, taps, depth, columns = partials.shape
    off_d, off_h, off_w = offsets
    size = x.itemsize
    run = taps * depth
    pixels = images * od * oh * ow
    row_blocks = (run + MAX_ROWS - 1) // MAX_ROWS
    flat = x.reshape(-1)
    g = gradient[0]
    width, block, by_rows = g.width, g.block, g.by_rows
    count = (columns + width - 1) // width
    jobs = groups * count * row_blocks
    table = address(ONE_TAP)
    p0, p1 = split_range(thread, threads, pixels) if by_rows else (0, pixels)
    job0, job1 = (0, jobs) if by_rows else split_range(thread, threads, jobs)
    part = partials[thread if by_rows else 0]
    matrix = matrices[thread]
    if p0 == p1:
        part[:] = 0
    for start in range(p0, p1, block):
        rows = min(block, p1 - start)
        gather(flat, x.shape, start, rows, g, off_d, off_h, off_w, matrix)
        for job in range(job0, job1):
            group, p = job // row_blocks // count, job // row_blocks % count
            m0, m1 = gemm_tile.row_block(run, job % row_blocks, MAX_ROWS)
            c = address(part) + ((group * run + m0) * columns + p * width) * size
            gemm_tile.tile(
                g.tile,
                m1 - m0,
                a=address(matrix) + (group * run + m0) * size,
                a_row=1,
                a_step=groups * run,
                ta=table,
                b=address(gy) + (start * out_channels + group * columns + p * width) * size,
                b_step=out_channels,
                tb=table,
                taps=1,
                depth=rows,
                c=c,
                c_row=columns,
                init=c if start > p0 else 0,
                init_row=columns,
                cols=min(width, columns - p * width),
            )


@lru_cache(maxsize=1024)
def _gradient_plan(spec, dtype, threads: int):
    """The :data:`GRADIENT`, and the shapes of the matrices and of the partial gradients."""
    by_rows = split_rows(spec, threads, dtype.itemsize)
    k, c, taps = spec.c_out // spec.groups, spec.c_in // spec.groups, prod(spec.kernel)
    block = max(L2 // 2 // (taps * spec.c_in * dtype.itemsize), MAX_ROWS)
    width = gemm_tile.panel_width(k, dtype)
    record = make_record(
        GRADIENT,
        tile=gemm_tile.tile_address(dtype, width),
        width=width,
        out_size=spec.out_size,
        in_stride=spec.stride,
        by_rows=by_rows,
        block=block,
        channels=spec.c_in,
        groups=spec.groups,
    )
    return record, (threads, block * taps * spec.c_in), (threads if by_rows else 1, spec.groups, taps, c, k)


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
    record, matrices, parts = _gradient_plan(spec, x.dtype, settings.get_num_threads())
    partials = empty_partials(parts, x.dtype)
    offsets = forward_phases(spec)[0].offsets
    _weight_gradient(record, x, gy, offsets, memory.empty(matrices, x.dtype), partials)
    return sum_partials(partials, spec, shape)
