"""Operators that compute each element on its own: arithmetic, comparisons, logic."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...functions import of_methods
from ...tensor import Tensor
from ..node import Node, Operator, row
from ..package import DTYPES, type_name

#: Bits of the unsigned integers that a wider type stands in for (``DTYPES``).
UNSIGNED = {4: 16, 12: 32}


# ------------------------------------------------------------------------------------------ one operand
def unary(compute: Callable[[Tensor], Tensor]) -> Operator:
    """The row of an operator of one operand without attributes."""

    def function(node: Node, x: Tensor) -> Tensor:
        return compute(x)

    return row(function)


def is_inf(node: Node, x: Tensor) -> Tensor:
    """IsInf."""
    above, below = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if above and below:
        return x.isinf()
    return x == (math.inf if above else -math.inf) if above or below else x != x.isnan().where(x, x)


def cast(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    """Cast and CastLike; 16-bit floats become float32."""
    to = node.get("to")
    if to is None:
        assert like is not None
        return x.astype(like.dtype)
    node.check(to in DTYPES, f"numbers of type {type_name(to)} are not supported", TypeError)
    if to in UNSIGNED:
        return x.astype(np.int64).bitwise_and((1 << UNSIGNED[to]) - 1).astype(DTYPES[to])
    return x if x.dtype == DTYPES[to] else x.astype(DTYPES[to])


# ------------------------------------------------------------------------------------------ two operands
def binary(compute: Callable[[Any, Any], Any]) -> Operator:
    """The row of an operator of two operands that broadcast."""

    def function(node: Node, a: Any, b: Any) -> Any:
        return compute(a, b)

    return row(function, numbers=True)


def dtype_of(a: Any, b: Any) -> np.dtype[Any]:
    """The dtype of two operands, one of which may be a number."""
    return a.dtype if isinstance(a, Tensor) else b.dtype


def div(node: Node, a: Any, b: Any) -> Any:
    """Div; that of integers drops the fraction."""
    if dtype_of(a, b).kind == "f":
        return a / b
    return of_methods.div(a if isinstance(a, Tensor) else b * 0 + a, b, rounding_mode="trunc")


def power(node: Node, a: Any, b: Any) -> Any:
    """Pow, of the base's type."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.dtype == b.dtype:
        return a**b
    if a.dtype.kind == "f" or b.dtype.kind != "f":
        return a ** b.astype(a.dtype)
    return (a.astype(b.dtype) ** b).astype(a.dtype)


def mod(node: Node, a: Any, b: Any) -> Any:
    """Mod: with the sign of the divisor, or with ``fmod`` that of the dividend."""
    if not node.get("fmod", 0):
        return a % b
    return of_methods.fmod(a if isinstance(a, Tensor) else b * 0 + a, b)


# ------------------------------------------------------------------------------------------ several operands
def variadic(join: Callable[[Any, Any], Any]) -> Operator:
    """The row of an operator of any number of operands that broadcast."""

    def function(node: Node, *values: Any) -> Any:
        return reduce(join, values)

    return row(function, numbers=True)


def maximum(a: Any, b: Any) -> Tensor:
    """The larger elements; one operand may be a number."""
    return a.maximum(b) if isinstance(a, Tensor) else b.maximum(a)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller elements; one operand may be a number."""
    return a.minimum(b) if isinstance(a, Tensor) else b.minimum(a)


def mean(node: Node, *values: Any) -> Any:
    """Mean of the operands."""
    return reduce(lambda a, b: a + b, values) / len(values)


def where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Where."""
    return a.where(condition, b)


OPERATORS: dict[str, Operator] = {
    "Abs": unary(lambda x: x.abs()),
    "Add": binary(lambda a, b: a + b),
    "And": binary(lambda a, b: a & b),
    "BitwiseAnd": binary(lambda a, b: a & b),
    "BitwiseNot": unary(lambda x: ~x),
    "BitwiseOr": binary(lambda a, b: a | b),
    "BitwiseXor": binary(lambda a, b: a ^ b),
    "Cast": row(cast),
    "CastLike": row(cast),
    "Ceil": unary(lambda x: x.ceil()),
    "Cos": unary(lambda x: x.cos()),
    "Div": row(div, numbers=True),
    "Equal": binary(lambda a, b: a == b),
    "Erf": unary(lambda x: x.erf()),
    "Exp": unary(lambda x: x.exp()),
    "Floor": unary(lambda x: x.floor()),
    "Greater": binary(lambda a, b: a > b),
    "GreaterOrEqual": binary(lambda a, b: a >= b),
    "IsInf": row(is_inf),
    "IsNaN": unary(lambda x: x.isnan()),
    "Less": binary(lambda a, b: a < b),
    "LessOrEqual": binary(lambda a, b: a <= b),
    "Log": unary(lambda x: x.log()),
    "Max": variadic(maximum),
    "Mean": row(mean),
    "Min": variadic(minimum),
    "Mod": row(mod, numbers=True),
    "Mul": binary(lambda a, b: a * b),
    "Neg": unary(lambda x: -x),
    "Not": unary(lambda x: x.logical_not()),
    "Or": binary(lambda a, b: a | b),
    "Pow": row(power, numbers=True),
    "Reciprocal": unary(lambda x: x.reciprocal()),
    "Round": unary(lambda x: x.round()),
    "Sign": unary(lambda x: x.sign()),
    "Sin": unary(lambda x: x.sin()),
    "Sqrt": unary(lambda x: x.sqrt()),
    "Sub": binary(lambda a, b: a - b),
    "Sum": variadic(lambda a, b: a + b),
    "Where": row(where),
    "Xor": binary(lambda a, b: a ^ b),
}
