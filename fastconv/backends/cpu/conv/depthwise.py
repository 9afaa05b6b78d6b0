"""Depthwise convolution (every channel has filters of its own): no sum over channels, which are the vector.

Forward and backward-data, for every phase (see ``phases.py``)::

    threads: equal shares of the output rows (image, depth, row), in chunks of channels where rows are few
      table of columns   <- where the input pixels lie that a tile at the left end of the row would read
      for each tile of up to 8 output pixels
        (a tile at the border: a table of its own, in which columns beside the image are zeros)
        tile: all channels of the chunk (see codegen/depthwise_tile.py)

          output row j                  tile 0           tile 1        ...
                                   [q q q q q q q q][q q q q q q q q]
          input row j - 1        0 [x x x x x x x x  x]                  3 rows of taps; what is above or
          input row j            0 [x x x x x x x x  x]                  below the image is left out
          input row j + 1        0 [x x x x x x x x  x]

Backward-weight runs through the same tiles and the same tables. Each thread adds to a table ``taps x C`` of
its own, and the tables are summed in the end.

A layer with several filters for each channel is computed as one with as many channels as filters: every
channel of the input is copied so often, and the input's gradient is summed over the copies.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import depthwise_tile, emitter
from ..codegen.emitter import address
from ..codegen.gemm_tile import row_block
from ..codegen.jit import body, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout, memory, strided_copy
from ..runtime.scratch import per_thread
from .activation import activate
from .passes import add_residual, backward_data, bias_argument, forward, taps_inside
from .phases import PHASE_FIELDS, forward_phases
from .weights import empty_partials, sum_partials, to_hwio

#: The numbers of a phase. A tile has ``pixels`` at most. A row of taps has ``taps`` of them and reads
#: ``columns`` columns of the input, ``column_step`` apart; a kernel row is one or more of them. A job is
#: ``chunk`` channels of an output row.
RUN = record_type(**PHASE_FIELDS, tile=1, pixels=1, taps=1, columns=1, column_step=1, chunk=1)


@body
def _fill_columns(run, x, offsets, rows, at_w, base, blank, table):
    """Write the columns that a tile reads, as bytes behind ``base``, where its first pixel lies.

    ``rows`` are the first tap and the one after the last in depth and in height. If ``blank`` is not 0, it is
    the address of zeros, which stand for columns beside the image; the tile begins at column ``at_w``.
    """
    off_d, off_h, off_w = offsets
    g = run[0]
    taps, columns, step = g.taps, g.columns, g.column_step
    _, _, height, width, channels = x.shape
    pixel = channels * x.itemsize
    at = 0
    for td in range(rows[0], rows[1]):
        for th in range(rows[2], rows[3]):
            line = (off_d[td] * height + off_h[th]) * width
            for tw in range(0, off_w.size, taps):
                for u in range(columns):
                    w = off_w[tw] + u * step
                    if blank and (at_w + w < 0 or at_w + w >= width):
                        table[at] = blank - base
                    else:
                        table[at] = (line + w) * pixel
                    at += 1


@body
def _fill_taps(offsets, rows, positions, start, step, table):
    """Write the addresses of the rows' taps: ``start``, plus ``step`` for each position in the kernel."""
    _, off_h, off_w = offsets
    at = 0
    for td in range(rows[0], rows[1]):
        for th in range(rows[2], rows[3]):
            for tw in range(off_w.size):
                table[at] = start + positions[(td * off_h.size + th) * off_w.size + tw] * step
                at += 1
    return at


@body
def _reached(x, run, offsets, i, j):
    """The taps in depth and in height that are on the image at output row ``j`` of plane ``i``, as ranges."""
    g = run[0]
    d0, d1 = taps_inside(offsets[0], i * g.in_stride[0], x.shape[1])
    h0, h1 = taps_inside(offsets[1], j * g.in_stride[1], x.shape[2])
    return d0, d1, h0, h1


@body
def _columns_of_tile(run, x, offsets, rows, q0, q1, base, blank, inner, border):
    """The address of the columns of output pixels ``q0`` to ``q1``: those of any tile, ``inner``, or, at the
    border of the image, a table made for this one."""
    start, step = q0 * run[0].in_stride[2], run[0].in_stride[2]
    if start + offsets[2][0] >= 0 and (q1 - 1) * step + offsets[2][-1] < x.shape[3]:
        return address(inner)
    _fill_columns(run, x, offsets, rows, start, base, blank, border)
    return address(border)


