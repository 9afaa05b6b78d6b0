"""The normalisations: of a batch's channels, of rows, by neighbouring channels.

::

    batch norm             a thread keeps the numbers of its 4 channels in registers and walks down the rows
    layer and group norm   a team of threads per row: mean, then variance, then the result (see ``reduce.py``)
    local response norm    a thread per element, which reads its neighbours
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..codegen import ptx
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import THREADS, cuda, grid, grid_over_channels, kernel, launch, math
from . import channel_reduce
from .block_reduce import OptionalArray, optional, team_reducer, teams
from .channel_reduce import MASK_FROM_X, MASK_FROM_Y, NO_MASK, Vectors, channel_sum, matrix
from .views import reshape


# ------------------------------------------------------------------------------------------------- batch
def batch_norm_stats(x: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Mean and variance of each channel."""
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0), layout.filled(x.shape[1:2], x.dtype, 0)
    mean, variance, *_ = channel_reduce.moments(matrix(x))
    return mean, variance


@functools.cache
def _batch_norm_kernel(real, vector_width):
    zero, one = real(0), real(1)
    load, store = ptx.vector_access(vector_width)

    @kernel
    def batch_norm(x, mean, invstd, weight, bias, residual, relu, y, channels, n):
        # a thread meets the same channels every time
        first, step = np.int64(cuda.grid(1)) * vector_width, np.int64(cuda.gridsize(1)) * vector_width
        centre, scale, shift = (
            cuda.local.array(vector_width, real),
            cuda.local.array(vector_width, real),
            cuda.local.array(vector_width, real),
        )
        for k in range(vector_width):
            c = first % channels + k
            centre[k] = mean[c]
            scale[k] = invstd[c] * (weight.array[c] if weight.given else one)
            shift[k] = bias.array[c] if bias.given else zero
        out = cuda.local.array(vector_width, real)
        for i in range(first, n, step):
            v, r = load(x, i), load(residual.array if residual.given else x, i)
            for k in range(vector_width):
                u = (v[k] - centre[k]) * scale[k] + shift[k]
                if residual.given:
                    u += r[k]
                out[k] = zero if relu and u <= zero else u
            store(y, i, out)

    return batch_norm


@functools.cache
def _batch_norm_bwd_kernel(real, vector_width):
    zero, one = real(0), real(1)
    load, store = ptx.vector_access(vector_width)

    @kernel
    def batch_norm_bwd(gy, x, y, mask, vectors, weight, gw, gb, share, gx, gres, channels, n):
        # share is 1 / count where mean and invstd depend on x, else 0; without a mask
        # gx = factor * (gy + level + tilt * (x - mean))
        first, step = np.int64(cuda.grid(1)) * vector_width, np.int64(cuda.gridsize(1)) * vector_width
        centre, factor = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        tilt, level = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        gain, shift = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        for k in range(vector_width):
            c = first % channels + k
            centre[k] = vectors.mean[c]
            gain[k] = vectors.gain[c] if mask == MASK_FROM_X else one
            shift[k] = vectors.shift[c] if mask == MASK_FROM_X else zero
            factor[k] = vectors.scale[c] * (weight.array[c] if weight.given else one)
            level[k] = -gb[c] * share
            tilt[k] = -gw[c] * share * vectors.scale[c]
        g, out = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        for i in range(first, n, step):
            u, v, r = load(gy, i), load(x, i), load(y if mask == MASK_FROM_Y else x, i)
            for k in range(vector_width):
                w = r[k] if mask == MASK_FROM_Y else (v[k] - centre[k]) * gain[k] + shift[k]
                g[k] = zero if mask and w <= zero else u[k]
                out[k] = (g[k] + level[k] + tilt[k] * (v[k] - centre[k])) * factor[k]
            if gres.given:
                store(gres.array, i, g)
            store(gx, i, out)

    return batch_norm_bwd


def _out(x):
    """A new array like ``x`` and the matrix kernels write."""
    if x.ndim == 2:
        y = memory.empty(x.shape, x.dtype)
        return y, y
    return layout.empty(x.shape, x.dtype)


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    """``(x - mean) * invstd * weight + bias + residual`` per channel, then ReLU if ``activation`` says so."""
    (y, out), rows, channels = _out(x), matrix(x), x.shape[1]
    residual = OptionalArray(rows, False) if residual is None else OptionalArray(matrix(residual), True)
    if x.size:
        vector_width = layout.vector_width(channels, rows, residual.array)
        launch(
            _batch_norm_kernel(x.dtype.type, vector_width),
            *grid_over_channels(x.size, channels, vector_width),
            rows,
            layout.dense(mean),
            layout.dense(invstd),
            optional(weight, mean),
            optional(bias, mean),
            residual,
            activation == "relu",
            out,
            channels,
            x.size,
        )
    return y


