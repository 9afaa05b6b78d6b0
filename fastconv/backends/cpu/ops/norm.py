"""Normalisation: sums per channel or row, then one pass that applies them.

    batch norm, forward:   pass 1  per thread: rows of pixels -> sum and squared deviations per channel
                           pass 2  y = relu((x - mean) * scale + bias + residual)                       one read, one write
              backward:    pass 1  per thread: sum of gz and of gz * (x - mean), with gz = gy masked by y > 0
                                   (without a residual y is computed again from x, which is read anyway)
                           pass 2  gx = scale * (gz - mean(gz) - xhat * mean(gz * xhat)), gresidual = gz

    x as rows of pixels:   pixel 0  c c c c c c      Sums run in the array's dtype over BLOCK pixels, whose accumulators
                           pixel 1  c c c c c c      stay in the first-level cache, and between blocks in float64.
                           ...

Kernels see ``images, pixels, channels`` and one vector of channels per image: batch norm is the case of one
image with all pixels, group norm adds up the sums of a group's channels.

A sum of ``x * x`` would lose a variance that is small beside the mean. So a block adds up ``d = x - o`` and
``d * d``, where ``o`` is the mean of the blocks before it (of a quarter of the block, where that is the
first), and blocks are merged as means and squared deviations. The sum of ``d * d`` is at most four times the
squared deviations of all pixels so far, whatever the values are, so cancellation costs no accuracy. (With one
pixel as ``o``, an outlier in that place would spoil the channel.)

Chan, Golub, LeVeque: Algorithms for computing the sample variance, The American Statistician 37, 1983.
"""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from fastconv.backends import settings

from ..codegen import vector_math
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread

BLOCK = 64
# elements up to which pixels are added four at a time; what comes from memory is read faster in order
CACHED = 1 << 22
SMALL = 1 << 13  # elements below which NumPy has added up rows before a launch would have begun
NO_MASK, FROM_Y, FROM_X = 0, 1, 2  # what tells backward where ReLU let values pass


def _parts(images: int) -> int:
    """Pieces that the pixels of each image are cut into, so that all threads have work."""
    threads = settings.get_num_threads()
    return 1 if images >= 8 * threads else threads


