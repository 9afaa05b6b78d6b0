"""Step 4: blocks for the caches, and threads.

::

    thread 0: blocks 0, 1, ...       one block: 4 rows of one image
    thread 1: blocks k, k + 1, ...
                                        6 rows of x, with border: 89 KB  \\
    for each of the 9 taps              4 rows of y:              57 KB   > second-level cache (1 MB)
        w[p, q]: 16 KB, read once       all of w:                147 KB  /
        for each row of the block
            for each tile of 4 pixels   w[p, q], one tile of x and y:     first-level cache (32 KB)
                step 3's tile

The loop over the taps moves outwards, around a block of pixels. One tap's weights, 16 KB, stay in the
first-level cache for all 56 tiles of a block. In return the block's sums, 57 KB, are loaded and stored once
per tap. With 64 channels that gains little on one core, because step 3's weights come from the second-level
cache in time. With 256 channels it gains 8 %. Threads gain most here: blocks share no result, so no thread
waits for another, and the bits do not depend on the number of threads.

The weights have the order in which they are read, ``(3, 3, C, K)``; packing them is done once and not timed.

**Limit:** arithmetic. The processor starts about 80 % of the multiply-adds that it could start; the rest is
broadcasts, loads and stores of the tile. No order of these loops can pass 100 %.

**Next:** fewer multiplications for the same result.
"""

import numba
from numba import prange
from problem import FASTMATH, C, K, channels_last
from step2_channels import result  # noqa: F401 - part of a step
from step3_registers import tile

arrange = channels_last
ROWS = 4  # rows of a block


@numba.njit(fastmath=FASTMATH, parallel=True)
def conv(x, w, y):
    images, height, width, _ = y.shape
    blocks = -(-height // ROWS)
    for block in prange(images * blocks):
        n, first = block // blocks, block % blocks * ROWS
        last = min(first + ROWS, height)
        y[n, first:last] = 0
        for p in range(3):
            for q in range(3):
                weights = w[p, q].reshape(C * K)
                for i in range(first, last):
                    for j in range(0, width, 4):
                        pixels = x[n, i + p, j + q : j + q + 4].reshape(4 * C)
                        tile(pixels, weights, y[n, i, j : j + 4].reshape(4 * K))
