"""Memory for results and scratch: 64-byte aligned blocks that are used again when their last array is gone.

A fresh large buffer costs more than most kernels run on it (the system clears every page at first touch), so
blocks live in a pool (see ``backends/common/size_classes.py``) and return to it when NumPy drops the last view.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from math import prod

import numpy as np

from fastconv.backends.common.size_classes import Blocks

ALIGN = 64
SMALL = 1 << 12  # smaller arrays are NumPy's business
LARGE = 1 << 20  # such blocks are mapped one by one
HUGE = 1 << 22  # and these from large pages, where the system has them


class _Memory(np.ndarray):
    """Aligned bytes. A type of its own, for through a plain array below it NumPy would look past a block."""


class _Block(np.ndarray):
    """A view of some memory that NumPy keeps alive as the base of the array made in it, and with it of all
    its views."""

    # as it stays for what somebody makes of a block: its memory is not his to return
    pool: Pool | None = None

    def __del__(self):
        if self.pool is not None:
            self.pool.give_block(self.base, self.base.size)


def _mapped(size: int) -> np.ndarray:
    """``size`` bytes that go back to the system as soon as they are freed: C libraries keep what they freed
    themselves."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.empty(size + ALIGN, np.uint8)
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        raise MemoryError from None
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)  # as NumPy does
    return np.frombuffer(pages, np.uint8)


class Pool(Blocks):
    """Arrays in blocks of host memory."""

    align = ALIGN

    def take(self, shape, dtype, n: int) -> np.ndarray:
        """An array in ``n`` bytes."""
        memory, _ = self.take_block(n)
        block = memory.view(_Block)
        block.pool = self
        return np.ndarray(shape, dtype, block)

    def _fresh(self, size):
        memory = (_mapped(size) if size >= LARGE else np.empty(size + ALIGN, np.uint8)).view(_Memory)
        return memory[-memory.ctypes.data % ALIGN :][:size]

    def _release(self):
        _pool.trim()


class Arena(Pool):
    """Memory apart from the pool: ``with arena:`` all comes from it, may be used again inside, never goes to
    the pool."""

    def __init__(self):
        super().__init__(bounded=False)  # recorded kernels know it by address

    def __enter__(self):
        self.outer, _local.arena = _local.arena, self

    def __exit__(self, *exc):
        _local.arena = self.outer


class _Local(threading.local):
    arena: Arena | None = None


_local, _pool = _Local(), Pool()


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised C-contiguous array, 64-byte aligned, from the pool where it is large enough to
    matter."""
    n = int(prod(shape)) * np.dtype(dtype).itemsize
    if (arena := _local.arena) is not None:  # small ones too: what kernels know by address only must not move
        return arena.take(shape, dtype, max(n, SMALL))
    return np.empty(shape, dtype) if n < SMALL else _pool.take(shape, dtype, n)


def zeros(shape, dtype) -> np.ndarray:
    """Like :func:`empty`, filled with zeros; never of an arena, whose memory only kernels may count on to be
    written anew."""
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
    _pool.trim()


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    return _pool.statistics()
