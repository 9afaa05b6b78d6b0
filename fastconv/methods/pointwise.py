"""Methods that compute each element by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fastconv import backends
from fastconv.checks import check
from fastconv.ops import Unary
from fastconv.ops.pointwise import clamp, power
from fastconv.ops.reduce import given, softmax
from fastconv.typing import DType, Operand
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound=Variable)


def _row(name: str) -> Callable[[T], T]:
    """The method of an op without parameters; the row ``name`` in ``backends/common/unary.py`` defines it."""

    def method(self: T) -> T:
        return Unary.apply(self, name=name)

    method.__name__, method.__qualname__ = name, f"PointwiseMethods.{name}"
    method.__doc__ = backends.UNARY[name].doc
    return method


class PointwiseMethods(Variable):
    """Functions of each element."""

    __slots__ = ()

    abs = _row("abs")
    ceil = _row("ceil")
    cos = _row("cos")
    erf = _row("erf")
    exp = _row("exp")
    expm1 = _row("expm1")
    floor = _row("floor")
    isfinite = _row("isfinite")
    isinf = _row("isinf")
    isnan = _row("isnan")
    log = _row("log")
    log10 = _row("log10")
    log1p = _row("log1p")
    log2 = _row("log2")
    neg = _row("neg")
    reciprocal = _row("reciprocal")
    relu = _row("relu")
    rsqrt = _row("rsqrt")
    sigmoid = _row("sigmoid")
    sign = _row("sign")
    sin = _row("sin")
    sqrt = _row("sqrt")
    tanh = _row("tanh")
    trunc = _row("trunc")

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """Elements below ``min`` become ``min``, elements above ``max`` become ``max``; the bounds broadcast.

        Raises
        ------
        ValueError
            If both bounds are left out.

        Examples
        --------
        >>> fc.tensor([-2.0, 0.5, 3.0]).clamp(-1, 1)
        tensor([-1. ,  0.5,  1. ])
        """
        return clamp(self, min, max)

    clip = clamp

    def clamp_min(self, min: Operand) -> Self:
        """Elements below ``min`` become ``min``."""
        return clamp(self, min, None)

    def clamp_max(self, max: Operand) -> Self:
        """Elements above ``max`` become ``max``."""
        return clamp(self, None, max)

    def round(self, *, decimals: int = 0) -> Self:
        """Round to ``decimals`` digits after the decimal point; ties go to the even digit.

        Parameters
        ----------
        decimals : int
            A negative number ``-n`` rounds to a multiple of ``10 ** n``.

        Raises
        ------
        TypeError
            If ``decimals`` is not an int, or is not 0 for a tensor of integers.

        Examples
        --------
        >>> fc.tensor([0.5, 1.5, 2.3]).round()
        tensor([0., 2., 2.])
        """
        whole = isinstance(decimals, int) and not isinstance(decimals, bool)
        check(whole, "round", f"decimals must be an int, got {decimals!r:.60}", TypeError)
        if decimals == 0:
            return Unary.apply(self, name="round")
        check(
            self.dtype.kind == "f",
            "round",
            f"decimals are for floats, got {self.dtype}; convert it with .astype('float32')",
            TypeError,
        )
        powers = (10.0**decimals, 1.0) if decimals > 0 else (1.0, 10.0**-decimals)
        return Unary.apply(self, name="round_decimals", param=powers[0], param2=powers[1])

    def square(self) -> Self:
        """``self * self``."""
        return power(self, 2)

    def softmax(self, dim: int | None = None, dtype: DType | None = None, *, axis: int | None = None) -> Self:
        """``exp(self)`` scaled so that it sums to 1 along ``dim``; with ``dtype`` the input is cast first."""
        return softmax("softmax", self, given("softmax", dim, axis), dtype)

    def log_softmax(
        self, dim: int | None = None, dtype: DType | None = None, *, axis: int | None = None
    ) -> Self:
        """The logarithm of :meth:`softmax`, computed without loss of precision."""
        return softmax("log_softmax", self, given("log_softmax", dim, axis), dtype)
