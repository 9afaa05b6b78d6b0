"""Python's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.ops import MatMul, Unary
from fastconv.ops.pointwise import binary, bitwise, compared, inverted, operand, power
from fastconv.typing import Operand
from fastconv.variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self


class OperatorMethods(Variable):
    """Arithmetic, comparisons and matrix products, as operators."""

    __slots__ = ()

    def __neg__(self) -> Self:
        return Unary.apply(self, name="neg")

    def __abs__(self) -> Self:
        return Unary.apply(self, name="abs")

    def __add__(self, other: Operand) -> Self:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Self:
        return binary("add", other, self)

    def __sub__(self, other: Operand) -> Self:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Self:
        return binary("sub", other, self)

    def __mul__(self, other: Operand) -> Self:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Self:
        return binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Self:
        return binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Self:
        return binary("div", other, self)

    def __floordiv__(self, other: Operand) -> Self:
        return binary("floor_divide", self, other)

    def __rfloordiv__(self, other: Operand) -> Self:
        return binary("floor_divide", other, self)

    def __mod__(self, other: Operand) -> Self:
        return binary("remainder", self, other)

    def __rmod__(self, other: Operand) -> Self:
        return binary("remainder", other, self)

    def __and__(self, other: Operand) -> Self:
        return bitwise("bitwise_and", self, other)

    __rand__ = __and__

    def __or__(self, other: Operand) -> Self:
        return bitwise("bitwise_or", self, other)

    __ror__ = __or__

    def __xor__(self, other: Operand) -> Self:
        return bitwise("bitwise_xor", self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Self:
        return inverted(self)

    def __pow__(self, other: Operand) -> Self:
        return power(self, other)

    def __rpow__(self, other: Operand) -> Self:
        return binary("pow", other, self)

    def __lt__(self, other: Operand) -> Self:
        return binary("lt", self, other)

    def __le__(self, other: Operand) -> Self:
        return binary("le", self, other)

    def __gt__(self, other: Operand) -> Self:
        return binary("gt", self, other)

    def __ge__(self, other: Operand) -> Self:
        return binary("ge", self, other)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]  # element by element
        return compared("eq", self, other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return compared("ne", self, other)

    def __matmul__(self, other: Operand) -> Self:
        b = operand(other)
        return b if b is NotImplemented else MatMul.apply(self, argument("matmul", "operand", b))

    def __rmatmul__(self, other: Operand) -> Self:
        a = operand(other)
        return a if a is NotImplemented else MatMul.apply(argument("matmul", "operand", a), self)
