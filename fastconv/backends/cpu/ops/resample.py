"""Padding and resizing: short weighted sums along up to three axes, in one pass over memory.

Both are sparse matrices, one per axis (``backends/common/resample.py``), and their gradients the transposed
matrices. One kernel serves them all. An array is seen as ``outer, depth, height, width, inner``::

    threads: equal shares of the runs (outer, depth, height, run of a row)
      a run whose rows are those of the run before it: copy that
      line = sum over the entries (d, h):  weight * row         (a single row of weight 1 is read where it is)
      for each w:  y[w] = sum over the entries of w:  weight * line[item]
      (fill, where a matrix has an empty row)

The line stays in the cache of its processor.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.common import resample
from fastconv.backends.settings import get_num_threads

from ..codegen.emitter import address, view1d
from ..codegen.jit import U, body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

LINE = 1 << 16  # elements of a row that one thread computes at a time
FEW = 8  # inner elements from which a loop over them is worth its start


@body(inline=True)
def add_one(out, a, weight, fresh):
    """Add ``weight * a`` to ``out``; ``fresh``: write it."""
    if fresh:
        for e in range(out.size):
            out[e] = a[e] * weight
    else:
        for e in range(out.size):
            out[e] += a[e] * weight


@body(inline=True)
def add_two(out, a, weight, b, other, fresh):
    """Add ``weight * a + other * b`` to ``out``; ``fresh``: write it."""
    if fresh:
        for e in range(out.size):
            out[e] = a[e] * weight + b[e] * other
    else:
        for e in range(out.size):
            out[e] += a[e] * weight + b[e] * other


@body
def add_entries(out, source, step, items, weights, first, end, scale, fresh):
    """Add entries ``first`` to ``end``, times ``scale``, to ``out``: item ``i`` is at address ``source + i *
    step``."""
    e = first
    while e + 1 < end:
        a, b = (
            view1d(source + items[e] * step, out.size, out),
            view1d(source + items[e + 1] * step, out.size, out),
        )
        add_two(out, a, weights[e] * scale, b, weights[e + 1] * scale, fresh and e == first)
        e += 2
    if e < end:
        a = view1d(source + items[e] * step, out.size, out)
        add_one(out, a, weights[e] * scale, fresh and e == first)


@body
def sum_pixels(out, source, starts, items, weights, q0, fill, inner):
    """Write columns from ``q0`` on to ``out``; column ``i`` of the line is ``inner`` elements at address
    ``source + i * inner * itemsize``."""
    size = out.itemsize
    for q in range(out.size // inner):
        first, end = starts[q0 + q], starts[q0 + q + 1]
        if inner < FEW:
            line = view1d(source, items.size, out)  # its extent is not looked at
            if end - first == 2:  # linear
                a, weight = items[U(first)] * inner, weights[U(first)]
                b, other = items[U(first + 1)] * inner, weights[U(first + 1)]
                for c in range(inner):
                    out[U(q * inner + c)] = line[U(a + c)] * weight + line[U(b + c)] * other
                continue
            for c in range(inner):
                total = line[U(items[U(first)] * inner + c)] * weights[U(first)] if first < end else fill
                for e in range(first + 1, end):
                    total += line[U(items[U(e)] * inner + c)] * weights[U(e)]
                out[U(q * inner + c)] = total
        else:
            pixel = view1d(address(out) + q * inner * size, inner, out)
            if first == end:
                pixel[:] = fill
            else:
                one = weights.dtype.type(1)
                add_entries(pixel, source, inner * size, items, weights, first, end, one, True)


@kernel
def _resample(thread, threads, x, starts, items, weights, repeats, fill, run, bounds, y, lines):
    # repeats: per row of y, whether its entries are those of the row before it
    # bounds: per run of columns the first column of x that it reads, and the one after the last
    outer, depth, height, width, inner = x.shape
    _, od, oh, ow, _ = y.shape
    size, rows, one = x.itemsize, outer * od * oh, weights[0].dtype.type(1)
    begin, end = split_range(thread, threads, (ow + run - 1) // run * rows)
    line = lines[thread]
    for job in range(begin, end):
        r, part = job % rows, job // rows
        n, i, j = r // oh // od, r // oh % od, r % oh
        q0 = part * run
        count = (min(q0 + run, ow) - q0) * inner
        target = address(y) + (r * ow + q0) * inner * size
        out = view1d(target, count, y)
        d0, d1, h0, h1 = starts[0][i], starts[0][i + 1], starts[1][j], starts[1][j + 1]
        lo, hi = bounds[0][part], bounds[1][part]
        if d0 == d1 or h0 == h1 or lo == hi:
            out[:] = fill
        elif job > begin and repeats[j]:
            add_one(out, view1d(target - ow * inner * size, count, y), one, True)
        else:
            pixels, step = (hi - lo) * inner, width * inner * size
            source = address(x) + lo * inner * size
            first = source + ((n * depth + items[0][d0]) * height + items[1][h0]) * step
            if d1 - d0 > 1 or h1 - h0 > 1 or weights[0][d0] * weights[1][h0] != one:
                total = view1d(address(line), pixels, line)
                for d in range(d0, d1):
                    plane = source + (n * depth + items[0][d]) * height * step
                    add_entries(total, plane, step, items[1], weights[1], h0, h1, weights[0][d], d == d0)
                first = address(line)
            sum_pixels(out, first - lo * inner * size, starts[2], items[2], weights[2], q0, fill, inner)


def _repeats(rows: resample.Rows) -> np.ndarray:
    """Per row of a matrix, whether it is the row before it; False where rows have several entries."""
    counts = np.diff(rows.starts)
    if counts.max(initial=0) > 1:
        return np.zeros(len(rows), np.bool_)
    entry = np.where(counts > 0, rows.starts[:-1], -1)  # the last one stands for an empty row
    item, weight = np.append(rows.items, -1)[entry], np.append(rows.weights, 0.0)[entry]
    return np.append(False, (item[1:] == item[:-1]) & (weight[1:] == weight[:-1]))


def _bounds(rows: resample.Rows, run: int) -> tuple[np.ndarray, np.ndarray]:
    """For each ``run`` rows of a matrix the first item, and the one after the last."""
    firsts = range(0, len(rows), run)
    parts = [rows.items[rows.starts[q] : rows.starts[min(q + run, len(rows))]] for q in firsts]
    return np.array([p.min() if p.size else 0 for p in parts]), np.array(
        [p.max() + 1 if p.size else 0 for p in parts]
    )


def _identity(size: int) -> resample.Rows:
    return resample.Rows(np.arange(size + 1), np.arange(size), np.ones(size))


def _along_three(x: np.ndarray, first: int, matrices: list[resample.Rows], fill: float) -> np.ndarray:
    """Apply matrices to the axes of the C-contiguous ``x`` from ``first`` on, at most three."""
    behind = first + len(matrices)
    outer, inner = prod(x.shape[:first]), prod(x.shape[behind:])
    y = memory.empty((*x.shape[:first], *map(len, matrices), *x.shape[behind:]), x.dtype)
    if not y.size:
        return y
    if not x.size:
        y.fill(fill)
        return y
    sizes = (1,) * (3 - len(matrices)) + x.shape[first:behind]
    matrices = [_identity(1)] * (3 - len(matrices)) + matrices
    columns, (od, oh, ow) = matrices[2], map(len, matrices)
    # runs of a row are short enough to stay in the cache, and there are enough of them for the threads
    parts = max(max(sizes[2], ow) * inner // LINE, -(-2 * get_num_threads() // (outer * od * oh)), 1)
    run = -(-ow // parts)
    bounds = _bounds(columns, run)
    _resample(
        x.reshape(outer, *sizes, inner),
        tuple([m.starts for m in matrices]),
        tuple([m.items for m in matrices]),
        tuple([m.weights.astype(x.dtype) for m in matrices]),
        _repeats(matrices[1]),
        x.dtype.type(fill),
        run,
        bounds,
        y.reshape(outer, od, oh, ow, inner),
        *per_thread((int((bounds[1] - bounds[0]).max()) * inner, x.dtype)),
    )
    return y


def apply(x: np.ndarray, matrices: dict[int, resample.Rows], fill: float = 0.0) -> np.ndarray:
    """Apply sparse matrices, by axis; the result has the memory order of ``x``."""
    if x.dtype.char == "e":  # Numba has no float16 on the CPU
        return apply(x.astype(np.float32), matrices, fill).astype(x.dtype)
    order = layout.memory_order(x)
    y = layout.dense(x.transpose(order))
    at = {order.index(axis): rows for axis, rows in matrices.items()}
    while at:
        first = min(at)
        axes = range(first, min(first + 2, max(at)) + 1)
        y = _along_three(y, first, [at.pop(a) if a in at else _identity(y.shape[a]) for a in axes], fill)
    return y.transpose(np.argsort(order))


pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd = resample.ops(apply, layout.copy)
