"""The passes that batch norm and group norm share: scale and shift, and its gradient.

    forward              y = max(0, (x - mean) * scale + bias + residual)        one or two reads, one write

    backward, sums       gz = gy where relu let the value pass, else 0
                         plain  = sum of gz                per part, image and channel
                         scaled = sum of gz * (x - mean)
    backward, gradient   gx = scale * gz + offset + slope * (x - mean);  gresidual = gz

    threads: equal shares of the jobs (one part of one image, see ``pixels.py``)
      for each pixel: one loop over all channels, which becomes vector code

Vectors (``mean``, ``scale``, ...) have one row of channels per image; ``bias`` is one row for all images. A
mask says where backward finds out which values relu let pass: from y, or from x, which is read anyway, by
computing y again.
"""

from __future__ import annotations

import numpy as np

from ...codegen.jit import body, kernel, split_range
from ...runtime import layout
from .moments import BLOCK, empty_totals
from .pixels import part_count, piece, repeat, scratch

NO_MASK, FROM_Y, FROM_X = 0, 1, 2


# ------------------------------------------------------------------------------------------------- forward
@body
def apply_part(thread, threads, x, parts, vectors, residual, has_residual, relu, y):
    """Scale and shift a thread's jobs; ``vectors``: mean, scale and bias.

    The rows of ``x`` and ``y`` may be longer than the vectors. What is behind is left out.
    """
    images, pixels, _ = x.shape
    mean, scale, bias = vectors
    channels = bias.size
    least = x.dtype.type(0 if relu else -np.inf)
    first, end = split_range(thread, threads, parts * images)
    for job in range(first, end):
        n, start, stop = piece(job, images, parts, pixels)
        m, s = mean[n], scale[n]
        for r in range(start, stop):
            row, out = x[n, r], y[n, r]
            if has_residual:
                other = residual[n, r]
                for c in range(channels):
                    v = (row[c] - m[c]) * s[c] + bias[c] + other[c]
                    out[c] = least if v <= least else v  # NaN passes
            else:
                for c in range(channels):
                    v = (row[c] - m[c]) * s[c] + bias[c]
                    out[c] = least if v <= least else v


@kernel
def _apply(thread, threads, x, parts, mean, scale, bias, residual, has_residual, relu, y):
    apply_part(thread, threads, x, parts, (mean, scale, bias), residual, has_residual, relu, y)


def scale_and_shift(x, mean, scale, bias, residual, activation, y) -> None:
    """Write ``activation((x - mean) * scale + bias + residual)`` to ``y``; ``x`` and ``residual``: images of
    rows. So is ``y``, or it has the same elements in the same order."""
    vectors = [repeat(v, x) for v in (mean, scale, bias[None])]
    _launch(x, vectors, residual, activation, y.reshape(x.shape))


def scale_and_shift_slices(x, mean, scale, bias, activation, y) -> None:
    """:func:`scale_and_shift` where the rows of ``x``, ``y`` or both are longer than the channels in them."""
    vectors = [layout.dense(v) for v in (mean, scale, bias[None])]
    _launch(x, vectors, None, activation, y)


def _launch(x, vectors, residual, activation, y) -> None:
    _apply(
        x,
        part_count(len(x)),
        vectors[0],
        vectors[1],
        vectors[2][0],
        x if residual is None else residual,
        residual is not None,
        activation == "relu",
        y,
    )


