"""Matrix products on the register-blocked tile: ``gemm``, and the contract's matmul and linear.

    C (M x N)  =  A (M x K)  *  B (K x N)

    B is packed into panels of ``width`` columns. A panel is contiguous, so a tile reads it in order. (A small
    B with contiguous rows is read in place; there a panel is a run of its columns.)

        panel 0        panel 1
        k=0 [....]     k=0 [....]        one tile: <= MAX_ROWS rows of A  x  one panel
        k=1 [....]     k=1 [....]        one job: some blocks of rows  x  one panel
        ...            ...            threads take equal shares of the jobs

A is read in place, through its strides, so a transposed A costs nothing. A batch of matrices is one
launch. A product with one column is a dot product per row.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.settings import get_num_threads, l2_bytes
from fastconv.spec import conv_spec

from ..codegen import emitter, gemm_tile, transforms
from ..codegen.emitter import address
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import kernel, split_range
from ..conv import direct
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

IN_PLACE = 1 << 17  # elements of B up to which its rows are read in place, without packing
FEW_ROWS = (
    64  # rows of A up to which a B of any size is read in place: packing would cost as much as it saves
)
MANY_ROWS = 1024  # rows from which a weight gradient is computed as that of a convolution
SMALL = 1 << 18  # multiply-adds up to which NumPy's BLAS, in one thread, is faster than a launch
PACKED_ROWS = 64  # rows of a panel that one job packs
RUN = 256  # products that are added up in the dtype of the arrays; these sums are added in float64


@kernel
def _pack(thread, threads, function, lanes, b, columns, width, panels, tables):
    # b: address, elements to the next row, column and matrix -> panels[p, k, j] = b[k, p * width + j], one
    # matrix after the other. Columns after the last one are not written; the tile masks them.
    total, depth, _ = panels.shape
    start, row, column, next_matrix = b
    count = (columns + width - 1) // width
    last = (total // count - 1) * next_matrix + (depth - 1) * row + (columns - 1) * column
    source = emitter.view1d(start, last + 1, panels)
    target = panels.reshape(-1)
    parts = (depth + PACKED_ROWS - 1) // PACKED_ROWS
    table = tables[thread]
    first, end = split_range(thread, threads, total * parts)
    for job in range(first, end):
        q, k0 = job // parts, job % parts * PACKED_ROWS
        m, p = q // count, q % count
        used, deep = min(width, columns - p * width), min(PACKED_ROWS, depth - k0)
        to = (q * depth + k0) * width
        if row == 1:
            at = m * next_matrix + p * width * column + k0
            transforms.transpose_block(
                function, lanes, source, at, column, used, deep, target, to, width, table, panels.itemsize
            )
        elif column == 1:
            for k in range(deep):
                at = m * next_matrix + (k0 + k) * row + p * width
                line, packed = source[at : at + used], target[to + k * width : to + k * width + used]
                for j in range(line.size):
                    packed[j] = line[j]
        else:
            for k in range(k0, k0 + deep):
                for j in range(used):
                    panels[q, k, j] = source[m * next_matrix + k * row + (p * width + j) * column]


@kernel
def _gemm(thread, threads, tile, a, b, depth, width, bias, has_bias, groups, together, c):
    # a: address, elements to the next row, to the next step of the sum and to the next matrix; b: address,
    # elements to the next step, panel and matrix; groups: of rows, a job is one of them and `together` panels
    a_start, a_row, a_step, a_next = a
    b_start, b_step, b_panel, b_next = b
    batch, rows, columns = c.shape
    count = (columns + width - 1) // width
    size = c.itemsize
    table = address(ONE_TAP)
    panel_groups = (count + together - 1) // together
    first_group, end_group = split_range(thread, threads, groups) if groups >= 2 * threads else (0, groups)
    own = end_group - first_group
    jobs = batch * panel_groups * own
    first_job, end_job = (0, jobs) if groups >= 2 * threads else split_range(thread, threads, jobs)
    for job in range(first_job, end_job):
        m, rest = job // (panel_groups * own), job % (panel_groups * own)
        p0, g = rest // own * together, first_group + rest % own
        first, end = split_range(g, groups, rows)
        for p in range(p0, min(p0 + together, count)):
            gemm_tile.tile(
                tile,
                end - first,
                a_start + (m * a_next + first * a_row) * size,
                a_row,
                a_step,
                table,
                b_start + (m * b_next + p * b_panel) * size,
                b_step,
                table,
                1,
                depth,
                address(c) + ((m * rows + first) * columns + p * width) * size,
                columns,
                address(bias) + p * width * size if has_bias else 0,
                0,
                min(width, columns - p * width),
                0,
                0,
            )


@kernel
def _row_dots(thread, threads, a, row, x, depth, totals):
    # a: address, whose rows are contiguous; totals (float64): rows, parts of a row
    rows, parts = totals.shape
    first, end = split_range(thread, threads, rows * parts)
    for job in range(first, end):
        r, part = job // parts, job % parts
        start, stop = split_range(part, parts, depth)
        line = emitter.view1d(a + r * row * x.itemsize, depth, x)
        total = 0.0
        for k in range(start, stop, RUN):
            left, right = line[k : min(k + RUN, stop)], x[k : min(k + RUN, stop)]
            partial = x.dtype.type(0)
            for i in range(left.size):
                partial += left[i] * right[i]
            total += partial
        totals[r, part] = total


def _strided(a: np.ndarray) -> tuple[np.ndarray, int, int, int]:
    """Matrices with their strides in elements: to the next row, column and matrix; copied where these are
    negative or no whole elements."""
    if any(s % a.itemsize or s < 0 for s in a.strides) or not a.flags.aligned:
        a = layout.dense(a)
    matrix, row, column = (s // a.itemsize for s in a.strides)
    return a, row, column, matrix


def gemm(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias`` for 2-D float arrays of one dtype, any strides."""
    rows, depth = a.shape
    columns = b.shape[1]
    if columns == 1 and bias is None and depth and rows and a.strides[1] == a.itemsize and a.strides[0] >= 0:
        return _matrix_vector(a, b)
    if rows <= FEW_ROWS and rows < columns and bias is None and b.flags.f_contiguous:
        return gemm(b.T, a.T).T  # reads b in place and packs a
    return gemms(a[None], b[None], bias)[0]


