"""One training step recorded and replayed.

A replay leaves out Python and the driver's launches, which take longer than small kernels.

A replay starts the recorded kernels with the arguments that they had: arrays at the same addresses, the same
numbers. Therefore a recorded step

* takes its memory from a pool of its own, which nobody else uses as long as the graph lives;
* reads its inputs from arrays that are overwritten before each replay;
* reads numbers that differ from step to step (learning rates, seeds of dropout) from a table on the device,
  which is uploaded before each replay::

    table   seed | seed | .. | numbers of an optimizer's kernel | .. of the next |    each at a multiple of
                                                                                      16 bytes

While a step is rehearsed or recorded, the thread works in a context of the graph (``runtime/context.py``);
other threads compute as usual.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from fastconv import backends

from .runtime import launch, layout, memory, pool
from .runtime.array import Block, DeviceArray
from .runtime.context import Context, current, use

_TABLE = 1 << 16  # bytes
_R = TypeVar("_R")


class Graph:
    """A step that is done twice before it is replayed.

    First it is rehearsed: it runs, so that kernels are compiled and memory is there. Then it is recorded,
    which runs nothing.

    Parameters
    ----------
    inputs : list of DeviceArray
        Examples of what the step is given.

    Attributes
    ----------
    inputs : list of DeviceArray
        The arrays that the step must read.
    seeds : dict
        The seeds of the step done last, in the order they came.
    reads : int
        How often the rehearsal copied an array to the host, which a recorded step cannot do.
    closed : bool
        The memory was given back; the graph cannot be replayed any more.
    """

    def __init__(self, inputs: Sequence[DeviceArray]):
        memory.trim()  # because the graph takes memory of its own
        self.inputs = [layout.copy(x) for x in inputs]
        self.seeds: dict[int, int] = {}
        self.reads, self.closed = 0, False
        self._pool, self._busy = pool.Pool(bounded=False), threading.Lock()
        self._host, self._table, self._end = np.zeros(_TABLE, np.uint8), memory.empty((_TABLE,), np.uint8), 0
        self._blocks: dict[int, Block] = {}
        self._start: Callable[[], None] | None = None
        pool.graphs.add(self)

    @contextlib.contextmanager
    def _during(self, phase):
        token = backends.recording.set(True)
        try:
            with self._busy, use(Context(self._pool, self, phase)):
                self._end = 0
                yield
        finally:
            backends.recording.reset(token)

    def rehearse(self, step: Callable[[], _R]) -> _R:
        """Run ``step()`` as it will be recorded."""
        with self._during("rehearse"):
            self.seeds.clear()
            return step()

    def record(self, step: Callable[[], _R], changed: Sequence[DeviceArray] = ()) -> _R:
        """Record ``step()``; the next :meth:`replay` is its first run.

        Parameters
        ----------
        step : callable
        changed : sequence of DeviceArray
            What the step changes. Nothing is done for them, because no kernel runs.

        Returns
        -------
        result
            What ``step()`` returned. Each replay writes its arrays.

        Raises
        ------
        RuntimeError
            If the step copies values to the host, or the driver refuses.
        """
        with self._during("record"):
            self.seeds.clear()
            self._start, result = launch.record(step)
        return result

    def refresh(self, seeds: Iterable[int], update: Callable[[], Any]) -> None:
        """Take other seeds, and other numbers from ``update()``.

        ``update`` is the end of the step, for example the optimizer's; its kernels are not launched.
        """
        for at, seed in zip(self.seeds.values(), seeds, strict=True):
            self._put(at, [np.uint64(seed)])
        with self._during("refresh"):
            self._end = 16 * len(self.seeds)
            update()

    def replay(self, inputs: Sequence[DeviceArray]) -> None:
        """Start the step on ``inputs``."""
        if self._start is None:
            raise RuntimeError("graph: no step is recorded, or its memory was given back; record it first")
        for x, y in zip(inputs, self.inputs, strict=True):
            layout.copy_to(x, y)
        if self._end:
            memory.write(self._table.view((self._end,), None), self._host[: self._end])
        self._start()

    def close(self) -> None:
        """Give the memory back; the graph cannot be replayed any more."""
        self._start, self.closed = None, True
        self._pool.trim()

    # ---- what the runtime asks: the context of a step, and the pool where memory is short
    def close_if_idle(self) -> None:
        """Close the graph, unless a thread is just making it."""
        if self._busy.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._busy.release()

    def seed(self, value: int) -> DeviceArray:
        """Where a kernel finds this seed."""
        if value not in self.seeds:
            self.seeds[value] = self._room(8)
        return self._put(self.seeds[value], [np.uint64(value)])

    def numbers(self, values: Sequence) -> DeviceArray:
        """Where a kernel finds these numbers."""
        array = np.array(values)
        return self._put(self._room(array.nbytes), array)

    def _room(self, nbytes) -> int:
        at, self._end = self._end, self._end + -(-nbytes // 16) * 16
        return at

    def _put(self, at, values) -> DeviceArray:
        values = np.asarray(values)
        self._host[at : at + values.nbytes].view(values.dtype)[:] = values
        place = DeviceArray(self._table.base, values.shape, values.dtype, offset=self._table.offset + at)
        if current().phase == "rehearse":
            memory.write(place, values)
        return place

    def launched(self, args: Sequence) -> None:
        """Keep what a recorded kernel was given that is not of the graph's own memory."""
        if current().phase == "record":
            for a in launch.arrays_in(args):
                if not self._pool.owns(a.base):
                    self._blocks[id(a.base)] = a.base

    def read(self) -> None:
        """An array is copied to the host."""
        self.reads += 1
        if current().phase == "record":
            raise RuntimeError("a step that is recorded cannot read values on the host")