# ------------------------------------------------------------------------------------------------- backward
@body
def gradient_sums_part(thread, threads, gy, x, y, vectors, mask, scratch, totals):
    """Both sums of the channels of each of a thread's jobs; ``vectors``: mean, scale and bias."""
    part = scratch[thread]
    images, pixels, channels = x.shape
    mean, scale, bias = vectors
    parts, zero = totals.shape[0] - 1, x.dtype.type(0)
    first, end = split_range(thread, threads, parts * images)
    plain, scaled = part[0], part[1]
    for job in range(first, end):
        n, begin, stop = piece(job, images, parts, pixels)
        total, m, s = totals[job // images, n], mean[n], scale[n]
        total[:] = 0
        part[:] = 0
        for start in range(begin, stop, BLOCK):
            for r in range(start, min(start + BLOCK, stop)):
                up, row, out = gy[n, r], x[n, r], y[n, r]
                if mask == FROM_X:
                    for c in range(channels):
                        d = row[c] - m[c]
                        g = zero if d * s[c] + bias[c] <= zero else up[c]
                        plain[c] += g
                        scaled[c] += g * d
                elif mask == FROM_Y:
                    for c in range(channels):
                        g = zero if out[c] <= zero else up[c]
                        plain[c] += g
                        scaled[c] += g * (row[c] - m[c])
                else:
                    for c in range(channels):
                        plain[c] += up[c]
                        scaled[c] += up[c] * (row[c] - m[c])
            for k in range(2):
                for c in range(channels):
                    total[k, c] += part[k, c]
                    part[k, c] = 0


@body
def gradient_part(thread, threads, gy, x, parts, y, vectors, mask, gx, gresidual, with_residual):
    """Gradients of a thread's jobs; ``vectors``: mean, scale, bias, offset and slope."""
    images, pixels, channels = x.shape
    mean, scale, bias, offset, slope = vectors
    zero = x.dtype.type(0)
    first, end = split_range(thread, threads, parts * images)
    for job in range(first, end):
        n, start, stop = piece(job, images, parts, pixels)
        m, a, b, d = mean[n], scale[n], offset[n], slope[n]
        for r in range(start, stop):
            up, row, out, target = gy[n, r], x[n, r], y[n, r], gx[n, r]
            if with_residual:
                masked = gresidual[n, r]
                for c in range(channels):
                    # x alone does not say whether relu let a value pass: the residual was added before
                    g = zero if mask and out[c] <= zero else up[c]
                    masked[c] = g
                    target[c] = a[c] * g + b[c] + d[c] * (row[c] - m[c])
            elif mask == FROM_X:
                for c in range(channels):
                    e = row[c] - m[c]
                    g = zero if e * a[c] + bias[c] <= zero else up[c]
                    target[c] = a[c] * g + b[c] + d[c] * e
            elif mask == FROM_Y:
                for c in range(channels):
                    g = zero if out[c] <= zero else up[c]
                    target[c] = a[c] * g + b[c] + d[c] * (row[c] - m[c])
            else:
                for c in range(channels):
                    target[c] = a[c] * up[c] + b[c] + d[c] * (row[c] - m[c])


@kernel
def _gradient_sums(thread, threads, gy, x, y, mean, mask, part, totals):
    vectors = mean, mean, mean[0]  # scale and bias are read with a mask from x only
    gradient_sums_part(thread, threads, gy, x, y, vectors, mask, part, totals)


@kernel
def _gradient(thread, threads, gy, x, parts, y, vectors, mask, gx, gresidual, with_residual):
    mean, scale, offset, slope = vectors
    vectors = mean, scale, scale[0], offset, slope  # a bias is read with a mask from x only
    gradient_part(thread, threads, gy, x, parts, y, vectors, mask, gx, gresidual, with_residual)


def gradient_sums(gy, x, y, mean, mask) -> tuple[np.ndarray, np.ndarray]:
    """The two sums of each image's channels over all parts and joined pixels, in float64."""
    totals, (images, channels) = empty_totals(x), mean.shape
    _gradient_sums(gy, x, y, repeat(mean, x), mask, scratch(2, x), totals)
    totals = totals[:-1].sum(axis=0).reshape(images, 2, -1, channels).sum(axis=2)
    return totals[:, 0], totals[:, 1]


def gradient(gy, x, y, vectors, mask, gx, gresidual) -> None:
    """Write the gradient of ``x``, and that of the residual where wanted; ``vectors``: mean, scale, offset
    and slope."""
    target = gx.reshape(x.shape)
    _gradient(
        gy,
        x,
        part_count(len(x)),
        y,
        tuple([repeat(v, x) for v in vectors]),
        mask,
        target,
        target if gresidual is None else gresidual.reshape(x.shape),
        gresidual is not None,
    )
