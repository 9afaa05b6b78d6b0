"""The register-blocked multiply-add tile that every matrix product and convolution runs.

The tile::

            columns: NV vectors of LANES elements
            +---------+---------+
       row 0| acc 0,0 | acc 0,1 |    acc[m, v] = init + sum over taps t, sum over k < depth of
       row 1| acc 1,0 | acc 1,1 |        A[ta[t] + m * a_row + k * a_step]        (one number, broadcast)
        ... |   ...   |   ...   |      * B[tb[t] + k * b_step + v * LANES ...]    (one vector)
    row MR-1|         |         |
            +---------+---------+    all MR * NV accumulators stay in registers through both loops

With AVX-512 the tile is 14 x 2 (28 accumulators, 2 for B, 1 for the broadcast). In each step of k, 16 loads
feed 28 multiply-adds, so the multiply-add units are busy in every cycle. With 16 registers (AVX2) the tile is
6 x 2, on 64-bit ARM 12 x 2 (``target`` says why).

The last tile of a matrix has fewer columns. Where the processor has masked loads and stores, they leave out
the rest. Elsewhere the last vector begins earlier, at ``cols - LANES``, and some columns are computed twice,
with the same result. Fewer columns than a vector are read and written one by one.
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import I64, Emitter, call, emit_prefetch, lanes, read_arguments
from .jit import body, c_function
from .tap_loops import emit_tap_loops
from .target import TARGET

#: Rows of the largest tile.
MAX_ROWS = TARGET.tile_rows
#: Lines of memory that are a multiple of SAME_SET bytes apart share a set of the first-level cache, which
#: holds WAYS of them. Rows of A that lie so far apart are taken fewer at a time.
SAME_SET, WAYS = 4096, 8
#: The table of offsets of a tile with one tap. Kernels take its address; Numba makes it part of their code.
ONE_TAP = np.zeros(1, np.int64)


def panel_width(columns: int, dtype) -> int:
    """Columns of the tile that suits a matrix of ``columns``.

    Two vectors; one vector if the matrix has a small odd number of them, because half of the last tile would
    be unused; half a vector for very few columns, which many processors compute twice as fast.
    """
    whole = lanes(dtype)
    vectors = -(-columns // whole)
    if columns <= whole // 2:
        return whole // 2
    return whole if vectors % 2 and vectors <= 5 else 2 * whole


def _make_tile(rows: int, nv: int, lanes: int, dtype, plain: bool):
    """An intrinsic that computes a tile of ``rows`` x ``nv`` vectors of ``dtype`` (see the drawing above)."""

    @intrinsic
    def tile_rows(
        typingctx,
        a,
        a_row,
        a_step,
        ta,
        b,
        b_step,
        tb,
        taps,
        depth,
        c,
        c_row,
        init,
        init_row,
        cols,
        added,
        activation,
    ):
        sig = types.void(*[types.int64] * 16)

        def codegen(context, builder, signature, args):
            emit_tile(Emitter(builder, dtype, lanes), rows, nv, args, plain)
            return context.get_dummy_value()

        return sig, codegen

    return tile_rows


def emit_tile(e: Emitter, rows: int, nv: int, args, plain: bool) -> None:
    """Emit a tile of ``rows`` x ``nv`` vectors; ``args`` are the arguments of :func:`tile` from ``a`` on, as
    LLVM values. A ``plain`` tile has all columns (see :func:`tile_address`)."""
    every = [v * e.lanes for v in range(nv)]
    if plain:
        _emit_loops(e, rows, every, [None] * nv, args, plain)
        return
    b, cols = e.b, args[13]
    with b.if_else(b.icmp_signed("==", cols, I64(nv * e.lanes)), likely=True) as (whole, partial):
        with whole:
            _emit_loops(e, rows, every, [None] * nv, args, plain)
        with partial:
            if e.has_masks:
                _emit_loops(e, rows, every, e.parts(cols, nv), args, plain)
            elif nv == 1:
                _emit_loops(e, rows, every, e.parts(cols, 1), args, plain)
            else:
                last = b.sub(cols, I64(e.lanes))
                with b.if_else(b.icmp_signed(">=", last, I64(0)), likely=True) as (overlapping, narrow):
                    with overlapping:
                        starts = [b.select(b.icmp_signed("<", I64(v), last), I64(v), last) for v in every]
                        _emit_loops(e, rows, starts, [None] * nv, args, plain)
                    with narrow:
                        _emit_loops(e, rows, [0], e.parts(cols, 1), args, plain)


def _emit_loops(e: Emitter, rows: int, starts, parts, args, plain: bool) -> None:
    """Emit the two loops of a tile.

    ``starts`` are the first columns of its vectors, and ``parts`` (None: all lanes) say which lanes of B,
    init and added are read and which of C are written.
    """
    a, a_row, a_step, ta, b, b_step, tb, taps, depth, c, c_row, init, init_row, _, added, activation = args
    builder, function = e.b, e.b.function
    nv = len(starts)
    grid = [(m, v) for m in range(rows) for v in range(nv)]
    zero = ir.Constant(e.vector, [0.0] * e.lanes)
    operands = e.element_pointer(a), e.element_pointer(b)
    tables = [builder.inttoptr(t, I64.as_pointer()) for t in (ta, tb)]

    def corner(base, row, m, v):
        return e.at(e.at(base, builder.mul(row, I64(m))), starts[v])

    # Rows lie at base[m // 4] + (0, 1, 2 or 3) * a_row, which an instruction can address. LLVM would compute
    # each row's address from the one before, a chain that takes longer than a narrow tile's arithmetic;
    # opaque() prevents that.
    step = [I64(0), e.opaque(a_row), None, e.opaque(builder.mul(a_row, I64(3)))]
    step[2] = builder.mul(step[1], I64(2))
    four = e.opaque(builder.mul(a_row, I64(4)))

    if not plain:  # what is written and added at the end is prefetched at the start
        base = e.element_pointer(c)
        for m, v in grid:
            emit_prefetch(builder, corner(base, c_row, m, v), True, level=1)
        with builder.if_then(builder.icmp_signed("!=", added, I64(0))):
            base = e.element_pointer(added)
            for m, v in grid:
                emit_prefetch(builder, corner(base, c_row, m, v), False, level=1)
                # For the next tile. A short tile ends before its own lines have come from memory.
                emit_prefetch(builder, corner(base, c_row, m + rows, v), False, level=2)

    begin, loops = [(builder.block, [zero] * len(grid))], function.append_basic_block("taps")
    if plain:
        builder.branch(loops)
    else:
        load = function.append_basic_block("init")
        builder.cbranch(builder.icmp_signed("==", init, I64(0)), loops, load)
        builder.position_at_end(load)
        base = e.element_pointer(init)
        begin.append((load, [e.load(corner(base, init_row, m, v), parts[v]) for m, v in grid]))
        builder.branch(loops)

    def multiply_add(pa, pb, sums):
        columns = [e.load(e.at(pb, starts[v]), parts[v]) for v in range(nv)]
        found = []
        bases = [pa]
        while 4 * len(bases) < rows:
            bases.append(e.opaque(e.at(bases[-1], four)))
        for m in range(rows):
            number = e.broadcast(builder.load(e.at(bases[m // 4], step[m % 4])))
            found += [e.multiply_add(number, columns[v], sums[m * nv + v]) for v in range(nv)]
        return found

    sums = emit_tap_loops(e, loops, begin, operands, tables, (a_step, b_step), taps, depth, multiply_add)
    done = builder.block
    base = e.element_pointer(c)
    more, more_row = (init, init_row) if plain else (added, c_row)
    add, store = (function.append_basic_block(n) for n in ("add", "store"))
    builder.cbranch(builder.icmp_signed("==", more, I64(0)), store, add)

    builder.position_at_end(add)
    addend = e.element_pointer(more)
    totals = [
        builder.fadd(s, e.load(corner(addend, more_row, m, v), parts[v])) for (m, v), s in zip(grid, sums)
    ]
    builder.branch(store)

    builder.position_at_end(store)
    final = [builder.phi(e.vector) for _ in grid]
    for phi, value, total in zip(final, sums, totals):
        phi.add_incoming(value, done)
        phi.add_incoming(total, add)
    bounds = None if plain else e.bounds(activation)
    for (m, v), value in zip(grid, final):
        value = value if plain else e.within(bounds, value)
        e.store(value, corner(base, c_row, m, v), parts[v])


@functools.cache
def tile_address(dtype, width: int, plain: bool = False) -> int:
    """Address of the compiled function that :func:`tile` runs.

    Kernels call the tile by its address because it is a lot of code: to compile it into every kernel that
    uses it would take seconds each time.

    Parameters
    ----------
    dtype : float32 or float64
    width : int
        Columns of the tile (see :func:`panel_width`).
    plain : bool
        For sums that stay in the caches: all columns are written, and ``cols``, ``added`` and ``activation``
        are not used. ``init`` is added at the end: sums of a part of the depth round less than one long sum.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    nv = -(-width // lanes(dtype))
    names = (
        "a, a_row, a_step, ta, b, b_step, tb, taps, depth, c, c_row, init, init_row, cols, added, activation"
    )
    tiles = {f"tile{m}": _make_tile(m, nv, width // nv, kind, plain) for m in range(1, MAX_ROWS + 1)}
    space = {"__name__": __name__} | tiles
    size = kind.bitwidth // 8
    lines = [
        *read_arguments("tile", f"rows, {names}"),
        f"    limit = {MAX_ROWS}",
        f"    if a_step == 1 and a_row * {size} % {SAME_SET} == 0:",
        f"        limit = {min(MAX_ROWS, WAYS - 1)}",
        "    blocks, first = (rows + limit - 1) // limit, 0",
        "    for block in range(blocks):",
        "        end = rows if block + 1 == blocks else (block + 1) * rows // blocks",
        "        here, first = end - first, end",
    ]
    for m in range(MAX_ROWS, 0, -1):
        lines += [
            f"        {'if' if m == MAX_ROWS else 'elif'} here == {m}:",
            f"            tile{m}({names})",
        ]
    lines += [
        f"        a, c = a + here * a_row * {size}, c + here * c_row * {size}",
        f"        init = init + here * init_row * {size} if init else 0",
        f"        added = added + here * c_row * {size} if added else 0",
    ]
    exec("\n".join(lines), space)
    return c_function(space["tile"], f"gemm_tile.{width}{'.plain' * plain}.{kind.name}")


@body(inline=True)
def tile(
    function,
    rows,
    a,
    a_row,
    a_step,
    ta,
    b,
    b_step,
    tb,
    taps,
    depth,
    c,
    c_row,
    init=0,
    init_row=0,
    cols=0,
    added=0,
    activation=0,
):
    """Run the tile ``function`` (from :func:`tile_address`) on any number of ``rows``.

    More than MAX_ROWS rows are computed in blocks of nearly equal size. Addresses are in bytes; strides,
    tables and counts are in elements. Callers name the arguments.

    Parameters
    ----------
    function : address of a compiled tile
    rows : at least 1
    a, a_row, a_step : address of A, strides from row to row and along k
    ta : address of the table of the taps' offsets in A
    b, b_step : address of B and stride along k; its columns lie next to each other
    tb : address of the table of the taps' offsets in B
    taps, depth : at least 1
    c, c_row : address of the result and stride from row to row
    init, init_row : where the sums start: address and stride from row to row; 0: at zero
    cols : how many columns of B and init are read, and of C written. Only a plain tile goes without: it takes
        all.
    added : address of what is added to the sums at the end, with the strides of C; 0: nothing
    activation : limits of the results (see ``Emitter.bounds``)
    """
    call(
        function,
        (
            rows,
            a,
            a_row,
            a_step,
            ta,
            b,
            b_step,
            tb,
            taps,
            depth,
            c,
            c_row,
            init,
            init_row,
            cols,
            added,
            activation,
        ),
    )


@body
def row_block(rows, block, limit):
    """First row of block ``block`` and the one after its last, when ``rows`` rows are split into blocks of
    nearly equal size and at most ``limit``."""
    blocks = (rows + limit - 1) // limit
    return block * rows // blocks, (block + 1) * rows // blocks
