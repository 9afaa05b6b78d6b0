"""Starting kernels: decorators, grids, the stream, and a guard on what is passed.

A kernel gets an array as a pointer to its first element, whatever its shape: ``x[i]`` is one access, where on
an array of Numba it would first ask whether ``i`` counts from the end. Numbers have a fixed type: Python
integers arrive as int32 (int64 where they do not fit), floats must be NumPy scalars, since a Python float
would turn float32 arithmetic into float64. Modules with kernels take ``cuda`` and ``math`` from here, so that
the simulator (``NUMBA_ENABLE_CUDASIM=1``) can stand in for both.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from math import gcd

import numpy as np
from numba import cuda
from numba.cuda import config

from fastconv.backends import compiling

from . import memory

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    from ..simulator.execution import MATH as math  # noqa: N811
    from ..simulator.execution import Module

    cuda = Module()
else:
    from numba.cuda import types
    from numba.cuda.np.numpy_support import from_dtype

__all__ = [
    "SIMULATED",
    "THREADS",
    "body",
    "cuda",
    "grid",
    "grid_over_channels",
    "kernel",
    "launch",
    "math",
    "record",
    "recorder",
    "stream",
    "synchronize",
]

#: Threads per block where a kernel has no reason for another number; a power of two.
THREADS = 8 if SIMULATED else 256
_BLOCKS = 2 if SIMULATED else 4096

#: A function ``(kernel, types, args, grid, block, shared)`` called instead of launching: how the compile
#: report learns of every kernel, and the machine that runs PTX without a GPU (``tools/ptx_machine.py``) takes
#: a launch over.
recorder: Callable | None = None


def kernel(function=None, **options):
    """Decorate a kernel; it is compiled at its first launch for each combination of argument types.

    ``options`` are those of ``numba.cuda.jit``, e.g. ``launch_bounds=256``.
    """
    if function is None:
        return functools.partial(kernel, **options)
    if SIMULATED:
        return cuda.jit(function)
    return cuda.jit(function, **options)


def body(function):
    """Decorate a function that kernels call."""
    return function if SIMULATED else cuda.jit(function, device=True)


def grid(n: int, threads: int = 0) -> tuple[int, int]:
    """Blocks and threads for ``n`` items walked as ``range(cuda.grid(1), n, cuda.gridsize(1))``."""
    threads = threads or THREADS
    return min(-(-n // threads), _BLOCKS), threads


def grid_over_channels(n: int, channels: int, each: int) -> tuple[int, int]:
    """Blocks and threads for ``n`` numbers, channels innermost, ``each`` neighbours at a time: so many that a
    thread which walks ``range(cuda.grid(1) * each, n, cuda.gridsize(1) * each)`` meets the same channels
    every time."""
    blocks, threads = grid(-(-n // each))
    whole = channels // each
    whole //= gcd(whole, threads)
    return -(-blocks // whole) * whole, threads


@functools.cache
def _main_stream():
    return cuda.stream()


def stream():
    """The stream of every launch and copy."""
    return _main_stream()


@functools.cache
def _number(dtype):
    return None if SIMULATED else from_dtype(dtype)


@functools.cache
def _pointer(dtype):
    # a pointer to Numba's booleans would read single bits
    return (
        None if SIMULATED else types.CPointer(from_dtype(np.dtype(np.uint8) if dtype.kind == "b" else dtype))
    )


_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)


def _argument(kernel, position, value):
    """The type of an argument in kernels, and what to pass."""
    if isinstance(value, memory.DeviceArray):
        return _pointer(value.dtype), value.flat() if memory.on_host else value.address
    if isinstance(value, (bool, np.bool_)):
        return _number(_INT32), int(value)
    if isinstance(value, int):
        return _number(_INT32 if -(2**31) <= value < 2**31 else _INT64), value
    if isinstance(value, np.generic):
        return _number(value.dtype), value
    if isinstance(value, memory.Window):
        return _pointer(value.dtype), value
    if isinstance(value, tuple):
        kinds, values = zip(*(_argument(kernel, position, v) for v in value))
        return None if SIMULATED else types.BaseTuple.from_types(kinds), values
    where = f"{kernel.py_func.__name__}: argument {position}"
    if isinstance(value, np.ndarray):
        raise TypeError(f"{where} is a host array; kernels take device arrays, move it with asarray")
    raise TypeError(
        f"{where} is a {type(value).__name__}; kernels take device arrays, ints and NumPy scalars"
    )


def launch(kernel, grid, block, *args, shared: int = 0) -> None:
    """Start ``kernel`` on the stream; an empty grid starts nothing.

    Parameters
    ----------
    grid, block : int or tuple of up to 3 ints
    args : DeviceArray, int, bool, NumPy scalar, or tuple of them
    shared : bytes of dynamic shared memory; where they are many the kernel is given leave to use them
    """
    if (grid if isinstance(grid, int) else min(grid)) == 0:
        return
    if memory.graph is not None:
        memory.graph.launched(args)
    kinds, args = zip(*(_argument(kernel, i, a) for i, a in enumerate(args)))
    grid, block = (
        tuple(map(int, (*v, 1, 1)[:3] if isinstance(v, tuple) else (v, 1, 1))) for v in (grid, block)
    )
    if recorder is not None:
        recorder(kernel, kinds, args, grid, block, shared)
    elif _noted is not None:
        _noted.append((kernel, (grid, block, 0, shared), args))
    elif SIMULATED:
        kernel[grid, block, 0, shared](*args)
    else:
        _compiled(kernel, kinds, shared).launch(args, grid, block, _core_stream(), shared)


@functools.cache
def _core_stream():
    """The stream as compiled kernels take it."""
    blocks = 1 << 10  # so many that Numba finds no fault with them
    return kernel(lambda: None).configure(blocks, 32, stream()).stream


_ready: dict = {}
# bytes of dynamic shared memory that any kernel may use: 48 KiB less what arrays of fixed size take
_GRANTED = 40 << 10


def _bound(kernel, kinds):
    compiled = kernel.compile(kinds)
    compiled.bind()
    return compiled


_compile = compiling.watched(_bound, lambda: "compiling CUDA kernels, in every process")


def _compiled(kernel, kinds, shared):
    """The kernel compiled for these types of arguments, with leave to use ``shared`` bytes of shared
    memory."""
    compiled, allowed = _ready.get((kernel, kinds), (None, _GRANTED))
    if compiled is None or shared > allowed:
        compiled = _compile(kernel, kinds)
        if shared > allowed:
            _allow_shared(kernel, compiled, shared)
        _ready[kernel, kinds] = compiled, max(shared, allowed)
    return compiled


def _allow_shared(kernel, compiled, shared):
    """A kernel may use more than 48 KiB of shared memory, all in all, only after the driver was told so."""
    from cuda.bindings import driver

    handle = compiled._codelibrary.get_cufunc().handle
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (code,) = driver.cuKernelSetAttribute(
        attribute, shared, handle, driver.CUdevice(cuda.get_current_device().id)
    )
    if code != driver.CUresult.CUDA_SUCCESS:
        name = kernel.py_func.__name__
        raise RuntimeError(
            f"{name}: {shared} bytes of shared memory per block are not to be had ({code.name})"
        )


_noted: list | None = None


def record(work):
    """A function that starts again what ``work()`` launches, and the result of ``work``; nothing runs now.

    On a device that is a CUDA graph, under the simulator a list of launches.
    """
    global _noted
    if not SIMULATED:
        return _capture(work)
    _noted = launches = []
    try:
        result = work()
    finally:
        _noted = None

    def start():
        for kernel, where, args in launches:
            kernel[where](*args)

    return start, result


def _capture(work):
    from cuda.bindings import driver

    def call(function, *args):
        code, *values = function(*args)
        if code != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{function.__name__}: {code.name}")
        return values[0] if values else None

    handle = driver.CUstream(int(stream()))
    # relaxed: allocating and compiling meanwhile is no error
    call(driver.cuStreamBeginCapture, handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
    try:
        result = work()
    except BaseException:
        driver.cuStreamEndCapture(handle)  # or the stream would record for ever
        raise
    graph = call(driver.cuStreamEndCapture, handle)
    executable = call(driver.cuGraphInstantiate, graph, 0)
    call(driver.cuGraphDestroy, graph)

    def start():
        call(driver.cuGraphLaunch, executable, handle)

    weakref.finalize(start, driver.cuGraphExecDestroy, executable)
    return start, result


def synchronize() -> None:
    """Wait until everything on the stream is done."""
    if not SIMULATED:
        stream().synchronize()
