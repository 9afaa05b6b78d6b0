"""Padding and moving data."""

from math import prod

import numpy as np

from fastconv.spec import is_basic

from ..common.resample import pad_places


def _sources(shape, pairs, mode):
    """The flat input position behind each output position of ``pad``, -1 where the constant is."""
    at = np.arange(prod(shape)).reshape(shape)
    for axis, (before, after) in enumerate(pairs):
        places = pad_places(shape[axis], before, after, mode)
        inside = (places >= 0).reshape(-1, *(1,) * (len(shape) - 1 - axis))
        at = (
            np.where(inside, at.take(np.maximum(places, 0), axis), -1)
            if at.size
            else np.full((*at.shape[:axis], len(places), *at.shape[axis + 1 :]), -1)
        )
    return at


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


def as_strided(x, shape, strides):
    """A view with these strides that begins at the first element of ``x``."""
    return np.lib.stride_tricks.as_strided(x, shape, strides)


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
