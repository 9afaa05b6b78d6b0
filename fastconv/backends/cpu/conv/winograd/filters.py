"""The filters of Winograd's method, U, from the weights of a layer as they lie in memory."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.backends.cpu.codegen import emitter, transforms
from fastconv.backends.cpu.codegen.emitter import address
from fastconv.backends.cpu.codegen.jit import body, kernel, split_range
from fastconv.backends.cpu.codegen.record import make_record, record_type
from fastconv.backends.cpu.runtime import memory
from fastconv.backends.cpu.runtime.scratch import per_thread

from .. import weights
from ..weights import Prepacked, memoize_packed, to_hwio

ROWS_AHEAD = 8  # rows of weights between the one that is transformed and the one that is prefetched

#: How the filters' weights lie in memory: ``panels`` x ``depth`` rows of ``width`` numbers for each of
#: ``taps``. Number ``j`` of row ``c`` and tap ``t`` in panel ``p`` is the element
#: ``p * panel_step + t * tap_step + c * row_step + j * column_step``. ``transpose`` is 0 if the column step
#: is 1. Else the row step is 1, and it is the address of the transposition that rows need.
SOURCE = record_type(
    panels=1,
    depth=1,
    width=1,
    taps=1,
    panel_step=1,
    tap_step=1,
    row_step=1,
    column_step=1,
    transpose=1,
    lanes=1,
)


@body
def transform_filters(function, s, w, panel, first, end, u, u_plane, block, table):
    """U of rows ``first .. end`` of a panel of weights.

    Parameters
    ----------
    function : address of the transform
    s, w : the SOURCE and its numbers
    panel, first, end : which rows
    u, u_plane : address of the result, bytes from point to point
    block : scratch for ``lanes`` rows, which are transposed at a time
    table : scratch for ``lanes`` addresses
    """
    size, width, taps, lanes = block.itemsize, s.width, s.taps, s.lanes
    row_step, tap_step, column_step, transpose = s.row_step, s.tap_step, s.column_step, s.transpose
    start = address(w) + panel * s.panel_step * size
    if not transpose:
        for c in range(first, end):
            at = start + c * row_step * size
            for t in range(taps):
                emitter.prefetch(at + (t * tap_step + ROWS_AHEAD * row_step) * size, width * size)
            to = u + (c - first) * width * size
            transforms.transform(function, at, tap_step * size, to, u_plane, 0, width)
        return
    line = column_step * size
    for c in range(first, end, lanes):
        for t in range(taps):
            for column in range(0, width, lanes):
                at = start + (t * tap_step + c) * size + column * line
                for q in range(lanes):
                    table[q] = address(block) + ((q * taps + t) * width + column) * size
                    emitter.prefetch(at + lanes * size + q * line, 1)
                transforms.transpose(transpose, at, line, address(table))
        for q in range(lanes):
            at = address(block) + q * taps * width * size
            to = u + (c - first + q) * width * size
            transforms.transform(function, at, width * size, to, u_plane, 0, width)


@kernel
def _transform_all_filters(thread, threads, function, source, w, filters, blocks, tables):
    size = w.itemsize
    s = source[0]
    depth, width, lanes = s.depth, s.width, s.lanes
    parts = (depth + lanes - 1) // lanes
    first, end = split_range(thread, threads, s.panels * parts)
    for job in range(first, end):
        panel, c = job // parts, job % parts * lanes
        u = address(filters[panel]) + c * width * size
        u_plane = depth * width * size
        block, table = blocks[thread], tables[thread]
        transform_filters(function, s, w, panel, c, min(c + lanes, depth), u, u_plane, block, table)


@lru_cache(1024)
def _source_record(panels, depth, width, taps, steps, transpose, lanes) -> np.ndarray:
    """The :data:`SOURCE`; ``steps``: of panels, taps, rows and columns."""
    names = "panel_step", "tap_step", "row_step", "column_step"
    numbers = {"panels": panels, "depth": depth, "width": width, "taps": taps, "lanes": lanes}
    return make_record(SOURCE, **numbers, **dict(zip(names, steps)), transpose=transpose)


@memoize_packed
def _in_order(w, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights as ``panel, C, taps, width``, the order in which they are transformed."""
    hwio = to_hwio(w)
    taps, depth, columns = hwio.shape
    panels = -(-columns // width)
    padded = np.zeros((taps, depth, panels * width), w.dtype)
    padded[:, :, :columns] = hwio
    in_order = np.ascontiguousarray(padded.reshape(taps, depth, panels, width).transpose(2, 1, 0, 3))
    steps = depth * taps * width, width, taps * width, 1
    record = _source_record(panels, depth, width, taps, steps, 0, emitter.lanes(w.dtype))
    return record, in_order.reshape(-1)


def source_of(w, is_dgrad: bool, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The :data:`SOURCE` of weights and its numbers. They are read where they lie if whole panels do; other
    weights are packed; prepacked ones lie in order."""
    if isinstance(w, Prepacked):
        return _in_order(w, width)
    k, c, *kernel_size = w.shape
    taps, lanes = prod(kernel_size), emitter.lanes(w.dtype)
    columns, depth = (c, k) if is_dgrad else (k, c)
    if columns % width == 0 and (not is_dgrad or depth % lanes == 0):
        transpose = transforms.transpose_address(w.dtype) if is_dgrad else 0
        steps = (width * k, c * k, 1, k) if is_dgrad else (width, c * k, k, 1)
        record = _source_record(columns // width, depth, width, taps, steps, transpose, lanes)
        return record, to_hwio(w).reshape(-1)
    p = weights.panels(w, 1, tuple(range(taps)), is_dgrad, lanes)
    return _source_record(p.count, depth, width, taps, (*p.steps, 1), 0, lanes), p.data


@memoize_packed
def transformed(w, count, function, is_dgrad, width) -> np.ndarray:
    """The ``count`` filters that ``function`` makes of each: ``panel, filter, depth, width``."""
    lanes, threads = emitter.lanes(w.dtype), settings.get_num_threads()
    source, data = source_of(w, is_dgrad, width)
    panels, depth, taps, transpose = (
        int(source[name][0]) for name in ("panels", "depth", "taps", "transpose")
    )
    filters = memory.empty((panels, count, depth, width), w.dtype)
    blocks = memory.empty((threads, lanes * taps * width if transpose else 1), w.dtype)
    _transform_all_filters(function, source, data, filters, blocks, *per_thread((lanes, np.int64)))
    return filters
