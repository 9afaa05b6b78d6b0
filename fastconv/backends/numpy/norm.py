"""Normalisation over batch, layer, channel groups and neighbouring channels.

All but the last are ``y = xhat * weight + bias`` with ``xhat = (x - mean) * invstd``. Where mean and invstd
come from x itself, the gradient is, with ``g = gy * weight``::

    gx = invstd * (g - mean(g) - xhat * mean(g * xhat))
"""

from math import prod

import numpy as np

from .conv import channel_sum
from .pointwise import relu_bwd
from .reduce import reduce_fwd


def _column(v, x):
    """A vector of one entry per channel, shaped to broadcast against ``x``."""
    return v.reshape(-1, *(1,) * (x.ndim - 2))


def _scaled(x, weight, bias=None):
    x = x if weight is None else x * _column(weight, x)
    return x if bias is None else x + _column(bias, x)


def _count(x):
    """Values per channel; an empty batch must not divide by zero."""
    return max(x.size // x.shape[1], 1)


def batch_norm_stats(x):
    """Mean and biased variance of each channel."""
    mean = channel_sum(x) / _count(x)
    return mean, channel_sum(np.square(x - _column(mean, x))) / _count(x)


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    """Normalise, scale and shift, then add ``residual``, then apply ``activation``."""
    y = _scaled((x - _column(mean, x)) * _column(invstd, x), weight, bias)
    y = y if residual is None else y + residual
    return np.maximum(y, 0) if activation == "relu" else y


def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    """Gradients in x, weight, bias and residual."""
    gz = relu_bwd(gy, y) if activation == "relu" else gy
    xhat = (x - _column(mean, x)) * _column(invstd, x)
    gweight, gbias = channel_sum(gz * xhat), channel_sum(gz)
    g = gz
    if training:
        g = gz - _column(gbias / _count(x), x) - xhat * _column(gweight / _count(x), x)
    return _scaled(g * _column(invstd, x), weight), gweight, gbias, gz if with_residual else None


def _row_mean(x):
    return reduce_fwd("mean", x, (1,), True)


def running_step(running, value, keep, gain):
    """``running = keep * running + gain * value``, in place."""
    running *= keep
    running += gain * value


def layer_norm_fwd(x, weight, bias, eps, centered=True):
    """Normalise each row, then scale and shift each column; without ``centered`` as if its mean were 0."""
    mean = _row_mean(x) if centered else np.zeros((len(x), 1), x.dtype)
    invstd = 1 / np.sqrt(_row_mean(np.square(x - mean)) + eps)
    return _scaled((x - mean) * invstd, weight, bias), mean[:, 0], invstd[:, 0]


def layer_norm_bwd(gy, x, mean, invstd, weight, centered=True):
    """Gradients in x, weight and bias."""
    xhat = (x - mean[:, None]) * invstd[:, None]
    g = _scaled(gy, weight)
    through_mean = _row_mean(g) if centered else 0
    gx = invstd[:, None] * (g - through_mean - xhat * _row_mean(g * xhat))
    return gx, channel_sum(gy * xhat), channel_sum(gy)


def _rows(x, groups):
    """One row per sample and group of channels."""
    return x.reshape(x.shape[0] * groups, prod(x.shape[1:]) // groups)


def group_norm_fwd(x, groups, weight, bias, eps):
    """Normalise each group of channels, then scale and shift each channel."""
    xhat, mean, invstd = layer_norm_fwd(_rows(x, groups), None, None, eps)
    shape = x.shape[0], groups
    return _scaled(xhat.reshape(x.shape), weight, bias), mean.reshape(shape), invstd.reshape(shape)


def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    """Gradients in x, weight and bias."""
    rows, mean, invstd = _rows(x, groups), mean.ravel(), invstd.ravel()
    gx, _, _ = layer_norm_bwd(_rows(_scaled(gy, weight), groups), rows, mean, invstd, None)
    xhat = ((rows - mean[:, None]) * invstd[:, None]).reshape(x.shape)
    return gx.reshape(x.shape), channel_sum(gy * xhat), channel_sum(gy)


def _neighbours(a, before, after):
    """Sum of each channel, the ``before`` channels below it and the ``after`` channels above it."""
    padded = np.pad(a, [(0, 0), (before, after)] + [(0, 0)] * (a.ndim - 2))
    return sum(padded[:, j : j + a.shape[1]] for j in range(before + after + 1))


def local_response_norm_fwd(x, size, alpha, beta, k):
    """``x / scale ** beta``, ``scale = k + alpha / size * (sum of x^2 over size neighbouring channels)``.

    Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012
    (whose alpha is ours divided by ``size``).
    """
    scale = k + alpha / size * _neighbours(x * x, size // 2, (size - 1) // 2)
    return x * scale**-beta, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    """Gradient in x: through its own channel's numerator and through the scales of its neighbours."""
    through_scales = _neighbours(gy * x * scale ** (-beta - 1), (size - 1) // 2, size // 2)
    return gy * scale**-beta - 2 * alpha * beta / size * x * through_scales
