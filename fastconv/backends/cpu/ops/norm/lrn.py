"""Local response norm: each channel over a sum of squares of neighbouring channels.

    scale[c] = k + ratio * (sum of x[d]^2 over the window of size channels around c);   y = x * scale^-beta

    threads: equal shares of the rows (pixels); a row of channels stays in the first-level cache
      forward     squares;  sums over neighbours;  scale;  y
      backward    own = gy * x * scale^(-beta - 1);  sums over neighbours of own;  gx

Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012.
"""

from __future__ import annotations

from ...codegen import vector_math
from ...codegen.jit import body, kernel, split_range
from ...runtime import layout
from .pixels import scratch


@body
def neighbour_sums(a, before, after, out):
    """Sum of each element, the ``before`` elements below it and the ``after`` elements above it."""
    out[:] = 0
    for j in range(-before, after + 1):
        start, stop = max(-j, 0), min(a.size - j, a.size)
        if start < stop:
            target, source = out[start:stop], a[start + j : stop + j]
            for c in range(target.size):
                target[c] += source[c]


@body
def powers(scale, beta, out):
    """``scale ** -beta``; the exponent of the paper needs no call of the library."""
    if beta == 0.75:
        for c in range(scale.size):
            out[c] = vector_math.inverse_power_3_4(scale[c])
    else:
        for c in range(scale.size):
            out[c] = scale[c] ** -beta


@kernel
def _response_fwd(thread, threads, x, size, ratio, beta, k, part, y, scale):
    rows, channels = x.shape
    first, end = split_range(thread, threads, rows)
    squares = part[thread, 0, :channels]
    for r in range(first, end):
        row, s, out = x[r], scale[r], y[r]
        for c in range(channels):
            squares[c] = row[c] * row[c]
        neighbour_sums(squares, size // 2, (size - 1) // 2, s)
        for c in range(channels):
            s[c] = k + ratio * s[c]
        powers(s, beta, out)
        for c in range(channels):
            out[c] *= row[c]


@kernel
def _response_bwd(thread, threads, gy, x, scale, size, ratio, beta, part, gx):
    rows, channels = x.shape
    factor = x.dtype.type(2) * ratio * beta
    first, end = split_range(thread, threads, rows)
    work = part[thread]
    power, own, others = work[0, :channels], work[1, :channels], work[2, :channels]
    for r in range(first, end):
        up, row, s, out = gy[r], x[r], scale[r], gx[r]
        powers(s, beta, power)
        for c in range(channels):
            own[c] = up[c] * row[c] * power[c] / s[c]
        neighbour_sums(own, (size - 1) // 2, size // 2, others)
        for c in range(channels):
            out[c] = up[c] * power[c] - factor * row[c] * others[c]


def local_response_norm_fwd(x, size, alpha, beta, k):
    (y, y5), (scale, scale5) = layout.empty(x.shape, x.dtype), layout.empty(x.shape, x.dtype)
    rows, number = layout.rows(x), x.dtype.type
    ratio, beta, k = number(alpha / size), number(beta), number(k)
    _response_fwd(
        rows, size, ratio, beta, k, scratch(1, rows), y5.reshape(rows.shape), scale5.reshape(rows.shape)
    )
    return y, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    rows, number = layout.rows(x), x.dtype.type
    ratio, beta = number(alpha / size), number(beta)
    _response_bwd(
        layout.rows(gy),
        rows,
        layout.rows(scale),
        size,
        ratio,
        beta,
        scratch(3, rows),
        gx5.reshape(rows.shape),
    )
    return gx
