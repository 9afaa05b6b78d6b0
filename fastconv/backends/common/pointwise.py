"""The ops of two operands, which all engines, the tape, ``warmup`` and the tests read."""

from __future__ import annotations

from collections.abc import Callable

#: Binary ops that are operators of Python, and so of arrays and of numbers in kernels.
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
#: The larger and the smaller of two numbers, in kernels: NaN if one of them is NaN.
EXTREMA: dict[str, Callable] = {
    "maximum": lambda a, b: a if (a >= b) | (a != a) else b,
    "minimum": lambda a, b: a if (a <= b) | (a != a) else b,
}
#: The formulas of binary ops in kernels; those of pow, which need more than one line, are each engine's own.
BINARY_FORMULAS = {**OPERATORS, **EXTREMA}
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")  # these give bool
#: All binary ops. pow_by_base and pow_by_exponent are the derivatives of pow; each engine has its own three.
BINARY = (
    *("add", "sub", "mul", "div", "pow", "pow_by_base", "pow_by_exponent", "maximum", "minimum"),
    *COMPARISONS,
)
