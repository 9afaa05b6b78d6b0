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

_lock = threading.RLock()  # re-entrant: the garbage collector may return a block while one is being taken
_free: dict[int, list[tuple[np.ndarray, int]]] = defaultdict(list)  # bytes -> memory and its first aligned address
_stats = {"taken": 0, "fresh": 0, "free_bytes": 0, "used_bytes": 0, "peak_bytes": 0}


@functools.lru_cache(maxsize=4096)
def _size_class(n: int) -> int:
    """Round up to an eighth of the leading power of two, so at most 12.5 % of a block is unused."""
    step = max(1 << (n.bit_length() - 4), ALIGN)
    return -(-n // step) * step


_local = threading.local()


class Arena:
    """Blocks apart from the pool: ``with arena:`` memory comes from it, may be used again inside, never goes to the pool."""

    def __init__(self):
        self.free: dict[int, list[tuple[np.ndarray, int]]] = defaultdict(list)

    def __enter__(self):
        self.outer, _local.arena = getattr(_local, "arena", None), self

    def __exit__(self, *exc):
        _local.arena = self.outer


class _Block:
    """Owner of one block; NumPy keeps it alive as the base of the array and its views."""

    __slots__ = ("memory", "size", "arena", "__array_interface__")

    def __init__(self, memory: tuple[np.ndarray, int], size: int, arena: Arena | None, shape, dtype):
        self.memory, self.size, self.arena = memory, size, arena
        self.__array_interface__ = {"data": (memory[1], False), "shape": tuple(shape), "typestr": dtype.str, "version": 3}

    def __del__(self):
        size = self.size
        if self.arena is not None:
            self.arena.free[size].append(self.memory)
            return
        with _lock:
            _stats["used_bytes"] -= size
            if _stats["free_bytes"] + size <= LIMIT:
                _stats["free_bytes"] += size
                _free[size].append(self.memory)


def _fresh(size: int) -> tuple[np.ndarray, int]:
    memory = np.empty(size + ALIGN, np.uint8)
    return memory, memory.ctypes.data + -memory.ctypes.data % ALIGN


def _take(shape, dtype, arena: Arena | None) -> np.ndarray:
    dtype = np.dtype(dtype)
    n = int(prod(shape)) * dtype.itemsize
    if arena is not None:  # small ones too: what kernels know by address only must not move
        size = _size_class(max(n, SMALL))
        free = arena.free[size]
        return np.asarray(_Block(free.pop() if free else _fresh(size), size, arena, shape, dtype))
    if n < SMALL:
        return np.empty(shape, dtype)
    size = _size_class(n)
    with _lock:
        _stats["taken"] += 1
        if free := _free[size]:
            memory = free.pop()
            _stats["free_bytes"] -= size
        else:
            memory = _fresh(size)
            _stats["fresh"] += 1
        _stats["used_bytes"] += size
        if _stats["used_bytes"] > _stats["peak_bytes"]:
            _stats["peak_bytes"] = _stats["used_bytes"]
    return np.asarray(_Block(memory, size, None, shape, dtype))


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised C-contiguous array, 64-byte aligned, from the pool where it is large enough to matter."""
    return _take(shape, dtype, getattr(_local, "arena", None))


def zeros(shape, dtype) -> np.ndarray:
    """Like :func:`empty`, filled with zeros; never of an arena, whose memory only kernels may count on to be written anew."""
    a = _take(shape, dtype, None)
    a.fill(0)
    return a


def home(a: np.ndarray) -> Arena | None:
    """The arena whose memory ``a`` is in."""
    while isinstance(a, np.ndarray):
        a = a.base
    return a.arena if isinstance(a, _Block) else None


def trim() -> None:
    """Give every free block back to the system."""
    with _lock:
        _free.clear()
        _stats["free_bytes"] = 0


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    with _lock:
        return dict(_stats)
