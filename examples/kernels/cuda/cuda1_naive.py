"""CUDA, step 1: a thread per result.

::

    y: N x H x W x K numbers, 256 threads a block          one thread:
      +-----+-----+-----+-----                               for 9 taps, for C channels:
      |block|block|block| ...                                    sum += x[pixel + tap, c] * w[tap, c, k]
      +-----+-----+-----+-----
       threads of a warp: 32 channels k of one pixel         a warp reads 1 number of x, 32 of w

**Limit:** loads. Each multiply-add needs two loads, of which only the caches serve most. A multiprocessor can
start four times as many multiply-adds of a warp as loads, so at best an eighth of its arithmetic is used.

**Next:** a block fetches what its threads share once, and each thread uses it for several results.
"""

import math

import numpy as np
from numba import cuda

THREADS = 256


@cuda.jit
def kernel(x, w, y):
    images, height, width, outputs = y.shape
    index = cuda.grid(1)
    if index < images * height * width * outputs:
        pixel, k = index // outputs, index % outputs
        n, i, j = pixel // (height * width), pixel // width % height, pixel % width
        total = np.float32(0)
        for p in range(3):
            for q in range(3):
                for c in range(x.shape[3]):
                    total += x[n, i + p, j + q, c] * w[p, q, c, k]
        y[n, i, j, k] = total


def conv(x, w, y):
    """Start the kernel on arrays of the device, laid out as ``problem.channels_last`` does."""
    kernel[math.ceil(y.size / THREADS), THREADS](x, w, y)
