"""Gradients that are sent together, side by side in one flat buffer."""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...tensor import Tensor

ALIGN = 64  # bytes; where a gradient may start

Array = np.ndarray[Any, Any]


def memory_order(array: Any) -> tuple[int, ...]:
    """The axes of an array from the slowest to the fastest varying in memory."""
    return tuple(sorted(range(array.ndim), key=lambda i: (-abs(array.strides[i]), i)))


def _zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Aligned zeros, as the kernels of an engine like them."""
    n = size * dtype.itemsize
    raw = np.zeros(n + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + n].view(dtype)


class Bucket:
    """The gradients of ``params``, tensors of one dtype.

    Attributes
    ----------
    flat : ndarray
        All gradients, each at an aligned place; between them are zeros.
    parts : list of ndarray
        The gradient of each parameter as a 1-D view of ``flat``, in the memory order of the parameter.
    views : list of ndarray
        The same memory in the shape of the parameter.
    missing : int
        How many gradients are not there yet.
    done : list of bool
        Which gradients are there.
    request : mpi4py.MPI.Request or None
        The transfer under way.
    """

    def __init__(self, params: Sequence[Tensor]):
        dtype = params[0].dtype
        self.params = list(params)
        step = ALIGN // dtype.itemsize
        starts = [0]
        for p in params:
            starts.append(starts[-1] + -(-p.numel() // step) * step)
        self.flat = _zeros(starts[-1], dtype)
        self.parts = [self.flat[start : start + p.numel()] for start, p in zip(starts, params)]
        self.views = [_shaped(part, p.array) for part, p in zip(self.parts, params)]
        self.request: Any = None
        self.clear()

    def clear(self) -> None:
        """Wait for all gradients again."""
        self.missing, self.done = len(self.params), [False] * len(self.params)


def _shaped(part: Array, like: Any) -> Array:
    order = memory_order(like)
    return part.reshape([like.shape[i] for i in order]).transpose(np.argsort(order))


def start_of_last(sizes: Sequence[int], limit: float) -> int:
    """Where the last bucket begins, which has at most ``limit`` bytes: the backward pass hides no part of its
    transfer.

    >>> start_of_last([9, 5, 2, 1], 4)
    2
    """
    start = len(sizes)
    while start and sizes[start - 1] <= limit:
        start -= 1
        limit -= sizes[start]
    return start


def make_buckets(params: Sequence[Tensor], first: int, cap: int) -> list[Bucket]:
    """Buckets of at most ``cap`` bytes (the first and the last: ``first``), filled with ``params`` in their
    order.

    A parameter that is larger has a bucket of its own. Parameters of different dtypes are never together.
    """
    sizes = [p.numel() * p.dtype.itemsize for p in params]
    last = start_of_last(sizes, first)
    groups: list[list[Tensor]] = []
    open_groups: dict[Any, tuple[list[Tensor], int]] = {}
    for i, (p, size) in enumerate(zip(params, sizes)):
        if i == last:
            open_groups.clear()
        group, used = open_groups.get(p.dtype, (None, 0))
        limit = first if groups and group is groups[0] else cap
        if group is None or used + size > limit:
            group, used = list[Tensor](), 0
            groups.append(group)
        group.append(p)
        open_groups[p.dtype] = group, used + size
    return [Bucket(group) for group in groups]
