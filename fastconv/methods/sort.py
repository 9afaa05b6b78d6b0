"""Methods that sort or select along a dimension, and methods that find and count values."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from fastconv.checks import check, shape_str
from fastconv.ops import count
from fastconv.ops.sort import kthvalue, median, median_along, sort, topk
from fastconv.typing import TensorLike
from fastconv.variable import Variable, argument

from .values_and_indices import ValuesAndIndices

if TYPE_CHECKING:
    from typing_extensions import Self


class SortMethods(Variable):
    """Sorting and selecting. NaN is larger than every number, as in PyTorch and NumPy."""

    __slots__ = ()

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesAndIndices[Self]:
        """The elements along ``dim`` in order, and the indices where they were.

        The sort is always stable: equal elements keep their order. ``stable`` has no effect.

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
        """The ``k`` largest (or smallest) elements along ``dim``, and their indices.

        They are always sorted; ``sorted`` has no effect. Equal elements are in the order of their indices.

        >>> fc.tensor([3.0, 1.0, 2.0]).topk(2)
        ValuesAndIndices(values=tensor([3., 2.]), indices=tensor([0, 2]))
        """
        return ValuesAndIndices(*topk(self, k, dim, largest))

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices[Self]:
        """The ``k``-th smallest element along ``dim``, and its index; ``k`` counts from 1.

        >>> fc.tensor([3.0, 1.0, 2.0]).kthvalue(2)
        ValuesAndIndices(values=tensor(2.), indices=tensor(2))
        """
        return ValuesAndIndices(*kthvalue(self, k, dim, keepdim))

    @overload
    def median(self) -> Self: ...

    @overload
    def median(self, dim: int, keepdim: bool = False) -> ValuesAndIndices[Self]: ...

    def median(self, dim: int | None = None, keepdim: bool = False) -> Self | ValuesAndIndices[Self]:
        """The median of all elements; with ``dim`` the medians along it, and their indices.

        The median of an even number of elements is the lower one of the two in the middle. It is NaN if an
        element is NaN.

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

    # ---- values found and counted: on the host, and without gradients
    def unique(
        self,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Self | tuple[Self, ...]:
        """The different elements (with ``dim``: the different slices along it), sorted.

        NumPy finds them, on the host. Every NaN counts as different from every other NaN.

        Parameters
        ----------
        sorted : bool
            No effect: the result is always sorted.
        return_inverse : bool
            Also return, for each element, its index in the result.
        return_counts : bool
            Also return how often each element of the result occurs.
        dim : int, optional
            By default the tensor is flattened.

        Examples
        --------
        >>> fc.tensor([3, 1, 3]).unique(return_counts=True)
        (tensor([1, 3]), tensor([1, 2]))
        """
        return count.unique(self, return_inverse, return_counts, dim)

    def unique_consecutive(
        self, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Self | tuple[Self, ...]:
        """The elements (with ``dim``: the slices along it) that differ from the one before them.

        The parameters are those of :meth:`unique`.

        >>> fc.tensor([3, 3, 1, 3]).unique_consecutive()
        tensor([3, 1, 3])
        """
        return count.unique_consecutive(self, return_inverse, return_counts, dim)

    def bincount(self, weights: TensorLike | None = None, minlength: int = 0) -> Self:
        """How often each of 0, 1, ... occurs in a vector of integers, as int64.

        With ``weights``, one for each element, the result is the sum of the weights of each number instead.
        It has at least ``minlength`` elements.

        >>> fc.tensor([1, 3, 1]).bincount()
        tensor([0, 2, 0, 1])
        """
        return count.bincount(self, weights, minlength)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Self:
        """How many elements lie in each of ``bins`` equal intervals between ``min`` and ``max``.

        If ``min`` equals ``max``, they are replaced by the smallest and the largest element. Elements outside
        the range do not count.

        >>> fc.tensor([1.0, 2.0, 1.0]).histc(bins=4, min=0, max=3)
        tensor([0., 2., 1., 0.])
        """
        return count.histc(self, bins, min, max)

    def nonzero(self, *, as_tuple: bool = False) -> Self | tuple[Self, ...]:
        """The indices of the elements that are not 0, as int64: a matrix with a row for each element.

        With ``as_tuple`` the result is a tuple with a vector for each dimension.

        >>> fc.tensor([0.0, 5.0, 7.0]).nonzero()
        tensor([[1],
                [2]])
        """
        return count.nonzero(self, as_tuple)

    def bucketize(self, boundaries: TensorLike, *, out_int32: bool = False, right: bool = False) -> Self:
        """For each element, the number of ``boundaries`` that are smaller; with ``right``, smaller or equal.

        ``boundaries`` is a sorted vector. The result is int64, or int32 with ``out_int32``.

        >>> fc.tensor([1.0, 2.5]).bucketize(fc.tensor([1.0, 2.0, 3.0]))
        tensor([0, 2])
        """
        boundaries = argument("bucketize", "boundaries", boundaries, self.device)
        check(
            boundaries.ndim == 1,
            "bucketize",
            f"boundaries must be a vector, got {shape_str(boundaries.shape)}; searchsorted takes rows",
        )
        return count.searchsorted("bucketize", boundaries, self, out_int32, right, None, None)
