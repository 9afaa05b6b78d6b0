"""What one thread computes between the two passes of batch norm in training: a few numbers per channel."""

from __future__ import annotations

import numpy as np

from ...codegen.jit import body


@body
def add_up(totals, channels):
    """Both sums of each channel over all parts and joined pixels; written to the last of the totals."""
    parts = totals.shape[0] - 1
    for s in range(2):
        total = totals[parts, 0, s]
        total[:] = 0
        for p in range(parts):
            for k in range(0, totals.shape[3], channels):
                sums = totals[p, 0, s, k : k + channels]
                for c in range(channels):
                    total[c] += sums[c]


@body
def finish_moments(mean, variance, affine, numbers, running, stats, vectors):
    """From the moments of the batch to what the second pass reads.

    ``affine``: weight and bias; ``numbers``: pixels, eps and momentum; ``running``: mean and variance, which
    move; ``stats``: mean, variance, 1 / deviation; ``vectors``, as wide as the rows of x: mean, scale, bias.
    """
    (weight, bias), (count, eps, momentum) = affine, numbers
    channels, number = weight.size, weight.dtype.type
    for c in range(channels):
        stats[0, c], stats[1, c] = number(mean[c]), number(variance[c])
        stats[2, c] = number(1 / np.sqrt(variance[c] + eps))
    for moved, value, unbiased in ((running[0], mean, 1.0), (running[1], variance, count / (count - 1))):
        for c in range(channels):
            moved[c] = number((1 - momentum) * moved[c] + momentum * unbiased * value[c])
    for k in range(0, vectors.shape[2], channels):
        for c in range(channels):
            v = k + c
            vectors[0, 0, v], vectors[1, 0, v], vectors[2, 0, v] = (
                stats[0, c],
                stats[2, c] * weight[c],
                bias[c],
            )


@body
def finish_gradients(plain_sums, scaled_sums, count, stats, vectors, lines, grads):
    """From the sums of the batch to ``grads``, those of weight and bias, and ``lines``, offset and slope of
    gx."""
    channels, number = stats.shape[1], stats.dtype.type
    one_by_count = 1 / count
    for c in range(channels):
        plain, scaled, inverse = plain_sums[c], scaled_sums[c], np.float64(stats[2, c])
        grads[0, c], grads[1, c] = number(scaled * inverse), number(plain)
        scale = -vectors[1, 0, c] * one_by_count
        offset, slope = number(scale * plain), number(scale * scaled * inverse * inverse)
        for k in range(c, lines.shape[2], channels):
            lines[0, 0, k], lines[1, 0, k] = offset, slope
