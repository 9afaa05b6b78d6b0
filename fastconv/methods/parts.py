"""Methods that give parts of a tensor as views: slices, splits, diagonals, sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv.checks import check
from fastconv.ops import Copy, parts, views
from fastconv.typing import Ints
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class PartMethods(Variable):
    """Parts of a tensor. They are views: an in-place change of a part changes the tensor too.

    :meth:`diag` and :meth:`diag_embed` return copies.
    """

    __slots__ = ()

    def select(self, dim: int, index: int) -> Self:
        """Slice ``index`` along ``dim``, without that dimension.

        >>> fc.tensor([[1, 2], [3, 4]]).select(1, 0)
        tensor([1, 3])
        """
        return parts.select(self, dim, index)

    def narrow(self, dim: int, start: int, length: int) -> Self:
        """``length`` slices along ``dim`` from ``start`` on.

        >>> fc.arange(5).narrow(0, 1, 3)
        tensor([1, 2, 3])
        """
        return parts.narrow(self, dim, start, length)

    def split(self, split_size: Ints, dim: int = 0) -> tuple[Self, ...]:
        """Parts along ``dim``, of one size (the last part may be smaller), or of the sizes in a list.

        >>> fc.arange(5).split(2)
        (tensor([0, 1]), tensor([2, 3]), tensor([4]))
        """
        return parts.split("split", self, split_size, dim)

    def split_with_sizes(self, split_sizes: Sequence[int], dim: int = 0) -> tuple[Self, ...]:
        """:meth:`split` with a list of sizes.

        >>> fc.arange(5).split_with_sizes([1, 4])
        (tensor([0]), tensor([1, 2, 3, 4]))
        """
        check(
            isinstance(split_sizes, (tuple, list)),
            "split_with_sizes",
            f"split_sizes must be a list of ints, got {split_sizes!r:.60}; for parts of one size use split",
            TypeError,
        )
        return parts.split("split_with_sizes", self, split_sizes, dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        """At most ``chunks`` parts of one size along ``dim``; the last part may be smaller.

        >>> fc.arange(5).chunk(2)
        (tensor([0, 1, 2]), tensor([3, 4]))
        """
        return parts.chunk(self, chunks, dim)

    def tensor_split(self, indices_or_sections: Ints | Variable, dim: int = 0) -> tuple[Self, ...]:
        """Parts along ``dim``.

        An int is the number of parts, whose sizes differ by at most one. A list, or a vector, holds the
        indices at which a new part begins.

        >>> fc.arange(5).tensor_split(3)
        (tensor([0, 1]), tensor([2, 3]), tensor([4]))
        """
        return parts.tensor_split(self, indices_or_sections, dim)

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """All slices along ``dim``, without that dimension.

        >>> fc.tensor([[1, 2], [3, 4]]).unbind()
        (tensor([1, 2]), tensor([3, 4]))
        """
        return parts.unbind(self, dim)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Self:
        """The diagonals of the matrices in ``dim1`` and ``dim2``, as the last dimension of the result.

        A positive ``offset`` selects a diagonal above the main one, a negative one a diagonal below it.

        >>> fc.arange(6).reshape(2, 3).diagonal(1)
        tensor([1, 5])
        """
        return views.diagonal(self, offset, dim1, dim2)

    def diag(self, diagonal: int = 0) -> Self:
        """The diagonal of a matrix as a vector, or a matrix of zeros with this vector on its diagonal.

        The result is a copy.

        >>> fc.tensor([1, 2]).diag()
        tensor([[1, 0],
                [0, 2]])
        """
        check(self.ndim in (1, 2), "diag", f"expected a vector or a matrix, got {self.ndim} dimensions")
        if self.ndim == 1:
            return views.diag_embed("diag", self, diagonal, 0, 1)
        return Copy.apply(views.diagonal(self, diagonal, 0, 1))

    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Self:
        """Matrices of zeros in ``dim1`` and ``dim2``, with this tensor's last dimension on their diagonals.

        >>> fc.ones(3, 2).diag_embed().shape
        (3, 2, 2)
        """
        return views.diag_embed("diag_embed", self, offset, dim1, dim2)

    def unfold(self, dimension: int, size: int, step: int) -> Self:
        """Windows of ``size`` along ``dimension``, ``step`` apart; the last dimension runs through a window.

        The result is a view. Windows that overlap cannot be changed in place. ``nn.functional.unfold`` is
        another function: it makes the columns of a convolution.

        >>> fc.arange(4).unfold(0, 2, 1)
        tensor([[0, 1],
                [1, 2],
                [2, 3]])
        """
        return views.unfold(self, dimension, size, step)
