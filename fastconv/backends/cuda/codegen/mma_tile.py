"""A block's tile of a matrix product: slabs of A and B in shared memory, the sums in registers.

::

                      BN             A slab of A is BM x BK, a slab of B is BK x BN. In shared memory a
                  +--------+         slab is k-major (k runs along memory) or not (rows or columns do), as
               BK | B slab |         it came from global memory. Lines are padded so that the lanes of a
        +-----+---+--------+         warp read from different banks.
        |  A  |   | w0 | w1|
     BM | slab|   |----+---|         Tensor cores: a warp owns warp_tile of the sums, as 16 x 8 products.
        |     |   | w2 | w3|         A lane holds runs of columns (see ptx.py).
        +-----+---+--------+         FMA: a thread owns thread_tile of the sums and reads 4 steps of k at
          BK                         a time.

In both cases a thread's sums are a small matrix. Its row i and column j belong to row and column
``origin + place(i)``, ``origin + place(j)`` of the tile, where ``place(i) = i % run + i // run * step``.
``row_layout`` and ``col_layout`` are the pairs ``(run, step)``.

Modes::

    fma            float32 or float64 by multiply-add
    tf32           float32 rounded to TF32 when a warp reads it from shared memory
    bf16           bfloat16 in memory
    bf16_on_read   float32 in memory, rounded to bfloat16 when a warp reads it from shared memory
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..runtime.launch import body, cuda
from . import ptx


@dataclass(frozen=True)
class Tile:
    """Sizes of a block's tile: BM x BN sums, BK products of each per step.

    ``warp_tile`` is what a warp computes with tensor cores, ``thread_tile`` what a thread computes without
    them. ``stages`` is the number of slabs of A and B in shared memory.
    """

    BM: int
    BN: int
    BK: int
    warp_tile: tuple[int, int]
    thread_tile: tuple[int, int]
    stages: int = 3

    @property
    def name(self) -> str:
        """What the tuner calls it."""
        return f"{self.BM}x{self.BN}x{self.BK}"

    def threads(self, mode: str) -> int:
        """Threads of a block."""
        if mode == "fma":
            return self.BM * self.BN // (self.thread_tile[0] * self.thread_tile[1])
        return 32 * self.BM * self.BN // (self.warp_tile[0] * self.warp_tile[1])


def stored(mode: str, real):
    """The type of the numbers in slabs: bfloat16 (as uint16) in mode "bf16", else that of the sums."""
    return np.uint16 if mode == "bf16" else real


def pitch(size: int, mode: str, k_major: bool) -> int:
    """Elements from one line of a slab to the next, so that lanes that read together use distinct banks.

    ``bf16_on_read`` reads pairs along k, ``tf32`` single numbers; lines that are four apart must then be 8 or
    4 banks apart. ``bf16`` reads 16 bytes.
    """
    return size + (8 if mode == "bf16" or (mode == "bf16_on_read") == k_major and mode != "fma" else 4)


class Slabs:
    """Constants and device functions of one kind of tile.

    Attributes
    ----------
    threads : int
        Threads of a block.
    bytes : int
        Dynamic shared memory of a block.
    pitch_a, pitch_b, pitch_y : int
        Elements from line to line of the slabs, and of the tile of sums on its way to global memory.
    size_a, size_b : int
        Elements of a slab.
    sums_shape : (int, int)
        Sums of a thread.
    row_layout, col_layout : (int, int)
        ``run`` and ``step`` of rows and columns of a thread's sums.
    starts(thread)
        Where a thread begins to read a slab of A, and one of B.
    multiply(slabs, a, b, sums)
        Add the product of two slabs; ``a`` and ``b`` are the places of the slabs plus those starts.
    halves : (function, function)
        The same in two parts, one after the other.
    origin(thread)
        First row and column of a thread's sums.
    """

    def __init__(self, tile: Tile, mode: str, real, k_major_a: bool, k_major_b: bool):
        self.threads = tile.threads(mode)
        self.pitch_a = pitch(tile.BK if k_major_a else tile.BM, mode, k_major_a)
        self.pitch_b = pitch(tile.BK if k_major_b else tile.BN, mode, k_major_b)
        self.size_a = self.pitch_a * (tile.BM if k_major_a else tile.BK)
        self.size_b = self.pitch_b * (tile.BN if k_major_b else tile.BK)
        self.pitch_y = tile.BN + 8
        slabs = tile.stages * (self.size_a + self.size_b) * np.dtype(stored(mode, real)).itemsize
        self.bytes = max(slabs, tile.BM * self.pitch_y * np.dtype(real).itemsize)
        if mode == "fma":
            self._fma(tile, real, k_major_a, k_major_b)
        elif mode == "tf32" and not k_major_a and not k_major_b:
            self._tf32_across(tile)
        else:
            self._tensor(tile, mode, k_major_a, k_major_b)

    def _tensor(self, tile, mode, k_major_a, k_major_b):
        (warp_m, warp_n), depth = tile.warp_tile, tile.BK
        across = tile.BN // warp_n
        self.sums_shape, self.row_layout, self.col_layout = (warp_m // 8, warp_n // 4), (1, 8), (2, 8)
        high, wide = warp_m // 16, warp_n // 8
        n, m = self.pitch_a, self.pitch_b
        (lane_a, fragment_a), (lane_b, fragment_b) = (
            _fragment(mode, k_major_a, n, False),
            _fragment(mode, k_major_b, m, True),
        )
        step, mma = (8, ptx.mma_tf32) if mode == "tf32" else (16, ptx.mma_bf16)
        # numbers from one row (of B: column) to the next, and along k
        (row_a, next_a), (row_b, next_b) = (
            (n, 1) if k_major_a else (1, n),
            (m, 1) if k_major_b else (1, m),
        )

        @body
        def starts(thread):
            lane, warp = thread & 31, thread >> 5
            return warp // across * (warp_m * row_a) + lane_a(lane), warp % across * (
                warp_n * row_b
            ) + lane_b(lane)

        @body
        def origin(thread):
            lane, warp = thread & 31, thread >> 5
            return warp // across * warp_m + (lane >> 2), warp % across * warp_n + 2 * (lane & 3)

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
        steps = [one_step(k) for k in range(0, depth, step)]
        self.multiply, self.halves = _in_turn(steps), _in_two(steps)

    def _tf32_across(self, tile):
        """TF32 where neither slab is k-major: a lane reads up to four rows, or two columns, at once.

        Which row of the tile a row of ``mma`` is does not matter to the sums, only to where they are written.
        So lane ``(g, t)`` reads rows ``4 g`` to ``4 g + 3`` of line ``t`` of A and takes them for rows ``g``
        and ``g + 8`` of two products, and columns ``2 g`` and ``2 g + 1`` of B for two others. It then has
        sums of four columns side by side. Four columns per read would make that eight, of which one access
        to memory would write every other half of 32 bytes.

        Lines are 8 banks apart, so the lanes that one wavefront serves read from different banks.
        """
        (warp_m, warp_n), depth = tile.warp_tile, tile.BK
        across, high, wide = tile.BN // warp_n, warp_m // 8, warp_n // 8
        many_a, many_b = min(warp_m // 8, 4), 2  # numbers per read
        self.sums_shape = high, 2 * wide
        self.row_layout, self.col_layout = (many_a, 8 * many_a), (2 * many_b, 8 * many_b)
        pitch_a, pitch_b, tf32, mma = self.pitch_a, self.pitch_b, ptx.tf32, ptx.mma_tf32
        load_a, load_b = ptx.load4 if many_a == 4 else ptx.load2, ptx.load2

        @body
        def starts(thread):
            lane, warp = thread & 31, thread >> 5
            g, t = lane >> 2, lane & 3
            a, b = warp // across * warp_m + t * pitch_a, warp % across * warp_n + t * pitch_b
            return a + many_a * g, b + many_b * g

        @body
        def origin(thread):
            lane, warp = thread & 31, thread >> 5
            row, col = warp // across * warp_m, warp % across * warp_n
            return row + many_a * (lane >> 2), col + 2 * many_b * (lane & 3)

        def one_step(k):
            @body
            def multiply(slabs, a, b, sums):
                right = cuda.local.array((wide, 2), np.uint32)
                for half in range(2):
                    for n in range(0, wide, many_b):
                        v = load_b(slabs, b + ((k + 4 * half) * pitch_b + 8 * n))
                        for q in range(many_b):
                            right[n + q, half] = tf32(v[q])
                for i in range(0, high, many_a):
                    v = load_a(slabs, a + (k * pitch_a + 8 * i))
                    w = load_a(slabs, a + ((k + 4) * pitch_a + 8 * i))
                    for q in range(0, many_a, 2):
                        left = tf32(v[q]), tf32(v[q + 1]), tf32(w[q]), tf32(w[q + 1])
                        r = i + q
                        for n in range(wide):
                            c = n // many_b * (2 * many_b) + n % many_b  # the columns 2 t and 2 t + 1
                            e = c + many_b
                            d = mma(
                                left,
                                (right[n, 0], right[n, 1]),
                                (sums[r, c], sums[r, e], sums[r + 1, c], sums[r + 1, e]),
                            )
                            sums[r, c] = d[0]
                            sums[r, e] = d[1]
                            sums[r + 1, c] = d[2]
                            sums[r + 1, e] = d[3]

            return multiply

        self.starts, self.origin = starts, origin
        steps = [one_step(k) for k in range(0, depth, 8)]
        self.multiply, self.halves = _in_turn(steps), _in_two(steps)

    def _fma(self, tile, real, k_major_a, k_major_b):
        high, wide = self.sums_shape = tile.thread_tile
        down, across, depth = tile.BM // high, tile.BN // wide, tile.BK
        self.row_layout = (1, down) if k_major_a else (4, 4 * down)
        self.col_layout = (1, across) if k_major_b else (4, 4 * across)
        (run_a, step_a), (run_b, step_b) = self.row_layout, self.col_layout
        pitch_a, pitch_b = self.pitch_a, self.pitch_b
        row_a, row_b = pitch_a if k_major_a else 1, pitch_b if k_major_b else 1
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
                if k_major_a:
                    for i in range(high):
                        v = load4(slabs, a + i * step_a * pitch_a + k)
                        for q in range(4):
                            left[i, q] = v[q]
                else:
                    for q in range(4):
                        for i in range(0, high, 4):
                            v = load4(slabs, a + (k + q) * pitch_a + i // 4 * step_a)
                            for p in range(4):
                                left[i + p, q] = v[p]
                if k_major_b:
                    for j in range(wide):
                        v = load4(slabs, b + j * step_b * pitch_b + k)
                        for i in range(high):
                            for q in range(4):
                                sums[i, j] += left[i, q] * v[q]
                else:
                    for q in range(4):
                        for j in range(0, wide, 4):
                            v = load4(slabs, b + (k + q) * pitch_b + j // 4 * step_b)
                            for p in range(4):
                                right[j + p] = v[p]
                        for i in range(high):
                            for j in range(wide):
                                sums[i, j] += left[i, q] * right[j]

        self.starts, self.origin, self.multiply = starts, origin, multiply
        self.halves = _in_two([multiply])


def _in_turn(functions):
    """One device function that calls several: an unrolled loop, in which places in slabs are constants."""
    if len(functions) == 1:
        return functions[0]
    first, rest = functions[0], _in_turn(functions[1:])

    @body
    def multiply(slabs, a, b, sums):
        first(slabs, a, b, sums)
        rest(slabs, a, b, sums)

    return multiply


@body
def _nothing(slabs, a, b, sums):
    pass


def _in_two(functions):
    """Two device functions that together call several in turn."""
    half = (len(functions) + 1) // 2
    return _in_turn(functions[:half]), _in_turn(functions[half:] or [_nothing])


def _fragment(mode, k_major, pitch, of_b):
    """How a warp reads 16 rows of A (16 columns of B) by one step of k.

    Returns
    -------
    place(lane)
        Where a lane begins to read.
    fragment(slabs, at)
        Four registers from there on, in the order that ``mma`` takes. Of A: rows 0-7 and 8-15 of the first
        half of the step, then of the second half. Of B: both halves of columns 0-7, then of columns 8-15.
    """
    tf32, pack, ldmatrix4, load2 = ptx.tf32, ptx.pack_bf16, ptx.ldmatrix4, ptx.load2
    if mode == "bf16" and not k_major:
        ldmatrix4 = ptx.ldmatrix4_trans
    half = 4 if mode == "tf32" else 8
    row, along_k = (8 * pitch, half) if k_major else (8, half * pitch)
    second, third = (along_k, row) if of_b else (row, along_k)
    last = row + along_k
    if mode == "bf16" or mode == "tf32" and k_major:
        # lanes 8 i to 8 i + 7 give the rows of the matrix in register i
        down, right = (16, 8) if of_b == k_major else (8, 16)

        @body
        def place(lane):
            return ((lane & 7) + (8 if lane & down else 0)) * pitch + (half if lane & right else 0)

        @body
        def fragment(slabs, at):
            v = ldmatrix4(slabs, at)
            return v if mode == "bf16" else (tf32(v[0]), tf32(v[1]), tf32(v[2]), tf32(v[3]))

    elif mode == "tf32":

        @body
        def place(lane):
            return (lane & 3) * pitch + (lane >> 2)

        @body
        def fragment(slabs, at):
            return tf32(slabs[at]), tf32(slabs[at + second]), tf32(slabs[at + third]), tf32(slabs[at + last])

    else:
        apart = 1 if k_major else pitch  # the two numbers of a register

        @body
        def place(lane):
            return (lane >> 2) * pitch + 2 * (lane & 3) if k_major else 2 * (lane & 3) * pitch + (lane >> 2)

        @body
        def two(slabs, at):
            v = load2(slabs, at) if k_major else (slabs[at], slabs[at + apart])
            return pack(v[0], v[1])

        @body
        def fragment(slabs, at):
            return two(slabs, at), two(slabs, at + second), two(slabs, at + third), two(slabs, at + last)

    return place, fragment


slabs = functools.cache(Slabs)
