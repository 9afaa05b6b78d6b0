"""CUDA, step 3: tensor cores.

::

    block: 4 warps, 64 pixels x 64 output channels       a warp: 16 pixels x 64 channels = 8 tiles of 16 x 8

              w: 16 x 64                                      mma:   16 x 8  +=  16 x 8  *  8 x 8
            +-------------+                                            C           A         B
    x: 64   |             |                                   spread over the 32 lanes of the warp: 4, 4 and 2
    x 16    +-------------+                                   registers of each (drawn in codegen/ptx.py)
    +-----+ | warp 0      |
    |     | | warp 1      |                                   A of 8 channels is read once and used 8 times
    |     | | warp 2      |
    +-----+ | warp 3      |
            +-------------+

One instruction of a warp, ``mma``, multiplies a 16 x 8 by an 8 x 8 matrix: 1024 multiply-adds, 32 per lane.
Factors are rounded to TF32 (10 bits of fraction, errors of 5e-4), sums are float32. Rows of the slabs are 4
and 8 numbers longer than they need be, so that the lanes of a warp read 32 different banks of shared memory.

**Limit:** bringing the numbers in. Tensor cores take eight times as many multiply-adds per cycle as the
float32 units, so copies, waits and the rounding of each factor are most of the time.

**Next:** fastconv's kernel (``backends/cuda/conv/implicit_gemm.py``): copies that run on while slabs before
them are multiplied (``cp.async``, three slabs), 16 bytes at a time, larger tiles, ``ldmatrix``, an epilogue.
"""

import numpy as np
from cuda2_shared import SIMULATED, locate
from numba import cuda

from fastconv.backends.cuda.codegen.ptx import mma_tf32, tf32

WARPS, TILES = (1, 2) if SIMULATED else (4, 8)
PIXELS, COLUMNS, DEPTH = 16 * WARPS, 8 * TILES, 16
THREADS, XS, WS = 32 * WARPS, DEPTH + 4, COLUMNS + 8


@cuda.jit
def kernel(x, w, y):
    _, height, width, outputs = y.shape
    xs = cuda.shared.array((PIXELS, XS), np.float32)
    ws = cuda.shared.array((DEPTH, WS), np.float32)
    thread, first, first_k = cuda.threadIdx.x, cuda.blockIdx.x * PIXELS, cuda.blockIdx.y * COLUMNS
    row, g, t = thread // 32 * 16 + thread % 32 // 4, thread % 32 // 4, thread % 4
    sums = cuda.local.array((TILES, 4), np.float32)
    for b in range(TILES):
        for r in range(4):
            sums[b, r] = 0
    for tap in range(9):
        for start in range(0, x.shape[3], DEPTH):
            for e in range(thread, PIXELS * DEPTH, THREADS):
                n, i, j = locate(first + e // DEPTH, height, width)
                xs[e // DEPTH, e % DEPTH] = x[n, i + tap // 3, j + tap % 3, start + e % DEPTH]
            for e in range(thread, DEPTH * COLUMNS, THREADS):
                c, k = e // COLUMNS, e % COLUMNS
                ws[c, k] = w[tap // 3, tap % 3, start + c, first_k + k]
            cuda.syncthreads()
            for c in range(t, DEPTH, 8):
                a = tf32(xs[row, c]), tf32(xs[row + 8, c]), tf32(xs[row, c + 4]), tf32(xs[row + 8, c + 4])
                for b in range(TILES):
                    factors = tf32(ws[c, 8 * b + g]), tf32(ws[c + 4, 8 * b + g])
                    s = mma_tf32(a, factors, (sums[b, 0], sums[b, 1], sums[b, 2], sums[b, 3]))
                    sums[b, 0], sums[b, 1], sums[b, 2], sums[b, 3] = s
            cuda.syncthreads()
    for r in range(4):
        n, i, j = locate(first + row + r // 2 * 8, height, width)
        for b in range(TILES):
            y[n, i, j, first_k + 8 * b + 2 * t + r % 2] = sums[b, r]


def conv(x, w, y):
    """As in step 1; N * H * W is a multiple of PIXELS, K of COLUMNS, C of DEPTH."""
    images, height, width, outputs = y.shape
    kernel[(images * height * width // PIXELS, outputs // COLUMNS), THREADS](x, w, y)
