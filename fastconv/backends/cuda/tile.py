"""A block's tile of a matrix product: slabs of A and B in shared memory, the sums in registers.

::

                     cols                  A slab of A is rows x depth, one of B depth x cols. In shared memory a slab lies
                  +--------+               "deep" (depth runs along memory) or not (rows or cols do), as it came from
            depth | B slab |               global memory; lines are padded so that the lanes of a warp meet different banks.
        +-----+---+--------+
        |  A  |   | w0 | w1|               Tensor cores: a warp owns warp_rows x warp_cols of the tile, as 16 x 8 products;
   rows | slab|   |----+---|               a lane holds pairs of columns (see ptx.py).
        |     |   | w2 | w3|               FMA: a thread owns EACH[0] x EACH[1] sums and reads 4 steps of depth at a time.
        +-----+---+--------+

Either way a thread's sums are a small matrix whose row i and column j belong to the tile's ``origin + place(i)``,
with constant steps: ``place(i) = i % run + i // run * step``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from . import ptx
from .launch import body, cuda


@dataclass(frozen=True)
class Tile:
    """Sizes of a tile; ``warp`` is what one warp computes with tensor cores, ``each`` what one thread does without."""

    rows: int
    cols: int
    depth: int
    warp: tuple[int, int]
    each: tuple[int, int]
    stages: int = 3

    def threads(self, mode: str) -> int:
        if mode == "fma":
            return self.rows * self.cols // (self.each[0] * self.each[1])
        return 32 * self.rows * self.cols // (self.warp[0] * self.warp[1])


def line(size: int, mode: str, deep: bool) -> int:
    """Elements from one line of a slab to the next: distinct banks for the lanes that read together (bf16 reads pairs along
    depth, tf32 single numbers; four lines apart they must be 8 or 4 banks apart)."""
    return size + (8 if (mode == "bf16") == deep and mode != "fma" else 4)


class Slabs:
    """The constants and the two device functions of one kind of tile.

    ``origin(thread)`` is the first row and column of a thread's sums; ``multiply(slabs, a, b, thread, sums)`` adds the
    product of the slabs at ``a`` and ``b``.
    """

    def __init__(self, tile: Tile, mode: str, real, deep_a: bool, deep_b: bool):
        self.threads = tile.threads(mode)
        self.line_a = line(tile.depth if deep_a else tile.rows, mode, deep_a)
        self.line_b = line(tile.depth if deep_b else tile.cols, mode, deep_b)
        self.size_a = self.line_a * (tile.rows if deep_a else tile.depth)
        self.size_b = self.line_b * (tile.cols if deep_b else tile.depth)
        self.line_y = tile.cols + 8  # the sums, on their way out
        self.bytes = max(tile.stages * (self.size_a + self.size_b), tile.rows * self.line_y) * np.dtype(real).itemsize
        if mode == "fma":
            self._fma(tile, real, deep_a, deep_b)
        else:
            self._tensor(tile, mode, deep_a, deep_b)

    def _tensor(self, tile, mode, deep_a, deep_b):
        (warp_rows, warp_cols), depth = tile.warp, tile.depth
        across = tile.cols // warp_cols
        self.each, self.rows, self.cols = (warp_rows // 8, warp_cols // 4), (1, 8), (2, 8)
        high, wide = warp_rows // 16, warp_cols // 8
        step, mma = (8, ptx.mma_tf32) if mode == "tf32" else (16, ptx.mma_bf16)
        fragment_a, fragment_b = _fragment(mode, deep_a, self.line_a), _fragment(mode, deep_b, self.line_b)

        @body
        def origin(thread):
            lane, warp = thread & 31, thread >> 5
            return warp // across * warp_rows + (lane >> 2), warp % across * warp_cols + 2 * (lane & 3)

        @body
        def multiply(slabs, a, b, thread, sums):
            lane, warp = thread & 31, thread >> 5
            row, col = warp // across * warp_rows, warp % across * warp_cols
            right = cuda.local.array((wide, 2), np.uint32)
            for k in range(0, depth, step):
                for j in range(0, wide, 2):
                    v = fragment_b(slabs, b, col + j * 8, k, lane)
                    right[j, 0] = v[0]
                    right[j, 1] = v[2]
                    right[j + 1, 0] = v[1]
                    right[j + 1, 1] = v[3]
                for i in range(high):
                    left = fragment_a(slabs, a, row + i * 16, k, lane)
                    for j in range(wide):
                        c = (sums[2 * i, 2 * j], sums[2 * i, 2 * j + 1], sums[2 * i + 1, 2 * j], sums[2 * i + 1, 2 * j + 1])
                        d = mma(left, (right[j, 0], right[j, 1]), c)
                        sums[2 * i, 2 * j] = d[0]
                        sums[2 * i, 2 * j + 1] = d[1]
                        sums[2 * i + 1, 2 * j] = d[2]
                        sums[2 * i + 1, 2 * j + 1] = d[3]

        self.origin, self.multiply = origin, multiply

    def _fma(self, tile, real, deep_a, deep_b):
        high, wide = self.each = tile.each
        down, across, depth = tile.rows // high, tile.cols // wide, tile.depth
        self.rows = (1, down) if deep_a else (4, 4 * down)
        self.cols = (1, across) if deep_b else (4, 4 * across)
        run_a, run_b = self.rows[0], self.cols[0]
        line_a, line_b, step_a, step_b = self.line_a, self.line_b, self.rows[1], self.cols[1]
        load4 = ptx.load4

        @body
        def origin(thread):
            return thread // across * run_a, thread % across * run_b

        @body
        def multiply(slabs, a, b, thread, sums):
            row, col = thread // across * run_a, thread % across * run_b
            left = cuda.local.array((high, 4), real)
            right = cuda.local.array(wide, real)
            for k in range(0, depth, 4):
                if deep_a:
                    for i in range(high):
                        v = load4(slabs, np.int64(a + (row + i * step_a) * line_a + k))
                        for q in range(4):
                            left[i, q] = v[q]
                else:
                    for q in range(4):
                        for i in range(0, high, 4):
                            v = load4(slabs, np.int64(a + (k + q) * line_a + row + i // 4 * step_a))
                            for p in range(4):
                                left[i + p, q] = v[p]
                if deep_b:
                    for j in range(wide):
                        v = load4(slabs, np.int64(b + (col + j * step_b) * line_b + k))
                        for i in range(high):
                            for q in range(4):
                                sums[i, j] += left[i, q] * v[q]
                else:
                    for q in range(4):
                        for j in range(0, wide, 4):
                            v = load4(slabs, np.int64(b + (k + q) * line_b + col + j // 4 * step_b))
                            for p in range(4):
                                right[j + p] = v[p]
                        for i in range(high):
                            for j in range(wide):
                                sums[i, j] += left[i, q] * right[j]

        self.origin, self.multiply = origin, multiply


def _fragment(mode, deep, line):
    """The function that loads 16 rows (of A; columns of B) by one step of depth as four registers: rows 0-7 and 8-15 of the
    first half of the depth, then of the second."""
    tf32, pack, matrix4, load2 = ptx.tf32, ptx.pack_bf16, ptx.matrix4, ptx.load2
    if mode == "tf32" and deep:

        @body
        def fragment(slabs, at, row, k, lane):
            v = matrix4(slabs, np.int32(at + (row + (lane & 15)) * line + k + (lane >> 4) * 4))
            return tf32(v[0]), tf32(v[1]), tf32(v[2]), tf32(v[3])

    elif mode == "tf32":

        @body
        def fragment(slabs, at, row, k, lane):
            p = at + (k + (lane & 3)) * line + row + (lane >> 2)
            q = p + 4 * line
            return tf32(slabs[p]), tf32(slabs[p + 8]), tf32(slabs[q]), tf32(slabs[q + 8])

    elif deep:

        @body
        def fragment(slabs, at, row, k, lane):
            p = np.int64(at + (row + (lane >> 2)) * line + k + 2 * (lane & 3))
            q = p + 8 * line
            a, b, c, d = load2(slabs, p), load2(slabs, q), load2(slabs, p + 8), load2(slabs, q + 8)
            return pack(a[0], a[1]), pack(b[0], b[1]), pack(c[0], c[1]), pack(d[0], d[1])

    else:

        @body
        def fragment(slabs, at, row, k, lane):
            p = at + (k + 2 * (lane & 3)) * line + row + (lane >> 2)
            q = p + 8 * line
            return (
                pack(slabs[p], slabs[p + line]), pack(slabs[p + 8], slabs[p + line + 8]),
                pack(slabs[q], slabs[q + line]), pack(slabs[q + 8], slabs[q + line + 8]),
            )  # fmt: skip

    return fragment


slabs = functools.cache(Slabs)
