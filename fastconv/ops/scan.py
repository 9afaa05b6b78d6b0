"""Running sums, products and extrema along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.checks import check_axis, check_float
from fastconv.dtypes import FLOAT32, INT64, parse
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .convert import Copy, astype
from .reduce import before, kept_shape, part
from .sort import Choose


class Scan(Op):
    """``cumsum``, ``cumprod`` or ``logcumsumexp`` along ``axis``.

    The gradients of the last two are computed by linear recurrences from the last element to the first. They
    contain no division, so zeros and sums of very different size need no special case::

        cumprod        s[i] = gy[i] + x[i + 1] * s[i + 1]                  gx[i] = s[i] * x[0] * .. * x[i - 1]
        logcumsumexp   s[i] = gy[i] + exp(y[i] - y[i + 1]) * s[i + 1]      gx[i] = s[i] * exp(x[i] - y[i])
    """

    @staticmethod
    def forward(ctx: Node, x: Any, name: str, axis: int) -> Any:
        ctx.name, ctx.axis = name, axis
        y = ctx.engine.scan(name, x, axis)
        ctx.save(*{"cumsum": (), "cumprod": (x,), "logcumsumexp": (x, y)}[name])
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, axis = ctx.engine, ctx.axis
        if ctx.name == "cumsum":
            return e.scan("cumsum", gy, axis, True)
        x = ctx.saved[0]
        if ctx.name == "cumprod":
            return e.binary_fwd(
                "mul", e.scan("cumsum", gy, axis, True, _next(e, x, axis)), before(e, x, axis)
            )
        y = ctx.saved[1]
        # sigmoid(y[i] - x[i + 1]) equals exp(y[i] - y[i + 1]), but has the error of only one rounded y
        factor = e.unary_fwd("sigmoid", e.binary_fwd("sub", y, _next(e, x, axis)))
        first = e.binary_fwd("sub", e.zeros(kept_shape(x.shape, (axis,)), x.dtype), np.inf)
        last = e.concatenate([first, part(e, y, axis, None, -1)], axis)
        share = e.unary_fwd("sigmoid", e.binary_fwd("sub", x, last))
        return e.binary_fwd("mul", e.scan("cumsum", gy, axis, True, factor), share)


def _next(e: Any, x: Any, axis: int) -> Any:
    """For each element, the next one along ``axis``. The last element is repeated; the recurrence does not
    read it."""
    return e.concatenate([part(e, x, axis, 1, None), part(e, x, axis, -1, None)], axis)


def scan(name: str, x: Variable, dim: int, dtype: Any = None) -> Any:
    """Scan ``name`` along ``dim``. Sums and products of bools and integers are computed in int64."""
    axis = check_axis(name, dim, x.ndim)
    if dtype is not None:
        x = astype(x, parse(name, dtype))
    elif name == "logcumsumexp":
        x = x if x.dtype.kind == "f" else astype(x, FLOAT32)
        check_float(name, input=x)
    elif x.dtype.kind != "f":
        x = astype(x, INT64)
    if not x.ndim or 0 in x.shape:
        return Copy.apply(x)
    y = Scan.apply(x, name=name, axis=axis)
    return astype(y, x.dtype) if y.dtype != x.dtype else y


def extremum_scan(name: str, x: Variable, dim: int) -> tuple[Any, Any]:
    """Running maxima (``cummax``) or minima (``cummin``) along ``dim``, and their positions."""
    return Choose.apply(
        x,
        name=name,
        axis=check_axis(name, dim, x.ndim),
        pick=lambda e, v, axis: e.extremum_scan(name, v, axis),
        repeated=True,
    )
