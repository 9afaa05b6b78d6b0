"""Functions of each element, and of pairs of elements."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from fastconv import backends, dtypes
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.variable import Node, Variable, argument


def unbroadcast(engine: Any, g: Any, shape: Sequence[int]) -> Any:
    """Sum ``g`` to ``shape``: over the axes that broadcasting has added, and over those of extent 1."""
    if g.shape == tuple(shape):
        return g
    extra = g.ndim - len(shape)
    stretched = (i + extra for i, s in enumerate(shape) if s == 1 and g.shape[i + extra] != 1)
    axes = (*range(extra), *stretched)
    return engine.reshape(engine.reduce_fwd("sum", g, axes, False) if axes else g, shape)


class Unary(Op):
    """Function ``name`` of each element; ``backends.UNARY`` lists the names."""

    @staticmethod
    def forward(ctx: Node, x: Any, name: str, param: float | None = None, param2: float | None = None) -> Any:
        row = backends.UNARY[name]
        if x.dtype.kind != "f":
            if row.kind == "copy":
                return ctx.engine.copy(dtypes.no_bools(name, x))
            x = dtypes.unary_operand(name, x, ctx.engine.cast, row.kind == "same")
        y = ctx.engine.unary_fwd(name, x, param, param2)
        ctx.name, ctx.param, ctx.param2 = name, param, param2
        ctx.save({"x": x, "y": y}.get(row.saves))
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        if backends.UNARY[ctx.name].backward is None:
            return ctx.engine.zeros(gy.shape, gy.dtype)
        return ctx.engine.unary_bwd(ctx.name, gy, ctx.saved[0], ctx.param, ctx.param2)


class Binary(Op):
    """Operation ``name`` on two operands that broadcast; ``backends.BINARY`` lists the names."""

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, a: Any, b: Any, name: str) -> Any:
        ctx.name, ctx.shapes = name, (getattr(a, "shape", ()), getattr(b, "shape", ()))
        broadcast_shape(name, *ctx.shapes)  # refuses what does not fit
        a, b = dtypes.operands(name, a, b, ctx.engine.cast)
        y = ctx.engine.binary_fwd(name, a, b)
        ours, theirs = (a if ctx.needs[1] else None), (b if ctx.needs[0] else None)
        saved = {"mul": (ours, theirs), "div": (ours, b), "maximum": (a, b), "minimum": (a, b), "pow": (a, b)}
        saved["remainder"] = saved["fmod"] = (a, b) if ctx.needs[1] else ()
        ctx.save(*saved.get(name, ()))
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        op = ctx.engine.binary_fwd
        grads = [None, None]
        for i in (0, 1):
            if ctx.needs[i]:
                grads[i] = unbroadcast(ctx.engine, Binary._partial(ctx, op, gy, i), ctx.shapes[i])
        return tuple(grads)

    @staticmethod
    def _partial(ctx: Node, op: Any, gy: Any, i: int) -> Any:
        """``gy`` times the derivative with respect to operand ``i``."""
        match ctx.name:
            case "add":
                return gy
            case "sub":
                return gy if i == 0 else ctx.engine.unary_fwd("neg", gy)
            case "mul":
                return op("mul", gy, ctx.saved[1 - i])
            case "div":
                a, b = ctx.saved
                if i == 0:
                    return op("div", gy, b)
                return ctx.engine.unary_fwd("neg", op("div", op("mul", gy, a), op("mul", b, b)))
            case "pow":
                return op("mul", gy, op(("pow_by_base", "pow_by_exponent")[i], *ctx.saved))
            case "remainder" | "fmod":
                if i == 0:
                    return gy
                whole = op("floor_divide" if ctx.name == "remainder" else "trunc_divide", *ctx.saved)
                return ctx.engine.unary_fwd("neg", op("mul", gy, whole))
            case "floor_divide" | "trunc_divide":
                return ctx.engine.zeros(gy.shape, gy.dtype)
            case _:  # maximum, minimum: equal elements share the gradient, as in PyTorch
                mine, other = ctx.saved[i], ctx.saved[1 - i]
                wins = op("gt" if ctx.name == "maximum" else "lt", mine, other)
                ties = op("mul", ctx.engine.cast(op("eq", mine, other), gy.dtype), 0.5)
                return op("mul", gy, op("add", ctx.engine.cast(wins, gy.dtype), ties))


class Bound(Binary):
    """The ``maximum`` or ``minimum`` of ``x`` and a bound, as in ``clamp``.

    Unlike in :class:`Binary`, ``x`` gets the whole gradient where both are equal.
    """

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        op, (x, bound) = ctx.engine.binary_fwd, ctx.saved
        inside = ctx.engine.cast(op("ge" if ctx.name == "maximum" else "le", x, bound), gy.dtype)
        gx = op("mul", gy, inside)
        grads = gx, op("sub", gy, gx) if ctx.needs[1] else None
        return tuple(
            unbroadcast(ctx.engine, g, shape) if needed else None
            for g, shape, needed in zip(grads, ctx.shapes, ctx.needs)
        )


def operand(x: Any) -> Any:
    """``x`` as an operand of arithmetic; a list becomes a Tensor.

    NotImplemented for an object of an unknown type; Python then tries the operators of that object.
    """
    if isinstance(x, (Variable, int, float, np.ndarray)):
        return x
    if isinstance(x, (list, tuple)):
        return argument("as_tensor", "data", x)
    return x if isinstance(x, (np.number, np.bool_)) else NotImplemented


def binary(name: str, a: Any, b: Any) -> Any:
    """Operation ``name`` on ``a`` and ``b``; NotImplemented if one of them is not an operand."""
    a, b = operand(a), operand(b)
    if a is NotImplemented or b is NotImplemented:
        return NotImplemented
    return Binary.apply(a, b, name=name)


def bitwise(name: str, a: Any, b: Any) -> Any:
    """One of ``bitwise_and``, ``bitwise_or`` and ``bitwise_xor``, for bools and integers."""
    a, b = operand(a), operand(b)
    if a is NotImplemented or b is NotImplemented:
        return NotImplemented
    _check_bits(name, a, b)
    return binary(name, a, b)


def inverted(x: Variable) -> Any:
    """``x`` with every bit of an integer inverted; bools are negated."""
    _check_bits("bitwise_not", x)
    return binary("bitwise_xor", x, True if x.dtype == dtypes.BOOL else -1)


def _check_bits(name: str, *operands: Any) -> None:
    """Raise a TypeError if an operand holds floats."""
    for v in operands:
        dtype = np.dtype(getattr(v, "dtype", type(v)))
        if dtype.kind == "f":
            raise TypeError(
                f"{name}: expected bools or integers, got {dtype}; convert it with .astype('int64'), or make "
                "bools of it with != 0"
            )


def logical(name: str, a: Any, b: Any) -> Any:
    """``logical_and``, ``logical_or`` or ``logical_xor``: every element that is not 0 is true, also NaN."""
    a, b = (v if v.dtype == dtypes.BOOL else binary("ne", v, 0) for v in (a, argument(name, "other", b)))
    return binary(name.replace("logical", "bitwise"), a, b)


def compared(name: str, a: Any, b: Any) -> Any:
    """``==`` or ``!=``, which accept any object.

    NotImplemented for an object that cannot be an array of numbers; Python then decides that it is not equal.
    """
    if isinstance(b, (list, tuple)):
        try:
            b = argument("as_tensor", "data", b)
        except (TypeError, ValueError):
            return NotImplemented
    return binary(name, a, b)


def power(x: Variable, exponent: Any) -> Any:
    """``x ** exponent``. A single number is passed as a parameter of the op, not as an operand."""
    plain = isinstance(exponent, (int, np.number, np.bool_)) and x.dtype.kind == "f"
    if plain or isinstance(exponent, float):
        return Unary.apply(x, name="pow", param=float(exponent))
    return binary("pow", x, exponent)


def _is_bound(v: Any) -> bool:
    """Whether ``v`` is a Python number that can be a parameter of the op ``clamp``; NaN cannot."""
    return type(v) in (int, float) and v == v and (abs(v) < 2.0**1023 or type(v) is float)


def clamp(x: Variable, low: Any, high: Any) -> Any:
    """``x`` with elements below ``low`` replaced by ``low`` and elements above ``high`` by ``high``."""
    if low is None and high is None:
        raise ValueError("clamp: give min, max or both")
    if x.dtype.kind == "f" and all(v is None or _is_bound(v) for v in (low, high)):
        return Unary.apply(
            x, name="clamp", param=-inf if low is None else low, param2=inf if high is None else high
        )
    if low is not None:
        x = Bound.apply(x, low, name="maximum")
    return x if high is None else Bound.apply(x, high, name="minimum")
