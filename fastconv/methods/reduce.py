"""Methods that reduce dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from fastconv.ops.pointwise import binary
from fastconv.ops.reduce import any_or_all, arg_extremum, given, logsumexp, norm, reduce
from fastconv.ops.sort import extremum_along
from fastconv.typing import Array, Dims, DType
from fastconv.variable import Variable

from .values_and_indices import MinAndMax, ValuesAndIndices

if TYPE_CHECKING:
    from typing_extensions import Self


class ReduceMethods(Variable):
    """Reductions.

    ``dim`` is an int or a sequence of ints; by default all dimensions are reduced. With ``keepdim`` the
    reduced dimensions stay, with extent 1. ``dims``, ``axis`` and ``keepdims`` are other names of ``dim`` and
    ``keepdim``.
    """

    __slots__ = ()

    def sum(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dtype: DType | None = None,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self:
        """Sum over ``dim``; bools and integers give int64.

        Parameters
        ----------
        dim : int or sequence of ints, optional
            The dimensions that are reduced; all by default.
        keepdim : bool
            Keep them, with extent 1.
        dtype : dtype, optional
            Convert the elements to this dtype first.

        Examples
        --------
        >>> fc.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=1)
        tensor([3., 7.])
        """
        return reduce("sum", self, given("sum", dim, dims, axis), keepdim or keepdims, dtype=dtype)

    def nansum(self, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Self:
        """:meth:`sum` of the elements that are not NaN.

        >>> fc.tensor([1.0, float("nan")]).nansum()
        tensor(1.)
        """
        return reduce("nansum", self, dim, keepdim, dtype=dtype)

    def mean(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dtype: DType | None = None,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Self:
        """Mean over ``dim``. Integers and bools give float32, unless ``dtype``, a float dtype, is given.

        >>> fc.tensor([[1.0, 2.0], [3.0, 4.0]]).mean()
        tensor(2.5)
        """
        return reduce("mean", self, given("mean", dim, dims, axis), keepdim or keepdims, dtype=dtype)

    def nanmean(self, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Self:
        """:meth:`mean` of the elements that are not NaN; NaN if all elements are NaN.

        >>> fc.tensor([1.0, 3.0, float("nan")]).nanmean()
        tensor(2.)
        """
        total = reduce("nansum", self, dim, keepdim, dtype=dtype)
        numbers = binary("eq", self, self)
        return binary("div", total, reduce("nanmean", numbers, dim, keepdim, op="count_nonzero"))

    def prod(self, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Self:
        """Product over one dimension or over all; bools and integers give int64.

        >>> fc.tensor([2, 3, 4]).prod()
        tensor(24)
        """
        return reduce("prod", self, dim if dim is None else (dim,), keepdim, dtype=dtype)

    def count_nonzero(self, dim: Dims = None) -> Self:
        """Number of elements that are not 0, as int64; NaN counts as not 0.

        >>> fc.tensor([[0, 1], [2, 3]]).count_nonzero(dim=0)
        tensor([1, 2])
        """
        return reduce("count_nonzero", self, dim, False)

    def any(self, dim: Dims = None, keepdim: bool = False) -> Self:
        """Whether at least one element is not 0; NaN counts as not 0.

        >>> (fc.tensor([[1.0, -1.0], [2.0, 3.0]]) < 0).any(dim=1)
        tensor([ True, False], dtype=bool)
        """
        return any_or_all("any", self, dim, keepdim)

    def all(self, dim: Dims = None, keepdim: bool = False) -> Self:
        """Whether no element is 0.

        >>> (fc.tensor([[1.0, -1.0], [2.0, 3.0]]) > 0).all(dim=1)
        tensor([False,  True], dtype=bool)
        """
        return any_or_all("all", self, dim, keepdim)

    def norm(
        self,
        p: float | str | None = "fro",
        dim: Dims = None,
        keepdim: bool = False,
        dtype: DType | None = None,
    ) -> Self:
        """The p-norm over ``dim``: of all elements together, as if they were one vector.

        Parameters
        ----------
        p : number, inf, -inf or "fro"
            The norm is ``sum(abs(x) ** p) ** (1 / p)``. "fro" is the same as 2. 0 gives the number of
            elements that are not 0; inf and -inf give the largest and the smallest absolute value.
        dim, keepdim, dtype
            As in :meth:`sum`.

        Raises
        ------
        ValueError
            For the nuclear norm, "nuc".

        Examples
        --------
        >>> fc.tensor([3.0, 4.0]).norm()
        tensor(5.)
        """
        return norm("norm", self, p, dim, keepdim, dtype)

    def logsumexp(self, dim: int | Sequence[int], keepdim: bool = False) -> Self:
        """``log(sum(exp(x)))`` over ``dim``, computed without overflow.

        >>> fc.tensor([1000.0, 1000.0]).logsumexp(0)
        tensor(1000.6932)
        """
        return logsumexp(self, dim, keepdim)

    # ---- extrema
    def amax(self, dim: Dims = None, keepdim: bool = False) -> Self:
        """Largest element over ``dim``; all elements that equal it share the gradient.

        >>> fc.tensor([[1.0, 3.0], [2.0, 0.0]]).amax(dim=1)
        tensor([3., 2.])
        """
        return reduce("amax", self, dim, keepdim, op="max")

    def amin(self, dim: Dims = None, keepdim: bool = False) -> Self:
        """Smallest element over ``dim``; all elements that equal it share the gradient.

        >>> fc.tensor([[1.0, 3.0], [2.0, 0.0]]).amin(dim=1)
        tensor([1., 0.])
        """
        return reduce("amin", self, dim, keepdim, op="min")

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> MinAndMax[Self]:
        """Smallest and largest element, along ``dim`` or of all elements.

        >>> fc.tensor([1.0, 3.0, 2.0]).aminmax()
        MinAndMax(min=tensor(1.), max=tensor(3.))
        """
        dims = dim if dim is None else (dim,)
        return MinAndMax(*(reduce("aminmax", self, dims, keepdim, op=op) for op in ("min", "max")))

    def _extremum(
        self, name: str, dim: Dims | Variable | Array, keepdim: bool, several: bool
    ) -> Self | ValuesAndIndices[Self]:
        if isinstance(dim, (Variable, np.ndarray)):
            return binary({"max": "maximum", "min": "minimum"}[name], self, dim)
        if isinstance(dim, (tuple, list)) or dim is None or several:
            return reduce(name, self, dim, keepdim)
        return ValuesAndIndices(*extremum_along(name, self, dim, keepdim))

    @overload
    def max(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def max(self, *, axis: int, keepdims: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def max(
        self,
        dim: Sequence[int] | Variable | Array | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
        other: Variable | Array | None = None,
    ) -> Self: ...

    def max(
        self,
        dim: Dims | Variable | Array = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
        other: Variable | Array | None = None,
    ) -> Self | ValuesAndIndices[Self]:
        """Largest element.

        Parameters
        ----------
        dim : int, sequence of ints or Tensor, optional
            With an int, the result is a pair ``(values, indices)``; of equal elements the first one counts.
            With a sequence or by default, the result is the values only. A tensor (or ``other``) is compared
            with this tensor element by element, as by :meth:`maximum`.
        keepdim : bool
            Keep the reduced dimensions, with extent 1.
        dims : sequence of ints, optional
            Another name of ``dim``, for several dimensions.

        Examples
        --------
        >>> fc.tensor([[1.0, 3.0], [2.0, 0.0]]).max(dim=1)
        ValuesAndIndices(values=tensor([3., 2.]), indices=tensor([1, 0]))
        >>> fc.tensor([1.0, 3.0]).max()
        tensor(3.)
        """
        chosen = given("max", dim, axis, other, dims, names="dim, dims, axis and other")
        return self._extremum("max", chosen, keepdim or keepdims, dims is not None)

    @overload
    def min(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def min(self, *, axis: int, keepdims: bool = False) -> ValuesAndIndices[Self]: ...

    @overload
    def min(
        self,
        dim: Sequence[int] | Variable | Array | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
        other: Variable | Array | None = None,
    ) -> Self: ...

    def min(
        self,
        dim: Dims | Variable | Array = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
        other: Variable | Array | None = None,
    ) -> Self | ValuesAndIndices[Self]:
        """Smallest element. The parameters are those of :meth:`max`.

        >>> fc.tensor([1.0, 3.0]).min(fc.tensor([2.0, 2.0]))
        tensor([1., 2.])
        """
        chosen = given("min", dim, axis, other, dims, names="dim, dims, axis and other")
        return self._extremum("min", chosen, keepdim or keepdims, dims is not None)

    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Self:
        """Index of the first largest element along ``dim``, or in the flattened tensor.

        >>> fc.tensor([[1.0, 3.0], [2.0, 0.0]]).argmax(dim=1)
        tensor([1, 0])
        """
        return arg_extremum("argmax", self, given("argmax", dim, axis), keepdim or keepdims)

    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Self:
        """Index of the first smallest element along ``dim``, or in the flattened tensor.

        >>> fc.tensor([[1.0, 3.0], [2.0, 0.0]]).argmin(dim=1)
        tensor([0, 1])
        """
        return arg_extremum("argmin", self, given("argmin", dim, axis), keepdim or keepdims)
