"""Losses of pairs of elements: the loops around the formulas of ``common/pair_loss.py``.

    threads: equal shares of the elements, or of the parts of a sum, in memory order
      none       each loss is written
      sum, mean  RUN losses at a time into one number of the arrays' dtype, these into a float64 per part
      backward   the gradient of one operand; the gradient of the loss is a number, or one for each element

NumPy adds up the parts, whose number depends on the size alone. Small arrays are NumPy's work.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.pair_loss import Scalars, pair_losses

from ..codegen import vector_math
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout
from . import borrowed as reference
from .pointwise import is_large_float
from .reduce import PARTS, RUN

inline = body(inline=True)


@functools.cache
def _formulas(real):
    """The losses of elements of type ``real``."""
    return pair_losses(
        Scalars(
            real=real,
            select=vector_math.select,
            sign=np.sign,
            exp=vector_math.exp,
            log=vector_math.log,
            log1p=vector_math.log1p,
            softplus=vector_math.softplus,
            sigmoid=vector_math.sigmoid,
        )
    )


@functools.cache
def _loss_kernel(name: str, real):
    formula = inline(_formulas(real)[name].forward)

    def run(thread, threads, x, t, p, y):
        first, end = split_range(thread, threads, x.size)
        source, target, out = x[first:end], t[first:end], y[first:end]
        for i in range(source.size):
            out[i] = formula(source[i], target[i], p)

    run.__qualname__ = f"pair_loss.{name}.{np.dtype(real)}"
    return kernel(run)


@functools.cache
def _sum_kernel(name: str, real):
    formula, zero = inline(_formulas(real)[name].forward), real(0)

    def run(thread, threads, x, t, p, totals):
        # totals: the sum of each part, float64
        parts = totals.size
        first, end = split_range(thread, threads, parts)
        for part in range(first, end):
            start, stop = split_range(part, parts, x.size)
            total = 0.0
            for i in range(start, stop, RUN):
                source, target = x[i : min(i + RUN, stop)], t[i : min(i + RUN, stop)]
                partial = zero
                for j in range(source.size):
                    partial += formula(source[j], target[j], p)
                total += partial
            totals[part] = total

    run.__qualname__ = f"pair_loss_sum.{name}.{np.dtype(real)}"
    return kernel(run)


@functools.cache
def _bwd_kernel(name: str, real, operand: int):
    row = _formulas(real)[name]
    formula = inline((row.by_input, row.by_target)[operand])

    def run(thread, threads, g, x, t, p, y):
        # g: a number for each element, or one for all
        first, end = split_range(thread, threads, x.size)
        source, target, out = x[first:end], t[first:end], y[first:end]
        if g.size == x.size:
            up = g[first:end]
            for i in range(source.size):
                out[i] = up[i] * formula(source[i], target[i], p)
        else:
            for i in range(source.size):
                out[i] = g[0] * formula(source[i], target[i], p)

    run.__qualname__ = f"pair_loss_bwd.{name}.{np.dtype(real)}.{operand}"
    return kernel(run)


def pair_loss_fwd(name, x, target, param, reduction):
    if not is_large_float(x):
        return reference.pair_loss_fwd(name, x, target, param, reduction)
    real = x.dtype.type
    if reduction == "none":
        y = layout.empty_like(x)
        out, x, target = layout.flat(y, layout.like(x, y), layout.like(target, y))
        _loss_kernel(name, real)(x, target, real(param or 0), out)
        return y
    pair = layout.flat(x, target) or layout.flat(layout.dense(x), layout.dense(target))
    assert pair is not None, "two dense arrays lie alike"
    totals = np.empty(min(PARTS, -(-x.size // RUN)))
    _sum_kernel(name, real)(*pair, real(param or 0), totals)
    total = totals.sum()
    return np.array(total / x.size if reduction == "mean" else total, x.dtype)


def pair_loss_bwd(name, operand, gy, x, target, param):
    if not is_large_float(x):
        return reference.pair_loss_bwd(name, operand, gy, x, target, param)
    gx, real = layout.empty_like(x), x.dtype.type
    out, x, target = layout.flat(gx, layout.like(x, gx), layout.like(target, gx))
    if gy.ndim or gx.ndim == 0:
        gy = layout.flat(gx, layout.like(gy, gx))[1]
    else:
        gy = layout.dense(gy).reshape(1)
    _bwd_kernel(name, real, operand)(gy, x, target, real(param or 0), out)
    return gx
