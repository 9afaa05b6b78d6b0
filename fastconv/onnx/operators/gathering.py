"""Elements that indices select: read, and written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...creation import as_tensor
from ...tensor import Tensor
from ..node import Node, Operator, Value, row

#: Reductions of ScatterElements and ScatterND -> their names in ``scatter_reduce``.
REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _not_negative(index: Any, n: int) -> Any:
    """Indices, of which negative ones count from the end."""
    if isinstance(index, Tensor):
        index = index.astype(np.int64)
        return (index + n).where(index < 0, index)
    return np.where(index < 0, index + n, index)


def gather(node: Node, x: Tensor, index: Value) -> Tensor:
    """Gather along an axis. Indices on the host need no reading back of what the engine computes."""
    axis = node.get("axis", 0) % x.ndim
    if isinstance(index, Tensor):
        at = _not_negative(index, x.shape[axis])
        y = x.index_select(axis, at.reshape(-1))
        return y.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    if index.ndim == 0:
        return x.select(axis, int(index))
    return x[(slice(None),) * axis + (index.astype(np.int64),)]


def gather_elements(node: Node, x: Tensor, index: Tensor) -> Tensor:
    """GatherElements."""
    axis = node.get("axis", 0) % x.ndim
    return x.gather(axis, _not_negative(index, x.shape[axis]))


def gather_nd(node: Node, x: Tensor, index: Tensor) -> Tensor:
    """GatherND: the last axis of the indices is a place in the axes of ``x`` after ``batch_dims``."""
    batch = node.get("batch_dims", 0)
    depth = index.shape[-1]
    place = _flat_place(index, x.shape[batch : batch + depth])
    rest, b = x.shape[batch + depth :], int(np.prod(x.shape[:batch]))
    rows = x.reshape(-1, *rest)
    inside = int(np.prod(x.shape[batch : batch + depth]))
    first = np.arange(b).reshape(*x.shape[:batch], *(1,) * (place.ndim - batch)) * inside
    place = place + as_tensor(first).to(place.device)
    return rows.index_select(0, place.reshape(-1)).reshape(*place.shape, *rest)


def _flat_place(index: Tensor, extents: tuple[int, ...]) -> Tensor:
    """Places of several coordinates (the last axis) as positions in a flat array of these extents."""
    place, step = index[..., 0].astype(np.int64) * 0, 1
    for i in range(len(extents) - 1, -1, -1):
        place = place + _not_negative(index[..., i], extents[i]) * step
        step *= extents[i]
    return place


def scatter_elements(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """ScatterElements, and Scatter of opset 9."""
    axis, how = node.get("axis", 0) % x.ndim, node.get("reduction", "none")
    return _scattered(x, axis, _not_negative(index, x.shape[axis]), updates, how)


def _scattered(x: Tensor, axis: int, at: Tensor, updates: Tensor, how: str) -> Tensor:
    if how == "none":
        return x.scatter(axis, at, updates)
    return x.scatter_reduce(axis, at, updates, REDUCTIONS[how], include_self=True)


def scatter_nd(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """ScatterND."""
    depth = index.shape[-1]
    rest, place = x.shape[depth:], _flat_place(index, x.shape[:depth]).reshape(-1)
    inner = int(np.prod(rest))
    rows = x.reshape(-1, inner)
    at = place.reshape(-1, 1).broadcast_to((place.shape[0], inner))
    values = updates.reshape(place.shape[0], inner)
    return _scattered(rows, 0, at, values, node.get("reduction", "none")).reshape(x.shape)


def nonzero(node: Node, x: Tensor) -> Tensor:
    """NonZero."""
    found: Any = x.nonzero()
    return found.T


def compress(node: Node, x: Tensor, condition: np.ndarray) -> Tensor:
    """Compress: the elements along an axis where the condition holds."""
    at = np.flatnonzero(condition)
    axis = node.get("axis")
    return x.reshape(-1)[at] if axis is None else x[(slice(None),) * (axis % x.ndim) + (at,)]


OPERATORS: dict[str, Operator] = {
    "Compress": row(compress, host=(1,)),
    "Gather": row(gather, as_is=(1,)),
    "GatherElements": row(gather_elements),
    "GatherND": row(gather_nd),
    "NonZero": row(nonzero),
    "Scatter": row(scatter_elements),
    "ScatterElements": row(scatter_elements),
    "ScatterND": row(scatter_nd),
}
