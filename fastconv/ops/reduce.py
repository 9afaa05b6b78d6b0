"""Reductions along dimensions, and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv import variable
from fastconv.checks import check, check_axis, check_float, number, one_of, shape_str
from fastconv.dtypes import FLOAT32, INT64, parse
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .convert import astype


class Reduce(Op):
    """Reduction ``name`` over ``axes``; ``backends.REDUCTIONS`` lists the names."""

    @staticmethod
    def forward(
        ctx: Node, x: Any, name: str, axes: tuple[int, ...], keepdims: bool, param: float | None = None
    ) -> Any:
        ctx.name, ctx.axes, ctx.shape, ctx.param = name, axes, x.shape, param
        ctx.kept = kept_shape(x.shape, axes)
        y = ctx.engine.reduce_fwd(name, x, axes, keepdims, param)
        ctx.save(*(() if name in ("sum", "mean", "norm_0") else (x, y)))
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, name = ctx.engine, ctx.name
        gy = e.reshape(gy, ctx.kept)
        if name == "mean":
            gy = e.binary_fwd("div", gy, float(max(prod(ctx.shape[i] for i in ctx.axes), 1)))
        if name in ("sum", "mean"):
            return e.broadcast_to(gy, ctx.shape)
        if name == "norm_0":
            return e.zeros(ctx.shape, gy.dtype)
        x, y = ctx.saved[0], e.reshape(ctx.saved[1], ctx.kept)
        if name == "nansum":
            return e.binary_fwd("mul", e.cast(e.binary_fwd("eq", x, x), gy.dtype), gy)
        if name == "prod":
            return _prod_bwd(e, gy, x, y, ctx.axes)
        return (
            _norm_bwd(e, name, gy, x, y, ctx.axes, ctx.param)
            if "norm" in name
            else shared(e, gy, x, y, ctx.axes)
        )


def shared(e: Any, gy: Any, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """The gradient of the result ``y``, shared equally among the elements of ``x`` that equal it."""
    hit = e.cast(e.binary_fwd("eq", x, y), gy.dtype)
    return e.binary_fwd("mul", hit, e.binary_fwd("div", gy, e.reduce_fwd("sum", hit, axes, True)))


def where_nonzero(e: Any, y: Any, quotient: Any) -> Any:
    """``quotient / y``, and 0 where ``y`` is 0."""
    zero = e.cast(e.binary_fwd("eq", y, 0.0), y.dtype)
    quotient = e.binary_fwd("div", quotient, e.binary_fwd("add", y, zero))
    return e.binary_fwd("mul", quotient, e.binary_fwd("sub", 1.0, zero))


def _norm_bwd(e: Any, name: str, gy: Any, x: Any, y: Any, axes: tuple[int, ...], p: float | None) -> Any:
    if name == "norm_2":
        return e.binary_fwd("mul", x, where_nonzero(e, y, gy))
    if name == "norm_1":
        return e.unary_bwd("abs", e.broadcast_to(gy, x.shape), x)
    size = e.unary_fwd("abs", x)
    if "inf" in name:
        return e.unary_bwd("abs", shared(e, gy, size, y, axes), x)
    assert p is not None
    # The derivative is sign(x) * |x|^(p - 1) * y^(1 - p), computed in an order in which nothing overflows. An
    # x of 0 is replaced by 1 in the power; its sign is 0.
    ones = e.cast(e.binary_fwd("eq", size, 0.0), x.dtype)
    powers = e.unary_fwd("pow", e.binary_fwd("add", size, ones), p - 1)
    scale = where_nonzero(e, e.unary_fwd("pow", y, p - 1) if p > 1 else y, gy)
    if p < 1:
        scale = e.binary_fwd("mul", scale, e.unary_fwd("pow", y, 2 - p))
    return e.unary_bwd("abs", e.binary_fwd("mul", powers, scale), x)


def _prod_bwd(e: Any, gy: Any, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """``gy * y / x``; if a product is 0 or not finite, ``gy`` times the product of all other elements."""
    products = e.to_host(y)
    if products.all() and np.isfinite(products).all():
        return e.binary_fwd("div", e.binary_fwd("mul", gy, y), x)
    shape, axis = x.shape, axes[0] if axes else 0
    if len(axes) != 1:
        x, axis, gy = e.reshape(x, (-1,)), 0, e.reshape(gy, (1,))
    others = e.binary_fwd("mul", before(e, x, axis), after(e, x, axis))
    return e.reshape(e.binary_fwd("mul", others, gy), shape)


def part(e: Any, x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """The elements from ``start`` to ``stop`` along ``axis``."""
    return e.getitem(x, (slice(None),) * axis + (slice(start, stop),))


def before(e: Any, x: Any, axis: int) -> Any:
    """For each element, the product of the elements before it along ``axis``."""
    one = e.binary_fwd("add", e.zeros(kept_shape(x.shape, (axis,)), x.dtype), 1.0)
    return e.scan("cumprod", e.concatenate([one, part(e, x, axis, None, -1)], axis), axis)


def after(e: Any, x: Any, axis: int) -> Any:
    """For each element, the product of the elements after it along ``axis``."""
    one = e.binary_fwd("add", e.zeros(kept_shape(x.shape, (axis,)), x.dtype), 1.0)
    return e.scan("cumprod", e.concatenate([part(e, x, axis, 1, None), one], axis), axis, True)


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction that keeps its axes with extent 1."""
    return tuple(1 if i in axes else s for i, s in enumerate(shape))


