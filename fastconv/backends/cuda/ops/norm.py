"""The normalisations: over a batch's channels, over rows, over neighbouring channels."""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime import layout, memory
from ..runtime.launch import THREADS, cuda, grid, grid_over_channels, kernel, launch, math
from . import channel_reduce
from .channel_reduce import FROM_X, FROM_Y, channel_sum, matrix
from .reduce import team_reducer, teams, weights
from .shape import reshape


# ------------------------------------------------------------------------------------------------- batch
def batch_norm_stats(x):
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0), layout.filled(x.shape[1:2], x.dtype, 0)
    return tuple(channel_reduce.moments(matrix(x))[:2])


@functools.cache
def _batch_norm_kernel(real, each):
    zero, one = real(0), real(1)
    load, store = ptx.neighbours(each)

    @kernel
    def batch_norm(x, mean, invstd, weight, weighted, bias, biased, residual, added, relu, y, channels, n):
        # a thread meets the same channels every time
        first, step = np.int64(cuda.grid(1)) * each, np.int64(cuda.gridsize(1)) * each
        centre, scale, shift = (
            cuda.local.array(each, real),
            cuda.local.array(each, real),
            cuda.local.array(each, real),
        )
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
    def batch_norm_bwd(
        gy,
        x,
        y,
        masked,
        mean,
        invstd,
        weight,
        weighted,
        gain_of,
        shift_of,
        gw,
        gb,
        share,
        gx,
        gres,
        with_residual,
        channels,
        n,
    ):
        # share is 1 / count where mean and invstd depend on x, else 0; gx = factor * g + tilt * (x - mean) +
        # level
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
    (y, out), rows, channels = _out(x), matrix(x), x.shape[1]
    residual, added = (rows, False) if residual is None else (matrix(residual), True)
    if x.size:
        each = layout.neighbours_at_once(channels, rows, residual)
        launch(
            _batch_norm_kernel(x.dtype.type, each),
            *grid_over_channels(x.size, channels, each),
            rows,
            layout.dense(mean),
            layout.dense(invstd),
            *weights(weight, mean),
            *weights(bias, mean),
            residual,
            added,
            activation == "relu",
            out,
            channels,
            x.size,
        )
    return y


def _gradients(gy, x, y, mean, invstd, weight, share, with_residual, masked, gain, shift):
    """Gradients in x, weight, bias and residual; ``share``: of a number in its channel's mean, 0 where that
    is given."""
    real, channels = x.dtype.type, x.shape[1]
    (gx, gx_out), rows, grows = _out(x), matrix(x), matrix(gy)
    gres, gres_out = _out(x) if with_residual else (None, gx_out)
    if x.size == 0:
        return gx, *(layout.filled((channels,), x.dtype, 0) for _ in range(2)), gres
    y = matrix(y) if masked == FROM_Y else rows
    gbias, gweight = channel_reduce.sums(
        "grad", rows, other=grows, y=y, vectors=(mean, invstd, gain, shift), masked=masked
    )
    each = layout.neighbours_at_once(channels, rows, grows, y)
    launch(
        _batch_norm_bwd_kernel(real, each),
        *grid_over_channels(x.size, channels, each),
        grows,
        rows,
        y,
        masked,
        mean,
        invstd,
        *weights(weight, mean),
        gain,
        shift,
        gweight,
        gbias,
        real(share),
        gx_out,
        gres_out,
        with_residual,
        channels,
        x.size,
    )
    return gx, gweight, gbias, gres


def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    share = x.shape[1] / x.size if training and x.size else 0
    mean, invstd = layout.dense(mean), layout.dense(invstd)
    masked = FROM_Y if activation == "relu" else 0
    return _gradients(gy, x, y, mean, invstd, weight, share, with_residual, masked, mean, mean)


def batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum):
    if x.size == 0:
        return _out(x)[0], (x, None, None, None, 0)
    mean, _, invstd, gain, shift = moments = channel_reduce.moments(
        matrix(x), eps, weight, bias, running, momentum
    )
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
@functools.cache
def _layer_norm_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def layer_norm(x, weight, weighted, bias, biased, eps, y, means, invstds, n, channel, rows, team):
        # entry of weight and bias: row % groups * channels of a group + column // channel, folded into two
        # numbers
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
    launch(
        _layer_norm_kernel(x.dtype.type),
        blocks,
        THREADS,
        x,
        *weights(weight, x),
        *weights(bias, x),
        np.float64(eps),
        y,
        mean,
        invstd,
        n,
        channel,
        rows,
        team,
    )
    return y, mean, invstd


def _normalised_bwd(gy, x, mean, invstd, weight, rows, channel):
    """Gradient in x, and gy times the normalised x, whose sums are the weight's gradient."""
    n = x.size // max(rows, 1)
    gx, scaled = memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype)
    blocks, team = teams(rows, n)
    launch(
        _layer_norm_bwd_kernel(x.dtype.type),
        blocks,
        THREADS,
        gy,
        x,
        mean,
        invstd,
        *weights(weight, x),
        gx,
        scaled,
        n,
        channel,
        rows,
        team,
    )
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


# -------------------------------------------------------------------------------------------------
# neighbouring channels
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
