"""Pools of memory blocks that are used again: the code that ``cpu`` and ``cuda`` share.

A block belongs to a size class. It returns to the pool when its last array is gone, and the next array of
that class takes it. If a class has no free block, a block that is up to half larger is used. Free memory is
limited::

    free bytes  <=  the most bytes that were in use lately  +  Blocks.spare
                    (lately: while the last WINDOW to 2 WINDOW blocks were taken)

Beyond this limit, blocks of those size classes that were least recently asked for are given back first. So
repeated training steps find all of their memory in the pool, and images of many sizes do not leave blocks of
every size in it.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import OrderedDict

from .out_of_memory import CURE, running_op

WINDOW = 1 << 16  # number of blocks taken; more than in a training step, so that it includes the step's peak


@functools.lru_cache(maxsize=4096)
def size_class(n: int, align: int) -> int:
    """``n`` bytes, rounded up to a multiple of an eighth of the largest power of two that is not above ``n``.

    It is also a multiple of ``align``. At most 12.5 % of a large block is unused.
    """
    step = max(1 << max(n.bit_length() - 4, 0), align)
    return max(-(-n // step), 1) * step


class Blocks:
    """Free blocks by size class, and statistics. A subclass defines how a block is allocated.

    Parameters
    ----------
    bounded : bool
        False: free blocks are kept until :meth:`trim`, because recorded kernels hold their addresses.
    """

    align = 64
    # Free bytes that are kept in any case. Blocks still return while the interpreter ends, when the names of
    # this module are gone, so it is the class that has the number.
    spare = 32 << 20

    def __init__(self, bounded: bool = True):
        _all.add(self)
        # Every block, in use or free, by its key. The garbage collector calls back what watches an object (as
        # owners of a GPU's memory have themselves watched, to free it) before it calls ``__del__``, which
        # returns a block to the pool. Of what a pool holds, it never does.
        self.owned: dict[int, object] = {}
        # Re-entrant, because the garbage collector may return a block while this thread takes one.
        self.lock = threading.RLock()
        self.free: OrderedDict[int, list] = OrderedDict()  # the most recently asked size class is the last
        self.bounded = bounded
        self.taken = self.fresh = self.free_bytes = self.used_bytes = self.peak_bytes = 0
        self.recent = self.before = 0  # the most bytes in use in this window and in the one before it
        self.turn = WINDOW

    def _fresh(self, size: int):
        """A new block; MemoryError if there is no memory."""
        raise NotImplementedError

    def _key(self, block) -> int:
        """What identifies a block."""
        return id(block)

    def _release(self) -> None:
        """Give back as much memory as possible."""
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
            if self.used_bytes > self.peak_bytes:
                self.peak_bytes = self.used_bytes
            if self.taken >= self.turn:
                self.recent, self.before, self.turn = self.used_bytes, self.recent, self.taken + WINDOW
        return block, size

    def give_block(self, block, size: int) -> None:
        """Return a block of ``size`` bytes to the pool."""
        with self.lock:
            self.used_bytes -= size
            self.free_bytes += size
            if (blocks := self.free.get(size)) is None:
                blocks = self.free[size] = []
            blocks.append(block)
            if (
                self.bounded
                and self.free_bytes > self.spare + self.recent
                and self.free_bytes > self.spare + self.before
            ):
                # Free somewhat more than necessary, so that the next block does not come here again.
                self._shrink(max(self.recent, self.before) + self.spare - self.spare // 4)

    def _another(self, size: int):
        """A block for a class that has none, and its size: one that is up to half larger, or a new one."""
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
        self.owned[self._key(block)] = block
        return block, size

    def _shrink(self, most: int) -> None:
        """Keep at most ``most`` free bytes."""
        for size, blocks in list(self.free.items()):
            while blocks and self.free_bytes > most:
                self.owned.pop(self._key(blocks.pop(0)), None)
                self.free_bytes -= size

    def trim(self) -> None:
        """Give every free block back."""
        with self.lock:
            self._shrink(0)

    def reset_peak(self) -> None:
        """Let the peak be what is in use now."""
        with self.lock:
            self.peak_bytes = self.used_bytes

    def statistics(self) -> dict[str, int]:
        """The numbers of blocks that were taken and newly allocated, and the bytes free, in use and at the
        peak."""
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
