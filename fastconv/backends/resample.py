"""Padding and resizing, for every engine that can apply a sparse matrix to one axis.

Both are separable: a matrix for one axis after the other, and their gradients are the transposed matrices.
"""

from __future__ import annotations

import numpy as np

Rows = list[list[tuple[int, float]]]  # per output position: (input position, weight) pairs


def _transposed(rows: Rows, count: int) -> Rows:
    """The transposed sparse matrix, with ``count`` rows."""
    result: Rows = [[] for _ in range(count)]
    for j, row in enumerate(rows):
        for i, w in row:
            result[i].append((j, w))
    return result


def _pad_rows(size: int, before: int, after: int, mode: str) -> Rows:
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    constant = {"constant_values": -1} if mode == "constant" else {}
    at = np.pad(np.arange(size), (max(before, 0), max(after, 0)), mode, **constant)
    at = at[max(-before, 0) : len(at) + min(after, 0)]
    return [[(int(i), 1.0)] if i >= 0 else [] for i in at]


def _resize_rows(spec, dim: int) -> Rows:
    low, high, frac = spec.taps(dim)
    if spec.mode == "nearest":
        return [[(i, 1.0)] for i in low]
    return [[(i, 1 - f), (j, f)] for i, j, f in zip(low, high, frac)]


def ops(along_axis, copy):
    """The contract's ``pad_fwd``, ``pad_bwd``, ``interpolate_fwd`` and ``interpolate_bwd`` by an engine's
    ``along_axis(x, axis, rows, fill=0.0)`` (an empty row gives ``fill``) and ``copy(x)``."""

    def pad_fwd(x, pairs, mode, value):
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                x = along_axis(x, axis, _pad_rows(x.shape[axis], before, after, mode), value)
        return x if any(map(any, pairs)) else copy(x)

    def pad_bwd(gy, pairs, mode, in_shape):
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                gy = along_axis(gy, axis, _transposed(_pad_rows(in_shape[axis], before, after, mode), in_shape[axis]))
        return gy

    def interpolate_fwd(x, spec):
        for dim in (0, 1):
            x = along_axis(x, 2 + dim, _resize_rows(spec, dim))
        return x

    def interpolate_bwd(gy, spec):
        for dim in (1, 0):
            gy = along_axis(gy, 2 + dim, _transposed(_resize_rows(spec, dim), spec.in_size[dim]))
        return gy

    return pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd
