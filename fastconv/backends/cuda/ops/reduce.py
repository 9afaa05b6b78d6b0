"""Sums, means, extrema and their positions: a row, or a piece of it, per team of threads.

::

    x: rows x n, contiguous            a block of 256 threads:  team 0 | team 1 | ...      (8 threads each
       team t takes row t: its lanes   lane 0 1 2 .. 7, then again from 0                  for short rows)
       add up every 8th element, then a tree over the lanes (``block_reduce.py``) gives one number

Few long rows are cut into pieces, whose results are reduced by the same kernel again. The order of additions
depends on the shape alone, so results repeat to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

import numpy as np

from fastconv.backends.common.pointwise import BINARY_FORMULAS

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch
from .block_reduce import team_reducer, teams
from .channel_reduce import channel_mean
from .pointwise import cast, half_as_float

LONG = 16 if SIMULATED else 4096  # elements of a piece
PIECES = 64 if SIMULATED else 1024  # at most, over all rows


def accumulator(dtype: np.dtype) -> type:
    """The type that sums are kept in: float64, or int64."""
    return np.float64 if dtype.kind == "f" else np.int64


# ---------------------------------------------------------------------------------------- sums and extrema
@functools.cache
def _rows_kernel(name, result, acc):
    op = body(BINARY_FORMULAS[name])
    reduce_team = team_reducer(name)
    total = name == "add"
    zero = acc(0)

    def reduce_rows(x, y, n, piece, pieces, jobs, team, divisor):
        shared = cuda.shared.array(THREADS, acc)
        t = cuda.threadIdx.x
        lane = t % team
        job = cuda.blockIdx.x * (THREADS // team) + t // team
        value = zero
        if job < jobs:
            row = job // pieces
            start = (job - row * pieces) * piece
            end = min(start + piece, n)
            if not total:
                value = acc(x[row * n + start])  # every lane starts from a number of its row
            for i in range(start + lane, end, team):
                value = op(value, acc(x[row * n + i]))
        value = reduce_team(shared, value, team)
        if lane == 0 and job < jobs:
            if divisor != zero:
                y[job] = result(value / divisor)
            else:  # apart, because in one expression with a quotient integers would become floats
                y[job] = result(value)

    reduce_rows.__name__ = f"reduce_{name}"
    return kernel(reduce_rows)


def reduce_rows(name: str, x: DeviceArray, rows: int, n: int, dtype, divisor: float = 0) -> DeviceArray:
    """``add``, ``maximum`` or ``minimum`` over each of ``rows`` contiguous rows of ``n``.

    The results are divided by ``divisor`` unless it is 0.
    """
    # numbers of less than 32 bits are reduced in 32
    acc = accumulator(x.dtype) if name == "add" else x.dtype.type if x.dtype.itemsize > 2 else np.int32
    pieces = 1
    if rows * 8 < PIECES and n > 4 * LONG:
        pieces = min(-(-n // LONG), PIECES // rows)
    piece = -(-n // pieces)
    pieces = -(-n // piece) if n else 1
    if pieces > 1:
        partial = memory.empty((rows, pieces), acc)
        _launch_rows(name, acc, acc, x, partial, n, piece, pieces, rows, 0)
        x, n = partial, pieces
    y = memory.empty((rows,), dtype)
    _launch_rows(name, y.dtype.type, acc, x, y, n, max(n, 1), 1, rows, divisor)
    return y


def _launch_rows(name, result, acc, x, y, n, piece, pieces, rows, divisor):
    blocks, team = teams(rows * pieces, piece)
    launch(
        _rows_kernel(name, result, acc),
        blocks,
        THREADS,
        x,
        y,
        n,
        piece,
        pieces,
        rows * pieces,
        team,
        acc(divisor),
    )


def _by_rows(x, axes):
    """``x`` as contiguous rows: the other axes, in order, by the reduced ``axes``."""
    kept = [i for i in range(x.ndim) if i not in axes]
    x = layout.dense(x.transpose(*kept, *axes))
    return x, prod(x.shape[: len(kept)]), prod(x.shape[len(kept) :])


@half_as_float
def reduce_fwd(name: str, x: DeviceArray, axes: Sequence[int], keepdims: bool) -> DeviceArray:
    """``sum``, ``mean``, ``max`` or ``min`` over ``axes``."""
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    op = {"sum": "add", "mean": "add", "max": "maximum", "min": "minimum"}[name]
    if x.dtype == bool and op == "add":
        x = cast(x, np.int64)
    dtype, divisor = np.dtype(np.int64) if op == "add" and x.dtype.kind != "f" else x.dtype, 0
    channels = x.ndim > 1 and op == "add" and axes == (0, *range(2, x.ndim)) and x.dtype.kind == "f"
    if name == "mean":
        divisor = prod(x.shape[i] for i in axes)
        if x.dtype.kind != "f":
            x = cast(x, np.float64)
            dtype = x.dtype
        if divisor == 0:
            return layout.filled(shape, dtype, np.nan)
    if channels:
        return channel_mean(x, divisor or 1).reshape(*shape)
    if op != "add" and x.size == 0 and prod(shape):
        raise ValueError(f"{name}: cannot reduce an empty extent")
    x, rows, n = _by_rows(x, axes)
    return reduce_rows(op, x, rows, n, dtype, divisor).reshape(*shape)


@functools.cache
def _argument_kernel(name):
    before = body(lambda a, b: a > b) if name == "argmax" else body(lambda a, b: a < b)

    def argument_rows(x, y, n, rows, team):
        best = cuda.shared.array(THREADS, np.int64)
        t = cuda.threadIdx.x
        lane = t % team
        row = cuda.blockIdx.x * (THREADS // team) + t // team
        place = np.int64(row) * n
        at = place + lane if lane < n else place
        if row < rows:
            for i in range(lane + team, n, team):
                if before(x[place + i], x[at]) or (x[place + i] != x[place + i] and x[at] == x[at]):
                    at = place + i
        best[t] = at
        cuda.syncthreads()
        half = team // 2
        while half > 0:
            if lane < half and row < rows:
                other = best[t + half]
                mine = best[t]
                a, b = x[mine], x[other]
                mine_nan, other_nan = a != a, b != b
                if (
                    before(b, a)
                    or (other_nan and not mine_nan)
                    or (other < mine and (b == a or (other_nan and mine_nan)))
                ):
                    best[t] = other
            cuda.syncthreads()
            half = half // 2
        if lane == 0 and row < rows:
            y[row] = best[t] - place

    argument_rows.__name__ = f"{name}_rows"
    return kernel(argument_rows)


def argmax(x: DeviceArray, axis: int | None, keepdims: bool) -> DeviceArray:
    """Position of the largest number along an axis, or of all; the first NaN where there is one."""
    return _argument("argmax", x, axis, keepdims)


def argmin(x: DeviceArray, axis: int | None, keepdims: bool) -> DeviceArray:
    """Position of the smallest number, in the same way."""
    return _argument("argmin", x, axis, keepdims)


@half_as_float
def _argument(name, x, axis, keepdims):
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    x, rows, n = _by_rows(x, axes)
    y = memory.empty((rows,), np.int64)
    blocks, team = teams(rows, n)
    launch(_argument_kernel(name), blocks, THREADS, x, y, n, rows, team)
    return y.reshape(*shape)
