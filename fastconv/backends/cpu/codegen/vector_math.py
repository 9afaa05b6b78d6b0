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


def _expm1_near_zero32(x):
    """``exp(x) - 1`` for ``|x| <= ln(2) / 2``."""
    p = F(1.3813140103593469e-3)
    p = p * x + F(8.36941972374916e-3)
    p = p * x + F(4.166845604777336e-2)
    p = p * x + F(1.6666515171527863e-1)
    p = p * x + F(4.999999403953552e-1)
    return p * (x * x) + x


_expm1_near_zero = _by_dtype(_expm1_near_zero32, None)


def _exp32(x):
    """``2**n * exp(r)`` with ``n = round(x / ln 2)`` and ``|r| <= ln(2) / 2``."""
    x = F(89) if x > F(89) else x  # the result is infinity in both cases; NaN passes
    x = F(-104) if x < F(-104) else x  # the result is zero in both cases
    n = np.rint(x * _LOG2_E)
    p = _expm1_near_zero(x - n * _LN2_HIGH - n * _LN2_LOW) + F(1)
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
    p = _expm1_near_zero(x - n * _LN2_HIGH - n * _LN2_LOW) + F(1)
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


# ------------------------------------------------------------------------------------------------- logarithms
# x = m * 2**e, with m between sqrt(1/2) and sqrt(2): log(x) = e * log(2) + log(m)
_SQRT_HALF = INT(np.float32(0.70710678).view(np.int32))
_EXPONENT = INT(-(1 << 23))  # the bits of sign and exponent
_SMALLEST, _2_TO_23 = F(2.0**-126), F(2.0**23)  # denormal numbers have no exponent of their own


def _exponent32(x):
    k = INT(F(select(x < _SMALLEST, x * _2_TO_23, x)).view(np.int32) - _SQRT_HALF)
    return F(INT(k >> INT(23))) - select(x < _SMALLEST, F(23), F(0))


def _log_of_mantissa32(x):
    bits = F(select(x < _SMALLEST, x * _2_TO_23, x)).view(np.int32)
    f = INT(bits - INT(INT(bits - _SQRT_HALF) & _EXPONENT)).view(np.float32) - F(1)
    p = F(0.06746601313352585)
    p = p * f + F(-0.11675640940666199)
    p = p * f + F(0.11888174712657928)
    p = p * f + F(-0.12405591458082199)
    p = p * f + F(0.14219550788402557)
    p = p * f + F(-0.1666799634695053)
    p = p * f + F(0.2000211924314499)
    p = p * f + F(-0.25000008940696716)
    p = p * f + F(0.3333331346511841)
    z = f * f
    return f + (p * (f * z) - F(0.5) * z)


_exponent, _log_of_mantissa = _by_dtype(_exponent32, None), _by_dtype(_log_of_mantissa32, None)


def _ends_of_log32(x, y):
    """``y``, the logarithm of a positive number ``x``, or what it is for other ``x``."""
    y = select(x < F(math.inf), y, x)  # else infinity or NaN
    return select(x <= F(0), select(x == F(0), F(-math.inf), F(math.nan)), y)


def _ends_of_log(x, y):
    return _ends_of_log32(x, y)


overload(_ends_of_log, jit_options=_OPTIONS)(lambda x, y: _ends_of_log32)

_LOG2_10_HIGH, _LOG2_10_LOW = F(0.301025390625), F(4.605038e-6)  # log10(2); e * high is exact


def _log32(x):
    e = _exponent(x)
    return _ends_of_log(x, e * _LN2_HIGH + (_log_of_mantissa(x) + e * _LN2_LOW))


def _log2_32(x):
    return _ends_of_log(x, _exponent(x) + _log_of_mantissa(x) * _LOG2_E)


def _log10_32(x):
    e = _exponent(x)
    return _ends_of_log(x, e * _LOG2_10_HIGH + (_log_of_mantissa(x) * F(0.4342944819) + e * _LOG2_10_LOW))


log = _by_dtype(_log32, lambda x: math.log(x))
log2 = _by_dtype(_log2_32, lambda x: np.log2(x))
log10 = _by_dtype(_log10_32, lambda x: math.log10(x))


def _log1p32(x):
    """``log(u) - ((u - 1) - x) / u``, where ``u`` is ``1 + x`` as it is rounded."""
    u = F(1) + x
    gained = minus_both(u, F(1), x) / u
    return log(u) - select((x > F(-1)) & (u < F(math.inf)), gained, F(0))


log1p = _by_dtype(_log1p32, lambda x: math.log1p(x))
softplus = _by_dtype(
    lambda x: (F(0) if x < F(0) else x) + log1p(exp(-abs(x))),
    lambda x: (0.0 if x < 0.0 else x) + math.log1p(math.exp(-abs(x))),
)


