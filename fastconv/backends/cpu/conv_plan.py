"""What the convolution kernels have in common: a pass as phases of taps, and weights packed into panels.

Forward and backward-data are the same loop, a sum over *taps* (offsets into the input, one weight slice each)::

    y[n, out_offset + out_stride * i, k] = bias[k] + sum over taps t, channels c of
                                           x[n, in_stride * i + offset[t], c] * w[t][c, k]       (i: 1 to 3 dimensions)

Forward is one *phase*: in_stride = stride, offset = dilation * tap - padding. Backward-data with stride s is s phases
per dimension, one for each residue of the input position: in each, only every s-th tap hits an output position, and the
phase is a small convolution of stride 1 that writes every s-th pixel. Nothing is multiplied by inserted zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from . import layout, memory, simd
from .jit import kernel, prange, share


@dataclass(frozen=True)
class Phase:
    """One convolution by taps; every tuple has an entry per spatial dimension (three, leading ones trivial).

    ``offsets`` holds, per dimension, the ascending input offsets of the taps; ``taps`` the flat kernel positions of
    their product, in the same order. ``inside``: no tap ever leaves the input.
    """

    out_size: tuple[int, ...]
    in_stride: tuple[int, ...]
    out_stride: tuple[int, ...]
    out_offset: tuple[int, ...]
    offsets: tuple[np.ndarray, ...]
    taps: np.ndarray
    inside: bool


def _phase(kernel_size, in_size, dims) -> Phase:
    """``dims``: per dimension ``(count, in_stride, out_stride, out_offset, [(offset, kernel position), ...])``."""
    counts, in_stride, out_stride, out_offset, pairs = zip(*dims)
    pairs = [sorted(p) for p in pairs]
    positions = [[k for _, k in p] for p in pairs]
    taps = [np.ravel_multi_index(t, kernel_size) for t in product(*positions)]
    inside = all(
        not p or (p[0][0] >= 0 and (n - 1) * s + p[-1][0] < i) for p, n, s, i in zip(pairs, counts, in_stride, in_size)
    )
    offsets = tuple(np.array([o for o, _ in p], np.int64) for p in pairs)
    return Phase(counts, in_stride, out_stride, out_offset, offsets, np.array(taps, np.int64), inside)


@lru_cache(maxsize=1024)
def forward_phases(spec) -> list[Phase]:
    """The forward pass of a lifted ConvSpec: one phase."""
    dims = [
        (n, s, 1, 0, [(d * j - before, j) for j in range(k)])
        for n, s, d, k, (before, _) in zip(spec.out_size, spec.stride, spec.dilation, spec.kernel, spec.padding)
    ]
    return [_phase(spec.kernel, spec.in_size, dims)]


@lru_cache(maxsize=1024)
def backward_phases(spec) -> list[Phase]:
    """The backward-data pass of a lifted ConvSpec: ``prod(stride)`` phases that read gy and write gx."""
    per_dim = []
    for i, s, d, k, (before, _) in zip(spec.in_size, spec.stride, spec.dilation, spec.kernel, spec.padding):
        residues = [
            (-(-(i - r) // s), 1, s, r, [((r + before - d * j) // s, j) for j in range(k) if (r + before - d * j) % s == 0])
            for r in range(min(s, i))
        ]  # fmt: skip
        per_dim.append(residues)
    return [_phase(spec.kernel, spec.out_size, dims) for dims in product(*per_dim)]


def with_taps(phases, y):
    """The phases that have taps; the pixels of ``y`` that belong to the others become zero."""
    for phase in phases:
        if len(phase.taps):
            yield phase
        else:
            y[(slice(None), *(slice(o, None, s) for o, s in zip(phase.out_offset, phase.out_stride)))] = 0


def panels_per_job(panels: np.ndarray, blocks: int, threads: int) -> int:
    """All panels where there are blocks of pixels enough for the threads, else fewer, so that there are jobs enough."""
    total = panels.shape[0] * panels.shape[1]
    return total if blocks >= 2 * threads else max(1, total * blocks // (2 * threads))


def forward(run, x, w, b, spec, *options) -> np.ndarray:
    """The forward pass by ``run(x, w, b, y, spec, phases, swap, *options)``, which sees lifted arrays and writes ``y``."""
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    lifted = spec.lifted()
    if y.size:
        run(layout.lift(x), w, b, y5, lifted, forward_phases(lifted), False, *options)
    return y


def backward_data(run, gy, w, spec, *options) -> np.ndarray:
    """The backward-data pass by the same ``run``, with input and output channels swapped."""
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    lifted = spec.lifted()
    if gx.size:
        run(layout.lift(gy), w, None, gx5, lifted, backward_phases(lifted), True, *options)
    return gx


# ------------------------------------------------------------------------------------------------- panels
BLOCK = 16  # channels that are moved at a time: a cache line of float32
U = np.uint64  # a signed index may count from the end, and the test for that keeps loops from becoming vector code


@kernel
def _pack(threads, w, taps, swap, width, panels):
    # w: groups, K/groups, C/groups, taps -> panels[g, p, t, c, j] = w[g, p*width + j, c, taps[t]]   (swap: c and k trade)
    # Rows of w lie a power of two apart as often as not, and would fall on each other in the cache: a block is first
    # copied to a buffer, row after row, and written out from there in the order of the panel.
    groups, blocks, count, depth, _ = panels.shape
    columns = w.shape[2] if swap else w.shape[1]
    source, target, total = w.reshape(-1), panels.reshape(-1), w.shape[3]
    c_blocks = (depth + BLOCK - 1) // BLOCK
    for thread in prange(threads):
        pitch = (width if swap else BLOCK) * total + 1
        buffer = np.empty(max(width, BLOCK) * pitch, w.dtype)
        first_job, end_job = share(thread, threads, groups * blocks * c_blocks)
        for job in range(first_job, end_job):
            g, p, c0 = job // c_blocks // blocks, job // c_blocks % blocks, job % c_blocks * BLOCK
            used, deep = min(width, columns - p * width), min(BLOCK, depth - c0)
            rows, line = (deep, used * total) if swap else (used, deep * total)
            for r in range(rows):
                if swap:
                    at = ((g * depth + c0 + r) * columns + p * width) * total
                else:
                    at = ((g * columns + p * width + r) * depth + c0) * total
                for e in range(line):
                    buffer[U(r * pitch + e)] = source[U(at + e)]
            j_step, c_step = (total, pitch) if swap else (pitch, total)
            for t in range(count):
                for c in range(deep):
                    to = (((g * blocks + p) * count + t) * depth + c0 + c) * width
                    at = c * c_step + taps[t]
                    for j in range(used):
                        target[U(to + j)] = buffer[U(at + j * j_step)]


@dataclass(frozen=True)
class Panels:
    """Weights of one phase as ``data[groups, panels, taps, depth, width]`` and the tile that fits them."""

    data: np.ndarray
    tile: int


def pack(w: np.ndarray, spec, phase: Phase, swap: bool, least: int = 1) -> Panels:
    """Pack the weights of ``phase`` into panels at least ``least`` wide; ``swap`` sums over output channels
    (backward-data) instead of input channels."""
    k, c = spec.c_out // spec.groups, spec.c_in // spec.groups
    columns, depth = (c, k) if swap else (k, c)
    width = max(simd.panel_width(columns, w.dtype), least)
    data = memory.empty((spec.groups, -(-columns // width), len(phase.taps), depth, width), w.dtype)
    _pack(layout.dense(w).reshape(spec.groups, k, c, prod(spec.kernel)), phase.taps, swap, width, data)
    return Panels(data, simd.tile_address(w.dtype, width))


@kernel
def _sum_partials(threads, partials, gw):
    # partials: parts, groups, taps, C/groups, K/groups -> gw: groups, K/groups, C/groups, taps; through a buffer as above
    parts, groups, taps, depth, columns = partials.shape
    source, target = partials.reshape(-1), gw.reshape(-1)
    k_blocks, c_blocks = (columns + BLOCK - 1) // BLOCK, (depth + BLOCK - 1) // BLOCK
    part = groups * taps * depth * columns
    for thread in prange(threads):
        pitch = BLOCK * taps + 1
        buffer = np.empty(BLOCK * pitch, gw.dtype)
        first_job, end_job = share(thread, threads, groups * k_blocks * c_blocks)
        for job in range(first_job, end_job):
            g, k0, c0 = job // c_blocks // k_blocks, job // c_blocks % k_blocks * BLOCK, job % c_blocks * BLOCK
            wide, deep = min(BLOCK, columns - k0), min(BLOCK, depth - c0)
            for t in range(taps):
                for c in range(deep):
                    row = ((g * taps + t) * depth + c0 + c) * columns + k0
                    for k in range(wide):
                        buffer[U(k * pitch + c * taps + t)] = source[U(row + k)]
                    for p in range(1, parts):
                        for k in range(wide):
                            buffer[U(k * pitch + c * taps + t)] += source[U(p * part + row + k)]
            for k in range(wide):
                to = ((g * columns + k0 + k) * depth + c0) * taps
                for e in range(deep * taps):
                    target[U(to + e)] = buffer[U(k * pitch + e)]


def sum_partials(partials: np.ndarray, spec, shape) -> np.ndarray:
    """Add the threads' weight gradients in thread order; the result has the weight's own ``shape`` and layout."""
    gw = memory.empty(shape, partials.dtype)
    k, c = spec.c_out // spec.groups, spec.c_in // spec.groups
    _sum_partials(partials, gw.reshape(spec.groups, k, c, prod(spec.kernel)))
    return gw


def split_rows(spec, threads: int, itemsize: int) -> bool:
    """Whether backward-weight splits pixels among the threads (each with its own partial sum of the weights), or, where
    the weights are too large for that, output channels and taps."""
    weights = prod(spec.w_shape) * itemsize
    jobs = spec.groups * -(-spec.c_out // spec.groups // 32) * prod(spec.kernel)
    return weights <= 1 << 20 or jobs < 4 * threads
