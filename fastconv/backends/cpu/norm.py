"""Normalisation: sums per channel, row or group, then one pass that applies them.

    batch norm, forward:   pass 1  per thread: rows of pixels -> sum and sum of squares per channel
                           pass 2  y = relu((x - mean) * scale + bias + residual)                       one read, one write
              backward:    pass 1  per thread: sum of gz and of gz * (x - mean), with gz = gy masked by y > 0
                           pass 2  gx = scale * (gz - mean(gz) - xhat * mean(gz * xhat)), gresidual = gz

    x as rows of pixels:   pixel 0  c c c c c c      Sums run in the array's dtype over BLOCK pixels, whose accumulators
                           pixel 1  c c c c c c      stay in the first-level cache, and between blocks in float64.
                           ...

Squares are taken of x - x[0]: a large mean would otherwise swallow the variance.
"""

from __future__ import annotations

import numpy as np

from .. import settings
from . import layout, memory
from .jit import body, kernel, prange, share

BLOCK = 64


def _totals(channels: int) -> np.ndarray:
    """Two float64 sums per channel and thread, for a kernel to set."""
    return memory.empty((settings.get_num_threads(), 2, channels), np.float64)


@body
def flush(total, part):
    """``total += part`` and ``part = 0``."""
    for k in range(part.shape[0]):
        for c in range(part.shape[1]):
            total[k, c] += part[k, c]
            part[k, c] = 0


# ------------------------------------------------------------------------------------------------- batch norm
@kernel
def _channel_sums(threads, x, shift, totals):
    rows, channels = x.shape
    for thread in prange(threads):
        total = totals[np.int64(thread)]
        total[:] = 0
        part = np.zeros((2, channels), x.dtype)
        sums, squares = part[0], part[1]
        first, end = share(thread, threads, rows)
        for start in range(first, end, BLOCK):
            for r in range(start, min(start + BLOCK, end)):
                for c in range(channels):
                    d = x[r, c] - shift[c]
                    sums[c] += d
                    squares[c] += d * d
            flush(total, part)


@kernel
def _apply(threads, x, mean, scale, bias, residual, has_residual, relu, y):
    rows, channels = x.shape
    zero = x.dtype.type(0)
    for thread in prange(threads):
        first, end = share(thread, threads, rows)
        for r in range(first, end):
            for c in range(channels):
                y[r, c] = (x[r, c] - mean[c]) * scale[c] + bias[c]
            if has_residual:
                for c in range(channels):
                    y[r, c] += residual[r, c]
            if relu:
                for c in range(channels):
                    y[r, c] = zero if y[r, c] <= 0 else y[r, c]  # NaN passes


@kernel
def _gradient_sums(threads, gy, x, y, mean, relu, totals):
    rows, channels = x.shape
    zero = x.dtype.type(0)
    for thread in prange(threads):
        total = totals[np.int64(thread)]
        total[:] = 0
        part = np.zeros((2, channels), x.dtype)
        plain, scaled = part[0], part[1]
        first, end = share(thread, threads, rows)
        for start in range(first, end, BLOCK):
            for r in range(start, min(start + BLOCK, end)):
                if relu:
                    for c in range(channels):
                        g = zero if y[r, c] <= 0 else gy[r, c]
                        plain[c] += g
                        scaled[c] += g * (x[r, c] - mean[c])
                else:
                    for c in range(channels):
                        plain[c] += gy[r, c]
                        scaled[c] += gy[r, c] * (x[r, c] - mean[c])
            flush(total, part)


@kernel
def _gradient(threads, gy, x, y, mean, scale, offset, slope, relu, gx, gresidual, with_residual):
    # gx = scale * gz + offset + slope * (x - mean)
    rows, channels = x.shape
    zero = x.dtype.type(0)
    for thread in prange(threads):
        first, end = share(thread, threads, rows)
        for r in range(first, end):
            if relu:
                for c in range(channels):
                    g = zero if y[r, c] <= 0 else gy[r, c]
                    gx[r, c] = scale[c] * g + (offset[c] + slope[c] * (x[r, c] - mean[c]))
            else:
                for c in range(channels):
                    gx[r, c] = scale[c] * gy[r, c] + (offset[c] + slope[c] * (x[r, c] - mean[c]))
            if with_residual:
                for c in range(channels):
                    gresidual[r, c] = zero if relu and y[r, c] <= 0 else gy[r, c]


