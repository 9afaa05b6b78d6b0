"""Layer and group normalisation: a team of threads per row (see ``reduce.py`` for a drawing).

The team adds up the row, then the squares of its deviations from the mean, then writes the result.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ...runtime import layout, memory
from ...runtime.array import DeviceArray
from ...runtime.launch import THREADS, cuda, kernel, launch, math
from ..block_reduce import optional, team_reducer, teams
from ..channel_reduce import channel_sum
from ..views import reshape

Arrays = tuple[DeviceArray, DeviceArray, DeviceArray]


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
    centered: bool = True  # whether the mean is subtracted


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
        if valid and shape.centered:
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
                if shape.centered:
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


def _flat_rows(x, centered) -> Rows:
    """The rows of a matrix, each number a channel of its own."""
    return Rows(x.size // max(x.shape[0], 1), 1, 1, x.shape[0], centered)


def layer_norm_fwd(
    x: DeviceArray,
    weight: DeviceArray | None,
    bias: DeviceArray | None,
    eps: float,
    centered: bool = True,
) -> Arrays:
    """Each row of ``x`` normalised, and mean (0 if not ``centered``) and 1 / deviation of the rows."""
    return _normalised(layout.dense(x), weight, bias, eps, _flat_rows(x, centered))


def layer_norm_bwd(
    gy: DeviceArray,
    x: DeviceArray,
    mean: DeviceArray,
    invstd: DeviceArray,
    weight: DeviceArray | None,
    centered: bool = True,
) -> Arrays:
    """Gradients of :func:`layer_norm_fwd` in x, weight and bias."""
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, _flat_rows(x, centered))
    return gx, channel_sum(scaled), channel_sum(gy)


def group_norm_fwd(
    x: DeviceArray, groups: int, weight: DeviceArray | None, bias: DeviceArray | None, eps: float
) -> Arrays:
    """Each group of channels of an image normalised; mean and 1 / deviation as ``N, groups``."""
    y, mean, invstd = _normalised(layout.dense(x), weight, bias, eps, _rows(x, groups))
    shape = x.shape[0], groups
    return y, reshape(mean, shape), reshape(invstd, shape)


def group_norm_bwd(
    gy: DeviceArray,
    x: DeviceArray,
    groups: int,
    mean: DeviceArray,
    invstd: DeviceArray,
    weight: DeviceArray | None,
) -> Arrays:
    """Gradients of :func:`group_norm_fwd` in x, weight and bias."""
    gy = layout.dense(gy)
    gx, scaled = _normalised_bwd(gy, layout.dense(x), mean, invstd, weight, _rows(x, groups))
    return gx, channel_sum(scaled), channel_sum(gy)
