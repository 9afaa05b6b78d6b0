"""Transforms of small matrices whose entries are vectors, as Winograd's method needs them; transposition.

A transform computes Y = D X A^t for a vector of channels at a time::

    X   runs of channels, row by row   column by column:    H = D X
    Y   the same                       row by row:          Y = H A^t

    run 0   c c c c | c c c c | ...       the entry (0, 0) for all channels
    run 1   c c c c | c c c c | ...       the entry (0, 1)
    ...     one vector at a time

The matrices are constants of the code: products with 0, 1 and -1 are not computed.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import I32, I64, Emitter, address, call
from .jit import body, c_function


def _apply(e: Emitter, matrix, values):
    """Emit ``matrix @ values``, where the values are vectors.

    Two rows that differ only in the signs of their odd entries, which Winograd's points +a and -a give, share
    the sums of their even and of their odd entries.
    """
    b = e.b

    def combine(row, columns):
        total = None
        for j in columns:
            c = float(row[j])
            if c == 0:
                continue
            constant = ir.Constant(e.vector, [c] * e.lanes)
            if total is None:
                total = values[j] if c == 1 else b.fmul(values[j], constant)
            elif abs(c) == 1:
                total = (b.fadd if c > 0 else b.fsub)(total, values[j])
            else:
                total = e.multiply_add(values[j], constant, total)
        return total

    results = [None] * len(matrix)
    indices = range(len(values))
    for i, row in enumerate(matrix):
        if results[i] is not None:
            continue
        even = [j for j in indices if j % 2 == 0 and row[j]]
        odd = [j for j in indices if j % 2 == 1 and row[j]]
        mirrored = [row[j] * (-1) ** j for j in indices]
        twin = next((k for k in range(i + 1, len(matrix)) if list(matrix[k]) == mirrored), None)
        if twin is None or not even or not odd:
            results[i] = combine(row, indices)
        else:
            p, q = combine(row, even), combine(row, odd)
            results[i], results[twin] = b.fadd(p, q), b.fsub(p, q)
    return results


def _blocks(matrix):
    """The matrix as independent blocks: pairs (rows, columns) such that all other entries of these rows and
    columns are zero. Rows of zeros are in no block."""
    blocks = []
    for r, row in enumerate(matrix):
        rows, columns = [r], {j for j, value in enumerate(row) if value}
        for block in [b for b in blocks if b[1] & columns]:
            blocks.remove(block)
            rows, columns = block[0] + rows, columns | block[1]
        if columns:
            blocks.append((rows, columns))
    return [(sorted(rows), sorted(columns)) for rows, columns in blocks]


@functools.cache
def transform_address(
    down: tuple,
    across: tuple,
    dtype,
    src_table=False,
    dst_table=False,
    masked=False,
    biased=False,
    adding=False,
) -> int:
    """Address of the compiled function that :func:`transform` runs: Y = D X A^t for each channel.

    Entries of X that are multiplied with zeros only are not read. Entries of Y for a row of zeros of D or A
    are not written. An entry lies at ``base + index * step`` (in bytes) or, with a table, ``shift`` bytes
    behind the address that the int64 table at ``base`` holds for it.

    Parameters
    ----------
    down, across : tuples of rows
        D and A. X has as many rows as D has columns, and as many columns as A; Y has a row for each row of
        D, and a column for each row of A.
    dtype : float32 or float64
    src_table, dst_table : bool
        Whether the entries of X, of Y, are found through a table.
    masked : bool
        Runs that are found through a table end after the last channel. Other runs may be read and written up
        to a whole vector.
    biased : bool
        Add a bias, then limit the results: :func:`transform_finally`.
    adding : bool
        Add the entries of a third table, which is like that of Y, after the bias and before the limits.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    high, wide, columns = len(down[0]), len(across[0]), len(across)
    read = [i for i in range(high) if any(row[i] for row in down)]
    written = [i for i in range(len(down)) if any(down[i])]

    @intrinsic
    def emit(typingctx, src, src_step, dst, dst_step, shift, channels, bias, added, activation):
        sig = types.void(*[types.int64] * 9)

        def codegen(context, builder, signature, args):
            e = Emitter(builder, kind)
            src, src_step, dst, dst_step, shift, channels, bias, added, activation = args
            function = builder.function
            entry, loop, done = (
                builder.block,
                function.append_basic_block("c"),
                function.append_basic_block("end"),
            )
            builder.branch(loop)
            builder.position_at_end(loop)
            c = builder.phi(I64)
            c.add_incoming(I64(0), entry)
            offset = builder.mul(c, I64(kind.bitwidth // 8))
            inside = e.parts(builder.sub(channels, c), 1)[0] if masked else None

            def place(base, step, table, index):
                if table:
                    pointer = builder.inttoptr(base, I64.as_pointer())
                    start = builder.add(builder.load(builder.gep(pointer, [I64(index)])), shift)
                else:
                    start = builder.add(base, builder.mul(step, I64(index)))
                return e.element_pointer(builder.add(start, offset))

            def load(i, j):
                return e.load(place(src, src_step, src_table, i * wide + j), inside if src_table else None)

            start = e.load(e.element_pointer(builder.add(bias, offset)), inside) if biased else None
            bounds = e.bounds(activation)
            # fewer values are in use at a time than in one block
            for out_columns, in_columns in _blocks(across):
                half = [
                    _apply(e, down, [load(i, j) if i in read else None for i in range(high)])
                    for j in in_columns
                ]
                part = [[across[r][q] for q in in_columns] for r in out_columns]
                for i in written:
                    for j, value in zip(out_columns, _apply(e, part, [column[i] for column in half])):
                        value = builder.fadd(value, start) if biased else value
                        if adding:
                            value = builder.fadd(
                                value, e.load(place(added, None, True, i * columns + j), inside)
                            )
                        value = e.within(bounds, value) if biased else value
                        to = place(dst, dst_step, dst_table, i * columns + j)
                        e.store(value, to, inside if dst_table else None)
            following = builder.add(c, I64(e.lanes))
            c.add_incoming(following, builder.block)
            builder.cbranch(builder.icmp_signed("<", following, channels), loop, done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return sig, codegen

    def transform(w):
        emit(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])

    options = repr((down, across, kind.name, src_table, dst_table, masked, biased, adding))
    tag = hashlib.sha256(options.encode()).hexdigest()[:12]
    return c_function(transform, f"transforms.transform.{tag}")


@body(inline=True)
def transform(function, src, src_step, dst, dst_step, shift, channels):
    """Run the transform ``function`` (from :func:`transform_address`).

    Parameters
    ----------
    function : address of a compiled transform
    src, src_step : where X lies: address and bytes from entry to entry, or address of its table
    dst, dst_step : the same for Y
    shift : bytes behind the addresses in tables
    channels : length of the runs
    """
    call(function, (src, src_step, dst, dst_step, shift, channels, 0, 0, 0))


@body(inline=True)
def transform_finally(function, src, src_step, dst, dst_step, shift, channels, bias, added, activation):
    """Run a ``biased`` transform.

    Parameters are those of :func:`transform`, and:

    Parameters
    ----------
    bias : address of a run of channels
    added : address of the table of what is added; only a transform that is ``adding`` reads it
    activation : limits of the results (see ``Emitter.bounds``)
    """
    call(function, (src, src_step, dst, dst_step, shift, channels, bias, added, activation))


@functools.cache
def transpose_address(dtype) -> int:
    """Address of the compiled function that :func:`transpose` runs.

    It works in registers, in steps: single elements change places between neighbouring rows, then pairs of
    elements between pairs of rows, and so on.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64

    @intrinsic
    def emit(typingctx, src, src_row, dst):
        sig = types.void(*[types.int64] * 3)

        def codegen(context, builder, signature, args):
            e = Emitter(builder, kind)
            src, src_row, dst = args
            n = e.lanes
            rows = [
                e.load(e.element_pointer(builder.add(src, builder.mul(src_row, I64(i))))) for i in range(n)
            ]
            for h in (1 << bit for bit in range(n.bit_length() - 1)):
                low, high = (
                    [x + n - h if x & h else x for x in range(n)],
                    [x + n if x & h else x + h for x in range(n)],
                )
                masks = [ir.Constant(ir.VectorType(I32, n), m) for m in (low, high)]
                for i in range(n):
                    if not i & h:
                        rows[i], rows[i + h] = (
                            builder.shuffle_vector(rows[i], rows[i + h], m) for m in masks
                        )
            table = builder.inttoptr(dst, I64.as_pointer())
            for j, row in enumerate(rows):
                e.store(row, e.element_pointer(builder.load(builder.gep(table, [I64(j)]))))
            return context.get_dummy_value()

        return sig, codegen

    def transpose(words):
        emit(words[0], words[1], words[2])

    return c_function(transpose, f"transforms.transpose.{kind.name}")


@body(inline=True)
def transpose(function, src, src_row, dst):
    """Transpose LANES x LANES elements: element j of row i becomes element i of row j.

    Parameters
    ----------
    function : address from :func:`transpose_address`
    src, src_row : address of the first row, bytes from row to row
    dst : address of an int64 table with the addresses of the transposed rows
    """
    call(function, (src, src_row, dst))


@body
def transpose_block(function, lanes, source, at, row, rows, columns, target, to, step, table, size):
    """``target[to + j * step + i] = source[at + i * row + j]`` for i < rows, j < columns.

    Whole blocks are transposed in registers by ``function`` (from :func:`transpose_address`). ``table`` is
    scratch for ``lanes`` addresses, ``size`` the bytes of an element.
    """
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            high, wide = min(lanes, rows - i), min(lanes, columns - j)
            if high == lanes and wide == lanes:
                for q in range(lanes):
                    table[q] = address(target) + (to + (j + q) * step + i) * size
                transpose(function, address(source) + (at + i * row + j) * size, row * size, address(table))
            else:
                for q in range(wide):
                    for p in range(high):
                        target[to + (j + q) * step + i + p] = source[at + (i + p) * row + j + q]