def _finite(shift: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(shift), shift, 0).astype(shift.dtype)


def batch_norm_stats(x):
    rows = layout.rows(x)
    count, channels = rows.shape
    if not count:
        return np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
    shift = _finite(rows[0])
    totals = _totals(channels)
    _channel_sums(rows, shift, totals)
    with np.errstate(invalid="ignore"):
        mean, square = totals.sum(axis=0) / count
        variance = np.maximum(square - mean * mean, 0)  # NaN stays: np.maximum passes it on
        return (mean + shift).astype(x.dtype), variance.astype(x.dtype)


def _scale(weight, invstd):
    return layout.dense(invstd) if weight is None else weight * invstd


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    y, y5 = layout.empty(x.shape, x.dtype)
    rows = layout.rows(x)
    bias = np.zeros(x.shape[1], x.dtype) if bias is None else layout.dense(bias)
    _apply(rows, layout.dense(mean), _scale(weight, invstd), bias, rows if residual is None else layout.rows(residual),
           residual is not None, activation == "relu", y5.reshape(rows.shape))  # fmt: skip
    return y


def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    rows, up, mean, relu = layout.rows(x), layout.rows(gy), layout.dense(mean), activation == "relu"
    out = layout.rows(y) if relu else rows
    count = max(len(rows), 1)
    totals = _totals(x.shape[1])
    _gradient_sums(up, rows, out, mean, relu, totals)
    plain, scaled = totals.sum(axis=0)
    with np.errstate(invalid="ignore"):
        gweight = (scaled * invstd).astype(x.dtype)
        scale = _scale(weight, invstd)
        offset, slope = np.zeros_like(scale), np.zeros_like(scale)
        if training:
            offset = (-scale * plain / count).astype(x.dtype)
            slope = (-scale * scaled * np.square(invstd, dtype=np.float64) / count).astype(x.dtype)
    gx, gx5 = layout.empty(x.shape, x.dtype)
    gx_rows = gx5.reshape(rows.shape)
    gresidual, gresidual5 = layout.empty(x.shape, x.dtype) if with_residual else (None, gx5)
    _gradient(up, rows, out, mean, scale, offset, slope, relu, gx_rows, gresidual5.reshape(rows.shape), with_residual)
    return gx, gweight, plain.astype(x.dtype), gresidual


def channel_sum(x):
    rows = layout.rows(x)
    totals = _totals(x.shape[1])
    _channel_sums(rows, np.zeros(x.shape[1], x.dtype), totals)
    return totals[:, 0].sum(axis=0).astype(x.dtype)


# ------------------------------------------------------------------------------------------------- groups of channels
@kernel
def _group_fwd(threads, x, groups, weight, bias, eps, y, means, invstds):
    # x: N, pixels, C; statistics over the pixels and the C / groups channels of a group
    images, pixels, channels = x.shape
    width = channels // groups
    count = pixels * width
    for thread in prange(threads):
        first, end = share(thread, threads, images * groups)
        for job in range(first, end):
            n, c0 = job // groups, job % groups * width
            total = 0.0
            for p in range(pixels):
                for c in range(c0, c0 + width):
                    total += x[n, p, c]
            mean = total / count
            square = 0.0
            for p in range(pixels):
                for c in range(c0, c0 + width):
                    square += (x[n, p, c] - mean) ** 2
            invstd = 1 / np.sqrt(square / count + eps)
            means[n, job % groups], invstds[n, job % groups] = mean, invstd
            m, s = means[n, job % groups], invstds[n, job % groups]  # in x's dtype
            for p in range(pixels):
                for c in range(c0, c0 + width):
                    y[n, p, c] = (x[n, p, c] - m) * s * weight[c] + bias[c]


