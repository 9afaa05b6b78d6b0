"""Gathering and scattering along an axis: the check of the indices, and the steps of loops over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np


def check_in_range(index: np.ndarray, size: int, axis: int) -> None:
    """Raise an IndexError for the first index that is not in ``0..size-1``."""
    wrong = index.view(np.uint64) >= size  # as unsigned numbers, negative ones are large
    if wrong.any():
        raise IndexError(f"index {index[wrong][0]} is out of bounds for dimension {axis} of extent {size}")


def around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """The numbers of elements before, on and after ``axis``: ``shape`` as one with three extents."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def steps(shape: Sequence[int], full: Sequence[int], axis: int) -> tuple[int, int, int] | None:
    """The steps, in elements, of a loop over a dense array of ``shape`` that is broadcast to ``full``.

    There are three: to the next position on the axes before ``axis``, on ``axis``, and after it. The result
    is None if the array is broadcast along some of the axes before (or after) ``axis`` but not along others.
    """
    outer, inner = shape[:axis], shape[axis + 1 :]
    found = []
    for part, whole in ((outer, full[:axis]), (inner, full[axis + 1 :])):
        if prod(part) == 1:
            found.append(0)
        elif tuple(part) == tuple(whole):
            found.append(1)
        else:
            return None
    run = prod(inner)
    return found[0] * shape[axis] * run, 0 if shape[axis] == 1 != full[axis] else run, found[1]


def repeated(a: Any, full: Sequence[int], axis: int, dense: Any, broadcast: Any) -> tuple[Any, Any]:
    """``a`` as a dense array, and its :func:`steps` for the shape ``full``.

    If :func:`steps` is None for ``a``, it is first broadcast in memory. ``dense`` and ``broadcast`` are
    functions of the engine.
    """
    a = dense(a)
    found = steps(a.shape, full, axis)
    if found is None:
        a = dense(broadcast(a, tuple(full)))
        found = steps(a.shape, full, axis)
    return a, found
