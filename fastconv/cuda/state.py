"""Whether there is a GPU to compute on, and what is missing if there is none."""

from __future__ import annotations

import sys
from typing import Any

from .. import backends
from ..backends import availability


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


def init() -> None:
    """Set the GPU up now instead of at its first use, which takes a moment.

    Raises
    ------
    RuntimeError
        If there is no GPU; the message says what is missing.

    Examples
    --------
    >>> fc.cuda.init()
    >>> fc.cuda.is_initialized()
    True
    """
    backends.load("cuda").device.stream()


def is_initialized() -> bool:
    """Whether this process has begun to use the GPU.

    Examples
    --------
    >>> x = fc.ones(2).to("cuda")
    >>> fc.cuda.is_initialized()
    True
    """
    engine: Any = sys.modules.get("fastconv.backends.cuda")
    return engine is not None and engine.device.in_use()
