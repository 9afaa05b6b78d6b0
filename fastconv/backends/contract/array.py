"""Arrays of the engines."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Array(Protocol):
    """An array of an engine: ``numpy.ndarray`` in ``numpy`` and ``cpu``, ``DeviceArray`` in ``cuda``.

    These attributes mean what they mean in NumPy. ``strides`` are bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def flags(self) -> Any: ...
    def __len__(self) -> int: ...
