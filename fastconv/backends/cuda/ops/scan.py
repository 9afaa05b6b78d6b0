"""Running sums, products and extrema along an axis: a thread per line.

    x as  outer, n, inner          a thread takes one (outer, inner) and walks along n

Neighbouring threads read neighbouring elements where the axis is not the last one in memory.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body, cuda, grid, kernel, launch, math
from .pointwise import cast, half_as_float


@body
def _log_add(a, b):
    if a == b:  # infinities of one sign too
        return a + math.log(2.0)
    larger, smaller = (a, b) if a > b else (b, a)
    return larger + math.log1p(math.exp(smaller - larger))


_STEPS = {
    "cumsum": lambda carry, x, f: carry + x,
    "cumprod": lambda carry, x, f: carry * x,
    "logcumsumexp": lambda carry, x, f: _log_add(carry, x),
    "recurrence": lambda carry, x, f: f * carry + x,
}


@functools.cache
def _scan_kernel(name, acc, real):
    step = body(_STEPS[name])

    def scan_lines(x, factor, y, n, inner, lines, reverse):
        for line in range(cuda.grid(1), lines, cuda.gridsize(1)):
            outer = line // inner
            at, by = outer * n * inner + line - outer * inner, inner
            if reverse:
                at, by = at + (n - 1) * inner, -inner
            carry = acc(x[at])
            y[at] = real(carry)
            for _ in range(1, n):
                at += by
                carry = step(carry, acc(x[at]), acc(factor[at]))
                y[at] = real(carry)

    scan_lines.__name__ = name
    return kernel(scan_lines)


def _middle(x, axis):
    """``x`` dense in its memory order; the shape around ``axis`` in it; and the way back."""
    order = layout.memory_order(x)
    at = order.index(axis)
    shape = [x.shape[i] for i in order]
    back = sorted(range(x.ndim), key=order.__getitem__)
    return (
        layout.dense(x.transpose(*order)),
        (prod(shape[:at]), shape[at], prod(shape[at + 1 :])),
        order,
        back,
    )


@half_as_float
def scan(
    name: str, x: DeviceArray, axis: int, reverse: bool = False, factor: DeviceArray | None = None
) -> DeviceArray:
    """Running sums, products or logarithms of sums of exponentials."""
    floating = x.dtype.kind == "f"
    x = x if floating else cast(x, np.int64)
    acc = np.float64 if floating else np.int64
    source, (outer, n, inner), order, back = _middle(x, axis)
    times = source
    if factor is not None:
        name, times = "recurrence", layout.dense(factor.transpose(*order))
    y = memory.empty(source.shape, x.dtype)
    if y.size:
        kernel = _scan_kernel(name, acc, x.dtype.type)
        launch(kernel, *grid(outer * inner), source, times, y, n, inner, outer * inner, bool(reverse))
    return y.transpose(*back)


@functools.cache
def _extremum_kernel(name):
    reaches = body((lambda a, b: a >= b) if name == "cummax" else (lambda a, b: a <= b))

    def extremum_lines(x, y, index, n, inner, lines):
        for line in range(cuda.grid(1), lines, cuda.gridsize(1)):
            outer = line // inner
            at = outer * n * inner + line - outer * inner
            best, where = x[at], 0
            for i in range(n):
                value = x[at]
                if reaches(value, best) or value != value:
                    best, where = value, i
                y[at] = best
                index[at] = where
                at += inner

    extremum_lines.__name__ = name
    return kernel(extremum_lines)


def extremum_scan(name: str, x: DeviceArray, axis: int) -> tuple[DeviceArray, DeviceArray]:
    """Running maxima or minima; of equal elements the last counts."""
    if x.dtype.char == "e":
        values, index = extremum_scan(name, cast(x, np.float32), axis)
        return cast(values, np.float16), index
    source, (outer, n, inner), _, back = _middle(x, axis)
    y, index = memory.empty(source.shape, x.dtype), memory.empty(source.shape, np.int64)
    if y.size:
        launch(_extremum_kernel(name), *grid(outer * inner), source, y, index, n, inner, outer * inner)
    return y.transpose(*back), index.transpose(*back)
