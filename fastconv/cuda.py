"""What there is to compute on besides the processor."""

from __future__ import annotations

import functools
from importlib.util import find_spec

from . import backends


@functools.cache
def missing() -> str | None:
    """Why tensors cannot be put on a GPU here, and what to do about it; None if they can."""
    if find_spec("numba_cuda") is None:
        return 'numba-cuda is not installed; with an NVIDIA GPU: pip install "fastconv[cu12]" or "fastconv[cu13]"'
    from numba import cuda

    if cuda.config.ENABLE_CUDASIM or cuda.is_available():
        return None
    if not cuda.cudadrv.driver.driver.is_available:
        return "no NVIDIA driver or GPU was found (does nvidia-smi list one?)"
    return 'the CUDA compiler (NVVM) was not found; pip install "fastconv[cu12]" or "fastconv[cu13]", as the driver is'


def is_available() -> bool:
    """Whether tensors can be put on a GPU here; numba's simulator (``NUMBA_ENABLE_CUDASIM=1``) counts as one."""
    return missing() is None


def _memory():
    return backends.load("cuda").memory


def synchronize() -> None:
    """Wait until everything started on the GPU is done."""
    backends.load("cuda").launch.synchronize()


def memory_stats() -> dict[str, int]:
    """Blocks taken from the pool, blocks that had to be allocated, and bytes free, in use and at the peak."""
    return _memory().statistics()


def empty_cache() -> None:
    """Give the memory that the pool keeps for reuse back to the driver."""
    _memory().trim()
