"""Sums per channel and the normalisations.

Channels last, an image batch is a matrix of ``rows`` x ``channels``, and what BatchNorm needs are sums over its columns. One
pass over memory gives two of them::

    blocks:  channels in strips of up to 32 x 4 (neighbouring threads, neighbouring addresses)  x  pieces of the rows
    a block: 256 threads = 32 columns of threads, 4 channels each, x 8 lanes; a lane adds up every 8th row of the piece, four
             rows in the arrays' own type, these sums in float64; a tree over the lanes gives the piece's sums, written as
             partial[sum, channel, piece]
    finish:  a team of threads per channel adds up the pieces and turns the sums into what was asked for

No atomics: the order of additions depends on the shape alone. The sums of a BatchNorm are taken of ``x - x[0]``, so that
values far from zero lose nothing.
"""

from __future__ import annotations

import functools

import numpy as np

from . import layout, memory, ptx
from .launch import SIMULATED, THREADS, body, cuda, grid, grid_over_channels, kernel, launch, math
from .reduce import team_reducer, teams, weights
from .shape import reshape

_STRIP = 4 if SIMULATED else 32
_BLOCKS = 4 if SIMULATED else 1024
_FEW = 64 if SIMULATED else 1 << 16  # elements that are added up in one piece
SHORT = 4  # rows added up in the arrays' own type before their sum goes to the float64 ones


# ------------------------------------------------------------------------------------------------- sums of columns
FROM_Y, FROM_X = 1, 2  # how ReLU's mask is told: from the result, or from what it would be of x
_SUMS = {  # of x, a gradient, a channel's mean and 1 / deviation: what is added up, and of its sums over n rows what is kept
    "stats": (lambda x, g, mean, scale: (x - mean, (x - mean) * (x - mean)),
              lambda first, second, mean, n: (mean + first / n, second - first * first / n)),
    "grad": (lambda x, g, mean, scale: (g, g * ((x - mean) * scale)), lambda first, second, mean, n: (first, second)),
    "sum": (lambda x, g, mean, scale: (x, x), lambda first, second, mean, n: (first, second)),
}  # fmt: skip


@functools.cache
def _columns_kernel(name, real, each):
    terms, keep = map(body, _SUMS[name])
    with_gradient, with_mean, stats = name == "grad", name != "sum", name == "stats"
    pointer, (load, _) = ptx.pointer, ptx.neighbours(each)
    zero, one, size = real(0), real(1), THREADS * each

    @body
    def add(x, other, y, masked, i, mean, scale, gain, shift, p, q):
        """Add to the short sums ``p`` and ``q`` what lies at ``i``."""
        v, g, r = load(x, i), load(other if with_gradient else x, i), load(y if masked == FROM_Y else x, i)
        for k in range(each):
            u = r[k] if masked == FROM_Y else (v[k] - mean[k]) * gain[k] + shift[k]
            u, w = terms(v[k], zero if masked and u <= zero else g[k], mean[k], scale[k])
            p[k] += u
            q[k] += w

    def columns(x, other, y, mean_of, scale_of, gain_of, shift_of, masked, rows, channels, strip, piece, pieces, partial,
                divisor, u, v):  # fmt: skip
        first = pointer(cuda.shared.array(size, np.float64))
        second = pointer(cuda.shared.array(size, np.float64))
        t = cuda.threadIdx.x
        lanes, lane = THREADS // strip, t // strip
        c = (cuda.blockIdx.y * strip + t % strip) * each
        start, end = np.int64(cuda.blockIdx.x) * piece, min(np.int64(cuda.blockIdx.x + 1) * piece, rows)
        a, b = cuda.local.array(each, np.float64), cuda.local.array(each, np.float64)
        p, q = cuda.local.array(each, real), cuda.local.array(each, real)
        mean, scale = cuda.local.array(each, real), cuda.local.array(each, real)
        gain, shift = cuda.local.array(each, real), cuda.local.array(each, real)
        for k in range(each):
            a[k] = b[k] = np.float64(0)
            mean[k] = mean_of[c + k] if with_mean and c < channels else zero
            scale[k] = scale_of[c + k] if with_gradient and c < channels else one
            gain[k] = gain_of[c + k] if masked == FROM_X and c < channels else one
            shift[k] = shift_of[c + k] if masked == FROM_X and c < channels else zero
        if c < channels:
            i, jump, stop = (start + lane) * channels + c, np.int64(lanes) * channels, end * channels
            while i < stop:
                for k in range(each):
                    p[k] = q[k] = zero
                if i + (SHORT - 1) * jump < stop:
                    for _ in range(SHORT):
                        add(x, other, y, masked, i, mean, scale, gain, shift, p, q)
                        i += jump
                else:
                    add(x, other, y, masked, i, mean, scale, gain, shift, p, q)
                    i += jump
                for k in range(each):
                    a[k] += np.float64(p[k])
                    b[k] += np.float64(q[k])
        for k in range(each):
            first[k * THREADS + t] = a[k]
            second[k * THREADS + t] = b[k]
        cuda.syncthreads()
        half = lanes // 2
        while half > 0:
            if lane < half:
                for k in range(0, size, THREADS):
                    first[k + t] += first[k + t + half * strip]
                    second[k + t] += second[k + t + half * strip]
            cuda.syncthreads()
            half = half // 2
        if lane == 0 and c < channels:
            for k in range(each):
                at = k * THREADS + t
                sum1, sum2 = keep(first[at], second[at], np.float64(mean[k]), np.float64(end - start))
                if pieces == 1 and not stats:
                    u[c + k] = real(sum1 / divisor)
                    v[c + k] = real(sum2)
                else:
                    partial[(c + k) * pieces + cuda.blockIdx.x] = sum1
                    partial[(channels + c + k) * pieces + cuda.blockIdx.x] = sum2

    columns.__name__ = f"{name}_columns"
    return kernel(columns)


