"""Compiled transforms of small matrices of vectors, as Winograd's method needs them, and transposition."""

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
    """``matrix @ values`` for vectors. Rows that differ only in the signs of their odd entries, as Winograd's
    points +a and -a make them, share their even and odd halves."""
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
    """The matrix as independent blocks: pairs (rows, columns), no other entries of these rows or columns
    being nonzero. Rows of zeros are in none."""
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
    """Address of a compiled ``transform(src, src_step, dst, dst_step, shift, channels, bias, added, relu)``:
    Y = D X A^t per channel.

    ``down`` is D, ``across`` is A (both rows x n); X is n x n and Y rows x rows, each entry a run of
    channels, one vector at a time. Entries of X that are multiplied with zeros only are not read, entries of
    Y for a row of zeros of D or A are not written. An entry lies at ``base + index * step`` (bytes), or, with
    ``*_table``, ``shift`` bytes behind the index-th address of the int64 table at ``base`` (entries outside
    an image point at zeros or at a place to dump). ``masked``: the tables' side ends after ``channels``
    exactly; otherwise every run may be read and written up to a whole vector. ``biased``: add the vector at
    ``bias``, and then, with ``relu`` not 0, make negative results 0. ``adding``: before that add the entries
    of the table at ``added``, which is like the one at ``dst``.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    n, rows = len(down[0]), len(down)
    read = [i for i in range(n) if any(row[i] for row in down)]
    written = [i for i in range(rows) if any(down[i])]

    @intrinsic
    def emit(typingctx, src, src_step, dst, dst_step, shift, channels, bias, added, relu):
        sig = types.void(*[types.int64] * 9)

        def codegen(context, builder, signature, args):
            e = Emitter(builder, kind)
            src, src_step, dst, dst_step, shift, channels, bias, added, relu = args
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
            mask = e.column_masks(builder.sub(channels, c), 1)[0] if masked else None

            def place(base, step, table, index):
                if table:
                    pointer = builder.inttoptr(base, I64.as_pointer())
                    start = builder.add(builder.load(builder.gep(pointer, [I64(index)])), shift)
                else:
                    start = builder.add(base, builder.mul(step, I64(index)))
                return e.element_pointer(builder.add(start, offset))

            def load(i, j):
                return e.load(place(src, src_step, src_table, i * n + j), mask if src_table else None)

            start = e.load(e.element_pointer(builder.add(bias, offset)), mask) if biased else None
            floor = e.floor(relu)
            # fewer values are alive at a time than in one block
            for out_columns, in_columns in _blocks(across):
                half = [
                    _apply(e, down, [load(i, j) if i in read else None for i in range(n)]) for j in in_columns
                ]
                part = [[across[r][q] for q in in_columns] for r in out_columns]
                for i in written:
                    for j, value in zip(out_columns, _apply(e, part, [column[i] for column in half])):
                        value = builder.fadd(value, start) if biased else value
                        if adding:
                            value = builder.fadd(value, e.load(place(added, None, True, i * rows + j), mask))
                        value = e.at_least(floor, value) if biased else value
                        e.store(
                            value, place(dst, dst_step, dst_table, i * rows + j), mask if dst_table else None
                        )
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
    """Run the transform ``function`` (from :func:`transform_address`); all arguments in bytes but
    ``channels``."""
    call(function, (src, src_step, dst, dst_step, shift, channels, 0, 0, 0))


@body(inline=True)
def transform_finally(function, src, src_step, dst, dst_step, shift, channels, bias, added, relu):
    """:func:`transform` by a ``biased`` function."""
    call(function, (src, src_step, dst, dst_step, shift, channels, bias, added, relu))


@functools.cache
def transpose_address(dtype) -> int:
    """Address of a compiled ``transpose(src, src_row, dst)``: LANES x LANES elements, rows ``src_row`` bytes
    apart, are written as columns: element j of row i becomes element i at the j-th address of the int64 table
    at ``dst``.

    In registers, by halves: exchanging single elements between neighbouring rows, then pairs between pairs of
    rows, ...
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
    """Run the transposition ``function`` (from :func:`transpose_address`)."""
    call(function, (src, src_row, dst))


@body
def transpose_block(function, lanes, source, at, row, rows, columns, target, to, step, table, size):
    """``target[to + j * step + i] = source[at + i * row + j]`` for i < rows, j < columns; whole blocks in
    registers."""
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
