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
from fastconv.backends.common.reduce import JOIN, Scalars, identity, reductions, types

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch, math
from .block_reduce import team_reducer, teams
from .channel_reduce import channel_mean
from .pointwise import binary_fwd, cast, half_as_float, unary_fwd

LONG = 16 if SIMULATED else 4096  # elements of a piece
PIECES = 64 if SIMULATED else 1024  # at most, over all rows


@functools.cache
def _formulas(acc):
    """The rows of the reductions, for sums in type ``acc``."""
    return reductions(
        Scalars(
            wide=body(lambda x: acc(x)),
            select=body(lambda condition, a, b: a if condition else b),
            sqrt=body(lambda x: math.sqrt(x)),
            power=body(lambda x, p: math.pow(x, p)),
        )
    )


def _kept(name: str, dtype: np.dtype) -> type:
    """The type of a reduction's totals; numbers of less than 32 bits are reduced in 32."""
    kept = types(name, dtype)[0]
    return kept.type if kept.itemsize > 2 else np.int32


# ---------------------------------------------------------------------------------------- sums and extrema
@functools.cache
def _rows_kernel(name, acc, result, first, last):
    """``first`` turns elements into terms, ``last`` totals into results."""
    row = _formulas(acc)[name]
    op, reduce_team = body(BINARY_FORMULAS[row.join]), team_reducer(row.join)
    term = body(row.term if first else lambda x, p: x)
    finish = body(row.finish if last else lambda total, n, p: total)
    start = acc(identity(name, np.dtype(acc)))

    def reduce_rows(x, y, n, piece, pieces, jobs, team, count, p):
        shared = cuda.shared.array(THREADS, acc)
        t = cuda.threadIdx.x
        lane = t % team
        job = cuda.blockIdx.x * (THREADS // team) + t // team
        value = start
        if job < jobs:
            row = job // pieces
            begin = (job - row * pieces) * piece
            end = min(begin + piece, n)
            for i in range(begin + lane, end, team):
                value = op(value, acc(term(x[row * n + i], p)))
        value = reduce_team(shared, value, team)
        if lane == 0 and job < jobs:
            y[job] = result(finish(value, count, p))

    reduce_rows.__name__ = f"reduce_{name}".replace("-", "minus_")
    return kernel(reduce_rows)


def reduce_rows(name: str, x: DeviceArray, rows: int, n: int, param: float | None = None) -> DeviceArray:
    """Reduction ``name`` over each of ``rows`` contiguous rows of ``n``."""
    acc, result = _kept(name, x.dtype), types(name, x.dtype)[1]
    pieces, count = 1, n
    if rows * 8 < PIECES and n > 4 * LONG:
        pieces = min(-(-n // LONG), PIECES // rows)
    piece = -(-n // pieces)
    pieces = -(-n // piece) if n else 1
    if pieces > 1:
        partial = memory.empty((rows, pieces), acc)
        _launch_rows((name, acc, acc, True, False), x, partial, n, piece, pieces, rows, count, param)
        x, n = partial, pieces
    y = memory.empty((rows,), result)
    write = np.uint8 if result.kind == "b" else result.type
    _launch_rows((name, acc, write, pieces == 1, True), x, y, n, max(n, 1), 1, rows, count, param)
    return y


def _launch_rows(which, x, y, n, piece, pieces, rows, count, param):
    blocks, team = teams(rows * pieces, piece)
    numbers = which[1](count), np.float64(param or 0)
    launch(_rows_kernel(*which), blocks, THREADS, x, y, n, piece, pieces, rows * pieces, team, *numbers)


def _by_rows(x, axes):
    """``x`` as contiguous rows: the other axes, in order, by the reduced ``axes``."""
    kept = [i for i in range(x.ndim) if i not in axes]
    x = layout.dense(x.transpose(*kept, *axes))
    return x, prod(x.shape[: len(kept)]), prod(x.shape[len(kept) :])


@half_as_float
def reduce_fwd(
    name: str, x: DeviceArray, axes: Sequence[int], keepdims: bool, param: float | None = None
) -> DeviceArray:
    """The reduction ``name`` over ``axes``."""
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    if name == "mean":
        x = x if x.dtype.kind == "f" else cast(x, np.float64)
        if prod(x.shape[i] for i in axes) == 0:
            return layout.filled(shape, x.dtype, np.nan)
    if name in ("sum", "mean") and x.ndim > 1 and axes == (0, *range(2, x.ndim)) and x.dtype.kind == "f":
        return channel_mean(x, x.size // x.shape[1] if name == "mean" else 1).reshape(*shape)
    if JOIN[name] in ("maximum", "minimum") and x.size == 0 and prod(shape) and name not in ("any", "all"):
        raise ValueError(f"{name}: cannot reduce an empty extent")
    x, rows, n = _by_rows(x, axes)
    return reduce_rows(name, x, rows, n, param).reshape(*shape)


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


# ------------------------------------------------------------------------------------------------- statistics
def moments(x: DeviceArray, axes: Sequence[int]) -> tuple[DeviceArray, DeviceArray]:
    """Mean, and mean squared deviation from it, in two passes."""
    mean = reduce_fwd("mean", x, axes, True)
    apart = binary_fwd("sub", x, mean)
    return mean, reduce_fwd("mean", binary_fwd("mul", apart, apart), axes, True)


@half_as_float
def logsumexp(x: DeviceArray, axes: Sequence[int], keepdims: bool) -> DeviceArray:
    """``log(sum(exp(x)))``, shifted by the maximum, or by 0 where that is infinite."""
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    if x.size == 0:
        return layout.filled(shape, x.dtype, -np.inf)
    largest = reduce_fwd("max", x, axes, True)
    finite = cast(binary_fwd("lt", unary_fwd("abs", largest), np.inf), x.dtype)
    shift = reduce_fwd("nansum", binary_fwd("mul", largest, finite), (), True)  # infinity times 0 is NaN
    total = reduce_fwd("sum", unary_fwd("exp", binary_fwd("sub", x, shift)), axes, True)
    y = binary_fwd("add", unary_fwd("log", total), shift)
    return y.reshape(*shape) if y.flags.c_contiguous else layout.dense(y).reshape(*shape)