class LogSumExp(Op):
    """``log(sum(exp(x)))`` over ``axes``."""

    @staticmethod
    def forward(ctx: Node, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
        y = ctx.engine.logsumexp(x, axes, keepdims)
        ctx.kept = kept_shape(x.shape, axes)
        ctx.save(x, y)
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, (x, y) = ctx.engine, ctx.saved
        share = e.unary_fwd("exp", e.binary_fwd("sub", x, e.reshape(y, ctx.kept)))
        return e.binary_fwd("mul", share, e.reshape(gy, ctx.kept))


class Variance(Op):
    """``var`` or ``std`` over ``axes``, and the mean. The sum of squares is divided by ``n - correction``."""

    @staticmethod
    def forward(
        ctx: Node, x: Any, name: str, axes: tuple[int, ...], keepdims: bool, correction: float
    ) -> Any:
        e, n = ctx.engine, prod(x.shape[i] for i in axes)
        ctx.root, ctx.kept, ctx.divisor = (
            name.startswith("std"),
            kept_shape(x.shape, axes),
            max(n - correction, 0.0),
        )
        mean, y = e.moments(x, axes)
        if n != ctx.divisor:  # n / 0 is infinite, and NaN where all deviations are 0
            y = e.binary_fwd("mul", y, n / ctx.divisor if ctx.divisor else np.inf)
        y = e.unary_fwd("sqrt", y) if ctx.root else y
        ctx.save(x, mean, y)
        shape = ctx.kept if keepdims else tuple(s for i, s in enumerate(x.shape) if i not in axes)
        return e.reshape(y, shape), e.reshape(mean, shape)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, (x, mean, y) = ctx.engine, ctx.saved
        slope = (1 if ctx.root else 2) / ctx.divisor if ctx.divisor else np.inf
        gy = e.binary_fwd("mul", e.reshape(gy, ctx.kept), slope)
        gy = where_nonzero(e, y, gy) if ctx.root else gy
        return e.binary_fwd("mul", e.binary_fwd("sub", x, mean), gy)


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


def given(name: str, *dims: Any, names: str = "dim, dims and axis") -> Any:
    """The value of an argument that has several ``names``, or None; a TypeError if two were used."""
    found = [d for d in dims if d is not None]
    check(len(found) < 2, name, f"give one of {names}", TypeError)
    return found[0] if found else None


def softmax(name: str, x: Variable, dim: int | None, dtype: Any = None) -> Any:
    """``softmax`` or ``log_softmax`` along ``dim``; with ``dtype`` the input is cast first."""
    check(dim is not None, name, "missing 'dim', the dimension that sums to 1", TypeError)
    return Softmax.apply(x if dtype is None else astype(x, parse(name, dtype)), name=name, axis=dim)


def axes_of(name: str, x: Variable, dim: int | Sequence[int] | None) -> tuple[int, ...]:
    """``dim`` as sorted axes: an int, or several; None and an empty sequence mean all axes."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(x.ndim))
    dims = [check_axis(name, d, x.ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    check(len(set(dims)) == len(dims), name, f"a dim occurs twice in {dim}")
    return tuple(sorted(dims)) if x.ndim else ()


def reduce(
    name: str,
    x: Variable,
    dim: int | Sequence[int] | None,
    keepdim: bool,
    *,
    op: str | None = None,
    dtype: Any = None,
    param: float | None = None,
) -> Any:
    """Reduction ``op`` (by default ``name``) over ``dim``. With ``dtype``, the elements are cast first."""
    op, axes = op or name, axes_of(name, x, dim)
    if dtype is not None:
        dtype = parse(name, dtype)
        check(op != "mean" or dtype.kind == "f", name, f"dtype must be a float, got {dtype}", TypeError)
        x = astype(x, dtype)
    elif op == "mean" and x.dtype.kind != "f":
        x = astype(x, FLOAT32)
    empty = 0 in [x.shape[a] for a in axes] and 0 not in [s for i, s in enumerate(x.shape) if i not in axes]
    check(
        not empty or op not in NO_IDENTITY,
        name,
        f"cannot reduce an empty extent (input {shape_str(x.shape)})",
    )
    y = Reduce.apply(x, name=op, axes=axes, keepdims=keepdim, param=param)
    return y if dtype is None else astype(y, dtype)


#: Reductions that are not defined for zero elements.
NO_IDENTITY = ("max", "min", "norm_inf", "norm_-inf")


def any_or_all(name: str, x: Variable, dim: int | Sequence[int] | None, keepdim: bool) -> Any:
    """``any`` or ``all``. As in PyTorch, an empty tuple of dims reduces nothing, and uint8 gives uint8."""
    axes = () if dim == () or dim == [] else axes_of(name, x, dim)
    y = Reduce.apply(x, name=name, axes=axes, keepdims=keepdim)
    return astype(y, x.dtype) if x.dtype == np.uint8 else y


def variance(
    name: str,
    x: Variable,
    dim: int | Sequence[int] | bool | None,
    unbiased: bool | None,
    keepdim: bool,
    correction: float | None,
) -> tuple[Any, Any]:
    """The ``var`` or ``std``, and the mean. As in PyTorch, a bool as ``dim`` is the value of ``unbiased``."""
    if isinstance(dim, bool):
        check(unbiased is None, name, "unbiased was given twice", TypeError)
        dim, unbiased = None, dim
    check(
        unbiased is None or correction is None,
        name,
        "give unbiased or correction, not both",
        TypeError,
    )
    check_float(name, input=x)
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    axes = axes_of(name, x, dim)
    y, mean = Variance.apply(
        x, name=name, axes=axes, keepdims=keepdim, correction=number(name, "correction", correction)
    )
    if name.endswith("_mean") and y.requires_grad:  # only the first result of an op is on the tape
        mean = Reduce.apply(x, name="mean", axes=axes, keepdims=keepdim)
    return y, mean


def norm(
    name: str, x: Variable, p: Any, dim: int | Sequence[int] | None, keepdim: bool, dtype: Any = None
) -> Any:
    """The p-norm over ``dim``, of all elements together as one vector."""
    if isinstance(p, str):
        check(p != "nuc", name, "the nuclear norm is not supported; use numpy.linalg.norm(x, 'nuc')")
        one_of(name, "p", p, ("fro",))
        p = 2.0
    p = 2.0 if p is None else number(name, "p", p)
    check(p == p, name, "p must be a number, got nan")
    if dtype is not None:
        x = astype(x, parse(name, dtype))
    check_float(name, input=x)
    op, param = norm_op(p)
    return reduce(name, x, dim, keepdim, op=op, param=param)


def norm_op(p: float) -> tuple[str, float | None]:
    """The reduction that is the p-norm, and its parameter."""
    return (f"norm_{p:g}", None) if p in (0, 1, 2, np.inf, -np.inf) else ("norm_p", p)


def logsumexp(x: Variable, dim: int | Sequence[int], keepdim: bool) -> Any:
    """``log(sum(exp(x)))`` over ``dim``."""
    x = x if x.dtype.kind == "f" else astype(x, FLOAT32)
    check_float("logsumexp", input=x)
    return LogSumExp.apply(x, axes=axes_of("logsumexp", x, dim), keepdims=keepdim)


def arg_extremum(name: str, x: Variable, dim: int | None, keepdim: bool) -> Any:
    """``argmax`` or ``argmin``: the index of the first extremum along ``dim``, or in the flattened tensor."""
    axis = None if dim is None else check_axis(name, dim, x.ndim)
    check_extent(name, x, axis)
    e = x.engine
    if 0 in x.shape:
        assert axis is not None
        shape = kept_shape(x.shape, (axis,)) if keepdim else x.shape[:axis] + x.shape[axis + 1 :]
        return variable.tensor_class(e.zeros(shape, INT64))
    return variable.tensor_class(getattr(e, name)(x.array, axis if x.ndim else None, keepdim))


def check_extent(name: str, x: Variable, axis: int | None) -> None:
    """Raise a ValueError if there is no element along ``axis``, or in the whole tensor if it is None."""
    empty = 0 in x.shape if axis is None else bool(x.ndim) and x.shape[axis] == 0
    check(not empty, name, f"the tensor is empty ({shape_str(x.shape)})")