def _gradients(gy, x, y, vectors, weight, share, with_residual, mask):
    """Gradients in x, weight, bias and residual.

    ``share`` is the share of one number in the mean of its channel, 0 where the mean is given.
    """
    real, channels = x.dtype.type, x.shape[1]
    (gx, gx_out), rows, grows = _out(x), matrix(x), matrix(gy)
    gres, gres_out = _out(x) if with_residual else (None, gx_out)
    if x.size == 0:
        return gx, *(layout.filled((channels,), x.dtype, 0) for _ in range(2)), gres
    y = matrix(y) if mask == MASK_FROM_Y else rows
    gbias, gweight = channel_reduce.sums("grad", rows, other=grows, y=y, vectors=vectors, mask=mask)
    vector_width = layout.vector_width(channels, rows, grows, y)
    launch(
        _batch_norm_bwd_kernel(real, vector_width),
        *grid_over_channels(x.size, channels, vector_width),
        grows,
        rows,
        y,
        mask,
        vectors,
        optional(weight, vectors.mean),
        gweight,
        gbias,
        real(share),
        gx_out,
        OptionalArray(gres_out, with_residual),
        channels,
        x.size,
    )
    return gx, gweight, gbias, gres


def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    """Gradients of :func:`batch_norm_fwd` in x, weight, bias and residual."""
    share = x.shape[1] / x.size if training and x.size else 0
    mean, invstd = layout.dense(mean), layout.dense(invstd)
    mask = MASK_FROM_Y if activation == "relu" else NO_MASK
    vectors = Vectors(mean, invstd, mean, mean)
    return _gradients(gy, x, y, vectors, weight, share, with_residual, mask)


def batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum):
    """:func:`batch_norm_fwd` by the batch's own moments, and what its gradients need."""
    if x.size == 0:
        return _out(x)[0], (x, None, None, None, NO_MASK)
    mean, _, invstd, gain, shift = channel_reduce.moments(matrix(x), eps, weight, bias, running, momentum)
    y = batch_norm_fwd(x, mean, gain, None, shift, residual, activation)
    mask = NO_MASK if activation is None else MASK_FROM_X if residual is None else MASK_FROM_Y
    vectors = Vectors(mean, invstd, gain, shift)
    return y, (x, y if mask == MASK_FROM_Y else None, weight, vectors, mask)


def batch_norm_train_bwd(gy, saved, with_residual):
    """Gradients of :func:`batch_norm_train_fwd` in x, weight, bias and residual."""
    x, y, weight, vectors, mask = saved
    vectors = vectors or Vectors(*[layout.filled(x.shape[1:2], x.dtype, 0)] * 4)
    share = x.shape[1] / max(x.size, 1)
    return _gradients(gy, x, y, vectors, weight, share, with_residual, mask)


