"""Softmax and cross entropy: a row of logits per team of threads (see ``reduce.py`` for a drawing).

A softmax subtracts the largest number of its row before it takes exponentials, so none of them overflows.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.pointwise import BINARY_FORMULAS

from ..codegen import ptx
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
_ROWS = 4  # rows whose losses a thread sums, where there are many


def _teams(rows, n, vector_width):
    """Blocks, and threads per row, which take up to 8 vectors each, so that barriers matter little."""
    return teams(rows, -(-n // (2 * vector_width)))


@functools.cache
def _cross_entropy_kernel(real, vector_width, team):
    sum_team, max_team = team_reducer("add"), team_reducer("maximum")
    larger, zero, one, lowest = body(BINARY_FORMULAS["maximum"]), real(0), real(1), real(-np.inf)
    load, store = ptx.vector_access(vector_width)

    @kernel
    def cross_entropy(x, target, weight, ignored, smoothing, losses, prob, n, rows):
        shared = cuda.shared.array(THREADS, real)
        out = cuda.local.array(vector_width, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        first, end, step = lane * vector_width, n if valid else 0, team * vector_width
        # total: the sum of exp(x - top), which shrinks whenever a thread meets a larger number
        top, total = lowest, zero
        i = first
        while i < end:
            v = load(x, place + i)
            before = top
            for k in range(vector_width):
                top = larger(top, v[k])
            base = top if top > lowest else zero  # -inf less -inf would be NaN
            total *= math.exp(before - base)
            for k in range(vector_width):
                total += math.exp(v[k] - base)
            i += step
        before = top
        top = max_team(shared, top, team)
        total = sum_team(shared, total * math.exp(before - top) if before > lowest else total, team)
        shift, scale = math.log(total), one / total
        spread = zero  # sum of -w * logp, the smoothed part
        i = first
        while i < end:
            v = load(x, place + i)
            for k in range(vector_width):
                out[k] = math.exp(v[k] - top) * scale
                if smoothing > zero:
                    logp = v[k] - top - shift
                    spread -= weight.array[i + k] * logp if weight.given else logp
            store(prob, place + i, out)
            i += step
        if smoothing > zero:
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
def _sum_losses_kernel(real):
    sum_team, zero, one = team_reducer("add"), np.float64(0), np.float64(1)

    @kernel
    def sum_losses(losses, target, weight, ignored, partial, mean, n, rows):
        # a block's sum of the losses, and of the weights of the labels that count; see mean_loss
        shared = cuda.shared.array(THREADS, np.float64)
        total, weights = zero, zero
        for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
            label = target[row]
            total += np.float64(losses[row])
            if label != ignored and 0 <= label < n:
                weights += np.float64(weight.array[label]) if weight.given else one
        total = sum_team(shared, total, THREADS)
        weights = sum_team(shared, weights, THREADS)
        if cuda.threadIdx.x == 0:
            if cuda.gridDim.x == 1:
                mean[0] = real(total / weights)
                mean[1] = real(weights)
            else:
                partial[2 * cuda.blockIdx.x] = total
                partial[2 * cuda.blockIdx.x + 1] = weights

    return sum_losses


@functools.cache
def _mean_loss_kernel(real):
    sum_team, zero = team_reducer("add"), np.float64(0)

    @kernel
    def mean_loss(partial, mean, pieces):
        # one block: mean[0] = sum of the losses / sum of the weights, mean[1] = the latter sum
        shared = cuda.shared.array(THREADS, np.float64)
        total, weights = zero, zero
        for i in range(cuda.threadIdx.x, pieces, THREADS):
            total += partial[2 * i]
            weights += partial[2 * i + 1]
        total = sum_team(shared, total, THREADS)
        weights = sum_team(shared, weights, THREADS)
        if cuda.threadIdx.x == 0:
            mean[0] = real(total / weights)
            mean[1] = real(weights)

    return mean_loss


@functools.cache
def _cross_entropy_bwd_kernel(real, vector_width, team):
    sum_team, zero, one = team_reducer("add"), real(0), real(1)
    load, store = ptx.vector_access(vector_width)

    @kernel
    def cross_entropy_bwd(grad_rows, mean, prob, target, weight, ignored, smoothing, gx, n, rows):
        shared = cuda.shared.array(THREADS, real)
        out = cuda.local.array(vector_width, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        first, end, step = lane * vector_width, n if valid else 0, team * vector_width
        # loss = -sum over i of aim[i] * log(prob[i]), where aim is even * weight, and hit more at the label
        even = smoothing / real(n)
        mass = smoothing  # sum of the even part
        if weight.given and smoothing > zero:
            mass = zero
            for i in range(lane, end, team):
                mass += even * weight.array[i]
            mass = sum_team(shared, mass, team)
        if valid:
            label = target[row]
            counts = label != ignored and 0 <= label < n
            scale, hit = zero, zero
            if counts:
                scale = grad_rows[0] / mean.array[1] if mean.given else grad_rows[row]
                hit = (one - smoothing) * (weight.array[label] if weight.given else one)
            i = first
            while i < end:
                v = load(prob, place + i)
                for k in range(vector_width):
                    aim = even * weight.array[i + k] if weight.given else even
                    if i + k == label:
                        aim += hit
                    out[k] = scale * ((mass + hit) * v[k] - aim) if counts else zero
                store(gx, place + i, out)
                i += step

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
    vector_width = layout.vector_width(n, logits, prob)
    blocks, team = _teams(rows, n, vector_width)
    launch(
        _cross_entropy_kernel(real, vector_width, team),
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
    least, most = memory.known_range(target) or (-1, n)
    if context.current().graph is None and not 0 <= least <= most < n:
        labels = to_host(target)
        if ((labels != ignore_index) & ((labels < 0) | (labels >= n))).any():
            return None, None
    losses, prob = cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing)
    mean, target, real = memory.empty((2,), logits.dtype), layout.dense(target), logits.dtype.type
    pieces = max(min(-(-rows // (_ROWS * THREADS)), THREADS), 1)
    partial = memory.empty((pieces, 2), np.float64)
    launch(
        _sum_losses_kernel(real),
        pieces,
        THREADS,
        losses,
        target,
        optional(weight, logits),
        ignore_index,
        partial,
        mean,
        n,
        rows,
    )
    if pieces > 1:
        launch(_mean_loss_kernel(real), 1, THREADS, partial, mean, pieces)
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
    vector_width = layout.vector_width(n, prob, gx)
    blocks, team = _teams(rows, n, vector_width)
    launch(
        _cross_entropy_bwd_kernel(real, vector_width, team),
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
    )
    return gx
