"""Group norm: the sums of each image's channels, added up over the channels of a group.

    pass 1   mean and variance per image and channel      (the kernel of ``moments.py``)
             per image and group: a few numbers, by NumPy
    pass 2   scale and shift per image and channel        (the kernels of ``affine.py``)

Wu, He: Group normalization, 2018.
"""

from __future__ import annotations

import numpy as np

from ...runtime import layout
from . import affine, pixels
from .affine import NO_MASK
from .moments import moments


def _group_mean(v, groups):
    """Per image and channel -> the mean over each group's channels."""
    return v.reshape(len(v), groups, -1).mean(axis=2)


def _per_channel(v, channels):
    """Per image and group -> per image and channel."""
    return np.repeat(v, channels // v.shape[1], axis=1)


@np.errstate(all="ignore")
def group_norm_fwd(x, groups, weight, bias, eps):
    y, y5 = layout.empty(x.shape, x.dtype)
    if not x.size:
        return y, np.zeros((x.shape[0], groups), x.dtype), np.zeros((x.shape[0], groups), x.dtype)
    images, channels = pixels.images(x), x.shape[1]
    means, variances = moments(images, channels)
    mean = _group_mean(means, groups)
    variance = _group_mean(variances + np.square(means - _per_channel(mean, channels)), groups)
    mean, invstd = mean.astype(x.dtype), (1 / np.sqrt(variance + eps)).astype(x.dtype)
    scale = _per_channel(invstd, channels) * pixels.vector(weight, channels, x.dtype, 1)
    bias = pixels.vector(bias, channels, x.dtype, 0)
    affine.scale_and_shift(images, _per_channel(mean, channels), scale, bias, None, None, y5)
    return y, mean, invstd


@np.errstate(all="ignore")
def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    channels = x.shape[1]
    if not x.size:
        return gx, np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
    images, up = pixels.images(x), pixels.images(gy)
    mean, invstd = _per_channel(mean, channels), _per_channel(invstd, channels)
    plain, scaled = affine.gradient_sums(up, images, images, mean, NO_MASK)
    weight, count = pixels.vector(weight, channels, x.dtype, 1), images[0].size // channels
    m1, m2 = (
        _per_channel(_group_mean(weight * v / count, groups), channels) for v in (plain, scaled * invstd)
    )
    vectors = mean, invstd * weight, (-invstd * m1).astype(x.dtype), (-invstd * invstd * m2).astype(x.dtype)
    affine.gradient(up, images, images, vectors, NO_MASK, gx5, None)
    return gx, (scaled * invstd).sum(axis=0).astype(x.dtype), plain.sum(axis=0).astype(x.dtype)
