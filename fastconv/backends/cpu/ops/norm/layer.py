"""Layer norm: each row by its own mean and variance; RMS norm, without the mean.

    forward    threads: equal shares of the rows
                 a row:  sum;  sum of (x - mean)^2;  y = (x - mean) * invstd * weight + bias
    backward   threads: equal shares of the parts of the rows
                 a row:  its two sums, and its part in the gradients of weight and bias;  gx
               the parts' gradients of weight and bias are added up by NumPy, in float64

Ba, Kiros, Hinton: Layer normalization, 2016. Zhang, Sennrich: Root mean square layer normalization, 2019.
"""

from __future__ import annotations

import numpy as np

from ...codegen.jit import body, kernel, split_range
from ...runtime import layout, memory
from .pixels import part_count, vector


@body
def normalise(x, weight, bias, eps, centered, y):
    """One row; returns its mean, or 0 if it is not centered, and 1 / deviation."""
    total, square = 0.0, 0.0
    if centered:
        for i in range(x.size):
            total += x[i]
    m = x.dtype.type(total / x.size)
    for i in range(x.size):
        square += (x[i] - m) * (x[i] - m)
    s = x.dtype.type(1 / np.sqrt(square / x.size + eps))
    for i in range(x.size):
        y[i] = (x[i] - m) * s * weight[i] + bias[i]
    return m, s


@body
def normalise_bwd(gy, x, m, s, weight, centered, gx, gweight, gbias):
    """One row; adds to the gradients of weight and bias."""
    plain, scaled = 0.0, 0.0
    for i in range(x.size):
        g, xhat = gy[i], (x[i] - m) * s
        gweight[i] += g * xhat
        gbias[i] += g
        plain += g * weight[i]
        scaled += g * weight[i] * xhat
    m1, m2 = x.dtype.type(plain / x.size if centered else 0.0), x.dtype.type(scaled / x.size)
    for i in range(x.size):
        gx[i] = s * (gy[i] * weight[i] - m1 - (x[i] - m) * s * m2)


@kernel
def _layer_fwd(thread, threads, x, weight, bias, eps, centered, y, means, invstds):
    first, end = split_range(thread, threads, x.shape[0])
    for r in range(first, end):
        means[r], invstds[r] = normalise(x[r], weight, bias, eps, centered, y[r])


@kernel
def _layer_bwd(thread, threads, gy, x, means, invstds, weight, centered, gx, totals):
    # totals: for each part the gradients of weight and bias
    parts = totals.shape[0]
    first, end = split_range(thread, threads, parts)
    for p in range(first, end):
        start, stop = split_range(p, parts, x.shape[0])
        totals[p] = 0
        for r in range(start, stop):
            gw, gb = totals[p, 0], totals[p, 1]
            normalise_bwd(gy[r], x[r], means[r], invstds[r], weight, centered, gx[r], gw, gb)


def layer_norm_fwd(x, weight, bias, eps, centered=True):
    rows, n = x.shape
    y, mean, invstd = (memory.empty(s, x.dtype) for s in (x.shape, (rows,), (rows,)))
    weight, bias = vector(weight, n, x.dtype, 1), vector(bias, n, x.dtype, 0)
    _layer_fwd(layout.dense(x), weight, bias, eps, centered, y, mean, invstd)
    return y, mean, invstd


def layer_norm_bwd(gy, x, mean, invstd, weight, centered=True):
    gx = memory.empty(x.shape, x.dtype)
    totals = memory.empty((part_count(1), 2, x.shape[1]), np.float64)
    _layer_bwd(
        layout.dense(gy),
        layout.dense(x),
        layout.dense(mean),
        layout.dense(invstd),
        vector(weight, x.shape[1], x.dtype, 1),
        centered,
        gx,
        totals,
    )
    gweight, gbias = totals.sum(axis=0).astype(x.dtype)
    return gx, gweight, gbias
