"""Step 1: the definition, as loops.

::

    x: (N, C, H + 2, W + 2)          w: (K, C, 3, 3)            y: (N, K, H, W)
      +-------------+
      | . . . . . . |                  +-------+                  for each output number:
      | . [a b c] . |        *         | q r s |       ->         576 products, added one
      | . [d e f] . |                  | t u v |                  after the other
      | . [g h i] . |                  | w x y |
      +-------------+                  +-------+
      64 such planes                   64 such kernels

**Limit:** waiting. Every addition needs the result of the one before it, which takes three or four cycles. So
the processor adds one number in three cycles, where it could do one multiply-add of 16 numbers in each
(AVX-512). Memory does not matter yet.

**Next:** independent sums. The output channels of a pixel do not depend on each other, so 16 of them fit one
instruction.
"""

import numba
import numpy as np


def arrange(x, w):
    """x with its border of zeros, w, and the array for the result."""
    images, _, height, width = x.shape
    return (
        np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))),
        w,
        np.empty((images, len(w), height, width), np.float32),
    )


@numba.njit
def conv(x, w, y):
    images, outputs, height, width = y.shape
    for n in range(images):
        for k in range(outputs):
            for i in range(height):
                for j in range(width):
                    total = np.float32(0)
                    for c in range(x.shape[1]):
                        for p in range(3):
                            for q in range(3):
                                total += x[n, c, i + p, j + q] * w[k, c, p, q]
                    y[n, k, i, j] = total


def result(y):
    """The result as ``(N, K, H, W)``."""
    return y
