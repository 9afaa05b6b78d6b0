"""Methods that compute each element by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.ops import Unary
from fastconv.ops.pointwise import clamp, power
from fastconv.ops.reduce import given, softmax
from fastconv.typing import Operand
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class PointwiseMethods(Variable):
    """Functions of each element."""

    __slots__ = ()

    def abs(self) -> Self:
        """Absolute values."""
        return Unary.apply(self, name="abs")

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """Elements below ``min`` become ``min``, above ``max`` they become ``max``; each bound broadcasts."""
        return clamp(self, min, max)

    def exp(self) -> Self:
        """The exponential of each element."""
        return Unary.apply(self, name="exp")

    def log(self) -> Self:
        """The natural logarithm of each element."""
        return Unary.apply(self, name="log")

    def sqrt(self) -> Self:
        """The square root of each element."""
        return Unary.apply(self, name="sqrt")

    def relu(self) -> Self:
        """The elements, with 0 for negative ones."""
        return Unary.apply(self, name="relu")

    def sigmoid(self) -> Self:
        """``1 / (1 + exp(-x))`` of each element."""
        return Unary.apply(self, name="sigmoid")

    def tanh(self) -> Self:
        """The hyperbolic tangent of each element."""
        return Unary.apply(self, name="tanh")

    def softmax(self, dim: int | None = None, *, axis: int | None = None) -> Self:
        """Exponentials along ``dim``, scaled so that they sum to 1."""
        return softmax(self, given("softmax", dim, axis))

    def pow(self, other: Operand) -> Self:
        """``self ** other``."""
        return power(self, other)