@functools.cache
def _running_kernel(real):
    @kernel
    def running_average(running, value, single, keep, gain, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            running[i] = keep * running[i] + gain * value[0 if single else i]

    return running_average


def running_step(running: DeviceArray, value, keep: float, gain: float) -> None:
    """``running = keep * running + gain * value``, in place; ``value`` may be one number for all."""
    real = running.dtype.type
    if not isinstance(value, DeviceArray):
        value = memory.constant(np.asarray(value, running.dtype))
    value = layout.dense(value)
    launch(
        _running_kernel(real),
        *grid(running.size),
        running,
        value,
        value.size == 1 != running.size,
        real(keep),
        real(gain),
        running.size,
    )


# ------------------------------------------------------------------------------------------------- rows
class Rows(NamedTuple):
    """What layer and group norm normalise: rows of ``n`` numbers.

    Row r is group ``r % groups`` of an image, and ``spatial`` neighbouring numbers of it belong to one
    channel. So element i of row r takes entry ``r % groups * (n // spatial) + i // spatial`` of weight and
    bias.
    """

    n: int
    spatial: int
    groups: int
    rows: int


@functools.cache
def _layer_norm_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def layer_norm(x, weight, bias, eps, y, means, invstds, shape, team):
        n, spatial = shape.n, shape.spatial
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < shape.rows
        place = np.int64(row) * n
        first = row % shape.groups * (n // spatial)
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
                c = first + i // spatial
                if weight.given:
                    v = v * weight.array[c]
                if bias.given:
                    v += bias.array[c]
                y[place + i] = v
            if lane == 0:
                means[row] = m
                invstds[row] = s

    return layer_norm


@functools.cache
def _layer_norm_bwd_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def layer_norm_bwd(gy, x, means, invstds, weight, gx, scaled, shape, team):
        n, spatial = shape.n, shape.spatial
        shared = cuda.shared.array(THREADS, np.float64)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < shape.rows
        place = np.int64(row) * n
        first = row % shape.groups * (n // spatial)
        a, b = zero, zero
        if valid:
            m, s = means[row], invstds[row]
            for i in range(lane, n, team):
                g = gy[place + i]
                xhat = (x[place + i] - m) * s
                scaled[place + i] = g * xhat
                if weight.given:
                    g = g * weight.array[first + i // spatial]
                a += np.float64(g)
                b += np.float64(g * xhat)
        a = sum_team(shared, a, team) / n
        b = sum_team(shared, b, team) / n
        if valid:
            m, s = means[row], invstds[row]
            ra, rb = real(a), real(b)
            for i in range(lane, n, team):
                g = gy[place + i]
                if weight.given:
                    g = g * weight.array[first + i // spatial]
                gx[place + i] = s * (g - ra - (x[place + i] - m) * s * rb)

    return layer_norm_bwd


def _normalised(x, weight, bias, eps, shape):
    """The result, and mean and 1 / deviation of each row."""
    y = memory.empty(x.shape, x.dtype)
    mean, invstd = memory.empty((shape.rows,), x.dtype), memory.empty((shape.rows,), x.dtype)
    blocks, team = teams(shape.rows, shape.n)
    launch(
        _layer_norm_kernel(x.dtype.type),
        blocks,
        THREADS,
        x,
        optional(weight, x),
        optional(bias, x),
        np.float64(eps),
        y,
        mean,
        invstd,
        shape,
        team,
    )
    return y, mean, invstd


def _normalised_bwd(gy, x, mean, invstd, weight, shape):
    """Gradient in x, and gy times the normalised x, whose sums are the weight's gradient."""
    gx, scaled = memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype)
    blocks, team = teams(shape.rows, shape.n)
    launch(
        _layer_norm_bwd_kernel(x.dtype.type),
        blocks,
        THREADS,
        gy,
        x,
        mean,
        invstd,
        optional(weight, x),
        gx,
        scaled,
        shape,
        team,
    )
    return gx, scaled


def _rows(x, groups) -> Rows:
    """The rows of the groups of ``N, C, *spatial``."""
    rows = x.shape[0] * groups
    return Rows(x.size // max(rows, 1), max(x.size // max(x.shape[0] * x.shape[1], 1), 1), groups, rows)


def _flat_rows(x) -> Rows:
    """The rows of a matrix, each number a channel of its own."""
    return Rows(x.size // max(x.shape[0], 1), 1, 1, x.shape[0])


def layer_norm_fwd(x, weight, bias, eps):
    """Each row of ``x`` normalised, and mean and 1 / deviation of the rows."""
    return _normalised(layout.dense(x), weight, bias, eps, _flat_rows(x))


def layer_norm_bwd(gy, x, mean, invstd, weight):
    """Gradients of :func:`layer_norm_fwd` in x, weight and bias."""
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, _flat_rows(x))
    return gx, channel_sum(scaled), channel_sum(gy)


def group_norm_fwd(x, groups, weight, bias, eps):
    """Each group of channels of an image normalised; mean and 1 / deviation as ``N, groups``."""
    y, mean, invstd = _normalised(layout.dense(x), weight, bias, eps, _rows(x, groups))
    shape = x.shape[0], groups
    return y, reshape(mean, shape), reshape(invstd, shape)


def group_norm_bwd(gy, x, groups, mean, invstd, weight):
    """Gradients of :func:`group_norm_fwd` in x, weight and bias."""
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, _rows(x, groups))
    return gx, channel_sum(scaled), channel_sum(gy)


# ------------------------------------------------------------------------------------- neighbouring channels
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
    """``x * scale ** -beta``, and ``scale = k + alpha / size * the sum of squares of size neighbours``."""
    real, (y, out), (scale, scale_out) = x.dtype.type, _out(x), _out(x)
    launch(
        _local_response_kernel(real)[0],
        *grid(x.size),
        matrix(x),
        real(alpha / size),
        real(beta),
        real(k),
        size,
        out,
        scale_out,
        x.shape[1],
        x.size,
    )
    return y, scale


def local_response_norm_bwd(gy, x, scale, size, alpha, beta):
    """Gradient of :func:`local_response_norm_fwd` in x."""
    real, (gx, out) = x.dtype.type, _out(x)
    launch(
        _local_response_kernel(real)[1],
        *grid(x.size),
        matrix(gy),
        matrix(x),
        matrix(scale),
        real(alpha / size),
        real(beta),
        size,
        out,
        x.shape[1],
        x.size,
    )
    return gx
