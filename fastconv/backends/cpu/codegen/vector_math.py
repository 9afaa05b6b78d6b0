"""Scalar functions for kernels, written so that a loop over them becomes vector code.

Numba's own ``exp``, ``tanh`` and ``erfc`` are calls into the C library, one element at a time. In float32 the
ones here are polynomials (minimax fits) without branches; float64 keeps the library, whose precision no short
polynomial reaches.

They are compiled as overloads and not by ``body``. ``body`` sets the flag "reassoc", which allows the
compiler to add up the two parts of a constant that reduce the range of an argument.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastconv.backends.common.unary import CUBIC, CUBIC_SLOPE, INVERSE_ROOT_2PI, ROOT_8_OVER_PI

F, INT = np.float32, np.int32
# forceinline: a loop with a call does not become vector code
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
_LOG2_E = F(1.4426950408889634)
_INFINITY = F(np.inf)
_LN2_HIGH, _LN2_LOW = F(0.693359375), F(-2.1219444e-4)  # n * high is exact


def _by_dtype(single, double):
    """A function of one number ``x`` for use in kernels: ``single`` for float32, ``double`` for float64."""

    def function(x):
        return double(x)

    overload(function, jit_options=_OPTIONS)(lambda x: {types.float32: single, types.float64: double}.get(x))
    return function


def minus_both(x, a, b):
    """``(x - a) - b`` in this order, because ``a + b`` would lose ``b`` if ``a`` is large."""
    return x - a - b


overload(minus_both, jit_options=_OPTIONS)(lambda x, a, b: lambda x, a, b: x - a - b)


def select(condition, a, b):
    """``a`` where the condition holds, else ``b``; both are computed, so there is no branch."""
    return a if condition else b


overload(select, jit_options=_OPTIONS)(lambda condition, a, b: select)


def _exp_near_zero32(x):
    """``exp(x)`` for ``|x| <= ln(2) / 2``."""
    p = F(1.3813140103593469e-3)
    p = p * x + F(8.36941972374916e-3)
    p = p * x + F(4.166845604777336e-2)
    p = p * x + F(1.6666515171527863e-1)
    p = p * x + F(4.999999403953552e-1)
    return p * (x * x) + x + F(1)


_exp_near_zero = _by_dtype(_exp_near_zero32, None)


def _exp32(x):
    """``2**n * exp(r)`` with ``n = round(x / ln 2)`` and ``|r| <= ln(2) / 2``."""
    x = F(89) if x > F(89) else x  # the result is infinity in both cases; NaN passes
    x = F(-104) if x < F(-104) else x  # the result is zero in both cases
    n = np.rint(x * _LOG2_E)
    p = _exp_near_zero(x - n * _LN2_HIGH - n * _LN2_LOW)
    k = INT(n)  # 2**n as two factors made of exponent bits, because n may be larger than an exponent
    half = k >> INT(1)
    low = INT((half + INT(127)) << INT(23)).view(np.float32)
    high = INT((k - half + INT(127)) << INT(23)).view(np.float32)
    return p * low * high


def _one_plus_exp32(x):
    """``1 + exp(x)``. Tiny powers do not change it, so ``2**n`` is one factor.

    2 is another, because n may be 128.
    """
    x = F(89) if x > F(89) else x
    x = F(-86) if x < F(-86) else x
    n = np.rint(x * _LOG2_E)
    p = _exp_near_zero(x - n * _LN2_HIGH - n * _LN2_LOW)
    return F(1) + (p + p) * INT((INT(n) + INT(126)) << INT(23)).view(np.float32)


exp = _by_dtype(_exp32, lambda x: math.exp(x))
one_plus_exp = _by_dtype(_one_plus_exp32, lambda x: 1.0 + math.exp(x))


def _tanh32(x):
    z = x * x
    p = F(-5.648296792060137e-3)
    p = p * z + F(2.0589806139469147e-2)
    p = p * z + F(-5.3725119680166245e-2)
    p = p * z + F(1.3331274688243866e-1)
    p = p * z + F(-3.3333274722099304e-1)
    near_zero = x + x * (z * p)
    far = F(1) - F(2) / one_plus_exp(F(2) * abs(x))
    return near_zero if z < F(0.39) else (far if x > F(0) else -far)


def _normal_cdf32(x):
    """The left tail is ``exp(-x^2 / 2)`` times a polynomial in ``1 / (1 + |x| / 4)``, about the middle of its
    range."""
    t = F(1) / (F(1) + F(0.25) * abs(x)) - F(0.6162790697674418)
    p = F(0.034800123423337936)
    p = p * t + F(-0.007775184232741594)
    p = p * t + F(-0.10831620544195175)
    p = p * t + F(-0.04827697575092316)
    p = p * t + F(0.26749756932258606)
    p = p * t + F(0.6533840298652649)
    p = p * t + F(0.8405451774597168)
    p = p * t + F(0.7420151829719543)
    p = p * t + F(0.48312270641326904)
    p = p * t + F(0.1417628675699234)
    tail = p * exp(F(-0.5) * x * x)
    return F(1) - tail if x > F(0) else tail


tanh = _by_dtype(_tanh32, lambda x: math.tanh(x))
normal_cdf = _by_dtype(_normal_cdf32, lambda x: 0.5 * math.erfc(x * -math.sqrt(0.5)))

expm1 = _by_dtype(lambda x: math.expm1(x), lambda x: math.expm1(x))
log = _by_dtype(lambda x: math.log(x), lambda x: math.log(x))
log1p = _by_dtype(lambda x: math.log1p(x), lambda x: math.log1p(x))
log2 = _by_dtype(lambda x: np.log2(x), lambda x: np.log2(x))
log10 = _by_dtype(lambda x: math.log10(x), lambda x: math.log10(x))
sin = _by_dtype(lambda x: math.sin(x), lambda x: math.sin(x))
cos = _by_dtype(lambda x: math.cos(x), lambda x: math.cos(x))
erf = _by_dtype(lambda x: math.erf(x), lambda x: math.erf(x))
softplus = _by_dtype(
    lambda x: max(x, F(0)) + log1p(exp(-abs(x))), lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x)))
)
rsqrt = _by_dtype(lambda x: F(1) / np.sqrt(x), lambda x: 1.0 / np.sqrt(x))


def quotient(a, b):
    """``a / b``, correctly rounded: with the flags of ``body`` it may become a product with ``1 / b``."""
    return a / b


overload(quotient, jit_options=_OPTIONS)(lambda a, b: lambda a, b: a / b)

# x ** -0.75. With the flags of ``body`` the compiler would refine an estimate of 1 / sqrt, and infinity would
# become NaN.
inverse_power_3_4 = _by_dtype(
    lambda x: F(1) / (np.sqrt(x) * np.sqrt(np.sqrt(x))), lambda x: 1.0 / (np.sqrt(x) * np.sqrt(np.sqrt(x)))
)


def _activations(T):
    """The parts of activations and their derivatives, with constants of type ``T``.

    In a kernel a Python number would make float64 of float32.
    """
    one, half = T(1), T(0.5)
    inverse_root_2pi, root_8_over_pi = T(INVERSE_ROOT_2PI), T(ROOT_8_OVER_PI)
    cubic, cubic3 = T(CUBIC), T(CUBIC_SLOPE)

    def sigmoid(x):
        return one / one_plus_exp(-x)

    def silu_slope(x):
        s = one / one_plus_exp(-x)
        return s * (one + x * (one - s))

    def gelu_slope(x):
        return normal_cdf(x) + x * exp(-half * x * x) * inverse_root_2pi

    def gelu_tanh_gate(x):  # (1 + tanh(u)) / 2 = sigmoid(2 u), without its cancellation
        return one / one_plus_exp(-root_8_over_pi * (x + cubic * x * x * x))

    def gelu_tanh_slope(x):
        s = one / one_plus_exp(-root_8_over_pi * (x + cubic * x * x * x))
        return s + s * x * (one - s) * root_8_over_pi * (one + cubic3 * x * x)

    return sigmoid, silu_slope, gelu_slope, gelu_tanh_gate, gelu_tanh_slope


sigmoid, silu_slope, gelu_slope, gelu_tanh_gate, gelu_tanh_slope = map(
    _by_dtype, _activations(np.float32), _activations(np.float64)
)

#: The functions that formulas of ``common/unary.py`` take from here, under their own names.
FUNCTIONS = (
    *("exp", "expm1", "log", "log1p", "log2", "log10", "rsqrt", "sin", "cos", "tanh", "erf", "quotient"),
    *("sigmoid", "softplus", "normal_cdf", "gelu_tanh_gate"),
)
