"""Sliding windows in any number of spatial dimensions, one position of the kernel (a tap) at a time.

One tap of all windows together is a strided slice of the padded input. So loops run over the few taps, never
over pixels. Specs are ``ConvSpec`` or ``PoolSpec``.
"""

from math import prod

import numpy as np


def padded(x, spec, fill=0):
    """``x`` with ``fill`` around it, as far as the padding or a ``ceil_mode`` window reaches."""
    pairs = []
    for i, (before, after), o, *step in zip(
        spec.in_size, spec.padding, spec.out_size, spec.stride, spec.dilation, spec.kernel, strict=True
    ):
        s, d, k = step
        pairs.append((before, max(after, (o - 1) * s + d * (k - 1) + 1 - i - before)))
    return np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=fill)


def unpadded(xp, spec):
    """The part of ``padded(x, spec)`` that was ``x``."""
    return xp[(..., *(slice(b, b + i) for i, (b, _) in zip(spec.in_size, spec.padding, strict=True)))]


def taps(spec):
    """For each tap in scan order: its slice of the padded input, one value per window."""
    for tap in np.ndindex(*spec.kernel):
        axes = zip(tap, spec.dilation, spec.stride, spec.out_size, strict=True)
        yield (..., *(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, s, o in axes))


def unfold(x, spec):
    """im2col: ``N x C x spatial`` -> ``N x (C taps) x outputs``, one column per window."""
    xp = padded(x, spec)
    cols = np.stack([xp[window] for window in taps(spec)], axis=2)
    return cols.reshape(x.shape[0], x.shape[1] * prod(spec.kernel), prod(spec.out_size))


def fold(cols, spec):
    """col2im, the adjoint of :func:`unfold`: values of windows that overlap are added."""
    cols = cols.reshape(*spec.x_shape[:2], prod(spec.kernel), *spec.out_size)
    xp = padded(np.zeros(spec.x_shape, cols.dtype), spec)
    for k, window in enumerate(taps(spec)):
        xp[window] += cols[:, :, k]
    return unpadded(xp, spec)
