"""Products of matrices."""

from __future__ import annotations

from typing import Any

from fastconv import dtypes
from fastconv.checks import check, shape_str
from fastconv.tape import Op
from fastconv.variable import Node

from .pointwise import unbroadcast


class MatMul(Op):
    """``a @ b`` by NumPy's rules: leading axes broadcast; a vector is a row on the left, a column on the
    right."""

    @staticmethod
    def forward(ctx: Node, a: Any, b: Any) -> Any:
        shapes = a.shape, b.shape
        check(
            a.ndim > 0 and b.ndim > 0,
            "matmul",
            f"operands must have dimensions, got {shape_str(a.shape)} and {shape_str(b.shape)}",
        )
        inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
        check(
            a.shape[-1] == inner,
            "matmul",
            f"inner dimensions differ: {shape_str(a.shape)} @ {shape_str(b.shape)}",
        )
        a, b = dtypes.together("matmul", (a, b), ctx.engine.cast)
        check(
            a.dtype != bool,
            "matmul",
            "expected numbers, got bool; convert them with .astype('int64')",
            TypeError,
        )
        a2 = ctx.engine.reshape(a, (1, -1)) if a.ndim == 1 else a
        b2 = ctx.engine.reshape(b, (-1, 1)) if b.ndim == 1 else b
        ctx.save(a2, b2)
        y = ctx.engine.matmul(a2, b2)
        ctx.shapes, ctx.y_shape = shapes, y.shape
        dropped = [i for i, v in ((y.ndim - 2, a), (y.ndim - 1, b)) if v.ndim == 1]
        return ctx.engine.reshape(y, [s for i, s in enumerate(y.shape) if i not in dropped]) if dropped else y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        (a, b), e = ctx.saved, ctx.engine
        gy = e.reshape(gy, ctx.y_shape)

        def transposed(m: Any) -> Any:
            return e.permute(m, (*range(m.ndim - 2), m.ndim - 1, m.ndim - 2))

        ga = unbroadcast(e, e.matmul(gy, transposed(b)), a.shape) if ctx.needs[0] else None
        gb = unbroadcast(e, e.matmul(transposed(a), gy), b.shape) if ctx.needs[1] else None
        return (
            None if ga is None else e.reshape(ga, ctx.shapes[0]),
            None if gb is None else e.reshape(gb, ctx.shapes[1]),
        )
