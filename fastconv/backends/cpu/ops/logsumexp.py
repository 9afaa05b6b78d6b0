"""Logarithms of sums of exponentials over axes, in one pass over memory.

    x as  outer, n, inner          the axes before, in and after the reduced ones, in memory order

    threads: equal shares of the jobs (a part of n, one of outer, at most CHUNK of inner)
      for each block of BLOCK rows of inner numbers:
        the maxima so far;  sums = sums * exp(old maximum - new) + sum of exp(row - new maximum)

    Rows of few numbers are joined to rows of about LANES. A row of a short n is computed at once.

Milakov, Gimelshein: Online normalizer calculation for softmax, 2018.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..codegen import vector_math
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from . import borrowed as reference
from .reduce import CHUNK, LANES, SMALL, in_memory_order, job_place, split
from .softmax_loss import exponentials

BLOCK = 8


@body(inline=True)
def _shift(largest, zero):
    """What is subtracted before exp: the maximum, or 0 where it is infinite."""
    return largest if abs(largest) < np.inf else zero


@body
def _rescale(totals, largest, peaks):
    """Sums about the maxima ``largest`` become those about ``peaks``."""
    zero = largest.dtype.type(0)
    for c in range(totals.size):
        factor = vector_math.exp(_shift(largest[c], zero) - _shift(peaks[c], zero))
        totals[c] = totals[c] * factor if totals[c] != 0 else 0.0
        largest[c] = peaks[c]


@body
def _add_rows(line, begin, stop, step, largest, totals, peaks):
    """Add the rows that start at ``begin``, ``begin + step``, ... of ``line``."""
    zero, size = line.dtype.type(0), totals.size
    for c in range(size):
        peaks[c] = largest[c]
    for at in range(begin, stop, step):
        row = line[at : at + size]
        for c in range(size):
            peaks[c] = row[c] if row[c] > peaks[c] else peaks[c]
    _rescale(totals, largest, peaks)
    for at in range(begin, stop, step):
        row = line[at : at + size]
        for c in range(size):
            totals[c] += vector_math.exp(row[c] - _shift(largest[c], zero))


@kernel
def _logsumexp(thread, threads, x, maxima, sums, scratch, joined, y):
    # x: outer, n, inner -> y: parts of n, outer, inner
    outer, n, inner = x.shape
    parts, lines, chunks = y.shape[0], x.reshape(outer, n * inner), (inner + CHUNK - 1) // CHUNK
    zero = x.dtype.type(0)
    first, end = split_range(thread, threads, parts * outer * chunks)
    for job in range(first, end):
        part, o, at, begin, stop = job_place(job, parts, outer, chunks, n)
        width, line = min(CHUNK, inner - at), lines[o]
        size = width * joined
        if size == 1 and stop - begin <= 2 * LANES:
            total, top = exponentials(line[begin:stop], scratch[thread])
            if abs(top) < np.inf and abs(total) < np.inf:
                y[part, o, at] = np.log(np.float64(total)) + top
                continue
        largest, totals, peaks = maxima[thread, :size], sums[thread, :size], scratch[thread, :size]
        largest[:] = -np.inf
        totals[:] = 0
        whole = stop - (stop - begin) % joined
        for i in range(begin, whole, joined * BLOCK):
            until = min(i + joined * BLOCK, whole)
            _add_rows(line, i * inner + at, until * inner, joined * inner, largest, totals, peaks)
        if whole < stop:
            parts_of = largest[:width], totals[:width], peaks[:width]
            _add_rows(line, whole * inner + at, stop * inner, inner, *parts_of)
        for c in range(width):
            top = largest[c]
            for k in range(c, size, width):
                top = largest[k] if largest[k] > top else top
            for k in range(c, size, width):
                peaks[k] = top
        if joined > 1:
            _rescale(totals, largest, peaks)
        for c in range(width):
            total = 0.0
            for k in range(c, size, width):
                total += totals[k]
            y[part, o, at + c] = np.log(total) + _shift(largest[c], zero)


def logsumexp(x, axes, keepdims):
    if x.size < SMALL or not axes:
        return reference.logsumexp(x, axes, keepdims)
    values, order, runs = in_memory_order(x, axes)
    shape = list(values.shape)
    for start, stop in reversed(runs):  # the logarithm of a sum of such sums is the same again
        view = values.reshape(prod(shape[:start]), prod(shape[start:stop]), -1)
        outer, n, inner = view.shape
        parts, joined = split(outer, n, inner)
        values = memory.empty((parts, outer, inner), np.float64 if parts > 1 else x.dtype)
        size = min(CHUNK, inner) * joined
        sizes = (size, x.dtype), (size, np.float64), (max(size, 2 * LANES), x.dtype)
        _logsumexp(layout.dense(view), *per_thread(*sizes), joined, values)
        if parts > 1:
            values = reference.logsumexp(values, (0,), False).astype(x.dtype)
        shape[start:stop] = [1] * (stop - start)
    y = values.reshape(shape).transpose(np.argsort(order))
    return y if keepdims else y.reshape([s for i, s in enumerate(x.shape) if i not in axes])
