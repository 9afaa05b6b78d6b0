"""The ops of two and three operands: tables that all engines, the tape, ``warmup`` and the tests use.

A formula without branches can be applied to whole arrays and, in kernels, to numbers. For formulas with
branches, the reference engine has its own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Binary ops that are Python operators, so the formula works for arrays and for numbers in kernels.
OPERATORS: dict[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
#: Operators for bools and integers only.
BITWISE: dict[str, Callable] = {
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
}
#: The larger and the smaller of two numbers, in kernels: NaN if one of them is NaN.
EXTREMA: dict[str, Callable] = {
    "maximum": lambda a, b: a if (a >= b) | (a != a) else b,
    "minimum": lambda a, b: a if (a <= b) | (a != a) else b,
}
#: The formulas of binary ops in kernels. Each engine has its own functions for pow.
BINARY_FORMULAS = {**OPERATORS, **EXTREMA}
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")  # these give bool
DIVISIONS = ("floor_divide", "trunc_divide", "remainder", "fmod")
#: Activations with two operands; prelu_by_weight is the derivative of prelu with respect to its weight.
GATES = ("glu", "prelu", "prelu_by_weight")
#: All binary ops. pow_by_base and pow_by_exponent are the derivatives of pow; each engine has its own
#: functions for these three.
BINARY = (
    *("add", "sub", "mul", "div", "pow", "pow_by_base", "pow_by_exponent", "maximum", "minimum"),
    *COMPARISONS,
    *BITWISE,
    *DIVISIONS,
    *GATES,
)
#: The names that ONNX has for binary ops; ``fmod`` is Mod with fmod=1.
BINARY_ONNX = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "fmod": "Mod"},
    **{"maximum": "Max", "minimum": "Min", "eq": "Equal", "lt": "Less", "le": "LessOrEqual"},
    **{"gt": "Greater", "ge": "GreaterOrEqual", "prelu": "PRelu"},
    **{"bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor"},
}


def float_divisions(
    body: Callable, quotient: Callable, fmod: Callable, floor: Callable, trunc: Callable, zero: Any, one: Any
) -> dict[str, Callable]:
    """The formulas of :data:`DIVISIONS` for floats, in kernels.

    ``quotient`` is ``a / b`` correctly rounded, so that ``6 / 3`` is not below 2. ``fmod`` is exact;
    ``a - b * trunc(a / b)`` would not be.
    """
    half = one / (one + one)

    @body
    def remainder(a, b):
        rest = fmod(a, b)
        return rest + b if (rest != zero) & ((b < zero) != (rest < zero)) else rest

    @body
    def floor_divide(a, b):
        rest = fmod(a, b)
        whole = quotient(a - rest, b)  # nearly an integer
        whole = whole - one if (rest != zero) & ((b < zero) != (rest < zero)) else whole
        below = floor(whole)
        below = below + one if whole - below > half else below
        return quotient(a, b) if b == zero else below

    return {
        "floor_divide": floor_divide,
        "trunc_divide": body(lambda a, b: trunc(quotient(a, b))),
        "remainder": remainder,
        "fmod": fmod,
    }


def gates(select: Callable, sigmoid: Callable, zero: Any) -> dict[str, Callable]:
    """The formulas of :data:`GATES`, written with the functions of an engine."""
    return {
        "glu": lambda a, b: a * sigmoid(b),
        "prelu": lambda x, w: select(x > zero, x, x * w),
        "prelu_by_weight": lambda g, x: select(x > zero, zero, g * x),
    }


def ternary(body: Callable, select: Callable, sigmoid: Callable, zero: Any, one: Any) -> dict[str, Callable]:
    """The formulas of the ternary ops, ``(a, b, c, p) -> result`` with a number ``p``, written with the
    functions of an engine."""

    @body
    def slope(s):  # the derivative of the sigmoid, from its value s
        return s * (one - s)

    return {
        "where": lambda a, b, c, p: select(a, b, c),
        "addcmul": lambda a, b, c, p: a + p * b * c,
        "addcdiv": lambda a, b, c, p: a + p * b / c,
        # from a to b, and exact at both ends
        "lerp": lambda a, b, c, p: select(abs(c + c) < one, a + c * (b - a), b - (b - a) * (one - c)),
        "prelu_bwd": lambda g, x, w, p: select(x > zero, g, g * w),
        "glu_bwd": lambda g, a, b, p: g * a * slope(sigmoid(b)),  # with respect to the gate b
    }


TERNARY = ("where", "addcmul", "addcdiv", "lerp", "prelu_bwd", "glu_bwd")


def merged(shape, *strides) -> tuple[tuple[int, ...], ...]:
    """An equivalent shape and strides with as few axes as possible, but at least one.

    A loop over these visits the same elements in the same order. Extents of 1 are removed, and neighbouring
    axes are merged if the strides of all arrays in ``strides`` allow it.
    """
    axes = [(n, s) for n, *s in zip(shape, *strides) if n != 1]
    result: list[tuple] = []
    for n, s in axes:
        if result and all(outer == inner * n for outer, inner in zip(result[-1][1], s)):
            result[-1] = (result[-1][0] * n, s)
        else:
            result.append((n, s))
    result = result or [(1, [0] * len(strides))]
    return tuple(n for n, _ in result), *(tuple(s[k] for _, s in result) for k in range(len(strides)))
