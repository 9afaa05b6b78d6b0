"""Helpers of the losses: reductions, and losses that compare two tensors element by element."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from math import prod
from typing import Any

from fastconv.checks import check, check_float, check_shape, one_of, shape_str
from fastconv.creation import argument
from fastconv.ops import unbroadcast
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(
    name: str, reduction: Any, size_average: Any = None, reduce: Any = None, also: Iterable[str] = ()
) -> None:
    """Refuse an unknown ``reduction``, and the two deprecated arguments with the same purpose."""
    for what, value in (("size_average", size_average), ("reduce", reduce)):
        check(
            value is None,
            name,
            f"{what} is deprecated in PyTorch and not supported here, got {value!r:.60}; "
            "use reduction='mean', 'sum' or 'none'",
            TypeError,
        )
    one_of(name, "reduction", reduction, (*REDUCTIONS, *also))


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses, their sum or their mean."""
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def weighted(name: str, losses: Tensor, weight: TensorLike, reduction: str) -> Tensor:
    """The losses times the weight of each element, reduced. The weights broadcast to the losses."""
    weight = argument(name, "weight", weight)
    check_float(name, losses=losses, weight=weight)
    fits = broadcast_shape(f"{name}: weight", weight.shape, losses.shape) == losses.shape
    check(fits, name, f"weight must broadcast to {shape_str(losses.shape)}, got {shape_str(weight.shape)}")
    return reduced(losses * weight, reduction)


class PairLoss(Op):
    """The loss called ``loss`` of each pair of elements of two tensors, or the sum or mean of these losses.

    The tensors broadcast.
    """

    @staticmethod
    def forward(ctx, input, target, name, loss, reduction, param):
        e = ctx.engine
        ctx.shapes = input.shape, target.shape
        shape = broadcast_shape(name, *ctx.shapes)
        input, target = (a if a.shape == shape else e.broadcast_to(a, shape) for a in (input, target))
        ctx.loss, ctx.param = loss, param
        ctx.count = float(max(prod(shape), 1)) if reduction == "mean" else None
        ctx.save(input, target)
        return e.pair_loss_fwd(loss, input, target, param, reduction)

    @staticmethod
    def backward(ctx, gy):
        e = ctx.engine
        if ctx.count is not None:
            gy = e.binary_fwd("div", gy, ctx.count)
        return tuple(
            unbroadcast(e, e.pair_loss_bwd(ctx.loss, i, gy, *ctx.saved, ctx.param), ctx.shapes[i])
            if ctx.needs[i]
            else None
            for i in (0, 1)
        )


def pair_loss(
    name: str, loss: str, input: Tensor, target: Tensor, reduction: str, param: float | None = None
) -> Tensor:
    """The loss in the row ``loss`` of ``backends/common/pair_loss.py``; the tensors are checked already."""
    return PairLoss.apply(input, target, name=name, loss=loss, reduction=reduction, param=param)


def pair(
    name: str, input: TensorLike, target: TensorLike, what: tuple[str, str] = ("input", "target")
) -> tuple[Tensor, Tensor]:
    """Input and target as Tensors of one float dtype. A target of integers or bools is cast to it."""
    a, b = argument(name, what[0], input), argument(name, what[1], target)
    if b.dtype.kind in "iub" and a.dtype.kind == "f":
        b = b.astype(a.dtype)
    check_float(name, (), **{what[0]: a, what[1]: b})
    return a, b


def same_shape(name: str, input: Tensor, target: Tensor) -> None:
    """Refuse a target whose shape is not the input's."""
    check_shape(name, "target", target.shape, input.shape, "the input's")


def warn_of_broadcasting(name: str, input: Tensor, target: Tensor) -> None:
    """Warn, as PyTorch does, if the shapes differ and broadcast, because this is often a mistake."""
    broadcast_shape(name, input.shape, target.shape)  # raises where the shapes do not fit at all
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: input {shape_str(input.shape)} and target {shape_str(target.shape)} differ in shape "
            "and are broadcast; reshape one of them if that is not what you want",
            stacklevel=3,
        )