@kernel
def _group_bwd(threads, gy, x, groups, means, invstds, weight, gx, totals):
    images, pixels, channels = x.shape
    width = channels // groups
    count = pixels * width
    for thread in prange(threads):
        own = totals[np.int64(thread)]
        own[:] = 0
        first, end = share(thread, threads, images * groups)
        for job in range(first, end):
            n, c0 = job // groups, job % groups * width
            mean, invstd = means[n, job % groups], invstds[n, job % groups]
            plain, scaled = 0.0, 0.0
            for p in range(pixels):
                for c in range(c0, c0 + width):
                    g, xhat = gy[n, p, c], (x[n, p, c] - mean) * invstd
                    own[0, c] += g * xhat
                    own[1, c] += g
                    plain += g * weight[c]
                    scaled += g * weight[c] * xhat
            m1, m2 = x.dtype.type(plain / count), x.dtype.type(scaled / count)
            for p in range(pixels):
                for c in range(c0, c0 + width):
                    xhat = (x[n, p, c] - mean) * invstd
                    gx[n, p, c] = invstd * (gy[n, p, c] * weight[c] - m1 - xhat * m2)


def _ones_or(weight, like, count):
    return np.ones(count, like.dtype) if weight is None else layout.dense(weight)


def _pixels(x5):
    return x5.reshape(x5.shape[0], -1, x5.shape[-1])


def group_norm_fwd(x, groups, weight, bias, eps):
    y, y5 = layout.empty(x.shape, x.dtype)
    means, invstds = (np.empty((x.shape[0], groups), x.dtype) for _ in range(2))
    bias = np.zeros(x.shape[1], x.dtype) if bias is None else layout.dense(bias)
    if x.size:
        _group_fwd(_pixels(layout.lift(x)), groups, _ones_or(weight, x, x.shape[1]), bias, eps, _pixels(y5), means, invstds)
    return y, means, invstds


def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    totals = memory.zeros((settings.get_num_threads(), 2, x.shape[1]), np.float64)
    if x.size:
        _group_bwd(_pixels(layout.lift(gy)), _pixels(layout.lift(x)), groups, layout.dense(mean), layout.dense(invstd),
                   _ones_or(weight, x, x.shape[1]), _pixels(gx5), totals)  # fmt: skip
    gweight, gbias = totals.sum(axis=0).astype(x.dtype)
    return gx, gweight, gbias


# A layer norm of rows is a group norm of images with one pixel and one group.
def layer_norm_fwd(x, weight, bias, eps):
    y, mean, invstd = group_norm_fwd(x, 1, weight, bias, eps)
    return y, mean[:, 0], invstd[:, 0]


def layer_norm_bwd(gy, x, mean, invstd, weight):
    return group_norm_bwd(gy, x, 1, mean[:, None], invstd[:, None], weight)


# ------------------------------------------------------------------------------------------------- neighbouring channels
@kernel
def _response_fwd(threads, x, size, alpha, beta, k, y, scale):
    rows, channels = x.shape
    for thread in prange(threads):
        first, end = share(thread, threads, rows)
        for r in range(first, end):
            for c in range(channels):
                total = x.dtype.type(0)
                for j in range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, channels)):
                    total += x[r, j] * x[r, j]
                scale[r, c] = k + alpha / size * total
                y[r, c] = x[r, c] * scale[r, c] ** -beta


@kernel
def _response_bwd(threads, gy, x, scale, size, alpha, beta, gx):
    rows, channels = x.shape
    for thread in prange(threads):
        first, end = share(thread, threads, rows)
        through = np.empty(channels, x.dtype)
        for r in range(first, end):
            for c in range(channels):
                through[c] = gy[r, c] * x[r, c] * scale[r, c] ** (-beta - 1)
            for c in range(channels):
                total = x.dtype.type(0)
                for j in range(max(c - (size - 1) // 2, 0), min(c + size // 2 + 1, channels)):
                    total += through[j]
                gx[r, c] = gy[r, c] * scale[r, c] ** -beta - 2 * alpha * beta / size * x[r, c] * total


def local_response_norm_fwd(x, size, alpha, beta, k):
    (y, y5), (scale, scale5) = layout.empty(x.shape, x.dtype), layout.empty(x.shape, x.dtype)
    rows = layout.rows(x)
    number = x.dtype.type
    _response_fwd(rows, size, number(alpha), number(beta), number(k), y5.reshape(rows.shape), scale5.reshape(rows.shape))
    return y, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    rows = layout.rows(x)
    number = x.dtype.type
    _response_bwd(layout.rows(gy), rows, layout.rows(scale), size, number(alpha), number(beta), gx5.reshape(rows.shape))
    return gx
