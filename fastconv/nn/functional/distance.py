"""Normalised vectors, and the distance and similarity of two vectors."""

from __future__ import annotations

from typing import Any

from fastconv.checks import check, check_axis, check_float, number
from fastconv.creation import argument
from fastconv.ops import Bound
from fastconv.ops.reduce import norm
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


class AtLeast(Op):
    """The larger of ``x`` and a bound. Even where the bound is larger, the gradient goes to ``x``."""

    @staticmethod
    def forward(ctx, x, bound):
        return ctx.engine.binary_fwd("maximum", x, bound)

    @staticmethod
    def backward(ctx, gy):
        return gy


def _length(name: str, x: Tensor, p: Any, dim: Any) -> Tensor:
    """The p-norm along ``dim``, which is kept with extent 1."""
    x = x if x.ndim else x.reshape(1)
    return norm(name, x, p, check_axis(name, dim, x.ndim), True)


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
        The dimension along which the vectors lie.
    eps : float
        The smallest divisor, which avoids a division by zero.
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
    length = Bound.apply(_length(name, input, p, dim), eps, name="maximum")
    return input / (length if input.ndim else length.reshape(()))


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors.

    Parameters
    ----------
    x1, x2 : Tensor or array, float32 or float64
        They broadcast.
    dim : int
        The dimension along which the vectors lie, after broadcasting.
    eps : float
        The smallest length; a shorter vector is treated as if it had this length.

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
    if a.shape[axis] != b.shape[axis]:  # repeat the extent 1, because it counts in the length of the vector
        ones = Tensor(a.engine.binary_fwd("add", a.engine.zeros(shape[axis : axis + 1], a.dtype), 1.0))
        ones = ones.reshape(-1, *(1,) * (len(shape) - 1 - axis))
        a, b = a * ones, b * ones
    lengths = [AtLeast.apply(_length(name, v, 2.0, axis), bound=eps) for v in (a, b)]
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
    length = _length(name, x1 - x2 + eps, p, -1)
    return length if keepdim else length.squeeze(-1)
