"""Losses of pairs of elements: the formulas of ``common/pair_loss.py``, an element per thread.

A sum is taken in pieces: a block of threads adds up one, in float64, and ``reduce.py`` adds up the pieces. So
results repeat to the bit.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.pair_loss import Scalars, pair_losses

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import THREADS, body, cuda, grid, kernel, launch, math
from .block_reduce import team_reducer
from .pointwise import cast
from .reduce import LONG, PIECES, reduce_fwd


@functools.cache
def _formulas(real):
    """The losses of elements of type ``real``."""
    zero, one = real(0), real(1)

    @body
    def sigmoid(x):
        e = math.exp(-abs(x))  # at most 1, so nothing overflows
        return one / (one + e) if x >= zero else e / (one + e)

    @body
    def softplus(x):
        tail = math.log1p(math.exp(-abs(x)))
        return tail if x <= zero else x + tail

    return pair_losses(
        Scalars(
            real=real,
            select=body(lambda condition, a, b: a if condition else b),
            sign=body(lambda x: one if x > zero else -one if x < zero else x),
            exp=body(lambda x: math.exp(x)),
            log=body(lambda x: math.log(x)),
            log1p=body(lambda x: math.log1p(x)),
            softplus=softplus,
            sigmoid=sigmoid,
        )
    )


@functools.cache
def _loss_kernel(name, real):
    formula = body(_formulas(real)[name].forward)

    def pair_loss(x, t, p, y, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = formula(x[i], t[i], p)

    pair_loss.__name__ = f"pair_loss_{name}"
    return kernel(pair_loss)


@functools.cache
def _sum_kernel(name, real):
    formula, sum_team, zero = body(_formulas(real)[name].forward), team_reducer("add"), np.float64(0)

    def pair_loss_sum(x, t, p, partial, n, piece, divisor):
        shared = cuda.shared.array(THREADS, np.float64)
        start = np.int64(cuda.blockIdx.x) * piece
        total = zero
        for i in range(start + cuda.threadIdx.x, min(start + piece, n), THREADS):
            total += np.float64(formula(x[i], t[i], p))
        total = sum_team(shared, total, THREADS)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x] = total / divisor

    pair_loss_sum.__name__ = f"pair_loss_sum_{name}"
    return kernel(pair_loss_sum)


@functools.cache
def _bwd_kernel(name, real, operand, each):
    """``each``: whether the gradient of the loss is a number for each element, not one for all."""
    row = _formulas(real)[name]
    formula = body((row.by_input, row.by_target)[operand])

    def pair_loss_bwd(g, x, t, p, gx, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            gx[i] = (g[i] if each else g[0]) * formula(x[i], t[i], p)

    pair_loss_bwd.__name__ = f"pair_loss_bwd_{name}"
    return kernel(pair_loss_bwd)


def pair_loss_fwd(
    name: str, x: DeviceArray, target: DeviceArray, param: float | None, reduction: str
) -> DeviceArray:
    """The loss ``name`` of each pair of elements, or their sum or mean."""
    (x, target), real, n = layout.alike(x, target), x.dtype.type, x.size
    p = real(param or 0)
    if reduction == "none":
        y = layout.empty_like(x)
        launch(_loss_kernel(name, real), *grid(n), x, target, p, y, n)
        return y
    if not n:
        return layout.filled((), x.dtype, 0 if reduction == "sum" else np.nan)
    piece = -(-n // min(PIECES, -(-n // LONG)))
    partial = memory.empty((-(-n // piece),), np.float64)
    divisor = np.float64(n if reduction == "mean" else 1)
    launch(_sum_kernel(name, real), partial.size, THREADS, x, target, p, partial, n, piece, divisor)
    return cast(reduce_fwd("sum", partial, (0,), False), x.dtype)


def pair_loss_bwd(
    name: str, operand: int, gy: DeviceArray, x: DeviceArray, target: DeviceArray, param: float | None
) -> DeviceArray:
    """The gradient in the input (``operand`` 0) or in the target (1)."""
    each, real, n = gy.shape == x.shape, x.dtype.type, x.size
    if each:
        gy, x, target = layout.alike(gy, x, target)
    else:
        x, target = layout.alike(x, target)
    gx = layout.empty_like(x)
    launch(_bwd_kernel(name, real, operand, each), *grid(n), gy, x, target, real(param or 0), gx, n)
    return gx
