"""The ops that the engine takes from the reference: views, casts, indexing, and any op on small arrays.

Their memory is NumPy's, not the pool's. If there is none left, the free memory of the pool is given back, and
they run again.
"""

from __future__ import annotations

import functools
import inspect

from fastconv.backends import numpy as reference
from fastconv.backends.common.out_of_memory import CURE, described

from ..runtime import memory

# these write to an argument, so they must not run twice
IN_PLACE = ("index_add", "optimizer_step", "running_step", "scatter", "setitem")


def _retried(op):
    @functools.wraps(op)
    def run(*args):
        try:
            return op(*args)
        except MemoryError:
            memory.trim()
        try:
            return op(*args)
        except MemoryError as e:
            called = described(op.__name__, inspect.signature(op).parameters, args)
            raise MemoryError(f"{called}: out of memory: {e}; {CURE}") from None

    return run


def __getattr__(name: str):
    op = getattr(reference, name)
    globals()[name] = op if name in IN_PLACE else _retried(op)
    return globals()[name]
