"""Softmax and its variants, and the activations glu, prelu and rrelu."""

from __future__ import annotations

from fastconv import random
from fastconv.checks import check, check_axis, check_float, number, shape_str
from fastconv.creation import argument, as_tensor
from fastconv.dtypes import parse
from fastconv.ops import Unary
from fastconv.ops.pointwise import unbroadcast
from fastconv.ops.reduce import softmax as softmax_along
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import DType, TensorLike


def _dim(dim: int | None, x: Tensor) -> int:
    """``dim``, or PyTorch's choice if it is None: 0 for tensors of 0, 1 and 3 dimensions, else 1."""
    return dim if dim is not None else 0 if x.ndim in (0, 1, 3) else 1


def softmax(input: TensorLike, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """``exp(input)`` scaled to sum 1 along ``dim``, computed without overflow.

    Parameters
    ----------
    input : Tensor or array
        float32 or float64 if ``dtype`` is not given.
    dim : int, optional
        By default 0 for inputs of 0, 1 and 3 dimensions, else 1, as in PyTorch.
    dtype : {"float32", "float64"}, optional
        Cast ``input`` to this dtype first.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.softmax(fc.zeros(1, 4), dim=1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    x = argument("softmax", "input", input)
    return softmax_along("softmax", x, _dim(dim, x), dtype)


def log_softmax(input: TensorLike, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """``log(softmax(input, dim))`` without loss of precision; the parameters are those of :func:`softmax`.

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.functional.log_softmax(fc.zeros(1, 4), dim=1)[0, 0].item(), 4)
    -1.3863
    """
    x = argument("log_softmax", "input", input)
    return softmax_along("log_softmax", x, _dim(dim, x), dtype)


def softmin(input: TensorLike, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """``softmax(-input, dim)``; the parameters are those of :func:`softmax`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.softmin(fc.zeros(1, 4), dim=1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    x = argument("softmin", "input", input)
    x = x if dtype is None else x.astype(parse("softmin", dtype))
    check_float("softmin", input=x)
    return softmax_along("softmin", Unary.apply(x, name="neg"), _dim(dim, x))


# --------------------------------------------------------------------------------------------------- glu
class GLU(Op):
    """The first half of ``axis`` times the sigmoid of the second."""

    @staticmethod
    def forward(ctx, x, axis):
        half = x.shape[axis] // 2
        key = (slice(None),) * axis
        a, b = ctx.engine.getitem(x, (*key, slice(0, half))), ctx.engine.getitem(x, (*key, slice(half, None)))
        ctx.axis = axis
        ctx.save(a, b)
        return ctx.engine.binary_fwd("glu", a, b)

    @staticmethod
    def backward(ctx, gy):
        (a, b), e = ctx.saved, ctx.engine
        return e.concatenate([e.binary_fwd("glu", gy, b), e.ternary_fwd("glu_bwd", gy, a, b)], ctx.axis)


def glu(input: TensorLike, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)``, where ``a`` and ``b`` are the two halves of ``input`` (Dauphin et al. 2017).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    dim : int
        The dimension that is halved; its extent must be even.

    Returns
    -------
    Tensor
        Half as large along ``dim``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.glu(fc.tensor([4.0, 0.0])).tolist()
    [2.0]
    """
    check_float("glu", input=input)
    x = argument("glu", "input", input)
    check(x.ndim > 0, "glu", "a scalar has no halves; give an input of at least one dimension")
    axis = check_axis("glu", dim, x.ndim)
    check(
        x.shape[axis] % 2 == 0,
        "glu",
        f"dimension {axis} must have an even extent, to be divided in halves; input is {shape_str(x.shape)}",
    )
    return GLU.apply(x, axis=axis)


# --------------------------------------------------------------------------------------------------- prelu
class PReLU(Op):
    """``x`` where positive, else ``x * w``; ``w`` broadcasts to the shape of ``x``."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.shape = w.shape
        ctx.save(x, w if ctx.needs[0] else None)
        return ctx.engine.binary_fwd("prelu", x, w)

    @staticmethod
    def backward(ctx, gy):
        (x, w), e, gw = ctx.saved, ctx.engine, None
        if ctx.needs[1]:
            gw = e.binary_fwd("prelu_by_weight", gy, x)
            per_channel = x.ndim > 1 and ctx.shape == (x.shape[1], *(1,) * (x.ndim - 2))
            gw = e.reshape(e.channel_sum(gw), ctx.shape) if per_channel else unbroadcast(e, gw, ctx.shape)
        return (e.ternary_fwd("prelu_bwd", gy, x, w) if ctx.needs[0] else None), gw


def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """``input`` where positive, else ``weight * input`` (He et al. 2015).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
        ``N x C x ...``. An input of fewer than 2 dimensions has one channel.
    weight : Tensor or array of at most 1 dimension, same dtype
        One number, or one per channel.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.prelu(fc.tensor([-2.0, 2.0]), fc.tensor([0.25])).tolist()
    [-0.5, 2.0]
    """
    check_float("prelu", input=input, weight=weight)
    x, w = argument("prelu", "input", input), argument("prelu", "weight", weight)
    check(w.ndim < 2, "prelu", f"weight must be a scalar or a vector, got {shape_str(w.shape)}")
    channels = x.shape[1] if x.ndim > 1 else 1
    check(
        w.numel() in (1, channels),
        "prelu",
        f"weight must be one number or one per channel ({channels}, input is {shape_str(x.shape)}), "
        f"got {shape_str(w.shape)}",
    )
    if w.numel() == 1:
        w = w.reshape(())
    elif x.ndim > 1:
        w = w.reshape(-1, *(1,) * (x.ndim - 2))
    return PReLU.apply(x, w)


# --------------------------------------------------------------------------------------------------- rrelu
def rrelu(
    input: TensorLike,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``input`` where positive, else ``slope * input`` with a random slope (Xu et al. 2015).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    lower, upper : float
        In training each element gets a random slope between them. In evaluation the slope is their mean.
    training : bool
    inplace : bool
        No effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.rrelu(fc.tensor([-4.0, 2.0]), 0.0, 0.5).tolist()
    [-1.0, 2.0]
    """
    check_float("rrelu", input=input)
    lower, upper = number("rrelu", "lower", lower), number("rrelu", "upper", upper)
    check(lower <= upper, "rrelu", f"lower must not be larger than upper, got {lower:g} and {upper:g}")
    x = argument("rrelu", "input", input)
    if not training:
        return Unary.apply(x, name="leaky_relu", param=(lower + upper) / 2)
    slopes = random.draw("uniform", lower, upper, x.shape)
    return PReLU.apply(x, as_tensor(slopes, x.dtype, x.device))
