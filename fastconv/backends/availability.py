"""Whether there is a GPU to compute on, and what is missing where there is none."""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec


@functools.cache
def missing() -> str | None:
    """Why tensors cannot be put on a GPU here, and what to do about it; None if they can."""
    # numba itself brings the simulator
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    if find_spec("numba_cuda") is None and not simulated:
        return 'numba-cuda is not installed; with an NVIDIA GPU: pip install "fastconv[cu12]" or "fastconv[cu13]"'
    from numba import cuda

    if cuda.config.ENABLE_CUDASIM or cuda.is_available():
        return None
    if not cuda.cudadrv.driver.driver.is_available:
        return "no NVIDIA driver or GPU was found (does nvidia-smi list one?)"
    return 'the CUDA compiler (NVVM) was not found; pip install "fastconv[cu12]" or "fastconv[cu13]", as the driver is'
