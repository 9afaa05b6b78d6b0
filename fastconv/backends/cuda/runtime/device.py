"""The device: its stream, its memory, and what stands in for it where there is none.

A process computes in one of three ways::

                 kernels                          memory           decided by
    device       compiled, started by the driver  of the device    a GPU and numba-cuda are there
    simulator    run as Python functions          of the host      NUMBA_ENABLE_CUDASIM=1
    emulation    compiled, handed to a function   of the host      emulate(), called by tools

Modules with kernels take ``cuda`` and ``math`` from ``launch.py``, which takes them from here, so that the
simulator can replace both.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda import config

from fastconv.backends import availability

__all__ = [
    "SIMULATED",
    "Launcher",
    "allocate",
    "allocate_pinned",
    "attach",
    "capability",
    "choose",
    "cuda",
    "emulate",
    "free_now",
    "in_use",
    "free_memory",
    "launcher",
    "math",
    "name",
    "number",
    "on_host",
    "stream",
    "synchronize",
    "tensor_map",
]

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    from ..simulator import execution

    cuda, math = execution.Module(), execution.MATH  # type: ignore[assignment]

#: ``launcher(kernel, types, args, grid, block, shared)`` is called in place of a launch.
Launcher = Callable[[Any, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], int], None]

#: Whether arrays lie in host memory: under the simulator and in emulation.
on_host: bool = SIMULATED

#: What :func:`emulate` was given.
launcher: Launcher | None = None


def _bytes(size: int) -> np.ndarray:
    return np.empty(size, np.uint8)


_host_memory: Callable[[int], np.ndarray] = _bytes

#: What :func:`emulate` was given to encode a ``TensorMap``.
tensor_map: Callable[[Any], np.ndarray] | None = None


def emulate(
    run: Launcher,
    host_memory: Callable[[int], np.ndarray] = _bytes,
    encode: Callable[[Any], np.ndarray] | None = None,
    assumed: tuple[int, int] = (8, 0),
) -> None:
    """Compute without a device for the rest of the process.

    The compile report (``tools/cuda_report.py``) learns of every kernel in this way, and the machine that
    runs PTX (``tools/ptx_machine.py``) takes launches over.

    Parameters
    ----------
    run : callable
        Called in place of every launch.
    host_memory : callable
        ``host_memory(size)`` returns an array of ``size`` bytes that holds a block of the pool.
    encode : callable, optional
        ``encode(tensor_map)`` returns a ``TensorMap`` (``tensor_map.py``) as 16 numbers of 64 bits.
    assumed : (int, int)
        The compute capability that kernels are chosen for.
    """
    global on_host, launcher, _host_memory, tensor_map, _assumed
    on_host, launcher, _host_memory, tensor_map, _assumed = True, run, host_memory, encode, assumed
    availability.emulate()


_assumed = 0, 0  # without a device


class _Thread(threading.local):
    attached = False  # whether the device is the current one of this thread


_thread, _lock = _Thread(), threading.Lock()
_number, _used = 0, False  # the device, and whether a thread has begun to use it


def choose(number: int) -> None:
    """Compute on the device with this number, in all threads.

    Raises
    ------
    RuntimeError
        If the process computes on another one already.
    """
    global _number
    with _lock:
        if number != _number and _used:
            raise RuntimeError(
                f"set_device: this process computes on GPU {_number} already, and a process uses one GPU; "
                "call it before the first tensor is made there"
            )
        _number = number


def attach() -> None:
    """Make the device the current one of this thread, which the driver wants to know of each thread.

    Numba by itself would take the first device, or the one that another library chose.
    """
    global _used
    if not _thread.attached:
        with _lock:
            _used = True
        if not on_host:
            cuda.select_device(_number)
        _thread.attached = True


def in_use() -> bool:
    """Whether a thread has begun to use the device."""
    return _used


_streams: list[Any] = []


def stream() -> Any:
    """The stream of every copy and, outside of a recording, of every launch; None in emulation."""
    if launcher is not None:
        return None
    attach()
    if not _streams:
        with _lock:  # two threads that ask at the same time get the same one
            if not _streams:
                _streams.append(cuda.stream())
    return _streams[0]


def synchronize() -> None:
    """Wait until everything on the stream is done."""
    if not on_host:
        stream().synchronize()


def allocate(size: int) -> tuple[int, object]:
    """The address of ``size`` bytes of fresh memory, and the object that owns them.

    Raises
    ------
    MemoryError
        If the device has no memory left.
    """
    attach()
    if on_host:
        memory = _host_memory(size)
        return memory.ctypes.data, memory
    with _memory_errors():
        memory = cuda.device_array(size, np.uint8)
    return memory.device_ctypes_pointer.value, memory


def allocate_pinned(size: int) -> np.ndarray:
    """``size`` bytes of page-locked memory of the host; MemoryError if there is none left."""
    attach()
    if on_host:
        return np.empty(size, np.uint8)
    with _memory_errors():
        return cuda.pinned_array(size, np.uint8)


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """A MemoryError in place of the driver's error.

    That is Numba's error where Numba makes the call, and cuda-core's where the device is set up.
    """
    try:
        yield
    except Exception as e:
        if "OUT_OF_MEMORY" not in str(e):
            raise
        raise MemoryError from None


def free_now() -> None:
    """Return memory whose owners are gone to the driver.

    Numba keeps such memory in a list, up to a fifth of what the device has, and frees it later. Kernels must
    have ended on it, because the driver may not wait for streams.
    """
    if not on_host:
        attach()
        context = cuda.current_context()
        context.memory_manager.deallocations.clear()
        context.deallocations.clear()  # streams and events


def free_memory() -> tuple[int, int]:
    """Free bytes of the device, and all it has."""
    attach()
    return cuda.current_context().get_memory_info()


def name() -> str:
    """The device's name."""
    attach()
    found = cuda.get_current_device().name
    return found.decode() if isinstance(found, bytes) else found


def capability() -> tuple[int, int]:
    """The device's compute capability, ``(major, minor)``; zeros under the simulator."""
    return _assumed if on_host else _capability()


@functools.cache
def _capability():
    attach()
    return tuple(cuda.get_current_device().compute_capability)


def number() -> int:
    """The device's number."""
    return _number
