"""Records: the numbers of a kernel's geometry, one array with named fields instead of many arguments.

    TILES = record_type(grid=2, step=1)                        two numbers ``grid`` and a number ``step``
    tiles = make_record(TILES, grid=(3, 4), step=2)            an argument of a kernel

    @kernel
    def _work(thread, threads, tiles, x):
        g = tiles[0]                                           then g.grid[0], g.grid[1], g.step

A record costs a launch as much as a single number does, and every record of a type has the same signature, so
a new field compiles no second kernel. An address is a number too. Whoever puts the address of an array into a
record keeps the array, and tells ``jit.by_address`` of it.

Inner loops read their numbers from local variables. Any store might change a record, as far as the compiler
knows, and a loop whose bounds may change does not become vector code.
"""

from __future__ import annotations

import numpy as np


def record_type(**sizes: int) -> np.dtype:
    """A type of records of int64 fields: numbers where the size is 1, else arrays of that size.

    Examples
    --------
    >>> record_type(grid=2, step=1).itemsize
    24
    """
    return np.dtype([(name, np.int64, n) if n > 1 else (name, np.int64) for name, n in sizes.items()])


def make_record(kind: np.dtype, **values) -> np.ndarray:
    """An array of one record, with a value for each of the fields.

    Examples
    --------
    >>> make_record(record_type(grid=2, step=1), grid=(3, 4), step=2)["grid"].tolist()
    [[3, 4]]
    """
    if missing := set(kind.names) - set(values):
        raise TypeError(f"make_record: no value for {', '.join(sorted(missing))}")
    record = np.zeros(1, kind)
    for name, value in values.items():
        record[name] = value
    return record
