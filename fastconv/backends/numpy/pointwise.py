"""Elementwise ops, reductions, softmax and losses, dropout, and matrix products."""

import math

import numpy as np


def relu_bwd(gy, y):
    """``gy`` where relu's output ``y`` is positive, or NaN: an unknown sign must not pass for a zero
    gradient."""
    return np.where(y <= 0, gy.dtype.type(0), gy)


def sigmoid(x):
    e = np.exp(-np.abs(x))  # at most 1: no overflow on either side
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def normal_cdf(x):
    """Distribution function of the standard normal; 1 + erf would cancel in the left tail, erfc does not."""
    cdf = np.vectorize(lambda v: 0.5 * math.erfc(-v * math.sqrt(0.5)), otypes=[x.dtype])
    return cdf(x)


def _gelu_tanh_gate(x):
    """``(1 + tanh(u)) / 2`` is ``sigmoid(2 u)``, without its cancellation."""
    return sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))


def _gelu_tanh_bwd(gy, x, _):
    s = _gelu_tanh_gate(x)
    return gy * s * (1 + x * (1 - s) * math.sqrt(8 / math.pi) * (1 + 0.134145 * x * x))


_UNARY = {  # name: (forward of x and param, backward of gy, what UNARY says to save, and param)
    "neg": (lambda x, _: -x, lambda gy, saved, _: -gy),
    "abs": (lambda x, _: np.abs(x), lambda gy, x, _: gy * np.sign(x)),
    "exp": (lambda x, _: np.exp(x), lambda gy, y, _: gy * y),
    "log": (lambda x, _: np.log(x), lambda gy, x, _: gy / x),
    "sqrt": (lambda x, _: np.sqrt(x), lambda gy, y, _: gy / (2 * y)),
    "pow": (lambda x, p: np.power(x, p), lambda gy, x, p: gy * p * x ** (p - 1) if p else np.zeros_like(gy)),
    "relu": (lambda x, _: np.maximum(x, 0), lambda gy, y, _: relu_bwd(gy, y)),
    "leaky_relu": (
        lambda x, slope: np.where(x > 0, x, x * slope),
        lambda gy, x, slope: np.where(x > 0, gy, gy * slope),
    ),
    "sigmoid": (lambda x, _: sigmoid(x), lambda gy, y, _: gy * y * (1 - y)),
    "tanh": (lambda x, _: np.tanh(x), lambda gy, y, _: gy * (1 - y * y)),
    "gelu": (
        lambda x, _: x * normal_cdf(x),
        lambda gy, x, _: gy * (normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)),
    ),
    "gelu_tanh": (lambda x, _: x * _gelu_tanh_gate(x), _gelu_tanh_bwd),
    "silu": (lambda x, _: x * sigmoid(x), lambda gy, x, _: gy * sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
}


def _of_one_type(function):
    """NumPy takes a Python number as an array's type in its own functions only, not in what is made of
    several."""

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


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": power,
    "pow_by_base": pow_by_base,
    "pow_by_exponent": pow_by_exponent,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


# asarray throughout: NumPy turns 0-d results into scalars, the contract promises arrays
def unary_fwd(name, x, param=None):
    """One of ``UNARY``; ``param`` is the exponent of ``pow`` or the slope of ``leaky_relu``."""
    return np.asarray(_UNARY[name][0](x, param))


def unary_bwd(name, gy, saved, param=None):
    """``gy`` times the derivative of :func:`unary_fwd`."""
    return np.asarray(_UNARY[name][1](gy, saved, param))


def binary_fwd(name, a, b):
    """One of ``BINARY``, broadcasting."""
    return np.asarray(_BINARY[name](a, b))


def reduce_fwd(name, x, axes, keepdims):
    """Sum, mean, max or min; floats are summed in float64, integers in int64; the mean of nothing is NaN."""
    if name in ("max", "min"):
        return np.asarray(getattr(np, name)(x, axis=axes, keepdims=keepdims))
    floating = x.dtype.kind == "f"
    y = np.sum(x, axis=axes, keepdims=keepdims, dtype=np.float64 if floating else np.int64)
    if name == "mean":
        y = np.divide(y, math.prod(x.shape[a] for a in axes))
    return np.asarray(y, dtype=x.dtype if floating else None)


def argmax(x, axis, keepdims):
    """Position of the first maximum; NaN counts as one."""
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdims))


def argmin(x, axis, keepdims):
    """Position of the first minimum; NaN counts as one."""
    return np.asarray(np.argmin(x, axis=axis, keepdims=keepdims))


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
    """What forward and backward share: rows that count, their targets (0 in the others) and the class
    weights."""
    kept = target != ignore_index
    weight = np.ones(like.shape[1], like.dtype) if weight is None else weight
    return kept, np.where(kept, target, 0), weight


def cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing):
    """``(1 - s) * w[t] * -logp[t] + s / C * sum_c w[c] * -logp[c]`` per row, and softmax(logits)."""
    kept, t, w = _cross_entropy_terms(logits, target, weight, ignore_index)
    logp = softmax_fwd(logits, 1, log=True)
    losses = -(1 - label_smoothing) * w[t] * logp[np.arange(len(t)), t]
    if label_smoothing:  # else 0 * -inf would spoil rows with an impossible class
        losses = losses - label_smoothing / len(w) * (logp @ w)
    return np.where(kept, losses, logits.dtype.type(0)), np.exp(logp)


def cross_entropy_bwd(grad_rows, prob, target, weight, ignore_index, label_smoothing):
    """``grad_rows[i]`` times the gradient of row ``i``'s loss: (mass of the row's targets) * prob - targets."""
    kept, t, w = _cross_entropy_terms(prob, target, weight, ignore_index)
    targets = np.tile(w * (label_smoothing / len(w)), (len(t), 1))
    targets[np.arange(len(t)), t] += (1 - label_smoothing) * w[t]
    g = grad_rows[:, None] * (targets.sum(axis=1, keepdims=True) * prob - targets)
    return np.where(kept[:, None], g, prob.dtype.type(0))


def dropout(x, p, scale, seed):
    """``x * scale`` where kept, else 0.

    Whether element ``i`` (its place in logical C order) is kept depends on ``seed`` and ``i`` alone, by
    SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), so that every
    backend, thread count and
    memory layout drops the same elements. All in unsigned 64 bits, modulo 2^64::

        z = i + seed * 0x9E3779B97F4A7C15
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB
        z = z ^ (z >> 31)
        keep = (z >> 40) >= floor(p * 2^24)
    """
    z = np.arange(x.size, dtype=np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27)) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> 31)
    keep = (z >> 40) >= math.floor(p * 2**24)
    return np.where(keep.reshape(x.shape), x * scale, x.dtype.type(0))


def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others."""
    return a @ b


def linear_fwd(x, w, b):
    """``x @ w.T + b``."""
    y = x @ w.T
    return y if b is None else y + b


def linear_bwd_data(gy, w):
    return gy @ w


def linear_bwd_weight(gy, x):
    return gy.T @ x
