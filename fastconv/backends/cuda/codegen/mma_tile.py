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

Either way a thread's sums are a small matrix whose row i and column j belong to the tile's ``origin +
place(i)``, with constant steps: ``place(i) = i % run + i // run * step``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..runtime.launch import body, cuda
from . import ptx


@dataclass(frozen=True)
class Tile:
    """Sizes of a tile; ``warp`` is what one warp computes with tensor cores, ``each`` what one thread does
    without."""

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


def stored(mode: str, real):
    """The type of the numbers in slabs: in mode "half" bfloat16, else that of the sums."""
    return np.uint16 if mode == "half" else real


def line(size: int, mode: str, deep: bool) -> int:
    """Elements from one line of a slab to the next: distinct banks for the lanes that read together (bf16
    reads pairs along depth, tf32 single numbers; four lines apart they must be 8 or 4 banks apart; half reads
    16 bytes)."""
    return size + (8 if mode == "half" or (mode == "bf16") == deep and mode != "fma" else 4)


class Slabs:
    """The constants and the device functions of one kind of tile.

    ``starts(thread)`` is where a thread begins to read a slab of A and one of B; ``multiply(slabs, a, b,
    sums)`` adds the product of slabs, ``a`` and ``b`` the places of the slabs plus those starts;
    ``origin(thread)`` is the first row and column of a thread's sums.
    """

    def __init__(self, tile: Tile, mode: str, real, deep_a: bool, deep_b: bool):
        self.threads = tile.threads(mode)
        self.line_a = line(tile.depth if deep_a else tile.rows, mode, deep_a)
        self.line_b = line(tile.depth if deep_b else tile.cols, mode, deep_b)
        self.size_a = self.line_a * (tile.rows if deep_a else tile.depth)
        self.size_b = self.line_b * (tile.cols if deep_b else tile.depth)
        self.line_y = tile.cols + 8  # the sums, on their way out
        slabs = tile.stages * (self.size_a + self.size_b) * np.dtype(stored(mode, real)).itemsize
        self.bytes = max(slabs, tile.rows * self.line_y * np.dtype(real).itemsize)
        if mode == "fma":
            self._fma(tile, real, deep_a, deep_b)
        else:
            self._tensor(tile, mode, deep_a, deep_b)

    def _tensor(self, tile, mode, deep_a, deep_b):
        (warp_rows, warp_cols), depth = tile.warp, tile.depth
        across = tile.cols // warp_cols
        self.each, self.rows, self.cols = (warp_rows // 8, warp_cols // 4), (1, 8), (2, 8)
        high, wide = warp_rows // 16, warp_cols // 8
        n, m = self.line_a, self.line_b
        (lane_a, fragment_a), (lane_b, fragment_b) = (
            _fragment(mode, deep_a, n, False),
            _fragment(mode, deep_b, m, True),
        )
        step, mma = (8, ptx.mma_tf32) if mode == "tf32" else (16, ptx.mma_bf16)
        # numbers from one row (of B: column) to the next, and along depth
        (row_a, next_a), (row_b, next_b) = (n, 1) if deep_a else (1, n), (m, 1) if deep_b else (1, m)

        @body
        def starts(thread):
            lane, warp = thread & 31, thread >> 5
            return warp // across * (warp_rows * row_a) + lane_a(lane), warp % across * (
                warp_cols * row_b
            ) + lane_b(lane)

        @body
        def origin(thread):
            lane, warp = thread & 31, thread >> 5
            return warp // across * warp_rows + (lane >> 2), warp % across * warp_cols + 2 * (lane & 3)

        def one_step(k):
            from_a, from_b = k * next_a, k * next_b

            @body
            def multiply(slabs, a, b, sums):
                right = cuda.local.array((wide, 2), np.uint32)
                for j in range(0, wide, 2):
                    v = fragment_b(slabs, b + (from_b + j * 8 * row_b))
                    right[j, 0] = v[0]
                    right[j, 1] = v[1]
                    right[j + 1, 0] = v[2]
                    right[j + 1, 1] = v[3]
                for i in range(high):
                    left = fragment_a(slabs, a + (from_a + i * 16 * row_a))
                    for j in range(wide):
                        c = (
                            sums[2 * i, 2 * j],
                            sums[2 * i, 2 * j + 1],
                            sums[2 * i + 1, 2 * j],
                            sums[2 * i + 1, 2 * j + 1],
                        )
                        d = mma(left, (right[j, 0], right[j, 1]), c)
                        sums[2 * i, 2 * j] = d[0]
                        sums[2 * i, 2 * j + 1] = d[1]
                        sums[2 * i + 1, 2 * j] = d[2]
                        sums[2 * i + 1, 2 * j + 1] = d[3]

            return multiply

        self.starts, self.origin = starts, origin
        self.multiply = _in_turn([one_step(k) for k in range(0, depth, step)])

    def _fma(self, tile, real, deep_a, deep_b):
        high, wide = self.each = tile.each
        down, across, depth = tile.rows // high, tile.cols // wide, tile.depth
        self.rows = (1, down) if deep_a else (4, 4 * down)
        self.cols = (1, across) if deep_b else (4, 4 * across)
        run_a, run_b = self.rows[0], self.cols[0]
        line_a, line_b, step_a, step_b = self.line_a, self.line_b, self.rows[1], self.cols[1]
        row_a, row_b = line_a if deep_a else 1, line_b if deep_b else 1
        load4 = ptx.load4

        @body
        def origin(thread):
            return thread // across * run_a, thread % across * run_b

        @body
        def starts(thread):
            return thread // across * (run_a * row_a), thread % across * (run_b * row_b)

        @body
        def multiply(slabs, a, b, sums):
            left = cuda.local.array((high, 4), real)
            right = cuda.local.array(wide, real)
            for k in range(0, depth, 4):
                if deep_a:
                    for i in range(high):
                        v = load4(slabs, a + i * step_a * line_a + k)
                        for q in range(4):
                            left[i, q] = v[q]
                else:
                    for q in range(4):
                        for i in range(0, high, 4):
                            v = load4(slabs, a + (k + q) * line_a + i // 4 * step_a)
                            for p in range(4):
                                left[i + p, q] = v[p]
                if deep_b:
                    for j in range(wide):
                        v = load4(slabs, b + j * step_b * line_b + k)
                        for i in range(high):
                            for q in range(4):
                                sums[i, j] += left[i, q] * v[q]
                else:
                    for q in range(4):
                        for j in range(0, wide, 4):
                            v = load4(slabs, b + (k + q) * line_b + j // 4 * step_b)
                            for p in range(4):
                                right[j + p] = v[p]
                        for i in range(high):
                            for j in range(wide):
                                sums[i, j] += left[i, q] * right[j]

        self.starts, self.origin, self.multiply = starts, origin, multiply


def _in_turn(functions):
    """One device function that calls several: a loop over them, unrolled, so that every place in a slab is a
    constant."""
    if len(functions) == 1:
        return functions[0]
    first, rest = functions[0], _in_turn(functions[1:])

    @body
    def multiply(slabs, a, b, sums):
        first(slabs, a, b, sums)
        rest(slabs, a, b, sums)

    return multiply


def _fragment(mode, deep, line, of_b):
    """How a warp reads 16 rows (of A; columns of B) by one step of depth: the place of a lane, and the
    function that loads four registers from there on. They hold, as ``mma`` wants them, of A rows 0-7 and 8-15
    of the first half of the depth, then of the second; of B both halves of columns 0-7, then of 8-15."""
    tf32, pack, matrix4, load2 = ptx.tf32, ptx.pack_bf16, ptx.matrix4, ptx.load2
    if mode == "half" and not deep:
        matrix4 = ptx.matrix4_turned
    half = 4 if mode == "tf32" else 8
    row, deeper = (8 * line, half) if deep else (8, half * line)
    second, third = (deeper, row) if of_b else (row, deeper)
    last = row + deeper
    if mode == "half" or mode == "tf32" and deep:
        # lanes 8 i to 8 i + 7 name the rows of the matrix in register i
        down, right = (16, 8) if of_b == deep else (8, 16)

        @body
        def place(lane):
            return ((lane & 7) + (8 if lane & down else 0)) * line + (half if lane & right else 0)

        @body
        def fragment(slabs, at):
            v = matrix4(slabs, at)
            return v if mode == "half" else (tf32(v[0]), tf32(v[1]), tf32(v[2]), tf32(v[3]))

    elif mode == "tf32":

        @body
        def place(lane):
            return (lane & 3) * line + (lane >> 2)

        @body
        def fragment(slabs, at):
            return tf32(slabs[at]), tf32(slabs[at + second]), tf32(slabs[at + third]), tf32(slabs[at + last])

    else:
        apart = 1 if deep else line  # the two numbers of a register

        @body
        def place(lane):
            return (lane >> 2) * line + 2 * (lane & 3) if deep else 2 * (lane & 3) * line + (lane >> 2)

        @body
        def two(slabs, at):
            v = load2(slabs, at) if deep else (slabs[at], slabs[at + apart])
            return pack(v[0], v[1])

        @body
        def fragment(slabs, at):
            return two(slabs, at), two(slabs, at + second), two(slabs, at + third), two(slabs, at + last)

    return place, fragment


slabs = functools.cache(Slabs)
