"""Padding and resizing as products with sparse matrices, for engines that can apply a matrix to an axis.

Both ops are separable: they have one matrix per axis, and these are applied one after the other. Their
gradients apply the transposed matrices.
"""

from __future__ import annotations

from typing import NamedTuple

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


def pad_places(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """The input position of each output position of a padded axis; -1 stands for the constant.

    ``size`` is the extent of the input; negative ``before`` and ``after`` crop.
    """
    crop = slice(max(-before, 0), size + min(after, 0))
    before, after, at = max(before, 0), max(after, 0), np.arange(size)
    if mode == "circular":  # repeats what cropping leaves
        return np.pad(at[crop], (before, after), "wrap")
    if mode == "constant":
        return np.pad(at[crop], (before, after), constant_values=-1)
    at = np.pad(at, (before, after), "edge" if mode == "replicate" else "reflect")
    return at[crop.start : len(at) - (size - crop.stop)]


def _pad_rows(size: int, before: int, after: int, mode: str) -> Rows:
    at = pad_places(size, before, after, mode)
    items = at[at >= 0]
    return Rows(np.append(0, np.cumsum(at >= 0)), items, np.ones(len(items)))


def _resize_rows(spec, dim: int, dtype) -> Rows:
    places, weights = spec.taps(dim, dtype)
    taps, outputs = places.shape
    return Rows(taps * np.arange(outputs + 1), places.T.reshape(-1), weights.T.reshape(-1))


def ops(apply, copy):
    """The contract's ``pad_fwd``, ``pad_bwd``, ``interpolate_fwd`` and ``interpolate_bwd``.

    Parameters
    ----------
    apply : (x, matrices, fill=0.0) -> y
        Applies ``matrices``, a dict from axis to :class:`Rows`, to ``x``; an empty row gives ``fill``.
    copy : x -> y
        Copies an array.
    """

    def matrices_of(shape, pairs, mode) -> dict[int, Rows]:
        return {
            axis: _pad_rows(shape[axis], before, after, mode)
            for axis, (before, after) in enumerate(pairs)
            if before or after
        }

    def pad_fwd(x, pairs, mode, value):
        matrices = matrices_of(x.shape, pairs, mode)
        return apply(x, matrices, value) if matrices else copy(x)

    def pad_bwd(gy, pairs, mode, in_shape):
        matrices = matrices_of(in_shape, pairs, mode)
        return apply(gy, {axis: rows.transposed(in_shape[axis]) for axis, rows in matrices.items()})

    def interpolate_fwd(x, spec):
        return apply(x, {2 + dim: _resize_rows(spec, dim, x.dtype) for dim in range(spec.ndim)})

    def interpolate_bwd(gy, spec):
        return apply(
            gy,
            {
                2 + dim: _resize_rows(spec, dim, gy.dtype).transposed(size)
                for dim, size in enumerate(spec.in_size)
            },
        )

    return pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd
