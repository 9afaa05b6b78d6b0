"""Ops that move elements: padding, sampling, indexing, changes of shape, dtype and memory."""

# A docstring is the whole body of each method here.
# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastconv.spec import ConvSpec, GridSampleSpec, InterpolateSpec

from .array import Array


class MovingOps(Protocol):
    """Ops that move elements."""

    def pad_fwd(self, x: Array, pairs: Sequence[tuple[int, int]], mode: str, value: float) -> Array:
        """Pad each axis by its pair ``(before, after)``; negative numbers crop.

        ``mode`` is ``constant`` (of ``value``), ``reflect``, ``replicate`` or ``circular``.
        """

    def pad_bwd(
        self, gy: Array, pairs: Sequence[tuple[int, int]], mode: str, in_shape: tuple[int, ...]
    ) -> Array:
        """``gx`` of ``in_shape``: if an element was copied to several places, their gradients are added."""

    def interpolate_fwd(self, x: Array, spec: InterpolateSpec) -> Array:
        """``x`` resized to ``spec.out_size``."""

    def interpolate_bwd(self, gy: Array, spec: InterpolateSpec) -> Array:
        """``gx``, the adjoint of ``interpolate_fwd``."""

    def grid_sample_fwd(self, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``y``: ``x`` interpolated at the positions in ``grid`` (``N, out_size, ndim``).

        A position is ``x, y[, z]``. With ``spec.align_corners`` -1 and 1 are the centres of the first and
        last pixel of a dimension, else the edges of the input. A coordinate that is not finite counts as -1.
        """

    def grid_sample_bwd_data(self, gy: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``gx``: each gradient is added to the pixels that its position was interpolated from."""

    def grid_sample_bwd_grid(self, gy: Array, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """The gradient of ``grid``; 0 where ``padding_mode`` moved a position to the border."""

    def unfold(self, x: Array, spec: ConvSpec) -> Array:
        """``(N, C * kh * kw, oh * ow)``: the windows of a 2-D convolution as columns.

        The rows are in the C order of (channel, kernel row, kernel column).
        """

    def fold(self, cols: Array, spec: ConvSpec) -> Array:
        """The adjoint of ``unfold``, of x's shape: all values that belong to one pixel are added."""

    def getitem(self, x: Array, key: Any) -> Array:
        """NumPy indexing; a view if ``key`` has no arrays (``cuda``: and no negative steps)."""

    def setitem(self, x: Array, key: Any, value: Any) -> None:
        """Set ``x[key] = value``, in place."""

    def index_add(self, x: Array, key: Any, value: Any) -> None:
        """Set ``x[key] += value``, in place; for an index that occurs twice, both values are added."""

    def gather(self, x: Array, index: Array, axis: int) -> Array:
        """``numpy.take_along_axis``: the elements of ``x`` at the int64 positions ``index`` along ``axis``.

        ``index`` has the rank of ``x``. Its other extents are those of ``x``, or 1, which is broadcast.
        Raises an IndexError if an index is negative or too large.
        """

    def scatter(self, name: str, x: Array, index: Array, value: Array, axis: int) -> None:
        """Write to the elements of ``x`` that ``gather(x, index, axis)`` reads, in place.

        ``name`` is ``set``, or the op of :data:`BINARY` that combines the old element and the value: ``add``,
        ``mul``, ``maximum`` or ``minimum``. ``value`` has x's dtype and is broadcast to the shape of that
        gather's result. Several values for one element are used in their order along ``axis``, so ``set``
        keeps the last one. Raises an IndexError as ``gather`` does.
        """

    def concatenate(self, xs: Sequence[Array], axis: int) -> Array:
        """Join arrays along an existing axis."""

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        """The same elements in logical C order; a view if the strides allow it."""

    def permute(self, x: Array, axes: tuple[int, ...]) -> Array:
        """A view with the axes in another order."""

    def as_strided(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A view with this shape and these strides in bytes, which begins at the first element of ``x``."""

    def broadcast_to(self, x: Array, shape: tuple[int, ...]) -> Array:
        """A read-only view that repeats ``x``, or a copy."""

    def cast(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """A new array with the elements of ``x`` in another dtype."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A new array of zeros."""

    def copy(self, x: Array) -> Array:
        """A new array with the elements of ``x``, C-contiguous or channels-last."""

    def asarray(self, x: Any) -> Array:
        """A host array as an array of this engine."""

    def to_host(self, x: Array) -> np.ndarray:
        """An array of this engine as a host array."""
