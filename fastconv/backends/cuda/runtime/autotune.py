"""Which of several ways to run a kernel is fastest: measured once per device and shape, kept on disk.

A way is recorded ``LAUNCHES`` times as one CUDA graph, and a replay is timed by the device's clock, so the
time that Python takes to launch is not measured. ``FASTCONV_TUNE=0`` switches measuring off.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from fastconv.backends import disk, settings

from . import device, launch, memory
from .array import DeviceArray
from .context import current, use
from .device import cuda
from .pool import Pool

TUNED = Path(__file__).parents[1] / "tuned"  # a file for each device that was measured
LAUNCHES, REPLAYS = 10, 3
_SAMPLE = 1 << 16  # numbers compared at the start, in the middle and at the end of a result
#: Largest difference of two ways, relative to the largest number. They differ in the order of sums only.
_TOLERANCE = 1e-3

chosen: dict[tuple, str] = {}  #: by this process


def can_measure() -> bool:
    """Whether times can be measured: on a device, and not while this thread makes a graph."""
    return not device.on_host and current().graph is None and settings.switch("FASTCONV_TUNE", True)


@functools.cache
def measurements() -> disk.Measurements:
    """The fastest ways of this device, by a hash of the problem.

    Those of common nets on some devices come with fastconv (``cuda/tuned/``).
    """
    name = "-".join(device.name().split())
    folder, shipped = disk.folder("cuda", name), TUNED / f"{name}.json"
    known = json.loads(shipped.read_text("utf-8")) if shipped.exists() else {}
    return disk.Measurements(folder and folder / "fastest.json", known)


def seconds(run: Callable[[], None]) -> float:
    """How long ``run()`` takes on the device, after a first time that may compile.

    Infinite where the device refuses a launch, for example because it has less shared memory per block.
    """

    def several():
        for _ in range(LAUNCHES):
            run()

    try:
        run()
        # memory of its own: what a replay writes must not have been given to another thread
        with use(current()._replace(pool=Pool(bounded=False))):
            start, _ = launch.record(several)
            start()
            events = [cuda.event() for _ in range(REPLAYS + 1)]
            events[0].record(device.stream())
            for event in events[1:]:
                start()
                event.record(device.stream())
            device.synchronize()
    except RuntimeError:
        return math.inf
    return min(a.elapsed_time(b) for a, b in zip(events, events[1:])) / (1e3 * LAUNCHES)


def _sample(result: DeviceArray) -> np.ndarray:
    """Numbers from the start, the middle and the end of a result in memory."""
    n = min(_SAMPLE, result.span)
    starts = 0, (result.span - n) // 2, result.span - n
    size = result.itemsize
    return np.array([memory.download(result.view((n,), (size,), s * size)) for s in starts], np.float64)


def _agree(first: np.ndarray, other: np.ndarray) -> bool:
    scale = max(float(np.nanmax(np.abs(first), initial=0)), 1e-30)
    return bool(np.allclose(first, other, rtol=0, atol=_TOLERANCE * scale, equal_nan=True))


def _measure(ways: dict[str, Callable[[], None]], result: DeviceArray) -> str:
    """The fastest of the ways that write the same to ``result`` as the first one that runs."""
    times: dict[str, float] = {}
    first = None
    for name, run in ways.items():
        times[name] = seconds(run)
        if times[name] == math.inf:
            continue
        found = _sample(result)
        if first is None:
            first = found
        elif not _agree(first, found):
            warnings.warn(
                f"cuda: {name} is not used, because its result differs from that of {next(iter(times))}; "
                f"please report this with the output of 'fastconv doctor'",
                RuntimeWarning,
                stacklevel=2,
            )
            times[name] = math.inf
    return min(times, key=lambda name: times[name])


_every: ContextVar[bool] = ContextVar("fastconv_cuda_every_way", default=False)


@contextlib.contextmanager
def every_way() -> Iterator[None]:
    """Run every way inside a ``with`` block, for whoever notes which kernels may be launched."""
    token = _every.set(True)
    try:
        yield
    finally:
        _every.reset(token)


def fastest(problem: tuple, ways: dict[str, Callable[[], None]], result: DeviceArray) -> str:
    """The name of the fastest of ``ways``, functions that all compute ``result``.

    The first where nothing can be measured.
    """
    if _every.get():
        for run in ways.values():
            run()
    if problem not in chosen and not (len(ways) > 1 and can_measure()):
        return next(iter(ways))
    if problem not in chosen:
        key = hashlib.sha256(repr(problem).encode()).hexdigest()[:24]
        chosen[problem] = measurements().get(
            key,
            lambda name: isinstance(name, str) and name in ways,
            lambda: _measure(ways, result),
        )
    return chosen[problem]
