"""Indexing: items, and elements that are selected by tensors of indices or by masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import inplace
from fastconv.checks import check, one_of
from fastconv.ops import GetItem, gather, masks
from fastconv.ops.index import plain_key, put
from fastconv.typing import Operand
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class IndexMethods(Variable):
    """Reading and writing parts of a tensor.

    Indices are int64 or int32 tensors. An index out of range raises an IndexError.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Self:
        return GetItem.apply(self, key=plain_key(key))

    def __setitem__(self, key: Any, value: Operand) -> None:
        inplace.assign(self, key, value)

    # ---- an index per element
    def gather(self, dim: int, index: Variable, *, sparse_grad: bool = False) -> Self:
        """Elements along ``dim`` selected by ``index``: ``y[i][j] = self[index[i][j]][j]`` for ``dim=0``.

        Parameters
        ----------
        dim : int
        index : Tensor of int64 or int32
            It has as many dimensions as the tensor. Only along ``dim`` its extent may be larger than the
            tensor's. The result has the shape of ``index``.
        sparse_grad : bool
            Must be False, because sparse gradients are not supported.

        Raises
        ------
        ValueError, TypeError
            If ``index`` has another rank, larger extents or another dtype.
        IndexError
            If an index is negative or too large.

        Examples
        --------
        >>> fc.tensor([[1, 2], [3, 4]]).gather(1, fc.tensor([[0, 0], [1, 0]]))
        tensor([[1, 1],
                [4, 3]])
        """
        check(not sparse_grad, "gather", "sparse gradients are not supported; leave out sparse_grad")
        return gather.gather(self, dim, index)

    def take_along_dim(self, indices: Variable, dim: int | None = None) -> Self:
        """Elements along ``dim`` selected by ``indices``, as by :meth:`gather`.

        Unlike in :meth:`gather`, the tensor and ``indices`` broadcast in the dimensions other than ``dim``,
        and negative indices count from the end. Without ``dim`` both are flattened.

        >>> x = fc.tensor([[3, 1, 2]])
        >>> x.take_along_dim(x.argmax(1, keepdim=True), dim=1)
        tensor([[3]])
        """
        return gather.take_along_dim(self, indices, dim)

    def scatter(
        self, dim: int, index: Variable, src: Variable | float | None = None, *,
        value: float | None = None, reduce: str | None = None,
    ) -> Self:  # fmt: skip
        """A copy with ``src`` written to the elements that :meth:`gather` would read.

        If two values go to the same element, the one that comes later along ``dim`` is kept.

        Parameters
        ----------
        dim : int
        index : Tensor of int64 or int32
        src : Tensor of the same dtype, or a number
            A tensor may be larger than ``index``; then only the part with the extents of ``index`` is used.
        value : float
            Another name of ``src``, for a number.
        reduce : {"add", "multiply"}, optional
            How a value and the old element are combined. By default the value replaces the element.

        Examples
        --------
        >>> fc.zeros(2, 3).scatter(1, fc.tensor([[0], [2]]), 1.0)
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
        """
        check((src is None) != (value is None), "scatter", "give one of src and value", TypeError)
        if reduce is not None:
            one_of("scatter", "reduce", reduce, ("add", "multiply"))
        how = {None: "set", "add": "add", "multiply": "mul"}[reduce]
        return gather.scatter("scatter", self, dim, index, value if src is None else src, how)

    def scatter_add(self, dim: int, index: Variable, src: Variable) -> Self:
        """A copy with the values of ``src`` added to the elements that :meth:`gather` would read.

        >>> fc.zeros(3).scatter_add(0, fc.tensor([0, 2, 0]), fc.tensor([1.0, 2.0, 3.0]))
        tensor([4., 0., 2.])
        """
        gather.check_tensor("scatter_add", "src", src)
        return gather.scatter("scatter_add", self, dim, index, src, "add")

    def scatter_reduce(
        self, dim: int, index: Variable, src: Variable, reduce: str, *, include_self: bool = True
    ) -> Self:
        """A copy in which each element is reduced together with the values of ``src`` that go to it.

        A value goes to the element that :meth:`gather` would read at its place.

        Parameters
        ----------
        dim : int
        index : Tensor of int64 or int32
        src : Tensor of the same dtype
        reduce : {"sum", "prod", "mean", "amax", "amin"}
        include_self : bool
            Whether the old element takes part in the reduction.

        Examples
        --------
        >>> x, index = fc.tensor([5.0, 5.0]), fc.tensor([0, 0])
        >>> x.scatter_reduce(0, index, fc.tensor([1.0, 3.0]), "mean", include_self=False)
        tensor([2., 5.])
        """
        gather.check_tensor("scatter_reduce", "src", src)
        return gather.scatter_reduce("scatter_reduce", self, dim, index, src, reduce, include_self)

    # ---- an index per slice
    def index_select(self, dim: int, index: Variable) -> Self:
        """The slices along ``dim`` that a vector of indices selects, as a copy.

        >>> fc.tensor([[1, 2], [3, 4]]).index_select(0, fc.tensor([1, 1]))
        tensor([[3, 4],
                [3, 4]])
        """
        return gather.index_select(self, dim, index)

    def index_add(self, dim: int, index: Variable, source: Variable, *, alpha: float = 1) -> Self:
        """A copy with ``alpha * source`` added to the slices along ``dim`` that a vector of indices selects.

        >>> fc.zeros(2, 2).index_add(0, fc.tensor([1, 1]), fc.ones(2, 2))
        tensor([[0., 0.],
                [2., 2.]])
        """
        gather.check_tensor("index_add", "source", source)
        return gather.index_write("index_add", self, dim, index, source, "add", alpha)

    def index_copy(self, dim: int, index: Variable, source: Variable) -> Self:
        """A copy with ``source`` written to the slices along ``dim`` that a vector of indices selects.

        >>> fc.zeros(2, 2).index_copy(0, fc.tensor([1]), fc.ones(1, 2))
        tensor([[0., 0.],
                [1., 1.]])
        """
        gather.check_tensor("index_copy", "source", source)
        return gather.index_write("index_copy", self, dim, index, source, "set")

    def index_fill(self, dim: int, index: Variable, value: Operand) -> Self:
        """A copy with a number written to the slices along ``dim`` that a vector of indices selects.

        >>> fc.zeros(2, 2).index_fill(1, fc.tensor([0]), 7)
        tensor([[7., 0.],
                [7., 0.]])
        """
        return gather.index_write("index_fill", self, dim, index, value, "set")

    def take(self, index: Variable) -> Self:
        """Elements of the flattened tensor, in the shape of ``index``; negative indices count from the end.

        >>> fc.tensor([[1, 2], [3, 4]]).take(fc.tensor([0, -1]))
        tensor([1, 4])
        """
        return gather.take(self, index)

    def index_put(
        self, indices: tuple[Variable, ...], values: Variable, accumulate: bool = False
    ) -> Self:  # fmt: skip
        """A copy with ``values`` written to ``copy[indices]``, or added to it if ``accumulate`` is true.

        >>> fc.zeros(3).index_put((fc.tensor([0, 0]),), fc.tensor(1.0), accumulate=True)
        tensor([2., 0., 0.])
        """
        return put(self, indices, values, accumulate)

    # ---- masks
    def masked_fill(self, mask: Variable, value: Operand) -> Self:
        """A copy with ``value``, a number, where ``mask`` is true; tensor and mask broadcast.

        >>> fc.tensor([1.0, 2.0]).masked_fill(fc.tensor([True, False]), 0.0)
        tensor([0., 2.])
        """
        return masks.masked_fill(self, mask, value)

    def masked_select(self, mask: Variable) -> Self:
        """The elements where ``mask`` is true, as a vector; tensor and mask broadcast.

        >>> x = fc.tensor([1, 2, 3])
        >>> x.masked_select(x > 1)
        tensor([2, 3])
        """
        return masks.masked_select(self, mask)

    def masked_scatter(self, mask: Variable, source: Variable) -> Self:
        """A copy with the first elements of ``source``, in order, where ``mask`` is true.

        >>> fc.zeros(3).masked_scatter(fc.tensor([True, False, True]), fc.tensor([1.0, 2.0, 3.0]))
        tensor([1., 0., 2.])
        """
        return masks.masked_scatter(self, mask, source)

    def tril(self, diagonal: int = 0) -> Self:
        """The lower triangles of matrices, with zeros above them.

        ``diagonal`` is the highest diagonal that is kept: 0 is the main one, positive numbers are above it.

        >>> fc.ones(2, 2).tril()
        tensor([[1., 0.],
                [1., 1.]])
        """
        return masks.triangle("tril", self, diagonal)

    def triu(self, diagonal: int = 0) -> Self:
        """The upper triangles of matrices, with zeros below them.

        ``diagonal`` is the lowest diagonal that is kept: 0 is the main one, positive numbers are above it.

        >>> fc.ones(2, 2).triu()
        tensor([[1., 1.],
                [0., 1.]])
        """
        return masks.triangle("triu", self, diagonal)
