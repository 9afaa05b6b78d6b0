"""What the work of a thread belongs to: ordinary computing, or a graph that is being made.

A :class:`Context` says where memory comes from, whether values may be read, where numbers that change between
replays are kept, and where launches go. It is a context variable, so a thread that makes a graph does not
change what other threads do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import pool
from .array import DeviceArray


class Capture(Protocol):
    """What a context asks of the graph that is being made (see ``graph.py``)."""

    def numbers(self, values: Sequence) -> DeviceArray: ...

    def seed(self, value: int) -> DeviceArray: ...

    def read(self) -> None: ...

    def launched(self, args: Sequence) -> None: ...


class Context(NamedTuple):
    """What the work of a thread belongs to.

    Attributes
    ----------
    pool : Pool
        Where the memory of new arrays comes from.
    graph : Capture or None
        The graph that is being made.
    phase : str
        What is done for it: ``"rehearse"``, ``"record"`` or ``"refresh"`` (see ``graph.py``).
    target : list, stream or None
        Where launches are recorded: the simulator's list, or a stream of the driver that captures. None: they
        run.
    """

    pool: pool.Pool
    graph: Capture | None = None
    phase: str = ""
    target: Any = None

    @property
    def step(self) -> tuple[Capture, str] | None:
        """Names the work that a value belongs to.

        What was computed in one step is not used in another, because a replay would not compute it anew.
        """
        return None if self.graph is None else (self.graph, self.phase)


_current: ContextVar[Context] = ContextVar("fastconv_cuda_context", default=Context(pool.shared))  # noqa: B039 - a tuple

#: The context of the running thread.
current = _current.get


@contextlib.contextmanager
def use(context: Context) -> Iterator[None]:
    """Work in ``context`` inside a ``with`` block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def numbers(values: tuple) -> tuple | DeviceArray:
    """``values``, numbers of one type that differ from step to step, for a kernel that reads them by index.

    A graph keeps them in memory, where they can be changed before each replay.
    """
    graph = current().graph
    return values if graph is None else graph.numbers(values)


def seed(value: int) -> tuple | DeviceArray:
    """A seed of random numbers, in the same way: a kernel reads element 0."""
    graph = current().graph
    return (np.uint64(value),) if graph is None else graph.seed(value)
