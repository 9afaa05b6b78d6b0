"""Elementwise ops, softmax and losses, dropout, and matrix products."""

import functools
import math

import numpy as np

from ..common import pair_loss, random_bits
from ..common.pointwise import BITWISE, OPERATORS, gates, ternary
from ..common.unary import CUBIC, CUBIC_SLOPE, ROOT_8_OVER_PI, Scalars, unary
from .reduce import reduce_fwd


def relu_bwd(gy, y):
    """``gy`` where the result ``y`` of relu is positive or NaN, else 0."""
    return np.where(y <= 0, gy.dtype.type(0), gy)


def sigmoid(x):
    e = np.exp(-np.abs(x))  # at most 1: no overflow on either side
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def normal_cdf(x):
    """Distribution function of the standard normal; 1 + erf would cancel in the left tail, erfc does not."""
    cdf = np.vectorize(lambda v: 0.5 * math.erfc(-v * math.sqrt(0.5)), otypes=[x.dtype])
    return cdf(x)


def _select(condition, a, b):
    """``np.where``; a number takes the type of the other."""
    if isinstance(a, (int, float)):
        a = b.dtype.type(a)
    elif isinstance(b, (int, float)):
        b = a.dtype.type(b)
    return np.where(condition, a, b)


def _gelu_bwd(gy, x):
    return gy * (normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _gelu_tanh_gate(x):
    """``(1 + tanh(u)) / 2`` is ``sigmoid(2 u)``, without its cancellation."""
    return sigmoid(ROOT_8_OVER_PI * (x + CUBIC * x * x * x))


def _gelu_tanh_bwd(gy, x):
    s = _gelu_tanh_gate(x)
    return gy * s * (1 + x * (1 - s) * ROOT_8_OVER_PI * (1 + CUBIC_SLOPE * x * x))


def _silu_bwd(gy, x):
    s = sigmoid(x)
    return gy * s * (1 + x * (1 - s))


def _sign(x):
    return x.copy() if x.dtype.kind == "b" else np.sign(x)


def _erf(x):
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


_UNARY = unary(
    Scalars(
        body=lambda function: function,
        real=lambda number: number,  # NumPy gives a Python number the type of the array beside it
        select=_select,
        sign=_sign,
        rsqrt=lambda x: 1 / np.sqrt(x),
        erf=_erf,
        quotient=np.divide,
        **{
            name: getattr(np, name)
            for name in (
                *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tanh"),
                *("floor", "ceil", "trunc", "rint"),
            )
        },
        power=np.power,
        power_bwd=lambda gy, x, p: gy * p * x ** (p - 1) if p else np.zeros_like(gy),
        relu=lambda x: np.maximum(x, 0),
        sigmoid=sigmoid,
        softplus=lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
        normal_cdf=normal_cdf,
        gelu_tanh_gate=_gelu_tanh_gate,
        gelu_bwd=_gelu_bwd,
        gelu_tanh_bwd=_gelu_tanh_bwd,
        silu_bwd=_silu_bwd,
    )
)


def _of_one_type(function):
    """Give both operands one type first; NumPy adapts a Python number in one function, not in several."""

    def run(a, b):
        dtype = np.result_type(a, b)
        return function(np.asarray(a, dtype), np.asarray(b, dtype))

    return run


@_of_one_type
def power(a, b):
    """``a ** b``; a negative integer power of an integer is its reciprocal without the fraction."""
    if a.dtype.kind == "f":
        return np.power(a, b)
    if a.dtype.kind == "b":
        return a >= b
    inverse = np.where(np.abs(a) == 1, np.power(a, b & 1), 0)
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0)))


@_of_one_type
def pow_by_base(a, b):
    """``d a^b / da``, 0 where the power does not depend on ``a``."""
    return np.where(b == 0, 0, b * np.power(a, b - 1))


@_of_one_type
def pow_by_exponent(a, b):
    """``d a^b / db``; of ``a = 0`` the limit, not ``0 * log(0)``."""
    return np.where((a == 0) & (b >= 0), 0, np.power(a, b) * np.log(a))


def _division(function):
    """A division as PyTorch defines it: an integer divided by zero is an error."""

    @_of_one_type
    def run(a, b):
        if a.dtype.kind != "f" and not np.all(b) and np.broadcast(a, b).size:
            raise ZeroDivisionError(f"{function.__name__}: an integer is divided by zero")
        return function(a, b)

    return run


@_division
def trunc_divide(a, b):
    """``a / b`` without its fraction; exact for integers."""
    return np.trunc(a / b) if a.dtype.kind == "f" else (a - np.fmod(a, b)) // b


