"""Methods that give the same elements another shape or order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.checks import check_rank
from fastconv.ops import Copy
from fastconv.ops import shape as shapes
from fastconv.ops.reduce import given
from fastconv.typing import Ints
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class ShapeMethods(Variable):
    """The same elements under another shape or order."""

    __slots__ = ()

    def reshape(self, *shape: Ints) -> Self:
        """The same elements in logical (NCHW) order under another shape; one extent may be -1."""
        return shapes.reshape(self, shape)

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Merge the dimensions ``start_dim`` to ``end_dim`` into one."""
        return shapes.flatten(self, start_dim, end_dim)

    def permute(self, *axes: Ints) -> Self:
        """Reorder the dimensions."""
        return shapes.permute(self, axes)

    def transpose(self, dim0: int, dim1: int) -> Self:
        """Exchange two dimensions."""
        return shapes.transpose(self, dim0, dim1)

    def t(self) -> Self:
        """The transposed matrix; a vector or scalar is returned unchanged."""
        check_rank("t", "tensor", self.shape, (0, 1, 2), "at most a matrix")
        return shapes.permute(self, range(self.ndim)[::-1])

    def squeeze(self, dim: int | None = None, *, axis: int | None = None) -> Self:
        """Drop the dimensions of extent 1, or only ``dim`` if it has extent 1."""
        return shapes.squeeze(self, given("squeeze", dim, axis))

    def unsqueeze(self, dim: int | None = None, *, axis: int | None = None) -> Self:
        """Insert a dimension of extent 1 at ``dim``."""
        return shapes.unsqueeze(self, given("unsqueeze", dim, axis))

    def contiguous(self) -> Self:
        """The tensor itself, or a copy of a view whose elements lie in another order."""
        return self if self.view_of is None or self.array.flags.c_contiguous else Copy.apply(self)
