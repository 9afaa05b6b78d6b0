"""Methods that reduce dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from fastconv.ops.reduce import arg_extremum, extremum_along, given, reduce
from fastconv.typing import Dims
from fastconv.variable import Variable

from .values_and_indices import ValuesAndIndices

if TYPE_CHECKING:
    from typing_extensions import Self


class ReduceMethods(Variable):
    """Reductions.

    ``axis`` and ``keepdims`` are NumPy's names for ``dim`` and ``keepdim``.
    """

    __slots__ = ()

    def sum(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self:
        """Sum over ``dim`` (an int or several; all by default)."""
        return reduce("sum", self, given("sum", dim, dims, axis), keepdim or keepdims)

    def mean(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self:
        """Mean over ``dim`` (an int or several; all by default)."""
        return reduce("mean", self, given("mean", dim, dims, axis), keepdim or keepdims)

    def _extremum(self, name: str, dim: Dims, keepdim: bool, dims: Dims) -> Self | ValuesAndIndices[Self]:
        if isinstance(dim, int):
            return ValuesAndIndices(*extremum_along(name, self, dim, keepdim))
        return reduce(name, self, dims if dim is None else dim, keepdim)

    @overload
    def max(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def max(self, *, axis: int, keepdims: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def max(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Self: ...

    def max(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self | ValuesAndIndices[Self]:
        """Largest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("max", given("max", dim, axis), keepdim or keepdims, dims)

    @overload
    def min(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def min(self, *, axis: int, keepdims: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def min(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Self: ...

    def min(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self | ValuesAndIndices[Self]:
        """Smallest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("min", given("min", dim, axis), keepdim or keepdims, dims)

    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Self:
        """Index of the first largest element along ``dim``, or in the flattened tensor."""
        return arg_extremum("argmax", self, given("argmax", dim, axis), keepdim or keepdims)

    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Self:
        """Index of the first smallest element along ``dim``, or in the flattened tensor."""
        return arg_extremum("argmin", self, given("argmin", dim, axis), keepdim or keepdims)
