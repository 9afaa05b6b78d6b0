"""Copies of batches to the device while kernels run: from pinned memory, on a stream of their own."""

from __future__ import annotations

import sys

import numpy as np

from . import device, memory
from .array import DeviceArray
from .device import cuda
from .pool import ALIGN


class Upload:
    """Copies batches to the device, each before it is used, into two places in turn.

    ::

        upload     batch 0 | batch 1          | batch 2          each into the place of the batch before last
        kernels            | step on batch 0  | step on batch 1

    Batch 1 is taken after step 0 has been launched. The copy of batch 2, which overwrites batch 0, waits on
    the device for all kernels launched until then.
    """

    def __init__(self):
        self.places: list[_Place] = []  # for ``__del__``, if the driver refuses something
        device.attach()
        self.stream, self.taken = cuda.stream(), cuda.event()
        self.places, self.turn = [_Place(), _Place()], 0

    def start(self, arrays):
        """Begin to copy host arrays, and return what :meth:`take` needs; device arrays stay as they are."""
        place, self.turn = self.places[self.turn], 1 - self.turn
        place.sent.synchronize()  # until then the copy before may still read the pinned memory
        self.taken.wait(self.stream)
        arrays = [a if isinstance(a, DeviceArray) else np.asarray(a) for a in arrays]
        return place, place.send(arrays, self.stream)

    def take(self, batch) -> list[DeviceArray]:
        """The arrays on the device.

        They are for kernels launched from now on until the next batch but one is started.
        """
        place, arrays = batch
        place.sent.wait(device.stream())
        self.taken.record(device.stream())
        return arrays

    def __del__(self, ends=sys.is_finalizing):
        if not ends():  # the driver may have gone before
            for place in self.places:
                place.sent.synchronize()  # otherwise the pool would give out memory that is still written


class _Place:
    """Pinned memory, and memory of the same size on the device."""

    def __init__(self):
        self.pinned, self.memory, self.sent = np.empty(0, np.uint8), None, cuda.event()

    def send(self, arrays, stream):
        order = [sorted(range(a.ndim), key=lambda i, a=a: (-abs(a.strides[i]), i)) for a in arrays]
        ends = np.cumsum([0, *(-(-a.nbytes // ALIGN) * ALIGN for a in arrays)])
        size = int(ends[-1])
        if size > self.pinned.size:
            self.pinned, self.memory = device.allocate_pinned(size), memory.empty((size,), np.uint8)
            device.synchronize()  # the kernels that used this block before may still be running
        results = []
        for a, axes, at in zip(arrays, order, map(int, ends)):
            if isinstance(a, DeviceArray):
                results.append(a)
                continue
            a = a.transpose(axes)
            self.pinned[at : at + a.nbytes].view(a.dtype).reshape(a.shape)[...] = a
            there = DeviceArray(self.memory.base, a.shape, a.dtype, None, at)
            results.append(there.transpose(*np.argsort(axes)))
        if size:
            memory.write(self.memory.view((size,), None), self.pinned[:size], stream)
        self.sent.record(stream)
        return results
