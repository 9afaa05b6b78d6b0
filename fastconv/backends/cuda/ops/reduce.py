"""Sums and extrema, softmax and the losses on it: a row, or a piece of it, per team of threads.

::

    x: rows x n, contiguous            a block of 256 threads:  team 0 | team 1 | ...      (8 threads each, for short rows)
       team t takes row t: its lanes   lane 0 1 2 .. 7, then again from 0
       add up every 8th element, then a tree over the lanes in shared memory gives one number

Few long rows are cut into pieces, whose results are reduced by the same kernel again. The order of additions
depends on the shape alone, so results repeat to the bit.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from ..runtime import layout, memory
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch, math
from .pointwise import BINARY_OPS, cast, half_as_float
from .shape import reshape, to_host


# ------------------------------------------------------------------------------------------------- teams
@functools.cache
def team_reducer(name):
    """The function ``(shared, value, team) -> what op ``name`` makes of the team's values``, for the whole
    block at once."""
    op = body(BINARY_OPS[name])

    @body
    def reduce_team(shared, value, team):
        t = cuda.threadIdx.x
        lane = t % team
        shared[t] = value
        cuda.syncthreads()
        half = team // 2
        while half > 0:
            if lane < half:
                shared[t] = op(shared[t], shared[t + half])
            cuda.syncthreads()
            half = half // 2
        result = shared[t - lane]
        cuda.syncthreads()
        return result

    return reduce_team


def teams(rows: int, n: int) -> tuple[int, int]:
    """Blocks, and threads per team, for ``rows`` rows of ``n`` elements."""
    team = 1
    while team < THREADS and 4 * team < n:
        team *= 2
    return -(-rows // (THREADS // team)), team


def accumulator(dtype):
    """The type sums are kept in: float64, or int64."""
    return np.float64 if dtype.kind == "f" else np.int64


# ------------------------------------------------------------------------------------------------- sums and
# extrema
@functools.cache
def _rows_kernel(name, result, acc):
    op = body(BINARY_OPS[name])
    reduce_team = team_reducer(name)
    total = name == "add"
    zero = acc(0)

    def reduce_rows(x, y, n, piece, pieces, jobs, team, divisor):
        shared = cuda.shared.array(THREADS, acc)
        t = cuda.threadIdx.x
        lane = t % team
        job = cuda.blockIdx.x * (THREADS // team) + t // team
        value = zero
        if job < jobs:
            row = job // pieces
            start = (job - row * pieces) * piece
            end = min(start + piece, n)
            if not total:
                value = acc(x[row * n + start])  # every lane starts from a number that is there
            for i in range(start + lane, end, team):
                value = op(value, acc(x[row * n + i]))
        value = reduce_team(shared, value, team)
        if lane == 0 and job < jobs:
            if divisor != zero:
                y[job] = result(value / divisor)
            else:  # in one expression with a quotient, integers would become floats
                y[job] = result(value)

    reduce_rows.__name__ = f"reduce_{name}"
    return kernel(reduce_rows)


def reduce_rows(name, x, rows, n, dtype, divisor=0):
    """``add``, ``maximum`` or ``minimum`` over each of ``rows`` contiguous rows of ``n``; divided by
    ``divisor`` unless 0."""
    # in whole words
    acc = accumulator(x.dtype) if name == "add" else x.dtype.type if x.dtype.itemsize > 2 else np.int32
    pieces = 1
    if rows * 8 < PIECES and n > 4 * LONG:
        pieces = min(-(-n // LONG), PIECES // rows)
    piece = -(-n // pieces)
    pieces = -(-n // piece) if n else 1
    if pieces > 1:
        partial = memory.empty((rows, pieces), acc)
        _launch_rows(name, acc, acc, x, partial, n, piece, pieces, rows, 0)
        x, n = partial, pieces
    y = memory.empty((rows,), dtype)
    _launch_rows(name, y.dtype.type, acc, x, y, n, max(n, 1), 1, rows, divisor)
    return y


LONG = 16 if SIMULATED else 4096  # elements of a piece
PIECES = 64 if SIMULATED else 1024  # at most, over all rows


def _launch_rows(name, result, acc, x, y, n, piece, pieces, rows, divisor):
    blocks, team = teams(rows * pieces, piece)
    launch(
        _rows_kernel(name, result, acc),
        blocks,
        THREADS,
        x,
        y,
        n,
        piece,
        pieces,
        rows * pieces,
        team,
        acc(divisor),
    )


def _by_rows(x, axes):
    """``x`` as contiguous rows: the axes kept, in order, by the ``axes`` reduced."""
    kept = [i for i in range(x.ndim) if i not in axes]
    x = layout.dense(x.transpose(*kept, *axes))
    return x, prod(x.shape[: len(kept)]), prod(x.shape[len(kept) :])


@half_as_float
def reduce_fwd(name, x, axes, keepdims):
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    op = {"sum": "add", "mean": "add", "max": "maximum", "min": "minimum"}[name]
    if x.dtype == bool and op == "add":
        x = cast(x, np.int64)
    dtype, divisor = np.dtype(np.int64) if op == "add" and x.dtype.kind != "f" else x.dtype, 0
    channels = x.ndim > 1 and op == "add" and axes == (0, *range(2, x.ndim)) and x.dtype.kind == "f"
    if name == "mean":
        divisor = prod(x.shape[i] for i in axes)
        if x.dtype.kind != "f":
            x = cast(x, np.float64)
            dtype = x.dtype
        if divisor == 0:
            return layout.filled(shape, dtype, np.nan)
    if channels:
        from .channel_reduce import column_sums

        return column_sums(x, divisor).reshape(*shape)
    if op != "add" and x.size == 0 and prod(shape):
        raise ValueError(f"{name}: cannot reduce an empty extent")
    rows = _by_rows(x, axes)
    return reduce_rows(op, *rows, dtype, divisor).reshape(*shape)


@functools.cache
def _argument_kernel(name):
    before = body(lambda a, b: a > b) if name == "argmax" else body(lambda a, b: a < b)

    def argument_rows(x, y, n, rows, team):
        best = cuda.shared.array(THREADS, np.int64)
        t = cuda.threadIdx.x
        lane = t % team
        row = cuda.blockIdx.x * (THREADS // team) + t // team
        place = np.int64(row) * n
        at = place + lane if lane < n else place
        if row < rows:
            for i in range(lane + team, n, team):
                if before(x[place + i], x[at]) or (x[place + i] != x[place + i] and x[at] == x[at]):
                    at = place + i
        best[t] = at
        cuda.syncthreads()
        half = team // 2
        while half > 0:
            if lane < half and row < rows:
                other = best[t + half]
                mine = best[t]
                a, b = x[mine], x[other]
                mine_nan, other_nan = a != a, b != b
                if (
                    before(b, a)
                    or (other_nan and not mine_nan)
                    or (other < mine and (b == a or (other_nan and mine_nan)))
                ):
                    best[t] = other
            cuda.syncthreads()
            half = half // 2
        if lane == 0 and row < rows:
            y[row] = best[t] - place

    argument_rows.__name__ = f"{name}_rows"
    return kernel(argument_rows)


def argmax(x, axis, keepdims):
    return _argument("argmax", x, axis, keepdims)


def argmin(x, axis, keepdims):
    return _argument("argmin", x, axis, keepdims)


@half_as_float
def _argument(name, x, axis, keepdims):
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    x, rows, n = _by_rows(x, axes)
    y = memory.empty((rows,), np.int64)
    blocks, team = teams(rows, n)
    launch(_argument_kernel(name), blocks, THREADS, x, y, n, rows, team)
    return y.reshape(*shape)


# ------------------------------------------------------------------------------------------------- softmax
@functools.cache
def _softmax_kernel(real, log):
    sum_team, max_team = team_reducer("add"), team_reducer("maximum")
    larger, zero = body(BINARY_OPS["maximum"]), real(0)

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


def softmax_fwd(x, axis, log):
    return _softmax(_softmax_kernel, axis, log, x)


def softmax_bwd(gy, y, axis, log):
    return _softmax(_softmax_bwd_kernel, axis, log, gy, y)


# ------------------------------------------------------------------------------------------------- cross
# entropy
@functools.cache
def _cross_entropy_kernel(real):
    sum_team, max_team = team_reducer("add"), team_reducer("maximum")
    larger, zero, one = body(BINARY_OPS["maximum"]), real(0), real(1)

    @kernel
    def cross_entropy(x, target, weight, weighted, ignored, smoothing, losses, prob, n, rows, team):
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
                    spread -= weight[i] * logp if weighted else logp
        spread = sum_team(shared, spread, team)
        if valid and lane == 0:
            label = target[row]
            if label == ignored:
                losses[row] = zero
            elif label < 0 or label >= n:
                losses[row] = math.nan
            else:
                w = weight[label] if weighted else one
                loss = (one - smoothing) * w * (top + shift - x[place + label])
                losses[row] = loss + smoothing / real(n) * spread if smoothing > zero else loss

    return cross_entropy


@functools.cache
def _mean_loss_kernel(real):
    sum_team, zero, one = team_reducer("add"), np.float64(0), np.float64(1)

    @kernel
    def mean_loss(losses, target, weight, weighted, ignored, mean, n, rows):
        """mean = the sum of the losses over that of the weights of the labels that count, and the latter; one
        block."""
        shared = cuda.shared.array(THREADS, np.float64)
        total, weights = zero, zero
        for row in range(cuda.threadIdx.x, rows, THREADS):
            label = target[row]
            total += np.float64(losses[row])
            if label != ignored and 0 <= label < n:
                weights += np.float64(weight[label]) if weighted else one
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
    def cross_entropy_bwd(
        grad_rows, mean, averaged, prob, target, weight, weighted, ignored, smoothing, gx, n, rows, team
    ):
        shared = cuda.shared.array(THREADS, real)
        lane = cuda.threadIdx.x % team
        row = cuda.blockIdx.x * (THREADS // team) + cuda.threadIdx.x // team
        valid = row < rows
        place = np.int64(row) * n
        even = smoothing / real(n)
        mass = zero
        if valid:
            for i in range(lane, n, team):
                mass += even * weight[i] if weighted else even
        mass = sum_team(shared, mass, team)
        if valid:
            label = target[row]
            scale = grad_rows[0] / mean[1] if averaged else grad_rows[row]
            if label == ignored or label < 0 or label >= n:
                for i in range(lane, n, team):
                    gx[place + i] = zero
            else:
                hit = (one - smoothing) * (weight[label] if weighted else one)
                for i in range(lane, n, team):
                    aim = even * weight[i] if weighted else even
                    if i == label:
                        aim += hit
                    gx[place + i] = scale * ((mass + hit) * prob[place + i] - aim)

    return cross_entropy_bwd


def cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing):
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
        *weights(weight, logits),
        ignore_index,
        real(label_smoothing),
        losses,
        prob,
        n,
        rows,
        team,
    )
    return losses, prob


def cross_entropy_mean_fwd(logits, target, weight, ignore_index, label_smoothing):
    rows, n = logits.shape
    if memory.graph is None:  # a recorded step cannot look at its labels; the loss is NaN then
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
        *weights(weight, logits),
        ignore_index,
        mean,
        n,
        rows,
    )
    return mean.view((), ()), (mean, prob, target, weight, ignore_index, label_smoothing)


def cross_entropy_mean_bwd(gy, saved):
    mean, prob, *rest = saved
    return _cross_entropy_bwd(gy, mean, prob, *rest)


def cross_entropy_bwd(grad_rows, prob, target, weight, ignore_index, label_smoothing):
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
        *weights(mean, grad_rows),
        prob,
        layout.dense(target),
        *weights(weight, prob),
        ignore_index,
        real(label_smoothing),
        gx,
        n,
        rows,
        team,
    )
    return gx


def weights(weight, stand_in):
    """What a kernel takes for an optional array: an array in any case, and whether it means something."""
    return (stand_in, False) if weight is None else (layout.dense(weight), True)