@functools.cache
def _add_pieces_kernel(real):
    reduce_team = team_reducer("add")

    @kernel
    def add_pieces(partial, channels, pieces, team, divisor, u, v):
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        c = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        a, b = np.float64(0), np.float64(0)
        if c < channels:
            for i in range(lane, pieces, team):
                a += partial[c * pieces + i]
                b += partial[(channels + c) * pieces + i]
        a = reduce_team(shared, a, team)
        b = reduce_team(shared, b, team)
        if lane == 0 and c < channels:
            u[c] = real(a / divisor)
            v[c] = real(b)

    return add_pieces


@functools.cache
def _merge_pieces_kernel(real):
    """Means and sums of squared deviations of pieces as those of the whole (Chan, Golub and LeVeque 1983), and what a
    BatchNorm makes of them."""
    reduce_team = team_reducer("add")
    zero, one = real(0), real(1)

    @kernel
    def merge_pieces(partial, channels, pieces, piece, rows, team, eps, weight, weighted, bias, biased, running_mean,
                     running_var, moves, keep, gain, out):  # fmt: skip
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        c = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        total = np.float64(0)
        if c < channels:
            for i in range(lane, pieces, team):
                total += min(piece, rows - np.int64(i) * piece) * partial[c * pieces + i]
        mean = reduce_team(shared, total, team) / rows
        total = np.float64(0)
        if c < channels:
            for i in range(lane, pieces, team):
                d = partial[c * pieces + i] - mean
                total += partial[(channels + c) * pieces + i] + min(piece, rows - np.int64(i) * piece) * (d * d)
        var = reduce_team(shared, total, team) / rows
        if lane == 0 and c < channels:
            m, v, s = real(mean), real(var), real(np.float64(1) / math.sqrt(var + eps))
            out[c] = m
            out[channels + c] = v
            out[2 * channels + c] = s
            out[3 * channels + c] = s * (weight[c] if weighted else one)
            out[4 * channels + c] = bias[c] if biased else zero
            if moves:
                running_mean[c] = keep * running_mean[c] + gain * m
                running_var[c] = keep * running_var[c] + gain * real(var * rows / (rows - 1))

    return merge_pieces


