"""Sorting along a dimension, and elements that are selected along one: extrema, medians."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.checks import check, check_axis
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .reduce import check_extent, reduce, shared


class Choose(Op):
    """Elements that ``pick(engine, x, axis) -> values, index`` selects along ``axis``, and their indices.

    The gradient of each element goes to its index. With ``squeezed`` the axis, which then has extent 1, is
    removed. ``repeated`` says that an index may occur twice.
    """

    @staticmethod
    def forward(
        ctx: Node,
        x: Any,
        name: str,
        axis: int,
        pick: Callable[..., tuple[Any, Any]],
        squeezed: bool = False,
        repeated: bool = False,
    ) -> Any:
        e, ctx.shape, ctx.axis = ctx.engine, x.shape, axis
        ctx.how = "add" if repeated else "set"  # which reads nothing
        x = x if x.ndim else e.reshape(x, (1,))
        ctx.vector = x.shape
        values, index = pick(e, x, axis)
        ctx.save(index)
        ctx.picked = index.shape
        drop = squeezed or not ctx.shape
        shape = index.shape[:axis] + index.shape[axis + 1 :] if drop else index.shape
        return (e.reshape(values, shape), e.reshape(index, shape)) if drop else (values, index)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e = ctx.engine
        gx = e.zeros(ctx.vector, gy.dtype)
        e.scatter(ctx.how, gx, ctx.saved[0], e.reshape(gy, ctx.picked), ctx.axis)
        return gx if ctx.shape else e.reshape(gx, ())


class Median(Op):
    """The lower median of all elements (``nanmedian``: of those that are not NaN).

    All elements that equal the median share the gradient.
    """

    @staticmethod
    def forward(ctx: Node, x: Any, name: str) -> Any:
        e, ctx.axes = ctx.engine, tuple(range(x.ndim))
        y = e.reshape(_median(e, e.reshape(x, (-1,)), 0, name == "nanmedian")[0], (1,) * x.ndim)
        ctx.save(x, y)
        return e.reshape(y, ())

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, (x, y) = ctx.engine, ctx.saved
        gy = e.reshape(gy, y.shape)
        if np.isnan(e.to_host(y)).all():  # NaN equals nothing, so find the elements that are NaN
            x, y = (e.cast(e.binary_fwd("ne", v, v), gy.dtype) for v in (x, y))
        return shared(e, gy, x, y, ctx.axes)


def _median(e: Any, x: Any, axis: int, ignore_nan: bool) -> tuple[Any, Any]:
    shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    k = np.full(shape, (x.shape[axis] + 1) // 2)
    if x.dtype.kind == "f":
        numbers = e.to_host(e.reduce_fwd("count_nonzero", e.binary_fwd("eq", x, x), (axis,), True))
        if ignore_nan:
            k = np.maximum((numbers + 1) // 2, 1)
        else:  # NaN is sorted last, so the first NaN comes after the numbers
            k = np.where(numbers < x.shape[axis], numbers + 1, k)
    return e.kthvalue(x, e.asarray(k), axis)


def extremum_along(name: str, x: Variable, dim: Any, keepdim: bool) -> tuple[Any, Any]:
    """The ``max`` or ``min`` along one dimension, and its index; of equal elements the first one."""
    axis = check_axis(name, dim, x.ndim)
    check_extent(name, x, axis)

    def pick(e: Any, v: Any, axis: int) -> tuple[Any, Any]:
        if 0 in v.shape:
            shape = tuple(1 if i == axis else n for i, n in enumerate(v.shape))
            return e.zeros(shape, v.dtype), e.zeros(shape, np.dtype(np.int64))
        index = getattr(e, "arg" + name)(v, axis, True)
        return e.gather(v, index, axis), index

    return Choose.apply(x, name=name, axis=axis, pick=pick, squeezed=not keepdim)


def sort(name: str, x: Variable, dim: int, descending: bool) -> tuple[Any, Any]:
    """The sorted elements and their old indices; equal elements keep their order."""
    axis = check_axis(name, dim, x.ndim)
    return Choose.apply(x, name=name, axis=axis, pick=lambda e, v, axis: e.sort(v, axis, bool(descending)))


def _count(name: str, k: Any, x: Variable, axis: int, low: int) -> int:
    """``k`` as an int between ``low`` and the number of elements along ``axis``."""
    try:
        k = operator.index(k)
    except TypeError:
        raise TypeError(f"{name}: k must be an int, got {type(k).__name__} ({k!r:.60})") from None
    n = x.shape[axis] if x.ndim else 1
    check(low <= k <= n, name, f"k must be between {low} and {n}, the elements along dim {axis}, got {k}")
    return k


def topk(x: Variable, k: Any, dim: int, largest: bool) -> tuple[Any, Any]:
    """The ``k`` largest or smallest elements, sorted, and their indices."""
    axis = check_axis("topk", dim, x.ndim)
    # for a scalar, k = 0 means 1, as in PyTorch
    k = _count("topk", k, x, axis, 0) if x.ndim else _count("topk", k, x, axis, 0) or 1
    return Choose.apply(x, name="topk", axis=axis, pick=lambda e, v, axis: e.topk(v, k, axis, bool(largest)))


def kthvalue(x: Variable, k: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    """The ``k``-th smallest element and its index; ``k`` counts from 1."""
    axis = check_axis("kthvalue", dim, x.ndim)
    k = _count("kthvalue", k, x, axis, 1)

    def pick(e: Any, v: Any, axis: int) -> tuple[Any, Any]:
        shape = tuple(1 if i == axis else n for i, n in enumerate(v.shape))
        return e.kthvalue(v, e.asarray(np.full(shape, k)), axis)

    return Choose.apply(x, name="kthvalue", axis=axis, pick=pick, squeezed=not keepdim)


def median(name: str, x: Variable) -> Any:
    """The lower median of all elements. It is NaN if one of them is NaN (``nanmedian``: if all are)."""
    if 0 in x.shape:
        check(x.dtype.kind == "f", name, "the tensor is empty, and integers cannot hold the result, NaN")
        return reduce("mean", x, None, False)  # NaN
    return Median.apply(x, name=name)


def median_along(name: str, x: Variable, dim: int, keepdim: bool) -> tuple[Any, Any]:
    """The lower medians along ``dim`` and their indices."""
    axis = check_axis(name, dim, x.ndim)
    check_extent(name, x, axis)
    return Choose.apply(
        x,
        name=name,
        axis=axis,
        pick=lambda e, v, axis: _median(e, v, axis, name == "nanmedian"),
        squeezed=not keepdim,
    )
