"""What fastconv asks of the CUDA driver itself: to load and start kernels, and to record launches.

Numba could start kernels too, but it converts the arguments of each launch one by one; here one call of
``struct`` packs them. For a copy Numba would first make an array of its own, which takes longer than the
driver needs for a small one.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from . import device

_R = TypeVar("_R")

# Bytes of dynamic shared memory that any kernel may use: 48 KiB less what arrays of fixed size take.
_GRANTED = 40 << 10


def call(name: str, *args: Any) -> Any:
    """Call a function of the driver; what it returns beside its code.

    Raises
    ------
    RuntimeError
        With the name of the function and of the error.
    """
    from cuda.bindings import driver

    code, *values = getattr(driver, name)(*args)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{name}: {code.name}")
    return values[0] if values else None


# ------------------------------------------------------------------------------------------------- kernels
class Function:
    """A compiled kernel in the device's memory.

    Parameters
    ----------
    label : str
        What errors call it.
    name : str
        Its name in ``code``.
    code : bytes
        The cubin.
    formats : str
        The types of its arguments, those inside of tuples one by one, in the characters of ``struct``.
    """

    def __init__(self, label: str, name: str, code: bytes, formats: str):
        from cuda.bindings import driver

        device.attach()
        self.label, self.lock = label, threading.Lock()
        self.library = call("cuLibraryLoadData", code, [], [], 0, [], [], 0)
        kernel = call("cuLibraryGetKernel", self.library, name.encode())
        self.handle = call("cuKernelGetFunction", kernel)
        self.allowed = _GRANTED
        # native sizes and alignment are those of a kernel's parameters
        self.pack = struct.Struct(f"@{formats}").pack_into
        self.arguments = ctypes.create_string_buffer(max(struct.calcsize(f"@{formats}"), 1))
        start = ctypes.addressof(self.arguments)
        places = [start + place for place in _places(formats)]
        self.pointers = (ctypes.c_void_p * max(len(places), 1))(*places)
        self.parameters = ctypes.addressof(self.pointers)
        # looked up here, because a launch is too short to look anything up
        self.launch, self.success = driver.cuLaunchKernel, driver.CUresult.CUDA_SUCCESS

    def allow_shared(self, size: int) -> None:
        """Permit launches with more than 48 KiB of shared memory in all, which the driver must know."""
        from cuda.bindings import driver

        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        try:
            call("cuFuncSetAttribute", self.handle, attribute, size)
        except RuntimeError as e:
            raise RuntimeError(
                f"{self.label}: {size} bytes of shared memory per block are not available here ({e})"
            ) from None
        self.allowed = size

    def start(self, values: Sequence, grid: tuple, block: tuple, shared: int, stream: Any) -> None:
        """Launch it on a stream (see :func:`handle`)."""
        device.attach()
        with self.lock:  # the driver has read the arguments when it returns
            if shared > self.allowed:
                self.allow_shared(shared)
            self.pack(self.arguments, 0, *values)
            code = self.launch(self.handle, *grid, *block, shared, stream, self.parameters, 0)[0]
        if code != self.success:
            where = f"{self.label}: grid {grid}, block {block}, {shared} bytes"
            raise RuntimeError(f"{where}: cuLaunchKernel: {code.name}")


def _places(formats: str) -> list[int]:
    """Where each argument lies in a buffer that ``struct`` packed."""
    return [struct.calcsize(f"@{formats[:i]}0{f}") for i, f in enumerate(formats)]


def struct_format(dtype: np.dtype) -> str:
    """The character of ``struct`` for a number."""
    return {"?": "B", "l": "q", "L": "Q"}.get(dtype.char, dtype.char)


def fill(address: int, size: int, stream: Any) -> None:
    """Write 0xFF to ``size`` bytes of the device's memory."""
    call("cuMemsetD8Async", address, 0xFF, size, stream)


def copy_to_device(address: int, x: np.ndarray, stream: Any) -> None:
    """Copy a C-contiguous host array; ``stream`` is one of Numba."""
    device.attach()
    call("cuMemcpyHtoDAsync", address, x.ctypes.data, x.nbytes, handle(stream))


def copy_to_host(x: np.ndarray, address: int, stream: Any) -> None:
    """Fill a C-contiguous host array, and wait until that is done; ``stream`` is one of Numba."""
    device.attach()
    call("cuMemcpyDtoHAsync", x.ctypes.data, address, x.nbytes, handle(stream))
    stream.synchronize()


def wait(label: str) -> None:
    """Wait for a kernel that was just started (``FASTCONV_CUDA_SYNC=1``).

    What goes wrong in it is then raised where it was started, and not at a later copy.
    """
    try:
        call("cuCtxSynchronize")
    except RuntimeError as e:
        raise RuntimeError(f"{label}: {e}") from None


# ------------------------------------------------------------------------------------------------- streams
def handle(stream: Any) -> Any:
    """A stream of Numba as the driver's functions take it."""
    from cuda.bindings import driver

    return driver.CUstream(int(stream))


@functools.cache
def main_stream() -> Any:
    """The stream of every copy and, outside of a recording, of every launch."""
    return handle(device.stream())


def capture(stream: Any, work: Callable[[], _R]) -> tuple[Callable[[], None], _R]:
    """Record what ``work()`` launches on ``stream`` as a CUDA graph; nothing runs.

    Returns
    -------
    start : callable
        Starts the recorded launches on the common stream.
    result
        What ``work()`` returned.
    """
    from cuda.bindings import driver

    # relaxed: to allocate memory and to compile meanwhile is no error
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    call("cuStreamBeginCapture", handle(stream), mode)
    try:
        result = work()
    except BaseException:
        driver.cuStreamEndCapture(handle(stream))  # otherwise the stream would record for ever
        raise
    graph = call("cuStreamEndCapture", handle(stream))
    executable = call("cuGraphInstantiate", graph, 0)
    call("cuGraphDestroy", graph)

    def start():
        device.attach()
        call("cuGraphLaunch", executable, main_stream())

    weakref.finalize(start, driver.cuGraphExecDestroy, executable)
    return start, result
