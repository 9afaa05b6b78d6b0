"""Pooling: maxima and means of sliding windows, and of adaptive windows, which cover the input evenly."""

from functools import reduce
from math import prod

import numpy as np

from .windows import padded, taps, unpadded


def _positions(spec):
    """The plane of flat positions that max pooling reports."""
    return np.arange(prod(spec.in_size), dtype=np.int64).reshape(1, 1, *spec.in_size)


def max_pool_fwd(x, spec):
    """Maximum of each window and its flat position in the unpadded plane; the first maximum, or NaN, wins."""
    xp, position = padded(x, spec), padded(_positions(spec), spec, fill=-1)
    y, index = np.full(spec.y_shape, -np.inf, x.dtype), np.full(spec.y_shape, -1, np.int64)
    for window in taps(spec):
        value, at = xp[window], position[window]
        better = (
            (value > y) | (np.isnan(value) & ~np.isnan(y)) | (index < 0)
        )  # -inf is larger than no value yet
        better &= at >= 0  # padding never wins
        y, index = np.where(better, value, y), np.where(better, at, index)
    return y, index


def max_pool_bwd(gy, index, spec):
    """Each gradient goes to the position its maximum came from."""
    in_size = spec.in_size
    planes = np.arange(gy.shape[0] * gy.shape[1], dtype=np.int64).reshape(*gy.shape[:2], *(1,) * len(in_size))
    gx = np.zeros(planes.size * prod(in_size), gy.dtype)
    np.add.at(gx, (planes * prod(in_size) + index).ravel(), gy.ravel())
    return gx.reshape(*gy.shape[:2], *in_size)


def _divisor(spec, dtype):
    """Elements per window; padding counts if the spec says so, positions beyond the padding never count."""
    if spec.divisor is not None:
        return dtype.type(spec.divisor)
    counts = []
    for i, (before, after), k, s, o in zip(
        spec.in_size, spec.padding, spec.kernel, spec.stride, spec.out_size, strict=True
    ):
        low, high = (-before, i + after) if spec.count_include_pad else (0, i)
        start = np.arange(o) * s - before
        counts.append(np.minimum(start + k, high) - np.maximum(start, low))
    return reduce(np.multiply.outer, counts).astype(dtype)


def avg_pool_fwd(x, spec):
    """Mean of each window."""
    xp = padded(x, spec)
    return sum(xp[window] for window in taps(spec)) / _divisor(spec, x.dtype)


def avg_pool_bwd(gy, spec):
    """Each gradient spreads evenly over its window."""
    gxp = padded(np.zeros(spec.x_shape, gy.dtype), spec)
    for window in taps(spec):
        gxp[window] += gy / _divisor(spec, gy.dtype)
    return unpadded(gxp, spec)


def _adaptive_windows(spec):
    """For each output position: its index and the slice of the input it covers, both for all planes."""
    windows = [spec.windows(dim) for dim in range(len(spec.out_size))]
    for at in np.ndindex(*spec.out_size):
        yield (..., *at), (..., *(slice(*w[j]) for w, j in zip(windows, at, strict=True)))


def adaptive_max_pool_fwd(x, spec):
    """Maximum of each window and its flat position; the first maximum, or NaN, wins."""
    y, index = np.empty(spec.y_shape, x.dtype), np.empty(spec.y_shape, np.int64)
    positions = _positions(spec)
    for at, window in _adaptive_windows(spec):
        position = positions[window].ravel()
        values = x[window].reshape(*x.shape[:2], position.size)
        best = values.argmax(axis=2)
        y[at] = np.take_along_axis(values, best[:, :, None], axis=2)[:, :, 0]
        index[at] = position[best]
    return y, index


def adaptive_avg_pool_fwd(x, spec):
    """Mean of each window."""
    y = np.empty(spec.y_shape, x.dtype)
    for at, window in _adaptive_windows(spec):
        y[at] = x[window].mean(axis=tuple(range(2, x.ndim)))
    return y


def adaptive_avg_pool_bwd(gy, spec):
    """Each gradient spreads evenly over its window."""
    gx = np.zeros(spec.x_shape, gy.dtype)
    for at, window in _adaptive_windows(spec):
        spread = gy[at].reshape(*gy.shape[:2], *(1,) * len(spec.in_size))
        gx[window] += spread / prod(gx[window].shape[2:])
    return gx


def max_unpool_fwd(x, index, spec):
    """Zeros, and each element at its place; of several for one place the last stays."""
    y = np.zeros((*x.shape[:2], prod(spec.out_size)), x.dtype)
    np.put_along_axis(y, index.reshape(*x.shape[:2], -1), x.reshape(*x.shape[:2], -1), axis=2)
    return y.reshape(spec.y_shape)


def max_unpool_bwd(gy, index, spec):
    """Each element gets the gradient of its place."""
    gx = np.take_along_axis(gy.reshape(*gy.shape[:2], -1), index.reshape(*index.shape[:2], -1), axis=2)
    return gx.reshape(spec.x_shape)
