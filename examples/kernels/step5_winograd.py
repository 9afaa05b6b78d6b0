"""Step 5: Winograd's method, F(4x4, 3x3): a quarter of the multiplications.

::

    6x6 pixels      36 points          for each point: a product over      36 sums           4x4 results
    of x            V                  the channels                                          of y
     +------+        +------+                                               +------+          +----+
     |      | B'd B  |      |          V[point]     U[point]                |      |  A'm A   |    |
     |      | -----> |      | ------>  16 tiles  x  C x K    ------------>  |      | -------> |    |
     +------+        +------+          x C                                  +------+          +----+
    input transform                    step 3's tile, 36 times             output transform

In one dimension, F(2, 3) gives two outputs of a kernel with three taps. The definition takes six products.
Winograd's method reads pixels and taps as the coefficients of polynomials, multiplies the values of both at
four points, and interpolates: four products. F(4x4, 3x3) uses six points for rows and for columns: 36
products per channel, where the definition has 16 x 9 = 144. U holds the values of the weights and is made
once. (S. Winograd, "Arithmetic Complexity of Computations", 1980; A. Lavin and S. Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016.)

A block of 16 tiles fits the second-level cache: U has 590 KB, V and the sums 147 KB each.

**Limit:** the products, as in step 4, and the transforms, which take a fifth of the time. They also round:
the error is about nine times that of the other steps.

**Next:** what surrounds the convolution in a network.
"""

import numba
import numpy as np
from numba import prange
from problem import FASTMATH, C, K, channels_last
from step2_channels import result  # noqa: F401 - part of a step
from step3_registers import tile

T = 16  # tiles of a block
TWO, FOUR, FIVE, EIGHT = np.float32(
    [2, 4, 5, 8]
)  # with Python's integers the arithmetic would become float64


def arrange(x, w):
    """As in step 4, but the weights are ``G w G'`` of each 3x3 kernel: ``(36, C, K)``."""
    x, w, y = channels_last(x, w)
    g = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
    return x, np.einsum("ap,pqck,bq->abck", g, w, g).reshape(36, C, K).astype(np.float32), y


@numba.njit(fastmath=FASTMATH, inline="always")
def input_transform(d, step, v, v_step):
    """``B' d``: six pixels, ``step`` numbers apart, to six points; 64 channels at once."""
    for c in range(C):
        d0, d1, d2 = d[c], d[step + c], d[2 * step + c]
        d3, d4, d5 = d[3 * step + c], d[4 * step + c], d[5 * step + c]
        v[c] = FOUR * d0 - FIVE * d2 + d4
        v[v_step + c] = (d4 - FOUR * d2) + (d3 - FOUR * d1)
        v[2 * v_step + c] = (d4 - FOUR * d2) - (d3 - FOUR * d1)
        v[3 * v_step + c] = (d4 - d2) + TWO * (d3 - d1)
        v[4 * v_step + c] = (d4 - d2) - TWO * (d3 - d1)
        v[5 * v_step + c] = FOUR * d1 - FIVE * d3 + d5


@numba.njit(fastmath=FASTMATH, inline="always")
def output_transform(m, step, y, y_step):
    """``A' m``: six sums, ``step`` numbers apart, to four results."""
    for k in range(K):
        m0, m1, m2 = m[k], m[step + k], m[2 * step + k]
        m3, m4, m5 = m[3 * step + k], m[4 * step + k], m[5 * step + k]
        y[k] = m0 + (m1 + m2) + (m3 + m4)
        y[y_step + k] = (m1 - m2) + TWO * (m3 - m4)
        y[2 * y_step + k] = (m1 + m2) + FOUR * (m3 + m4)
        y[3 * y_step + k] = (m1 - m2) + EIGHT * (m3 - m4) + m5


@numba.njit(fastmath=FASTMATH, parallel=True)
def conv(x, u, y):
    images, height, width, _ = y.shape
    across = width // 4
    per_image = height // 4 * across
    for block in prange(-(-images * per_image // T)):
        v, m = np.zeros(36 * T * C, np.float32), np.zeros(36 * T * K, np.float32)  # (36, T, C) and (36, T, K)
        rows = np.empty(36 * C, np.float32)  # one tile, transformed along its rows
        tiles = range(block * T, min(block * T + T, images * per_image))
        for t, number in enumerate(tiles):
            n, i, j = number // per_image, number % per_image // across * 4, number % across * 4
            for r in range(6):
                input_transform(x[n, i + r, j : j + 6].reshape(6 * C), C, rows[6 * C * r :], C)
            for s in range(6):
                input_transform(rows[C * s :], 6 * C, v[(s * T + t) * C :], 6 * T * C)
        for point in range(36):
            for t in range(point * T, point * T + T, 4):
                tile(v[t * C : (t + 4) * C], u[point].reshape(C * K), m[t * K : (t + 4) * K])
        for t, number in enumerate(tiles):
            n, i, j = number // per_image, number % per_image // across * 4, number % across * 4
            for s in range(6):
                output_transform(m[(s * T + t) * K :], 6 * T * K, rows[K * s :], 6 * K)
            for r in range(4):
                output_transform(rows[6 * K * r :], K, y[n, i + r, j : j + 4].reshape(4 * K), K)
