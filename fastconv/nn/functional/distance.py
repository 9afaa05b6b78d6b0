"""Lengths of vectors, and how far apart or how alike two are."""

from __future__ import annotations

from math import inf
from typing import Any

from fastconv.checks import check, check_axis, check_float, number
from fastconv.creation import argument
from fastconv.ops import Bound
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


class VectorNorm(Op):
    """The p-norm along one axis, which stays with extent 1; its gradient is 0 where the norm is.

    Norms below ``least`` become it, and still have the gradient of the norm.
    """

    @staticmethod
    def forward(ctx, x, p, axis, least):
        e = ctx.engine
        ctx.p, ctx.axis = p, axis
        if p == 2:
            y = e.unary_fwd("sqrt", e.reduce_fwd("sum", e.binary_fwd("mul", x, x), (axis,), True))
        elif p == 0:
            y = e.reduce_fwd("sum", e.cast(e.binary_fwd("ne", x, 0.0), x.dtype), (axis,), True)
        elif p in (inf, -inf):
            y = e.reduce_fwd("max" if p > 0 else "min", e.unary_fwd("abs", x), (axis,), True)
        else:
            y = e.reduce_fwd("sum", _power(e, e.unary_fwd("abs", x), p), (axis,), True)
            y = _power(e, y, 1 / p)
        ctx.save(x, y)
        return y if least is None else e.binary_fwd("maximum", y, least)

    @staticmethod
    def backward(ctx, gy):
        e, (x, y), p = ctx.engine, ctx.saved, ctx.p
        op = e.binary_fwd
        if p == 0:
            return e.zeros(x.shape, x.dtype)
        if p in (inf, -inf):  # elements that are equally large share the gradient
            hits = e.cast(op("eq", e.unary_fwd("abs", x), y), x.dtype)
            share = op("div", gy, e.reduce_fwd("sum", hits, (ctx.axis,), True))
            return op("mul", op("mul", hits, e.unary_bwd("abs", hits, x)), share)
        zero = e.cast(op("eq", y, 0.0), y.dtype)
        share = op("div", gy, _power(e, op("add", y, zero), p - 1))
        share = op("mul", share, op("sub", 1.0, zero))
        if p == 2:
            return op("mul", x, share)
        size = e.unary_fwd("abs", x)
        size = op("add", size, e.cast(op("eq", x, 0.0), x.dtype))  # 1 for 0, whose sign is 0
        return op("mul", e.unary_bwd("abs", _power(e, size, p - 1), x), share)


def _power(e: Any, x: Any, p: float) -> Any:
    return x if p == 1 else e.unary_fwd("pow", x, p)


def vector_norm(name: str, x: Tensor, p: Any, dim: Any, least: float | None = None) -> Tensor:
    """The p-norm along ``dim``, which stays with extent 1."""
    x = x if x.ndim else x.reshape(1)
    return VectorNorm.apply(x, p=number(name, "p", p), axis=check_axis(name, dim, x.ndim), least=least)


def normalize(
    input: TensorLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Tensor:
    """Vectors divided by their p-norm, ``input / max(norm, eps)``.

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    p : float
        The exponent of the norm.
    dim : int
        The dimension along which the vectors are.
    eps : float
        Bound that keeps short vectors from a division by zero.
    out : None
        Not supported.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.normalize(fc.tensor([[3.0, 4.0]])).tolist()
    [[0.6..., 0.8...]]
    """
    name = "normalize"
    check(out is None, name, "out is not supported; assign the result instead", TypeError)
    input, eps = argument(name, "input", input), number(name, "eps", eps)
    check_float(name, input=input)
    length = Bound.apply(vector_norm(name, input, p, dim), eps, name="maximum")
    return input / (length if input.ndim else length.reshape(()))


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors.

    Parameters
    ----------
    x1, x2 : Tensor or array, float32 or float64
        They broadcast.
    dim : int
        The dimension along which the vectors are, counted after broadcasting.
    eps : float
        Least length of a vector.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.cosine_similarity(fc.tensor([[1.0, 0.0]]), fc.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """
    name = "cosine_similarity"
    x1, x2 = argument(name, "x1", x1), argument(name, "x2", x2)
    check_float(name, x1=x1, x2=x2)
    eps = number(name, "eps", eps)
    shape = broadcast_shape(name, x1.shape, x2.shape)
    axis = check_axis(name, dim, len(shape))
    if not shape:
        return cosine_similarity(x1.reshape(1), x2.reshape(1), 0, eps)
    a, b = (v.reshape(*(1,) * (len(shape) - v.ndim), *v.shape) for v in (x1, x2))
    if a.shape[axis] != b.shape[axis]:  # a vector of one number, repeated, has the length of the repetition
        ones = Tensor(a.engine.binary_fwd("add", a.engine.zeros(shape[axis : axis + 1], a.dtype), 1.0))
        ones = ones.reshape(-1, *(1,) * (len(shape) - 1 - axis))
        a, b = a * ones, b * ones
    lengths = [vector_norm(name, v, 2.0, axis, eps) for v in (a, b)]
    return ((a * b).sum(axis, True) / (lengths[0] * lengths[1])).squeeze(axis)


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension.

    Parameters
    ----------
    x1, x2 : Tensor or array of vectors, ``(..., D)``, float32 or float64
        They broadcast.
    p : float
        The exponent of the norm.
    eps : float
        Added to the differences, so that the distance has a gradient where it would be 0.
    keepdim : bool
        Keep the last dimension, with extent 1.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.pairwise_distance(fc.tensor([[3.0, 4.0]]), fc.zeros(1, 2), eps=0.0).tolist()
    [5.0]
    """
    name = "pairwise_distance"
    x1, x2 = argument(name, "x1", x1), argument(name, "x2", x2)
    check_float(name, x1=x1, x2=x2)
    eps = number(name, "eps", eps)
    shape = broadcast_shape(name, x1.shape, x2.shape)
    check(len(shape) > 0, name, "x1 and x2 must have a dimension, got scalars")
    length = vector_norm(name, x1 - x2 + eps, p, -1)
    return length if keepdim else length.squeeze(-1)
