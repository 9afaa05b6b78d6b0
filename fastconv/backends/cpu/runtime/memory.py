"""Memory for results and scratch: 64-byte aligned blocks that are used again when their last array is gone.

A fresh large buffer costs more than most kernels that run on it, because the system clears every page at the
first touch. So blocks stay in a pool (see ``backends/common/size_classes.py``) and return to it when NumPy
releases the last view.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from math import prod

import numpy as np

from fastconv.backends.common.size_classes import Blocks

ALIGN = 64
# Bytes from which an array comes from the pool (NumPy allocates smaller ones), from which a block is mapped
# from the system by itself, and from which large pages are asked for.
SMALL, LARGE, HUGE = 1 << 12, 1 << 20, 1 << 22


class _Memory(np.ndarray):
    """Aligned bytes under a block.

    NumPy replaces the base of a new view by the base's base while both are plain arrays. With a type of its
    own in between, the base of an array stays its :class:`_Block`.
    """


class _Block(np.ndarray):
    """A block of the pool.

    NumPy keeps it alive as the base of the array in it and of all views of that array. When the last of these
    is gone, ``__del__`` returns the memory to the pool.
    """

    # None for arrays that NumPy makes from a block (slices, copies): they must not return its memory.
    pool: Pool | None = None

    def __del__(self):
        if self.pool is not None:
            self.pool.give_block(self.base, self.base.size)


def _mapped(size: int) -> np.ndarray:
    """``size`` bytes, which go back to the system as soon as they are freed; a C library would keep them."""
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
        pool.trim()


class Arena(Pool):
    """Memory apart from the pool. Inside ``with arena:`` all arrays come from it.

    Its blocks are used again inside the arena, and never go to the pool.
    """

    def __init__(self):
        super().__init__(bounded=False)  # recorded kernels know its memory by address

    def __enter__(self):
        self.outer, _local.arena = _local.arena, self

    def __exit__(self, *exc):
        _local.arena = self.outer


class _Local(threading.local):
    arena: Arena | None = None
    offered: np.ndarray | None = None


_local, pool = _Local(), Pool()


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised C-contiguous array; 64-byte aligned and from the pool, unless it is small."""
    n = int(prod(shape)) * np.dtype(dtype).itemsize
    if (arena := _local.arena) is not None:
        # Small arrays too, because recorded kernels may know them by their address.
        return arena.take(shape, dtype, max(n, SMALL))
    return np.empty(shape, dtype) if n < SMALL else pool.take(shape, dtype, n)


@contextlib.contextmanager
def result_in(place: np.ndarray | None):
    """Inside the ``with`` block, the first :func:`result` that fits ``place``, a 1-D array, is there."""
    _local.offered = place
    try:
        yield
    finally:
        _local.offered = None


def result(shape, dtype) -> np.ndarray:
    """:func:`empty` for what an op returns, where the caller may have offered a place."""
    place = _local.offered
    if place is None or place.size != prod(shape) or place.dtype != dtype:
        return empty(shape, dtype)
    _local.offered = None
    return place.reshape(shape)


def zeros(shape, dtype) -> np.ndarray:
    """Like :func:`empty`, filled with zeros. Never from an arena, because a replay does not fill it again."""
    n = int(prod(shape)) * np.dtype(dtype).itemsize
    if n < SMALL:
        return np.zeros(shape, dtype)
    a = pool.take(shape, dtype, n)
    a.fill(0)
    return a


def home(a: np.ndarray) -> Pool | None:
    """The pool or arena that the memory of ``a`` belongs to."""
    while a is not None:
        if isinstance(a, _Block):
            return a.pool
        a = getattr(a, "base", None)  # also of objects that present the memory of an array (``layout.wide``)
    return None


def trim() -> None:
    """Give every free block back to the system."""
    pool.trim()


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    return pool.statistics()
