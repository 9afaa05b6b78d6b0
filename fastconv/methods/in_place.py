"""Methods that change a tensor's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import inplace
from fastconv.ops.pointwise import operand
from fastconv.typing import Operand

from .index import IndexMethods
from .operators import OperatorMethods
from .pointwise import PointwiseMethods

if TYPE_CHECKING:
    from typing_extensions import Self


class InPlaceMethods(OperatorMethods, PointwiseMethods, IndexMethods):
    """Changes of the tensor's own memory, which autograd follows; each returns the tensor."""

    __slots__ = ()

    def __iadd__(self, other: Operand) -> Self:
        return inplace.update(self, "add_", OperatorMethods.__add__, other)

    def __isub__(self, other: Operand) -> Self:
        return inplace.update(self, "sub_", OperatorMethods.__sub__, other)

    def __imul__(self, other: Operand) -> Self:
        return inplace.update(self, "mul_", OperatorMethods.__mul__, other)

    def __itruediv__(self, other: Operand) -> Self:
        return inplace.update(self, "div_", OperatorMethods.__truediv__, other)

    def __ipow__(self, other: Operand) -> Self:
        return inplace.update(self, "pow_", OperatorMethods.__pow__, other)

    def add_(self, other: Operand, *, alpha: float = 1) -> Self:
        """``self += alpha * other``."""
        self += other if alpha == 1 else operand(other) * alpha
        return self

    def sub_(self, other: Operand, *, alpha: float = 1) -> Self:
        """``self -= alpha * other``."""
        self -= other if alpha == 1 else operand(other) * alpha
        return self

    def mul_(self, other: Operand) -> Self:
        """``self *= other``."""
        self *= other
        return self

    def div_(self, other: Operand) -> Self:
        """``self /= other``."""
        self /= other
        return self

    def pow_(self, other: Operand) -> Self:
        """``self **= other``."""
        self **= other
        return self

    def neg_(self) -> Self:
        """Change the sign in place."""
        return inplace.update(self, "neg_", OperatorMethods.__neg__)

    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """:meth:`clamp` in place."""
        return inplace.update(self, "clamp_", PointwiseMethods.clamp, min, max)

    def copy_(self, value: Operand) -> Self:
        """Overwrite the values in place; they are converted to this tensor's dtype."""
        self[...] = value
        return self

    def fill_(self, value: Operand) -> Self:
        """Make every element ``value``."""
        self[...] = value
        return self

    def zero_(self) -> Self:
        """Make every element zero."""
        return self.fill_(0)
