"""Padding, resizing and moving data."""

# NumPy's sum() of arrays and its tuples of slices have types that a checker does not follow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from math import prod
from typing import Any

import numpy as np

from fastconv.spec import is_basic


def _sources(shape, pairs, mode):
    """The flat input position behind each output position of ``pad``, -1 where the constant is."""
    numpy_mode: Any = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    constant = {"constant_values": -1} if mode == "constant" else {}
    at = np.pad(np.arange(prod(shape)).reshape(shape), np.maximum(pairs, 0), numpy_mode, **constant)
    crop = [
        slice(max(-before, 0), n + min(after, 0)) for n, (before, after) in zip(at.shape, pairs, strict=True)
    ]
    return at[tuple(crop)]


def pad_fwd(x, pairs, mode, value):
    """Extend each axis by ``(before, after)``; negative numbers crop."""
    at = _sources(x.shape, pairs, mode)
    y = np.full(at.shape, value, x.dtype)
    y[at >= 0] = x.ravel()[at[at >= 0]]
    return y


def pad_bwd(gy, pairs, mode, in_shape):
    """The adjoint: an input that was copied to several places gets the sum of their gradients."""
    at = _sources(in_shape, pairs, mode)
    gx = np.zeros(prod(in_shape), gy.dtype)
    np.add.at(gx, at[at >= 0], gy[at >= 0])
    return gx.reshape(in_shape)


def _taps(spec, dim, dtype):
    """Per tap along ``dim``: positions and weights; an output is the sum of ``weight * x[position]``."""
    low, high, frac = spec.taps(dim, dtype)
    if spec.mode == "nearest":
        return [(low, 1)]  # a second tap of weight 0 would turn infinity into NaN
    frac = frac.reshape(-1, *(1,) * (1 - dim))
    return [(low, 1 - frac), (high, frac)]


def interpolate_fwd(x, spec):
    """Resize the rows' number, then the columns'."""
    for dim in (0, 1):
        x = sum(x.take(at, axis=2 + dim) * weight for at, weight in _taps(spec, dim, x.dtype))
    return x


def interpolate_bwd(gy, spec):
    """The adjoint: each gradient returns to the taps it came from."""
    for dim in (1, 0):
        gx = np.zeros((*gy.shape[: 2 + dim], spec.in_size[dim], *gy.shape[3 + dim :]), gy.dtype)
        for at, weight in _taps(spec, dim, gy.dtype):
            np.add.at(gx, (slice(None),) * (2 + dim) + (at,), gy * weight)
        gy = gx
    return gy


def getitem(x, key):
    """``x[key]``; a view, too, where NumPy returns a scalar."""
    y = x[key]
    if isinstance(y, np.ndarray):
        return y
    return np.asarray(x[(*key, ...) if isinstance(key, tuple) else (key, ...)])


def setitem(x, key, value):
    """``x[key] = value``."""
    x[key] = value


def index_add(x, key, value):
    """``x[key] += value`` where an index that occurs twice adds twice."""
    if is_basic(key):
        x[key] += value
    else:
        np.add.at(x, key, value)


def concatenate(xs, axis):
    """Join arrays along an existing axis."""
    return np.concatenate(xs, axis)


def reshape(x, shape):
    """The same elements in the same logical (C) order; a view where strides allow."""
    return x.reshape(shape)


def permute(x, axes):
    """A view with the axes in another order."""
    return x.transpose(axes)


def broadcast_to(x, shape):
    """A read-only view that repeats ``x``."""
    return np.broadcast_to(x, shape)


def cast(x, dtype):
    """A fresh array of another dtype."""
    return x.astype(dtype)


def zeros(shape, dtype):
    """A fresh array of zeros."""
    return np.zeros(shape, dtype)


def copy(x):
    """A fresh C-contiguous array."""
    return np.array(x, order="C")


def asarray(x):
    """Already this backend's kind of array."""
    return np.asarray(x)


to_host = asarray
