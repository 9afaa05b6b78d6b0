"""Reductions, scans and moments."""

import math

import numpy as np

from ..common.reduce import Scalars, identity, reductions, types

_UFUNC = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


def _wide(x):
    """In float64, or int64."""
    return np.asarray(x, np.float64 if np.asarray(x).dtype.kind == "f" else np.int64)


_REDUCTIONS = reductions(Scalars(wide=_wide, select=np.where, sqrt=np.sqrt, power=np.power))


def reduce_fwd(name, x, axes, keepdims, param=None):
    """One of ``REDUCTIONS``; floats are summed in float64, integers in int64; the mean of nothing is NaN."""
    row = _REDUCTIONS[name]
    kept, result = types(name, x.dtype)
    terms = np.asarray(row.term(x, param), kept)
    start = kept.type(identity(name, kept))
    total = _UFUNC[row.join].reduce(terms, axis=axes, keepdims=keepdims, dtype=kept, initial=start)
    n = math.prod(x.shape[a] for a in axes)
    return np.asarray(row.finish(np.asarray(total), n, param), result)


def argmax(x, axis, keepdims):
    """Position of the first maximum; NaN counts as one."""
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdims))


def argmin(x, axis, keepdims):
    """Position of the first minimum; NaN counts as one."""
    return np.asarray(np.argmin(x, axis=axis, keepdims=keepdims))


def moments(x, axes):
    """Mean, and mean squared deviation from it, in two passes in float64."""
    n = math.prod(x.shape[a] for a in axes)
    mean = np.sum(x, axis=axes, keepdims=True, dtype=np.float64) / np.float64(n)
    variance = np.sum((x - mean) ** 2, axis=axes, keepdims=True) / np.float64(n)
    return np.asarray(mean, x.dtype), np.asarray(variance, x.dtype)


def logsumexp(x, axes, keepdims):
    """``log(sum(exp(x)))``, shifted by the maximum so that nothing overflows."""
    largest = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0)
    y = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True, dtype=np.float64)) + shift
    return np.asarray(y if keepdims else y.squeeze(axes), x.dtype)


def scan(name, x, axis, reverse=False, factor=None):
    """Running sums, products or logarithms of sums of exponentials."""
    wide = np.float64 if x.dtype.kind == "f" else np.int64
    rows = np.moveaxis(x, axis, 0).astype(wide)
    rows = rows[::-1] if reverse else rows
    if factor is not None:
        factors = np.moveaxis(factor, axis, 0)
        factors = factors[::-1] if reverse else factors
        for i in range(1, len(rows)):
            rows[i] += factors[i] * rows[i - 1]
    else:
        ufunc = {"cumsum": np.add, "cumprod": np.multiply, "logcumsumexp": np.logaddexp}[name]
        rows = ufunc.accumulate(rows, axis=0)
    rows = rows[::-1] if reverse else rows
    return np.moveaxis(rows, 0, axis).astype(x.dtype if x.dtype.kind == "f" else wide)


def extremum_scan(name, x, axis):
    """Running maxima or minima; of equal elements the last counts."""
    values = getattr(np, {"cummax": "maximum", "cummin": "minimum"}[name]).accumulate(x, axis=axis)
    n = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    new = (x == values) | (x != x)
    return values, np.maximum.accumulate(np.where(new, n, 0), axis=axis)
