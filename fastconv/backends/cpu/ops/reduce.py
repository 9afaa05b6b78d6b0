"""Sums and means over neighbouring axes; other reductions, and small arrays, are NumPy's work.

    x as  outer, n, inner          the axes before, in and after the reduced ones, in memory order

    threads: equal shares of the jobs (one part of n, one of outer)
      inner = 1:   RUN elements at a time into one number of the array's dtype, these into a float64
      else:        each element of a row into a float64 of its own

NumPy adds up the parts.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory
from . import borrowed as reference
from .pointwise import is_large_float

RUN = 256  # elements that are added up in the array's dtype
PARTS = 64  # parts of n at most


@kernel
def _sums(threads, x, totals):
    # x: outer, n, inner -> totals (float64): parts of n, outer, inner
    outer, n, inner = x.shape
    parts, lines = totals.shape[0], x.reshape(outer, n * inner)
    for thread in prange(threads):
        first, end = split_range(thread, threads, parts * outer)
        for job in range(first, end):
            part, o = job // outer, job % outer
            start, stop = split_range(part, parts, n)
            total = totals[part, o]
            total[:] = 0
            if inner == 1:
                for i in range(start, stop, RUN):
                    line, partial = lines[o, i : min(i + RUN, stop)], x.dtype.type(0)
                    for j in range(line.size):
                        partial += line[j]
                    total[0] += partial
            else:
                for i in range(start, stop):
                    row = x[o, i]
                    for c in range(inner):
                        total[c] += row[c]


def reduce_fwd(name, x, axes, keepdims):
    axes = tuple(sorted(a % x.ndim for a in axes)) if x.ndim else ()
    order = layout.memory_order(x)
    at = sorted(order.index(a) for a in axes)
    adjacent = bool(at) and at == list(range(at[0], at[0] + len(at)))
    if name not in ("sum", "mean") or not is_large_float(x) or not adjacent:
        return reference.reduce_fwd(name, x, axes, keepdims)
    dense = layout.dense(x.transpose(order))
    shape = dense.shape
    view = dense.reshape(prod(shape[: at[0]]), -1, prod(shape[at[-1] + 1 :]))
    parts = max(1, min(PARTS, view.size // (view.shape[0] * view.shape[2] * RUN)))
    totals = memory.empty((parts, view.shape[0], view.shape[2]), np.float64)
    _sums(view, totals)
    with np.errstate(invalid="ignore"):
        result = totals.sum(axis=0) / (view.shape[1] if name == "mean" else 1)
    kept = [1 if i in at else s for i, s in enumerate(shape)]
    result = result.astype(x.dtype).reshape(kept).transpose(np.argsort(order))
    return result if keepdims else result.reshape([s for i, s in enumerate(x.shape) if i not in axes])


argmax, argmin = reference.argmax, reference.argmin
