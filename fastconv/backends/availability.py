"""Whether there is a GPU to compute on, and what is missing if there is none."""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Any

INSTALL = 'pip install "fastconv[cu12]" or "fastconv[cu13]"'
_emulated = False


def emulate() -> None:
    """Say that something stands in for a GPU from now on (see ``backends/cuda/runtime/device.py``)."""
    global _emulated
    _emulated = True


def missing() -> str | None:
    """Why tensors cannot be put on a GPU here, and what to do about it; None if they can."""
    return None if _emulated else _missing()


@functools.cache
def _missing() -> str | None:
    # Numba itself has the simulator, so numba-cuda is not needed for it.
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    if find_spec("numba_cuda") is None and not simulated:
        return f"numba-cuda is not installed; with an NVIDIA GPU: {INSTALL}"
    from numba import cuda as numba_cuda

    cuda: Any = numba_cuda  # it declares no types
    if cuda.config.ENABLE_CUDASIM or cuda.is_available():
        return None
    if not cuda.cudadrv.driver.driver.is_available:
        return "no NVIDIA driver or GPU was found (does nvidia-smi list one?)"
    return f"the CUDA compiler (NVVM) was not found; {INSTALL}, as the driver is"
