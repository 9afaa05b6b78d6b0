"""Sums, means and variances of channels.

    threads: equal shares of the jobs (one part of one image)
      job:  for each block of BLOCK pixels         accumulators in the array's dtype, in the first-level cache
              for each pixel (four at a time where x is in the caches)
                all channels:  d = x - origin;  sums += d;  squares += d * d
              merge the block into the totals of the job           in float64
    -- all threads meet --
    threads: equal shares of the images
      merge the totals of an image's parts: mean and variance of each channel

A sum of ``x * x`` would lose a variance that is small compared with the mean. So a block adds up
``d = x - origin`` and ``d * d``. The origin is the mean of the blocks before it (for the first block, of a
quarter of that block). Blocks are merged as means and squared deviations. The sum of ``d * d`` is at most
four times the squared deviations of all pixels so far, whatever the values are, so cancellation costs no
accuracy. (If the origin were one pixel, an outlier there would spoil the channel.)

Chan, Golub, LeVeque: Algorithms for computing the sample variance, The American Statistician 37, 1983.
"""

from __future__ import annotations

import numpy as np

from ...codegen.jit import body, in_parallel, kernel, split_range, stages
from ...runtime import memory
from .pixels import one_image, part_count, piece, scratch

BLOCK = 64  # pixels between two merges
# Elements of an array that the caches may hold. Up to that size pixels are added four at a time; a larger
# array comes from memory, which is read faster in order.
CACHED = 1 << 22
SMALL = 1 << 13  # elements up to which NumPy has added up rows before a launch would have begun


# ------------------------------------------------------------------------------------------------- sums
@body
def channel_sum_part(x, start, stop, sums, total):
    """Sum of each channel over the pixels from ``start`` to ``stop``; ``sums`` is scratch."""
    total[:] = 0
    sums[:] = 0
    for first in range(start, stop, BLOCK):
        end = min(first + BLOCK, stop)
        whole = end - (end - first) % 4 if x.size <= CACHED else first
        for r in range(first, whole, 4):
            p, q, s, t = x[r], x[r + 1], x[r + 2], x[r + 3]
            for c in range(total.size):
                sums[c] += (p[c] + q[c]) + (s[c] + t[c])
        for r in range(whole, end):
            row = x[r]
            for c in range(total.size):
                sums[c] += row[c]
        for c in range(total.size):
            total[c] += sums[c]
            sums[c] = 0


@kernel
def _channel_sums(thread, threads, x, part, totals):
    parts = totals.shape[0]
    first, end = split_range(thread, threads, parts)
    for p in range(first, end):
        start, stop = split_range(p, parts, x.shape[0])
        channel_sum_part(x, start, stop, part[thread, 0], totals[p])


def channel_sum(x):
    if x.ndim == 2 and x.size < SMALL:
        return x.sum(axis=0, dtype=np.float64).astype(x.dtype)
    pixels = one_image(x)[0]
    totals = memory.empty((part_count(1), pixels.shape[1]), np.float64)
    _channel_sums(pixels, scratch(1, pixels), totals)
    return totals.reshape(-1, x.shape[1]).sum(axis=0).astype(x.dtype)


# ------------------------------------------------------------------------------------------------- moments
@body
def start_block(part, sums, pixels):
    """Begin sums about the mean of ``pixels`` pixels whose sums are given: ``part`` becomes that origin and
    two zeros."""
    zero, one_by_pixels = part.dtype.type(0), 1 / pixels
    for c in range(sums.size):
        mean = part.dtype.type(sums[c] * one_by_pixels)
        part[0, c] = mean if np.isfinite(mean) else zero
        part[1, c] = part[2, c] = zero


