"""Pointwise nonlinearities, softmax, dropout and the dense layer."""

from __future__ import annotations

from math import prod

from fastconv import random
from fastconv.autograd import Function
from fastconv.checks import check_float, check_rank, check_shape, number, one_of, shape_str
from fastconv.creation import as_tensor
from fastconv.ops import Softmax, Unary
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


def _unary(name, op, x, param=None):
    check_float(name, input=x)
    return Unary.apply(x, name=op, param=param)


def relu(input: TensorLike) -> Tensor:
    """``max(input, 0)``; NaN stays NaN."""
    return _unary("relu", "relu", input)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """``input`` where positive, else ``negative_slope * input``."""
    return _unary("leaky_relu", "leaky_relu", input, number("leaky_relu", "negative_slope", negative_slope))


def sigmoid(input: TensorLike) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    return _unary("sigmoid", "sigmoid", input)


def tanh(input: TensorLike) -> Tensor:
    """Hyperbolic tangent."""
    return _unary("tanh", "tanh", input)


def silu(input: TensorLike) -> Tensor:
    """``input * sigmoid(input)``, also called swish."""
    return _unary("silu", "silu", input)


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """``input * Phi(input)`` with the normal distribution's ``Phi`` (Hendrycks and Gimpel 2016), or its tanh
    approximation."""
    one_of("gelu", "approximate", approximate, ("none", "tanh"))
    return _unary("gelu", "gelu_tanh" if approximate == "tanh" else "gelu", input)


def softmax(input: TensorLike, dim: int) -> Tensor:
    """``exp(input)`` scaled to sum 1 along ``dim``, computed without overflow."""
    return Softmax.apply(input, name="softmax", axis=dim)


def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """``log(softmax(input, dim))`` without loss of precision."""
    return Softmax.apply(input, name="log_softmax", axis=dim)


class Dropout(Function):
    @staticmethod
    def forward(ctx, x, p, scale, seed):
        ctx.mask = (p, scale, seed)
        return ctx.engine.dropout(x, p, scale, seed)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.dropout(gy, *ctx.mask)


def dropout(
    input: TensorLike, p: float = 0.5, training: bool = True, mode: str = "upscale_in_train"
) -> Tensor:
    """Zero each element with probability ``p`` (Srivastava et al. 2014).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    p : float in [0, 1]
    training : bool
    mode : {"upscale_in_train", "downgrade_in_infer"}
        The first divides the survivors by ``1 - p`` in training and returns ``input`` in evaluation; the
        second keeps the survivors as they are and multiplies by ``1 - p`` in evaluation.
    """
    check_float("dropout", input=input)
    p = number("dropout", "p", p, 0, 1)
    one_of("dropout", "mode", mode, ("upscale_in_train", "downgrade_in_infer"))
    upscale = mode == "upscale_in_train"
    if not training and not upscale:
        return as_tensor(input) * (1.0 - p)
    if not training or p == 0:
        return as_tensor(input)
    scale = 1.0 / (1.0 - p) if upscale and p < 1 else 1.0
    return Dropout.apply(input, p=p, scale=scale, seed=random.next_seed())


class Linear(Function):
    @staticmethod
    def forward(ctx, x, w, b):
        name, e = "linear", ctx.engine
        check_float(name, ("bias",), input=x, weight=w, bias=b)
        check_rank(name, "weight", w.shape, 2, "out x in")
        if not x.ndim or x.shape[-1] != w.shape[1]:
            raise ValueError(
                f"{name}: weight expects {w.shape[1]} input features (weight {shape_str(w.shape)}), "
                f"input has {x.shape[-1] if x.ndim else 'none'} ({shape_str(x.shape)})"
            )
        if b is not None:
            check_shape(name, "bias", b.shape, w.shape[:1], "one entry per output feature")
        ctx.save(x, w)
        y = e.linear_fwd(_rows(e, x), w, b)
        return y if x.ndim == 2 else e.reshape(y, (*x.shape[:-1], w.shape[0]))

    @staticmethod
    def backward(ctx, gy):
        (x, w), e = ctx.saved, ctx.engine
        gy = _rows(e, gy)
        gx = e.linear_bwd_data(gy, w) if ctx.needs[0] else None
        return (
            gx if gx is None or x.ndim == 2 else e.reshape(gx, x.shape),
            e.linear_bwd_weight(gy, _rows(e, x)) if ctx.needs[1] else None,
            e.channel_sum(gy) if ctx.needs[2] else None,
        )


def _rows(e, x):
    """All leading axes as one."""
    return x if x.ndim == 2 else e.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """Dense layer ``input @ weight.T + bias``.

    Parameters
    ----------
    input : Tensor or array, ``(..., in)``, float32 or float64
    weight : ``(out, in)``
    bias : ``(out,)``, optional
    """
    return Linear.apply(input, weight, bias)
