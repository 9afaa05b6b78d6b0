"""Arrays in page-locked memory of the host, which a GPU copies from while the host goes on.

An array is recognised by what owns its memory, so this file needs no GPU; ``cuda/runtime/pinned.py``
allocates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class PinnedBlock:
    """A piece of page-locked memory, as an owner of NumPy arrays.

    Parameters
    ----------
    memory : numpy.ndarray of uint8
        The memory.
    give_back : callable
        Called with ``memory`` when the last array on it is gone.
    """

    def __init__(self, memory: np.ndarray[Any, Any], give_back: Callable[[Any], None]) -> None:
        self.memory, self.give_back = memory, give_back
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self.give_back(self.memory)


def owner(array: np.ndarray[Any, Any]) -> PinnedBlock | None:
    """The page-locked memory that an array lies in, or None if its memory is ordinary."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, PinnedBlock) else None
