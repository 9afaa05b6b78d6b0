"""CUDA, step 2: tiles in shared memory, and in registers.

::

                                 64 output channels
                                +------------------+
                     16 channels|     slab of w    |  shared memory
                     of a tap   +------------------+
         16 channels            |                  |
         +---------+            |  +----+          |     256 threads: each owns 4 pixels x 4 channels
      64 | slab of |            |  |4x4 | registers|     of the result. For each of the 16 channels it
  pixels |    x    | ---------> |  +----+          |     reads 4 + 4 numbers and does 16 multiply-adds
         +---------+            +------------------+
        shared memory             y: 64 x 64 of the result per block

    for each tap, for each 16 channels:   copy both slabs | wait for all threads | multiply | wait

The convolution is a matrix product here: a row per pixel, a column per output channel. The left matrix is
never built: the copy takes each pixel from where it lies in the image ("implicit GEMM").

**Limit:** shared memory and waiting. A number from memory is used 64 times now, where step 1 used it once.
But two reads of shared memory come with every four multiply-adds, and while a block copies, it does not
multiply.

**Next:** an instruction that multiplies whole tiles.
"""

import numpy as np
from numba import cuda
from numba.cuda import config

SIMULATED = bool(config.ENABLE_CUDASIM)
TILE = 16 if SIMULATED else 64  # pixels, and output channels, of a block; the simulator likes small blocks
ACROSS, DEPTH = TILE // 4, 16
THREADS = ACROSS * ACROSS


@cuda.jit
def kernel(x, w, y):
    _, height, width, outputs = y.shape
    xs = cuda.shared.array((DEPTH, TILE), np.float32)
    ws = cuda.shared.array((DEPTH, TILE), np.float32)
    thread, first, first_k = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
    row, column = thread // ACROSS * 4, thread % ACROSS * 4
    sums = cuda.local.array((4, 4), np.float32)
    for a in range(4):
        for b in range(4):
            sums[a, b] = 0
    for tap in range(9):
        for start in range(0, x.shape[3], DEPTH):
            for e in range(thread, TILE * DEPTH, THREADS):
                m, c = e // DEPTH, e % DEPTH
                n, i, j = locate(first + m, height, width)
                xs[c, m] = x[n, i + tap // 3, j + tap % 3, start + c]
                ws[e // TILE, e % TILE] = w[tap // 3, tap % 3, start + e // TILE, first_k + e % TILE]
            cuda.syncthreads()
            for c in range(DEPTH):
                for a in range(4):
                    for b in range(4):
                        sums[a, b] += xs[c, row + a] * ws[c, column + b]
            cuda.syncthreads()
    for a in range(4):
        n, i, j = locate(first + row + a, height, width)
        for b in range(4):
            y[n, i, j, first_k + column + b] = sums[a, b]


@cuda.jit(device=True)
def locate(pixel, height, width):
    """Image, row and column of the pixel of this number."""
    return pixel // (height * width), pixel // width % height, pixel % width


def conv(x, w, y):
    """As in step 1; N * H * W and K are multiples of TILE, C of DEPTH."""
    images, height, width, outputs = y.shape
    kernel[(images * height * width // TILE, outputs // TILE), THREADS](x, w, y)
