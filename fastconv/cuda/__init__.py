"""The GPU: whether there is one, its memory, and its stream, with PyTorch's names.

A process of fastconv computes on one GPU and on one stream.
"""

from ..random import manual_seed
from ..random import manual_seed as manual_seed_all
from . import nvtx
from .devices import (
    DeviceProperties,
    current_device,
    device_count,
    get_device_capability,
    get_device_name,
    get_device_properties,
    set_device,
)
from .memory import (
    empty_cache,
    max_memory_allocated,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_peak_memory_stats,
)
from .state import describe, init, is_available, is_initialized, missing
from .streams import Event, Stream, current_stream, synchronize

__all__ = [
    "DeviceProperties",
    "Event",
    "Stream",
    "current_device",
    "current_stream",
    "describe",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "init",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "missing",
    "nvtx",
    "reset_peak_memory_stats",
    "set_device",
    "synchronize",
]
