"""Names for parts of a program in NVIDIA's profilers (Nsight Systems, Nsight Compute).

They are passed on to NVIDIA's NVTX library, which is part of a toolkit of CUDA and of the package
``nvidia-nvtx``. Where it is not found (see :func:`is_available`), these functions do nothing, so a program
runs with and without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sysconfig
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# of toolkits from 13 on, up to 12, and of Windows
_NAMES = ("libnvtx3interop.so.1", "libnvToolsExt.so.1", "nvToolsExt64_1.dll")


def _candidates() -> Iterator[str]:
    """Where the library may be: where the system's loader looks, in a toolkit, in wheels of NVIDIA."""
    yield from _NAMES
    folders = [Path(os.environ[n]) / "lib64" for n in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(n)]
    folders += sorted((Path(sysconfig.get_path("purelib")) / "nvidia").glob("*/lib"))
    yield from (str(folder / name) for folder in folders for name in _NAMES if (folder / name).is_file())


@functools.cache
def library() -> Any:
    """The NVTX library, or None where it is not found."""
    for path in _candidates():
        try:
            lib = ctypes.CDLL(path)
            for name in ("nvtxRangePushA", "nvtxMarkA"):
                getattr(lib, name).argtypes = [ctypes.c_char_p]
            lib.nvtxMarkA.restype = None
            lib.nvtxRangePop.argtypes = []
        except (OSError, AttributeError):  # it is not there, or it is another library of that name
            continue
        return lib
    return None


def is_available() -> bool:
    """Whether the NVTX library was found; otherwise the functions here do nothing.

    Examples
    --------
    >>> isinstance(fc.cuda.nvtx.is_available(), bool)
    True
    """
    return library() is not None


def range_push(msg: str) -> int:
    """Begin a range named ``msg`` inside the range that this thread began last.

    Returns
    -------
    int
        How many ranges the new one is inside of; negative where no profiler or no library is there.

    Examples
    --------
    >>> depth = fc.cuda.nvtx.range_push("forward")
    >>> depth = fc.cuda.nvtx.range_pop()
    """
    lib = library()
    return -1 if lib is None else int(lib.nvtxRangePushA(msg.encode()))


def range_pop() -> int:
    """End the range that this thread began last; returns how many it was inside of, as :func:`range_push`."""
    lib = library()
    return -1 if lib is None else int(lib.nvtxRangePop())


def mark(msg: str) -> None:
    """Mark a moment with the name ``msg``.

    Examples
    --------
    >>> fc.cuda.nvtx.mark("epoch 3")
    """
    lib = library()
    if lib is not None:
        lib.nvtxMarkA(msg.encode())


@contextlib.contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Generator[None, None, None]:  # noqa: A001 - PyTorch's name
    """A range inside a ``with`` block, or around a function that it decorates.

    ``msg`` is a name, or a format for ``msg.format(*args, **kwargs)``.

    Examples
    --------
    >>> with fc.cuda.nvtx.range("step {}", 3):
    ...     y = fc.ones(2) + 1
    """
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