@kernel
def _convolve(
    thread, threads, run, x, weights, bias, zeros, y, residual, activation, offsets, positions, tables
):
    images, depth, height, width, channels = x.shape
    _, y_depth, y_height, y_width, _ = y.shape
    size = x.itemsize
    g = run[0]
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    chunk, tiles = g.chunk, (ow + g.pixels - 1) // g.pixels
    chunks = (channels + chunk - 1) // chunk
    columns, taps = tables
    most = positions.size // g.taps * g.columns
    inner, border, filters = columns[thread, :most], columns[thread, most:], taps[thread]
    blank = address(zeros)
    init = address(bias) if bias.size else blank
    built, count = (-1, -1, -1, -1), 0
    first, end = split_range(thread, threads, images * od * oh * chunks)
    for job in range(first, end):
        r, c0 = job // chunks, job % chunks * chunk
        n, i, j = r // oh // od, r // oh % od, r % oh
        rows = _reached(x, run, offsets, i, j)
        if rows != built:
            built = rows
            _fill_columns(run, x, offsets, rows, 0, 0, 0, inner)
            count = _fill_taps(offsets, rows, positions, address(weights), channels * size, filters)
        line = (n * y_depth + g.out_offset[0] + i * g.out_stride[0]) * y_height
        line = (line + g.out_offset[1] + j * g.out_stride[1]) * y_width + g.out_offset[2]
        source = ((n * depth + i * step_d) * height + j * step_h) * width
        for tile in range(tiles):
            q0, q1 = row_block(ow, tile, g.pixels)
            base = address(x) + (source + q0 * step_w) * channels * size
            table = _columns_of_tile(run, x, offsets, rows, q0, q1, base, blank, inner, border)
            target = address(y) + (line + q0 * g.out_stride[2]) * channels * size
            added = target + residual if residual else 0
            c1, y_step = min(c0 + chunk, channels), g.out_stride[2] * channels * size
            depthwise_tile.forward(
                g.tile,
                pixels=q1 - q0,
                x=base,
                columns=table,
                row_step=g.columns,
                weights=address(filters),
                rows=count // g.taps,
                first=c0,
                end=c1,
                y=target,
                y_step=y_step,
                init=init,
                added=added,
                relu=activation,
            )
            activate(activation, target + c0 * size, q1 - q0, y_step, c1 - c0)


@kernel
def _weight_gradient(thread, threads, run, x, gy, zeros, offsets, positions, tables, partials):
    images, depth, height, width, channels = x.shape
    size = x.itemsize
    g = run[0]
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    tiles = (ow + g.pixels - 1) // g.pixels
    columns, taps = tables
    most = positions.size // g.taps * g.columns
    inner, border, sums = columns[thread, :most], columns[thread, most:], taps[thread]
    partial = partials[thread]
    partial[:] = 0
    built, count = (-1, -1, -1, -1), 0
    first, end = split_range(thread, threads, images * od * oh)
    for r in range(first, end):
        n, i, j = r // oh // od, r // oh % od, r % oh
        rows = _reached(x, run, offsets, i, j)
        if rows != built:
            built = rows
            _fill_columns(run, x, offsets, rows, 0, 0, 0, inner)
            count = _fill_taps(offsets, rows, positions, address(partial), channels * size, sums)
        source = ((n * depth + i * step_d) * height + j * step_h) * width
        for tile in range(tiles):
            q0, q1 = row_block(ow, tile, g.pixels)
            base = address(x) + (source + q0 * step_w) * channels * size
            table = _columns_of_tile(run, x, offsets, rows, q0, q1, base, address(zeros), inner, border)
            depthwise_tile.gradient(
                g.tile,
                pixels=q1 - q0,
                x=base,
                columns=table,
                row_step=g.columns,
                sums=address(sums),
                rows=count // g.taps,
                first=0,
                end=channels,
                gy=address(gy) + (r * ow + q0) * channels * size,
                gy_step=channels * size,
            )


