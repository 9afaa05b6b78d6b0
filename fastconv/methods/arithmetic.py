"""Arithmetic, comparisons and logic by name; the operators are in ``operators.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastconv.checks import check, number
from fastconv.ops import Unary
from fastconv.ops.convert import astype
from fastconv.ops.pointwise import binary, bitwise, inverted, logical, power
from fastconv.ops.ternary import Lerp, add_product, where
from fastconv.typing import Operand
from fastconv.variable import Variable, argument, detach

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound=Variable)


def _required(name: str, other: Any, result: Any) -> Any:
    """``result``, or a TypeError if it is NotImplemented, because ``other`` is not an operand."""
    if result is NotImplemented:
        raise TypeError(f"{name}: other must be a Tensor, an array or a number, got {other!r:.60}")
    return result


def _pair(name: str, function: Callable[[str, Any, Any], Any], doc: str) -> Callable[[T, Operand], T]:
    """A method ``name`` of two operands that calls ``function(name, self, other)``."""

    def method(self: T, other: Operand) -> T:
        return _required(name, other, function(name, self, other))

    method.__name__, method.__qualname__, method.__doc__ = name, f"ArithmeticMethods.{name}", doc
    return method


class ArithmeticMethods(Variable):
    """Functions that combine two or three operands element by element; the operands broadcast."""

    __slots__ = ()

    def add(self, other: Operand, *, alpha: float = 1) -> Self:
        """``self + alpha * other``.

        Examples
        --------
        >>> fc.ones(2).add(fc.ones(2), alpha=3)
        tensor([4., 4.])
        """
        if alpha == 1:
            return _required("add", other, binary("add", self, other))
        return add_product("add", "addcmul", self, other, 1, alpha)

    def sub(self, other: Operand, *, alpha: float = 1) -> Self:
        """``self - alpha * other``."""
        if alpha == 1:
            return _required("sub", other, binary("sub", self, other))
        return add_product("sub", "addcmul", self, other, -1, alpha)

    mul = _pair("mul", binary, "``self * other``.")

    def div(self, other: Operand, *, rounding_mode: str | None = None) -> Self:
        """``self / other``.

        Parameters
        ----------
        other : Tensor, array or number
        rounding_mode : {None, "floor", "trunc"}
            ``"floor"`` rounds the result down, ``"trunc"`` towards 0. Integers then give integers.

        Raises
        ------
        ValueError
            If ``rounding_mode`` is another value.
        ZeroDivisionError
            If an integer is divided by zero with a ``rounding_mode``, on the CPU.

        Examples
        --------
        >>> fc.tensor([-7, 7]).div(2, rounding_mode="trunc")
        tensor([-3,  3])
        """
        names = {None: "div", "floor": "floor_divide", "trunc": "trunc_divide"}
        ok = rounding_mode is None or isinstance(rounding_mode, str) and rounding_mode in names
        check(ok, "div", f"rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r:.60}")
        return _required("div", other, binary(names[rounding_mode], self, other))

    true_divide = _pair("true_divide", lambda _, a, b: binary("div", a, b), "``self / other``.")
    floor_divide = _pair("floor_divide", binary, "``self / other``, rounded down.")
    remainder = _pair("remainder", binary, "The remainder of ``floor_divide``, with the sign of ``other``.")
    fmod = _pair("fmod", binary, "The remainder of a division rounded towards 0, with the sign of ``self``.")

    def pow(self, other: Operand) -> Self:
        """``self ** other``."""
        return _required("pow", other, power(self, other))

    maximum = _pair("maximum", binary, "The larger of two elements; NaN if one of them is NaN.")
    minimum = _pair("minimum", binary, "The smaller of two elements; NaN if one of them is NaN.")
    eq = _pair("eq", binary, "``self == other`` for each element, as bools.")
    ne = _pair("ne", binary, "``self != other`` for each element, as bools.")
    lt = _pair("lt", binary, "``self < other`` for each element, as bools.")
    le = _pair("le", binary, "``self <= other`` for each element, as bools.")
    gt = _pair("gt", binary, "``self > other`` for each element, as bools.")
    ge = _pair("ge", binary, "``self >= other`` for each element, as bools.")
    logical_and = _pair("logical_and", logical, "Whether neither of two elements is 0.")
    logical_or = _pair("logical_or", logical, "Whether at least one of two elements is not 0.")
    logical_xor = _pair("logical_xor", logical, "Whether exactly one of two elements is not 0.")
    bitwise_and = _pair("bitwise_and", bitwise, "``self & other``, of bools or integers.")
    bitwise_or = _pair("bitwise_or", bitwise, "``self | other``, of bools or integers.")
    bitwise_xor = _pair("bitwise_xor", bitwise, "``self ^ other``, of bools or integers.")

    def logical_not(self) -> Self:
        """Whether each element is 0."""
        return binary("eq", self, False if self.dtype.kind == "b" else 0)

    def bitwise_not(self) -> Self:
        """``~self``: every bit of an integer is inverted; a bool is negated."""
        return inverted(self)

    def where(self, condition: Operand, other: Operand) -> Self:
        """``self`` where ``condition``, a bool tensor, is true, else ``other``; the three broadcast.

        Examples
        --------
        >>> x = fc.tensor([-1.0, 2.0])
        >>> x.where(x > 0, 0)
        tensor([0., 2.])
        """
        return where(condition, self, other)

    def addcmul(self, tensor1: Operand, tensor2: Operand, *, value: float = 1) -> Self:
        """``self + value * tensor1 * tensor2``, in one pass."""
        return add_product("addcmul", "addcmul", self, tensor1, tensor2, value)

    def addcdiv(self, tensor1: Operand, tensor2: Operand, *, value: float = 1) -> Self:
        """``self + value * tensor1 / tensor2``, in one pass.

        Raises
        ------
        TypeError
            If none of the three holds floats.
        """
        operands = (self, argument("addcdiv", "tensor1", tensor1), argument("addcdiv", "tensor2", tensor2))
        floats = any(v.dtype.kind == "f" for v in operands)
        check(floats, "addcdiv", "expected floats; convert one tensor with .astype('float32')", TypeError)
        return add_product("addcdiv", "addcdiv", *operands, value)

    def lerp(self, end: Operand, weight: Operand) -> Self:
        """``self + weight * (end - self)`` of floats: ``self`` for the weight 0, ``end`` for the weight 1."""
        return Lerp.apply(self, argument("lerp", "end", end), weight)

    def isclose(
        self, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> Self:
        """Whether ``|self - other| <= atol + rtol * |other|``, for each element.

        Parameters
        ----------
        other : Tensor, array or number
        rtol, atol : float
            At least 0. Infinity is close to itself only.
        equal_nan : bool
            Whether NaN is close to NaN.
        """
        rtol, atol = number("isclose", "rtol", rtol, 0), number("isclose", "atol", atol, 0)
        a, b = detach(self), detach(argument("isclose", "other", other))
        if a.dtype.kind != "f" and b.dtype.kind != "f":
            a, b = astype(a, "float64"), astype(b, "float64")
        error = Unary.apply(binary("sub", a, b), name="abs")
        allowed = binary("add", binary("mul", Unary.apply(b, name="abs"), rtol), atol)
        near = bitwise("bitwise_and", binary("le", error, allowed), Unary.apply(error, name="isfinite"))
        close = bitwise("bitwise_or", near, binary("eq", a, b))
        if equal_nan:
            both = bitwise("bitwise_and", *(Unary.apply(v, name="isnan") for v in (a, b)))
            close = bitwise("bitwise_or", close, both)
        return close

    def allclose(
        self, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> bool:
        """Whether all elements are close, as :meth:`isclose` defines it; a Python bool, not a tensor.

        Examples
        --------
        >>> fc.ones(2).allclose(fc.ones(2) + 1e-7)
        True
        """
        return _all(self.isclose(other, rtol, atol, equal_nan))

    def equal(self, other: Operand) -> bool:
        """Whether both have the same shape and equal elements; a Python bool, not a tensor."""
        second = argument("equal", "other", other)
        return self.shape == second.shape and _all(binary("eq", self, second))


def _all(x: Variable) -> bool:
    """Whether all elements of a tensor of bools are true."""
    count = x.engine.reduce_fwd("sum", x.array, tuple(range(x.ndim)), False)
    return int(x.engine.to_host(count)) == x.array.size
