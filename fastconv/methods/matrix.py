"""Products of matrices and vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.typing import Operand

from .operators import OperatorMethods

if TYPE_CHECKING:
    from typing_extensions import Self


class MatrixMethods(OperatorMethods):
    """Products of matrices and vectors."""

    __slots__ = ()

    def matmul(self, other: Operand) -> Self:
        """Matrix product ``self @ other``; leading dimensions broadcast."""
        return self @ other
