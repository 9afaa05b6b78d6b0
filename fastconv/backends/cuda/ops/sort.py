"""Sorting along an axis: all rows at once, by merging sorted runs of twice the length in each launch.

    a thread per element:  its place in the merged run is its place in its own run, and the number of elements
                           of the neighbouring run before it, found by bisection

    run of 4:  1 3 5 7 | 2 3 6 8        3 of the left run: 1 + (1 element below 3)    = place 2
                                        3 of the right run: 1 + (2 elements up to 3)  = place 3

An element of the left run goes before equal ones of the right run, so the sort is stable. It needs no shared
memory and no barriers, and log2(n) launches. NaN comes after every number.
"""

from __future__ import annotations

import functools

import numpy as np

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, grid, kernel, launch
from .pointwise import cast


@functools.cache
def _before(descending):
    """Whether ``a`` comes strictly before ``b``."""
    if descending:
        return body(lambda a, b: a > b or (a != a and b == b))
    return body(lambda a, b: a < b or (b != b and a == a))


@functools.cache
def _merge_kernel(descending):
    before = _before(descending)

    def merge(x, source, target, n, run, size):
        # source, target: positions in the row; element i of the row stands at source[i]
        for e in range(cuda.grid(1), size, cuda.gridsize(1)):
            row = e // n
            start = row * n
            i = e - start
            pair = i // (2 * run) * 2 * run
            middle, end = min(pair + run, n), min(pair + 2 * run, n)
            left = i < middle
            low, high = (middle, end) if left else (pair, middle)
            first = low
            mine = x[start + source[e]]
            while low < high:
                half = (low + high) // 2
                other = x[start + source[start + half]]
                # of the right run what is before this element, of the left run also what equals it
                if (left and before(other, mine)) or (not left and not before(mine, other)):
                    low = half + 1
                else:
                    high = half
            own = i - pair if left else i - middle
            target[start + pair + own + low - first] = source[e]

    merge.__name__ = "merge_descending" if descending else "merge"
    return kernel(merge)


@functools.cache
def _number_kernel():
    @kernel
    def number(y, n, size):
        for e in range(cuda.grid(1), size, cuda.gridsize(1)):
            y[e] = e - e // n * n

    return number


@functools.cache
def _pick_kernel():
    @kernel
    def pick(x, places, wanted, values, index, n, k, size):
        # element wanted[e], or e % k, of the sorted row e // k
        for e in range(cuda.grid(1), size, cuda.gridsize(1)):
            row = e // k
            at = wanted[e] - 1 if k == 1 else e - row * k
            place = places[row * n + at]
            values[e] = x[row * n + place]
            index[e] = place

    return pick


def _selected(x, axis, descending, k, wanted=None):
    """The first ``k`` of the sorted elements, or of each row that whose number ``wanted`` says, from 1."""
    axes = [i for i in range(x.ndim) if i != axis] + [axis]
    rows, n = layout.dense(x.transpose(*axes)), x.shape[axis]
    shape = (*rows.shape[:-1], k)
    values, index = memory.empty(shape, x.dtype), memory.empty(shape, np.int64)
    if values.size:
        places, other = memory.empty(rows.shape, np.int64), memory.empty(rows.shape, np.int64)
        launch(_number_kernel(), *grid(rows.size), places, n, rows.size)
        run = 1
        while run < n:
            launch(_merge_kernel(descending), *grid(rows.size), rows, places, other, n, run, rows.size)
            places, other, run = other, places, 2 * run
        if wanted is None:
            wanted = layout.filled(shape, np.int64, 1)
        launch(_pick_kernel(), *grid(values.size), rows, places, wanted, values, index, n, k, values.size)
    back = sorted(range(x.ndim), key=axes.__getitem__)
    return values.transpose(*back), index.transpose(*back)


def _half(op):
    """float16 is sorted in float32."""

    @functools.wraps(op)
    def run(x, *args):
        if x.dtype.char != "e":
            return op(x, *args)
        values, index = op(cast(x, np.float32), *args)
        return cast(values, np.float16), index

    return run


@_half
def sort(x: DeviceArray, axis: int, descending: bool) -> tuple[DeviceArray, DeviceArray]:
    """A stable sort, and where each element came from."""
    return _selected(x, axis, descending, x.shape[axis])


@_half
def topk(x: DeviceArray, k: int, axis: int, largest: bool) -> tuple[DeviceArray, DeviceArray]:
    """The first ``k`` of the sorted elements."""
    return _selected(x, axis, largest, k)


@_half
def kthvalue(x: DeviceArray, k: DeviceArray, axis: int) -> tuple[DeviceArray, DeviceArray]:
    """The element at position ``k - 1`` of the sorted ones."""
    axes = [i for i in range(x.ndim) if i != axis] + [axis]
    return _selected(x, axis, False, 1, layout.dense(k.transpose(*axes)))
