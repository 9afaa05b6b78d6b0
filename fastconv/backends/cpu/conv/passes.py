"""What the convolution kernels have in common: a pass as phases of taps, and the arrangement of weights.

Forward and backward-data are the same loop, a sum over *taps* (offsets into the input, one weight slice each)::

    y[n, out_offset + out_stride * i, k] = bias[k] + sum over taps t, channels c of
                                           x[n, in_stride * i + offset[t], c] * w[t][c, k]       (i: 1 to 3 dimensions)

Forward is one *phase*: in_stride = stride, offset = dilation * tap - padding. Backward-data with stride s is
s phases per dimension, one for each residue of the input position: in each, only every s-th tap hits an
output position, and the phase is a small convolution of stride 1 that writes every s-th pixel. Nothing is
multiplied by inserted zeros.

Weights have the shape ``K, C/groups, *kernel`` and, in memory, the order ``*kernel, C/groups, K``: output
channels are the vector axis. Kernels read them as *panels* of 8, 16 or 32 columns, each panel one run of
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import product
from math import prod

import numpy as np

from ..codegen import emitter, gemm_tile, transforms
from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread


@dataclass(frozen=True, eq=False)
class Phase:
    """One convolution by taps; every tuple has an entry per spatial dimension (three, leading ones trivial).

    ``offsets`` holds, per dimension, the ascending input offsets of the taps; ``taps`` the flat kernel
    positions of their product, in the same order. ``reach`` is the distance of the outer taps, ``dense``:
    innermost taps are neighbours. ``inside``: no tap ever leaves the input.
    """

    out_size: tuple[int, ...]
    in_stride: tuple[int, ...]
    out_stride: tuple[int, ...]
    out_offset: tuple[int, ...]
    offsets: tuple[np.ndarray, ...]
    taps: tuple[int, ...]
    reach: tuple[int, ...]
    dense: bool
    inside: bool


def _phase(kernel_size, in_size, dims) -> Phase:
    """``dims``: per dimension ``(count, in_stride, out_stride, out_offset, [(offset, kernel position),
    ...])``."""
    counts, in_stride, out_stride, out_offset, pairs = zip(*dims)
    pairs = [sorted(p) for p in pairs]
    positions = [[k for _, k in p] for p in pairs]
    taps = tuple(int(np.ravel_multi_index(t, kernel_size)) for t in product(*positions))
    inside = all(
        not p or (p[0][0] >= 0 and (n - 1) * s + p[-1][0] < i)
        for p, n, s, i in zip(pairs, counts, in_stride, in_size)
    )
    offsets = tuple(np.array([o for o, _ in p], np.int64) for p in pairs)
    reach = tuple(p[-1][0] - p[0][0] if p else 0 for p in pairs)
    dense = all(b[0] - a[0] == 1 for a, b in zip(pairs[-1], pairs[-1][1:]))
    return Phase(counts, in_stride, out_stride, out_offset, offsets, taps, reach, dense, inside)


@lru_cache(maxsize=1024)
def forward_phases(spec) -> list[Phase]:
    """The forward pass of a lifted ConvSpec: one phase."""
    dims = [
        (n, s, 1, 0, [(d * j - before, j) for j in range(k)])
        for n, s, d, k, (before, _) in zip(
            spec.out_size, spec.stride, spec.dilation, spec.kernel, spec.padding
        )
    ]
    return [_phase(spec.kernel, spec.in_size, dims)]


@lru_cache(maxsize=1024)
def backward_phases(spec) -> list[Phase]:
    """The backward-data pass of a lifted ConvSpec: ``prod(stride)`` phases that read gy and write gx."""
    per_dim = []
    for i, s, d, k, (before, _) in zip(spec.in_size, spec.stride, spec.dilation, spec.kernel, spec.padding):
        residues = [
            (
                -(-(i - r) // s),
                1,
                s,
                r,
                [((r + before - d * j) // s, j) for j in range(k) if (r + before - d * j) % s == 0],
            )
            for r in range(min(s, i))
        ]
        per_dim.append(residues)
    return [_phase(spec.kernel, spec.out_size, dims) for dims in product(*per_dim)]


def with_taps(phases, y, may_clear: bool = False):
    """Pairs of a phase that has taps and whether its kernel must clear the other pixels around the ones it
    writes; what no kernel clears becomes zero here. ``may_clear``: the caller's kernel can do it."""
    busy = [p for p in phases if p.taps]
    gaps = len(busy) < len(phases)
    clear = gaps and may_clear and len(busy) == 1
    if gaps and not clear:
        y[...] = 0
    return [(p, clear) for p in busy]


