"""Softmax, cross-entropy, and their gradients: one row at a time.

    threads: equal shares of the rows
      a row (it stays in the first-level cache):
        maximum;  p = exp(x - maximum) and their sum;  y = p / sum, or x - maximum - log(sum)
        cross-entropy:  also the loss of the row's target
    one thread: the mean of the losses, in the order of the rows

Nothing overflows, because no exponent is above 0.
"""

from __future__ import annotations

import numpy as np

from ..codegen import emitter, vector_math
from ..codegen.emitter import address
from ..codegen.jit import body, in_parallel, kernel, split_range, stages
from ..runtime import layout, memory


@body
def exponentials(row, out):
    """``out = exp(row - max(row))``; returns its sum, and the maximum (of some of the elements, if one is
    NaN)."""
    count, size, lanes = row.size, row.itemsize, emitter.VECTOR_BYTES // row.itemsize
    candidates = row
    if count > lanes:  # the compiler makes no vector code of a maximum
        best = emitter.load(address(row), row)
        for c in range(lanes, count, lanes):
            best = emitter.larger(emitter.load(address(row) + min(c, count - lanes) * size, row), best)
        emitter.store(best, address(out))
        candidates = out[:lanes]
    largest = candidates[0]
    for c in range(1, candidates.size):
        largest = candidates[c] if candidates[c] > largest else largest
    for c in range(count):
        out[c] = vector_math.exp(row[c] - largest)
    total = row.dtype.type(0)
    for c in range(count):
        total += out[c]
    return total, largest


@kernel
def _softmax(thread, threads, x, log, y):
    rows, columns = x.shape
    first, end = split_range(thread, threads, rows)
    for r in range(first, end):
        total, largest = exponentials(x[r], y[r])
        if log:
            shift = np.log(total)
            for c in range(columns):
                y[r, c] = vector_math.minus_both(x[r, c], largest, shift)
        else:
            for c in range(columns):
                y[r, c] /= total


@kernel
def _softmax_bwd(thread, threads, gy, y, log, gx):
    rows, columns = y.shape
    first, end = split_range(thread, threads, rows)
    for r in range(first, end):
        total = gy.dtype.type(0)
        if log:
            for c in range(columns):
                total += gy[r, c]
            for c in range(columns):
                gx[r, c] = gy[r, c] - vector_math.exp(y[r, c]) * total
        else:
            for c in range(columns):
                total += gy[r, c] * y[r, c]
            for c in range(columns):
                gx[r, c] = y[r, c] * (gy[r, c] - total)


def _rows_along(axis, *arrays):
    """``arrays`` and a new result, all as rows along ``axis``; and the result in its logical shape."""
    moved = [np.moveaxis(a, axis, -1) for a in arrays]
    out = memory.empty(moved[0].shape, moved[0].dtype)
    return [layout.dense(m).reshape(-1, m.shape[-1]) for m in (*moved, out)], np.moveaxis(out, -1, axis)


def softmax_fwd(x, axis, log):
    if not x.size:
        return x.copy()
    (rows, out), y = _rows_along(axis, x)
    _softmax(rows, log, out)
    return y


def softmax_bwd(gy, y, axis, log):
    if not y.size:
        return y.copy()
    (up, rows, out), gx = _rows_along(axis, gy, y)
    _softmax_bwd(up, rows, log, out)
    return gx


@body
def _rows_loss(thread, threads, logits, target, weight, ignore_index, smoothing, losses, prob):
    rows, classes = logits.shape
    one = logits.dtype.type(1)
    first, end = split_range(thread, threads, rows)
    for r in range(first, end):
        row, p, t = logits[r], prob[r], target[r]
        total, largest = exponentials(row, p)
        shift, inverse = np.log(total), one / total
        for c in range(classes):
            p[c] *= inverse
        losses[r] = 0
        if t != ignore_index and 0 <= t < classes:
            losses[r] = (one - smoothing) * weight[t] * -vector_math.minus_both(row[t], largest, shift)
            if smoothing > 0:
                spread = logits.dtype.type(0)
                for c in range(classes):
                    spread -= weight[c] * vector_math.minus_both(row[c], largest, shift)
                losses[r] += smoothing / classes * spread


