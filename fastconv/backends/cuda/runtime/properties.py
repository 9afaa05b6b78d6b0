"""What the devices of this machine are."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from . import device
from .device import cuda


class Properties(NamedTuple):
    """A device in numbers. Numba's simulator has the name ``"simulator"`` and zeros."""

    name: str
    major: int  #: of its compute capability
    minor: int
    total_memory: int  #: bytes
    multi_processor_count: int


def count() -> int:
    """How many devices there are; the simulator is one."""
    return 1 if device.on_host else int(_driver().cuDeviceGetCount())


@functools.cache
def of(number: int) -> Properties:
    """The properties of a device."""
    if device.on_host:
        return Properties("simulator", 0, 0, 0, 0)
    found = cuda.gpus[number]
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    memory = int(_driver().cuDeviceTotalMem(number))
    return Properties(name, *map(int, found.compute_capability), memory, int(found.MULTIPROCESSOR_COUNT))


def _driver() -> Any:
    return cuda.cudadrv.driver.driver
