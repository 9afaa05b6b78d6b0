"""Memory that each thread of a kernel has for itself, asked for before the launch.

Inside a parallel kernel a failed allocation is lost: Numba's threads have nobody to raise the error to, and
the kernel returns with its result half written. So no kernel allocates; what its threads need is an argument,
made here, where Python raises ``MemoryError``. ``tests/test_allocation.py`` looks for allocations in compiled
kernels.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.settings import get_num_threads

from . import memory

LINE = 64  # bytes of a cache line, and of the longest vector
SMALL = 1 << 14  # bytes up to which scratch is kept for the next launch of the kind


def per_thread(*sizes) -> list[np.ndarray]:
    """For each pair (elements, dtype) an array with a row of so many elements, or a few more, for each
    thread. One call gives all the scratch of a launch: a second one may give the same memory.

    Rows start with a cache line. So two threads do not write to one line, and a vector does not lie across
    two.
    """
    shapes, arrays = _small(get_num_threads(), sizes)
    return arrays or [memory.empty(*shape) for shape in shapes]


@functools.lru_cache(1024)
def _small(threads: int, sizes):
    """Shapes and dtypes; and arrays if they are small, the same ones for whoever asks: kernels run one at a
    time, and none expects anything in its scratch."""
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
