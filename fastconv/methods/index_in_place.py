"""Methods that write to elements of a tensor's own memory, chosen by indices or by a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import inplace
from fastconv.typing import Operand
from fastconv.variable import Variable

from .index import IndexMethods

if TYPE_CHECKING:
    from typing_extensions import Self


class IndexInPlaceMethods(IndexMethods):
    """The methods of :class:`IndexMethods` in place, which autograd follows; each returns the tensor."""

    __slots__ = ()

    def scatter_(
        self,
        dim: int,
        index: Variable,
        src: Variable | float | None = None,
        *,
        value: float | None = None,
        reduce: str | None = None,
    ) -> Self:
        """:meth:`scatter` in place.

        >>> fc.zeros(2, 3).scatter_(1, fc.tensor([[0], [2]]), 1.0)
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
        """

        def op(t: Any, source: Any) -> Any:
            return IndexMethods.scatter(t, dim, index, source, value=value, reduce=reduce)

        return inplace.update(self, "scatter_", op, src)

    def scatter_add_(self, dim: int, index: Variable, src: Variable) -> Self:
        """:meth:`scatter_add` in place."""
        return inplace.update(
            self, "scatter_add_", lambda t, source: IndexMethods.scatter_add(t, dim, index, source), src
        )

    def scatter_reduce_(
        self, dim: int, index: Variable, src: Variable, reduce: str, *, include_self: bool = True
    ) -> Self:
        """:meth:`scatter_reduce` in place."""

        def op(t: Any, source: Any) -> Any:
            return IndexMethods.scatter_reduce(t, dim, index, source, reduce, include_self=include_self)

        return inplace.update(self, "scatter_reduce_", op, src)

    def index_add_(self, dim: int, index: Variable, source: Variable, *, alpha: float = 1) -> Self:
        """:meth:`index_add` in place."""
        return inplace.update(
            self, "index_add_", lambda t, s: IndexMethods.index_add(t, dim, index, s, alpha=alpha), source
        )

    def index_copy_(self, dim: int, index: Variable, source: Variable) -> Self:
        """:meth:`index_copy` in place."""
        return inplace.update(
            self, "index_copy_", lambda t, s: IndexMethods.index_copy(t, dim, index, s), source
        )

    def index_fill_(self, dim: int, index: Variable, value: Operand) -> Self:
        """:meth:`index_fill` in place."""
        return inplace.update(
            self, "index_fill_", lambda t, v: IndexMethods.index_fill(t, dim, index, v), value
        )

    def index_put_(self, indices: tuple[Variable, ...], values: Variable, accumulate: bool = False) -> Self:
        """:meth:`index_put` in place."""
        return inplace.update(
            self, "index_put_", lambda t, v: IndexMethods.index_put(t, indices, v, accumulate), values
        )

    def masked_fill_(self, mask: Variable, value: Operand) -> Self:
        """:meth:`masked_fill` in place.

        >>> x = fc.tensor([1.0, 2.0])
        >>> x.masked_fill_(x > 1, 0.0)
        tensor([1., 0.])
        """
        return inplace.update(self, "masked_fill_", lambda t, v: IndexMethods.masked_fill(t, mask, v), value)

    def masked_scatter_(self, mask: Variable, source: Variable) -> Self:
        """:meth:`masked_scatter` in place."""
        return inplace.update(
            self, "masked_scatter_", lambda t, s: IndexMethods.masked_scatter(t, mask, s), source
        )

    def tril_(self, diagonal: int = 0) -> Self:
        """:meth:`tril` in place."""
        return inplace.update(self, "tril_", lambda t: IndexMethods.tril(t, diagonal))

    def triu_(self, diagonal: int = 0) -> Self:
        """:meth:`triu` in place."""
        return inplace.update(self, "triu_", lambda t: IndexMethods.triu(t, diagonal))
