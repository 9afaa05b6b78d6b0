"""One training step recorded and replayed: Python and the driver's launches, which take longer than small
kernels, are left out.

A replay starts the kernels that were recorded with the arguments they had: arrays at the same addresses, the
same numbers. So a recorded step takes its memory from a pool of its own, which nobody else uses as long as
the graph lives, reads its inputs from arrays that are overwritten before each replay, and numbers that differ
from step to step (learning rate, seeds of
dropout) from a table on the device, uploaded before each replay::

    table   seed | seed | .. | numbers of an optimizer's kernel | .. of the next |      each at a multiple of 16 bytes
"""

from __future__ import annotations

import contextlib

import numpy as np

from fastconv import backends

from .ops import shape
from .runtime import launch, layout, memory

_TABLE = 1 << 16  # bytes


class Graph:
    """A step that is done twice before it is replayed: rehearsed, so that kernels are compiled and memory is
    there, then recorded, which runs nothing.

    Parameters
    ----------
    inputs : list of DeviceArray
        Examples of what the step is given.

    Attributes
    ----------
    inputs : list of DeviceArray
        The step's own, which it must read.
    seeds : dict
        The seeds of the step done last, in the order they came.
    reads : int
        How often the rehearsal copied an array to the host: a recorded step cannot.
    closed : bool
        It cannot be replayed any more.
    """

    def __init__(self, inputs):
        self.inputs = [shape.copy(x) for x in inputs]
        self.seeds, self.reads, self.closed = {}, 0, False
        memory.graphs.add(self)
        self._pool, self._shared = memory.Pool(bounded=False), memory.pool
        self._host, self._table, self._end = np.zeros(_TABLE, np.uint8), memory.empty((_TABLE,), np.uint8), 0
        self._phase, self._uploads, self._blocks, self._start = "", [], {}, None

    @contextlib.contextmanager
    def _during(self, phase):
        self._phase, self._end, memory.graph = phase, 0, self
        memory.pool = self._pool
        token = backends.recording.set(True)
        try:
            yield
        finally:
            backends.recording.reset(token)
            memory.pool, memory.graph, self._phase = self._shared, None, ""

    def rehearse(self, step):
        """Run ``step()`` as it will be recorded."""
        with self._during("rehearse"):
            self.seeds.clear()
            return step()

    def record(self, step):
        """Record ``step()``; the next :meth:`replay` is its first run. Returns its result, whose arrays each
        replay fills."""
        try:
            with self._during("record"):
                self.seeds.clear()
                self._start, result = launch.record(step)
        finally:
            # kept elsewhere, too, as tables that are there once and for all
            for array, values in self._uploads:
                memory.write(array, values)
        return result

    def refresh(self, seeds, update) -> None:
        """Take other seeds, and numbers from ``update()``, the end of the step, whose launches are left
        out."""
        for at, seed in zip(self.seeds.values(), seeds, strict=True):
            self._put(at, [np.uint64(seed)])
        with self._during("refresh"):
            self._end = 16 * len(self.seeds)
            update()

    def replay(self, inputs) -> None:
        """Start the step on ``inputs``."""
        for x, y in zip(inputs, self.inputs, strict=True):
            layout.copy_to(x, y)
        if self._end:
            memory.write(self._table.view((self._end,), None), self._host[: self._end])
        self._start()

    def close(self) -> None:
        """Give the memory back; replays are over. The pool does so where memory is short."""
        self._start, self.closed = None, True
        self._pool.trim()

    # ---- what the backend asks while a step is done (``memory.graph``)
    @property
    def phase(self) -> str:
        """What is going on: "rehearse", "record" or "refresh"."""
        return self._phase

    @property
    def refreshing(self) -> bool:
        return self._phase == "refresh"

    def seed(self, seed):
        """Where a kernel finds this seed."""
        if seed not in self.seeds:
            self.seeds[seed] = self._room(8)
        return self._put(self.seeds[seed], [np.uint64(seed)])

    def numbers(self, values):
        """Where a kernel finds these numbers."""
        values = np.array(values)
        return self._put(self._room(values.nbytes), values)

    def _room(self, nbytes) -> int:
        at, self._end = self._end, self._end + -(-nbytes // 16) * 16
        return at

    def _put(self, at, values):
        values = np.asarray(values)
        self._host[at : at + values.nbytes].view(values.dtype)[:] = values
        place = memory.DeviceArray(
            self._table.base, values.shape, values.dtype, offset=self._table.offset + at
        )
        if self._phase == "rehearse":
            memory.write(place, values)
        return place

    def upload(self, x):
        """A copy of a host array that stays as it is in every replay."""
        y = memory.DeviceArray(self._shared.take(x.nbytes), x.shape, x.dtype)
        if self._phase == "record":
            self._uploads.append((y, x.copy()))
        else:
            memory.write(y, x)
        return y

    def launched(self, args) -> None:
        """Keep what a kernel was given that is not of the graph's own memory."""
        if self._phase == "record":
            for a in args:
                if isinstance(a, memory.DeviceArray) and getattr(a.base, "pool", None) is not self._pool:
                    self._blocks[id(a.base)] = a.base

    def read(self) -> None:
        """An array is copied to the host."""
        self.reads += 1
        if self._phase == "record":
            raise RuntimeError("a step that is recorded cannot read values on the host")


def numbers(values):
    """``values``, a tuple of one type, for a kernel that reads them by index; in a graph they are read from
    memory."""
    return values if memory.graph is None else memory.graph.numbers(values)


def seed(value: int):
    """A seed, likewise."""
    return (np.uint64(value),) if memory.graph is None else memory.graph.seed(value)
