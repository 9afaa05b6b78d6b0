"""Copies between two arrays of any strides, at the rate of memory where NumPy goes element by element.

Axes of one element are left out, and axes that are neighbours in both memories are joined. Two of the axes
that remain make a plane; the others are loops around it::

    threads: equal shares of the jobs (outer indices, tile of the plane)

    rows         both memories run along the columns:       for each row: copy a run
    transposed   x runs along the columns, y along the      LANES x LANES elements at a time, in registers,
                 rows (or the other way round):             so every line of memory is read and written once
    interleaved  an axis of 2, 3, 4 or 8 elements and      a run of y from as many runs of x, or the other way
                 a long one change places:                 round, a vector of each at a time
    gathered     y runs along several short axes, which    the columns are all elements of these axes, and a
                 x has in another order or with gaps:      table says where in x they are
    elements     anything else:                            one by one

Elements of one size are moved by one kernel, as numbers without arithmetic on them.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.pointwise import merged

from ..codegen import emitter, interleaving, transforms
from ..codegen.emitter import address, call
from ..codegen.jit import U, by_address, by_numpy, kernel, split_range
from .scratch import per_thread

SMALL = 1 << 13  # elements up to which NumPy is faster than a launch
OUTER = 6  # loops around the plane at most
SHORT, MANY = 32, 1024  # elements of a run that is worth a row of its own, and of a table at most
ROWS, TRANSPOSED, JOINED, APART, GATHERED, ELEMENTS = range(6)  # JOINED, APART: interleaved
#: Kind of plane -> rows and columns of a tile.
TILES = {
    ROWS: (64, 1 << 13),
    TRANSPOSED: (64, 256),
    JOINED: (64, 1 << 12),
    APART: (64, 1 << 12),
    GATHERED: (64, MANY),
    ELEMENTS: (64, 256),
}
#: Bytes of an element -> the dtype that it is moved as.
MOVED_AS = {1: np.uint8, 2: np.uint16, 4: np.float32, 8: np.float64}


@kernel
def _copy(thread, threads, kind, x, y, outer, x_outer, y_outer, plane, tile, moving, gathered, like, scratch):
    # x, y: addresses; outer: extents of the loops, x_outer, y_outer: their strides; plane: rows, columns and
    # the strides of x and of y along them; moving: address of the function that moves a block or a row, its
    # lanes, and the stride between interleaved runs; gathered: where the columns are in x; like: an array of
    # the dtype; scratch: outer indices, addresses
    function, lanes, apart = moving
    places, tables = scratch
    rows, columns, x_row, x_column, y_row, y_column = plane
    tall, wide = (rows + tile[0] - 1) // tile[0], (columns + tile[1] - 1) // tile[1]
    size, many = like.itemsize, np.int64(1) << 60
    jobs = tall * wide
    for extent in outer:
        jobs *= extent
    place, table = places[thread], tables[thread]
    job, end = split_range(thread, threads, jobs)
    rest, source, target = job // (tall * wide), x, y
    for axis in range(len(outer) - 1, -1, -1):
        place[axis] = rest % outer[axis]
        source += place[axis] * x_outer[axis] * size
        target += place[axis] * y_outer[axis] * size
        rest //= outer[axis]
    part = job % (tall * wide)
    for _ in range(job, end):
        r0, c0 = part // wide * tile[0], part % wide * tile[1]
        high, broad = min(tile[0], rows - r0), min(tile[1], columns - c0)
        a = emitter.view1d(source + (r0 * x_row + c0 * x_column) * size, many, like)
        b = emitter.view1d(target + (r0 * y_row + c0 * y_column) * size, many, like)
        if kind == TRANSPOSED:
            transforms.transpose_block(function, lanes, a, 0, x_row, high, broad, b, 0, y_column, table, size)
        elif kind == ROWS:
            for r in range(high):
                emitter.copy_bytes(address(b) + r * y_row * size, address(a) + r * x_row * size, broad * size)
        elif kind == JOINED or kind == APART:
            for r in range(high):
                at = address(a) + r * x_row * size, address(b) + r * y_row * size
                call(function, (at[0], at[1], apart * size, broad))
        elif kind == GATHERED:
            for r in range(high):
                from_, to = U(r * x_row), U(r * y_row)
                for c in range(U(broad)):
                    b[to + c] = a[from_ + U(gathered[c])]
        else:
            for r in range(high):
                from_, to = U(r * x_row), U(r * y_row)
                for c in range(U(broad)):
                    b[to + c * U(y_column)] = a[from_ + c * U(x_column)]
        part += 1
        if part == tall * wide:  # the next outer index
            part = 0
            for axis in range(len(outer) - 1, -1, -1):
                place[axis] += 1
                source += x_outer[axis] * size
                target += y_outer[axis] * size
                if place[axis] < outer[axis]:
                    break
                place[axis] = 0
                source -= outer[axis] * x_outer[axis] * size
                target -= outer[axis] * y_outer[axis] * size


def _axes(x, y):
    """``[extent, stride of x, stride of y]`` (strides in elements), joined where possible, in y's order."""
    order = sorted(range(y.ndim), key=lambda i: -abs(y.strides[i]))
    ordered = ([values[i] for i in order] for values in (x.shape, x.strides, y.strides))
    return [[extent, bx // x.itemsize, by // x.itemsize] for extent, bx, by in zip(*merged(*ordered))]


def _short_axes(axes):
    """How many of the last axes are short and make a run of y, of a length that a table may have."""
    count, run = 0, 1
    for extent, _, y_stride in reversed(axes):
        if y_stride != run or run * extent > MANY or count == 0 and extent >= SHORT:
            break
        count, run = count + 1, run * extent
    return count


@functools.lru_cache(256)
def _places_in_x(axes):
    """Where the elements of ``axes`` (extent, stride of x) lie in x, in order."""
    places = np.zeros(1, np.int64)
    for extent, stride in axes:
        places = (places[:, None] + np.arange(extent) * stride).reshape(-1)
    return places


def _plan(x, y, lanes):
    """Kind of plane, outer axes, rows, columns, and where the columns are in x if they are gathered, or the
    axis of the interleaved runs."""
    axes = [[1, 0, 0], [1, 0, 0], [1, 0, 0], *_axes(x, y)]
    before, last = axes[-2:]
    if last[1] == last[2] == 1:
        return ROWS, axes[:-2], axes[-2], last, _NOWHERE
    for kind, few, run in (JOINED, last, before), (APART, before, last):
        of_runs, of_one = (
            (1, 2) if kind == JOINED else (2, 1)
        )  # where a run lies by itself, and where with others
        if (
            few[0] in interleaving.RUNS
            and run[0] >= lanes > few[0]
            and run[of_runs] == few[of_one] == 1
            and run[of_one] == few[0]
            and few[of_runs] >= run[0]
        ):
            return kind, axes[:-3], axes[-3], run, few
    runs = next((a for a in axes[:-1] if a[1] == 1), None)  # where x runs
    if (
        runs is not None
        and last[2] == 1
        and last[0] >= lanes <= runs[0]
        and last[1] > 0 < runs[2]
        and lanes > 1
    ):
        return TRANSPOSED, [a for a in axes[:-1] if a is not runs], last, runs, _NOWHERE
    short = _short_axes(axes)
    if short > 1:
        places = _places_in_x(tuple((extent, stride) for extent, stride, _ in axes[-short:]))
        return GATHERED, axes[: -short - 1], axes[-short - 1], [len(places), 0, 1], places
    if runs is not None and last[2] == 1:
        axes = [*(a for a in axes[:-1] if a is not runs), runs, last]
    return ELEMENTS, axes[:-2], *sorted(axes[-2:], key=lambda a: a[0]), _NOWHERE


def copy(y: np.ndarray, x: np.ndarray) -> None:
    """``y[...] = x`` for arrays of one shape and dtype in memories that do not overlap."""
    size = x.itemsize
    if x.size < SMALL or size not in MOVED_AS or any(s % size for s in (*x.strides, *y.strides)):
        by_numpy(np.copyto, y, x)
        return
    lanes = emitter.lanes(MOVED_AS[size]) if size >= 4 else 1
    kind, outer, rows, columns, gathered = _plan(x, y, lanes)
    outer = [a for a in outer if a[0] > 1]
    if len(outer) > OUTER:
        by_numpy(np.copyto, y, x)
        return
    outer = [[1, 0, 0]] * (OUTER - len(outer)) + outer
    extents, x_outer, y_outer = zip(*outer)
    plane = rows[0], columns[0], rows[1], columns[1], rows[2], columns[2]
    scratch = per_thread((OUTER, np.int64), (lanes, np.int64))
    function, apart, tile = 0, 0, TILES[kind]
    if kind == TRANSPOSED:
        function = transforms.transpose_address(MOVED_AS[size])
    elif kind in (JOINED, APART):
        function = interleaving.interleaving_address(gathered[0], MOVED_AS[size], kind == JOINED)
        apart, gathered = gathered[1 if kind == JOINED else 2], _NOWHERE
        # Equal parts of a run, because none may be shorter than a vector.
        tile = tile[0], -(-columns[0] // -(-columns[0] // tile[1]))
    by_address((x, y))
    _copy(
        kind, x.ctypes.data, y.ctypes.data, extents, x_outer, y_outer, plane, tile, (function, lanes, apart),
        gathered, _LIKE[size], tuple(scratch),
    )  # fmt: skip


_LIKE = {size: np.empty(1, dtype) for size, dtype in MOVED_AS.items()}
_NOWHERE = np.zeros(1, np.int64)
