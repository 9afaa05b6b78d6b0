"""The pointwise ops: one row per op, which all engines, the tape, ``warmup`` and the tests read.

A row holds the formula of an op and of its gradient, written in the scalar functions of an engine
(:class:`Scalars`). The compiled engines turn a formula into the loop of a kernel, the reference applies it to
whole arrays. So a new op that is made of known functions is one row here; one that needs a function of its
own adds a field to :class:`Scalars` and its version in each engine.

Constants have the type of the elements (``f.real(1)``), because in a kernel a bare ``0.5`` is a float64 and
would turn float32 into float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple

# The constants of GELU: its density, and those of its approximation by tanh (Hendrycks, Gimpel: Gaussian
# error linear units, 2016), ``x * sigmoid(ROOT_8_OVER_PI * (x + CUBIC * x^3))``.
INVERSE_ROOT_2PI = 1 / sqrt(2 * pi)
ROOT_8_OVER_PI = sqrt(8 / pi)
CUBIC, CUBIC_SLOPE = 0.044715, 3 * 0.044715


class Scalars(NamedTuple):
    """The functions that formulas are made of, as one engine has them for one type of element.

    An engine gives a function of its own where speed or accuracy asks for it, as in the gradients of GELU.
    """

    real: Callable  # number -> constant of the type of the elements
    select: Callable  # condition, a, b -> a where the condition holds, else b
    sign: Callable  # NaN passes
    exp: Callable
    log: Callable
    sqrt: Callable
    tanh: Callable
    power: Callable  # x, p
    power_bwd: Callable  # g, x, p -> g times the derivative of power in x
    relu: Callable  # the larger of x and 0; NaN passes
    sigmoid: Callable
    normal_cdf: Callable  # distribution function of the standard normal
    gelu_tanh_gate: Callable  # what gelu_tanh multiplies x by
    gelu_bwd: Callable  # g, x -> g times the derivative
    gelu_tanh_bwd: Callable
    silu_bwd: Callable


class Unary(NamedTuple):
    """An op of one operand ``x`` and at most one number ``p``.

    Attributes
    ----------
    saves : str
        What the gradient needs: the input ("x"), the output ("y") or nothing ("").
    forward : (x, p) -> y
    backward : (g, what is saved, p) -> gradient in x, where g is that in y
    number : float or None
        A usual value of ``p``, for warmup; None where the op has no number.
    """

    saves: str
    forward: Callable
    backward: Callable
    number: float | None = None


def unary(f: Scalars) -> dict[str, Unary]:
    """The rows of the unary ops, in the functions of an engine."""
    zero, one = f.real(0), f.real(1)
    # Names of their own, because Numba reads no attributes of a captured tuple.
    select, sign, exp, log, sqrt, tanh = f.select, f.sign, f.exp, f.log, f.sqrt, f.tanh
    power, power_bwd, relu, sigmoid, normal_cdf = f.power, f.power_bwd, f.relu, f.sigmoid, f.normal_cdf
    gelu_bwd, gelu_tanh_gate, gelu_tanh_bwd = f.gelu_bwd, f.gelu_tanh_gate, f.gelu_tanh_bwd
    silu_bwd = f.silu_bwd
    return {
        "neg": Unary("", lambda x, p: -x, lambda g, _, p: -g),
        "abs": Unary("x", lambda x, p: abs(x), lambda g, x, p: g * sign(x)),
        "exp": Unary("y", lambda x, p: exp(x), lambda g, y, p: g * y),
        "log": Unary("x", lambda x, p: log(x), lambda g, x, p: g / x),
        "sqrt": Unary("y", lambda x, p: sqrt(x), lambda g, y, p: g / (y + y)),
        "pow": Unary("x", lambda x, p: power(x, p), lambda g, x, p: power_bwd(g, x, p), 2.0),
        "relu": Unary("y", lambda x, p: relu(x), lambda g, y, p: select(y <= zero, zero, g)),
        "leaky_relu": Unary(
            "x",
            lambda x, p: select(x > zero, x, x * p),
            lambda g, x, p: select(x > zero, g, g * p),
            0.01,
        ),
        "sigmoid": Unary("y", lambda x, p: sigmoid(x), lambda g, y, p: g * y * (one - y)),
        "tanh": Unary("y", lambda x, p: tanh(x), lambda g, y, p: g * (one - y * y)),
        "gelu": Unary("x", lambda x, p: x * normal_cdf(x), lambda g, x, p: gelu_bwd(g, x)),
        "gelu_tanh": Unary("x", lambda x, p: x * gelu_tanh_gate(x), lambda g, x, p: gelu_tanh_bwd(g, x)),
        "silu": Unary("x", lambda x, p: x * sigmoid(x), lambda g, x, p: silu_bwd(g, x)),
    }


_ROWS = unary(Scalars(*[lambda *_: None] * len(Scalars._fields)))  # for what needs no formula
#: Unary op -> what its gradient needs: the input ("x"), the output ("y") or nothing ("").
UNARY: dict[str, str] = {name: row.saves for name, row in _ROWS.items()}
#: Unary op -> a usual value of its number, None where it has none.
NUMBERS: dict[str, float | None] = {name: row.number for name, row in _ROWS.items()}

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
