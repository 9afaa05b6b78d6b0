"""Which of several ways to run a kernel is fastest: measured once per device and shape, kept on disk."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable

from fastconv.backends import disk

from . import device
from .context import current
from .device import cuda

chosen: dict[tuple, str] = {}  #: by this process


def can_measure() -> bool:
    """Whether times can be measured: on a device, and not while this thread makes a graph."""
    return not device.on_host and current().graph is None


@functools.cache
def measurements() -> disk.Measurements:
    """The fastest ways of this device, by a hash of the problem."""
    folder = disk.folder("cuda", "-".join(device.name().split()))
    return disk.Measurements(folder and folder / "fastest.json")


def seconds(run: Callable[[], None], times: int = 5) -> float:
    """The shortest of some runs by the device's clock, after one that may compile.

    Infinite where the device refuses a launch.
    """
    try:
        run()
    except RuntimeError:  # more shared memory than a block of this device has
        return math.inf
    events = [(cuda.event(), cuda.event()) for _ in range(times)]
    for before, after in events:
        before.record(device.stream())
        run()
        after.record(device.stream())
    device.synchronize()
    return min(before.elapsed_time(after) for before, after in events) / 1e3


def fastest(problem: tuple, ways: dict[str, Callable[[], None]]) -> str:
    """The name of the fastest of ``ways``, functions that all compute the same.

    The first where nothing can be measured.
    """
    if problem not in chosen and not can_measure():
        return next(iter(ways))
    if problem not in chosen:
        key = hashlib.sha256(repr(problem).encode()).hexdigest()[:24]
        chosen[problem] = measurements().get(
            key,
            lambda name: isinstance(name, str) and name in ways,
            lambda: min(ways, key=lambda name: seconds(ways[name])),
        )
    return chosen[problem]
