"""Matrix products of any shape and strides, and dense layers, which are convolutions of images of one pixel.

A block computes a tile of BM x BM of the result, and each thread a small tile of that in registers::

            B: k x n               shared memory holds a slab of A and one of B, BK deep; thread (i, j) keeps
        +---------+                THREAD_TILE x THREAD_TILE sums and walks the slab once per step:
        |  slab   |  BK            THREAD_TILE numbers of A's column times as many of B's row
    +---+---------+
    | A | C tile  |  BM            Strides are arguments, so transposed operands need no copy; loads run along
    +---+---------+                the contiguous axis of the operand.

The blocks lie on one axis of the grid, because the other two end at 65,535.

Both add up in float32 (float64), without tensor cores: what ``"highest"`` precision promises, in every mode.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.spec import conv_spec

from ..conv import cost, geometry, implicit_gemm, implicit_gemm_weight
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, cuda, kernel, launch
from .pointwise import half_as_float

_SIDE, _THREAD_TILE, _BK = (2, 2, 4) if SIMULATED else (16, 4, 16)
_BM, _THREADS = _SIDE * _THREAD_TILE, _SIDE * _SIDE


@functools.cache
def _matmul_kernel(real):
    zero, slab = real(0), _BM * _BK
    bm, bk, side, thread_tile, threads = _BM, _BK, _SIDE, _THREAD_TILE, _THREADS

    def matmul(a, b, c, m, n, k, a_steps, b_steps, batch_shape, a_batch, b_batch, tiles):
        a_slab = cuda.shared.array(slab, real)
        b_slab = cuda.shared.array(slab, real)
        t = cuda.threadIdx.x
        i, j = t // side, t % side
        line = cuda.blockIdx.x // tiles[1]
        batch = line // tiles[0]
        top, left = (line - batch * tiles[0]) * bm, np.int64(cuda.blockIdx.x - line * tiles[1]) * bm
        rest, a_at, b_at = np.int64(batch), np.int64(0), np.int64(0)
        for d in range(len(batch_shape) - 1, -1, -1):
            whole = rest // batch_shape[d]
            place = rest - whole * batch_shape[d]
            a_at += place * a_batch[d]
            b_at += place * b_batch[d]
            rest = whole
        sums = cuda.local.array((thread_tile, thread_tile), real)
        ra, rb = cuda.local.array(thread_tile, real), cuda.local.array(thread_tile, real)
        for p in range(thread_tile):
            for q in range(thread_tile):
                sums[p, q] = zero
        for start in range(0, k, bk):
            for e in range(t, slab, threads):
                # neighbouring threads read neighbouring addresses
                row, kk = (e // bk, e % bk) if a_steps[1] == 1 else (e % bm, e // bm)
                inside = top + row < m and start + kk < k
                a_slab[kk * bm + row] = (
                    a[a_at + (top + row) * a_steps[0] + (start + kk) * a_steps[1]] if inside else zero
                )
                column, kk = (e % bm, e // bm) if b_steps[1] == 1 else (e // bk, e % bk)
                inside = left + column < n and start + kk < k
                b_slab[kk * bm + column] = (
                    b[b_at + (start + kk) * b_steps[0] + (left + column) * b_steps[1]] if inside else zero
                )
            cuda.syncthreads()
            for kk in range(bk):
                for p in range(thread_tile):
                    ra[p] = a_slab[kk * bm + i + p * side]
                    rb[p] = b_slab[kk * bm + j + p * side]
                for p in range(thread_tile):
                    for q in range(thread_tile):
                        sums[p, q] += ra[p] * rb[q]
            cuda.syncthreads()
        c_at = np.int64(batch) * m * n
        for p in range(thread_tile):
            row = top + i + p * side
            for q in range(thread_tile):
                column = left + j + q * side
                if row < m and column < n:
                    c[c_at + row * n + column] = sums[p, q]

    return kernel(matmul, launch_bounds=_THREADS)


@half_as_float
def matmul(a: DeviceArray, b: DeviceArray) -> DeviceArray:
    """Matrix product over the last two axes; the axes before them are broadcast."""
    (m, k), n, real = a.shape[-2:], b.shape[-1], a.dtype.type
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = memory.empty((*batch, m, n), a.dtype)
    if c.size:
        batches = [layout.steps(layout.broadcast(v, (*batch, *v.shape[-2:])))[:-2] for v in (a, b)]
        shape, *batches = layout.merged(batch, *batches)
        tiles = -(-m // _BM), -(-n // _BM)
        launch(
            _matmul_kernel(real),
            prod(batch) * prod(tiles),
            _THREADS,
            a,
            b,
            c,
            m,
            n,
            k,
            layout.steps(a)[-2:],
            layout.steps(b)[-2:],
            shape,
            *batches,
            tiles,
        )
    return c


# --------------------------------------------------------------------------------------------- dense layers
@functools.lru_cache(maxsize=1024)
def _phase(rows, inputs, outputs, backward=False):
    """A dense layer as a convolution of images of one pixel."""
    spec = conv_spec("conv3d", (rows, inputs, 1, 1, 1), (outputs, inputs, 1, 1, 1))
    reason = geometry.too_many_pixels(spec) or cost.too_large_a_grid(1, inputs, outputs)
    if reason is not None:
        raise ValueError(f"linear: {reason}")
    return (geometry.backward if backward else geometry.forward)(spec)[0]


def _images(x):
    return layout.dense(x).reshape(len(x), 1, 1, 1, -1)


def _weights(w):
    return geometry.weights(w.view((*w.shape, 1, 1, 1), (*w.strides, 0, 0, 0)))


def _run(x, w, outputs, bias=None, backward=False):
    y = memory.empty((len(x), outputs), x.dtype)
    if y.size and not x.size:
        return (
            layout.filled(y.shape, y.dtype, 0)
            if bias is None
            else layout.dense(layout.broadcast(bias, y.shape))
        )
    if y.size:
        sizes = (outputs, x.shape[1]) if backward else (x.shape[1], outputs)
        implicit_gemm.run(
            [_phase(len(x), *sizes, backward)], _images(x), _weights(w), _images(y), bias, mode="fma"
        )
    return y


def linear_fwd(x: DeviceArray, w: DeviceArray, b: DeviceArray | None) -> DeviceArray:
    """``x @ w.T + b``: ``rows, inputs`` by weights ``outputs, inputs``."""
    return _run(x, w, len(w), b)


def linear_bwd_data(gy: DeviceArray, w: DeviceArray) -> DeviceArray:
    """Gradient of :func:`linear_fwd` in x."""
    return _run(gy, w, w.shape[1], backward=True)


def linear_bwd_weight(gy: DeviceArray, x: DeviceArray, out: DeviceArray | None = None) -> DeviceArray:
    """Gradient of :func:`linear_fwd` in w."""
    gw, memory_order = geometry.empty_weights((gy.shape[1], x.shape[1], 1, 1, 1), x.dtype)
    if gw.size and not len(x):
        return layout.filled(gw.shape[:2], gw.dtype, 0)
    if gw.size:
        implicit_gemm_weight.run(
            _phase(len(x), x.shape[1], gy.shape[1]), _images(x), _images(gy), memory_order, mode="fma"
        )
    return gw.view(gw.shape[:2], gw.strides[:2])