def panels_per_job(total: int, blocks: int, threads: int) -> int:
    """All panels where there are blocks of pixels enough for the threads, else fewer, so that there are jobs
    enough."""
    return total if blocks >= 2 * threads else max(1, total * blocks // (2 * threads))


def forward(run, x, w, b, spec, residual, relu, *options) -> np.ndarray:
    """The forward pass by ``run(x, w, b, y, spec, phases, swap, beside, relu, *options)``, which sees lifted
    arrays and writes ``y``; what lies ``beside`` bytes behind an element of ``y`` is added to it (0:
    nothing)."""
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    as_3d = spec.as_3d()
    if y.size:
        added = None if residual is None else layout.to_ndhwc(residual)  # kept until the kernel has run
        beside = 0 if added is None else added.ctypes.data - y5.ctypes.data
        run(layout.to_ndhwc(x), w, b, y5, as_3d, forward_phases(as_3d), False, beside, int(relu), *options)
    return y


def backward_data(run, gy, w, spec, residual, *options) -> np.ndarray:
    """The backward-data pass by the same ``run``, with input and output channels swapped."""
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    as_3d = spec.as_3d()
    if gx.size:
        added = None if residual is None else layout.to_ndhwc(residual)
        beside = 0 if added is None else added.ctypes.data - gx5.ctypes.data
        run(layout.to_ndhwc(gy), w, None, gx5, as_3d, backward_phases(as_3d), True, beside, 0, *options)
    return gx


# ------------------------------------------------------------------------------------------------- weights
# a signed index may count from the end, and the test for that keeps loops from becoming vector code
U = np.uint64


class Prepacked:
    """Weights that stay as they are, so that what kernels make of them needs to be made only once."""

    def __init__(self, w: np.ndarray):
        self.arranged, self.dtype, self.made = arranged(w), w.dtype, {}


def keep(make):
    """What ``make(w, *key)`` makes of :class:`Prepacked` weights is made once for each ``key``, and kept."""

    @wraps(make)
    def made(w, *key):
        if not isinstance(w, Prepacked):
            return make(w, *key)
        if (make, key) not in w.made:
            w.made[make, key] = make(w, *key)
        return w.made[make, key]

    return made


@kernel
def _arrange(threads, function, lanes, w, arranged, tables, buffers):
    # w: K, C, taps -> arranged: taps, C, K. A block of K is one transposition of lines of (C, taps).
    taps, depth, columns = arranged.shape
    source, target, size = w.reshape(-1), arranged.reshape(-1), w.itemsize
    line = depth * taps
    for thread in prange(threads):
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


def arranged(w: np.ndarray | Prepacked) -> np.ndarray:
    """Weights ``K, C/groups, *kernel`` as a C-contiguous ``taps, C/groups, K``, the order every kernel reads.

    A view where the memory already is in this order, as the layers of ``nn`` keep it; else a copy.
    """
    if isinstance(w, Prepacked):
        return w.arranged
    k, c = w.shape[:2]
    inside_out = w.transpose(*range(2, w.ndim), 1, 0)
    if inside_out.flags.c_contiguous and inside_out.flags.aligned:
        return layout.dense(inside_out.reshape(-1, c, k))
    w = layout.dense(w).reshape(k, c, -1)
    result = memory.empty((w.shape[2], c, k), w.dtype)
    lanes = emitter.lanes(w.dtype)
    _arrange(
        transforms.transpose_address(w.dtype),
        lanes,
        w,
        result,
        *per_thread((lanes, np.int64), (lanes**2, w.dtype)),
    )
    return result


@kernel
def _pack(threads, function, lanes, w, taps, is_dgrad, width, panels, tables):
    # w: taps, C/groups, K -> panels[g, p, t, c, j] = w[taps[t], c, g*K/groups + p*width + j]   (swap: c and k trade)
    groups, blocks, count, depth, _ = panels.shape
    _, height, total = w.shape
    size, part = w.itemsize, total // groups
    columns = height if is_dgrad else part
    source, target = w.reshape(-1), panels.reshape(-1)
    rows = (depth + 63) // 64  # jobs of 64 rows of a panel
    for thread in prange(threads):
        table = tables[thread]
        first, end = split_range(thread, threads, groups * blocks * count * rows)
        for job in range(first, end):
            # Jobs that follow each other read the same lines of memory.
            if is_dgrad:
                g, p, t, c0 = (
                    job // rows // count // blocks,
                    job // rows // count % blocks,
                    job // rows % count,
                    job % rows,
                )
            else:
                g, t, c0, p = (
                    job // blocks // rows // count,
                    job // blocks // rows % count,
                    job // blocks % rows,
                    job % blocks,
                )
            c0 *= 64
            used, deep = min(width, columns - p * width), min(64, depth - c0)
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


@dataclass(eq=False)
class Panels:
    """Weights as panels of ``width`` columns: number ``c`` of tap ``t`` in panel ``p`` of group ``g`` is the
    run of ``width`` elements at ``(g * count + p) * panel_step + t * tap_step + c * row_step`` of ``data``.
    ``tile`` multiplies by them."""

    data: np.ndarray
    groups: int
    count: int
    depth: int
    width: int
    panel_step: int
    tap_step: int
    row_step: int
    tile: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers a kernel needs: from ``groups`` to ``row_step``."""
        return self.groups, self.count, self.depth, self.width, self.panel_step, self.tap_step, self.row_step


@keep
def panels(w: np.ndarray | Prepacked, groups: int, taps: tuple, is_dgrad: bool, least: int = 1) -> Panels:
    """The weights of ``taps`` as panels at least ``least`` wide; ``swap`` sums over output channels
    (backward-data) instead of input channels. They are read in place where whole panels lie in the weights'
    memory order and rows are close together; else, and of prepacked weights, packed."""
    changing, w, dtype = not isinstance(w, Prepacked), arranged(w), w.dtype
    k, c = w.shape[2] // groups, w.shape[1]
    columns, depth = (c, k) if is_dgrad else (k, c)
    width = max(gemm_tile.panel_width(columns, dtype), least)
    count = -(-columns // width)
    tile = gemm_tile.tile_address(dtype, width)
    whole = not is_dgrad and groups == 1 and columns % width == 0 and len(taps) == len(w)
    if whole and changing and count <= 8:
        return Panels(w.reshape(-1), 1, count, depth, width, width, depth * columns, columns, tile)
    data = memory.empty((groups, count, len(taps), depth, width), dtype)
    lanes = emitter.lanes(dtype)
    _pack(
        transforms.transpose_address(dtype),
        lanes,
        w,
        np.array(taps),
        is_dgrad,
        width,
        data,
        *per_thread((lanes, np.int64)),
    )
    return Panels(
        data.reshape(-1), groups, count, depth, width, len(taps) * depth * width, depth * width, width, tile
    )


@kernel
def _sum_partials(threads, partials, total):
    # partials: parts, groups, taps, C/groups, K/groups -> total: taps, C/groups, K
    parts, groups, taps, depth, columns = partials.shape
    source, target = partials.reshape(-1), total.reshape(-1)
    part = groups * taps * depth * columns
    for thread in prange(threads):
        first, end = split_range(thread, threads, taps * depth)
        for g in range(groups):
            for row in range(first, end):
                at, to = (g * taps * depth + row) * columns, (row * groups + g) * columns
                for k in range(columns):
                    target[U(to + k)] = source[U(at + k)]
                for p in range(1, parts):
                    for k in range(columns):
                        target[U(to + k)] += source[U(p * part + at + k)]


def sum_partials(partials: np.ndarray, spec, shape) -> np.ndarray:
    """Add the threads' weight gradients in thread order; the result has the weight's ``shape``, and in memory
    the order of :func:`arranged`."""
    shape = (*shape[2:], *partials.shape[3:4], spec.c_out)
    if partials.shape[:2] == (1, 1):
        total = partials.reshape(shape)
    else:
        total = memory.empty(shape, partials.dtype)
        _sum_partials(partials, total.reshape(-1, *total.shape[-2:]))
    return total.transpose(-1, -2, *range(total.ndim - 2))


def split_rows(spec, threads: int, itemsize: int) -> bool:
    """Whether backward-weight splits pixels among the threads (each with its own partial sum of the weights),
    or, where the weights are too large for that, output channels and taps."""
    weights = prod(spec.w_shape) * itemsize
    jobs = spec.groups * -(-spec.c_out // spec.groups // 32) * prod(spec.kernel)
    return weights <= 1 << 20 or jobs < 4 * threads
