"""Matrices whose rows become columns.

::

    x: m x n     a block reads SIDE x SIDE numbers along rows into shared memory, and writes them along rows
    +------+     of the result. Neither side jumps through global memory. A line of shared memory has one
    | tile |     number more than the tile, so that the numbers of a column lie in different banks.
    +------+
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from . import layout, memory
from .array import DeviceArray
from .launch import SIMULATED, cuda, kernel, launch

_SIDE, _ROWS = (4, 2) if SIMULATED else (32, 8)  # of a tile; rows that the threads of a block read at once


@functools.cache
def _transpose_kernel(real):
    kept = np.uint32 if real is np.uint16 else real  # two threads must not write to one word
    side, rows, pitch, size = _SIDE, _ROWS, _SIDE + 1, _SIDE * (_SIDE + 1)

    @kernel
    def transpose(x, y, m, n, across):
        room = cuda.shared.array(size, kept)
        column, row = np.int32(cuda.threadIdx.x), np.int32(cuda.threadIdx.y)
        top, left = np.int32(cuda.blockIdx.x // across) * side, np.int32(cuda.blockIdx.x % across) * side
        start = np.int64(cuda.blockIdx.y) * m * n
        for step in range(side // rows):
            r = np.int32(row + step * rows)
            if top + r < m and left + column < n:
                room[r * pitch + column] = kept(x[start + np.int64(top + r) * n + left + column])
        cuda.syncthreads()
        for step in range(side // rows):
            r = np.int32(row + step * rows)
            if left + r < n and top + column < m:
                y[start + np.int64(left + r) * m + top + column] = real(room[column * pitch + r])

    return transpose


def transposed(x: DeviceArray) -> DeviceArray:
    """A C-contiguous copy of ``x`` with its last two axes exchanged."""
    x = layout.dense(x)
    *lead, m, n = x.shape
    count = prod(lead)
    y = memory.empty((*lead, n, m), x.dtype)
    across = -(-n // _SIDE)
    if count <= 65_535:
        launch(
            _transpose_kernel(x.dtype.type),
            (-(-m // _SIDE) * across, count),
            (_SIDE, _ROWS),
            x,
            y,
            m,
            n,
            across,
        )
        return y
    return layout.copy_to(x.transpose(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2), y)