def _expm1_32(x):
    """``2**n * (exp(r) - 1) + (2**n - 1)``, with half of it in the powers, because n may be 128."""
    x = F(89) if x > F(89) else x
    x = F(-30) if x < F(-30) else x  # the result is -1 in both cases
    n = np.rint(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    power = INT((INT(n) + INT(126)) << INT(23)).view(np.float32)
    y = _expm1_near_zero(r) * power + (power - F(0.5))
    return y + y


expm1 = _by_dtype(_expm1_32, lambda x: math.expm1(x))


# --------------------------------------------------------------------------------------- sine, cosine and erf
_TWO_OVER_PI = 2 / math.pi
_HALF_PI_HIGH, _HALF_PI_LOW = 1.5707963267341256, 6.077100506506192e-11  # n * high is exact


def _quarters32(x):
    """The number of quarter turns in ``x``, modulo 4."""
    return INT(INT(np.rint(np.float64(x) * _TWO_OVER_PI)) & INT(3))


def _rest32(x):
    """``x`` without its quarter turns, in float64, where nothing cancels."""
    x = np.float64(x)
    n = np.rint(x * _TWO_OVER_PI)
    return F(x - n * _HALF_PI_HIGH - n * _HALF_PI_LOW)


def _sin_near_zero32(x):
    """``sin(x)`` for ``|x| <= pi / 4``."""
    z = x * x
    p = F(2.7183077691006474e-6)
    p = p * z + F(-1.983933470910415e-4)
    p = p * z + F(8.333329111337662e-3)
    p = p * z + F(-1.666666716337204e-1)
    return x + x * (z * p)


def _cos_near_zero32(x):
    z = x * x
    p = F(-2.7205717856304545e-7)
    p = p * z + F(2.4799459424684756e-5)
    p = p * z + F(-1.3888883404433727e-3)
    p = p * z + F(4.16666679084301e-2)
    return F(1) - (F(0.5) * z - z * (z * p))


_quarters, _rest, _sin_near_zero, _cos_near_zero = (
    _by_dtype(f, None) for f in (_quarters32, _rest32, _sin_near_zero32, _cos_near_zero32)
)


def _sin32(x):
    """For ``|x| <= 2**20``; beyond that, ``_rest`` loses digits."""
    q, r = _quarters(x), _rest(x)
    y = select((q & INT(1)) == INT(0), _sin_near_zero(r), _cos_near_zero(r))
    return select(q < INT(2), y, -y)


def _cos32(x):
    q, r = _quarters(x), _rest(x)
    y = select((q & INT(1)) == INT(0), _cos_near_zero(r), _sin_near_zero(r))
    return select((q == INT(1)) | (q == INT(2)), -y, y)


sin = _by_dtype(_sin32, lambda x: math.sin(x))
cos = _by_dtype(_cos32, lambda x: math.cos(x))


def _erf32(x):
    z = x * x
    p = F(-9.641516953706741e-6)
    p = p * z + F(1.1256948346272111e-4)
    p = p * z + F(-8.482828852720559e-4)
    p = p * z + F(5.220945458859205e-3)
    p = p * z + F(-2.68654003739357e-2)
    p = p * z + F(1.1283782124519348e-1)
    p = p * z + F(-3.7612637877464294e-1)
    p = p * z + F(0.128379225730896)
    far = F(1) - F(2) * normal_cdf(abs(x) * F(-1.4142135623730951))
    return select(z < F(1), x + x * p, select(x > F(0), far, -far))


erf = _by_dtype(_erf32, lambda x: math.erf(x))


# ------------------------------------------------------------------------------------------- roots, quotients
rsqrt = _by_dtype(lambda x: F(1) / np.sqrt(x), lambda x: 1.0 / np.sqrt(x))


def quotient(a, b):
    """``a / b``, correctly rounded: with the flags of ``body`` it may become a product with ``1 / b``."""
    return a / b


overload(quotient, jit_options=_OPTIONS)(lambda a, b: lambda a, b: a / b)


def _fmod_near32(a, b):
    """The remainder of the division, exact for ``|a| < 2**27 * |b|``.

    In float64 such a quotient is on the right side of the nearest integer, and its product with ``b``
    is exact.
    """
    x, y = np.float64(a), np.float64(b)
    return select(abs(a) < abs(b), a, F(x - np.trunc(x / y) * y))


def fmod_near(a, b):
    """:func:`fmod` of float32 as vector code, where ``|a| < 2**27 * |b|``."""
    return math.fmod(a, b)


def fmod(a, b):
    """The remainder of the division, exact."""
    return math.fmod(a, b)


overload(fmod_near, jit_options=_OPTIONS)(lambda a, b: _fmod_near32)
overload(fmod, jit_options=_OPTIONS)(lambda a, b: lambda a, b: np.fmod(a, b))

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
