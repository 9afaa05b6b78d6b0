"""One output row of a depthwise convolution, for the kernels that compute rows of it.

The row is cut into tiles of up to 8 pixels (``codegen/depthwise_tile.py``). A tile finds its input by a table
of *columns*: for each row of taps, the bytes from the tile's first pixel to each column that the row reads.
Tiles inside the image share one table. A tile at the border gets a table of its own, in which columns beside
the image are a buffer of zeros.

Where the input's rows lie is in *lines*: for each kernel row the pixel where its input row begins. So the
rows may lie in an image, or in a ring of rows that a thread keeps in its cache.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from ..codegen import depthwise_tile, emitter
from ..codegen.emitter import address
from ..codegen.gemm_tile import row_block
from ..codegen.jit import body
from ..codegen.record import make_record, record_type
from ..runtime.machine import CACHED
from .activation import activate
from .phases import PHASE_FIELDS

#: The numbers of a phase. A tile has ``pixels`` at most. A row of taps has ``taps`` of them and reads
#: ``columns`` columns of the input, ``column_step`` apart; a kernel row is one or more of them. A job is
#: ``chunk`` channels of an output row. If ``ahead`` is 1, tiles prefetch what the row below reads and writes.
RUN = record_type(**PHASE_FIELDS, tile=1, pixels=1, taps=1, columns=1, column_step=1, chunk=1, ahead=1)


@body
def fill_columns(run, lines, offsets, image, at_w, base, blank, table):
    """Write the columns that a tile reads, as bytes behind ``base``, where its first pixel lies.

    ``lines`` are those of the kernel rows on the image, ``offsets`` the offsets of a row's taps, and
    ``image`` its width, the bytes of a pixel and of a number. If ``blank`` is not 0, it is the address of
    zeros, which stand for columns beside the image; the tile begins at column ``at_w``.
    """
    g = run[0]
    taps, columns, step = g.taps, g.columns, g.column_step
    width, pixel, _ = image
    at = 0
    for line in lines:
        for tw in range(0, offsets.size, taps):
            for u in range(columns):
                w = offsets[tw] + u * step
                if blank and (at_w + w < 0 or at_w + w >= width):
                    table[at] = blank - base
                else:
                    table[at] = (line + w) * pixel
                at += 1


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
def columns_of_tile(run, lines, offsets, image, q0, q1, base, blank, inner, border):
    """The address of the columns of output pixels ``q0`` to ``q1``: those of any tile, ``inner``, or, at the
    border of the image, a table made for this one."""
    step = run[0].in_stride[2]
    start = q0 * step
    if start + offsets[0] >= 0 and (q1 - 1) * step + offsets[-1] < image[0]:
        return address(inner)
    fill_columns(run, lines, offsets, image, start, base, blank, border)
    return address(border)


@body
def output_row(run, lines, offsets, image, source, blank, tables, filters, channels, y, y_step, ends):
    """Compute a row of output pixels.

    Parameters
    ----------
    run : RUN
    lines, offsets, image : see :func:`fill_columns`
    source : address that the lines count from
    blank : address of zeros
    tables : the columns of a tile inside the image, filled, and room for those of one at the border
    filters : table of the taps' addresses, and how many there are
    channels : the first channel to compute, and the one after the last
    y, y_step : address of the first pixel, and bytes from pixel to pixel
    ends : address of what the sums start with, bytes to what is added (0: nothing), the activation
    """
    g = run[0]
    inner, border = tables
    first, end = channels
    init, residual, activation = ends
    width = g.out_size[2]
    for tile in range((width + g.pixels - 1) // g.pixels):
        q0, q1 = row_block(width, tile, g.pixels)
        base = source + q0 * g.in_stride[2] * image[1]
        target = y + q0 * y_step
        added = target + residual if residual else 0
        if g.ahead == 1 and lines.size:
            row = image[0] * image[1]
            below = base + (lines[lines.size - 1] + offsets[0]) * image[1] + row
            for i in range(g.in_stride[1]):
                emitter.prefetch(below + i * row, (q1 - q0) * g.in_stride[2] * image[1])
            emitter.prefetch_to_write(target + width * y_step, (q1 - q0) * y_step)
        depthwise_tile.forward(
            g.tile,
            pixels=q1 - q0,
            x=base,
            columns=columns_of_tile(run, lines, offsets, image, q0, q1, base, blank, inner, border),
            row_step=g.columns,
            weights=address(filters[0]),
            rows=filters[1] // g.taps,
            first=first,
            end=end,
            y=target,
            y_step=y_step,
            init=init,
            added=added,
            activation=activation,
        )
        activate(activation, target + first * image[2], q1 - q0, y_step, end - first)


@lru_cache(maxsize=1024)
def plan(phase, tile_address, lines: int, channels: int, dtype, threads: int, in_image: bool = True):
    """The :data:`RUN` of a phase, its taps' positions in the kernel, and the sizes of a thread's tables: of
    columns, of taps and of lines.

    ``tile_address`` is the function of ``codegen/depthwise_tile.py`` that gives the tiles of the pass;
    ``lines`` are the output planes of the batch; ``in_image``: the input rows lie in an image, not in a ring.
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
        tile=tile_address(dtype, taps, step if taps > 1 else 1),
        pixels=pixels,
        taps=taps,
        columns=columns,
        column_step=step if taps == 1 else 1,
        chunk=-(-channels // chunks // lanes) * lanes,
        ahead=int(in_image and moved > CACHED),
    )
    count, kernel_rows = len(phase.taps), len(phase.offsets[0]) * len(phase.offsets[1])
    return (
        record,
        np.array(phase.taps, np.int64),
        ((2 * count // taps * columns, np.int64), (count, np.int64), (kernel_rows, np.int64)),
    )


@lru_cache(maxsize=64)
def zeros(channels: int, dtype) -> np.ndarray:
    """A pixel of zeros."""
    return np.zeros(channels, dtype)
