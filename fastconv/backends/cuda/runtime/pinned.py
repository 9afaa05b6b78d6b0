"""Page-locked memory for arrays of users: a pool of it, and what is still copied from.

To lock memory takes longer than to fill it, so blocks are used again, as on the device. A block that a copy
still reads is kept until the copy has ended. Under the simulator it is ordinary memory.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.common.pinned import PinnedBlock
from fastconv.backends.common.size_classes import Blocks

from . import device, events


class _Pool(Blocks):
    align = 4096

    def take(self, nbytes: int) -> PinnedBlock:
        memory, size = self.take_block(nbytes)
        return PinnedBlock(memory, partial(self.give_block, size=size))

    def _fresh(self, size):
        return device.allocate_pinned(size)

    def _no_memory(self, size, kind="page-locked memory", known=""):
        return super()._no_memory(size, kind, known)


_pool = _Pool()
_lock = threading.Lock()
_sending: list[tuple[Any, Any]] = []  # an event after each copy, and the array that it reads


def copy(x: np.ndarray) -> np.ndarray:
    """A copy of a host array in page-locked memory, with the same order of axes in memory."""
    order = sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i))
    source = x.transpose(order)
    memory = np.asarray(_pool.take(x.nbytes))[: x.nbytes]
    y = memory.view(x.dtype).reshape(source.shape)
    y[...] = source
    return y.transpose(np.argsort(order))


def keep(x: np.ndarray, stream: Any) -> None:
    """Keep an array that the stream copies from until the copy has ended."""
    event = events.event(timing=False)
    event.record(stream)
    with _lock:
        _sending[:] = [s for s in _sending if not s[0].query()]
        _sending.append((event, x))