@body
def merge_block(part, count, total, before):
    """Add the ``count`` pixels of a block to ``total``, the sums and squared deviations of ``before`` earlier
    pixels."""
    one_by_count, one_by_before = 1 / count, 1 / max(before, 1)
    weight = before * count / (before + count)
    for c in range(total.shape[1]):
        shifted = np.float64(part[1, c])
        deviations = part[2, c] - shifted * shifted * one_by_count
        block = np.float64(part[0, c]) * count + shifted
        apart = block * one_by_count - total[0, c] * one_by_before
        total[0, c] += block
        total[1, c] += (0.0 if deviations < 0 else deviations) + weight * apart * apart  # NaN passes


@body
def moments_part(thread, threads, x, scratch, totals):
    """Sums and squared deviations of the channels of each of a thread's jobs."""
    part = scratch[thread]
    images, pixels, channels = x.shape
    parts = totals.shape[0] - 1
    first, end = split_range(thread, threads, parts * images)
    origin, sums, squares = part[0], part[1], part[2]
    for job in range(first, end):
        n, begin, stop = piece(job, images, parts, pixels)
        total = totals[job // images, n]
        some = min(BLOCK // 4, stop - begin)
        channel_sum_part(x[n], begin, begin + some, sums, total[0])
        start_block(part, total[0], max(some, 1))
        total[:] = 0
        for start in range(begin, stop, BLOCK):
            end_block = min(start + BLOCK, stop)
            whole = end_block - (end_block - start) % 4 if x.size <= CACHED else start
            for r in range(start, whole, 4):  # a sum is read and written once for four pixels
                p, q, s, t = x[n, r], x[n, r + 1], x[n, r + 2], x[n, r + 3]
                for c in range(channels):
                    d, e, f, g = p[c] - origin[c], q[c] - origin[c], s[c] - origin[c], t[c] - origin[c]
                    sums[c] += (d + e) + (f + g)
                    squares[c] += (d * d + e * e) + (f * f + g * g)
            for r in range(whole, end_block):
                row = x[n, r]
                for c in range(channels):
                    d = row[c] - origin[c]
                    sums[c] += d
                    squares[c] += d * d
            merge_block(part, end_block - start, total, start - begin)
            start_block(part, total[0], end_block - begin)


@body
def merge_parts(totals, n, pixels, channels):
    """Mean and variance of the channels of image ``n``, from the totals of all parts and joined pixels;
    written to the last of the totals."""
    parts, width = totals.shape[0] - 1, totals.shape[3]
    mean, variance = totals[parts, n, 0], totals[parts, n, 1]
    one_by_count = 1 / (pixels * (width // channels))
    mean[:] = 0
    variance[:] = 0
    for p in range(parts):
        for k in range(0, width, channels):
            sums = totals[p, n, 0, k : k + channels]
            for c in range(channels):
                mean[c] += sums[c] * one_by_count
    for p in range(parts):
        start, stop = split_range(p, parts, pixels)
        count = stop - start
        one_by_pixels = 1 / max(count, 1)
        for k in range(0, width, channels):
            sums, deviations = totals[p, n, 0, k : k + channels], totals[p, n, 1, k : k + channels]
            for c in range(channels):
                apart = sums[c] * one_by_pixels - mean[c]
                variance[c] += (deviations[c] + count * apart * apart) * one_by_count


@body
def _merged(thread, threads, x, channels, totals):
    first, end = split_range(thread, threads, x.shape[0])
    for n in range(first, end):
        merge_parts(totals, n, x.shape[1], channels)


@stages
def _moments(threads, x, channels, part, totals):
    in_parallel(moments_part, threads, (x, part, totals))
    in_parallel(_merged, threads, (x, channels, totals))


def empty_totals(x: np.ndarray) -> np.ndarray:
    """Two sums for each part, image and channel, and (last) what the parts amount to."""
    return memory.empty((part_count(len(x)) + 1, len(x), 2, x.shape[2]), np.float64)


def moments(x: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each image's channels, in float64."""
    totals = empty_totals(x)
    _moments(x, channels, scratch(3, x), totals)
    return totals[-1, :, 0, :channels], totals[-1, :, 1, :channels]
