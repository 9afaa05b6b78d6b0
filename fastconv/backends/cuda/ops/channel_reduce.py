"""Sums of each channel: gradients of biases, what the gradients of a BatchNorm need, and its mean and
variance.

Channels last, an image batch is a matrix of ``rows`` x ``channels``, and these are sums over its columns. One
pass over
memory gives two of them::

    blocks:  channels in strips of up to 32 x 4 (neighbouring threads, neighbouring addresses)  x  pieces of the rows
    a block: 256 threads = 32 columns of threads, 4 channels each, x 8 lanes; a lane adds up every 8th row of
    the piece, four
             rows in the arrays' own type, these sums in float64; a tree over the lanes gives the piece's
             sums, written as partial[sum, channel, piece]
    finish:  a team of threads per channel adds up the pieces and turns the sums into what was asked for

No atomics: the order of additions depends on the shape alone.

For a variance, four rows are added up in their own type as ``d = x - o`` and ``d * d``, where ``o`` is the
first of the four. In float64 their sums become those of ``x - r``, where ``r`` is the first row of the piece.
The squared deviations of n numbers are at least those of one of them, so at most a factor of n is lost to
cancellation: 4 in the arrays' own type, the rows of a piece in float64. (With one ``o`` for all rows in the
arrays' own type, an outlier in that place would spoil the channel.)
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime import layout, memory
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch, math
from .reduce import team_reducer, teams, weights

_STRIP = 4 if SIMULATED else 32
_BLOCKS = 4 if SIMULATED else 1024
_FEW = 64 if SIMULATED else 1 << 16  # elements that are added up in one piece
SHORT = 4  # rows added up in the arrays' own type before their sum goes to the float64 ones
FROM_Y, FROM_X = 1, 2  # how ReLU's mask is told: from the result, or from what it would be of x
# of x, a gradient, a mean (or origin) and 1 / deviation: what is added up; what is kept of its sums over n
# rows
_SUMS = {
    "stats": (
        lambda x, g, mean, scale: (x - mean, (x - mean) * (x - mean)),
        lambda first, second, mean, n: (mean + first / n, second - first * first / n),
    ),
    "grad": (
        lambda x, g, mean, scale: (g, g * ((x - mean) * scale)),
        lambda first, second, mean, n: (first, second),
    ),
    "sum": (lambda x, g, mean, scale: (x, x), lambda first, second, mean, n: (first, second)),
}


@functools.cache
def _columns_kernel(name, real, each):
    terms, keep = map(body, _SUMS[name])
    with_gradient, stats = name == "grad", name == "stats"
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

    def columns(
        x,
        other,
        y,
        mean_of,
        scale_of,
        gain_of,
        shift_of,
        masked,
        rows,
        channels,
        strip,
        piece,
        pieces,
        partial,
        divisor,
        u,
        v,
    ):
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
        origin = cuda.local.array(each, real)
        for k in range(each):
            a[k] = b[k] = np.float64(0)
            mean[k] = mean_of[c + k] if with_gradient and c < channels else zero
            origin[k] = x[start * channels + c + k] if stats and c < channels else zero
            scale[k] = scale_of[c + k] if with_gradient and c < channels else one
            gain[k] = gain_of[c + k] if masked == FROM_X and c < channels else one
            shift[k] = shift_of[c + k] if masked == FROM_X and c < channels else zero
        if c < channels:
            i, jump, stop = (start + lane) * channels + c, np.int64(lanes) * channels, end * channels
            while i < stop:
                for k in range(each):
                    p[k] = q[k] = zero
                if stats:
                    v = load(x, i)
                    for k in range(each):
                        mean[k] = v[k]
                count = SHORT if i + (SHORT - 1) * jump < stop else 1
                if count == SHORT:
                    for _ in range(SHORT):
                        add(x, other, y, masked, i, mean, scale, gain, shift, p, q)
                        i += jump
                else:
                    add(x, other, y, masked, i, mean, scale, gain, shift, p, q)
                    i += jump
                for k in range(each):
                    first_sum, second_sum = np.float64(p[k]), np.float64(q[k])
                    if stats:
                        apart = np.float64(mean[k]) - np.float64(origin[k])
                        second_sum += apart * (first_sum + first_sum + count * apart)
                        first_sum += count * apart
                    a[k] += first_sum
                    b[k] += second_sum
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
                sum1, sum2 = keep(first[at], second[at], np.float64(origin[k]), np.float64(end - start))
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
    """Means and sums of squared deviations of pieces as those of the whole (Chan, Golub and LeVeque 1983),
    and what a BatchNorm makes of them."""
    reduce_team = team_reducer("add")
    zero, one = real(0), real(1)

    @kernel
    def merge_pieces(
        partial,
        channels,
        pieces,
        piece,
        rows,
        team,
        eps,
        weight,
        weighted,
        bias,
        biased,
        running_mean,
        running_var,
        moves,
        keep,
        gain,
        out,
    ):
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
                total += partial[(channels + c) * pieces + i] + min(piece, rows - np.int64(i) * piece) * (
                    d * d
                )
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


def _pieces(name, x, out=None, divisor=1.0, other=None, y=None, vectors=(None,) * 4, masked=0):
    """Sums over pieces of the rows of the matrix ``x``: two float64 per channel and piece, and the rows of a
    piece. If there is but one piece they are written to the vectors ``out``, the first of them divided by
    ``divisor``."""
    rows, channels = x.shape
    other, y, *vectors = (x if a is None else a for a in (other, y, *vectors))
    each = layout.neighbours_at_once(channels, x, other, y)
    strip = 1
    while strip < min(_STRIP, channels // each):
        strip *= 2
    strips, lanes = -(-channels // each // strip), THREADS // strip
    piece = max(-(-rows // max(_BLOCKS // strips, 1)), SHORT * lanes)
    piece = rows if x.size <= _FEW and out else piece
    pieces = max(-(-rows // piece), 1)
    partial = memory.empty((2, channels, pieces), np.float64)
    launch(
        _columns_kernel(name, x.dtype.type, each),
        (pieces, strips),
        THREADS,
        x,
        other,
        y,
        *vectors,
        masked,
        rows,
        channels,
        strip,
        piece,
        pieces,
        partial,
        np.float64(divisor),
        *(out or (x, x)),
    )
    return partial, piece


def sums(name, x, divisor=1.0, **others):
    """Two vectors of one entry per channel: the sums, the first of them divided by ``divisor``."""
    u, v = memory.empty(x.shape[1:], x.dtype), memory.empty(x.shape[1:], x.dtype)
    partial, _ = _pieces(name, x, (u, v), divisor, **others)
    _, channels, pieces = partial.shape
    blocks, team = teams(channels, pieces)
    if pieces > 1:
        launch(
            _add_pieces_kernel(x.dtype.type),
            blocks,
            THREADS,
            partial,
            channels,
            pieces,
            team,
            np.float64(divisor),
            u,
            v,
        )
    return u, v


def known_moments(x):
    """What the convolution that wrote the matrix ``x`` left, in the form of :func:`_pieces`; None if there is
    nothing."""
    partial, piece, shape = x.base.known.get("moments", (None, 0, None))
    return (partial, piece) if shape == x.shape and x.offset == 0 else None


def moments(x, eps=0.0, weight=None, bias=None, running=None, momentum=0.0):
    """Mean, variance, 1 / deviation, that times the weight, and the bias of each channel of the matrix ``x``,
    as one array; ``running`` is moved."""
    partial, piece = known_moments(x) or _pieces("stats", x)
    _, channels, pieces = partial.shape
    out, real = memory.empty((5, channels), x.dtype), x.dtype.type
    blocks, team = teams(channels, pieces)
    mean, var = running or (out, out)
    launch(
        _merge_pieces_kernel(real),
        blocks,
        THREADS,
        partial,
        channels,
        pieces,
        piece,
        x.shape[0],
        team,
        np.float64(eps),
        *weights(weight, x),
        *weights(bias, x),
        mean,
        var,
        running is not None,
        real(1 - momentum),
        real(momentum),
        out,
    )
    return [out.view((channels,), None, i * channels * out.itemsize) for i in range(5)]


def matrix(x):
    """``N, C, *spatial`` as ``(N * spatial, C)`` in memory order."""
    return layout.dense(x) if x.ndim == 2 else layout.rows(x)


def column_sums(x, divisor=0):
    """Sum of each channel, divided by ``divisor`` unless 0."""
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0)
    return sums("sum", matrix(x), divisor or 1)[0]


def channel_sum(x):
    return column_sums(x)
