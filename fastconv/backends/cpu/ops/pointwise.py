"""Elementwise ops, reductions, softmax, cross-entropy and dropout.

    threads: equal shares of the elements (or rows);  each share is one loop that LLVM turns into vector code

An op is a scalar function; the loops around it are written once and compiled for an op when it is first used.
Scalar functions get their constants as arguments of the array's dtype, for a Python number would make float64
of float32.

Arrays below SMALL elements, integers and broadcasts that are no row vector go to NumPy, which is done with
them before a parallel launch (~10 us) has begun or where speed does not matter.
"""

from __future__ import annotations

import functools
from math import floor, prod

import numpy as np

from ..codegen import emitter, vector_math
from ..codegen.emitter import address
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout, memory
from . import borrowed as reference

SMALL = 1 << 13

# x, the op's number p, 1
_UNARY = {
    "neg": lambda x, p, one: -x,
    "abs": lambda x, p, one: abs(x),
    "exp": lambda x, p, one: vector_math.exp(x),
    "log": lambda x, p, one: np.log(x),
    "sqrt": lambda x, p, one: np.sqrt(x),
    "pow": lambda x, p, one: x * x if p == 2 else x**p,
    "relu": lambda x, p, one: p if x <= p else x,  # NaN passes; p is 0 where an op has no number
    "leaky_relu": lambda x, p, one: x if x > 0 else x * p,
    "sigmoid": lambda x, p, one: vector_math.sigmoid(x),
    "tanh": lambda x, p, one: vector_math.tanh(x),
    "gelu": lambda x, p, one: x * vector_math.normal_cdf(x),
    "gelu_tanh": lambda x, p, one: x * vector_math.gelu_tanh_gate(x),
    "silu": lambda x, p, one: x * vector_math.sigmoid(x),
}
# upstream gradient, what UNARY saves, p, 1
_SLOPE = {
    "neg": lambda g, s, p, one: -g,
    "abs": lambda g, s, p, one: g * np.sign(s),
    "exp": lambda g, s, p, one: g * s,
    "log": lambda g, s, p, one: g / s,
    "sqrt": lambda g, s, p, one: g / (s + s),
    "pow": lambda g, s, p, one: g * (s + s) if p == 2 else (g * p * s ** (p - one) if p != 0 else p),
    "relu": lambda g, s, p, one: p if s <= p else g,
    "leaky_relu": lambda g, s, p, one: g if s > 0 else g * p,
    "sigmoid": lambda g, s, p, one: g * s * (one - s),
    "tanh": lambda g, s, p, one: g * (one - s * s),
    "gelu": lambda g, s, p, one: g * vector_math.gelu_slope(s),
    "gelu_tanh": lambda g, s, p, one: g * vector_math.gelu_tanh_slope(s),
    "silu": lambda g, s, p, one: g * vector_math.silu_slope(s),
}
_BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": lambda a, b: a if (a >= b) | (a != a) else b,
    "minimum": lambda a, b: a if (a <= b) | (a != a) else b,
}


# -------------------------------------------------------------------------------------------------
# elementwise
@functools.cache
def _unary_kernel(name: str):
    scalar = body(inline=True)(_UNARY[name])

    def run(threads, x, p, one, y):
        for thread in prange(threads):
            first, end = split_range(thread, threads, x.size)
            # from 0: an index that might be negative is not vectorised
            source, target = x[first:end], y[first:end]
            for i in range(source.size):
                target[i] = scalar(source[i], p, one)

    run.__qualname__ = f"unary.{name}"
    return kernel(run)


@functools.cache
def _slope_kernel(name: str):
    scalar = body(inline=True)(_SLOPE[name])

    def run(threads, g, s, p, one, y):
        for thread in prange(threads):
            first, end = split_range(thread, threads, g.size)
            up, saved, target = g[first:end], s[first:end], y[first:end]
            for i in range(up.size):
                target[i] = scalar(up[i], saved[i], p, one)

    run.__qualname__ = f"slope.{name}"
    return kernel(run)


@body(inline=True)
def _piece(a, start, stop):
    """What meets elements ``start`` to ``stop`` where ``a`` is repeated end to end."""
    first = start % a.size
    return a[first : first + stop - start]


