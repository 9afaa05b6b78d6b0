"""Arrays of a device in host memory, where MPI reads and writes them.

Arrays of the host are read and written by NumPy itself, not by the engine, because this happens between the
ops of a step, which may be recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backends


def _is_host(array: Any) -> bool:
    return isinstance(array, np.ndarray)


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """The values of ``array``: the array itself if it is on the host."""
    host: np.ndarray[Any, Any] = array if _is_host(array) else backends.load("cuda").to_host(array)
    return host


def write(array: Any, values: np.ndarray[Any, Any]) -> None:
    """Copy ``values``, which have the shape of ``array``, to it; they are cast to its dtype."""
    if _is_host(array):
        np.copyto(array, values, casting="same_kind")
    else:
        engine = backends.load("cuda")
        engine.setitem(array, ..., engine.asarray(values.astype(array.dtype, copy=False)))