_BINARY = {
    **OPERATORS,
    **BITWISE,
    **{name: _of_one_type(formula) for name, formula in gates(_select, sigmoid, 0).items()},
    "floor_divide": _division(np.floor_divide),
    "trunc_divide": trunc_divide,
    "remainder": _division(np.remainder),
    "fmod": _division(np.fmod),
    "pow": power,
    "pow_by_base": pow_by_base,
    "pow_by_exponent": pow_by_exponent,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


_TERNARY = ternary(lambda function: function, _select, sigmoid, 0, 1)


# asarray throughout: NumPy turns 0-d results into scalars, the contract promises arrays
def unary_fwd(name, x, param=None, param2=None):
    """One of ``UNARY``; ``param`` and ``param2`` are the numbers of its row."""
    return np.asarray(_UNARY[name].forward(x, param, param2))


def unary_bwd(name, gy, saved, param=None, param2=None):
    """``gy`` times the derivative of :func:`unary_fwd`."""
    backward = _UNARY[name].backward
    assert backward is not None, name
    return np.asarray(backward(gy, saved, param, param2))


def binary_fwd(name, a, b):
    """One of ``BINARY``, broadcasting."""
    return np.asarray(_BINARY[name](a, b))


def ternary_fwd(name, a, b, c, param=0.0):
    """One of ``TERNARY``, broadcasting; numbers take the type of the arrays beside them."""
    values = (b, c) if name == "where" else (a, b, c)
    arrays = [v.dtype for v in values if hasattr(v, "dtype")]
    dtype = arrays[0] if arrays else None
    b, c = np.asarray(b, dtype), np.asarray(c, dtype)
    if name != "where":
        a = np.asarray(a, dtype)
    return np.asarray(_TERNARY[name](a, b, c, param), dtype)


def softmax_fwd(x, axis, log):
    """``exp(x) / sum(exp(x))``, or its logarithm, shifted by the maximum so that nothing overflows."""
    shifted = x - x.max(axis=axis, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=axis, keepdims=True)
    return shifted - np.log(total) if log else e / total


def softmax_bwd(gy, y, axis, log):
    """Gradient in ``x`` from the output ``y``."""
    if log:
        return gy - np.exp(y) * gy.sum(axis=axis, keepdims=True)
    return y * (gy - (gy * y).sum(axis=axis, keepdims=True))


def _cross_entropy_terms(like, target, weight, ignore_index):
    """What forward and backward share: the rows that count, targets (0 in the others), and class weights."""
    kept = target != ignore_index
    weight = np.ones(like.shape[1], like.dtype) if weight is None else weight
    return kept, np.where(kept, target, 0), weight


def cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing):
    """``(1 - s) * w[t] * -logp[t] + s / C * sum_c w[c] * -logp[c]`` per row, and softmax(logits)."""
    kept, t, w = _cross_entropy_terms(logits, target, weight, ignore_index)
    logp = softmax_fwd(logits, 1, log=True)
    losses = -(1 - label_smoothing) * w[t] * logp[np.arange(len(t)), t]
    if label_smoothing:  # else 0 * -inf would be NaN in rows with a class of probability 0
        losses = losses - label_smoothing / len(w) * (logp @ w)
    return np.where(kept, losses, logits.dtype.type(0)), np.exp(logp)


def cross_entropy_bwd(grad_rows, prob, target, weight, ignore_index, label_smoothing):
    """``grad_rows[i]`` times the gradient of a row's loss: (mass of the row's targets) * prob - targets."""
    kept, t, w = _cross_entropy_terms(prob, target, weight, ignore_index)
    targets = np.tile(w * (label_smoothing / len(w)), (len(t), 1))
    targets[np.arange(len(t)), t] += (1 - label_smoothing) * w[t]
    g = grad_rows[:, None] * (targets.sum(axis=1, keepdims=True) * prob - targets)
    return np.where(kept[:, None], g, prob.dtype.type(0))


@functools.cache
def _pair_losses(real):
    """The losses of pairs of elements of type ``real``."""
    return pair_loss.pair_losses(
        pair_loss.Scalars(
            real=real,
            select=np.where,
            sign=np.sign,
            exp=np.exp,
            log=np.log,
            log1p=np.log1p,
            softplus=lambda x: np.logaddexp(real(0), x),
            sigmoid=sigmoid,
        )
    )


def pair_loss_fwd(name, x, target, param, reduction):
    """One of ``PAIR_LOSSES`` of each pair of elements, or their sum or mean."""
    real = x.dtype.type
    losses = np.asarray(_pair_losses(real)[name].forward(x, target, real(param or 0)))
    return losses if reduction == "none" else reduce_fwd(reduction, losses, tuple(range(x.ndim)), False)


def pair_loss_bwd(name, operand, gy, x, target, param):
    """``gy`` times the derivative by the input (``operand`` 0) or by the target (1)."""
    real = x.dtype.type
    row = _pair_losses(real)[name]
    return np.asarray(gy * (row.by_input, row.by_target)[operand](x, target, real(param or 0)))


def dropout(x, p, scale, seed, channels=False):
    """``x * scale`` where kept, else 0; which elements are kept says ``common/random_bits.py``."""
    places = np.arange(math.prod(x.shape[:2]) if channels else x.size, dtype=np.uint64)
    keep = random_bits.bits24(places + random_bits.start(seed)) >= random_bits.threshold(p)
    keep = keep.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) if channels else keep.reshape(x.shape)
    return np.where(keep, x * scale, x.dtype.type(0))


def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others."""
    return a @ b


def linear_fwd(x, w, b):
    """``x @ w.T + b``."""
    y = x @ w.T
    return y if b is None else y + b


def linear_bwd_data(gy, w):
    return gy @ w


def linear_bwd_weight(gy, x, out=None):
    return gy.T @ x
