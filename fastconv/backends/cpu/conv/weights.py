"""Weights as kernels read them: their order in memory, panels, and sums of their gradients.

Weights have the shape ``K, C / groups, *kernel`` and, in memory, the order ``*kernel, C / groups, K`` (HWIO):
output channels are the vector axis. The matrix product reads them as *panels* of 8, 16 or 32 columns, where
each panel is one run of memory::

    HWIO           tap 0:  C x K        tap 1:  C x K        ...          rows of K numbers

    panel 0        tap 0:  C x width    tap 1:  C x width    ...          output channels 0 .. width
    panel 1        tap 0:  C x width    tap 1:  C x width    ...          output channels width .. 2 width
    ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from math import prod

import numpy as np

from fastconv.spec import ConvSpec

from ..codegen import emitter, gemm_tile, transforms
from ..codegen.jit import U, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout, memory, strided_copy
from ..runtime.scratch import per_thread

ROWS_PER_JOB = 64  # rows of a panel that one thread packs at a time


class Prepacked:
    """Weights that stay as they are, so that what kernels make of them is made only once.

    Attributes
    ----------
    hwio : ndarray
        The weights as :func:`to_hwio` gives them.
    packed : dict
        What functions under :func:`memoize_packed` have made of them.
    """

    def __init__(self, w: np.ndarray):
        self.hwio, self.dtype, self.packed = to_hwio(w), w.dtype, {}


def memoize_packed(make: Callable) -> Callable:
    """A decorator: what ``make(w, *key)`` makes of :class:`Prepacked` weights is made once for each ``key``.

    Of other weights it is made anew in every call.
    """

    @wraps(make)
    def made(w, *key):
        if not isinstance(w, Prepacked):
            return make(w, *key)
        if (make, key) not in w.packed:
            w.packed[make, key] = make(w, *key)
        return w.packed[make, key]

    return made


@kernel
def _transpose_to_hwio(thread, threads, function, lanes, w, hwio, tables, buffers):
    # w: K, C, taps -> hwio: taps, C, K. A block of K is one transposition of lines of (C, taps).
    taps, depth, columns = hwio.shape
    source, target, size = w.reshape(-1), hwio.reshape(-1), w.itemsize
    line = depth * taps
    table, buffer = tables[thread], buffers[thread]
    first, end = split_range(thread, threads, (columns + lanes - 1) // lanes)
    for k in range(first * lanes, min(end * lanes, columns), lanes):
        used = min(lanes, columns - k)
        for e in range(0, line, lanes):
            wide = min(lanes, line - e)
            transforms.transpose_block(
                function, lanes, source, k * line + e, line, used, wide, buffer, 0, lanes, table, size
            )
            for q in range(wide):
                to = ((e + q) % taps * depth + (e + q) // taps) * columns + k
                for p in range(used):
                    target[U(to + p)] = buffer[U(q * lanes + p)]


def to_hwio(w: np.ndarray | Prepacked) -> np.ndarray:
    """Weights ``K, C / groups, *kernel`` as a C-contiguous ``taps, C / groups, K``, the order of all kernels.

    A view if the memory already is in this order, as the layers of ``nn`` keep it; else a copy.
    """
    if isinstance(w, Prepacked):
        return w.hwio
    k, c = w.shape[:2]
    view = w.transpose(*range(2, w.ndim), 1, 0)
    if view.flags.c_contiguous and view.flags.aligned:
        return layout.dense(view.reshape(-1, c, k))
    rows = w.transpose(0, *range(2, w.ndim), 1)
    if rows.flags.c_contiguous:  # channels-last memory: one transposition of a matrix
        hwio = memory.empty((prod(w.shape[2:]), c, k), w.dtype)
        strided_copy.copy(hwio.reshape(-1, k), rows.reshape(k, -1).T)
        return hwio
    w = layout.dense(w).reshape(k, c, -1)
    hwio = memory.empty((w.shape[2], c, k), w.dtype)
    lanes = emitter.lanes(w.dtype)
    scratch = per_thread((lanes, np.int64), (lanes**2, w.dtype))
    _transpose_to_hwio(transforms.transpose_address(w.dtype), lanes, w, hwio, *scratch)
    return hwio


@kernel
def _transpose_from_hwio(thread, threads, function, lanes, hwio, w, tables, buffers):
    # hwio: taps, C, K -> w: K, C, taps; the inverse of _transpose_to_hwio
    taps, depth, columns = hwio.shape
    source, target, size = hwio.reshape(-1), w.reshape(-1), w.itemsize
    line = depth * taps
    table, buffer = tables[thread], buffers[thread]
    first, end = split_range(thread, threads, (columns + lanes - 1) // lanes)
    for k in range(first * lanes, min(end * lanes, columns), lanes):
        used = min(lanes, columns - k)
        for e in range(0, line, lanes):
            wide = min(lanes, line - e)
            for q in range(wide):
                at = ((e + q) % taps * depth + (e + q) // taps) * columns + k
                for p in range(used):
                    buffer[U(q * lanes + p)] = source[U(at + p)]
            transforms.transpose_block(
                function, lanes, buffer, 0, lanes, wide, used, target, k * line + e, line, table, size
            )


def in_memory_order(x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """``x`` in another order of memory (see the contract), fast for gradients of contiguous weights."""
    hwio = x.transpose(*range(2, x.ndim), 1, 0) if x.ndim > 2 else x
    if order != tuple(range(x.ndim)) or x.flags.c_contiguous or not hwio.flags.c_contiguous:
        return layout.in_memory_order(x, order)
    w = memory.empty(x.shape, x.dtype)
    lanes = emitter.lanes(x.dtype)
    scratch = per_thread((lanes, np.int64), (lanes**2, x.dtype))
    k, c = x.shape[:2]
    _transpose_from_hwio(
        transforms.transpose_address(x.dtype), lanes, hwio.reshape(-1, c, k), w.reshape(k, c, -1), *scratch
    )
    return w


def conv_arrange(w: np.ndarray) -> np.ndarray:
    """Weights in the memory order of :func:`to_hwio` (see the contract)."""
    return to_hwio(w).reshape(*w.shape[2:], w.shape[1], w.shape[0]).transpose(-1, -2, *range(w.ndim - 2))


# ---------------------------------------------------------------------------------------------------- panels
@kernel
def _pack(thread, threads, function, lanes, w, taps, is_dgrad, panels, tables):
    # w: taps, C/groups, K -> panels[g, p, t, c, j] = w[taps[t], c, g * K/groups + p * width + j];
    # is_dgrad: the columns j are input channels and the rows c output channels.
    groups, blocks, count, depth, width = panels.shape
    _, height, total = w.shape
    size, part = w.itemsize, total // groups
    columns = height if is_dgrad else part
    source, target = w.reshape(-1), panels.reshape(-1)
    rows = (depth + ROWS_PER_JOB - 1) // ROWS_PER_JOB
    table = tables[thread]
    first, end = split_range(thread, threads, groups * blocks * count * rows)
    for job in range(first, end):
        # Jobs that follow each other read the same lines of memory.
        if is_dgrad:
            g, p = job // rows // count // blocks, job // rows // count % blocks
            t, c0 = job // rows % count, job % rows * ROWS_PER_JOB
        else:
            g, t = job // blocks // rows // count, job // blocks // rows % count
            c0, p = job // blocks % rows * ROWS_PER_JOB, job % blocks
        used, deep = min(width, columns - p * width), min(ROWS_PER_JOB, depth - c0)
        to = (((g * blocks + p) * count + t) * depth + c0) * width
        if is_dgrad:
            at = (taps[t] * height + p * width) * total + g * part + c0
            transforms.transpose_block(
                function, lanes, source, at, total, used, deep, target, to, width, table, size
            )
        else:
            for c in range(deep):
                at = (taps[t] * height + c0 + c) * total + g * part + p * width
                for j in range(used):
                    target[U(to + c * width + j)] = source[U(at + j)]


#: How panels lie in memory, in elements: ``groups`` x ``count`` panels of ``width`` columns and ``depth``
#: rows for each tap. Row ``c`` of tap ``t`` in panel ``p`` of group ``g`` is the run of ``width`` elements at
#: ``(g * count + p) * panel_step + t * tap_step + c * row_step``. ``tile`` is the address of the tile that
#: multiplies by them.
PANELS = record_type(groups=1, count=1, depth=1, width=1, panel_step=1, tap_step=1, row_step=1, tile=1)


@dataclass(frozen=True, eq=False)
class Panels:
    """Weights as panels: their numbers ``data`` (one dimension), and what a :data:`PANELS` record says.

    ``steps`` are the panel, the tap and the row step.
    """

    data: np.ndarray
    groups: int
    count: int
    depth: int
    width: int
    steps: tuple[int, int, int]

    @property
    def record(self) -> np.ndarray:
        """The :data:`PANELS` record."""
        return _record(self.data.dtype, self.groups, self.count, self.depth, self.width, self.steps)


@lru_cache(1024)
def _record(dtype, groups, count, depth, width, steps) -> np.ndarray:
    return make_record(
        PANELS,
        groups=groups,
        count=count,
        depth=depth,
        width=width,
        panel_step=steps[0],
        tap_step=steps[1],
        row_step=steps[2],
        tile=gemm_tile.tile_address(dtype, width),
    )


@memoize_packed
def panels(w: np.ndarray | Prepacked, groups: int, taps: tuple, is_dgrad: bool, least: int = 1) -> Panels:
    """The weights of some taps as panels.

    They are read in place if whole panels lie in the weights' memory and their rows are close together. Other
    weights, and prepacked ones, are packed.

    Parameters
    ----------
    w : ndarray or Prepacked, K x C / groups x kernel
    groups : int
    taps : tuple of int
        Flat positions in the kernel.
    is_dgrad : bool
        Whether the sum goes over output channels (backward-data) instead of input channels.
    least : int
        The least width of a panel.

    Returns
    -------
    Panels
    """
    changing, w, dtype = not isinstance(w, Prepacked), to_hwio(w), w.dtype
    k, c = w.shape[2] // groups, w.shape[1]
    columns, depth = (c, k) if is_dgrad else (k, c)
    width = max(gemm_tile.panel_width(columns, dtype), least)
    count = -(-columns // width)
    whole = not is_dgrad and groups == 1 and columns % width == 0 and len(taps) == len(w)
    if whole and changing and count <= 8:
        return Panels(w.reshape(-1), 1, count, depth, width, (width, depth * columns, columns))
    data = memory.empty((groups, count, len(taps), depth, width), dtype)
    lanes = emitter.lanes(dtype)
    transpose, scratch = transforms.transpose_address(dtype), per_thread((lanes, np.int64))
    _pack(transpose, lanes, w, np.array(taps), is_dgrad, data, *scratch)
    steps = len(taps) * depth * width, depth * width, width
    return Panels(data.reshape(-1), groups, count, depth, width, steps)


# ------------------------------------------------------------------------------------------------- gradients
@kernel
def _sum_partials(thread, threads, partials, total):
    # partials: parts, groups, taps, C/groups, K/groups -> total: taps, C/groups, K
    parts, groups, taps, depth, columns = partials.shape
    source, target = partials.reshape(-1), total.reshape(-1)
    part = groups * taps * depth * columns
    first, end = split_range(thread, threads, taps * depth)
    for g in range(groups):
        for row in range(first, end):
            at, to = (g * taps * depth + row) * columns, (row * groups + g) * columns
            for k in range(columns):
                target[U(to + k)] = source[U(at + k)]
            for p in range(1, parts):
                for k in range(columns):
                    target[U(to + k)] += source[U(p * part + at + k)]


def empty_partials(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Memory for the threads' weight gradients, as :func:`sum_partials` takes them. If there is only one
    part, it is the result."""
    return (memory.result if shape[:2] == (1, 1) else memory.empty)(shape, dtype)


def sum_partials(partials: np.ndarray, spec: ConvSpec, shape: tuple[int, ...]) -> np.ndarray:
    """The sum of the threads' weight gradients, in the order of the threads.

    Parameters
    ----------
    partials : ndarray, threads x groups x taps x C / groups x K / groups
    spec : ConvSpec
    shape : tuple of int
        The weight's shape.

    Returns
    -------
    ndarray of ``shape``, in memory in the order of :func:`to_hwio`
    """
    shape = (*shape[2:], *partials.shape[3:4], spec.c_out)
    if partials.shape[:2] == (1, 1):
        total = partials.reshape(shape)
    else:
        total = memory.result(shape, partials.dtype)
        _sum_partials(partials, total.reshape(-1, *total.shape[-2:]))
    return total.transpose(-1, -2, *range(total.ndim - 2))


def split_rows(spec: ConvSpec, threads: int, itemsize: int) -> bool:
    """Whether backward-weight splits pixels among the threads (each with its own partial sum of the weights),
    or, where the weights are too large for that, output channels and taps."""
    weights = prod(spec.w_shape) * itemsize
    jobs = spec.groups * -(-spec.c_out // spec.groups // 32) * prod(spec.kernel)
    return weights <= 1 << 20 or jobs < 4 * threads
