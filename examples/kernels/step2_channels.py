"""Step 2: vectors of output channels.

::

    x: (N, H + 2, W + 2, C)     w: (3, 3, C, K)                     y: (N, H, W, K)

      one number of x             64 weights, side by side            64 sums, side by side
         +---+                    +----+----+----+----+               +----+----+----+----+
         | a |  broadcast    *    | 16 | 16 | 16 | 16 |     added to  | 16 | 16 | 16 | 16 |
         +---+                    +----+----+----+----+               +----+----+----+----+

The channels are innermost in memory ("channels last"). So the loop over k reads and writes runs of memory,
and the compiler makes vector instructions of it: 16 numbers each with AVX-512.

**Limit:** loads and stores. For each multiply-add of 16 numbers, 16 weights and 16 sums are loaded and 16
sums are stored: 192 bytes for 32 operations. The processor stores at most one such vector in two cycles, and
every sum goes to the first-level cache and comes back 576 times. The weights (147 KB) do not fit into that
cache (32 KB).

**Next:** use each number that was loaded more than once, while it is in a register.
"""

import numba
from problem import FASTMATH, channels_last

arrange = channels_last


@numba.njit(fastmath=FASTMATH)
def conv(x, w, y):
    images, height, width, outputs = y.shape
    for n in range(images):
        for i in range(height):
            for j in range(width):
                y[n, i, j] = 0
                for p in range(3):
                    for q in range(3):
                        for c in range(x.shape[3]):
                            a = x[n, i + p, j + q, c]
                            for k in range(outputs):
                                y[n, i, j, k] += a * w[p, q, c, k]


def result(y):
    """The result as ``(N, K, H, W)``, a view."""
    return y.transpose(0, 3, 1, 2)
