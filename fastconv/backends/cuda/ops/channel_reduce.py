"""Sums of each channel: bias gradients, what the gradients of a BatchNorm need, and its mean and variance.

Channels last, a batch of images is a matrix of ``rows`` x ``channels``, and these are sums over its columns.
One pass over memory gives two of them::

              channels:  strips of up to 32 x 4
             +-----------+-----------+--      a block: 256 threads = 32 columns of threads x 8 lanes.
    rows:    | block 0,0 | block 0,1 |        A thread reads 4 neighbouring channels; a lane adds up every
    pieces   +-----------+-----------+--      8th row of the piece, four rows in the arrays' own type,
             | block 1,0 | block 1,1 |        these sums in float64. A tree over the lanes gives the
             +-----------+-----------+--      sums of the piece: partial[sum, channel, piece]

    finish:  a team of threads per channel adds up the pieces and turns the sums into what was asked for

No atomics: the order of additions depends on the shape alone.

For a variance, four rows are added up in their own type as ``d = x - o`` and ``d * d``, where ``o`` is the
first of the four. In float64 their sums become those of ``x - r``, where ``r`` is the first row of the piece.
The sum of the squared deviations of n numbers is at least the square of one of them, so cancellation loses at
most a factor of n: 4 in the arrays' own type, the rows of a piece in float64. (With one ``o`` for all rows in
the arrays' own type, an outlier in that place would spoil the channel.)
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..codegen import ptx
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch, math
from .block_reduce import optional, team_reducer, teams

_STRIP = 4 if SIMULATED else 32
_BLOCKS = 4 if SIMULATED else 1024
_FEW = 64 if SIMULATED else 1 << 16  # elements that are added up in one piece
SHORT = 4  # rows added up in the arrays' own type before their sum is added to the float64 sums

#: Where the mask of a ReLU behind the normalisation comes from: there is none, the sign of its result ``y``,
#: or the sign of what its result is for ``x``.
NO_MASK, MASK_FROM_Y, MASK_FROM_X = 0, 1, 2

# terms(x, gradient, mean or origin, 1 / deviation): the two terms that are added up;
# finish(first, second, mean or origin, n): what is stored of their sums over n rows
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


class Vectors(NamedTuple):
    """Arrays of one number per channel.

    ``(x - mean) * scale`` is normalised, ``(x - mean) * gain + shift`` the result of the normalisation.
    """

    mean: Any
    scale: Any
    gain: Any
    shift: Any


class Tiling(NamedTuple):
    """How a matrix is cut for blocks: strips of ``strip`` threads across, pieces of ``piece`` rows."""

    rows: int
    channels: int
    strip: int
    piece: int
    pieces: int


class Running(NamedTuple):
    """Running averages: ``keep * average + gain * new`` where they move."""

    mean: Any
    var: Any
    moves: bool
    keep: Any
    gain: Any


@functools.cache
def _columns_kernel(name, real, vector_width):
    terms, finish = map(body, _SUMS[name])
    with_gradient, stats = name == "grad", name == "stats"
    pointer, (load, _) = ptx.pointer, ptx.vector_access(vector_width)
    zero, one, size = real(0), real(1), THREADS * vector_width

    @body
    def add(x, other, y, mask, i, mean, scale, gain, shift, p, q):
        """Add the terms of the elements at ``i`` to the short sums ``p`` and ``q``."""
        v = load(x, i)
        g = load(other if with_gradient else x, i)
        r = load(y if mask == MASK_FROM_Y else x, i)
        for k in range(vector_width):
            u = r[k] if mask == MASK_FROM_Y else (v[k] - mean[k]) * gain[k] + shift[k]
            u, w = terms(v[k], zero if mask and u <= zero else g[k], mean[k], scale[k])
            p[k] += u
            q[k] += w

    def columns(x, other, y, vectors, mask, tiling, partial, divisor, first_out, second_out):
        first = pointer(cuda.shared.array(size, np.float64))
        second = pointer(cuda.shared.array(size, np.float64))
        rows, channels, strip = tiling.rows, tiling.channels, tiling.strip
        piece, pieces = tiling.piece, tiling.pieces
        t = cuda.threadIdx.x
        lanes, lane = THREADS // strip, t // strip
        c = (cuda.blockIdx.x * strip + t % strip) * vector_width
        start, end = np.int64(cuda.blockIdx.y) * piece, min(np.int64(cuda.blockIdx.y + 1) * piece, rows)
        a, b = cuda.local.array(vector_width, np.float64), cuda.local.array(vector_width, np.float64)
        p, q = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        mean, scale = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        gain, shift = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        origin = cuda.local.array(vector_width, real)
        for k in range(vector_width):
            a[k] = b[k] = np.float64(0)
            mean[k] = vectors.mean[c + k] if with_gradient and c < channels else zero
            origin[k] = x[start * channels + c + k] if stats and c < channels else zero
            scale[k] = vectors.scale[c + k] if with_gradient and c < channels else one
            gain[k] = vectors.gain[c + k] if mask == MASK_FROM_X and c < channels else one
            shift[k] = vectors.shift[c + k] if mask == MASK_FROM_X and c < channels else zero
        if c < channels:
            i, jump, stop = (start + lane) * channels + c, np.int64(lanes) * channels, end * channels
            while i < stop:
                for k in range(vector_width):
                    p[k] = q[k] = zero
                if stats:
                    v = load(x, i)
                    for k in range(vector_width):
                        mean[k] = v[k]
                count = SHORT if i + (SHORT - 1) * jump < stop else 1
                if count == SHORT:
                    for _ in range(SHORT):
                        add(x, other, y, mask, i, mean, scale, gain, shift, p, q)
                        i += jump
                else:
                    add(x, other, y, mask, i, mean, scale, gain, shift, p, q)
                    i += jump
                for k in range(vector_width):
                    first_sum, second_sum = np.float64(p[k]), np.float64(q[k])
                    if stats:
                        apart = np.float64(mean[k]) - np.float64(origin[k])
                        second_sum += apart * (first_sum + first_sum + count * apart)
                        first_sum += count * apart
                    a[k] += first_sum
                    b[k] += second_sum
        for k in range(vector_width):
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
            for k in range(vector_width):
                at = k * THREADS + t
                sum1, sum2 = finish(first[at], second[at], np.float64(origin[k]), np.float64(end - start))
                if pieces == 1 and not stats:
                    first_out[c + k] = real(sum1 / divisor)
                    second_out[c + k] = real(sum2)
                else:
                    partial[(c + k) * pieces + cuda.blockIdx.y] = sum1
                    partial[(channels + c + k) * pieces + cuda.blockIdx.y] = sum2

    columns.__name__ = f"{name}_columns"
    return kernel(columns)


@functools.cache
def _add_pieces_kernel(real):
    reduce_team = team_reducer("add")

    @kernel
    def add_pieces(partial, channels, pieces, team, divisor, first_out, second_out):
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
            first_out[c] = real(a / divisor)
            second_out[c] = real(b)

    return add_pieces


@functools.cache
def _merge_pieces_kernel(real):
    """Moments of pieces as those of the whole (Chan, Golub and LeVeque 1983), for a BatchNorm."""
    reduce_team = team_reducer("add")
    zero, one = real(0), real(1)

    @kernel
    def merge_pieces(partial, tiling, team, eps, weight, bias, running, out):
        channels, pieces, piece, rows = tiling.channels, tiling.pieces, tiling.piece, tiling.rows
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
            out[3 * channels + c] = s * (weight.array[c] if weight.given else one)
            out[4 * channels + c] = bias.array[c] if bias.given else zero
            if running.moves:
                running.mean[c] = running.keep * running.mean[c] + running.gain * m
                running.var[c] = running.keep * running.var[c] + running.gain * real(var * rows / (rows - 1))

    return merge_pieces


def _pieces(name, x, out=None, divisor=1.0, other=None, y=None, vectors=(None,) * 4, mask=NO_MASK):
    """Sums over pieces of the rows of the matrix ``x``.

    Returns two float64 per channel and piece, and the rows of a piece. A single piece is written to the
    vectors ``out`` instead, the first of them divided by ``divisor``.
    """
    rows, channels = x.shape
    other, y, *vectors = (x if a is None else a for a in (other, y, *vectors))
    vector_width = layout.vector_width(channels, x, other, y)
    strip = 1
    while strip < min(_STRIP, channels // vector_width):
        strip *= 2
    strips, lanes = -(-channels // vector_width // strip), THREADS // strip
    piece = max(-(-rows // max(_BLOCKS // strips, 1)), SHORT * lanes)
    piece = rows if x.size <= _FEW and out else piece
    pieces = max(-(-rows // piece), 1)
    partial = memory.empty((2, channels, pieces), np.float64)
    launch(
        _columns_kernel(name, x.dtype.type, vector_width),
        (strips, pieces),  # there are at most _BLOCKS pieces; the second axis ends at 65,535
        THREADS,
        x,
        other,
        y,
        Vectors(*vectors),
        mask,
        Tiling(rows, channels, strip, piece, pieces),
        partial,
        np.float64(divisor),
        *(out or (x, x)),
    )
    return partial, piece


def sums(name: str, x: DeviceArray, divisor: float = 1.0, **options) -> tuple[DeviceArray, DeviceArray]:
    """Two sums of each channel of the matrix ``x``, the first of them divided by ``divisor``.

    Parameters
    ----------
    name : "grad" or "sum"
        Sums of a gradient and of its products with the normalised ``x``, or sums of ``x`` (twice).
    other, y, vectors, mask
        For "grad": the gradient, the result that the mask comes from, :class:`Vectors`, and where the mask
        comes from.
    """
    first, second = memory.empty(x.shape[1:], x.dtype), memory.empty(x.shape[1:], x.dtype)
    partial, _ = _pieces(name, x, (first, second), divisor, **options)
    _, channels, pieces = partial.shape
    blocks, team = teams(channels, pieces)
    if pieces > 1:
        add = _add_pieces_kernel(x.dtype.type)
        launch(add, blocks, THREADS, partial, channels, pieces, team, np.float64(divisor), first, second)
    return first, second


def known_moments(x: DeviceArray) -> tuple[DeviceArray, int] | None:
    """Sums of pieces, and the rows of a piece, that the convolution left which wrote ``x``; or None."""
    partial, piece, shape = x.base.known.get("moments", (None, 0, None))
    return (partial, piece) if shape == x.shape and x.offset == 0 else None


def moments(
    x: DeviceArray,
    eps: float = 0.0,
    weight: DeviceArray | None = None,
    bias: DeviceArray | None = None,
    running: tuple[DeviceArray, DeviceArray] | None = None,
    momentum: float = 0.0,
) -> list[DeviceArray]:
    """Mean, variance, 1 / deviation, that times the weight, and the bias of each channel of the matrix ``x``.

    The running mean and variance are moved in place.
    """
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
        Tiling(x.shape[0], channels, 0, piece, pieces),
        team,
        np.float64(eps),
        optional(weight, x),
        optional(bias, x),
        Running(mean, var, running is not None, real(1 - momentum), real(momentum)),
        out,
    )
    return [out.view((channels,), None, i * channels * out.itemsize) for i in range(5)]


def matrix(x: DeviceArray) -> DeviceArray:
    """``N, C, *spatial`` as ``(N * spatial, C)`` in memory order."""
    return layout.dense(x) if x.ndim == 2 else layout.rows(x)


def empty_matrix(x: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """A new array like ``x``, and its memory as a matrix, which kernels write."""
    if x.ndim == 2:
        y = memory.empty(x.shape, x.dtype)
        return y, y
    return layout.empty(x.shape, x.dtype)


def channel_mean(x: DeviceArray, divisor: float = 1.0) -> DeviceArray:
    """Sum of each channel, divided by ``divisor``."""
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0)
    return sums("sum", matrix(x), divisor)[0]


def channel_sum(x: DeviceArray) -> DeviceArray:
    """Sum of each channel of ``N, C, *spatial``."""
    return channel_mean(x)