@stages
def _cross_entropy(threads, logits, target, weight, ignore_index, smoothing, losses, prob, mean):
    # mean: the mean loss, the weight of the rows that count, and the number of targets that are no class
    rows, classes = logits.shape
    in_parallel(_rows_loss, threads, (logits, target, weight, ignore_index, smoothing, losses, prob))
    total, mass, invalid_targets = 0.0, 0.0, 0
    for r in range(rows):
        t = target[r]
        if t != ignore_index:
            if 0 <= t < classes:
                total += losses[r]
                mass += weight[t]
            else:
                invalid_targets += 1
    mean[0], mean[1], mean[2] = total / mass, mass, invalid_targets


@kernel
def _cross_entropy_bwd(thread, threads, grad_rows, mean, prob, target, weight, ignore_index, smoothing, out):
    # grad_rows: a number per row, or one for all; mean: as above
    rows, classes = prob.shape
    one = prob.dtype.type(1)
    even = smoothing / prob.dtype.type(classes)
    mass = prob.dtype.type(0)
    for c in range(classes):
        mass += weight[c]
    first, end = split_range(thread, threads, rows)
    for r in range(first, end):
        t, g = target[r], prob.dtype.type(grad_rows[r if grad_rows.size == rows else 0] / mean[1])
        if t == ignore_index:
            out[r] = 0
            continue
        own = (one - smoothing) * weight[t]
        for c in range(classes):
            out[r, c] = g * ((own + even * mass) * prob[r, c] - even * weight[c])
        out[r, t] -= g * own


_EACH_ROW = np.ones(3)  # each row has its own gradient, which nothing divides


def _run_cross_entropy(logits, target, weight, ignore_index, label_smoothing):
    logits, target, number = layout.dense(logits), layout.dense(target), logits.dtype.type
    losses, prob = memory.empty(logits.shape[:1], logits.dtype), memory.empty(logits.shape, logits.dtype)
    weight, mean = np.ones(logits.shape[1], number) if weight is None else layout.dense(weight), np.empty(3)
    _cross_entropy(logits, target, weight, ignore_index, number(label_smoothing), losses, prob, mean)
    return losses, mean, (prob, target, weight, ignore_index, number(label_smoothing))


def _run_cross_entropy_bwd(grad_rows, mean, prob, target, weight, ignore_index, label_smoothing):
    out = memory.empty(prob.shape, prob.dtype)
    _cross_entropy_bwd(grad_rows, mean, prob, target, weight, ignore_index, label_smoothing, out)
    return out


def cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing):
    losses, _, (prob, *_) = _run_cross_entropy(logits, target, weight, ignore_index, label_smoothing)
    return losses, prob


def cross_entropy_bwd(grad_rows, prob, target, weight, ignore_index, label_smoothing):
    weight = np.ones(prob.shape[1], prob.dtype) if weight is None else layout.dense(weight)
    return _run_cross_entropy_bwd(
        layout.dense(grad_rows),
        _EACH_ROW,
        layout.dense(prob),
        layout.dense(target),
        weight,
        ignore_index,
        prob.dtype.type(label_smoothing),
    )


def cross_entropy_mean_fwd(logits, target, weight, ignore_index, label_smoothing):
    _, mean, saved = _run_cross_entropy(logits, target, weight, ignore_index, label_smoothing)
    loss, _, invalid_targets = mean
    return None if invalid_targets else np.array(loss, logits.dtype), (mean, *saved)


def cross_entropy_mean_bwd(gy, saved):
    return _run_cross_entropy_bwd(layout.dense(gy).reshape(1), *saved)
