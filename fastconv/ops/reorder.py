"""The elements along a dimension in another order: flipped, rolled."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.checks import check, check_axis
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .convert import Copy


class Reorder(Op):
    """The elements along ``axis`` in another ``order``, which is a permutation of the indices."""

    @staticmethod
    def forward(ctx: Node, x: Any, axis: int, order: np.ndarray) -> Any:
        ctx.axis, ctx.inverse = axis, np.argsort(order)
        return Reorder._along(ctx.engine, x, axis, order)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return Reorder._along(ctx.engine, gy, ctx.axis, ctx.inverse)

    @staticmethod
    def _along(engine: Any, x: Any, axis: int, order: np.ndarray) -> Any:
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        return engine.gather(x, engine.asarray(order.reshape(shape)), axis)


def flip(name: str, x: Variable, dims: tuple[Any, ...]) -> Any:
    """``x`` with the order of elements along ``dims`` reversed."""
    axes = [check_axis(name, d, x.ndim) for d in dims]
    check(len({*axes}) == len(axes), name, f"expected different dimensions, got {dims}")
    y = x
    for axis in axes if x.ndim else ():
        if x.shape[axis] > 1:
            y = Reorder.apply(y, axis=axis, order=np.arange(x.shape[axis])[::-1])
    return Copy.apply(x) if y is x else y


def roll(x: Variable, shifts: tuple[int, ...], dims: tuple[Any, ...]) -> Any:
    """``x`` with the elements along ``dims`` moved by ``shifts``, past one end and in again at the other."""
    y = x
    for shift, dim in zip(shifts, dims, strict=True):
        axis = check_axis("roll", dim, x.ndim)
        n = x.shape[axis] if x.ndim else 1
        if n > 1 and shift % n:
            y = Reorder.apply(y, axis=axis, order=(np.arange(n) - shift) % n)
    return Copy.apply(x) if y is x else y
