"""Gathering along an axis, and writing back to the places that were read.

    x  as  outer, n, inner        index, value  as  outer, k, inner, or repeated along some of these

    gather    a thread per element of the result
    scatter   a thread per (outer, inner, part of n): it walks along the indices, and writes where one of them
              is in its part

No two threads write to the same element, and the values for one element come in their order along the axis,
so results repeat to the bit without atomic operations. Parts of n, for each of which all indices are read,
are made only where ``outer`` and ``inner`` are too few threads.

A wrong index is not used. The thread that meets one sets a flag, which the host reads; not while a step is
recorded, because nothing can be read then.
"""

from __future__ import annotations

import functools

from fastconv.backends.common.indices import around, check_in_range, repeated
from fastconv.backends.common.pointwise import BINARY_FORMULAS
from fastconv.backends.registry import recording

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.context import current
from ..runtime.launch import SIMULATED, body, cuda, grid, kernel, launch

THREADS_WANTED = 16 if SIMULATED else 1 << 14


@functools.cache
def _gather_kernel():
    @kernel
    def gather(x, index, steps, extents, y, wrong, size):
        count, inner, n = extents
        for e in range(cuda.grid(1), size, cuda.gridsize(1)):
            row = e // inner
            i = e - row * inner
            o = row // count
            at = index[o * steps[0] + (row - o * count) * steps[1] + i * steps[2]]
            if 0 <= at < n:
                y[e] = x[(o * n + at) * inner + i]
            else:
                wrong[0] = 1

    return gather


@functools.cache
def _scatter_kernel(name):
    join = body(BINARY_FORMULAS.get(name, lambda old, new: new))

    def scatter(x, index, value, steps, value_steps, extents, parts, wrong, jobs):
        count, inner, n = extents
        for job in range(cuda.grid(1), jobs, cuda.gridsize(1)):
            line = job // parts
            part = job - line * parts
            o = line // inner
            i = line - o * inner
            low, high = part * n // parts, (part + 1) * n // parts
            for k in range(count):
                at = index[o * steps[0] + k * steps[1] + i * steps[2]]
                if low <= at < high:
                    place = (o * n + at) * inner + i
                    new = value[o * value_steps[0] + k * value_steps[1] + i * value_steps[2]]
                    x[place] = join(x[place], new)
                elif at < 0 or at >= n:
                    wrong[0] = 1

    scatter.__name__ = f"scatter_{name}"
    return kernel(scatter)


def _in_order(x, index, axis):
    """The order of x's axes in memory, ``axis`` in it, and the extents of what is read in it."""
    order = layout.memory_order(x)
    shape = [index.shape[d] if d == axis else x.shape[d] for d in order]
    return order, order.index(axis), shape


def _check(wrong, index, n, axis):
    if current().graph is None and not recording.get() and memory.download(wrong)[0]:
        check_in_range(memory.download(layout.dense(index)), n, axis)


def gather(x: DeviceArray, index: DeviceArray, axis: int) -> DeviceArray:
    """Along ``axis`` the elements that ``index`` says."""
    order, at, shape = _in_order(x, index, axis)
    y, wrong = memory.empty(shape, x.dtype), layout.filled((1,), "int32", 0)
    if y.size:
        places, steps = repeated(index.transpose(*order), shape, at, layout.dense, layout.broadcast)
        source, n = layout.dense(x.transpose(*order)), x.shape[axis]
        extents = (*around(shape, at)[1:], n)
        launch(_gather_kernel(), *grid(y.size), source, places, steps, extents, y, wrong, y.size)
        _check(wrong, index, n, axis)
    return y.transpose(*(order.index(d) for d in range(x.ndim)))


def scatter(name: str, x: DeviceArray, index: DeviceArray, value: DeviceArray, axis: int) -> None:
    """Write to the elements that :func:`gather` reads."""
    order, at, shape = _in_order(x, index, axis)
    target = layout.dense(x.transpose(*order))
    if not index.size or not x.size:
        return
    places, steps = repeated(index.transpose(*order), shape, at, layout.dense, layout.broadcast)
    value = layout.broadcast(value, [index.shape[d] if d == axis else x.shape[d] for d in range(x.ndim)])
    values = layout.dense(value.transpose(*order))
    outer, count, inner = around(shape, at)
    n, wrong = x.shape[axis], layout.filled((1,), "int32", 0)
    parts = max(1, min(n, THREADS_WANTED // (outer * inner)))
    jobs = outer * inner * parts
    value_steps = (count * inner, inner, 1)
    if x.dtype == bool:  # a kernel sees bytes
        name = {"add": "maximum", "mul": "minimum"}.get(name, name)
    x.base.known.clear()
    launch(
        _scatter_kernel(name), *grid(jobs), target, places, values, steps, value_steps, (count, inner, n),
        parts, wrong, jobs,
    )  # fmt: skip
    _check(wrong, index, n, axis)
    if target.base is not x.base:
        layout.copy_to(target.transpose(*(order.index(d) for d in range(x.ndim))), x)
