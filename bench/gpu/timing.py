"""Times by the device's own clock.

Several runs lie between two events, because one run between two events measures how fast Python launches.
Kernels are timed in a CUDA graph of many launches, which Python does not delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

LAUNCHES, REPLAYS = 20, 5  # in one graph; of it
CACHE = 120e6  # bytes of arrays that no second-level cache holds
MOST_SETS = 8


class Clock(NamedTuple):
    """How events are made, and the stream they are recorded in."""

    event: Callable[[], Any]
    stream: Any


class HostEvent:
    """An event of the host's clock, for the dry run."""

    def record(self, stream):
        self.at = perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, after):
        return 1e3 * (after.at - self.at)


def fastconv_clock(dry: bool) -> Clock:
    from fastconv.backends.cuda.runtime import device

    if dry:
        return Clock(HostEvent, None)
    from numba import cuda

    return Clock(cuda.event, device.stream())


def torch_clock(torch) -> Clock:
    return Clock(partial(torch.cuda.Event, enable_timing=True), torch.cuda.current_stream())


def milliseconds(clock: Clock, run: Callable[[], Any], inner: int, repeats: int) -> list[float]:
    """Milliseconds of one run, for each of ``repeats`` pairs of events around ``inner`` runs."""
    pairs = []
    for _ in range(repeats):
        before, after = clock.event(), clock.event()
        before.record(clock.stream)
        for _ in range(inner):
            run()
        after.record(clock.stream)
        pairs.append((before, after))
        after.synchronize()
    return [before.elapsed_time(after) / inner for before, after in pairs]


def sets_of(nbytes: int) -> int:
    """How many sets of arrays of ``nbytes`` pass the second-level cache together."""
    return int(min(MOST_SETS, max(1, -(-CACHE // max(nbytes, 1)))))


def record_fastconv(calls: Sequence[Callable[[], Any]], launches: int) -> tuple[Callable[[], None], deque]:
    """A graph of ``launches`` calls, in turn those of ``calls``, and the results of the last ones.

    The results stay in use, so that the calls write to memory in turn, too. The graph is recorded outside of
    ``engine.Graph``: arrays that an ordinary call has rounded to bfloat16 are not rounded again.
    """
    from fastconv.backends.cuda.runtime import launch

    held: deque = deque((call() for call in calls), maxlen=len(calls))  # compiles

    def work():
        for i in range(launches):
            held.append(calls[i % len(calls)]())

    start, _ = launch.record(work)
    return start, held


def record_torch(torch, calls: Sequence[Callable[[], Any]], launches: int):
    """The same for PyTorch."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what a first call allocates and measures must not be captured
        held = deque((call() for call in calls), maxlen=len(calls))
    torch.cuda.current_stream().wait_stream(aside)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            held.append(calls[i % len(calls)]())
    return graph.replay, held


def per_call(clock: Clock, start: Callable[[], None], launches: int, replays: int) -> float:
    """Milliseconds of one call in a recorded graph: the median of some replays after one."""
    start()
    return median(milliseconds(clock, start, 1, replays)) / launches
