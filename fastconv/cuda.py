"""What there is to compute on besides the processor."""

from __future__ import annotations

from typing import Any

from . import backends
from .backends import availability


def missing() -> str | None:
    """Why tensors cannot be put on a GPU here, and what to do about it; None if they can."""
    return availability.missing()


def is_available() -> bool:
    """Whether tensors can be put on a GPU here.

    Numba's simulator (``NUMBA_ENABLE_CUDASIM=1``) counts as one.
    """
    return missing() is None


def describe() -> str:
    """Device, capability, memory and driver in a line, or what is missing."""
    if (reason := missing()) is not None:
        return reason
    from numba import cuda as numba_cuda

    cuda: Any = numba_cuda  # it declares no types
    if cuda.config.ENABLE_CUDASIM:
        return "none; numba's simulator stands in for one"
    device, driver = cuda.get_current_device(), cuda.cudadrv.driver.driver
    free, total = (f"{n / 2**30:.1f}" for n in cuda.current_context().get_memory_info())
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    return (
        f"{name}, capability {'{}.{}'.format(*device.compute_capability)}, {free} of {total} GiB free, "
        f"driver for CUDA {'{}.{}'.format(*driver.get_version())}"
    )


def _memory() -> Any:
    return backends.load("cuda").memory


def synchronize() -> None:
    """Wait until all work started on the GPU is done."""
    backends.load("cuda").device.synchronize()


def memory_stats() -> dict[str, int]:
    """Blocks taken from the pool, blocks that had to be allocated, and bytes free, in use and at the peak."""
    return _memory().statistics()


def empty_cache() -> None:
    """Give the memory that the pool keeps for reuse back to the driver."""
    _memory().trim()
