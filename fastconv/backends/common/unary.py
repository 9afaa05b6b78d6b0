"""The ops of one operand: a table with a row per op, which all engines, the tape, ``warmup`` and tests use.

A row holds the formulas of an op and of its gradient, written with the scalar functions of an engine
(:class:`Scalars`), the op's name in ONNX, and the line that describes it to users. The compiled engines turn
a formula into the loop of a kernel; the reference applies it to whole arrays. So a new op that uses existing
functions is one row in this file. An op that needs another function also needs a field of :class:`Scalars`,
and its version in each engine.

Constants have the type of the elements (``f.real(1)``), because in a kernel a bare ``0.5`` is a float64 and
would turn float32 into float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, pi
from math import log as log_
from math import sqrt as sqrt_
from typing import NamedTuple

# The constants of GELU: the factor of the normal density, and the constants of GELU's approximation by tanh,
# ``x * sigmoid(ROOT_8_OVER_PI * (x + CUBIC * x^3))`` (Hendrycks, Gimpel: Gaussian error linear units, 2016).
INVERSE_ROOT_2PI = 1 / sqrt_(2 * pi)
ROOT_8_OVER_PI = sqrt_(8 / pi)
CUBIC, CUBIC_SLOPE = 0.044715, 3 * 0.044715
# The constants of SELU, with which layers keep zero mean and unit variance (Klambauer et al.:
# Self-normalizing neural networks, 2017)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class Scalars(NamedTuple):
    """The functions of an engine that the formulas use, for one type of element.

    Some functions, such as the gradient of GELU, are here because an engine needs its own version for speed
    or accuracy.
    """

    body: Callable  # compiles a function that formulas call
    real: Callable  # number -> constant of the type of the elements
    select: Callable  # condition, a, b -> a where the condition holds, else b
    sign: Callable  # -1, 0 or 1; NaN gives NaN
    exp: Callable
    expm1: Callable
    log: Callable
    log1p: Callable
    log2: Callable
    log10: Callable
    sqrt: Callable
    rsqrt: Callable
    sin: Callable
    cos: Callable
    tanh: Callable
    erf: Callable
    floor: Callable
    ceil: Callable
    trunc: Callable
    rint: Callable  # to the nearest integer, halves to the even one
    quotient: Callable  # a / b, correctly rounded
    power: Callable  # x, p
    power_bwd: Callable  # g, x, p -> g times the derivative of power in x
    relu: Callable  # the larger of x and 0; NaN gives NaN
    sigmoid: Callable
    softplus: Callable  # log(1 + exp(x)), without overflow
    normal_cdf: Callable  # distribution function of the standard normal
    gelu_tanh_gate: Callable  # the factor that gelu_tanh multiplies x by
    gelu_bwd: Callable  # g, x -> g times the derivative
    gelu_tanh_bwd: Callable
    silu_bwd: Callable


class Unary(NamedTuple):
    """An op of one operand ``x`` and at most two numbers, ``p`` and ``q``.

    Attributes
    ----------
    saves : str
        What the gradient needs: the input ("x"), the output ("y") or nothing ("").
    forward : (x, p, q) -> y
    backward : (g, saved, p, q) -> gradient of x, where g is the gradient of y
        ``saved`` is the input or output, as ``saves`` says. None if the gradient is zero or does not exist.
    doc : str
        One line that says what the op does; the docstring of the functions that are made from the row.
    onnx : str or None
        The ONNX operator that computes it; None if there is none.
    numbers : tuple of float
        Usual values of ``p`` and ``q``, for warmup and tests.
    kind : str
        What happens to integers. "float": they are computed in float32. "same": the results are integers.
        "copy": the op returns them unchanged. "bool": the results are bools.
    """

    saves: str
    forward: Callable
    backward: Callable | None
    doc: str
    onnx: str | None = None
    numbers: tuple[float, ...] = ()
    kind: str = "float"


def unary(f: Scalars) -> dict[str, Unary]:
    """The rows of the unary ops, written with the functions ``f`` of an engine."""
    zero, half, one, two, three, six = map(f.real, (0, 0.5, 1, 2, 3, 6))
    infinity, far = f.real(inf), f.real(20)
    ln_2, ln_10, erf_slope = f.real(log_(2)), f.real(log_(10)), f.real(2 / sqrt_(pi))
    selu_alpha, selu_scale, selu_both = map(f.real, (SELU_ALPHA, SELU_SCALE, SELU_ALPHA * SELU_SCALE))
    # Names of their own, because Numba reads no attributes of a captured tuple.
    select, sign, exp, expm1, log, log1p, log2, log10 = f[2:10]
    sqrt, rsqrt, sin, cos, tanh, erf, floor, ceil, trunc, rint, quotient = f[10:21]
    power, power_bwd, relu, sigmoid, softplus, normal_cdf = f[21:27]
    gelu_tanh_gate, gelu_bwd, gelu_tanh_bwd, silu_bwd = f[27:]

    @f.body
    def clamp(x, low, high):  # NaN gives NaN; if low > high, the result is high
        x = select(x < low, low, x)
        return select(x > high, high, x)

    @f.body
    def mish_gate(x):  # tanh(softplus(x)), from one exponential and without cancellation
        e = exp(select(x > far, far, x))  # beyond far, the result is 1
        n = e * (e + two)
        return n / (n + two)

    @f.body
    def mish_slope(x):
        e = exp(select(x > far, far, x))
        n = e * (e + two)
        gate = n / (n + two)
        return select(x > far, one, gate + x * (e / (e + one)) * (gate + one) * (two / (n + two)))

    return {
        "neg": Unary(
            "",
            lambda x, p, q: -x,
            lambda g, _, p, q: -g,
            "The elements with the opposite sign.",
            "Neg",
            kind="same",
        ),
        "abs": Unary(
            "x",
            lambda x, p, q: abs(x),
            lambda g, x, p, q: g * sign(x),
            "Absolute values.",
            "Abs",
            kind="same",
        ),
        "sign": Unary(
            "",
            lambda x, p, q: select(x == x, sign(x), zero),
            None,
            "-1, 0 or 1, the sign of each element; 0 for NaN.",
            "Sign",
            kind="same",
        ),
        "floor": Unary(
            "",
            lambda x, p, q: floor(x),
            None,
            "The largest integer that is not larger than the element.",
            "Floor",
            kind="copy",
        ),
        "ceil": Unary(
            "",
            lambda x, p, q: ceil(x),
            None,
            "The smallest integer that is not smaller than the element.",
            "Ceil",
            kind="copy",
        ),
        "trunc": Unary(
            "", lambda x, p, q: trunc(x), None, "Each element without its fraction.", None, kind="copy"
        ),
        "round": Unary(
            "",
            lambda x, p, q: rint(x),
            None,
            "The integer nearest to each element; halves are rounded to the even integer.",
            "Round",
            kind="copy",
        ),
        "round_decimals": Unary(
            "",
            lambda x, p, q: quotient(rint(quotient(x * p, q)) * q, p),
            None,
            "The nearest multiple of ``q / p``; ``p`` or ``q`` is 1.",
            None,
            (100.0, 1.0),
        ),
        "isnan": Unary(
            "", lambda x, p, q: x != x, None, "Whether each element is NaN.", "IsNaN", kind="bool"
        ),
        "isinf": Unary(
            "",
            lambda x, p, q: abs(x) == infinity,
            None,
            "Whether each element is infinite.",
            "IsInf",
            kind="bool",
        ),
        "isfinite": Unary(
            "",
            lambda x, p, q: abs(x) < infinity,
            None,
            "Whether each element is a number, not NaN and not infinite.",
            None,
            kind="bool",
        ),
        "exp": Unary(
            "y", lambda x, p, q: exp(x), lambda g, y, p, q: g * y, "The exponential of each element.", "Exp"
        ),
        "expm1": Unary(
            "x",
            lambda x, p, q: expm1(x),
            lambda g, x, p, q: g * exp(x),
            "``exp(x) - 1`` of each element, exact where ``x`` is small.",
        ),
        "log": Unary(
            "x",
            lambda x, p, q: log(x),
            lambda g, x, p, q: g / x,
            "The natural logarithm of each element.",
            "Log",
        ),
        "log1p": Unary(
            "x",
            lambda x, p, q: log1p(x),
            lambda g, x, p, q: g / (x + one),
            "``log(1 + x)`` of each element, exact where ``x`` is small.",
        ),
        "log2": Unary(
            "x",
            lambda x, p, q: log2(x),
            lambda g, x, p, q: g / (x * ln_2),
            "The logarithm to base 2 of each element.",
        ),
        "log10": Unary(
            "x",
            lambda x, p, q: log10(x),
            lambda g, x, p, q: g / (x * ln_10),
            "The logarithm to base 10 of each element.",
        ),
        "sqrt": Unary(
            "y",
            lambda x, p, q: sqrt(x),
            lambda g, y, p, q: g / (y + y),
            "The square root of each element.",
            "Sqrt",
        ),
        "rsqrt": Unary(
            "y",
            lambda x, p, q: rsqrt(x),
            lambda g, y, p, q: -half * g * (y * y * y),
            "``1 / sqrt(x)`` of each element.",
        ),
        "reciprocal": Unary(
            "y",
            lambda x, p, q: one / x,
            lambda g, y, p, q: -g * (y * y),
            "``1 / x`` of each element.",
            "Reciprocal",
        ),
        "sin": Unary(
            "x", lambda x, p, q: sin(x), lambda g, x, p, q: g * cos(x), "The sine of each element.", "Sin"
        ),
        "cos": Unary(
            "x", lambda x, p, q: cos(x), lambda g, x, p, q: -g * sin(x), "The cosine of each element.", "Cos"
        ),
        "tanh": Unary(
            "y",
            lambda x, p, q: tanh(x),
            lambda g, y, p, q: g * (one - y * y),
            "The hyperbolic tangent of each element.",
            "Tanh",
        ),
        "erf": Unary(
            "x",
            lambda x, p, q: erf(x),
            lambda g, x, p, q: g * erf_slope * exp(-x * x),
            "The error function of each element.",
            "Erf",
        ),
        "pow": Unary(
            "x",
            lambda x, p, q: power(x, p),
            lambda g, x, p, q: power_bwd(g, x, p),
            "``x ** p`` of each element.",
            "Pow",
            (2.0,),
        ),
        "clamp": Unary(
            "x",
            lambda x, p, q: clamp(x, p, q),
            lambda g, x, p, q: select((x >= p) & (x <= q), g, zero),
            "Elements below ``p`` become ``p``, above ``q`` they become ``q``.",
            "Clip",
            (-0.5, 1.5),
        ),
        "relu": Unary(
            "y",
            lambda x, p, q: relu(x),
            lambda g, y, p, q: select(y <= zero, zero, g),
            "The elements, with negative ones replaced by 0.",
            "Relu",
            kind="same",
        ),
        "leaky_relu": Unary(
            "x",
            lambda x, p, q: select(x > zero, x, x * p),
            lambda g, x, p, q: select(x > zero, g, g * p),
            "``x`` where positive, else ``p * x``.",
            "LeakyRelu",
            (0.01,),
        ),
        "hardtanh": Unary(
            "x",
            lambda x, p, q: clamp(x, p, q),
            lambda g, x, p, q: select((x <= p) | (x >= q), zero, g),
            "As ``clamp``, but the gradient at the bounds is 0.",
            "Clip",
            (-1.0, 1.0),
        ),
        "hardsigmoid": Unary(
            "x",
            lambda x, p, q: clamp(x + three, zero, six) / six,
            lambda g, x, p, q: select((x > -three) & (x < three), g / six, zero),
            "``x / 6 + 1 / 2``, limited to the range 0 to 1.",
            "HardSigmoid",
        ),
        "hardswish": Unary(
            "x",
            lambda x, p, q: x * clamp(x + three, zero, six) / six,
            lambda g, x, p, q: select(x <= -three, zero, select(x < three, g * (x / three + half), g)),
            "``x * hardsigmoid(x)``.",
            "HardSwish",
        ),
        "elu": Unary(
            "x",
            lambda x, p, q: select(x > zero, x, p * expm1(x)),
            lambda g, x, p, q: select(x > zero, g, g * p * exp(x)),
            "``x`` where positive, else ``p * (exp(x) - 1)``.",
            "Elu",
            (0.7,),
        ),
        "selu": Unary(
            "x",
            lambda x, p, q: select(x > zero, x * selu_scale, selu_both * expm1(x)),
            lambda g, x, p, q: select(x > zero, g * selu_scale, g * selu_both * exp(x)),
            "``elu`` with the two constants that keep mean and variance.",
            "Selu",
        ),
        "celu": Unary(
            "x",
            lambda x, p, q: select(x > zero, x, p * expm1(x / p)),
            lambda g, x, p, q: select(x > zero, g, g * exp(x / p)),
            "``x`` where positive, else ``p * (exp(x / p) - 1)``.",
            "Celu",
            (0.7,),
        ),
        "sigmoid": Unary(
            "y",
            lambda x, p, q: sigmoid(x),
            lambda g, y, p, q: g * y * (one - y),
            "``1 / (1 + exp(-x))`` of each element.",
            "Sigmoid",
        ),
        "logsigmoid": Unary(
            "x",
            lambda x, p, q: -softplus(-x),
            lambda g, x, p, q: g * sigmoid(-x),
            "The logarithm of ``sigmoid(x)``.",
        ),
        "softplus": Unary(
            "x",
            lambda x, p, q: select(x * p > q, x, softplus(x * p) / p),
            lambda g, x, p, q: select(x * p > q, g, g * sigmoid(x * p)),
            "``log(1 + exp(p * x)) / p``; ``x`` where ``p * x > q``.",
            "Softplus",
            (1.5, 20.0),
        ),
        "softsign": Unary(
            "x",
            lambda x, p, q: x / (one + abs(x)),
            lambda g, x, p, q: g / ((one + abs(x)) * (one + abs(x))),
            "``x / (1 + abs(x))``.",
            "Softsign",
        ),
        "hardshrink": Unary(
            "x",
            lambda x, p, q: select((x >= -p) & (x <= p), zero, x),
            lambda g, x, p, q: select((x >= -p) & (x <= p), zero, g),
            "0 between ``-p`` and ``p``, else ``x``.",
            "Shrink",
            (0.5,),
        ),
        "softshrink": Unary(
            "x",
            lambda x, p, q: x - clamp(x, -p, p),
            lambda g, x, p, q: select((x >= -p) & (x <= p), zero, g),
            "0 between ``-p`` and ``p``, else ``x`` moved towards 0 by ``p``.",
            "Shrink",
            (0.5,),
        ),
        "tanhshrink": Unary(
            "x", lambda x, p, q: x - tanh(x), lambda g, x, p, q: g * (tanh(x) * tanh(x)), "``x - tanh(x)``."
        ),
        "threshold": Unary(
            "x",
            lambda x, p, q: select(x <= p, q, x),
            lambda g, x, p, q: select(x <= p, zero, g),
            "``x`` where larger than ``p``, else ``q``.",
            None,
            (0.1, 2.0),
        ),
        "gelu": Unary(
            "x",
            lambda x, p, q: x * normal_cdf(x),
            lambda g, x, p, q: gelu_bwd(g, x),
            "``x * Phi(x)``, where ``Phi`` is the distribution function of the standard normal distribution.",
            "Gelu",
        ),
        "gelu_tanh": Unary(
            "x",
            lambda x, p, q: x * gelu_tanh_gate(x),
            lambda g, x, p, q: gelu_tanh_bwd(g, x),
            "``gelu``, approximated by a hyperbolic tangent.",
            "Gelu",
        ),
        "silu": Unary(
            "x",
            lambda x, p, q: x * sigmoid(x),
            lambda g, x, p, q: silu_bwd(g, x),
            "``x * sigmoid(x)``.",
            "Swish",
        ),
        "mish": Unary(
            "x",
            lambda x, p, q: select(x > far, x, x * mish_gate(x)),
            lambda g, x, p, q: g * mish_slope(x),
            "``x * tanh(softplus(x))``.",
            "Mish",
        ),
    }


#: Unary op -> its row, for code that needs the fields other than the formulas; these cannot be called.
UNARY: dict[str, Unary] = unary(
    Scalars(*[lambda *_: None] * len(Scalars._fields))._replace(body=lambda function: function)
)