def _neighbours(channels, *arrays) -> int:
    """How many channels a thread takes at once."""
    return 4 if channels % 4 == 0 and all(a.address % 16 == 0 for a in arrays) else 1


def _pieces(name, x, out=None, divisor=1.0, other=None, y=None, vectors=(None,) * 4, masked=0):
    """Sums over pieces of the rows of the matrix ``x``: two float64 per channel and piece, and the rows of a piece. If there
    is but one piece they are written to the vectors ``out``, the first of them divided by ``divisor``."""
    rows, channels = x.shape
    other, y, *vectors = (x if a is None else a for a in (other, y, *vectors))
    each = _neighbours(channels, x, other, y)
    strip = 1
    while strip < min(_STRIP, channels // each):
        strip *= 2
    strips, lanes = -(-channels // each // strip), THREADS // strip
    piece = max(-(-rows // max(_BLOCKS // strips, 1)), SHORT * lanes)
    piece = rows if x.size <= _FEW and out else piece
    pieces = max(-(-rows // piece), 1)
    partial = memory.empty((2, channels, pieces), np.float64)
    launch(_columns_kernel(name, x.dtype.type, each), (pieces, strips), THREADS, x, other, y, *vectors, masked, rows, channels,
           strip, piece, pieces, partial, np.float64(divisor), *(out or (x, x)))  # fmt: skip
    return partial, piece


def _columns(name, x, divisor=1.0, **others):
    """Two vectors of one entry per channel: the sums, the first of them divided by ``divisor``."""
    u, v = memory.empty(x.shape[1:], x.dtype), memory.empty(x.shape[1:], x.dtype)
    partial, _ = _pieces(name, x, (u, v), divisor, **others)
    _, channels, pieces = partial.shape
    blocks, team = teams(channels, pieces)
    if pieces > 1:
        launch(_add_pieces_kernel(x.dtype.type), blocks, THREADS, partial, channels, pieces, team, np.float64(divisor), u, v)
    return u, v


def _known_moments(x):
    """What the convolution that wrote the matrix ``x`` left, in the form of :func:`_pieces`; None if there is nothing."""
    known = x.base.known.get("moments")
    if known is None or x.offset or known[0].shape[1:] != (x.shape[1], -(-x.shape[0] // known[1])):
        return None
    return known


def _moments(x, eps=0.0, weight=None, bias=None, running=None, momentum=0.0):
    """Mean, variance, 1 / deviation, that times the weight, and the bias of each channel of the matrix ``x``, as one array;
    ``running`` is moved."""
    partial, piece = _known_moments(x) or _pieces("stats", x, vectors=(x, None, None, None))  # deviations from the first row
    _, channels, pieces = partial.shape
    out, real = memory.empty((5, channels), x.dtype), x.dtype.type
    blocks, team = teams(channels, pieces)
    mean, var = running or (out, out)
    launch(_merge_pieces_kernel(real), blocks, THREADS, partial, channels, pieces, piece, x.shape[0], team, np.float64(eps),
           *weights(weight, x), *weights(bias, x), mean, var, running is not None, real(1 - momentum), real(momentum), out)
    return [out.view((channels,), None, i * channels * out.itemsize) for i in range(5)]


def _matrix(x):
    """``N, C, *spatial`` as ``(N * spatial, C)`` in memory order."""
    return layout.dense(x) if x.ndim == 2 else layout.rows(x)


def column_sums(x, divisor=0):
    """Sum of each channel, divided by ``divisor`` unless 0."""
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0)
    return _columns("sum", _matrix(x), divisor or 1)[0]


def channel_sum(x):
    return column_sums(x)


# ------------------------------------------------------------------------------------------------- batch
def batch_norm_stats(x):
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0), layout.filled(x.shape[1:2], x.dtype, 0)
    return tuple(_moments(_matrix(x))[:2])


@functools.cache
def _batch_norm_kernel(real, each):
    zero, one = real(0), real(1)
    load, store = ptx.neighbours(each)

    @kernel
    def batch_norm(x, mean, invstd, weight, weighted, bias, biased, residual, added, relu, y, channels, n):
        # a thread meets the same channels every time
        first, step = np.int64(cuda.grid(1)) * each, np.int64(cuda.gridsize(1)) * each
        centre, scale, shift = cuda.local.array(each, real), cuda.local.array(each, real), cuda.local.array(each, real)
        for k in range(each):
            c = first % channels + k
            centre[k] = mean[c]
            scale[k] = invstd[c] * (weight[c] if weighted else one)
            shift[k] = bias[c] if biased else zero
        out = cuda.local.array(each, real)
        for i in range(first, n, step):
            v, r = load(x, i), load(residual if added else x, i)
            for k in range(each):
                u = (v[k] - centre[k]) * scale[k] + shift[k]
                if added:
                    u += r[k]
                out[k] = zero if relu and u <= zero else u
            store(y, i, out)

    return batch_norm


@functools.cache
def _batch_norm_bwd_kernel(real, each):
    zero, one = real(0), real(1)
    load, store = ptx.neighbours(each)

    @kernel
    def batch_norm_bwd(gy, x, y, masked, mean, invstd, weight, weighted, gain_of, shift_of, gw, gb, share, gx, gres,
                       with_residual, channels, n):  # fmt: skip
        # share is 1 / count where mean and invstd depend on x, else 0; gx = factor * g + tilt * (x - mean) + level
        first, step = np.int64(cuda.grid(1)) * each, np.int64(cuda.gridsize(1)) * each
        centre, factor = cuda.local.array(each, real), cuda.local.array(each, real)
        tilt, level = cuda.local.array(each, real), cuda.local.array(each, real)
        gain, shift = cuda.local.array(each, real), cuda.local.array(each, real)
        for k in range(each):
            c = first % channels + k
            centre[k] = mean[c]
            gain[k] = gain_of[c] if masked == FROM_X else one
            shift[k] = shift_of[c] if masked == FROM_X else zero
            factor[k] = invstd[c] * (weight[c] if weighted else one)
            level[k] = -gb[c] * share
            tilt[k] = -gw[c] * share * invstd[c]
        g, out = cuda.local.array(each, real), cuda.local.array(each, real)
        for i in range(first, n, step):
            u, v, r = load(gy, i), load(x, i), load(y if masked == FROM_Y else x, i)
            for k in range(each):
                w = r[k] if masked == FROM_Y else (v[k] - centre[k]) * gain[k] + shift[k]
                g[k] = zero if masked and w <= zero else u[k]
                out[k] = (g[k] + level[k] + tilt[k] * (v[k] - centre[k])) * factor[k]
            if with_residual:
                store(gres, i, g)
            store(gx, i, out)

    return batch_norm_bwd


def _out(x):
    """A new array like ``x`` and the matrix kernels write."""
    if x.ndim == 2:
        y = memory.empty(x.shape, x.dtype)
        return y, y
    return layout.empty(x.shape, x.dtype)


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    (y, out), rows, channels = _out(x), _matrix(x), x.shape[1]
    residual, added = (rows, False) if residual is None else (_matrix(residual), True)
    if x.size:
        each = _neighbours(channels, rows, residual)
        launch(_batch_norm_kernel(x.dtype.type, each), *grid_over_channels(x.size, channels, each), rows, layout.dense(mean),
               layout.dense(invstd), *weights(weight, mean), *weights(bias, mean), residual, added, activation == "relu", out,
               channels, x.size)  # fmt: skip
    return y


def _gradients(gy, x, y, mean, invstd, weight, share, with_residual, masked, gain, shift):
    """Gradients in x, weight, bias and residual; ``share``: of a number in its channel's mean, 0 where that is given."""
    real, channels = x.dtype.type, x.shape[1]
    (gx, gx_out), rows, grows = _out(x), _matrix(x), _matrix(gy)
    gres, gres_out = _out(x) if with_residual else (None, gx_out)
    if x.size == 0:
        return gx, *(layout.filled((channels,), x.dtype, 0) for _ in range(2)), gres
    y = _matrix(y) if masked == FROM_Y else rows
    gbias, gweight = _columns("grad", rows, other=grows, y=y, vectors=(mean, invstd, gain, shift), masked=masked)
    each = _neighbours(channels, rows, grows, y)
    launch(_batch_norm_bwd_kernel(real, each), *grid_over_channels(x.size, channels, each), grows, rows, y, masked, mean,
           invstd, *weights(weight, mean), gain, shift, gweight, gbias, real(share), gx_out, gres_out, with_residual, channels,
           x.size)  # fmt: skip
    return gx, gweight, gbias, gres


def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    share = x.shape[1] / x.size if training and x.size else 0
    mean, invstd = layout.dense(mean), layout.dense(invstd)
    masked = FROM_Y if activation == "relu" else 0
    return _gradients(gy, x, y, mean, invstd, weight, share, with_residual, masked, mean, mean)


def batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum):
    if x.size == 0:
        return _out(x)[0], (x, None, None, None, 0)
    mean, _, invstd, gain, shift = moments = _moments(_matrix(x), eps, weight, bias, running, momentum)
    y = batch_norm_fwd(x, mean, gain, None, shift, residual, activation)
    masked = 0 if activation is None else FROM_X if residual is None else FROM_Y
    return y, (x, y if masked == FROM_Y else None, weight, moments, masked)


def batch_norm_train_bwd(gy, saved, with_residual):
    x, y, weight, moments, masked = saved
    mean, _, invstd, gain, shift = moments or [layout.filled(x.shape[1:2], x.dtype, 0)] * 5
    share = x.shape[1] / max(x.size, 1)
    return _gradients(gy, x, y, mean, invstd, weight, share, with_residual, masked, gain, shift)


@functools.cache
def _running_kernel(real):
    @kernel
    def running_average(running, value, single, keep, gain, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            running[i] = keep * running[i] + gain * value[0 if single else i]

    return running_average


def running_step(running, value, keep, gain):
    real = running.dtype.type
    if not isinstance(value, memory.DeviceArray):
        value = memory.constant(np.asarray(value, running.dtype))
    value = layout.dense(value)
    launch(_running_kernel(real), *grid(running.size), running, value, value.size == 1 != running.size, real(keep), real(gain),
           running.size)  # fmt: skip


# ------------------------------------------------------------------------------------------------- rows
@functools.cache
def _layer_norm_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def layer_norm(x, weight, weighted, bias, biased, eps, y, means, invstds, n, channel, rows, team):
        # entry of weight and bias: row % groups * channels of a group + column // channel, folded into two numbers
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        width = n // channel[0]
        first = row % channel[1] * width
        total = zero
        if valid:
            for i in range(lane, n, team):
                total += np.float64(x[place + i])
        mean = sum_team(shared, total, team) / n
        total = zero
        if valid:
            for i in range(lane, n, team):
                d = np.float64(x[place + i]) - mean
                total += d * d
        invstd = np.float64(1) / math.sqrt(sum_team(shared, total, team) / n + eps)
        if valid:
            m, s = real(mean), real(invstd)
            for i in range(lane, n, team):
                v = (x[place + i] - m) * s
                c = first + i // channel[0]
                if weighted:
                    v = v * weight[c]
                if biased:
                    v += bias[c]
                y[place + i] = v
            if lane == 0:
                means[row] = m
                invstds[row] = s

    return layer_norm


@functools.cache
def _layer_norm_bwd_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def layer_norm_bwd(gy, x, means, invstds, weight, weighted, gx, scaled, n, channel, rows, team):
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        first = row % channel[1] * (n // channel[0])
        a, b = zero, zero
        if valid:
            m, s = means[row], invstds[row]
            for i in range(lane, n, team):
                g = gy[place + i]
                xhat = (x[place + i] - m) * s
                scaled[place + i] = g * xhat
                if weighted:
                    g = g * weight[first + i // channel[0]]
                a += np.float64(g)
                b += np.float64(g * xhat)
        a = sum_team(shared, a, team) / n
        b = sum_team(shared, b, team) / n
        if valid:
            m, s = means[row], invstds[row]
            ra, rb = real(a), real(b)
            for i in range(lane, n, team):
                g = gy[place + i]
                if weighted:
                    g = g * weight[first + i // channel[0]]
                gx[place + i] = s * (g - ra - (x[place + i] - m) * s * rb)

    return layer_norm_bwd


def _normalised(x, weight, bias, eps, rows, channel):
    n = x.size // max(rows, 1)
    y, mean, invstd = memory.empty(x.shape, x.dtype), *(memory.empty((rows,), x.dtype) for _ in range(2))
    blocks, team = teams(rows, n)
    launch(_layer_norm_kernel(x.dtype.type), blocks, THREADS, x, *weights(weight, x), *weights(bias, x), np.float64(eps), y,
           mean, invstd, n, channel, rows, team)  # fmt: skip
    return y, mean, invstd


def _normalised_bwd(gy, x, mean, invstd, weight, rows, channel):
    """Gradient in x, and gy times the normalised x, whose sums are the weight's gradient."""
    n = x.size // max(rows, 1)
    gx, scaled = memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype)
    blocks, team = teams(rows, n)
    launch(_layer_norm_bwd_kernel(x.dtype.type), blocks, THREADS, gy, x, mean, invstd, *weights(weight, x), gx, scaled, n,
           channel, rows, team)  # fmt: skip
    return gx, scaled


def layer_norm_fwd(x, weight, bias, eps):
    return _normalised(layout.dense(x), weight, bias, eps, x.shape[0], (1, 1))


def layer_norm_bwd(gy, x, mean, invstd, weight):
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, x.shape[0], (1, 1))
    return gx, channel_sum(scaled), channel_sum(gy)


def _grouping(x, groups):
    """Rows, and (elements of a channel, groups): where in the weights a row's elements find theirs."""
    return x.shape[0] * groups, (max(x.size // max(x.shape[0] * x.shape[1], 1), 1), groups)


def group_norm_fwd(x, groups, weight, bias, eps):
    y, mean, invstd = _normalised(layout.dense(x), weight, bias, eps, *_grouping(x, groups))
    shape = x.shape[0], groups
    return y, reshape(mean, shape), reshape(invstd, shape)


def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, *_grouping(x, groups))
    return gx, channel_sum(scaled), channel_sum(gy)


# ------------------------------------------------------------------------------------------------- neighbouring channels
@functools.cache
def _local_response_kernel(real):
    zero, one = real(0), real(1)

    @kernel
    def local_response(x, alpha, beta, k, size, y, scale, channels, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            c = i % channels
            total = zero
            for d in range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, channels)):
                v = x[i - c + d]
                total += v * v
            scale[i] = k + alpha * total
            y[i] = x[i] * math.pow(scale[i], -beta)

    @kernel
    def local_response_bwd(gy, x, scale, alpha, beta, size, gx, channels, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            c = i % channels
            total = zero
            for d in range(max(c - (size - 1) // 2, 0), min(c + size // 2 + 1, channels)):
                j = i - c + d
                total += gy[j] * x[j] * math.pow(scale[j], -beta - one)
            gx[i] = gy[i] * math.pow(scale[i], -beta) - (alpha + alpha) * beta * x[i] * total

    return local_response, local_response_bwd


def local_response_norm_fwd(x, size, alpha, beta, k):
    real, (y, out), (scale, scale_out) = x.dtype.type, _out(x), _out(x)
    launch(_local_response_kernel(real)[0], *grid(x.size), _matrix(x), real(alpha / size), real(beta), real(k), size, out,
           scale_out, x.shape[1], x.size)  # fmt: skip
    return y, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    real, (gx, out) = x.dtype.type, _out(x)
    launch(_local_response_kernel(real)[1], *grid(x.size), _matrix(gy), _matrix(x), _matrix(scale), real(alpha / size),
           real(beta), size, out, x.shape[1], x.size)  # fmt: skip
    return gx
