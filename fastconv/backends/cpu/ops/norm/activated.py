"""Batch norm in training with a pointwise op behind it: any row of ``common/unary.py``.

    forward     y = op((x - mean) * scale + bias)                   the norm's own result is never in memory
    backward    v = (x - mean) * scale + bias                       computed again from x
                gz = gy * op'(v), and from there as without an op   (``affine.py``)

Both passes of backward read gz. The second computes it again where that is cheap; otherwise it finds it in
the memory of its own result, where the first pass has written it.

The loops are written once. They are compiled for an op and a dtype when these are first used.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.unary import UNARY

from ...codegen.jit import body, in_parallel, split_range, stages
from ..pointwise import formulas, inline
from .finish import add_up, finish_gradients, finish_moments
from .moments import BLOCK, merge_parts, moments_part
from .pixels import piece


def numbers(activation: tuple, dtype) -> tuple:
    """The numbers of an op ``(name, p, q)`` as its formulas take them."""
    return tuple(dtype.type(n) for n in activation[1:])


#: Ops whose gradient takes less time than to write and read a number.
CHEAP = frozenset(("hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "relu", "threshold"))


@functools.cache
def _formulas(name: str, real):
    """The op, and its gradient as a function of the upstream gradient and of the op's input."""
    row = formulas(real)[name]
    forward, backward = inline(row.forward), inline(row.backward)
    if UNARY[name].saves == "x":
        return forward, backward
    return forward, inline(lambda g, v, p, q: backward(g, forward(v, p, q), p, q))


@functools.cache
def train_fwd(name: str, real):
    """The kernel of the forward pass; its arguments are those of batch norm without an op behind it, and the
    op's numbers."""
    forward, _ = _formulas(name, real)

    @body
    def apply_part(thread, threads, x, parts, vectors, numbers, y):
        images, pixels, channels = x.shape
        (mean, scale, bias), (p, q) = vectors, numbers
        first, end = split_range(thread, threads, parts * images)
        for job in range(first, end):
            n, start, stop = piece(job, images, parts, pixels)
            m, s = mean[n], scale[n]
            for r in range(start, stop):
                row, out = x[n, r], y[n, r]
                for c in range(channels):
                    out[c] = forward((row[c] - m[c]) * s[c] + bias[c], p, q)

    def run(threads, x, affine, counts, numbers, running, stats, vectors, work, y):
        part, totals = work
        parts, channels = totals.shape[0] - 1, stats.shape[1]
        in_parallel(moments_part, threads, (x, part, totals))
        merge_parts(totals, 0, x.shape[1], channels)
        finish_moments(totals[parts, 0, 0], totals[parts, 0, 1], affine, counts, running, stats, vectors)
        lines = vectors[0], vectors[1], vectors[2, 0]
        in_parallel(apply_part, threads, (x, parts, lines, numbers, y))

    run.__qualname__ = f"train_fwd.{name}.{np.dtype(real)}"
    return stages(run)


@functools.cache
def train_bwd(name: str, real):
    """The kernel of the backward pass (see :func:`train_fwd`)."""
    backward, again = _formulas(name, real)[1], name in CHEAP

    @body
    def sums_part(thread, threads, gy, x, vectors, numbers, scratch, totals, gx):
        part = scratch[thread]
        images, pixels, channels = x.shape
        (mean, scale, bias), (p, q) = vectors, numbers
        parts = totals.shape[0] - 1
        first, end = split_range(thread, threads, parts * images)
        plain, scaled = part[0], part[1]
        for job in range(first, end):
            n, begin, stop = piece(job, images, parts, pixels)
            total, m, s = totals[job // images, n], mean[n], scale[n]
            total[:] = 0
            part[:] = 0
            for start in range(begin, stop, BLOCK):
                for r in range(start, min(start + BLOCK, stop)):
                    up, row, kept = gy[n, r], x[n, r], gx[n, r]
                    for c in range(channels):
                        d = row[c] - m[c]
                        g = backward(up[c], d * s[c] + bias[c], p, q)
                        if not again:
                            kept[c] = g
                        plain[c] += g
                        scaled[c] += g * d
                for k in range(2):
                    for c in range(channels):
                        total[k, c] += part[k, c]
                        part[k, c] = 0

    @body
    def gradient_part(thread, threads, gy, x, parts, vectors, numbers, gx):
        images, pixels, channels = x.shape
        (mean, scale, bias, offset, slope), (p, q) = vectors, numbers
        first, end = split_range(thread, threads, parts * images)
        for job in range(first, end):
            n, start, stop = piece(job, images, parts, pixels)
            m, a, b, d = mean[n], scale[n], offset[n], slope[n]
            for r in range(start, stop):
                up, row, target = gy[n, r], x[n, r], gx[n, r]
                for c in range(channels):
                    e = row[c] - m[c]
                    g = backward(up[c], e * a[c] + bias[c], p, q) if again else target[c]
                    target[c] = a[c] * g + b[c] + d[c] * e

    def run(threads, gy, x, count, numbers, stats, vectors, work, grads, gx):
        part, totals, lines = work
        parts = totals.shape[0] - 1
        given = vectors[0], vectors[1], vectors[2, 0]
        in_parallel(sums_part, threads, (gy, x, given, numbers, part, totals, gx))
        add_up(totals, stats.shape[1])
        finish_gradients(totals[parts, 0, 0], totals[parts, 0, 1], count, stats, vectors, lines, grads)
        given = vectors[0], vectors[1], vectors[2, 0], lines[0], lines[1]
        in_parallel(gradient_part, threads, (gy, x, parts, given, numbers, gx))

    run.__qualname__ = f"train_bwd.{name}.{np.dtype(real)}"
    return stages(run)
