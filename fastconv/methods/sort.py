"""Methods that sort along a dimension, and that count values."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from fastconv.ops import count
from fastconv.ops.sort import kthvalue, median, median_along, sort, topk
from fastconv.typing import TensorLike
from fastconv.variable import Variable

from .values_and_indices import ValuesAndIndices

if TYPE_CHECKING:
    from typing_extensions import Self


class SortMethods(Variable):
    """Sorting and selecting. NaN is larger than every number, as in PyTorch and NumPy."""

    __slots__ = ()

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesAndIndices[Self]:
        """The elements along ``dim`` in order, and where they came from.

        Every sort is stable: equal elements keep their order, whatever ``stable`` says.

        >>> fc.tensor([3.0, 1.0, 2.0]).sort()
        ValuesAndIndices(values=tensor([1., 2., 3.]), indices=tensor([1, 2, 0]))
        """
        return ValuesAndIndices(*sort("sort", self, dim, descending))

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Self:
        """The indices of :meth:`sort`.

        >>> fc.tensor([3.0, 1.0, 2.0]).argsort(descending=True)
        tensor([0, 2, 1])
        """
        return sort("argsort", self, dim, descending)[1]

    def msort(self) -> Self:
        """The elements along the first dimension in order.

        >>> fc.tensor([[3.0, 0.0], [1.0, 2.0]]).msort()
        tensor([[1., 0.],
                [3., 2.]])
        """
        return sort("msort", self, 0, False)[0]

    def topk(
        self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> ValuesAndIndices[Self]:
        """The ``k`` largest (or smallest) elements along ``dim``, and where they are.

        They are sorted, whatever ``sorted`` says; of equal elements the first come first.

        >>> fc.tensor([3.0, 1.0, 2.0]).topk(2)
        ValuesAndIndices(values=tensor([3., 2.]), indices=tensor([0, 2]))
        """
        return ValuesAndIndices(*topk(self, k, dim, largest))

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices[Self]:
        """The ``k``-th smallest element along ``dim``, and where it is; ``k`` counts from 1.

        >>> fc.tensor([3.0, 1.0, 2.0]).kthvalue(2)
        ValuesAndIndices(values=tensor(2.), indices=tensor(2))
        """
        return ValuesAndIndices(*kthvalue(self, k, dim, keepdim))

    @overload
    def median(self) -> Self: ...

    @overload
    def median(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    def median(self, dim: int | None = None, keepdim: bool = False) -> Self | ValuesAndIndices[Self]:
        """The median of all elements; with ``dim`` the medians along it, and where they are.

        Of an even number of elements it is the lower of the two in the middle. It is NaN where an element is.

        >>> fc.tensor([4.0, 1.0, 3.0, 2.0]).median()
        tensor(2.)
        """
        if dim is None:
            return median("median", self)
        return ValuesAndIndices(*median_along("median", self, dim, keepdim))

    @overload
    def nanmedian(self) -> Self: ...

    @overload
    def nanmedian(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Self | ValuesAndIndices[Self]:
        """:meth:`median` of the elements that are not NaN.

        >>> fc.tensor([4.0, float("nan"), 3.0]).nanmedian()
        tensor(3.)
        """
        if dim is None:
            return median("nanmedian", self)
        return ValuesAndIndices(*median_along("nanmedian", self, dim, keepdim))

    # ---- counts of values: on the host, and without gradients
    def unique(
        self,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Self | tuple[Self, ...]:
        """The different elements (with ``dim``: the different slices along it), in order.

        They are sorted, whatever ``sorted`` says. NumPy finds them, on the host. Every NaN differs from every
        other.

        Parameters
        ----------
        return_inverse : bool
            Return also where in the result each element is.
        return_counts : bool
            Return also how often each occurs.

        Examples
        --------
        >>> fc.tensor([3, 1, 3]).unique(return_counts=True)
        (tensor([1, 3]), tensor([1, 2]))
        """
        return count.unique(self, return_inverse, return_counts, dim)

    def unique_consecutive(
        self, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Self | tuple[Self, ...]:
        """The elements (with ``dim``: the slices along it) without those that equal the one before.

        >>> fc.tensor([3, 3, 1, 3]).unique_consecutive()
        tensor([3, 1, 3])
        """
        return count.unique_consecutive(self, return_inverse, return_counts, dim)

    def bincount(self, weights: TensorLike | None = None, minlength: int = 0) -> Self:
        """How often each of 0, 1, ... occurs in a vector of integers, or the sums of their ``weights``.

        >>> fc.tensor([1, 3, 1]).bincount()
        tensor([0, 2, 0, 1])
        """
        return count.bincount(self, weights, minlength)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Self:
        """How many elements lie in each of ``bins`` equal intervals between ``min`` and ``max``.

        Where both are 0 they are the smallest and the largest element. Elements outside do not count.

        >>> fc.tensor([1.0, 2.0, 1.0]).histc(bins=4, min=0, max=3)
        tensor([0., 2., 1., 0.])
        """
        return count.histc(self, bins, min, max)

    def nonzero(self, *, as_tuple: bool = False) -> Self | tuple[Self, ...]:
        """The indices of the elements that are not 0: a row for each, or with ``as_tuple`` a vector per
        dimension.

        >>> fc.tensor([0.0, 5.0, 7.0]).nonzero()
        tensor([[1],
                [2]])
        """
        return count.nonzero(self, as_tuple)

    def bucketize(self, boundaries: TensorLike, *, out_int32: bool = False, right: bool = False) -> Self:
        """For each element the number of ``boundaries``, a sorted vector, that are below it; with ``right``
        also of those that equal it.

        >>> fc.tensor([1.0, 2.5]).bucketize(fc.tensor([1.0, 2.0, 3.0]))
        tensor([0, 2])
        """
        return count.searchsorted("bucketize", boundaries, self, out_int32, right, None, None)
