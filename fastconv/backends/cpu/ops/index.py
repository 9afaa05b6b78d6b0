"""Gathering along an axis, and writing back to the places that were read.

    x  as  outer, n, inner        index, value  as  outer, k, inner, or repeated along some of these

    gather    threads: equal shares of the pairs (outer, k);  for each: read ``inner`` elements of x
    scatter   threads: equal shares of the jobs (outer, part of inner, part of n)
                for each index in order: is it in this part of n? Then write ``inner`` elements of x

No two threads write to the same element, and the values for one element come in their order along the axis.
So the result does not depend on the number of threads. Parts of n, for each of which all indices are read,
are made only where ``outer`` and ``inner`` are too small to be divided among the threads.

Small arrays, bools and float16 go to NumPy, and so do writes to an array with gaps in its memory. Elements of
one size are moved by one kernel, as unsigned integers.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common.indices import around, check_in_range, repeated
from fastconv.backends.common.pointwise import BINARY_FORMULAS
from fastconv.backends.settings import get_num_threads

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import U, body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from . import borrowed as reference

SMALL = 1 << 12  # elements up to which NumPy is faster than a launch
ASIDE = 16  # elements of a row of values that no part takes; several, so that none waits for the one before
RUN = 16  # elements of ``inner`` that are worth a part of their own: a cache line of float32


@kernel
def _gather(thread, threads, x, index, steps, extents, y, wrong):
    # x, index, y: flat; extents: of y (outer, k, inner), and n; wrong: whether a thread met a wrong index
    _, count, inner, n = extents
    outer_step, k_step, inner_step = steps
    r, end = split_range(thread, threads, extents[0] * count)
    failed = 0
    while r < end:
        o, j = r // count, r % count
        stop = min(count, j + end - r)
        r += stop - j
        line = o * n * inner
        for k in range(j, stop):
            first, target = o * outer_step + k * k_step, (o * count + k) * inner
            if inner_step:
                for i in range(inner):
                    at = U(index[U(first + i)])
                    if at >= U(n):
                        failed = 1
                    else:
                        y[U(target + i)] = x[U(line + i) + at * U(inner)]
            else:
                at = U(index[U(first)])
                if at >= U(n):
                    failed = 1
                elif inner == 1:
                    y[U(target)] = x[U(line) + at]
                else:
                    begin = line + np.int64(at) * inner
                    source, row = x[begin : begin + inner], y[target : target + inner]
                    for i in range(inner):
                        row[i] = source[i]
    wrong[thread, 0] = failed


@functools.cache
def _scatter_kernel(name: str):
    join = body(inline=True)(BINARY_FORMULAS.get(name, lambda old, new: new))

    def run(thread, threads, x, index, value, steps, value_steps, extents, parts, aside, wrong):
        # x, index, value: flat; extents: outer, k, inner of what is written, and n; parts: of inner, of n;
        # aside: a row per thread, for values whose place is in another part
        outer, count, inner, n = extents
        outer_step, k_step, inner_step = steps
        size = x.itemsize
        outer_value, k_value, inner_value = value_steps
        first, end = split_range(thread, threads, outer * parts[0] * parts[1])
        failed = 0
        for job in range(first, end):
            o, rest = job // (parts[0] * parts[1]), job % (parts[0] * parts[1])
            i0, i1 = split_range(rest // parts[1], parts[0], inner)
            low, high = split_range(rest % parts[1], parts[1], n)
            line, extent = o * n * inner, U(high - low)
            if inner == 1:
                at, from_ = o * outer_step, o * outer_value
                begin, other = address(x) + line * size, address(aside[thread])
                for k in range(count):
                    # A choice of address: a branch would be guessed wrongly for every other index.
                    place = index[U(at)]
                    elsewhere = other + (k % ASIDE) * size
                    target = begin + place * size if U(place - low) < extent else elsewhere
                    one = emitter.view1d(target, 1, x)
                    one[0] = join(one[0], value[U(from_)])
                    failed |= U(place) >= U(n)
                    at += k_step
                    from_ += k_value
                continue
            for k in range(count):
                at, from_ = o * outer_step + k * k_step, o * outer_value + k * k_value
                if inner_step:
                    for i in range(i0, i1):
                        place = index[U(at + i)]
                        if U(place) >= U(n):
                            failed = 1
                        elif U(place - low) < extent:
                            target = U(line + place * inner + i)
                            x[target] = join(x[target], value[U(from_ + i * inner_value)])
                else:
                    place = index[U(at)]
                    if U(place) >= U(n):
                        failed = 1
                    elif U(place - low) < extent:
                        target = line + place * inner
                        if inner_value:
                            row, new = x[target + i0 : target + i1], value[from_ + i0 : from_ + i1]
                            for i in range(row.size):
                                row[i] = join(row[i], new[i])
                        else:
                            row, new = x[target + i0 : target + i1], value[U(from_)]
                            for i in range(row.size):
                                row[i] = join(row[i], new)
        wrong[thread, 0] = failed

    run.__qualname__ = f"scatter.{name}"
    return kernel(run)


def _bits(*arrays):
    """The arrays as unsigned integers of the same size, which are moved like any numbers."""
    return [a.view(f"u{a.itemsize}") for a in arrays]


def gather(x, index, axis):
    order = layout.memory_order(x)
    at, n = order.index(axis), x.shape[axis]
    shape = [index.shape[d] if d == axis else x.shape[d] for d in order]
    if prod(shape) <= SMALL:
        return reference.gather(x, index, axis)
    if n == 0:
        check_in_range(index, n, axis)
    y = memory.empty(shape, x.dtype)
    places, steps = repeated(index.transpose(order), shape, at, layout.dense, np.broadcast_to)
    source, target = _bits(layout.dense(x.transpose(order)).reshape(-1), y.reshape(-1))
    (wrong,) = per_thread((1, np.int64))
    _gather(source, places.reshape(-1), steps, (*around(shape, at), n), target, wrong)
    if wrong[:, 0].any():
        check_in_range(index, n, axis)
    return y.transpose(np.argsort(order))


def scatter(name, x, index, value, axis):
    order = layout.memory_order(x)
    at, n, threads = order.index(axis), x.shape[axis], get_num_threads()
    shape = [index.shape[d] if d == axis else x.shape[d] for d in order]
    in_order = x.transpose(order)
    if prod(shape) <= SMALL or x.size == 0 or x.dtype.char in "?e" or not in_order.flags.carray:
        return reference.scatter(name, x, index, value, axis)
    places, steps = repeated(index.transpose(order), shape, at, layout.dense, np.broadcast_to)
    value = value.reshape((1,) * (x.ndim - value.ndim) + value.shape).transpose(order)
    values, value_steps = repeated(value, shape, at, layout.dense, np.broadcast_to)
    outer, _, inner = extents = around(shape, at)
    if outer >= threads:
        parts = 1, 1
    elif inner >= RUN * threads:
        parts = threads, 1
    else:
        parts = 1, threads
    target, values = in_order.reshape(-1), values.reshape(-1)
    if name == "set":
        target, values = _bits(target, values)
    aside, wrong = per_thread((ASIDE, target.dtype), (1, np.int64))
    _scatter_kernel(name)(
        target, places.reshape(-1), values, steps, value_steps, (*extents, n), parts, aside, wrong
    )
    if wrong[:, 0].any():
        check_in_range(index, n, axis)
