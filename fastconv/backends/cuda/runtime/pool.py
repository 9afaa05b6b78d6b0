"""The pool that the memory of arrays comes from.

A block of memory goes back to its pool (see ``backends/common/size_classes.py``) when its last array is gone,
and the next array of that size class takes it. Kernels run one after the other on one stream, so the kernels
that used the block before have ended by then. A steady training step allocates nothing.

On the host, blocks are filled with NaN when they are taken, so that tests notice a kernel which reads memory
that nobody wrote. With ``FASTCONV_CUDA_POISON=1``, ``memory.empty`` does the same on a device.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from fastconv.backends.common.size_classes import Blocks

from . import device
from .array import Block

ALIGN = 512


class _PooledBlock(Block):
    __slots__ = ("pool", "size")

    def __init__(self, address, owner, views, pool, size):
        self.address, self.owner, self.views, self.known = address, owner, views, {}
        self.pool, self.size = pool, size

    def __del__(self, ends=sys.is_finalizing):
        if not ends():  # or what the pool calls may be gone
            self.pool.give_block((self.address, self.owner, self.views), self.size)


#: All pools there are: that of ordinary arrays, and one for each graph.
pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool(Blocks):
    """Blocks of device memory: address, owner, and the views that were made of it."""

    align = ALIGN

    def __init__(self, bounded: bool = True):
        super().__init__(bounded)
        pools.add(self)

    def take(self, nbytes: int) -> Block:
        """A block of at least ``nbytes``."""
        device.attach()  # the first thing that a thread does with the device
        (address, owner, views), size = self.take_block(nbytes)
        if device.on_host:
            owner.fill(0xFF)
        return _PooledBlock(address, owner, views, self, size)

    def owns(self, block: Block) -> bool:
        """Whether a block came from this pool."""
        return getattr(block, "pool", None) is self

    def _fresh(self, size):
        return *device.allocate(size), {}

    def _key(self, block):
        return block[0]

    def _release(self):
        close_graphs()
        self.trim()
        shared.trim()

    def _shrink(self, most):
        if _recordings:
            return
        device.attach()  # the garbage collector may be in a thread that never used it
        if not device.on_host:
            device.cuda.synchronize()  # kernels may still be running on the blocks
        super()._shrink(most)
        device.free_now()

    def _no_memory(self, size):
        if device.on_host:
            return super()._no_memory(size)
        free, total = (f"{n / 2**20:.1f} MiB" for n in device.free_memory())
        return super()._no_memory(size, "device memory", f"{free} of {total} free, ")


#: Where memory comes from, except for arrays inside a graph.
shared = Pool()

# ------------------------------------------------------------------------------------------------- graphs
_recordings = 0  # in all threads
_lock = threading.Lock()


@contextlib.contextmanager
def nothing_given_back() -> Iterator[None]:
    """Keep the free memory of all pools for a while.

    While a stream records launches the driver refuses to wait for the device, and memory cannot be given back
    before kernels on it have ended.
    """
    global _recordings
    with _lock:
        _recordings += 1
    try:
        yield
    finally:
        with _lock:
            _recordings -= 1


class Closable(Protocol):
    """A graph, as far as the pool knows it."""

    def close_if_idle(self) -> None: ...


#: All graphs there are.
graphs: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_graphs() -> None:
    """Give back the memory of graphs, which can be spared, except for those that are being made."""
    for graph in list(graphs):
        graph.close_if_idle()