@functools.cache
def _binary_kernel(name: str):
    scalar = body(inline=True)(_BINARY[name])

    def run(threads, a, b, y):
        # flat; the shorter side repeats all along the other: one number, or one row of the other's memory
        period = min(a.size, b.size)
        for thread in prange(threads):
            start, end = split_range(thread, threads, y.size)
            while start < end:
                stop = min(end, (start // period + 1) * period) if period > 1 else end
                p, q, out = _piece(a, start, stop), _piece(b, start, stop), y[start:stop]
                if p.size == q.size:
                    for i in range(out.size):
                        out[i] = scalar(p[i], q[i])
                elif q.size == 1:
                    for i in range(out.size):
                        out[i] = scalar(p[i], q[0])
                else:
                    for i in range(out.size):
                        out[i] = scalar(p[0], q[i])
                start = stop

    run.__qualname__ = f"binary.{name}"
    return kernel(run)


def _param(param, x):
    return x.dtype.type(0 if param is None else param), x.dtype.type(1)


def _is_large_float(x) -> bool:
    return np.size(x) >= SMALL and x.dtype.char in "fd"


def unary_fwd(name, x, param=None):
    if not _is_large_float(x):
        return reference.unary_fwd(name, x, param)
    y = layout.empty_like(x)
    views = layout.flat(y, layout.like(x, y))
    _unary_kernel(name)(views[1], *_param(param, x), views[0])
    return y


def unary_bwd(name, gy, saved, param=None):
    if not _is_large_float(gy):
        return reference.unary_bwd(name, gy, saved, param)
    saved = gy if saved is None else saved  # an op that saves nothing reads nothing
    y = layout.empty_like(saved)
    views = layout.flat(y, layout.like(gy, y), layout.like(saved, y))
    _slope_kernel(name)(views[1], views[2], *_param(param, gy), views[0])
    return y


def binary_fwd(name, a, b):
    large = a if np.size(a) >= np.size(b) else b
    small = b if large is a else a
    if name not in _BINARY or not _is_large_float(large):
        return reference.binary_fwd(name, a, b)
    if np.ndim(small) == 0 and not isinstance(small, np.ndarray):
        small = large.dtype.type(small)
    elif small.dtype != large.dtype:
        return reference.binary_fwd(name, a, b)
    y = layout.empty_like(large)
    out, first = layout.flat(y, layout.like(large, y))
    if np.size(small) == 1 and np.ndim(small) <= large.ndim:
        second = np.full(1, small, large.dtype)
    elif small.shape == large.shape:
        second = layout.flat(y, layout.like(small, y))[1]
    else:
        last = layout.memory_order(y)[-1]
        wide = (1,) * (large.ndim - small.ndim) + small.shape
        if small.ndim > large.ndim or prod(wide) != large.shape[last] or wide[last] != large.shape[last]:
            return reference.binary_fwd(name, a, b)
        second = np.tile(small.reshape(-1), 1 + 1024 // small.size)  # short rows would be short loops
    _binary_kernel(name)(*((first, second) if large is a else (second, first)), out)
    return y


# ------------------------------------------------------------------------------------------------- reductions
@kernel
def _sums(threads, x, totals):
    # x: outer, n, inner -> totals (float64): parts of n, outer, inner
    outer, n, inner = x.shape
    parts, lines = totals.shape[0], x.reshape(outer, n * inner)
    for thread in prange(threads):
        first, end = split_range(thread, threads, parts * outer)
        for job in range(first, end):
            part, o = job // outer, job % outer
            start, stop = split_range(part, parts, n)
            total = totals[part, o]
            total[:] = 0
            if inner == 1:
                for i in range(start, stop, 256):
                    line, partial = lines[o, i : min(i + 256, stop)], x.dtype.type(0)
                    for j in range(line.size):
                        partial += line[j]
                    total[0] += partial
            else:
                for i in range(start, stop):
                    row = x[o, i]
                    for c in range(inner):
                        total[c] += row[c]


def reduce_fwd(name, x, axes, keepdims):
    axes = tuple(sorted(a % x.ndim for a in axes)) if x.ndim else ()
    order = layout.memory_order(x)
    at = sorted(order.index(a) for a in axes)
    together = bool(at) and at == list(range(at[0], at[0] + len(at)))
    if name not in ("sum", "mean") or not _is_large_float(x) or not together:
        return reference.reduce_fwd(name, x, axes, keepdims)
    dense = layout.dense(x.transpose(order))
    shape = dense.shape
    view = dense.reshape(prod(shape[: at[0]]), -1, prod(shape[at[-1] + 1 :]))
    parts = max(1, min(64, view.size // (view.shape[0] * view.shape[2] * 256)))
    totals = memory.empty((parts, view.shape[0], view.shape[2]), np.float64)
    _sums(view, totals)
    with np.errstate(invalid="ignore"):
        result = totals.sum(axis=0) / (view.shape[1] if name == "mean" else 1)
    kept = [1 if i in at else s for i, s in enumerate(shape)]
    result = result.astype(x.dtype).reshape(kept).transpose(np.argsort(order))
    return result if keepdims else result.reshape([s for i, s in enumerate(x.shape) if i not in axes])


argmax, argmin = reference.argmax, reference.argmin


# ------------------------------------------------------------------------------------------------- softmax,
# cross-entropy
@body
def exponentials(row, out):
    """``out = exp(row - max(row))``; returns the sum and the maximum (where there are NaNs, of some
    others)."""
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
def _softmax(threads, x, log, y):
    rows, columns = x.shape
    for thread in prange(threads):
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
def _softmax_bwd(threads, gy, y, log, gx):
    rows, columns = y.shape
    for thread in prange(threads):
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
    """Arrays as rows along ``axis``, an empty result with the same rows, and that result in the logical
    shape."""
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


@kernel
def _cross_entropy(threads, logits, target, weight, ignore_index, smoothing, losses, prob, mean):
    # mean: the mean loss, the weight of the rows that count, and how many targets are no class
    rows, classes = logits.shape
    one = logits.dtype.type(1)
    for thread in prange(threads):
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
def _cross_entropy_bwd(threads, grad_rows, divisor, prob, target, weight, ignore_index, smoothing, out):
    # grad_rows: a number per row, or one for all
    rows, classes = prob.shape
    one = prob.dtype.type(1)
    even = smoothing / prob.dtype.type(classes)
    for thread in prange(threads):
        mass = prob.dtype.type(0)
        for c in range(classes):
            mass += weight[c]
        first, end = split_range(thread, threads, rows)
        for r in range(first, end):
            t, g = target[r], prob.dtype.type(grad_rows[r if grad_rows.size == rows else 0] / divisor)
            if t == ignore_index:
                out[r] = 0
                continue
            own = (one - smoothing) * weight[t]
            for c in range(classes):
                out[r, c] = g * ((own + even * mass) * prob[r, c] - even * weight[c])
            out[r, t] -= g * own


def _run_cross_entropy(logits, target, weight, ignore_index, label_smoothing):
    logits, target, number = layout.dense(logits), layout.dense(target), logits.dtype.type
    losses, prob = memory.empty(logits.shape[:1], logits.dtype), memory.empty(logits.shape, logits.dtype)
    weight, mean = np.ones(logits.shape[1], number) if weight is None else layout.dense(weight), np.empty(3)
    _cross_entropy(logits, target, weight, ignore_index, number(label_smoothing), losses, prob, mean)
    return losses, mean, (prob, target, weight, ignore_index, number(label_smoothing))


def _run_cross_entropy_bwd(grad_rows, divisor, prob, target, weight, ignore_index, label_smoothing):
    out = memory.empty(prob.shape, prob.dtype)
    _cross_entropy_bwd(grad_rows, divisor, prob, target, weight, ignore_index, label_smoothing, out)
    return out


def cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing):
    losses, _, (prob, *_) = _run_cross_entropy(logits, target, weight, ignore_index, label_smoothing)
    return losses, prob


def cross_entropy_bwd(grad_rows, prob, target, weight, ignore_index, label_smoothing):
    weight = np.ones(prob.shape[1], prob.dtype) if weight is None else layout.dense(weight)
    return _run_cross_entropy_bwd(
        layout.dense(grad_rows),
        1.0,
        layout.dense(prob),
        layout.dense(target),
        weight,
        ignore_index,
        prob.dtype.type(label_smoothing),
    )


def cross_entropy_mean_fwd(logits, target, weight, ignore_index, label_smoothing):
    _, (loss, divisor, invalid_targets), saved = _run_cross_entropy(
        logits, target, weight, ignore_index, label_smoothing
    )
    return None if invalid_targets else np.array(loss, logits.dtype), (divisor, *saved)


def cross_entropy_mean_bwd(gy, saved):
    return _run_cross_entropy_bwd(layout.dense(gy).reshape(1), *saved)


# ------------------------------------------------------------------------------------------------- dropout
@body
def drop(x, threshold, scale, start, step, y):
    """Element ``c`` of ``x`` is kept by a hash of ``start + c * step`` (see the reference)."""
    zero = x.dtype.type(0)
    for c in range(x.size):
        z = start + np.uint64(c) * step
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        y[c] = x[c] * scale if (z >> np.uint64(40)) >= threshold else zero


@kernel
def _dropout(threads, x, pixels, channels, threshold, scale, seed, y):
    # x: flat in the memory order N, pixels, C; elements count in the logical order N, C, pixels
    for thread in prange(threads):
        start, end = split_range(thread, threads, x.size)
        while start < end:
            r, c = start // channels, start % channels
            stop = min(end, (r + 1) * channels)
            first = (r // pixels * channels + c) * pixels + r % pixels
            drop(x[start:stop], threshold, scale, seed + np.uint64(first), np.uint64(pixels), y[start:stop])
            start = stop


def dropout(x, p, scale, seed):
    seed, threshold = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64), np.uint64(floor(p * 2**24))
    if 3 <= x.ndim <= 5 and not x.flags.c_contiguous:
        y, out = layout.empty(x.shape, x.dtype)
        source, pixels, channels = layout.to_ndhwc(x), prod(x.shape[2:]), x.shape[1]
    else:
        y = out = memory.empty(x.shape, x.dtype)
        source, pixels, channels = layout.dense(x), 1, x.size
    if y.size:
        _dropout(source.reshape(-1), pixels, channels, threshold, x.dtype.type(scale), seed, out.reshape(-1))
    return y
