"""Softmax and cross entropy: a row of logits per team of threads (see ``reduce.py`` for a drawing).

A softmax subtracts the largest number of its row before it takes exponentials, so none of them overflows.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.pointwise import BINARY_FORMULAS

from ..runtime import context, layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import THREADS, body, cuda, kernel, launch, math
from .block_reduce import optional, team_reducer, teams
from .views import reshape, to_host


# ------------------------------------------------------------------------------------------------- softmax
@functools.cache
def _softmax_kernel(real, log):
    sum_team, max_team = team_reducer("add"), team_reducer("maximum")
    larger, zero = body(BINARY_FORMULAS["maximum"]), real(0)

    def softmax(x, y, n, rows, team):
        shared = cuda.shared.array(THREADS, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        top = x[place] if valid else zero
        if valid:
            for i in range(lane, n, team):
                top = larger(top, x[place + i])
        top = max_team(shared, top, team)
        total = zero
        if valid:
            for i in range(lane, n, team):
                e = math.exp(x[place + i] - top)
                total += e
                if not log:
                    y[place + i] = e
        total = sum_team(shared, total, team)
        if valid:
            shift = math.log(total)
            for i in range(lane, n, team):
                y[place + i] = x[place + i] - top - shift if log else y[place + i] / total

    softmax.__name__ = "log_softmax" if log else "softmax"
    return kernel(softmax)


@functools.cache
def _softmax_bwd_kernel(real, log):
    sum_team, zero = team_reducer("add"), real(0)

    def softmax_bwd(gy, y, gx, n, rows, team):
        shared = cuda.shared.array(THREADS, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        total = zero
        if valid:
            for i in range(lane, n, team):
                total += gy[place + i] if log else gy[place + i] * y[place + i]
        total = sum_team(shared, total, team)
        if valid:
            for i in range(lane, n, team):
                if log:
                    gx[place + i] = gy[place + i] - math.exp(y[place + i]) * total
                else:
                    gx[place + i] = y[place + i] * (gy[place + i] - total)

    softmax_bwd.__name__ = "log_softmax_bwd" if log else "softmax_bwd"
    return kernel(softmax_bwd)


def _softmax(make, axis, log, *arrays):
    """Run a kernel over the rows that ``axis`` makes; the result has the memory order of those rows."""
    ndim = arrays[0].ndim
    if ndim == 0:
        return _softmax(make, 0, log, *(reshape(a, (1,)) for a in arrays)).reshape()
    order = [i for i in range(ndim) if i != axis] + [axis]
    arrays = [layout.dense(a.transpose(*order)) for a in arrays]
    y, n = memory.empty(arrays[0].shape, arrays[0].dtype), arrays[0].shape[-1]
    if y.size:
        blocks, team = teams(y.size // n, n)
        launch(make(y.dtype.type, bool(log)), blocks, THREADS, *arrays, y, n, y.size // n, team)
    return y.transpose(*(order.index(i) for i in range(ndim)))


def softmax_fwd(x: DeviceArray, axis: int, log: bool) -> DeviceArray:
    """Softmax along an axis, or its logarithm."""
    return _softmax(_softmax_kernel, axis, log, x)


def softmax_bwd(gy: DeviceArray, y: DeviceArray, axis: int, log: bool) -> DeviceArray:
    """Gradient of :func:`softmax_fwd` in x, from its result ``y``."""
    return _softmax(_softmax_bwd_kernel, axis, log, gy, y)


# ------------------------------------------------------------------------------------------- cross entropy
@functools.cache
def _cross_entropy_kernel(real):
    sum_team, max_team = team_reducer("add"), team_reducer("maximum")
    larger, zero, one = body(BINARY_FORMULAS["maximum"]), real(0), real(1)

    @kernel
    def cross_entropy(x, target, weight, ignored, smoothing, losses, prob, n, rows, team):
        shared = cuda.shared.array(THREADS, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        top = x[place] if valid else zero
        if valid:
            for i in range(lane, n, team):
                top = larger(top, x[place + i])
        top = max_team(shared, top, team)
        total = zero
        if valid:
            for i in range(lane, n, team):
                e = math.exp(x[place + i] - top)
                prob[place + i] = e
                total += e
        total = sum_team(shared, total, team)
        shift = math.log(total)
        spread = zero  # sum of -w * logp, the smoothed part
        if valid:
            for i in range(lane, n, team):
                prob[place + i] = prob[place + i] / total
                if smoothing > zero:
                    logp = x[place + i] - top - shift
                    spread -= weight.array[i] * logp if weight.given else logp
        spread = sum_team(shared, spread, team)
        if valid and lane == 0:
            label = target[row]
            if label == ignored:
                losses[row] = zero
            elif label < 0 or label >= n:
                losses[row] = math.nan
            else:
                w = weight.array[label] if weight.given else one
                loss = (one - smoothing) * w * (top + shift - x[place + label])
                losses[row] = loss + smoothing / real(n) * spread if smoothing > zero else loss

    return cross_entropy


@functools.cache
def _mean_loss_kernel(real):
    sum_team, zero, one = team_reducer("add"), np.float64(0), np.float64(1)

    @kernel
    def mean_loss(losses, target, weight, ignored, mean, n, rows):
        # one block: mean[0] = sum of the losses / sum of the weights of the labels that count, mean[1] = the
        # latter sum
        shared = cuda.shared.array(THREADS, np.float64)
        total, weights = zero, zero
        for row in range(cuda.threadIdx.x, rows, THREADS):
            label = target[row]
            total += np.float64(losses[row])
            if label != ignored and 0 <= label < n:
                weights += np.float64(weight.array[label]) if weight.given else one
        total = sum_team(shared, total, THREADS)
        weights = sum_team(shared, weights, THREADS)
        if cuda.threadIdx.x == 0:
            mean[0] = real(total / weights)
            mean[1] = real(weights)

    return mean_loss


@functools.cache
def _cross_entropy_bwd_kernel(real):
    sum_team, zero, one = team_reducer("add"), real(0), real(1)

    @kernel
    def cross_entropy_bwd(grad_rows, mean, prob, target, weight, ignored, smoothing, gx, n, rows, team):
        shared = cuda.shared.array(THREADS, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        # loss = -sum over i of aim[i] * log(prob[i]), where aim is even * weight, and hit more at the label
        even = smoothing / real(n)
        mass = zero  # sum of the even part
        if valid:
            for i in range(lane, n, team):
                mass += even * weight.array[i] if weight.given else even
        mass = sum_team(shared, mass, team)
        if valid:
            label = target[row]
            scale = grad_rows[0] / mean.array[1] if mean.given else grad_rows[row]
            if label == ignored or label < 0 or label >= n:
                for i in range(lane, n, team):
                    gx[place + i] = zero
            else:
                hit = (one - smoothing) * (weight.array[label] if weight.given else one)
                for i in range(lane, n, team):
                    aim = even * weight.array[i] if weight.given else even
                    if i == label:
                        aim += hit
                    gx[place + i] = scale * ((mass + hit) * prob[place + i] - aim)

    return cross_entropy_bwd


def cross_entropy_fwd(
    logits: DeviceArray,
    target: DeviceArray,
    weight: DeviceArray | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[DeviceArray, DeviceArray]:
    """The loss of each row, and its softmax; NaN where a label is out of range."""
    logits, real = layout.dense(logits), logits.dtype.type
    rows, n = logits.shape
    losses, prob = memory.empty((rows,), logits.dtype), memory.empty(logits.shape, logits.dtype)
    blocks, team = teams(rows, n)
    launch(
        _cross_entropy_kernel(real),
        blocks,
        THREADS,
        logits,
        layout.dense(target),
        optional(weight, logits),
        ignore_index,
        real(label_smoothing),
        losses,
        prob,
        n,
        rows,
        team,
    )
    return losses, prob


def cross_entropy_mean_fwd(
    logits: DeviceArray,
    target: DeviceArray,
    weight: DeviceArray | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[DeviceArray | None, tuple | None]:
    """The mean of the losses, and what its gradient needs; two None if a label is out of range.

    A step that a graph makes cannot read its labels. A label out of range makes its loss NaN.
    """
    rows, n = logits.shape
    if context.current().graph is None:
        labels = to_host(target)
        if ((labels != ignore_index) & ((labels < 0) | (labels >= n))).any():
            return None, None
    losses, prob = cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing)
    mean, target = memory.empty((2,), logits.dtype), layout.dense(target)
    launch(
        _mean_loss_kernel(logits.dtype.type),
        1,
        THREADS,
        losses,
        target,
        optional(weight, logits),
        ignore_index,
        mean,
        n,
        rows,
    )
    return mean.view((), ()), (mean, prob, target, weight, ignore_index, label_smoothing)


def cross_entropy_mean_bwd(gy: DeviceArray, saved) -> DeviceArray:
    """Gradient of :func:`cross_entropy_mean_fwd` in the logits."""
    mean, prob, *rest = saved
    return _cross_entropy_bwd(gy, mean, prob, *rest)


def cross_entropy_bwd(
    grad_rows: DeviceArray,
    prob: DeviceArray,
    target: DeviceArray,
    weight: DeviceArray | None,
    ignore_index: int,
    label_smoothing: float,
) -> DeviceArray:
    """Gradient of :func:`cross_entropy_fwd` in the logits, from the gradients of the rows' losses."""
    return _cross_entropy_bwd(grad_rows, None, prob, target, weight, ignore_index, label_smoothing)


def _cross_entropy_bwd(grad_rows, mean, prob, target, weight, ignore_index, label_smoothing):
    gx, real = memory.empty(prob.shape, prob.dtype), prob.dtype.type
    rows, n = prob.shape
    blocks, team = teams(rows, n)
    launch(
        _cross_entropy_bwd_kernel(real),
        blocks,
        THREADS,
        layout.dense(grad_rows),
        optional(mean, grad_rows),
        prob,
        layout.dense(target),
        optional(weight, prob),
        ignore_index,
        real(label_smoothing),
        gx,
        n,
        rows,
        team,
    )
    return gx
