"""Matrix products of any shape and strides, and dense layers, which are convolutions of images of one pixel.

A product has a tile of the result per block, a small tile of it in the registers of each thread:

::

            B: k x n                       shared memory holds a slab of A and one of B, DEPTH deep;
        +---------+                        thread (i, j) keeps EACH x EACH sums and walks the slab once per step:
        |  slab   |  DEPTH                 EACH numbers of A's column times EACH of B's row
    +---+---------+
    | A | C tile  |  TILE = EACH * SIDE    Strides are arguments, so transposed operands need no copy; loads run along
    +---+---------+                        whichever axis of the operand is contiguous.

Both add up in float32 (float64), without tensor cores: what ``"highest"`` precision promises, in every mode.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.spec import conv_spec

from ..conv import geometry as geometry
from ..conv import registry
from ..runtime import layout, memory
from ..runtime.launch import SIMULATED, cuda, kernel, launch
from .pointwise import half_as_float

_SIDE, _EACH, _DEPTH = (2, 2, 4) if SIMULATED else (16, 4, 16)
_TILE, _THREADS = _SIDE * _EACH, _SIDE * _SIDE


@functools.cache
def _matmul_kernel(real):
    zero, slab = real(0), _TILE * _DEPTH
    tile, depth, side, each, threads = _TILE, _DEPTH, _SIDE, _EACH, _THREADS

    def matmul(a, b, c, m, n, k, a_steps, b_steps, batch_shape, a_batch, b_batch):
        a_slab = cuda.shared.array(slab, real)
        b_slab = cuda.shared.array(slab, real)
        t = cuda.threadIdx.x
        i, j = t // side, t % side
        rest, a_at, b_at = np.int64(cuda.blockIdx.z), np.int64(0), np.int64(0)
        for d in range(len(batch_shape) - 1, -1, -1):
            whole = rest // batch_shape[d]
            place = rest - whole * batch_shape[d]
            a_at += place * a_batch[d]
            b_at += place * b_batch[d]
            rest = whole
        top, left = cuda.blockIdx.y * tile, np.int64(cuda.blockIdx.x) * tile
        sums = cuda.local.array((each, each), real)
        ra, rb = cuda.local.array(each, real), cuda.local.array(each, real)
        for p in range(each):
            for q in range(each):
                sums[p, q] = zero
        for start in range(0, k, depth):
            for e in range(t, slab, threads):
                # neighbouring threads read neighbouring addresses
                row, kk = (e // depth, e % depth) if a_steps[1] == 1 else (e % tile, e // tile)
                inside = top + row < m and start + kk < k
                a_slab[kk * tile + row] = (
                    a[a_at + (top + row) * a_steps[0] + (start + kk) * a_steps[1]] if inside else zero
                )
                column, kk = (e % tile, e // tile) if b_steps[1] == 1 else (e // depth, e % depth)
                inside = left + column < n and start + kk < k
                b_slab[kk * tile + column] = (
                    b[b_at + (start + kk) * b_steps[0] + (left + column) * b_steps[1]] if inside else zero
                )
            cuda.syncthreads()
            for kk in range(depth):
                for p in range(each):
                    ra[p] = a_slab[kk * tile + i + p * side]
                    rb[p] = b_slab[kk * tile + j + p * side]
                for p in range(each):
                    for q in range(each):
                        sums[p, q] += ra[p] * rb[q]
            cuda.syncthreads()
        c_at = np.int64(cuda.blockIdx.z) * m * n
        for p in range(each):
            row = top + i + p * side
            for q in range(each):
                column = left + j + q * side
                if row < m and column < n:
                    c[c_at + row * n + column] = sums[p, q]

    return kernel(matmul, launch_bounds=_THREADS)


@half_as_float
def matmul(a, b):
    (m, k), n, real = a.shape[-2:], b.shape[-1], a.dtype.type
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = memory.empty((*batch, m, n), a.dtype)
    if c.size:
        batches = [layout.steps(layout.broadcast(v, (*batch, *v.shape[-2:])))[:-2] for v in (a, b)]
        shape, *batches = layout.merged(batch, *batches)
        launch(
            _matmul_kernel(real),
            (-(-n // _TILE), -(-m // _TILE), prod(batch)),
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
        )
    return c


# ------------------------------------------------------------------------------------------------- dense
# layers
@functools.lru_cache(maxsize=1024)
def _phase(rows, inputs, outputs, backward=False):
    """A dense layer as a convolution of images of one pixel."""
    spec = conv_spec("conv3d", (rows, inputs, 1, 1, 1), (outputs, inputs, 1, 1, 1))
    if (reason := geometry.too_many_pixels(spec)) is not None:
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
        registry.gather(
            [_phase(len(x), *sizes, backward)], _images(x), _weights(w), _images(y), bias, mode="fma"
        )
    return y


def linear_fwd(x, w, b):
    return _run(x, w, len(w), b)


def linear_bwd_data(gy, w):
    return _run(gy, w, w.shape[1], backward=True)


def linear_bwd_weight(gy, x):
    gw, memory_order = geometry.empty_weights((gy.shape[1], x.shape[1], 1, 1, 1), x.dtype)
    if gw.size and not len(x):
        return layout.filled(gw.shape[:2], gw.dtype, 0)
    if gw.size:
        registry.gather_weight(
            _phase(len(x), x.shape[1], gy.shape[1]), _images(x), _images(gy), memory_order, mode="fma"
        )
    return gw.view(gw.shape[:2], gw.strides[:2])
