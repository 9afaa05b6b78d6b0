"""Elements that move: padding, sampling, indices, shapes, other types and other memory."""

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
        """``gx`` of ``in_shape``: an element that was copied to several places sums over them."""

    def interpolate_fwd(self, x: Array, spec: InterpolateSpec) -> Array:
        """``x`` resized to ``spec.out_size``."""

    def interpolate_bwd(self, gy: Array, spec: InterpolateSpec) -> Array:
        """``gx``, the adjoint of ``interpolate_fwd``."""

    def grid_sample_fwd(self, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``y``: ``x`` at the places in ``grid`` (``N, out_size, ndim``).

        A place is ``x, y[, z]``, -1 to 1 from the first to the last pixel of a dimension. A number that is
        not finite counts as -1.
        """

    def grid_sample_bwd_data(self, gy: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``gx``: each gradient is added to the pixels that its place was interpolated from."""

    def grid_sample_bwd_grid(self, gy: Array, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """The gradient of ``grid``; 0 where ``padding_mode`` moved a place to the border."""

    def unfold(self, x: Array, spec: ConvSpec) -> Array:
        """``N, C * kh * kw, oh * ow``: the windows of a 2-D convolution as columns; rows run c, kh, kw."""

    def fold(self, cols: Array, spec: ConvSpec) -> Array:
        """The adjoint of ``unfold``, of x's shape: values of one pixel are added."""

    def getitem(self, x: Array, key: Any) -> Array:
        """NumPy indexing; a view if ``key`` has no arrays (``cuda``: and no negative steps)."""

    def setitem(self, x: Array, key: Any, value: Any) -> None:
        """Write ``x[key] = value``."""

    def index_add(self, x: Array, key: Any, value: Any) -> None:
        """Write ``x[key] += value``; an index that occurs twice adds twice."""

    def gather(self, x: Array, index: Array, axis: int) -> Array:
        """``numpy.take_along_axis``: along ``axis`` the elements that the int64 ``index`` says.

        ``index`` has the rank of ``x``; its other extents are those of ``x``, or 1 and repeat. Raises an
        IndexError where an index is negative or too large.
        """

    def scatter(self, name: str, x: Array, index: Array, value: Array, axis: int) -> None:
        """Write to the elements of ``x`` that ``gather(x, index, axis)`` reads.

        ``name`` is ``set``, or the op of :data:`BINARY` that joins the old element and the value: ``add``,
        ``mul``, ``maximum`` or ``minimum``. ``value`` has x's dtype and broadcasts to the shape of what is
        read. Values for one element are taken in their order along ``axis``, so the last one set is kept.
        Raises an IndexError like ``gather``.
        """

    def concatenate(self, xs: Sequence[Array], axis: int) -> Array:
        """Join arrays along an existing axis."""

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        """The same elements in logical C order; a view where strides allow it."""

    def permute(self, x: Array, axes: tuple[int, ...]) -> Array:
        """A view with the axes in another order."""

    def as_strided(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A view with these strides (bytes) that begins at the first element of ``x``."""

    def broadcast_to(self, x: Array, shape: tuple[int, ...]) -> Array:
        """A read-only view that repeats ``x``, or a copy."""

    def cast(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """A fresh array of another dtype."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A fresh array of zeros."""

    def copy(self, x: Array) -> Array:
        """A fresh array, C-contiguous or channels-last."""

    def asarray(self, x: Any) -> Array:
        """A host array as an array of this engine."""

    def to_host(self, x: Array) -> np.ndarray:
        """An array of this engine as a host array."""
