"""Convolutions of a block: calls of the tile and of the dot, pixel by pixel.

    convolve_row   for each pixel of a row whose taps meet the input
                     tile:  <= 14 output channels x the images, sum over these taps and the input channels
    weight_dots    for each block of output channels, each pair of places (input, gradient)
                     dot:   4 output channels x 5 columns of the kernel, sum over pixels and images

The weights are the tile's broadcast numbers. They stay where and how they are.
"""

from __future__ import annotations

from ..codegen import dot_tile, gemm_tile
from ..codegen.emitter import address
from ..codegen.jit import body
from .records import COUNT, ENTRY, INT_BYTES, POSITION, TAP


@body
def convolve_row(tile, taps, table, row, source, target, images, weights, read, write, init, size):
    """Row ``row`` of the result of a convolution, for all of its channels.

    ``source`` and ``target``: views of what is read and what is written, which begin at the addresses
    ``read`` and ``write``; ``init``: address of the biases; ``size``: bytes of an element.
    """
    entry = taps.rows + ENTRY * row
    n_h, k_h, h = table[entry + COUNT], table[entry + TAP], table[entry + POSITION]
    if n_h == 0:
        return
    for q in range(target.width):
        entry = taps.columns + ENTRY * q
        n_w, k_w, w = table[entry + COUNT], table[entry + TAP], table[entry + POSITION]
        if n_w:
            gemm_tile.tile(
                tile,
                target.channels,
                weights + (k_h * taps.kernel_w + k_w) * taps.a_tap * size,
                taps.a_row,
                taps.a_step,
                address(table) + taps.ta * INT_BYTES,
                read + (h * source.pitch + w * images) * size,
                taps.b_step,
                address(table) + taps.tb * INT_BYTES,
                n_h * taps.per_row,
                taps.deep if taps.deep else n_w,
                write + (row * target.pitch + q * images) * size,
                target.plane,
                init,
                images,
                images,
                0,
                taps.relu,
            )


@body
def weight_dots(function, rows, d, first, taps, table, a, a_row, b, c, size):
    """For each of the ``d.outer`` pairs a matrix of ``rows`` x ``d.columns`` by :func:`dot_tile.dot`.

    Sums run over ``taps`` entries of its tables, from the ``first`` on; ``a``, ``b`` and ``c`` are addresses.
    """
    ta, tb = address(table) + (d.ta + first) * INT_BYTES, address(table) + (d.tb + first) * INT_BYTES
    row_blocks = (rows + dot_tile.DOT_ROWS - 1) // dot_tile.DOT_ROWS
    column_blocks = (d.columns + dot_tile.DOT_COLUMNS - 1) // dot_tile.DOT_COLUMNS
    for i in range(row_blocks):  # the channels of a block stay in L2
        m0, m1 = gemm_tile.row_block(rows, i, dot_tile.DOT_ROWS)
        for o in range(d.outer):
            b_o, c_o = table[d.pairs + 2 * o], table[d.pairs + 2 * o + 1]
            for j in range(column_blocks):
                v0, v1 = gemm_tile.row_block(d.columns, j, dot_tile.DOT_COLUMNS)
                dot_tile.dot(
                    function,
                    m1 - m0,
                    v1 - v0,
                    a + m0 * a_row * size,
                    a_row,
                    d.b_step,
                    ta,
                    b + (b_o + v0 * d.b_col) * size,
                    d.b_col,
                    d.b_step,
                    tb,
                    taps,
                    d.depth,
                    c + (c_o + m0 + v0 * d.c_col) * size,
                    1,
                    d.c_col,
                )
