"""Whether there is a GPU to compute on, and what is missing if there is none."""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

INSTALL = 'pip install "fastconv[cu12]" or "fastconv[cu13]"'
#: Where CUDA's own installer puts the toolkit.
USUAL_TOOLKIT = Path("/usr/local/cuda")
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
    if not simulated:
        find_toolkit()
    try:
        from numba import cuda as numba_cuda
    except Exception as e:  # it imports packages of NVIDIA, which may be of another version
        return f"numba-cuda cannot be imported ({_first_line(e)}); {INSTALL} installs versions that fit"

    cuda: Any = numba_cuda  # it declares no types
    return None if cuda.config.ENABLE_CUDASIM else unusable(cuda)


def find_toolkit(usual: Path = USUAL_TOOLKIT) -> None:
    """Set ``CUDA_HOME`` for this process where a toolkit is in its usual folder and no variable names one.

    numba-cuda looks for the compiler in wheels, in conda's folder, where the system's loader looks, and last
    in ``CUDA_HOME``. So the variable changes nothing where one of the others has it.
    """
    if not (os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")) and (usual / "nvvm").is_dir():
        os.environ["CUDA_HOME"] = str(usual)


def unusable(cuda: Any) -> str | None:
    """Why ``cuda``, the module of numba-cuda, cannot compute on a GPU here; None if it can."""
    driver = cuda.cudadrv.driver.driver
    # The first question initialises the driver. numba-cuda passes on what its loader raises where a library
    # is not found, or is of another version than its bindings.
    try:
        usable = driver.is_available
    except Exception:
        usable = False
    if not usable:
        why = (driver.initialization_error or "").strip()
        why = f": {_first_line(why)}" if why else ""
        return f"no NVIDIA driver or GPU was found (does nvidia-smi list one?){why}"
    try:
        found = cuda.cudadrv.nvvm.is_available()
        toolkit, newest = cuda.cudadrv.runtime.get_version(), driver.get_version()
    except Exception as e:
        return _no_compiler(_first_line(e))
    if not found:
        return _no_compiler("cuda-bindings has no NVVM")
    if toolkit[0] > newest[0]:
        versions = ["{}.{}".format(*v) for v in (toolkit, newest)]
        return (
            f"the CUDA compiler has version {versions[0]}, the driver runs programs up to {versions[1]}; "
            f"install a newer driver, or fastconv[cu{newest[0]}]"
        )
    return None


def _no_compiler(why: str) -> str:
    return (
        f"the CUDA compiler (NVVM and NVRTC) was not found ({why}); {INSTALL}, as the driver is, or set "
        "CUDA_HOME to the folder of a toolkit"
    )


def _first_line(text: object) -> str:
    return (str(text).strip().splitlines() or [type(text).__name__])[0]
