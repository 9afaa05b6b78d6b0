"""Running sums, products and extrema along an axis.

x as  outer, n, inner          the axes before, at and after the one that is walked, in memory order

threads: equal shares of the jobs (one of outer, at most CHUNK of inner)
  for each row of inner numbers, in the order of the walk:   carry = step(carry, row);  y = carry
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from . import borrowed as reference
from .reduce import CHUNK, SMALL, in_memory_order

inline = body(inline=True)


@body
def _log_add(a, b):
    """``log(exp(a) + exp(b))``."""
    if a == b:  # infinities of one sign too
        return a + np.log(2.0)
    larger, smaller = (a, b) if a > b else (b, a)
    return larger + np.log1p(np.exp(smaller - larger))


#: What a scan does with the carry, the next element and its factor.
_STEPS = {
    "cumsum": inline(lambda carry, x, f: carry + x),
    "cumprod": inline(lambda carry, x, f: carry * x),
    "logcumsumexp": inline(lambda carry, x, f: _log_add(carry, x)),
    "recurrence": inline(lambda carry, x, f: f * carry + x),
}


@functools.cache
def _scan_kernel(name, real):
    step, acc = _STEPS[name], np.float64 if np.dtype(real).kind == "f" else np.int64

    def run(thread, threads, x, factor, reverse, carries, y):
        outer, n, inner = x.shape
        chunks = (inner + CHUNK - 1) // CHUNK
        first, end = split_range(thread, threads, outer * chunks)
        for job in range(first, end):
            o, at = job // chunks, job % chunks * CHUNK
            start, by = (n - 1, -1) if reverse else (0, 1)
            if inner == 1:
                value = acc(x[o, start, 0])
                y[o, start, 0] = value
                for k in range(1, n):
                    i = start + k * by
                    value = step(value, acc(x[o, i, 0]), factor[o, i, 0])
                    y[o, i, 0] = value
                continue
            carry = carries[thread, : min(CHUNK, inner - at)]
            for k in range(n):
                i = start + k * by
                row, times = x[o, i, at : at + carry.size], factor[o, i, at : at + carry.size]
                target = y[o, i, at : at + carry.size]
                if k == 0:
                    for c in range(carry.size):
                        carry[c] = row[c]
                else:
                    for c in range(carry.size):
                        carry[c] = step(carry[c], acc(row[c]), times[c])
                for c in range(carry.size):
                    target[c] = carry[c]

    run.__qualname__ = f"scan.{name}.{np.dtype(real)}"
    return kernel(run)


def _middle(x, axis):
    """``x`` as ``outer, n, inner`` around ``axis``; and the shape of that memory with the way back."""
    values, order, ((at, _),) = in_memory_order(x, (axis,))
    shape = values.shape
    return values.reshape(prod(shape[:at]), shape[at], -1), shape, np.argsort(order), order


def scan(name, x, axis, reverse=False, factor=None):
    if x.size < SMALL or x.dtype.char == "e":
        return reference.scan(name, x, axis, reverse, factor)
    view, shape, back, order = _middle(x, axis)
    if factor is None:
        times = view
    else:
        name, times = "recurrence", layout.dense(factor.transpose(order)).reshape(view.shape)
    wide = np.float64 if x.dtype.kind == "f" else np.int64
    y = memory.empty(view.shape, x.dtype if x.dtype.kind == "f" else wide)
    (carries,) = per_thread((min(CHUNK, view.shape[2]), wide))
    _scan_kernel(name, x.dtype.type)(view, times, reverse, carries, y)
    return y.reshape(shape).transpose(back)


@functools.cache
def _extremum_kernel(name, real):
    reaches = inline((lambda a, b: a >= b) if name == "cummax" else (lambda a, b: a <= b))

    def run(thread, threads, x, y, index):
        outer, n, inner = x.shape
        chunks = (inner + CHUNK - 1) // CHUNK
        first, end = split_range(thread, threads, outer * chunks)
        for job in range(first, end):
            o, at = job // chunks, job % chunks * CHUNK
            width = min(CHUNK, inner - at)
            for c in range(at, at + width):  # NumPy's way to copy a run allocates
                y[o, 0, c], index[o, 0, c] = x[o, 0, c], 0
            for i in range(1, n):  # the row before holds the extrema so far
                row, best, where = (
                    x[o, i, at : at + width],
                    y[o, i - 1, at : at + width],
                    index[o, i - 1, at : at + width],
                )
                target, place = y[o, i, at : at + width], index[o, i, at : at + width]
                for c in range(width):
                    v = row[c]
                    new = reaches(v, best[c]) | (v != v)
                    target[c] = v if new else best[c]
                    place[c] = i if new else where[c]

    run.__qualname__ = f"{name}.{np.dtype(real)}"
    return kernel(run)


def extremum_scan(name, x, axis):
    if x.size < SMALL or x.dtype.char == "e":
        return reference.extremum_scan(name, x, axis)
    view, shape, back, _ = _middle(x, axis)
    view = view.view(np.uint8) if view.dtype == bool else view
    y, index = memory.empty(view.shape, view.dtype), memory.empty(view.shape, np.int64)
    _extremum_kernel(name, view.dtype.type)(view, y, index)
    return tuple(a.reshape(shape).transpose(back) for a in (y.view(x.dtype), index))
