"""The register tiles of depthwise convolutions: neighbouring pixels of one output row, a vector of channels.

Forward and backward-data::

    for each tile of PIXELS pixels, one beside the other
      for each vector of channels (a part of one at the end)
        prefetch what the tile below will read              (of images that the caches do not hold)
        sum[p] = init[c]                                    PIXELS sums in registers
        for each row of taps
          w[t] = the weights of the row                     TAPS vectors in registers
          for each column u of the input that the row reads each is loaded once
            x = input[columns[row, u] + c]
            sum[p] += x * w[t]     for all p, t with p * step + t == u
        y[p, c] = sum[p] (+ residual, within bounds)

      columns    x0  x1  x2  x3  x4  x5          3 taps, step 1: 6 loads of x and 3 of w feed 12 multiply-adds
      pixel 0    w0  w1  w2
      pixel 1        w0  w1  w2
      pixel 2            w0  w1  w2
      pixel 3                w0  w1  w2

Backward-weight turns it round: the gradients of the pixels stay in registers, ``g[p]``, and every row of taps
loads its sums, adds ``x * g[p]`` to sum ``t`` and stores them again.

Where the channels are in groups of GROUP, with as many filters each, a column meets GROUP weights of each
tap: its elements ``i`` of every group are spread over their groups in a register, and multiplied by the
weights that all channels have for element ``i`` of theirs::

    channels of x      a b c d  e f g h        groups of 4:  for i = 1
    spread             b b b b  f f f f        times w[t, 1]: one weight for each output channel

Where a column lies is read from a table, so columns beside the image are columns of a buffer of zeros, and
tiles at the border run the same code. With TAPS 1 a row is a single tap, and its columns are the pixels
themselves, at any distance: this serves dilated taps, long strides and the phases of backward-data.
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import I32, I64, REGISTERS, Emitter, call, emit_prefetch, read_arguments
from .jit import body, c_function

#: Rows of so many taps have tiles of their own, with step 1 and 2. More would need more registers.
TAPS = 3, 5, 7

#: The arguments of the tiles, in order.
FORWARD = (
    "tiles, x, x_tile, columns, row_step, weights, filter_step, rows, first, end, y, y_step, init, residual, "
    "activation, new_rows, new_row, row_pitch, column_pitch"
)
GRADIENT = "tiles, x, x_tile, columns, row_step, sums, filter_step, rows, first, end, gy, gy_step"


def most_pixels(taps: int, registers: int = REGISTERS) -> int:
    """Pixels of the largest tile for rows of so many taps: sums, taps and a column fit the registers."""
    return min(8, registers - taps - 2)


def column_count(pixels: int, taps: int, step: int) -> int:
    """How many columns of the input the taps of a row read for so many pixels."""
    return pixels if taps == 1 else (pixels - 1) * step + taps


def _uses(pixels: int, taps: int, step: int) -> list[list[tuple[int, int]]]:
    """For each column the pairs of pixel and tap that meet in it."""
    if taps == 1:
        return [[(p, 0)] for p in range(pixels)]
    pairs = [(p, t) for p in range(pixels) for t in range(taps)]
    return [[(p, t) for p, t in pairs if p * step + t == u] for u in range(column_count(pixels, taps, step))]


class _Loops:
    """The loops of a tile around what is done for one vector of channels."""

    def __init__(self, e: Emitter):
        self.e, self.b = e, e.b

    def table(self, address, index):
        """Entry ``index`` of a table of int64 at ``address``."""
        return self.b.load(self.b.gep(self.b.inttoptr(address, I64.as_pointer()), [index]))

    def at_byte(self, address, channel):
        """A pointer to element ``channel`` of an array at a byte address."""
        return self.e.at(self.e.element_pointer(address), channel)

    def columns(self, x, columns, row, count, channel, part):
        """The vectors at ``channel`` of ``count`` columns; entry ``row`` of their table is the first."""
        places = [self.b.add(x, self.table(columns, self.b.add(row, I64(u)))) for u in range(count)]
        return [self.e.load(self.at_byte(place, channel), part) for place in places]

    def member(self, vector, i, group):
        """Element ``i`` of each group of ``group`` elements, in the place of all of its group."""
        if group == 1:
            return vector
        lanes = [lane // group * group + i for lane in range(self.e.lanes)]
        mask = ir.Constant(ir.VectorType(I32, self.e.lanes), [I32(lane) for lane in lanes])
        return self.b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def over(self, count, values, work):
        """``values = work(i, values)`` for ``i`` below ``count`` (it may be 0); the values, in registers."""
        b, before = self.b, self.b.block
        head, body, done = (b.function.append_basic_block(n) for n in ("rows", "row", "rows.end"))
        b.branch(head)
        b.position_at_end(head)
        i, kept = b.phi(I64), [b.phi(v.type) for v in values]
        for phi, value in zip([i, *kept], [I64(0), *values]):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", i, count), body, done)
        b.position_at_end(body)
        found = work(i, kept)
        for phi, value in zip([i, *kept], [b.add(i, I64(1)), *found]):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)
        return kept

    def over_channels(self, first, end, work):
        """``work(channel, part)`` for every whole vector from ``first`` on, then for a part of one."""
        b, before = self.b, self.b.block
        head, body, tail, rest, done = (
            b.function.append_basic_block(n) for n in ("channels", "vector", "tail", "rest", "done")
        )
        b.branch(head)
        b.position_at_end(head)
        c = b.phi(I64)
        c.add_incoming(first, before)
        following = b.add(c, I64(self.e.lanes))
        b.cbranch(b.icmp_signed("<=", following, end), body, tail)
        b.position_at_end(body)
        work(c, None)
        c.add_incoming(following, b.block)
        b.branch(head)
        b.position_at_end(tail)
        b.cbranch(b.icmp_signed("<", c, end), rest, done)
        b.position_at_end(rest)
        work(c, self.e.parts(b.sub(end, c), 1)[0])
        b.branch(done)
        b.position_at_end(done)

    def over_tiles(self, tiles, starts, steps, channels, work):
        """``work(*places, channel, part)`` for every vector of ``channels``, the first and the one after the
        last, of every tile. The places of the first tile are ``starts``, those of the next ``steps`` on."""

        def tile(_, places):
            self.over_channels(*channels, lambda c, part: work(*places, c, part))
            return [self.b.add(place, step) for place, step in zip(places, steps)]

        self.over(tiles, starts, tile)


def emit_forward(e: Emitter, pixels: int, taps: int, step: int, group: int, args) -> None:
    tiles, x, x_tile, columns, row_step, weights, filter_step, rows, first, end, y, y_step, *ends = args
    init, residual, activation, new_rows, new_row, row_pitch, column_pitch = ends
    b, loops = e.b, _Loops(e)
    bounds = e.bounds(activation)
    lines = [b.mul(y_step, I64(p)) for p in range(pixels)]

    def prefetch(x, c):
        """What the tile below will read and this one does not, of the same vector."""

        def new(_, rows):
            for u in range(pixels * step):
                column = b.add(rows[0], b.mul(column_pitch, I64(u)))
                emit_prefetch(b, loops.at_byte(column, c), write=False, level=2)
            return [b.add(rows[0], row_pitch)]

        asked, done = (b.function.append_basic_block(n) for n in ("prefetch", "prefetched"))
        b.cbranch(b.icmp_signed("==", new_rows, I64(0)), done, asked)
        b.position_at_end(asked)
        loops.over(new_rows, [b.add(x, new_row)], new)
        b.branch(done)
        b.position_at_end(done)

    def vector(x, y, c, part):
        prefetch(x, c)

        def row(r, sums):
            sums = list(sums)
            starts = [loops.table(weights, b.add(b.mul(r, I64(taps)), I64(t))) for t in range(taps)]
            values = loops.columns(x, columns, b.mul(r, row_step), column_count(pixels, taps, step), c, part)
            for i in range(group):
                offset = b.mul(filter_step, I64(i))
                w = [e.load(loops.at_byte(b.add(start, offset), c), part) for start in starts]
                for value, pairs in zip(values, _uses(pixels, taps, step)):
                    value = loops.member(value, i, group)
                    for p, t in pairs:
                        sums[p] = e.multiply_add(value, w[t], sums[p])
            return sums

        start = e.load(loops.at_byte(init, c), part)
        sums = loops.over(rows, [start] * pixels, row)
        before = b.block
        add, store = (b.function.append_basic_block(n) for n in ("add", "store"))
        b.cbranch(b.icmp_signed("==", residual, I64(0)), store, add)
        b.position_at_end(add)
        added = b.add(y, residual)
        totals = [
            b.fadd(s, e.load(loops.at_byte(b.add(added, line), c), part)) for s, line in zip(sums, lines)
        ]
        b.branch(store)
        b.position_at_end(store)
        final = [b.phi(e.vector) for _ in sums]
        for phi, value, total in zip(final, sums, totals):
            phi.add_incoming(value, before)
            phi.add_incoming(total, add)
        for value, line in zip(final, lines):
            e.store(e.within(bounds, value), loops.at_byte(b.add(y, line), c), part)

    loops.over_tiles(tiles, (x, y), (x_tile, b.mul(y_step, I64(pixels))), (first, end), vector)


def emit_gradient(e: Emitter, pixels: int, taps: int, step: int, group: int, args) -> None:
    tiles, x, x_tile, columns, row_step, sums, filter_step, rows, first, end, gy, gy_step = args
    b, loops = e.b, _Loops(e)
    lines = [b.mul(gy_step, I64(p)) for p in range(pixels)]

    def vector(x, gy, c, part):
        g = [e.load(loops.at_byte(b.add(gy, line), c), part) for line in lines]

        def row(r, _):
            starts = [loops.table(sums, b.add(b.mul(r, I64(taps)), I64(t))) for t in range(taps)]
            values = loops.columns(x, columns, b.mul(r, row_step), column_count(pixels, taps, step), c, part)
            for i in range(group):
                places = [loops.at_byte(b.add(start, b.mul(filter_step, I64(i))), c) for start in starts]
                totals = [e.load(place, part) for place in places]
                for value, pairs in zip(values, _uses(pixels, taps, step)):
                    value = loops.member(value, i, group)
                    for p, t in pairs:
                        totals[t] = e.multiply_add(value, g[p], totals[t])
                for place, total in zip(places, totals):
                    e.store(total, place, part)
            return []

        loops.over(rows, [], row)

    loops.over_tiles(tiles, (x, gy), (x_tile, b.mul(gy_step, I64(pixels))), (first, end), vector)


def _make_tile(emit, names: str, pixels: int, taps: int, step: int, group: int, dtype):
    """An intrinsic of the arguments ``names`` that computes a tile of so many pixels."""
    count = len(names.split(", "))

    def codegen(context, builder, signature, args):
        emit(Emitter(builder, dtype), pixels, taps, step, group, args)
        return context.get_dummy_value()

    space = {"types": types, "count": count, "codegen": codegen}
    lines = f"def tile(typingctx, {names}):\n    return types.void(*[types.int64] * count), codegen"
    exec(lines, space)
    return intrinsic(space["tile"])


def _tiles_address(emit, names: str, kind: str, dtype, taps: int, step: int, group: int) -> int:
    element = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    space = {"__name__": __name__}
    lines = read_arguments("tile", f"pixels, {names}")
    for pixels in range(most_pixels(taps), 0, -1):
        space[f"tile{pixels}"] = _make_tile(emit, names, pixels, taps, step, group, element)
        word = "if" if pixels == most_pixels(taps) else "elif"
        lines += [f"    {word} pixels == {pixels}:", f"        tile{pixels}({names})"]
    exec("\n".join(lines), space)
    return c_function(space["tile"], f"depthwise_tile.{kind}.{taps}.{step}.{group}.{element.name}")


@functools.cache
def forward_address(dtype, taps: int, step: int, group: int) -> int:
    """Address of the compiled tiles that :func:`forward` runs, for rows of ``taps`` taps (1 or one of
    :data:`TAPS`) at pixels ``step`` columns apart (1 or 2; 1 for a single tap), and groups of so many
    channels, which a vector holds whole."""
    return _tiles_address(emit_forward, FORWARD, "forward", dtype, taps, step, group)


@functools.cache
def gradient_address(dtype, taps: int, step: int, group: int) -> int:
    """Address of the compiled tiles that :func:`gradient` runs (see :func:`forward_address`)."""
    return _tiles_address(emit_gradient, GRADIENT, "gradient", dtype, taps, step, group)


@body(inline=True)
def forward(
    function,
    tiles,
    x,
    x_tile,
    columns,
    row_step,
    weights,
    filter_step,
    rows,
    first,
    end,
    y,
    y_step,
    init,
    residual,
    activation,
    below,
):
    """Compute tiles of an output row. Addresses and distances are in bytes.

    Parameters
    ----------
    function : address of the compiled tiles
    tiles : how many there are, one beside the other, and the pixels of each, 1 to :func:`most_pixels`
    x, x_tile : the address that the first tile's columns count from, and the distance to the next tile's
    columns, row_step : address of the table of the columns' offsets, and its entries from row to row
    weights : address of the table of the taps' addresses, TAPS for each row
    filter_step : distance between the weights of one tap for neighbouring channels of a group
    rows : rows of taps, or 0
    first, end : the channels to compute
    y, y_step : address of the first pixel, and distance from pixel to pixel
    init : address of what the sums start with, one number per channel
    residual : distance from ``y`` to what is added at the end; 0: nothing
    activation : limits of the results (see ``Emitter.bounds``)
    below : the input rows that the output row below reads and this one does not, to be prefetched: how many
        (or 0), distance of the first from ``x``, of one row from the next, of neighbouring columns
    """
    call(
        function,
        (
            tiles[1],
            tiles[0],
            x,
            x_tile,
            columns,
            row_step,
            weights,
            filter_step,
            rows,
            first,
            end,
            y,
            y_step,
            init,
            residual,
            activation,
            below[0],
            below[1],
            below[2],
            below[3],
        ),
    )


@body(inline=True)
def gradient(function, tiles, x, x_tile, columns, row_step, sums, filter_step, rows, first, end, gy, gy_step):
    """Add the products of tiles of an output row to the sums of the taps.

    ``sums`` is the address of a table of addresses, as ``weights`` of :func:`forward` is; ``gy`` and
    ``gy_step`` are read where ``forward`` writes ``y``.
    """
    call(
        function,
        (tiles[1], tiles[0], x, x_tile, columns, row_step, sums, filter_step, rows, first, end, gy, gy_step),
    )
