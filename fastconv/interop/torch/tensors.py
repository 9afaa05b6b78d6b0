"""Tensors and arrays on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def to_array(tensor: Any) -> Any:
    """The memory of a tensor as an array."""
    return tensor if tensor is None else tensor.detach().numpy()


def to_tensor(from_numpy: Callable[[Any], Any], array: Any) -> Any:
    """The memory of an array as a tensor; ``from_numpy`` is PyTorch's.

    PyTorch keeps the array, so a block of the engine's pool returns to it when the tensor is gone. An array
    that PyTorch cannot describe (read-only, or with negative strides) is copied.
    """
    if array is None or not isinstance(array, (np.ndarray, np.generic)):
        return array
    if not (isinstance(array, np.ndarray) and array.flags.writeable and min(array.strides, default=0) >= 0):
        array = np.array(array)
    return from_numpy(array)


def with_strides(order: tuple[int, ...], strides: tuple[int, ...] | None, tensor: Any) -> Any:
    """``tensor`` in memory as the tracing of the graph said; a copy if it is not.

    Code behind the graph was traced with these strides. If they depend on the batch, ``strides`` is None and
    the memory is dense, with its axes in ``order``, the slowest first.
    """
    if strides is None:
        found, step = [0] * tensor.ndim, 1
        for axis in reversed(order):
            found[axis] = step
            step *= max(tensor.shape[axis], 1)
        strides = tuple(found)
    if all(a == b or n < 2 for a, b, n in zip(tensor.stride(), strides, tensor.shape)):
        return tensor
    return tensor.new_empty_strided(tensor.shape, strides).copy_(tensor)


def as_int64(tensor: Any) -> Any:
    """Indices as PyTorch has them; the engine's are int32 where that is enough."""
    return tensor.long()


def collected(*values: Any) -> list[Any]:
    """The arguments as a list."""
    return list(values)


def item(values: Any, index: int) -> Any:
    """One of several results."""
    return values[index]


def collected_arrays(engine: Any, *values: Any) -> list[Any]:
    """:func:`collected` as a step of the engine."""
    return list(values)


def item_of_op(engine: Any, values: Any, index: int) -> Any:
    """:func:`item` as a step of the engine."""
    return values[index]