@lru_cache(maxsize=1024)
def _plan(phase, tile_address, lines: int, channels: int, dtype, threads: int):
    """The :data:`RUN` of a phase, its taps' positions in the kernel, and the sizes of a thread's tables.
    ``lines``: output planes of the batch."""
    width, step = len(phase.offsets[2]), phase.in_stride[2]
    taps = width if phase.dense and width in depthwise_tile.TAPS and step <= 2 else 1
    pixels = depthwise_tile.most_pixels(taps)
    columns = depthwise_tile.column_count(pixels, taps, step)
    rows, lanes = lines * phase.out_size[1], emitter.lanes(dtype)
    # threads share the rows evenly if each has several, else channels too
    chunks = min(max(8 * threads // max(rows, 1), 1), -(-channels // lanes))
    record = make_record(
        RUN,
        **phase.fields,
        tile=tile_address(dtype, taps, step if taps > 1 else 1),
        pixels=pixels,
        taps=taps,
        columns=columns,
        column_step=step if taps == 1 else 1,
        chunk=-(-channels // chunks // lanes) * lanes,
    )
    count = len(phase.taps)
    return (
        record,
        np.array(phase.taps, np.int64),
        ((2 * count // taps * columns, np.int64), (count, np.int64)),
    )


@lru_cache(maxsize=64)
def _zeros(channels: int, dtype) -> np.ndarray:
    return np.zeros(channels, dtype)


def _run(x, w, b, y, spec, phases, is_dgrad, residual, activation):
    """Sum over taps (see ``passes.py``). Backward-data is the same: a filter has one input and one output
    channel."""
    hwio, channels = to_hwio(w), x.shape[-1]
    for phase in phases:
        lines, threads = y.shape[0] * phase.out_size[0], settings.get_num_threads()
        run, positions, tables = _plan(
            phase, depthwise_tile.forward_address, lines, channels, x.dtype, threads
        )
        _convolve(
            run,
            x,
            hwio,
            bias_argument(b, x.dtype),
            _zeros(channels, x.dtype),
            y,
            residual,
            activation,
            phase.offsets,
            positions,
            tuple(per_thread(*tables)),
        )


def _one_filter(spec: ConvSpec) -> ConvSpec:
    """The same layer with a channel of the input for every filter."""
    return replace(spec, c_in=spec.c_out, groups=spec.c_out)


def _repeated(x: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """``x`` with every channel as often as it has filters."""
    source = layout.to_ndhwc(x)
    y, y5 = layout.empty((x.shape[0], spec.c_out, *x.shape[2:]), x.dtype)
    copies = y5.reshape(*source.shape, spec.c_out // spec.c_in)
    strided_copy.copy(copies, np.broadcast_to(source[..., None], copies.shape))
    return y


@kernel
def _sum_copies(thread, threads, copies, x):
    filters = copies.size // x.size
    first, end = split_range(thread, threads, x.size)
    for i in range(first, end):
        total = copies[i * filters]
        for f in range(1, filters):
            total += copies[i * filters + f]
        x[i] = total


def fwd(x, w, b, spec: ConvSpec, residual, activation) -> np.ndarray:
    """The forward pass (see ``passes.forward``)."""
    if spec.c_out != spec.c_in:
        x, spec = _repeated(x, spec), _one_filter(spec)
    return forward(_run, x, w, b, spec, residual, activation)


def bwd_data(gy, w, spec: ConvSpec, residual) -> np.ndarray:
    """The gradient of the input (see ``passes.backward_data``)."""
    if spec.c_out == spec.c_in:
        return backward_data(_run, gy, w, spec, residual)
    copies = backward_data(_run, gy, w, _one_filter(spec), None)
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if gx.size:
        _sum_copies(layout.to_ndhwc(copies).reshape(-1), gx5.reshape(-1))
    return add_residual(gx, residual)


def bwd_weight(x: np.ndarray, gy: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The gradient of the weights.

    Parameters
    ----------
    x : ndarray, N x C_in x spatial
    gy : ndarray, N x C_out x spatial
    spec : ConvSpec

    Returns
    -------
    ndarray, C_out x 1 x kernel
    """
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    shape, threads = spec.w_shape, settings.get_num_threads()
    if spec.c_out != spec.c_in:
        x, spec = _repeated(x, spec), _one_filter(spec)
    as_3d = spec.as_3d()
    phase, channels = forward_phases(as_3d)[0], spec.c_out
    parts = empty_partials((threads, 1, prod(spec.kernel), 1, channels), x.dtype)
    run, positions, tables = _plan(
        phase, depthwise_tile.gradient_address, spec.batch * phase.out_size[0], channels, x.dtype, threads
    )
    _weight_gradient(
        run,
        layout.to_ndhwc(x),
        layout.to_ndhwc(gy),
        _zeros(channels, x.dtype),
        phase.offsets,
        positions,
        tuple(per_thread(*tables)),
        parts.reshape(threads, -1),
    )
    # one group with one input channel and all output channels
    return sum_partials(parts, as_3d, shape)
