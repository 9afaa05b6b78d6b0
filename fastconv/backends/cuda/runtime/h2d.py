"""Batches on their way to the device while kernels run: from pinned memory, on a stream of their own."""

from __future__ import annotations

import numpy as np

from . import launch, memory
from .launch import cuda


class Upload:
    """Copies batches, one ahead of its use, to two places in turn::

    upload     batch 0 | batch 1          | batch 2           place of batch 0
    kernels            | step on batch 0  | step on batch 1   step 0 has been launched before batch 1 is taken, and
                                                              the copy of batch 2 waits for that point of
                                                              the kernels
    """

    def __init__(self):
        self.stream, self.taken = cuda.stream(), cuda.event()
        self.places, self.turn = [_Place(), _Place()], 0

    def start(self, arrays):
        """Begin to copy host arrays; what is on the device already stays. For :meth:`take`."""
        place, self.turn = self.places[self.turn], 1 - self.turn
        place.sent.synchronize()  # its pinned memory was read
        self.taken.wait(self.stream)
        return place, place.send(
            [np.asarray(a) if not isinstance(a, memory.DeviceArray) else a for a in arrays], self.stream
        )

    def take(self, batch):
        """The arrays on the device, for kernels launched from now on, until the next but one is started."""
        place, arrays = batch
        place.sent.wait(launch.stream())
        self.taken.record(launch.stream())
        return arrays

    def __del__(self):
        for place in self.places:
            place.sent.synchronize()  # or the pool would lend memory that is still written


class _Place:
    """Pinned memory, and as much on the device."""

    def __init__(self):
        self.pinned, self.memory, self.sent = np.empty(0, np.uint8), None, cuda.event()

    def send(self, arrays, stream):
        order = [sorted(range(a.ndim), key=lambda i, a=a: (-abs(a.strides[i]), i)) for a in arrays]
        ends = np.cumsum([0, *(-(-a.nbytes // memory.ALIGN) * memory.ALIGN for a in arrays)])
        size = int(ends[-1])
        if size > self.pinned.size:
            self.pinned, self.memory = cuda.pinned_array(size, np.uint8), memory.empty((size,), np.uint8)
            launch.synchronize()  # kernels may still be running on what the pool gave
        results = []
        for a, axes, at in zip(arrays, order, map(int, ends)):
            if isinstance(a, memory.DeviceArray):
                results.append(a)
                continue
            a = a.transpose(axes)
            self.pinned[at : at + a.nbytes].view(a.dtype).reshape(a.shape)[...] = a
            there = memory.DeviceArray(self.memory.base, a.shape, a.dtype, None, at)
            results.append(there.transpose(*np.argsort(axes)))
        if size:
            memory.write(self.memory.view((size,), None), self.pinned[:size], stream)
        self.sent.record(stream)
        return results
