"""The result types of reductions and sorts along a dimension."""

from __future__ import annotations

from typing import TypeVar

from fastconv.variable import Variable

V = TypeVar("V", bound=Variable)


class ValuesAndIndices(tuple[V, V]):
    """Two tensors of one shape: elements, and their indices along the dimension.

    Examples
    --------
    >>> largest = fc.tensor([[1.0, 3.0, 2.0]]).max(dim=1)
    >>> largest.values, largest.indices
    (tensor([3.]), tensor([1]))
    """

    __slots__ = ()

    def __new__(cls, values: V, indices: V) -> ValuesAndIndices[V]:
        """A pair of both."""
        return super().__new__(cls, (values, indices))

    @property
    def values(self) -> V:
        """The elements."""
        return self[0]

    @property
    def indices(self) -> V:
        """The indices of the elements, int64."""
        return self[1]

    def __getnewargs__(self) -> tuple[V, V]:
        """The arguments of ``__new__``, from which copies and pickles are made."""
        return self[0], self[1]

    def __repr__(self) -> str:
        return f"ValuesAndIndices(values={self.values!r}, indices={self.indices!r})"


class MinAndMax(tuple[V, V]):
    """The smallest and the largest elements.

    Examples
    --------
    >>> extrema = fc.tensor([1.0, 3.0, 2.0]).aminmax()
    >>> extrema.min, extrema.max
    (tensor(1.), tensor(3.))
    """

    __slots__ = ()

    def __new__(cls, smallest: V, largest: V) -> MinAndMax[V]:
        """A pair of both."""
        return super().__new__(cls, (smallest, largest))

    @property
    def min(self) -> V:
        """The smallest elements."""
        return self[0]

    @property
    def max(self) -> V:
        """The largest elements."""
        return self[1]

    def __getnewargs__(self) -> tuple[V, V]:
        """The arguments of ``__new__``, from which copies and pickles are made."""
        return self[0], self[1]

    def __repr__(self) -> str:
        return f"MinAndMax(min={self.min!r}, max={self.max!r})"
