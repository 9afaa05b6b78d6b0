"""One output row of a depthwise convolution, for the kernels that compute rows of it.

The row is cut into tiles of up to 8 pixels (``codegen/depthwise_tile.py``). A tile finds its input by a table
of *columns*: for each row of taps, the bytes from the tile's first pixel to each column that the row reads.
Tiles inside the image share one table, and one call computes all of them. A tile at the border has a table of
its own, in which columns beside the image are a buffer of zeros.

Where the input's rows lie is in *lines*: for each kernel row the pixel where its input row begins. So the
rows may lie in an image, or in a ring of rows that a thread keeps in its cache.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from ..codegen import depthwise_tile, emitter
from ..codegen.emitter import address
from ..codegen.jit import body
from ..codegen.record import make_record, record_type
from ..runtime.machine import CACHED
from .activation import activate
from .phases import PHASE_FIELDS

#: The numbers of a phase. A tile has ``pixels`` at most. A row of taps has ``taps`` of them and reads
#: ``columns`` columns of the input, ``column_step`` apart; a kernel row is one or more of them. A job is
#: ``chunk`` channels of an output row. If ``ahead`` is 1, tiles prefetch what the row below reads. Groups
#: have ``group`` channels.
RUN = record_type(
    **PHASE_FIELDS, tile=1, pixels=1, taps=1, columns=1, column_step=1, chunk=1, ahead=1, group=1
)


@body
def fill_columns(run, lines, offsets, pixel, table):
    """Write the columns that a tile inside the image reads, as bytes behind its first pixel.

    ``lines`` are those of the kernel rows on the image, ``offsets`` the offsets of a row's taps, ``pixel``
    the bytes of a pixel.
    """
    g = run[0]
    at = 0
    for line in lines:
        for tw in range(0, offsets.size, g.taps):
            for u in range(g.columns):
                table[at] = (line + offsets[tw] + u * g.column_step) * pixel
                at += 1


@body
def border_columns(run, lines, offsets, image, q0, base, blank, table):
    """The columns of a tile at the border of the image, where ``blank``, the address of zeros, stands for the
    columns beside it. Returns their address.

    ``q0`` is the tile's first output pixel, ``base`` the address that its columns count from. The table keeps
    what it was filled for, and where zeros are: in the next row only these have moved::

        columns ...                             (room) | 1 + q0 | base | n | places of n zeros
    """
    g = run[0]
    state = (table.size - 3) // 2
    if table[state] == 1 + q0:
        moved = base - table[state + 1]
        for i in range(table[state + 2]):
            table[table[state + 3 + i]] -= moved
    else:
        at, count = 0, 0
        for line in lines:
            for tw in range(0, offsets.size, g.taps):
                for u in range(g.columns):
                    w = offsets[tw] + u * g.column_step
                    if 0 <= q0 * g.in_stride[2] + w < image[0]:
                        table[at] = (line + w) * image[1]
                    else:
                        table[at] = blank - base
                        table[state + 3 + count] = at
                        count += 1
                    at += 1
        table[state], table[state + 2] = 1 + q0, count
    table[state + 1] = base
    return address(table)


@body
def forget(borders):
    """The lines have changed: tables of tiles at the border are filled anew."""
    for table in borders:
        table[(table.size - 3) // 2] = 0


@body
def fill_taps(offsets, rows, positions, start, step, table):
    """Write the addresses of the rows' taps: ``start``, plus ``step`` for each position in the kernel.

    ``rows`` are the first tap and the one after the last in depth and in height. Returns how many there are.
    """
    _, off_h, off_w = offsets
    at = 0
    for td in range(rows[0], rows[1]):
        for th in range(rows[2], rows[3]):
            for tw in range(off_w.size):
                table[at] = start + positions[(td * off_h.size + th) * off_w.size + tw] * step
                at += 1
    return at


@body
def tiles_at(run, offsets, width, q0):
    """How many whole tiles from pixel ``q0`` of an output row on read no column beside the image, which is
    ``width`` wide; 0: the first is not whole, or reads one."""
    g = run[0]
    step = g.in_stride[2]
    if q0 * step + offsets[0] < 0:
        return 0
    behind = (width - 1 - offsets[offsets.size - 1]) // step + 1
    return max(min(g.out_size[2], behind) - q0, 0) // g.pixels


@body
def output_row(run, lines, offsets, image, source, blank, tables, filters, channels, y, y_step, ends):
    """Compute a row of output pixels.

    Parameters
    ----------
    run : RUN
    lines, offsets : see :func:`fill_columns`
    image : the width of the image, the bytes of a pixel and of a number
    source : address that the lines count from
    blank : address of zeros
    tables : the columns of a tile inside the image, filled, and the tables of the tile at the left border and
        of others (see :func:`border_columns`)
    filters : table of the taps' addresses, how many there are, and the bytes between the weights of one tap
        for neighbouring channels of a group
    channels : the first channel to compute, and the one after the last
    y, y_step : address of the first pixel, and bytes from pixel to pixel
    ends : address of what the sums start with, bytes to what is added (0: nothing), the activation
    """
    g = run[0]
    inner, borders = tables
    first, end = channels
    init, residual, activation = ends
    width, step = g.out_size[2], g.in_stride[2]
    pitch = image[1]
    row = image[0] * pitch
    new_rows, new_row = 0, 0
    if g.ahead and lines.size:
        new_rows, new_row = g.in_stride[1], (lines[lines.size - 1] + offsets[0]) * pitch + row
    q0 = 0
    while q0 < width:
        base, target = source + q0 * step * pitch, y + q0 * y_step
        tiles, pixels, columns = tiles_at(run, offsets, image[0], q0), g.pixels, address(inner)
        if tiles == 0:
            tiles, pixels, table = 1, min(g.pixels, width - q0), borders[0 if q0 == 0 else 1]
            columns = border_columns(run, lines, offsets, image, q0, base, blank, table)
        count = tiles * pixels
        depthwise_tile.forward(
            g.tile,
            tiles=(tiles, pixels),
            x=base,
            x_tile=pixels * step * pitch,
            columns=columns,
            row_step=g.columns,
            weights=address(filters[0]),
            filter_step=filters[2],
            rows=filters[1] // g.taps,
            first=first,
            end=end,
            y=target,
            y_step=y_step,
            init=init,
            residual=residual,
            activation=activation,
            below=(new_rows, new_row, row, pitch),
        )
        activate(activation, target + first * image[2], count, y_step, end - first)
        q0 += count


@lru_cache(maxsize=1024)
def plan(
    phase, tile_address, lines: int, channels: int, group: int, dtype, threads: int, in_image: bool = True
):
    """The :data:`RUN` of a phase, its taps' positions in the kernel, and the sizes of a thread's tables: of
    columns, of taps and of lines.

    ``tile_address`` is the function of ``codegen/depthwise_tile.py`` that gives the tiles of the pass;
    ``lines`` are the output planes of the batch, ``group`` the channels of a group; ``in_image``: the input
    rows lie in an image, not in a ring.
    """
    width, step = len(phase.offsets[2]), phase.in_stride[2]
    taps = width if phase.dense and width in depthwise_tile.TAPS and step <= 2 else 1
    pixels = depthwise_tile.most_pixels(taps)
    columns = depthwise_tile.column_count(pixels, taps, step)
    rows, lanes = lines * phase.out_size[1], emitter.lanes(dtype)
    # threads share the rows evenly if each has several, else channels too
    chunks = min(max(8 * threads // max(rows, 1), 1), -(-channels // lanes))
    moved = rows * phase.out_size[2] * channels * np.dtype(dtype).itemsize * (1 + prod(phase.in_stride[1:]))
    record = make_record(
        RUN,
        **phase.fields,
        tile=tile_address(dtype, taps, step if taps > 1 else 1, group),
        pixels=pixels,
        taps=taps,
        columns=columns,
        column_step=step if taps == 1 else 1,
        chunk=-(-channels // chunks // lanes) * lanes,
        ahead=int(in_image and (group > 1 or moved > CACHED)),
        group=group,
    )
    count, kernel_rows = len(phase.taps), len(phase.offsets[0]) * len(phase.offsets[1])
    most = count // taps * columns
    return (
        record,
        np.array(phase.taps, np.int64),
        tuple((n, np.int64) for n in (most, 2 * most + 3, 2 * most + 3, count, kernel_rows)),
    )


@lru_cache(maxsize=64)
def zeros(channels: int, dtype) -> np.ndarray:
    """A pixel of zeros."""
    return np.zeros(channels, dtype)