def _scratch(count: int, x) -> np.ndarray:
    """``count`` vectors of channels for each thread."""
    line = 128 // x.itemsize
    channels = -(-x.shape[-1] // line) * line
    (rows,) = per_thread((count * channels, x.dtype))
    return rows.reshape(len(rows), count, channels)


# ------------------------------------------------------------------------------------------------- per
# channel
@body(inline=True)
def piece(job, images, parts, pixels):
    """The image of a job and the pixels it covers."""
    start, stop = split_range(job // images, parts, pixels)
    return job % images, start, stop


@body
def sum_share(x, start, stop, sums, total):
    """Sum of each channel over the pixels from ``start`` to ``stop``."""
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


@body
def start_block(part, sums, pixels):
    """Begin sums about the mean of ``pixels`` pixels, whose sums are given: ``part`` is that origin and two
    zeros."""
    zero, one_by_pixels = part.dtype.type(0), 1 / pixels
    for c in range(sums.size):
        mean = part.dtype.type(sums[c] * one_by_pixels)
        part[0, c] = mean if np.isfinite(mean) else zero
        part[1, c] = part[2, c] = zero


@body
def merge_block(part, count, total, before):
    """Add the ``count`` pixels of a block to the sums and squared deviations ``total`` of the ``before``
    pixels before it."""
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
def moment_share(thread, threads, x, part, totals):
    """Sums and squared deviations of each piece's channels."""
    images, pixels, channels = x.shape
    parts = totals.shape[0] - 1
    first, end = split_range(thread, threads, parts * images)
    origin, sums, squares = part[0], part[1], part[2]
    for job in range(first, end):
        n, begin, stop = piece(job, images, parts, pixels)
        total = totals[job // images, n]
        some = min(BLOCK // 4, stop - begin)
        sum_share(x[n], begin, begin + some, sums, total[0])
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
    """From the totals of all parts, over the several pixels in a row, mean and variance of the channels of
    image ``n``: the last of the totals."""
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
def apply_share(thread, threads, x, parts, mean, scale, bias, residual, has_residual, relu, y):
    images, pixels, channels = x.shape
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


@body
def gradient_sum_share(thread, threads, gy, x, y, mean, scale, bias, mask, part, totals):
    images, pixels, channels = x.shape
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
def gradient_share(
    thread, threads, gy, x, parts, y, mean, scale, bias, offset, slope, mask, gx, gresidual, with_residual
):
    # gx = scale * gz + offset + slope * (x - mean)
    images, pixels, channels = x.shape
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
                    g = zero if mask and out[c] <= zero else up[c]  # a residual's mask is told from y
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
def _channel_sums(threads, x, part, totals):
    parts = totals.shape[0]
    for thread in prange(threads):
        first, end = split_range(thread, threads, parts)
        for p in range(first, end):
            start, stop = split_range(p, parts, x.shape[0])
            sum_share(x, start, stop, part[thread, 0], totals[p])


@kernel
def _moments(threads, x, channels, part, totals):
    for thread in prange(threads):
        moment_share(thread, threads, x, part[thread], totals)
    for thread in prange(threads):
        first, end = split_range(thread, threads, x.shape[0])
        for n in range(first, end):
            merge_parts(totals, n, x.shape[1], channels)


@kernel
def _apply(threads, x, parts, mean, scale, bias, residual, has_residual, relu, y):
    for thread in prange(threads):
        apply_share(thread, threads, x, parts, mean, scale, bias, residual, has_residual, relu, y)


@kernel
def _gradient_sums(threads, gy, x, y, mean, mask, part, totals):
    for thread in prange(threads):
        gradient_sum_share(thread, threads, gy, x, y, mean, mean, mean[0], mask, part[thread], totals)


@kernel
def _gradient(threads, gy, x, parts, y, mean, scale, offset, slope, mask, gx, gresidual, with_residual):
    for thread in prange(threads):
        gradient_share(
            thread,
            threads,
            gy,
            x,
            parts,
            y,
            mean,
            scale,
            scale[0],
            offset,
            slope,
            mask,
            gx,
            gresidual,
            with_residual,
        )


def _wide(pixels: int, channels: int) -> int:
    """Pixels that are taken as one with that many times the channels: few channels would be short loops."""
    return gcd(pixels, 1 << max(128 // channels, 1).bit_length() - 1)


def _one_image(x):
    """All pixels as those of one image: ``1, N * spatial, C``, or several pixels as one."""
    rows = layout.rows(x)
    return rows.reshape(1, -1, _wide(*rows.shape) * x.shape[1]) if x.size else rows[None]


def _images(x):
    """``N, spatial, C``, or several pixels as one."""
    return layout.to_ndhwc(x).reshape(x.shape[0], -1, _wide(prod(x.shape[2:]), x.shape[1]) * x.shape[1])


def _repeat(v, x):
    """A vector of channels per image, for the several pixels in a row of ``x``."""
    times = x.shape[2] // max(v.shape[1], 1)
    return layout.dense(np.tile(v, (1, times)) if times > 1 else v)


def _totals(x):
    """Two sums for each part, image and channel, and what they amount to."""
    return memory.empty((_parts(len(x)) + 1, len(x), 2, x.shape[2]), np.float64)


def _run_moments(x, channels):
    """Mean and variance of each image's channels in float64."""
    totals = _totals(x)
    _moments(x, channels, _scratch(3, x), totals)
    return totals[-1, :, 0, :channels], totals[-1, :, 1, :channels]


def _gradient_totals(gy, x, y, mean, mask):
    """The sums of each image's channels over all parts and the several pixels in a row."""
    totals, (images, channels) = _totals(x), mean.shape
    _gradient_sums(gy, x, y, _repeat(mean, x), mask, _scratch(2, x), totals)
    totals = totals[:-1].sum(axis=0).reshape(images, 2, -1, channels).sum(axis=2)
    return totals[:, 0], totals[:, 1]


def _vector(v, channels, dtype, default):
    return np.full(channels, default, dtype) if v is None else layout.dense(v)


def channel_sum(x):
    if x.ndim == 2 and x.size < SMALL:
        return x.sum(axis=0, dtype=np.float64).astype(x.dtype)
    pixels = _one_image(x)[0]
    totals = memory.empty((_parts(1), pixels.shape[1]), np.float64)
    _channel_sums(pixels, _scratch(1, pixels), totals)
    return totals.reshape(-1, x.shape[1]).sum(axis=0).astype(x.dtype)


# ------------------------------------------------------------------------------------------------- batch norm
@np.errstate(all="ignore")
def batch_norm_stats(x):
    if not x.size:
        return np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
    mean, variance = _run_moments(_one_image(x), x.shape[1])
    return mean[0].astype(x.dtype), variance[0].astype(x.dtype)


def _run_apply(x, mean, scale, bias, residual, activation, y):
    vectors = [_repeat(v, x) for v in (mean, scale, bias[None])]
    _apply(
        x,
        _parts(len(x)),
        vectors[0],
        vectors[1],
        vectors[2][0],
        x if residual is None else residual,
        residual is not None,
        activation == "relu",
        y.reshape(x.shape),
    )


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    y, y5 = layout.empty(x.shape, x.dtype)
    scale = invstd * _vector(weight, x.shape[1], x.dtype, 1)
    residual = None if residual is None else _one_image(residual)
    _run_apply(
        _one_image(x),
        mean[None],
        scale[None],
        _vector(bias, x.shape[1], x.dtype, 0),
        residual,
        activation,
        y5,
    )
    return y


@np.errstate(all="ignore")
def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    pixels, up, mean, mask = _one_image(x), _one_image(gy), mean[None], FROM_Y if activation else NO_MASK
    out = _one_image(y) if mask else pixels
    plain, scaled = _gradient_totals(up, pixels, out, mean, mask)
    scale = (invstd * _vector(weight, x.shape[1], x.dtype, 1))[None]
    offset, slope = np.zeros_like(scale), np.zeros_like(scale)
    if training:
        count = max(x.size // x.shape[1], 1)
        offset = (-scale * plain / count).astype(x.dtype)
        slope = (-scale * scaled * np.square(invstd, dtype=np.float64) / count).astype(x.dtype)
    gx, gx5 = layout.empty(x.shape, x.dtype)
    gresidual, gresidual5 = layout.empty(x.shape, x.dtype) if with_residual else (None, gx5)
    _gradient(
        up,
        pixels,
        _parts(1),
        out,
        *(_repeat(v, pixels) for v in (mean, scale, offset, slope)),
        mask,
        gx5.reshape(pixels.shape),
        gresidual5.reshape(pixels.shape),
        with_residual,
    )
    return gx, (scaled[0] * invstd).astype(x.dtype), plain[0].astype(x.dtype), gresidual


# Training as a whole: both passes and what lies between them in one launch, for small batches are all
# overhead.
@body
def add_up(totals, channels):
    """Both sums of each channel over all parts and the several pixels in a row: the last of the totals."""
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
def finish_moments(mean, variance, count, weight, bias, eps, running, momentum, stats, vectors):
    """``stats``: mean, variance, 1 / deviation; ``vectors``, as wide as the rows of x: mean, scale, bias."""
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
    """``grads``: those of weight and bias; ``lines``: offset and slope of gx."""
    channels, number = stats.shape[1], stats.dtype.type
    one_by_count = 1 / count
    for c in range(channels):
        plain, scaled, inverse = plain_sums[c], scaled_sums[c], np.float64(stats[2, c])
        grads[0, c], grads[1, c] = number(scaled * inverse), number(plain)
        scale = -vectors[1, 0, c] * one_by_count
        offset, slope = number(scale * plain), number(scale * scaled * inverse * inverse)
        for k in range(c, lines.shape[2], channels):
            lines[0, 0, k], lines[1, 0, k] = offset, slope


@kernel
def _train_fwd(
    threads,
    x,
    part,
    totals,
    count,
    weight,
    bias,
    eps,
    residual,
    has_residual,
    relu,
    running,
    momentum,
    stats,
    vectors,
    y,
):
    for thread in prange(threads):
        moment_share(thread, threads, x, part[thread], totals)
    parts = totals.shape[0] - 1
    merge_parts(totals, 0, x.shape[1], weight.size)
    finish_moments(
        totals[parts, 0, 0], totals[parts, 0, 1], count, weight, bias, eps, running, momentum, stats, vectors
    )
    for thread in prange(threads):
        apply_share(
            thread, threads, x, parts, vectors[0], vectors[1], vectors[2, 0], residual, has_residual, relu, y
        )


@kernel
def _train_bwd(
    threads, gy, x, y, part, totals, count, stats, vectors, lines, mask, grads, gx, gresidual, with_residual
):
    for thread in prange(threads):
        gradient_sum_share(
            thread, threads, gy, x, y, vectors[0], vectors[1], vectors[2, 0], mask, part[thread], totals
        )
    parts = totals.shape[0] - 1
    add_up(totals, stats.shape[1])
    finish_gradients(totals[parts, 0, 0], totals[parts, 0, 1], count, stats, vectors, lines, grads)
    for thread in prange(threads):
        gradient_share(
            thread,
            threads,
            gy,
            x,
            parts,
            y,
            vectors[0],
            vectors[1],
            vectors[2, 0],
            lines[0],
            lines[1],
            mask,
            gx,
            gresidual,
            with_residual,
        )


def batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum):
    y, y5 = layout.empty(x.shape, x.dtype)
    pixels, channels = _one_image(x), x.shape[1]
    stats, vectors = np.zeros((3, channels), x.dtype), np.empty((3, 1, pixels.shape[2]), x.dtype)
    if x.size:
        other = pixels if residual is None else _one_image(residual)
        totals = np.empty((_parts(1) + 1, 1, 2, pixels.shape[2]))
        # The kernel writes to contiguous arrays, and where nobody wants them to some that are forgotten.
        running = np.empty((2, channels), x.dtype) if running is None else running
        moved = [r if r.flags.carray else np.array(r) for r in running]
        _train_fwd(
            pixels,
            _scratch(3, pixels),
            totals,
            x.size // channels,
            _vector(weight, channels, x.dtype, 1),
            _vector(bias, channels, x.dtype, 0),
            eps,
            other,
            residual is not None,
            activation == "relu",
            tuple(moved),
            momentum,
            stats,
            vectors,
            y5.reshape(pixels.shape),
        )
        for r, m in zip(running, moved):
            if r is not m:
                r[...] = m
    mask = NO_MASK if activation is None else FROM_X if residual is None else FROM_Y
    return y, (x, y if mask == FROM_Y else None, stats, vectors, mask)


def batch_norm_train_bwd(gy, saved, with_residual):
    x, y, stats, vectors, mask = saved
    gx, gx5 = layout.empty(x.shape, x.dtype)
    gresidual, gresidual5 = layout.empty(x.shape, x.dtype) if with_residual else (None, gx5)
    grads = np.zeros((2, x.shape[1]), x.dtype)
    if x.size:
        pixels = _one_image(x)
        out = pixels if y is None else _one_image(y)
        totals, lines = (
            np.empty((_parts(1) + 1, 1, 2, pixels.shape[2])),
            np.empty((2, 1, pixels.shape[2]), x.dtype),
        )
        _train_bwd(
            _one_image(gy),
            pixels,
            out,
            _scratch(2, pixels),
            totals,
            x.size // x.shape[1],
            stats,
            vectors,
            lines,
            mask,
            grads,
            gx5.reshape(pixels.shape),
            gresidual5.reshape(pixels.shape),
            with_residual,
        )
    return gx, grads[0], grads[1], gresidual


# ------------------------------------------------------------------------------------------------- groups of
# channels
def _grouped(v, groups):
    """Per image and channel -> the mean over each group's channels."""
    return v.reshape(len(v), groups, -1).mean(axis=2)


def _spread(v, channels):
    """Per image and group -> per image and channel."""
    return np.repeat(v, channels // v.shape[1], axis=1)


@np.errstate(all="ignore")
def group_norm_fwd(x, groups, weight, bias, eps):
    y, y5 = layout.empty(x.shape, x.dtype)
    if not x.size:
        return y, np.zeros((x.shape[0], groups), x.dtype), np.zeros((x.shape[0], groups), x.dtype)
    images, channels = _images(x), x.shape[1]
    means, variances = _run_moments(images, channels)
    mean = _grouped(means, groups)
    variance = _grouped(variances + np.square(means - _spread(mean, channels)), groups)
    mean, invstd = mean.astype(x.dtype), (1 / np.sqrt(variance + eps)).astype(x.dtype)
    scale = _spread(invstd, channels) * _vector(weight, channels, x.dtype, 1)
    _run_apply(images, _spread(mean, channels), scale, _vector(bias, channels, x.dtype, 0), None, None, y5)
    return y, mean, invstd


@np.errstate(all="ignore")
def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    channels = x.shape[1]
    if not x.size:
        return gx, np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
    images, up, mean, invstd = _images(x), _images(gy), _spread(mean, channels), _spread(invstd, channels)
    plain, scaled = _gradient_totals(up, images, images, mean, NO_MASK)
    weight, count = _vector(weight, channels, x.dtype, 1), images[0].size // channels
    m1, m2 = (_spread(_grouped(weight * v / count, groups), channels) for v in (plain, scaled * invstd))
    vectors = mean, invstd * weight, (-invstd * m1).astype(x.dtype), (-invstd * invstd * m2).astype(x.dtype)
    gx5 = gx5.reshape(images.shape)
    _gradient(
        up, images, _parts(len(x)), images, *(_repeat(v, images) for v in vectors), NO_MASK, gx5, gx5, False
    )
    return gx, (scaled * invstd).sum(axis=0).astype(x.dtype), plain.sum(axis=0).astype(x.dtype)


# ------------------------------------------------------------------------------------------------- rows
@body
def normalise(x, weight, bias, eps, y):
    """One row; returns its mean and 1 / deviation."""
    total, square = 0.0, 0.0
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
def normalise_bwd(gy, x, m, s, weight, gx, gweight, gbias):
    """One row; adds to the gradients of weight and bias."""
    plain, scaled = 0.0, 0.0
    for i in range(x.size):
        g, xhat = gy[i], (x[i] - m) * s
        gweight[i] += g * xhat
        gbias[i] += g
        plain += g * weight[i]
        scaled += g * weight[i] * xhat
    m1, m2 = x.dtype.type(plain / x.size), x.dtype.type(scaled / x.size)
    for i in range(x.size):
        gx[i] = s * (gy[i] * weight[i] - m1 - (x[i] - m) * s * m2)


@kernel
def _layer_fwd(threads, x, weight, bias, eps, y, means, invstds):
    for thread in prange(threads):
        first, end = split_range(thread, threads, x.shape[0])
        for r in range(first, end):
            means[r], invstds[r] = normalise(x[r], weight, bias, eps, y[r])


@kernel
def _layer_bwd(threads, gy, x, means, invstds, weight, gx, totals):
    parts = totals.shape[0]
    for thread in prange(threads):
        first, end = split_range(thread, threads, parts)
        for p in range(first, end):
            start, stop = split_range(p, parts, x.shape[0])
            totals[p] = 0
            for r in range(start, stop):
                normalise_bwd(gy[r], x[r], means[r], invstds[r], weight, gx[r], totals[p, 0], totals[p, 1])


def layer_norm_fwd(x, weight, bias, eps):
    rows, n = x.shape
    y, mean, invstd = (memory.empty(s, x.dtype) for s in (x.shape, (rows,), (rows,)))
    _layer_fwd(
        layout.dense(x), _vector(weight, n, x.dtype, 1), _vector(bias, n, x.dtype, 0), eps, y, mean, invstd
    )
    return y, mean, invstd


def layer_norm_bwd(gy, x, mean, invstd, weight):
    gx = memory.empty(x.shape, x.dtype)
    totals = memory.empty((_parts(1), 2, x.shape[1]), np.float64)
    _layer_bwd(
        layout.dense(gy),
        layout.dense(x),
        layout.dense(mean),
        layout.dense(invstd),
        _vector(weight, x.shape[1], x.dtype, 1),
        gx,
        totals,
    )
    gweight, gbias = totals.sum(axis=0).astype(x.dtype)
    return gx, gweight, gbias


# -------------------------------------------------------------------------------------------------
# neighbouring channels
@body
def neighbours(a, before, after, out):
    """Sum of each element, the ``before`` elements below it and the ``after`` above it."""
    out[:] = 0
    for j in range(-before, after + 1):
        start, stop = max(-j, 0), min(a.size - j, a.size)
        if start < stop:
            target, source = out[start:stop], a[start + j : stop + j]
            for c in range(target.size):
                target[c] += source[c]


@body
def powers(scale, beta, out):
    """``scale ** -beta``; without a call for the exponent of the paper."""
    if beta == 0.75:
        for c in range(scale.size):
            out[c] = vector_math.inverse_power_3_4(scale[c])
    else:
        for c in range(scale.size):
            out[c] = scale[c] ** -beta


@kernel
def _response_fwd(threads, x, size, ratio, beta, k, part, y, scale):
    rows, channels = x.shape
    for thread in prange(threads):
        first, end = split_range(thread, threads, rows)
        squares = part[thread, 0, :channels]
        for r in range(first, end):
            row, s, out = x[r], scale[r], y[r]
            for c in range(channels):
                squares[c] = row[c] * row[c]
            neighbours(squares, size // 2, (size - 1) // 2, s)
            for c in range(channels):
                s[c] = k + ratio * s[c]
            powers(s, beta, out)
            for c in range(channels):
                out[c] *= row[c]


@kernel
def _response_bwd(threads, gy, x, scale, size, ratio, beta, part, gx):
    rows, channels = x.shape
    factor = x.dtype.type(2) * ratio * beta
    for thread in prange(threads):
        first, end = split_range(thread, threads, rows)
        power, own, others = (
            part[thread, 0, :channels],
            part[thread, 1, :channels],
            part[thread, 2, :channels],
        )
        for r in range(first, end):
            up, row, s, out = gy[r], x[r], scale[r], gx[r]
            powers(s, beta, power)
            for c in range(channels):
                own[c] = up[c] * row[c] * power[c] / s[c]
            neighbours(own, (size - 1) // 2, size // 2, others)
            for c in range(channels):
                out[c] = up[c] * power[c] - factor * row[c] * others[c]


def local_response_norm_fwd(x, size, alpha, beta, k):
    (y, y5), (scale, scale5) = layout.empty(x.shape, x.dtype), layout.empty(x.shape, x.dtype)
    rows, number = layout.rows(x), x.dtype.type
    _response_fwd(
        rows,
        size,
        number(alpha / size),
        number(beta),
        number(k),
        _scratch(1, rows),
        y5.reshape(rows.shape),
        scale5.reshape(rows.shape),
    )
    return y, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    gx, gx5 = layout.empty(x.shape, x.dtype)
    rows, number = layout.rows(x), x.dtype.type
    _response_bwd(
        layout.rows(gy),
        rows,
        layout.rows(scale),
        size,
        number(alpha / size),
        number(beta),
        _scratch(3, rows),
        gx5.reshape(rows.shape),
    )
    return gx
