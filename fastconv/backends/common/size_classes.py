"""Blocks of memory that are used again: the part of a pool that ``cpu`` and ``cuda`` share.

A block belongs to a size class. It goes back to the pool when its last array is gone, and the next array of
that class takes it. Where a class has no free block, one that is up to half larger serves. Free memory is
bounded by use::

    free bytes  <=  the most bytes that were in use lately  +  SPARE
                    (lately: while the last WINDOW to 2 WINDOW blocks were taken)

Past that, the size classes that were asked for the longest ago are given back first. So a training step that
repeats itself finds all of its memory in the pool, and images of many sizes do not leave blocks of every size
behind.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import OrderedDict

from .out_of_memory import CURE, running_op

SPARE = 32 << 20  # free bytes kept whatever is in use
WINDOW = 1 << 16  # blocks taken; more than in a training step, because each window must see the step's peak


@functools.lru_cache(maxsize=4096)
def size_class(n: int, align: int) -> int:
    """Round up to an eighth of the leading power of two, so at most 12.5 % of a block is unused."""
    step = max(1 << max(n.bit_length() - 4, 0), align)
    return max(-(-n // step), 1) * step


class Blocks:
    """Free blocks by size class, and statistics. A subclass says how a block is made.

    Parameters
    ----------
    bounded : bool
        False: free blocks stay until :meth:`trim`, because recorded kernels know them by their addresses.
    """

    align = 64

    def __init__(self, bounded: bool = True):
        _all.add(self)
        # Re-entrant, because the garbage collector may return a block while one is being taken.
        self.lock = threading.RLock()
        self.free: OrderedDict[int, list] = OrderedDict()  # the size class that was asked for last is last
        self.bounded = bounded
        self.taken = self.fresh = self.free_bytes = self.used_bytes = self.peak_bytes = 0
        self.recent = self.before = 0  # the most bytes in use in this window and in the one before it
        self.turn = WINDOW

    def _fresh(self, size: int):
        """A new block; MemoryError if there is no memory."""
        raise NotImplementedError

    def _release(self) -> None:
        """Give back whatever can be spared."""
        self.trim()

    def take_block(self, nbytes: int):
        """A block of at least ``nbytes``, and its size."""
        size = size_class(nbytes, self.align)
        with self.lock:
            if blocks := self.free.get(size):
                self.free.move_to_end(size)
                self.free_bytes -= size
                block = blocks.pop()
            else:
                block, size = self._another(size)
            self.taken += 1
            self.used_bytes += size
            if self.used_bytes > self.recent:
                self.recent = self.used_bytes
                if self.recent > self.peak_bytes:
                    self.peak_bytes = self.recent
            if self.taken >= self.turn:
                self.recent, self.before, self.turn = self.used_bytes, self.recent, self.taken + WINDOW
        return block, size

    def give_block(self, block, size: int) -> None:
        """Put a block back."""
        with self.lock:
            self.used_bytes -= size
            self.free_bytes += size
            if (blocks := self.free.get(size)) is None:
                blocks = self.free[size] = []
            blocks.append(block)
            if (
                self.bounded
                and self.free_bytes > SPARE + self.recent
                and self.free_bytes > SPARE + self.before
            ):
                # Somewhat more than necessary, so that the next block does not come here again.
                self._shrink(max(self.recent, self.before) + SPARE - SPARE // 4)

    def _another(self, size: int):
        """A block for a size class that has none: one that is up to half larger, else a new one."""
        self.free[size] = self.free.pop(size, [])
        larger = size_class(size + 1, self.align)
        while larger <= size + size // 2:
            if blocks := self.free.get(larger):
                self.free.move_to_end(larger)
                self.free_bytes -= larger
                return blocks.pop(), larger
            larger = size_class(larger + 1, self.align)
        try:
            block = self._fresh(size)
        except MemoryError:
            self._release()
            try:
                block = self._fresh(size)
            except MemoryError:
                raise MemoryError(self._no_memory(size)) from None
        self.fresh += 1
        return block, size

    def _shrink(self, most: int) -> None:
        """Keep at most ``most`` free bytes."""
        for size, blocks in list(self.free.items()):
            while blocks and self.free_bytes > most:
                del blocks[0]
                self.free_bytes -= size

    def trim(self) -> None:
        """Give every free block back."""
        with self.lock:
            self._shrink(0)

    def statistics(self) -> dict[str, int]:
        """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
        with self.lock:
            return {n: getattr(self, n) for n in ("taken", "fresh", "free_bytes", "used_bytes", "peak_bytes")}

    def _no_memory(self, size: int, kind: str = "memory", known: str = "") -> str:
        asked, used = (f"{n / 2**20:.1f} MiB" for n in (size, self.used_bytes))
        return f"{running_op()}: out of {kind}: {asked} asked for, {known}{used} in tensors; {CURE}"


_all: weakref.WeakSet[Blocks] = weakref.WeakSet()


def _after_fork() -> None:
    for blocks in _all:
        blocks.lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
