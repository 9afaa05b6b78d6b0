"""Matrix products on the register-blocked tile: ``gemm``, and the contract's matmul and linear.

    C (M x N)  =  A (M x K)  *  B (K x N)

    B is packed into panels of ``width`` columns. A panel is contiguous, so a tile reads it in order. (A small
    B with contiguous rows is read in place; there a panel is a run of its columns.)

        panel 0        panel 1
        k=0 [....]     k=0 [....]        one tile: <= MAX_ROWS rows of A  x  one panel
        k=1 [....]     k=1 [....]        one job: some blocks of rows  x  one panel
        ...            ...            threads take equal shares of the jobs

A is read in place, through its strides, so a transposed A costs nothing.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends import settings

from ..codegen import emitter, gemm_tile, transforms
from ..codegen.emitter import address
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

IN_PLACE = 1 << 17  # elements of B up to which its rows are read in place, without packing
FEW_ROWS = (
    64  # rows of A up to which a B of any size is read in place: packing would cost as much as it saves
)
SMALL = 1 << 18  # multiply-adds up to which NumPy's BLAS, in one thread, is faster than a launch
PACKED_ROWS = 64  # rows of a panel that one job packs


@kernel
def _pack(threads, function, lanes, b, columns, width, panels, tables):
    # b: address, elements to the next row and column -> panels[p, k, j] = b[k, p * width + j]. Columns after
    # the last one are not written; the tile masks them.
    count, depth, _ = panels.shape
    start, row, column = b
    source = emitter.view1d(start, (depth - 1) * row + (columns - 1) * column + 1, panels)
    target = panels.reshape(-1)
    parts = (depth + PACKED_ROWS - 1) // PACKED_ROWS
    for t in prange(threads):
        table = tables[t]
        first, end = split_range(t, threads, count * parts)
        for job in range(first, end):
            p, k0 = job // parts, job % parts * PACKED_ROWS
            used, deep = min(width, columns - p * width), min(PACKED_ROWS, depth - k0)
            to = (p * depth + k0) * width
            if row == 1:
                at = p * width * column + k0
                transforms.transpose_block(
                    function, lanes, source, at, column, used, deep, target, to, width, table, panels.itemsize
                )
            else:
                for k in range(k0, k0 + deep):
                    for j in range(used):
                        panels[p, k, j] = source[k * row + (p * width + j) * column]


@kernel
def _gemm(threads, tile, a, b, depth, width, bias, has_bias, groups, c):
    # a: address, elements to the next row and to the next step of the sum; b: address, elements to the next
    # step and to the next panel; groups: of rows, a job is one of them and one panel
    a_start, a_row, a_step = a
    b_start, b_step, b_panel = b
    rows, columns = c.shape
    count = (columns + width - 1) // width
    size = c.itemsize
    for t in prange(threads):
        table = address(ONE_TAP)
        first_job, end_job = split_range(t, threads, groups * count)
        for job in range(first_job, end_job):
            g, p = job // count, job % count
            first, end = split_range(g, groups, rows)
            gemm_tile.tile(
                tile,
                end - first,
                a_start + first * a_row * size,
                a_row,
                a_step,
                table,
                b_start + p * b_panel * size,
                b_step,
                table,
                1,
                depth,
                address(c) + (first * columns + p * width) * size,
                columns,
                address(bias) + p * width * size if has_bias else 0,
                0,
                min(width, columns - p * width),
                0,
                0,
            )


def _strided(a: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A 2-D array with its strides in elements; copied where these are negative or no whole elements."""
    if any(s % a.itemsize or s < 0 for s in a.strides) or not a.flags.aligned:
        a = layout.dense(a)
    return a, a.strides[0] // a.itemsize, a.strides[1] // a.itemsize


def gemm(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias`` for 2-D float arrays of one dtype, any strides."""
    rows, depth = a.shape
    columns = b.shape[1]
    if rows <= FEW_ROWS and rows < columns and bias is None and b.flags.f_contiguous:
        return gemm(b.T, a.T).T  # reads b in place and packs a
    c = memory.empty((rows, columns), a.dtype)
    if depth == 0 or c.size == 0:
        c[...] = 0 if bias is None else bias
        return c
    a, a_row, a_step = _strided(a)
    b, b_row, b_column = _strided(b)
    width = gemm_tile.panel_width(columns, c.dtype)
    if b_column == 1 and (depth * columns <= IN_PLACE or rows <= FEW_ROWS):
        panels, b_step, b_panel = b, b_row, width
    else:
        panels, b_step, b_panel = (
            memory.empty((-(-columns // width), depth, width), c.dtype),
            width,
            depth * width,
        )
        lanes = emitter.lanes(c.dtype)
        _pack(
            transforms.transpose_address(c.dtype),
            lanes,
            (b.ctypes.data, b_row, b_column),
            columns,
            width,
            panels,
            *per_thread((lanes, np.int64)),
        )
    # Blocks of rows that share a panel: as many rows of A as a quarter of L2 holds, and fewer where the
    # threads would not have enough jobs.
    blocks, threads = -(-rows // gemm_tile.MAX_ROWS), settings.get_num_threads()
    group = min(
        (1 << 18) // (gemm_tile.MAX_ROWS * depth * c.itemsize), blocks * -(-columns // width) // (4 * threads)
    )
    _gemm(
        gemm_tile.tile_address(c.dtype, width),
        (a.ctypes.data, a_row, a_step),
        (panels.ctypes.data, b_step, b_panel),
        depth,
        width,
        c[0] if bias is None else layout.dense(bias),
        bias is not None,
        -(-blocks // max(group, 1)),
        c,
    )
    return c


def matmul(a, b):
    if a.dtype.char not in "fd" or a.dtype != b.dtype or a.size * b.shape[-1] <= SMALL:
        return np.matmul(a, b)
    if a.ndim == b.ndim == 2:
        return gemm(a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    c = memory.empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    for i in np.ndindex(lead):
        c[i] = gemm(a[i], b[i])
    return c


def linear_fwd(x, w, b):
    if x.size * w.shape[0] <= SMALL:
        y = x @ w.T
        return y if b is None else np.add(y, b, out=y)
    return gemm(x, w.T, b)


def linear_bwd_data(gy, w):
    return matmul(gy, w)


def linear_bwd_weight(gy, x):
    return matmul(x.T, gy).T  # in the memory order of the layer's weight
