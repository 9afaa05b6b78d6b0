"""Memory for results and scratch: 64-byte aligned blocks that are used again when their last array is gone.

A fresh large buffer costs more than most kernels run on it (the system clears every page at first touch), so blocks
live in a pool by size class and return to it when NumPy drops the last view.
"""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from math import prod

import numpy as np

ALIGN = 64
SMALL = 1 << 12  # smaller arrays are NumPy's business
LIMIT = 4 << 30  # free bytes kept at most



@functools.lru_cache(maxsize=4096)
def _size_class(n: int) -> int:
    """Round up to an eighth of the leading power of two, so at most 12.5 % of a block is unused."""
    step = max(1 << (n.bit_length() - 4), ALIGN)
    return -(-n // step) * step


class _Memory(np.ndarray):
    """Aligned bytes. A type of its own, for through a plain array below it NumPy would look past a block."""


class _Block(np.ndarray):
    """A view of some memory that NumPy keeps alive as the base of the array made in it, and with it of all its views."""

    pool: Pool | None = None  # as it stays for what somebody makes of a block: its memory is not his to return

    def __del__(self):
        if self.pool is not None:
            self.pool.give(self.base)


class Pool:
    """Free memory by size class."""

    def __init__(self):
        self.lock = threading.RLock()  # re-entrant: the garbage collector may return a block while one is being taken
        self.free: dict[int, list[_Memory]] = defaultdict(list)
        self.taken = self.fresh = self.bytes = self.used_bytes = self.peak_bytes = 0

    def take(self, shape, dtype, n: int) -> np.ndarray:
        """An array in ``n`` bytes."""
        size = _size_class(n)
        with self.lock:
            self.taken += 1
            if free := self.free[size]:
                memory = free.pop()
            else:
                memory = np.empty(size + ALIGN, np.uint8).view(_Memory)
                memory = memory[-memory.ctypes.data % ALIGN :][:size]
                self.fresh += 1
                self.bytes += size
            self.used_bytes += size
            if self.used_bytes > self.peak_bytes:
                self.peak_bytes = self.used_bytes
        block = memory.view(_Block)
        block.pool = self
        return np.ndarray(shape, dtype, block)

    def give(self, memory: _Memory) -> None:
        size = memory.size
        with self.lock:
            self.used_bytes -= size
            if self.bytes - self.used_bytes <= LIMIT:
                self.free[size].append(memory)
            else:
                self.bytes -= size


class Arena(Pool):
    """Memory apart from the pool: ``with arena:`` all comes from it, may be used again inside, never goes to the pool."""

    def __enter__(self):
        self.outer, _local.arena = _local.arena, self

    def __exit__(self, *exc):
        _local.arena = self.outer

    def give(self, memory: _Memory) -> None:
        self.free[memory.size].append(memory)  # whatever the limit: recorded kernels know it by address


class _Local(threading.local):
    arena: Arena | None = None


_local, _pool = _Local(), Pool()


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised C-contiguous array, 64-byte aligned, from the pool where it is large enough to matter."""
    n = int(prod(shape)) * np.dtype(dtype).itemsize
    if (arena := _local.arena) is not None:  # small ones too: what kernels know by address only must not move
        return arena.take(shape, dtype, max(n, SMALL))
    return np.empty(shape, dtype) if n < SMALL else _pool.take(shape, dtype, n)


def zeros(shape, dtype) -> np.ndarray:
    """Like :func:`empty`, filled with zeros; never of an arena, whose memory only kernels may count on to be written anew."""
    n = int(prod(shape)) * np.dtype(dtype).itemsize
    if n < SMALL:
        return np.zeros(shape, dtype)
    a = _pool.take(shape, dtype, n)
    a.fill(0)
    return a


def home(a: np.ndarray) -> Pool | None:
    """The pool or arena whose memory ``a`` is in."""
    while isinstance(a, np.ndarray):
        if isinstance(a, _Block):
            return a.pool
        a = a.base
    return None


def trim() -> None:
    """Give every free block back to the system."""
    with _pool.lock:
        _pool.free.clear()
        _pool.bytes = _pool.used_bytes


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    with _pool.lock:
        counts = {n: getattr(_pool, n) for n in ("taken", "fresh", "used_bytes", "peak_bytes")}
        return counts | {"free_bytes": _pool.bytes - _pool.used_bytes}
