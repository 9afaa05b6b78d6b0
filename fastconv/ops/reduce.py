"""Reductions along dimensions, and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv import variable
from fastconv.checks import check, check_axis, check_float, shape_str
from fastconv.dtypes import FLOAT32
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .convert import Copy, astype
from .index import GetItem, plain_key
from .shape import squeeze


class Reduce(Op):
    """sum, mean, max or min over ``axes``; several elements equal to the maximum share its gradient."""

    @staticmethod
    def forward(ctx: Node, x: Any, name: str, axes: tuple[int, ...], keepdims: bool) -> Any:
        ctx.name, ctx.axes, ctx.shape = name, axes, x.shape
        ctx.kept = tuple(1 if i in axes else s for i, s in enumerate(x.shape))
        y = ctx.engine.reduce_fwd(name, x, axes, keepdims)
        ctx.save(*((x, y) if name in ("max", "min") else ()))
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e = ctx.engine
        gy = e.reshape(gy, ctx.kept)
        if ctx.name in ("sum", "mean"):
            if ctx.name == "mean":
                gy = e.binary_fwd("div", gy, float(max(prod(ctx.shape[i] for i in ctx.axes), 1)))
            return e.broadcast_to(gy, ctx.shape)
        x, y = ctx.saved
        hit = e.cast(e.binary_fwd("eq", x, e.reshape(y, ctx.kept)), gy.dtype)
        share = e.binary_fwd("div", gy, e.reduce_fwd("sum", hit, ctx.axes, True))
        return e.binary_fwd("mul", hit, share)


class Softmax(Op):
    """``softmax`` or ``log_softmax`` along ``axis``."""

    @staticmethod
    def forward(ctx: Node, x: Any, name: str, axis: int) -> Any:
        check_float(name, input=x)
        ctx.axis, ctx.log, ctx.shape = check_axis(name, axis, x.ndim), name == "log_softmax", x.shape
        e = ctx.engine
        if x.size == 0:
            return e.zeros(x.shape, x.dtype)
        y = e.softmax_fwd(x if x.ndim else e.reshape(x, (1,)), ctx.axis, ctx.log)
        ctx.save(y)
        return y if x.ndim else e.reshape(y, ())

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        if gy.size == 0:
            return gy
        y, e = ctx.saved[0], ctx.engine
        gx = e.softmax_bwd(gy if ctx.shape else e.reshape(gy, (1,)), y, ctx.axis, ctx.log)
        return gx if ctx.shape else e.reshape(gx, ())


def given(name: str, *dims: Any) -> Any:
    """The one that was given of several names for the same argument; None if none was."""
    found = [d for d in dims if d is not None]
    check(len(found) < 2, name, "give one of dim, dims and axis", TypeError)
    return found[0] if found else None


def softmax(name: str, x: Variable, dim: int | None, dtype: Any = None) -> Any:
    """``softmax`` or ``log_softmax`` along ``dim``, in ``dtype`` where one is given."""
    check(dim is not None, name, "missing 'dim', the dimension that sums to 1", TypeError)
    return Softmax.apply(x if dtype is None else astype(x, dtype), name=name, axis=dim)


def reduce(name: str, x: Variable, dim: int | Sequence[int] | None, keepdim: bool) -> Any:
    """Reduction ``name`` over ``dim``, an int or several; None: over all dimensions."""
    if name == "mean" and x.dtype.kind != "f":
        x = astype(x, FLOAT32)
    if dim is None:
        axes = tuple(range(x.ndim))
    else:
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        axes = tuple(sorted(check_axis(name, d, x.ndim) for d in dims))
    check(
        name not in ("max", "min") or prod(x.shape[a] for a in axes) > 0 or not axes,
        name,
        f"cannot reduce an empty extent (input {shape_str(x.shape)})",
    )
    return Reduce.apply(x, name=name, axes=axes, keepdims=keepdim)


def arg_extremum(name: str, x: Variable, dim: int | None, keepdim: bool) -> Any:
    """``argmax`` or ``argmin``: the position of the first extremum along ``dim``; None: in the flattened
    tensor."""
    axis = None if dim is None else check_axis(name, dim, x.ndim)
    _check_not_empty(name, x)
    return variable.tensor_class(getattr(x.engine, name)(x.array, axis, keepdim))


def extremum_along(name: str, x: Variable, dim: int, keepdim: bool) -> tuple[Any, Any]:
    """The ``max`` or ``min`` along one dimension, and its position; the gradient goes to that position."""
    axis = check_axis(name, dim, x.ndim)
    _check_not_empty(name, x)
    index = arg_extremum("arg" + name, x, axis, True)
    if not x.ndim:
        return Copy.apply(x), index
    grid = tuple(np.indices(index.shape, sparse=True))
    values = GetItem.apply(x, key=plain_key(grid[:axis] + (index,) + grid[axis + 1 :]))
    return (values, index) if keepdim else (squeeze(values, axis), squeeze(index, axis))


def _check_not_empty(name: str, x: Variable) -> None:
    check(0 not in x.shape, name, f"the tensor is empty ({shape_str(x.shape)})")
