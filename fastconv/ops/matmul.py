"""Products of matrices."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import dtypes
from fastconv.checks import check, check_axis, check_rank, int_tuple, number, shape_str
from fastconv.tape import Op
from fastconv.variable import Node, Variable, argument

from .pointwise import unbroadcast
from .reduce import reduce
from .shape import permute, reshape, several
from .views import expand


class MatMul(Op):
    """``a @ b`` by NumPy's rules.

    Leading axes broadcast. A vector is a row if it is on the left, and a column if it is on the right.
    """

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


# ------------------------------------------------------------------------------------------------- arguments
def partner(name: str, what: str, value: Any, x: Variable) -> Any:
    """The other operand as a Tensor; an array is put on the device of ``x``."""
    check(
        isinstance(value, (Variable, np.ndarray)),
        name,
        f"{what} must be a Tensor, got {type(value).__name__}",
        TypeError,
    )
    return argument(name, what, value, x.device)


def product(name: str, a: Any, b: Any, ranks: tuple[int, int], names: tuple[str, str]) -> Any:
    """``a @ b``, after checks that the operands have these ranks and one dtype, and need no broadcasting."""
    if not isinstance(a, Variable):
        a = argument(name, names[0], a)
    b = partner(name, names[1], b, a)
    words = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}
    for operand, what, rank in zip((a, b), names, ranks):
        check_rank(name, what, operand.shape, rank, words[rank])
    check(
        a.dtype == b.dtype,
        name,
        f"{names[0]} and {names[1]} must have one dtype, got {a.dtype} and {b.dtype}; convert one of them, "
        f"e.g. with .astype('{a.dtype}')",
        TypeError,
    )
    check(
        a.shape[-1] == b.shape[-2 if b.ndim > 1 else 0],
        name,
        f"inner dimensions differ: {shape_str(a.shape)} @ {shape_str(b.shape)}",
    )
    check(
        ranks != (3, 3) or a.shape[0] == b.shape[0],
        name,
        f"the batches differ: {shape_str(a.shape)} @ {shape_str(b.shape)}",
    )
    return MatMul.apply(a, b)


def added(name: str, x: Variable, y: Any, beta: float, alpha: float) -> Any:
    """``beta * x + alpha * y`` in the shape of ``y``."""
    for what, value in (("beta", beta), ("alpha", alpha)):
        number(name, what, value)
        check(
            isinstance(value, int) or y.dtype.kind == "f",
            name,
            f"{what} must be an int for tensors of {y.dtype}, got {value}",
            TypeError,
        )
    check(
        x.dtype == y.dtype,
        name,
        f"the tensors must have one dtype, got {x.dtype} and {y.dtype}; convert one of them, e.g. with "
        f".astype('{y.dtype}')",
        TypeError,
    )
    wide = expand(name, x, (y.shape,))
    scaled = y if alpha == 1 else y * alpha
    if beta == 0:
        return scaled
    return scaled + (wide if beta == 1 else wide * beta)


def inner(a: Variable, b: Any) -> Any:
    """Sums of products over the last dimension of both; the product if one is a scalar."""
    b = partner("inner", "other", b, a)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    check(
        a.shape[-1] == b.shape[-1],
        "inner",
        f"the last dimensions differ: {shape_str(a.shape)} and {shape_str(b.shape)}",
    )
    return tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]), "inner")


def tensordot(a: Variable, b: Any, dims: Any, name: str = "tensordot") -> Any:
    """Sums of products over several dimensions of both, as one product of matrices."""
    b = partner(name, "other", b, a)
    if isinstance(dims, (tuple, list)):
        check(len(dims) == 2, name, f"dims must be an int or two lists of ints, got {dims!r:.60}", TypeError)
        ours, theirs = (
            [check_axis(name, d, t.ndim) for d in several((part,))] for part, t in zip(dims, (a, b))
        )
    else:
        (count,) = int_tuple(name, "dims", dims, 1, 0)
        check(
            count <= min(a.ndim, b.ndim),
            name,
            f"dims {count} is more than the dimensions of {shape_str(a.shape)} and {shape_str(b.shape)}",
        )
        ours, theirs = list(range(a.ndim - count, a.ndim)), list(range(count))
    for found in (ours, theirs):
        check(len({*found}) == len(found), name, f"expected different dimensions, got {found}")
    if len(ours) == len(theirs):  # a dimension of extent 1 broadcasts: sum the other operand over its own
        pairs = [(d, k) for d, k in zip(ours, theirs) if a.shape[d] != b.shape[k]]
        if wide := [d for d, k in pairs if b.shape[k] == 1]:
            a = reduce("sum", a, wide, True)
        if wide := [k for d, k in pairs if a.shape[d] == 1 != b.shape[k]]:
            b = reduce("sum", b, wide, True)
    check(
        [a.shape[d] for d in ours] == [b.shape[d] for d in theirs],
        name,
        f"the dimensions {ours} of {shape_str(a.shape)} and {theirs} of {shape_str(b.shape)} must have the "
        "same extents",
    )
    left = [d for d in range(a.ndim) if d not in ours]
    right = [d for d in range(b.ndim) if d not in theirs]
    n = prod(a.shape[d] for d in ours)
    rows, columns = [a.shape[d] for d in left], [b.shape[d] for d in right]
    y = MatMul.apply(
        reshape(permute(a, ([*left, *ours],)), (prod(rows), n)),
        reshape(permute(b, ([*theirs, *right],)), (n, prod(columns))),
    )
    return reshape(y, ((*rows, *columns),))


def kron(a: Variable, b: Any) -> Any:
    """Each element of ``a`` times the whole of ``b``."""
    b = partner("kron", "other", b, a)
    rank = max(a.ndim, b.ndim)
    ours, theirs = ((1,) * (rank - t.ndim) + t.shape for t in (a, b))
    spread = reshape(a, (tuple(m for n in ours for m in (n, 1)),))
    y = spread * reshape(b, (tuple(m for n in theirs for m in (1, n)),))
    return reshape(y, (tuple(n * m for n, m in zip(ours, theirs)),))
