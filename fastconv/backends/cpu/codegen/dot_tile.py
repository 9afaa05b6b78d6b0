"""A block of dot products of vectors; each has a register of its own as accumulator.

The block::

                 column 0      column 1
            +-------------+-------------+
       row 0| acc 0,0     | acc 0,1     |    acc[m, v] = sum over taps t, sum over k < depth of
       row 1| acc 1,0     | acc 1,1     |        A[ta[t] + m * a_row + k * a_step]        (one vector)
        ... |     ...     |     ...     |      * B[tb[t] + v * b_col + k * b_step]        (one vector)
            +-------------+-------------+
                                             c[m, v] += sum of the lanes of acc[m, v]

A block of 4 x 5 takes 20 accumulators, and 9 loads feed 20 multiply-adds.
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import I64, REGISTERS, Emitter, call, read_arguments
from .jit import body, c_function
from .tap_loops import emit_tap_loops

#: Largest block of :func:`dot`.
DOT_ROWS, DOT_COLUMNS = (4, 5) if REGISTERS == 32 else (3, 3)


def _emit_dot(e: Emitter, rows: int, cols: int, args) -> None:
    """Emit the two loops of ``rows`` x ``cols`` accumulators, and the sums over their lanes."""
    a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col = args
    builder = e.b
    entry, loops = builder.block, builder.function.append_basic_block("taps")
    zeros = [ir.Constant(e.vector, [0.0] * e.lanes)] * (rows * cols)
    start = e.element_pointer(a), e.element_pointer(b)
    tables = [builder.inttoptr(t, I64.as_pointer()) for t in (ta, tb)]
    builder.branch(loops)

    def multiply_add(pa, pb, sums):
        columns = [e.load(e.at(pb, builder.mul(b_col, I64(v)))) for v in range(cols)]
        found = []
        for m in range(rows):
            row = e.load(e.at(pa, builder.mul(a_row, I64(m))))
            found += [e.multiply_add(row, columns[v], sums[m * cols + v]) for v in range(cols)]
        return found

    sums = emit_tap_loops(
        e, loops, [(entry, zeros)], start, tables, (a_step, b_step), taps, depth, multiply_add
    )
    for i, value in enumerate(sums):
        m, v = divmod(i, cols)
        place = e.at(e.at(e.element_pointer(c), builder.mul(c_row, I64(m))), builder.mul(c_col, I64(v)))
        builder.store(builder.fadd(builder.load(place), e.total(value)), place)


@functools.cache
def dot_address(dtype) -> int:
    """Address of the compiled function that :func:`dot` runs."""
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    names = "a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col"

    def make(rows, cols):
        @intrinsic
        def dots(typingctx, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col):
            def codegen(context, builder, signature, args):
                _emit_dot(Emitter(builder, kind), rows, cols, args)
                return context.get_dummy_value()

            return types.void(*[types.int64] * 13), codegen

        return dots

    space = {"__name__": __name__}
    lines = [*read_arguments("dot", f"rows, cols, {names}"), "    if rows == 0: return"]
    for m in range(1, DOT_ROWS + 1):
        for v in range(1, DOT_COLUMNS + 1):
            space[f"dot{m}_{v}"] = make(m, v)
            lines += [f"    elif rows == {m} and cols == {v}: dot{m}_{v}({names})"]
    exec("\n".join(lines), space)
    return c_function(space["dot"], f"dot_tile.{kind.name}")


@body(inline=True)
def dot(function, rows, cols, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col):
    """Run the block ``function`` (from :func:`dot_address`), which adds its sums to ``c`` (see the drawing).

    Addresses are in bytes; strides, tables and counts are in elements.

    Parameters
    ----------
    function : address of the compiled function
    rows, cols : at most DOT_ROWS and DOT_COLUMNS
    a, a_row, a_step : address of A, strides from row to row and along k
    ta : address of the table of the taps' offsets in A
    b, b_col, b_step : address of B, strides from column to column and along k
    tb : address of the table of the taps' offsets in B
    taps, depth : at least 1
    c, c_row, c_col : address of the result, strides from row to row and from column to column
    """
    call(function, (rows, cols, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col))
