"""Methods for variances and running reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.ops.reduce import given, variance
from fastconv.ops.scan import extremum_scan, scan
from fastconv.typing import Dims, DType
from fastconv.variable import Variable

from .values_and_indices import ValuesAndIndices

if TYPE_CHECKING:
    from typing_extensions import Self


class StatisticMethods(Variable):
    """Variances, and running sums, products and extrema.

    ``dim`` of a variance is an int or a sequence of ints; by default all dimensions are reduced. The sum of
    the squared deviations is divided by ``n - correction``, where ``n`` is the number of elements.
    """

    __slots__ = ()

    def var(
        self,
        dim: Dims | bool = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        axis: Dims = None,
    ) -> Self:
        """Variance over ``dim``. It is accurate also if the mean is large compared with the deviations.

        Parameters
        ----------
        dim : int or sequence of ints, optional
            The dimensions that are reduced; all by default.
        unbiased : bool, optional
            True means a ``correction`` of 1, False a ``correction`` of 0.
        keepdim : bool
            Keep the dimensions, with extent 1.
        correction : number
            Subtracted from the number of elements to get the divisor; 1 by default.

        Raises
        ------
        TypeError
            If both ``unbiased`` and ``correction`` are given, or the tensor does not hold floats.

        Notes
        -----
        Chan, Golub, LeVeque: Algorithms for computing the sample variance. The American Statistician 37,
        1983.

        Examples
        --------
        >>> fc.tensor([1.0, 2.0, 3.0]).var()
        tensor(1.)
        """
        return variance("var", self, given("var", dim, axis), unbiased, keepdim, correction)[0]

    def std(
        self,
        dim: Dims | bool = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        axis: Dims = None,
    ) -> Self:
        """Square root of :meth:`var`.

        >>> fc.tensor([1.0, 3.0]).std(unbiased=False)
        tensor(1.)
        """
        return variance("std", self, given("std", dim, axis), unbiased, keepdim, correction)[0]

    def var_mean(
        self,
        dim: Dims | bool = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> tuple[Self, Self]:
        """:meth:`var` and :meth:`mean`, from one pass over memory.

        >>> fc.tensor([1.0, 2.0, 3.0]).var_mean()
        (tensor(1.), tensor(2.))
        """
        return variance("var_mean", self, dim, unbiased, keepdim, correction)

    def std_mean(
        self,
        dim: Dims | bool = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> tuple[Self, Self]:
        """:meth:`std` and :meth:`mean`, from one pass over memory.

        >>> fc.tensor([1.0, 3.0]).std_mean(correction=0)
        (tensor(1.), tensor(2.))
        """
        return variance("std_mean", self, dim, unbiased, keepdim, correction)

    def cumsum(self, dim: int, *, dtype: DType | None = None) -> Self:
        """Running sums along ``dim``; bools and integers give int64.

        >>> fc.tensor([1.0, 2.0, 3.0]).cumsum(0)
        tensor([1., 3., 6.])
        """
        return scan("cumsum", self, dim, dtype)

    def cumprod(self, dim: int, *, dtype: DType | None = None) -> Self:
        """Running products along ``dim``; bools and integers give int64.

        >>> fc.tensor([1.0, 2.0, 3.0]).cumprod(0)
        tensor([1., 2., 6.])
        """
        return scan("cumprod", self, dim, dtype)

    def logcumsumexp(self, dim: int) -> Self:
        """The logarithm of the running sums of ``exp(self)`` along ``dim``, computed without overflow.

        >>> fc.tensor([0.0, 0.0]).logcumsumexp(0)
        tensor([0.    , 0.6931])
        """
        return scan("logcumsumexp", self, dim)

    def cummax(self, dim: int) -> ValuesAndIndices[Self]:
        """Running maxima along ``dim``, and their indices; of equal elements the last one counts.

        >>> fc.tensor([1.0, 3.0, 2.0]).cummax(0)
        ValuesAndIndices(values=tensor([1., 3., 3.]), indices=tensor([0, 1, 1]))
        """
        return ValuesAndIndices(*extremum_scan("cummax", self, dim))

    def cummin(self, dim: int) -> ValuesAndIndices[Self]:
        """Running minima along ``dim``, and their indices; of equal elements the last one counts.

        >>> fc.tensor([1.0, 3.0, 0.0]).cummin(0)
        ValuesAndIndices(values=tensor([1., 1., 0.]), indices=tensor([0, 0, 2]))
        """
        return ValuesAndIndices(*extremum_scan("cummin", self, dim))
