"""Functions of three operands that broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import dtypes
from fastconv.checks import check
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.variable import Node, argument

from .pointwise import operand, unbroadcast


def _shapes(name: str, *operands: Any) -> list[tuple[int, ...]]:
    """The shapes of the operands, after a check that they broadcast."""
    shapes = [getattr(v, "shape", ()) for v in operands]
    broadcast_shape(name, broadcast_shape(name, *shapes[:2]), shapes[2])
    return shapes


class Where(Op):
    """``a`` where ``condition`` is true, else ``b``."""

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, condition: Any, a: Any, b: Any) -> Any:
        ctx.shapes = _shapes("where", condition, a, b)
        if not hasattr(a, "dtype") and not hasattr(b, "dtype"):
            a = ctx.engine.asarray(dtypes.of_numbers("where", a, b))
        numbers = [(what, v) for what, v in (("input", a), ("other", b)) if not hasattr(v, "dtype")]
        a, b = dtypes.operands("where", a, b, ctx.engine.cast)
        dtype = (a if hasattr(a, "dtype") else b).dtype
        for what, number in numbers:
            dtypes.check_fits("where", what, np.asarray(number), dtype)
        ctx.save(condition)
        return ctx.engine.ternary_fwd("where", condition, a, b)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        (condition,), op = ctx.saved, ctx.engine.ternary_fwd
        ga = op("where", condition, gy, 0.0) if ctx.needs[1] else None
        gb = op("where", condition, 0.0, gy) if ctx.needs[2] else None
        return None, *_summed(ctx, (ga, gb), ctx.shapes[1:])


class AddProduct(Op):
    """``a + value * b * c`` (``name="addcmul"``) or ``a + value * b / c`` (``name="addcdiv"``).

    Messages use the name ``called``.
    """

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, a: Any, b: Any, c: Any, name: str, value: float, called: str) -> Any:
        ctx.name, ctx.value, ctx.shapes = name, value, _shapes(called, a, b, c)
        a, b, c = dtypes.several(called, (a, b, c), ctx.engine.cast)
        kept = {"addcmul": (ctx.needs[2], ctx.needs[1]), "addcdiv": (ctx.needs[2], True)}[name]
        ctx.save(*(v if k else None for v, k in zip((b, c), kept)))
        return ctx.engine.ternary_fwd(name, a, b, c, value)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        (b, c), op, value = ctx.saved, ctx.engine.ternary_fwd, ctx.value
        gb = op(ctx.name, 0.0, gy, c, value) if ctx.needs[1] else None
        gc = None
        if ctx.needs[2] and ctx.name == "addcmul":
            gc = op("addcmul", 0.0, gy, b, value)
        elif ctx.needs[2]:
            square = ctx.engine.binary_fwd("mul", c, c)
            gc = op("addcdiv", 0.0, ctx.engine.binary_fwd("mul", gy, b), square, -value)
        return _summed(ctx, (gy, gb, gc), ctx.shapes)


class Lerp(Op):
    """``a + weight * (b - a)``."""

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, a: Any, b: Any, weight: Any) -> Any:
        ctx.shapes = _shapes("lerp", a, b, weight)
        a, b, weight = dtypes.several("lerp", (a, b, weight), ctx.engine.cast)
        check(a.dtype.kind == "f", "lerp", f"expected floats, got {a.dtype}; convert it first", TypeError)
        ctx.save(*((a, b) if ctx.needs[2] else (None, None)), weight)
        return ctx.engine.ternary_fwd("lerp", a, b, weight)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        (a, b, weight), op = ctx.saved, ctx.engine.binary_fwd
        ga = op("mul", gy, op("sub", 1.0, weight) if hasattr(weight, "dtype") else 1.0 - weight)
        gb = op("mul", gy, weight) if ctx.needs[1] else None
        gw = op("mul", gy, op("sub", b, a)) if ctx.needs[2] else None
        return _summed(ctx, (ga, gb, gw), ctx.shapes)


def _summed(ctx: Node, grads: Any, shapes: Any) -> Any:
    """The gradients summed over the axes along which their operands were broadcast."""
    return tuple(None if g is None else unbroadcast(ctx.engine, g, s) for g, s in zip(grads, shapes))


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the bool tensor ``condition`` is true, else ``b``."""
    condition = argument("where", "condition", condition)
    check(
        condition.dtype == dtypes.BOOL,
        "where",
        f"condition must hold bools, got {condition.dtype}; make bools of it with != 0",
        TypeError,
    )
    return Where.apply(condition, *(_operand("where", v) for v in (a, b)))


def add_product(called: str, name: str, a: Any, b: Any, c: Any, value: Any) -> Any:
    """``a + value * b * c``, or ``a + value * b / c``; messages use the name ``called``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{called}: the factor must be a number, got {value!r:.60}")
    operands = [_operand(called, v) for v in (a, b, c)]
    if isinstance(value, float) and all(getattr(v, "dtype", dtypes.INT64).kind != "f" for v in operands):
        raise TypeError(
            f"{called}: the factor of integers must be an int, got {value}; convert the tensor with "
            ".astype('float32')"
        )
    return AddProduct.apply(*operands, name=name, value=value, called=called)


def _operand(name: str, v: Any) -> Any:
    found = operand(v)
    if found is NotImplemented:
        raise TypeError(
            f"{name}: operands must be Tensors, arrays or real numbers, got {type(v).__name__} ({v!r:.60})"
        )
    return found
