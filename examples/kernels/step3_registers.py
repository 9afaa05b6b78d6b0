"""Step 3: a tile of registers.

::

                            w: 4 input channels x 16 output channels
                                 +--------+
                                 | w0..w3 |   4 vectors of 16
                                 +--------+
     x: 4 pixels x 4 channels    |
       +------------------+      v
       | a0 a1 a2 a3      |   y0 += a0*w0 + a1*w1 + a2*w2 + a3*w3       16 numbers of x, each in a register:
       | b0 b1 b2 b3      |   y1 += b0*w0 + ...                         16 multiply-adds for
       | d0 d1 d2 d3      |   y2 += d0*w0 + ...                         4 vectors of w and 4 of y loaded,
       | e0 e1 e2 e3      |   y3 += e0*w0 + ...                         4 of y stored
       +------------------+

Four neighbouring pixels use the same weights, and four input channels go into the same sums. So 16
multiply-adds share 8 loads and 4 stores, where step 2 needs 32 and 16. With its 16 broadcast numbers, 4
weights and some sums, the tile fills most of the 32 vector registers of AVX-512. A larger one would not fit,
and its numbers would go to the cache again.

**Limit:** one core, and the caches. For each tile of 4 pixels all 147 KB of weights are read again. They do
not fit into the first-level cache (32 KB). The second-level cache delivers them just fast enough; with 256
channels they are 2.4 MB, come from further away, and the share of the peak falls from 80 to 73 %.

**Next:** an order of the loops in which weights stay in the first-level cache, and all cores.
"""

import numba
from problem import FASTMATH, C, K, channels_last
from step2_channels import result  # noqa: F401 - part of a step

arrange = channels_last


@numba.njit(fastmath=FASTMATH)
def tile(x, w, y):
    """``y (4, K) += x (4, C) @ w (C, K)``, all three as runs of memory."""
    for c in range(0, C, 4):
        a0, a1, a2, a3 = x[c], x[c + 1], x[c + 2], x[c + 3]
        b0, b1, b2, b3 = x[C + c], x[C + c + 1], x[C + c + 2], x[C + c + 3]
        d0, d1, d2, d3 = x[2 * C + c], x[2 * C + c + 1], x[2 * C + c + 2], x[2 * C + c + 3]
        e0, e1, e2, e3 = x[3 * C + c], x[3 * C + c + 1], x[3 * C + c + 2], x[3 * C + c + 3]
        for k in range(K):
            at = c * K + k
            w0, w1, w2, w3 = w[at], w[at + K], w[at + 2 * K], w[at + 3 * K]
            y[k] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            y[K + k] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
            y[2 * K + k] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
            y[3 * K + k] += e0 * w0 + e1 * w1 + e2 * w2 + e3 * w3


@numba.njit(fastmath=FASTMATH)
def conv(x, w, y):
    images, height, width, _ = y.shape
    for n in range(images):
        for i in range(height):
            for j in range(0, width, 4):
                sums = y[n, i, j : j + 4].reshape(4 * K)
                sums[:] = 0
                for p in range(3):
                    for q in range(3):
                        tile(x[n, i + p, j + q : j + q + 4].reshape(4 * C), w[p, q].reshape(C * K), sums)