def _matrix_vector(a, b):
    """``a @ b`` for rows that are contiguous in memory and one column."""
    x, (rows, depth) = layout.dense(b[:, 0]), a.shape
    parts = 1 if rows >= 4 * get_num_threads() else min(64, -(-depth // RUN))
    totals = memory.empty((rows, parts), np.float64)
    a, row, _, _ = _strided(a[None])
    _row_dots(a.ctypes.data, row, x, depth, totals)
    return totals.sum(axis=1, keepdims=True).astype(x.dtype)


def gemms(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """:func:`gemm` of many matrices, one by one, in one launch: ``batch, rows, depth`` by ``batch, depth,
    columns``."""
    batch, rows, depth = a.shape
    columns = b.shape[2]
    c = memory.result((batch, rows, columns), a.dtype)
    if depth == 0 or c.size == 0:
        c[...] = 0 if bias is None else bias
        return c
    if a.strides[2] != a.itemsize and rows > FEW_ROWS < columns:
        a = layout.dense(a)  # read often enough, in lines of memory, to be worth a copy
    a, a_row, a_step, a_next = _strided(a)
    b, b_row, b_column, b_next = _strided(b)
    width = gemm_tile.panel_width(columns, c.dtype)
    count = -(-columns // width)
    if b_column == 1 and (depth * columns <= IN_PLACE or rows <= FEW_ROWS):
        panels, b_step, b_panel = b, b_row, width
    else:
        panels, b_step, b_panel = (
            memory.empty((batch * count, depth, width), c.dtype),
            width,
            depth * width,
        )
        lanes = emitter.lanes(c.dtype)
        _pack(
            transforms.transpose_address(c.dtype),
            lanes,
            (b.ctypes.data, b_row, b_column, b_next),
            columns,
            width,
            panels,
            *per_thread((lanes, np.int64)),
        )
        b_next = count * b_panel
    # Panels that stay in half of L2 while all rows of A pass by, and blocks of rows that share them: as many
    # rows as a quarter of L2 holds. Fewer of both where the threads would not have enough jobs.
    blocks, threads = -(-rows // gemm_tile.MAX_ROWS), get_num_threads()
    jobs = batch * blocks * count // (4 * threads)  # tiles that a job may have at most
    group = max(min(l2_bytes() // 4 // (gemm_tile.MAX_ROWS * depth * c.itemsize), jobs), 1)
    together = max(min(l2_bytes() // 2 // (width * depth * c.itemsize), jobs // group, count), 1)
    together = -(-count // -(-count // together))  # as even as possible
    _gemm(
        gemm_tile.tile_address(c.dtype, width),
        (a.ctypes.data, a_row, a_step, a_next),
        (panels.ctypes.data, b_step, b_panel, b_next),
        depth,
        width,
        c[0, 0] if bias is None else layout.dense(bias),
        bias is not None,
        -(-blocks // group),
        together,
        c,
    )
    return c


def matmul(a, b):
    if a.dtype.char not in "fd" or a.dtype != b.dtype or a.size * b.shape[-1] <= SMALL:
        return np.matmul(a, b)
    if a.ndim == b.ndim == 2:
        return gemm(a, b)
    if b.ndim == 2 and a.flags.c_contiguous:  # all rows at once
        return gemm(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(m, (*lead, *m.shape[-2:])).reshape(-1, *m.shape[-2:]) for m in (a, b))
    c = gemm(a[0], b[0])[None] if len(a) == 1 else gemms(a, b)
    return c.reshape(*lead, *c.shape[1:])


def linear_fwd(x, w, b):
    if x.size * w.shape[0] <= SMALL:
        y = x @ w.T
        return y if b is None else np.add(y, b, out=y)
    return gemm(x, w.T, b)


def linear_bwd_data(gy, w):
    return matmul(gy, w)


def linear_bwd_weight(gy, x, out=None):
    with memory.result_in(out):
        return _weight_gradient(gy, x)


def _weight_gradient(gy, x):
    rows, inputs, outputs = *x.shape, gy.shape[1]
    line = next((n for n in range(256, 31, -1) if rows % n == 0), None)
    if line is None or rows < MANY_ROWS or x.dtype.char not in "fd" or x.dtype != gy.dtype:
        return matmul(x.T, gy).T  # in the memory order of the layer's weight
    # As the weight gradient of a 1x1 convolution, whose sum goes over pieces of the rows that fit L2.
    spec = conv_spec("linear", (1, inputs, rows // line, line), (outputs, inputs, 1, 1))
    images = [layout.dense(a).reshape(1, rows // line, line, -1).transpose(0, 3, 1, 2) for a in (x, gy)]
    return direct.bwd_weight(*images, spec).reshape(outputs, inputs)
