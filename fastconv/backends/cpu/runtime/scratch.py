"""Scratch memory of the threads of a kernel, allocated before the launch.

Inside a parallel kernel a failed allocation is lost: Numba's threads cannot raise the error, and the kernel
returns with its result half written. So no kernel allocates. The memory that its threads need is an argument,
made here, where Python raises ``MemoryError``. ``tests/cpu/test_allocation.py`` searches compiled kernels for
allocations.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.settings import get_num_threads

from . import memory

LINE = 64  # bytes of a cache line, and of the longest vector
SMALL = 1 << 14  # bytes up to which scratch is kept for the next launch that asks for the same


def per_thread(*sizes) -> list[np.ndarray]:
    """For each pair (elements, dtype) an array that has one row of at least so many elements per thread.

    One call gives all the scratch of a launch; a second call may give the same memory. Rows start with a
    cache line, so two threads never write to the same line, and no vector crosses two lines.
    """
    shapes, arrays = _small(get_num_threads(), sizes)
    return arrays or [memory.empty(*shape) for shape in shapes]


@functools.lru_cache(1024)
def _small(threads: int, sizes):
    """Shapes and dtypes, and small arrays themselves.

    Every caller gets the same small arrays: kernels run one at a time, and none reads what an earlier one
    left in its scratch.
    """
    sizes = [(n, np.dtype(dtype)) for n, dtype in sizes]
    shapes = [((threads, -(-max(n, 1) * d.itemsize // LINE) * LINE // d.itemsize), d) for n, d in sizes]
    total = sum(prod(shape) * d.itemsize for shape, d in shapes)
    if total > SMALL:
        return shapes, None
    a, arrays = np.empty(total + LINE, np.uint8), []
    a = a[-a.ctypes.data % LINE :]
    for shape, d in shapes:
        size = prod(shape) * d.itemsize
        arrays.append(a[:size].view(d).reshape(shape))
        a = a[size:]
    return shapes, arrays
