"""Depthwise convolution (every channel, or small group, has filters of its own): channels are the vector.

Forward and backward-data, for every phase (see ``phases.py``)::

    threads: equal shares of the output rows (image, depth, row), in chunks of channels where rows are few
      table of columns   <- where the input pixels lie that a tile at the left end of the row would read
      for each tile of up to 8 output pixels
        (a tile at the border: a table of its own, in which columns beside the image are zeros)
        tile: all channels of the chunk (see depthwise_rows.py)

          output row j                  tile 0           tile 1        ...
                                   [q q q q q q q q][q q q q q q q q]
          input row j - 1        0 [x x x x x x x x  x]                  3 rows of taps; what is above or
          input row j            0 [x x x x x x x x  x]                  below the image is left out
          input row j + 1        0 [x x x x x x x x  x]

Backward-weight runs through the same tiles and the same tables. Each thread adds to a table ``taps x C`` of
its own, and the tables are summed in the end.

Groups of several channels with as many filters, which a vector holds whole, are a sum over the group's
channels in each tap; a tap has as many rows of weights.

A layer with several filters for each channel is computed as one with as many channels as filters: every
channel of the input is copied so often, and the input's gradient is summed over the copies.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import depthwise_tile
from ..codegen.emitter import address
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory, strided_copy
from ..runtime.scratch import per_thread
from .depthwise_rows import border_columns, fill_columns, fill_taps, forget, output_row, plan, tiles_at, zeros
from .passes import add_residual, backward_data, bias_argument, forward, taps_inside
from .phases import forward_phases
from .weights import empty_partials, sum_partials, to_hwio


@body
def _reached(x, run, offsets, i, j):
    """The taps in depth and in height that are on the image at output row ``j`` of plane ``i``, as ranges."""
    g = run[0]
    d0, d1 = taps_inside(offsets[0], i * g.in_stride[0], x.shape[1])
    h0, h1 = taps_inside(offsets[1], j * g.in_stride[1], x.shape[2])
    return d0, d1, h0, h1


@body
def _fill_lines(x, offsets, rows, lines):
    """Write the input lines of the kernel rows ``rows``, and return those that were written."""
    off_d, off_h, _ = offsets
    at = 0
    for td in range(rows[0], rows[1]):
        for th in range(rows[2], rows[3]):
            lines[at] = (off_d[td] * x.shape[2] + off_h[th]) * x.shape[3]
            at += 1
    return lines[:at]


@kernel
def _convolve(
    thread, threads, run, x, weights, bias, zeros, y, residual, activation, offsets, positions, tables
):
    images, depth, height, width, x_step = x.shape
    _, y_depth, y_height, y_width, y_step = y.shape
    channels, size = zeros.size, x.itemsize
    g = run[0]
    od, oh = g.out_size[0], g.out_size[1]
    step_d, step_h = g.in_stride[0], g.in_stride[1]
    chunk = g.chunk
    chunks = (channels + chunk - 1) // chunk
    columns, left, right, taps, kernel_rows = tables
    inner, borders, filters = columns[thread], (left[thread], right[thread]), taps[thread]
    lines, image = kernel_rows[thread, :0], (width, x_step * size, size)
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
            lines = _fill_lines(x, offsets, rows, kernel_rows[thread])
            fill_columns(run, lines, offsets[2], image[1], inner)
            forget(borders)
            count = fill_taps(offsets, rows, positions, address(weights), g.group * channels * size, filters)
        line = (n * y_depth + g.out_offset[0] + i * g.out_stride[0]) * y_height
        line = (line + g.out_offset[1] + j * g.out_stride[1]) * y_width + g.out_offset[2]
        source = ((n * depth + i * step_d) * height + j * step_h) * width
        output_row(
            run,
            lines,
            offsets[2],
            image,
            address(x) + source * x_step * size,
            blank,
            (inner, borders),
            (filters, count, channels * size),
            (c0, min(c0 + chunk, channels)),
            address(y) + line * y_step * size,
            g.out_stride[2] * y_step * size,
            (init, residual, activation),
        )


@kernel
def _weight_gradient(thread, threads, run, x, gy, zeros, offsets, positions, tables, partials):
    images, depth, height, width, channels = x.shape
    size = x.itemsize
    g = run[0]
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    columns, left, right, taps, kernel_rows = tables
    inner, borders, sums = columns[thread], (left[thread], right[thread]), taps[thread]
    lines, image = kernel_rows[thread, :0], (width, channels * size, size)
    partial = partials[thread]
    partial[:] = 0
    built, taps_found = (-1, -1, -1, -1), 0
    first, end = split_range(thread, threads, images * od * oh)
    for r in range(first, end):
        n, i, j = r // oh // od, r // oh % od, r % oh
        rows = _reached(x, run, offsets, i, j)
        if rows != built:
            built = rows
            lines = _fill_lines(x, offsets, rows, kernel_rows[thread])
            fill_columns(run, lines, offsets[2], image[1], inner)
            forget(borders)
            step = g.group * channels * size
            taps_found = fill_taps(offsets, rows, positions, address(partial), step, sums)
        source = ((n * depth + i * step_d) * height + j * step_h) * width
        q0 = 0
        while q0 < ow:
            base = address(x) + (source + q0 * step_w) * channels * size
            count, pixels, table = tiles_at(run, offsets[2], width, q0), g.pixels, address(inner)
            if count == 0:
                count, pixels, border = 1, min(g.pixels, ow - q0), borders[0 if q0 == 0 else 1]
                table = border_columns(run, lines, offsets[2], image, q0, base, address(zeros), border)
            depthwise_tile.gradient(
                g.tile,
                tiles=(count, pixels),
                x=base,
                x_tile=pixels * step_w * channels * size,
                columns=table,
                row_step=g.columns,
                sums=address(sums),
                filter_step=channels * size,
                rows=taps_found // g.taps,
                first=0,
                end=channels,
                gy=address(gy) + (r * ow + q0) * channels * size,
                gy_step=channels * size,
            )
            q0 += count * pixels


def _run(x, w, b, y, spec, phases, is_dgrad, residual, activation):
    """Sum over taps (see ``passes.py``). Backward-data is the same, with input and output channels of each
    group exchanged."""
    hwio, channels, group = to_hwio(w), spec.c_out, spec.c_in // spec.groups
    if is_dgrad and group > 1:
        hwio = _exchanged(hwio)
    for phase in phases:
        lines, threads = y.shape[0] * phase.out_size[0], settings.get_num_threads()
        run, positions, tables = plan(
            phase, depthwise_tile.forward_address, lines, channels, group, x.dtype, threads
        )
        _convolve(
            run,
            x,
            hwio,
            bias_argument(b, x.dtype),
            zeros(channels, x.dtype),
            y,
            residual,
            activation,
            phase.offsets,
            positions,
            tuple(per_thread(*tables)),
        )


def _exchanged(hwio: np.ndarray) -> np.ndarray:
    """Weights ``taps, group, K`` as backward-data reads them: for each input channel those of its group's
    output channels."""
    taps, group, channels = hwio.shape
    exchanged = memory.empty((taps, group, channels // group, group), hwio.dtype)
    strided_copy.copy(exchanged, hwio.reshape(exchanged.shape).transpose(0, 3, 2, 1))
    return exchanged.reshape(hwio.shape)


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
    ndarray, C_out x (C_in / groups) x kernel
    """
    if not gy.size:
        return memory.zeros(spec.w_shape, gy.dtype)
    shape, threads = spec.w_shape, settings.get_num_threads()
    if spec.c_out != spec.c_in:
        x, spec = _repeated(x, spec), _one_filter(spec)
    as_3d = spec.as_3d()
    phase, channels, group = forward_phases(as_3d)[0], spec.c_out, spec.c_in // spec.groups
    parts = empty_partials((threads, 1, prod(spec.kernel), group, channels), x.dtype)
    run, positions, tables = plan(
        phase,
        depthwise_tile.gradient_address,
        spec.batch * phase.out_size[0],
        channels,
        group,
        x.dtype,
        threads,
    )
    _weight_gradient(
        run,
        layout.to_ndhwc(x),
        layout.to_ndhwc(gy),
        zeros(channels, x.dtype),
        phase.offsets,
        positions,
        tuple(per_thread(*tables)),
        parts.reshape(threads, -1),
    )
    # one group with the input channels of a group and all output channels
    return sum_partials(parts, as_3d, shape)
