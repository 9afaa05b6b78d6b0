"""Starting kernels: decorators, grids, a check of what is passed, and recordings.

A kernel gets an array as a pointer to its first element, whatever its shape. So ``x[i]`` is one access; with
an array of Numba it would first test whether ``i`` counts from the end. Numbers have a fixed type: Python
integers arrive as int32 (int64 where they do not fit); floats must be NumPy scalars, because a Python float
would turn float32 arithmetic into float64. A tuple may be a ``NamedTuple``, whose fields the kernel reads by
name. Modules with kernels take ``cuda`` and ``math`` from here, so that the simulator
(``NUMBA_ENABLE_CUDASIM=1``) can replace both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from math import gcd
from typing import Any, TypeVar

import numpy as np

from fastconv.backends import compiling, settings

from ..codegen import compiler
from . import device, driver, pool
from .array import DeviceArray, Window
from .context import current, use
from .device import SIMULATED, cuda, math

if not SIMULATED:
    from numba.cuda import types
    from numba.cuda.np.numpy_support import as_dtype, from_dtype

__all__ = [
    "SIMULATED",
    "THREADS",
    "arrays_in",
    "body",
    "cuda",
    "grid",
    "grid_over_channels",
    "kernel",
    "launch",
    "math",
    "record",
]

#: Threads per block where a kernel has no reason for another number; a power of two.
THREADS = 8 if SIMULATED else 256
_BLOCKS = 2 if SIMULATED else 4096

_R = TypeVar("_R")


def kernel(function: Callable | None = None, **options) -> Any:
    """Decorate a kernel; it is compiled at its first launch for each combination of argument types.

    ``options`` are those of ``numba.cuda.jit``, e.g. ``launch_bounds=256``.
    """
    if function is None:
        return functools.partial(kernel, **options)
    if SIMULATED:
        return cuda.jit(function)
    return cuda.jit(function, **options)


def body(function: Callable) -> Any:
    """Decorate a function that kernels call."""
    return function if SIMULATED else cuda.jit(function, device=True)


def grid(n: int, threads: int = 0) -> tuple[int, int]:
    """Blocks and threads for ``n`` items walked as ``range(cuda.grid(1), n, cuda.gridsize(1))``.

    Such a ``range`` begins with a division of 64-bit numbers, about 150 instructions, to count its rounds.
    Kernels that do little else have a ``while`` loop instead.
    """
    threads = threads or THREADS
    return min(-(-n // threads), _BLOCKS), threads


def grid_over_channels(n: int, channels: int, vector_width: int) -> tuple[int, int]:
    """Blocks and threads for ``n`` numbers, channels innermost, read ``vector_width`` at a time.

    There are so many threads that a thread which walks ``range(cuda.grid(1) * vector_width, n,
    cuda.gridsize(1) * vector_width)`` meets the same channels every time.
    """
    blocks, threads = grid(-(-n // vector_width))
    whole = channels // vector_width
    whole //= gcd(whole, threads)
    return -(-blocks // whole) * whole, threads


# ------------------------------------------------------------------------------------------------- arguments
@functools.cache
def _number(dtype):
    return None if SIMULATED else from_dtype(dtype)


@functools.cache
def _pointer(dtype):
    # a pointer to Numba's booleans would read single bits
    return (
        None if SIMULATED else types.CPointer(from_dtype(np.dtype(np.uint8) if dtype.kind == "b" else dtype))
    )


@functools.lru_cache(maxsize=4096)
def _tuple(cls, kinds):
    return None if SIMULATED else types.BaseTuple.from_types(kinds, cls)


_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)


def _argument(kernel, position, value):
    """The type of an argument in kernels, and what to pass."""
    if isinstance(value, DeviceArray):
        return _pointer(value.dtype), value.flat() if device.on_host else value.address
    if isinstance(value, (bool, np.bool_)):
        return _number(_INT32), int(value)
    if isinstance(value, int):
        return _number(_INT32 if -(2**31) <= value < 2**31 else _INT64), value
    if isinstance(value, np.generic):
        return _number(value.dtype), value
    if isinstance(value, Window):
        return _pointer(value.dtype), value
    if isinstance(value, tuple):
        kinds, values = zip(*(_argument(kernel, position, v) for v in value))
        cls = type(value)
        return _tuple(cls, kinds), values if cls is tuple else cls._make(values)
    where = f"{kernel.py_func.__name__}: argument {position}"
    if isinstance(value, np.ndarray):
        raise TypeError(f"{where} is a host array; kernels take device arrays, move it with asarray")
    raise TypeError(
        f"{where} is a {type(value).__name__}; kernels take device arrays, ints and NumPy scalars"
    )


def arrays_in(args: Sequence) -> Iterator[DeviceArray]:
    """The arrays among the arguments of a launch, those inside of tuples included."""
    for a in args:
        if isinstance(a, DeviceArray):
            yield a
        elif isinstance(a, tuple):
            yield from arrays_in(a)


# ------------------------------------------------------------------------------------------------- launches
def launch(kernel, grid, block, *args, shared: int = 0) -> None:
    """Start ``kernel`` on the stream, or record it where the context says so; an empty grid starts nothing.

    Parameters
    ----------
    grid, block : int or tuple of up to 3 ints
    args : DeviceArray, int, bool, NumPy scalar, or tuple of them
    shared : int
        Bytes of dynamic shared memory; a kernel may ask for more than the 48 KiB that every kernel may use.

    Raises
    ------
    TypeError
        For a host array, a Python float, or anything else that kernels do not take.
    RuntimeError
        Where the device has less shared memory per block.
    """
    if (grid if isinstance(grid, int) else min(grid)) == 0:
        return
    context = current()
    if context.graph is not None:
        context.graph.launched(args)
    if device.on_host:
        _start_on_host(kernel, _three(grid), _three(block), args, shared, context.target)
        return
    signature: list = [kernel]
    values: list = []
    _collect(args, signature, values)
    function = _ready.get(key := tuple(signature))
    if function is None:
        kinds = tuple(_argument(kernel, i, a)[0] for i, a in enumerate(args))
        function = _ready[key] = _compiled(kernel, kinds)
    target = context.target
    stream = driver.main_stream() if target is None else target
    function.start(values, _three(grid), _three(block), shared, stream)
    if target is None and settings.switch("FASTCONV_CUDA_SYNC", False):
        driver.wait(kernel.py_func.__name__)


def _three(extents):
    """A grid or block as three numbers."""
    return (extents, 1, 1) if type(extents) is int else tuple(map(int, (*extents, 1, 1)[:3]))


def _start_on_host(kernel, grid, block, args, shared, target):
    """Hand a launch to whatever stands in for the device."""
    found = [_argument(kernel, i, a) for i, a in enumerate(args)]
    kinds, args = tuple(kind for kind, _ in found), tuple(value for _, value in found)
    if device.launcher is not None:
        device.launcher(kernel, kinds, args, grid, block, shared)
    elif target is not None:
        target.append((kernel, (grid, block, 0, shared), args))
    else:
        kernel[grid, block, 0, shared](*args)


def _collect(args, signature, values):
    """Append to ``values`` what is passed for each argument, and to ``signature`` what decides its type.

    The latter is the same for two launches only if :func:`_argument` gives all arguments the same types. That
    is asked at the first of these launches, and raises for what kernels do not take. The most frequent kinds
    of arguments are tested first, because a launch should take no more than a few microseconds.
    """
    for a in args:
        kind = type(a)
        if kind is DeviceArray:
            signature.append(a.dtype.char)
            values.append(a.address)
        elif kind is int:
            signature.append(int if -0x80000000 <= a < 0x80000000 else _INT64)
            values.append(a)
        elif isinstance(a, tuple):
            signature += kind, len(a)
            _collect(a, signature, values)
        else:
            signature.append(kind)
            values.append(int(a) if kind is np.bool_ else a)  # the others can be packed as they are


def _load(kernel, kinds):
    name, code = compiler.cubin(kernel, kinds, device.capability())
    return driver.Function(kernel.py_func.__name__, name, code, "".join(map(_formats, kinds)))


def _formats(kind) -> str:
    """The characters of ``struct`` for an argument of a type."""
    if isinstance(kind, types.BaseTuple):
        return "".join(map(_formats, kind))
    return "P" if isinstance(kind, types.CPointer) else driver.struct_format(as_dtype(kind))


def _what_takes_long() -> str:
    return "compiling CUDA kernels" + (", in every process" if compiler.cache_dir() is None else "")


_compile = compiling.watched(_load, _what_takes_long)
_functions: dict[tuple, driver.Function] = {}  # by kernel and types
_ready: dict[tuple, driver.Function] = {}  # by kernel and what _collect says of the arguments


def _compiled(kernel, kinds) -> driver.Function:
    """The kernel compiled for these types of arguments."""
    found = _functions.get((kernel, kinds))
    if found is None:
        found = _functions[kernel, kinds] = _compile(kernel, kinds)
    return found


# ------------------------------------------------------------------------------------------------- recordings
def record(work: Callable[[], _R]) -> tuple[Callable[[], None], _R]:
    """Record what ``work()`` launches in this thread; nothing runs.

    On a device the record is a CUDA graph, under the simulator a list of launches.

    Returns
    -------
    start : callable
        Starts the recorded launches.
    result
        What ``work()`` returned.

    Raises
    ------
    RuntimeError
        If the driver refuses.
    """
    return _list(work) if SIMULATED else _capture(work)


def _list(work):
    launches: list = []
    with use(current()._replace(target=launches)):
        result = work()

    def start():
        for kernel, where, args in launches:
            kernel[where](*args)

    return start, result


def _capture(work):
    # a stream of its own, so that uploads, and launches and copies of other threads, run and are not recorded
    stream = cuda.stream()
    with pool.nothing_given_back(), use(current()._replace(target=driver.handle(stream))):
        return driver.capture(stream, work)
