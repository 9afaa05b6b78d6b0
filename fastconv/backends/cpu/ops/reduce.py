"""Reductions over neighbouring axes; several groups of axes take one step each.

    x as  outer, n, inner          the axes before, in and after the reduced ones, in memory order

    threads: equal shares of the jobs (a part of n, one of outer, at most CHUNK of inner)
      for each row of inner numbers:  totals[c] = join(totals[c], term(row[c]))      vector code

    Rows of few numbers are joined to rows of about LANES, whose totals are joined at the end of the job. The
largest and the smallest of neighbouring floats stay in vector registers.

Where n has several parts, the same kernel joins their totals. The formulas are in ``common/reduce.py``, and
the number of parts depends on the shape alone. Small arrays are NumPy's work.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common.pointwise import BINARY_FORMULAS
from fastconv.backends.common.reduce import Scalars, identity, reductions, types

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from . import borrowed as reference
from .norm.moments import moments as channel_moments
from .norm.pixels import images

SMALL = 1 << 13  # elements up to which NumPy is faster than a launch
LANES, TAIL = 64, 16  # elements of a step of vector code, and of one behind the last whole step
CHUNK = 1024
RUN = 1 << 12  # elements of a part at least
PARTS = 64  # parts of n at most

inline = body(inline=True)


@inline
def job_place(job, parts, outer, chunks, n):
    """Of a job: the part of n, the place in outer, the first of inner; where its part begins and ends."""
    if parts * chunks == 1:  # divisions would take longer than a short row
        return 0, job, 0, 0, n
    part, o = job // chunks // outer, job // chunks % outer
    begin, stop = split_range(part, parts, n)
    return part, o, job % chunks * CHUNK, begin, stop


@functools.cache
def _line_extremum(join: str):
    """The largest or the smallest of neighbouring floats, NaN if one of them is; ``scratch`` has a vector."""
    better, join_one = getattr(emitter, join), inline(BINARY_FORMULAS[join])

    @body
    def line_extremum(line, scratch):
        count, size, value = line.size, line.itemsize, line[0]
        lanes, start = emitter.VECTOR_BYTES // size, address(line)
        if count < 4 * lanes:
            for i in range(1, count):
                value = join_one(value, line[i])
            return value
        step, last = lanes * size, (count - 4 * lanes) * size  # of four vectors, which may be read twice
        a, b = emitter.load(start, line), emitter.load(start + step, line)
        c, d = emitter.load(start + 2 * step, line), emitter.load(start + 3 * step, line)
        for offset in range(4 * step, last + 4 * step, 4 * step):
            at = start + min(offset, last)
            a, b = better(emitter.load(at, line), a), better(emitter.load(at + step, line), b)
            c = better(emitter.load(at + 2 * step, line), c)
            d = better(emitter.load(at + 3 * step, line), d)
        emitter.store(better(better(a, b), better(c, d)), address(scratch))
        while lanes > 1:
            lanes //= 2
            for i in range(lanes):
                scratch[i] = join_one(scratch[i], scratch[lanes + i])
        return scratch[0]

    return line_extremum


@body
def first_place(line, value):
    """Where ``value`` is first in ``line``, which has it; all NaN are equal."""
    for start in range(0, line.size, LANES):
        block, found = line[start : start + LANES], False
        for i in range(block.size):
            found |= (block[i] == value) | ((block[i] != block[i]) & (value != value))
        if found:
            for i in range(block.size):
                if (block[i] == value) | ((block[i] != block[i]) & (value != value)):
                    return start + i
    return 0


@functools.cache
def _formulas(real, kept):
    return reductions(
        Scalars(
            wide=inline(lambda x: kept(x)),
            select=inline(lambda condition, a, b: a if condition else b),
            sqrt=np.sqrt,
            power=inline(lambda x, p: x**p),
        )
    )


@functools.cache
def _kernel(name, real, first: bool, last: bool):
    """The kernel of one step of reduction ``name``: ``first`` turns elements into terms, ``last`` totals into
    results."""
    kept, result = types(name, np.dtype(real))
    acc, out_type = kept.type, result.type if result.kind != "b" else np.uint8
    row = _formulas(real, acc)[name]
    term = inline(row.term if first else lambda x, p: x)
    join = inline(BINARY_FORMULAS[row.join])
    finish = inline(row.finish if last else lambda total, n, p: total)
    start, write = acc(identity(name, kept)), out_type if last else acc
    floats = name in ("max", "min") and np.dtype(real).kind == "f"
    extremum = _line_extremum(row.join if floats else "maximum")  # called for floats only
    additive = row.join in ("add", "mul")  # of which the compiler makes vector code without lanes

    def run(thread, threads, x, n_all, p, lanes, joined, y):
        # x: outer, n, inner -> y: parts of n, outer, inner
        outer, n, inner = x.shape
        parts, lines, chunks = y.shape[0], x.reshape(outer, n * inner), (inner + CHUNK - 1) // CHUNK
        first_job, end_job = split_range(thread, threads, parts * outer * chunks)
        for job in range(first_job, end_job):
            part, o, at, begin, stop = job_place(job, parts, outer, chunks, n)
            width = min(CHUNK, inner - at)
            if inner == 1 and (additive or joined == 1):
                value, line = start, lines[o, begin:stop]
                whole = line.size - line.size % LANES  # vector code; the compiler goes one by one behind it
                for i in range(whole):
                    value = join(value, acc(term(line[i], p)))
                while whole + TAIL <= line.size:
                    some = line[whole : whole + TAIL]
                    for i in range(TAIL):
                        value = join(value, acc(term(some[i], p)))
                    whole += TAIL
                for i in range(whole, line.size):
                    value = join(value, acc(term(line[i], p)))
                y[part, o, 0] = write(finish(value, n_all, p))
                continue
            if floats and inner == 1:
                y[part, o, 0] = extremum(lines[o, begin:stop], lanes[thread])
                continue
            size = width * joined
            totals, others = lanes[thread, :size], lanes[thread, size : 2 * size]
            totals[:] = start
            whole = stop - (stop - begin) % joined
            fours = whole - (whole - begin) % (4 * joined)
            step = joined * inner
            # A total is read and written once for four rows. It is written to another place, because the
            # compiler writes a maximum only where it is new, and reading after such a store waits for it.
            for i in range(begin, fours, 4 * joined):
                start_i = i * inner + at
                s, t = lines[o, start_i : start_i + size], lines[o, start_i + step : start_i + step + size]
                start_i += 2 * step
                u, v = lines[o, start_i : start_i + size], lines[o, start_i + step : start_i + step + size]
                for c in range(size):
                    left = join(acc(term(s[c], p)), acc(term(t[c], p)))
                    right = join(acc(term(u[c], p)), acc(term(v[c], p)))
                    others[c] = join(totals[c], join(left, right))
                totals, others = others, totals
            for i in range(fours, whole, joined):
                source = lines[o, i * inner + at : i * inner + at + totals.size]
                for c in range(totals.size):
                    totals[c] = join(totals[c], acc(term(source[c], p)))
            for i in range(whole, stop):
                source = lines[o, i * inner + at : i * inner + at + width]
                for c in range(width):
                    totals[c] = join(totals[c], acc(term(source[c], p)))
            rest = totals.size
            while rest > width:
                rest //= 2
                more = totals[rest : 2 * rest]
                for c in range(rest):
                    totals[c] = join(totals[c], more[c])
            target = y[part, o, at : at + width]
            for c in range(width):
                target[c] = write(finish(totals[c], n_all, p))

    run.__qualname__ = f"reduce.{name}.{np.dtype(real)}.{first:d}{last:d}"
    return kernel(run)


def split(outer: int, n: int, inner: int) -> tuple[int, int]:
    """Parts of n, and how many rows of ``inner`` numbers are joined to one."""
    parts = max(1, min(PARTS, outer * n * inner // (outer * inner * RUN)))
    joined = 1 << max(1, LANES // inner).bit_length() - 1
    return parts, joined if n // parts >= 2 * joined else 1


def _step(name, real, x, first, last, count, param):
    """One step over the middle axis of ``x``: ``outer, n, inner`` -> ``outer, inner``."""
    outer, n, inner = x.shape
    kept, result = types(name, np.dtype(real))
    if result.kind == "b":
        result = np.dtype(np.uint8)
    parts, joined = split(outer, n, inner)
    final = last and parts == 1
    y = memory.empty((parts, outer, inner), result if final else kept)
    (lanes,) = per_thread((2 * min(CHUNK, inner) * joined, kept))
    _kernel(name, real, first, final)(x, count, param, lanes, joined, y)
    if parts == 1:
        return y[0]
    return _step(name, real, y.reshape(1, parts, -1), False, last, count, param).reshape(outer, inner)


def in_memory_order(x, axes):
    """``x`` dense, with its axes in memory order; that order; and the runs of neighbouring ``axes`` in it."""
    order = layout.memory_order(x)
    at = sorted(order.index(a) for a in axes)
    runs: list[list[int]] = []
    for a in at:
        if runs and runs[-1][1] == a:
            runs[-1][1] = a + 1
        else:
            runs.append([a, a + 1])
    return layout.dense(x.transpose(order)), order, runs


def reduce_fwd(name, x, axes, keepdims, param=None):
    if x.size < SMALL or not axes or x.dtype.char == "e":
        return reference.reduce_fwd(name, x, axes, keepdims, param)
    if name == "mean" and x.dtype.kind != "f":
        x = x.astype(np.float64)
    result = types(name, x.dtype)[1]
    values, order, runs = in_memory_order(x, axes)
    if values.dtype == bool:
        values = values.view(np.uint8)
    shape, real = list(values.shape), values.dtype.type
    count, param = prod(x.shape[a] for a in axes), 0.0 if param is None else float(param)
    for start, stop in reversed(runs):
        first, last = stop == runs[-1][1], start == runs[0][0]
        view = values.reshape(prod(shape[:start]), prod(shape[start:stop]), -1)
        values = _step(name, real, view, first, last, count, param)
        shape[start:stop] = [1] * (stop - start)
    y = values.reshape(shape).transpose(np.argsort(order))
    y = y.view(result) if y.dtype != result else y
    return y if keepdims else y.reshape([s for i, s in enumerate(x.shape) if i not in axes])


# --------------------------------------------------------------------------------------- positions of extrema
@functools.cache
def _argument_kernel(name, real):
    before = inline(BINARY_FORMULAS["gt" if name == "argmax" else "lt"])
    floats = np.dtype(real).kind == "f"
    extremum = _line_extremum("maximum" if name == "argmax" else "minimum")  # called for floats only

    def run(thread, threads, x, best, where, joined, y):
        # as in _kernel; lane c of the joined row i knows its best element and the i it came from
        outer, n, inner = x.shape
        parts, lines, chunks = y.shape[0], x.reshape(outer, n * inner), (inner + CHUNK - 1) // CHUNK
        first_job, end_job = split_range(thread, threads, parts * outer * chunks)
        for job in range(first_job, end_job):
            part, o, at, begin, stop = job_place(job, parts, outer, chunks, n)
            width = min(CHUNK, inner - at)
            if floats and inner == 1:
                line = lines[o, begin:stop]
                y[part, o, 0] = begin + first_place(line, extremum(line, best[thread]))
                continue
            values, rows = best[thread, : width * joined], where[thread, : width * joined]
            whole = stop - (stop - begin) % joined
            source = lines[o, begin * inner + at : begin * inner + at + values.size]
            for c in range(values.size):
                values[c], rows[c] = source[c], begin
            for i in range(begin + joined, whole, joined):
                source, row = lines[o, i * inner + at : i * inner + at + values.size], rows.dtype.type(i)
                for c in range(values.size):
                    v, b = source[c], values[c]
                    new = before(v, b) | ((v != v) & (b == b))
                    values[c] = v if new else b
                    rows[c] = row if new else rows[c]
            for i in range(max(whole, begin + 1), stop):
                for c in range(width):
                    v, b = lines[o, i * inner + at + c], values[c]
                    if before(v, b) | ((v != v) & (b == b)):
                        values[c], rows[c] = v, i
            for k in range(1, joined):
                for c in range(width):
                    v, b = values[k * width + c], values[c]
                    row = rows[k * width + c] + k
                    same = (v == b) | ((v != v) & (b != b))
                    if before(v, b) | ((v != v) & (b == b)) | (same & (row < rows[c])):
                        values[c], rows[c] = v, row
            for c in range(width):
                y[part, o, at + c] = rows[c]

    run.__qualname__ = f"{name}.{np.dtype(real)}"
    return kernel(run)


def _argument(name, x, axis, keepdims):
    if x.size < SMALL or x.dtype.char == "e" or x.size >= 1 << 31:
        return getattr(reference, name)(x, axis, keepdims)
    whole = layout.dense(x).reshape(-1) if axis is None else x
    order = layout.memory_order(whole)
    at = order.index(axis or 0)
    values = layout.dense(whole.transpose(order))
    values = values.view(np.uint8) if values.dtype == bool else values
    shape = list(values.shape)
    view = values.reshape(prod(shape[:at]), shape[at], -1)
    parts, joined = split(*view.shape)
    y = memory.empty((parts, view.shape[0], view.shape[2]), np.int64)
    lanes = min(CHUNK, view.shape[2]) * joined
    places = np.int32 if values.itemsize <= 4 else np.int64
    _argument_kernel(name, values.dtype.type)(
        view, *per_thread((lanes, values.dtype), (lanes, places)), joined, y
    )
    if parts > 1:  # the parts are in order, so the first of equal ones is the first of all
        found = np.take_along_axis(view, y.transpose(1, 0, 2), 1).transpose(1, 0, 2)
        y = np.take_along_axis(y, getattr(np, name)(found, 0, keepdims=True), 0)
    shape[at] = 1
    y = y[0].reshape(shape).transpose(np.argsort(order))
    kept = [1 if axis is None or i == axis else s for i, s in enumerate(x.shape)]
    return y.reshape(kept if keepdims else [s for i, s in enumerate(kept) if axis is not None and i != axis])


def argmax(x, axis, keepdims):
    return _argument("argmax", x, axis, keepdims)


def argmin(x, axis, keepdims):
    return _argument("argmin", x, axis, keepdims)


# ------------------------------------------------------------------------------------------------- moments
BLOCK = 256  # elements between two merges


@kernel
def _row_moments(thread, threads, x, totals):
    # x: rows, n -> totals (float64): parts of n, rows, (mean, squared deviations)
    rows, parts = x.shape[0], totals.shape[0]
    first, end = split_range(thread, threads, parts * rows)
    for job in range(first, end):
        part, r = job // rows, job % rows
        begin, stop = split_range(part, parts, x.shape[1])
        mean, deviations = 0.0, 0.0
        for start in range(begin, stop, BLOCK):
            line = x[r, start : min(start + BLOCK, stop)]
            total, shifted, squares = x.dtype.type(0), x.dtype.type(0), x.dtype.type(0)
            for i in range(line.size):
                total += line[i]
            origin = total / x.dtype.type(line.size)
            for i in range(line.size):
                d = line[i] - origin
                shifted += d
                squares += d * d
            count, before = np.float64(line.size), np.float64(start - begin)
            shift = np.float64(shifted) / count
            apart = np.float64(origin) + shift - mean
            mean += apart * (count / (before + count))
            deviations += np.float64(squares) - shift * shift * count
            deviations += apart * apart * (before * count / (before + count))
        totals[part, r, 0], totals[part, r, 1] = mean, deviations


def moments(x, axes):
    if x.size < SMALL or not axes:
        return reference.moments(x, axes)
    values, order, runs = in_memory_order(x, axes)
    if len(runs) > 1:  # once more, with the reduced axes last
        order = [*(i for i in range(x.ndim) if i not in axes), *axes]
        values, runs = layout.dense(x.transpose(order)), [[x.ndim - len(axes), x.ndim]]
    shape, (start, stop) = list(values.shape), runs[0]
    view = values.reshape(prod(shape[:start]), prod(shape[start:stop]), -1)
    outer, n, inner = view.shape
    if inner > 1:
        mean, variance = channel_moments(images(view.transpose(0, 2, 1)), inner)
    else:
        parts = split(outer, n, 1)[0]
        totals = memory.empty((parts, outer, 2), np.float64)
        _row_moments(view.reshape(outer, n), totals)
        counts = np.diff(np.arange(parts + 1) * n // parts)[:, None]
        means, deviations = totals[..., 0], totals[..., 1]
        with np.errstate(all="ignore"):
            mean = (means * counts).sum(axis=0) / n
            variance = (deviations + counts * (means - mean) ** 2).sum(axis=0) / n
    shape[start:stop] = [1] * (stop - start)
    back = np.argsort(order)
    return tuple(m.astype(x.dtype).reshape(shape).transpose(back) for m in (mean, variance))
