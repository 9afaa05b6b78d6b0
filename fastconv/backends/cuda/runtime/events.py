"""Marks on the stream, whose times can be compared."""

from __future__ import annotations

import time
from typing import Any

from . import device


class HostEvent:
    """An event where kernels run on the host, one after the other: all work is done when it is recorded."""

    def __init__(self):
        self.seconds = time.perf_counter()

    def record(self, stream: Any) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: HostEvent) -> float:
        """Milliseconds from this event to ``end``."""
        return 1e3 * (end.seconds - self.seconds)


def event(timing: bool) -> Any:
    """A new event with the methods of :class:`HostEvent`; ``timing``: it keeps the time."""
    device.attach()
    return HostEvent() if device.on_host else device.cuda.event(timing=timing)
