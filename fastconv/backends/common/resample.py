"""Padding and resizing as sparse matrices, for every engine that can apply one to an axis.

Both ops are separable: one matrix per axis, applied one after the other. Their gradients apply the transposed
matrices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Rows(NamedTuple):
    """A sparse matrix by rows.

    Output ``j`` is the sum of ``weights[e] * x[items[e]]`` for ``starts[j] <= e < starts[j + 1]``.
    """

    starts: np.ndarray
    items: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def transposed(self, count: int) -> Rows:
        """The transposed matrix, with ``count`` rows."""
        order = np.argsort(self.items, kind="stable")
        outputs = np.repeat(np.arange(len(self)), np.diff(self.starts))
        starts = np.append(0, np.cumsum(np.bincount(self.items, minlength=count)))
        return Rows(starts, outputs[order], self.weights[order])


def _pad_rows(size: int, before: int, after: int, mode: str) -> Rows:
    numpy_mode: Any = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    constant = {"constant_values": -1} if mode == "constant" else {}
    at = np.pad(np.arange(size), (max(before, 0), max(after, 0)), numpy_mode, **constant)
    at = at[max(-before, 0) : len(at) + min(after, 0)]
    items = at[at >= 0]
    return Rows(np.append(0, np.cumsum(at >= 0)), items, np.ones(len(items)))


def _resize_rows(spec, dim: int, dtype) -> Rows:
    low, high, frac = spec.taps(dim, dtype)
    if spec.mode == "nearest":
        return Rows(np.arange(len(low) + 1), low, np.ones(len(low)))
    return Rows(
        2 * np.arange(len(low) + 1),
        np.stack([low, high], 1).reshape(-1),
        np.stack([1 - frac, frac], 1).reshape(-1),
    )


def ops(along_axis, copy):
    """The contract's ``pad_fwd``, ``pad_bwd``, ``interpolate_fwd`` and ``interpolate_bwd``.

    Parameters
    ----------
    along_axis : (x, axis, rows, fill=0.0) -> y
        How an engine applies a matrix to one axis; an empty row gives ``fill``.
    copy : x -> y
    """

    def pad_fwd(x, pairs, mode, value):
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                x = along_axis(x, axis, _pad_rows(x.shape[axis], before, after, mode), value)
        return x if any(map(any, pairs)) else copy(x)

    def pad_bwd(gy, pairs, mode, in_shape):
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                gy = along_axis(
                    gy, axis, _pad_rows(in_shape[axis], before, after, mode).transposed(in_shape[axis])
                )
        return gy

    def interpolate_fwd(x, spec):
        for dim in (0, 1):
            x = along_axis(x, 2 + dim, _resize_rows(spec, dim, x.dtype))
        return x

    def interpolate_bwd(gy, spec):
        for dim in (1, 0):
            gy = along_axis(gy, 2 + dim, _resize_rows(spec, dim, gy.dtype).transposed(spec.in_size[dim]))
        return gy

    return pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd
