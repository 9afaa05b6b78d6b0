"""Losses of class labels: cross-entropy and negative log-likelihood."""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from fastconv import backends
from fastconv.checks import check, check_float, check_rank, check_shape, number, shape_str
from fastconv.creation import argument
from fastconv.dtypes import INT64
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from ..labels import check_labels
from ..softmax import log_softmax
from .base import check_reduction, reduced

#: The engines' names of these losses, and the functions'.
LABEL_LOSSES = {"cross_entropy": "cross_entropy", "nll": "nll_loss"}


def _index(name: str, ignore_index: Any) -> int:
    try:
        return int(np.int64(operator.index(ignore_index)))
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: ignore_index must be an int of 64 bits, got {ignore_index!r:.60}") from None


def _reduced_rows(ctx, losses, divisor):
    """The losses of the rows, or their sum divided by ``divisor`` if it is not None.

    It is part of the op of the loss, because in small batches more nodes of the tape would take most of the
    time.
    """
    ctx.divisor, ctx.shape = divisor, losses.shape
    if divisor is None:
        return losses
    return ctx.engine.binary_fwd("div", ctx.engine.reduce_fwd("sum", losses, (0,), False), divisor)


def _row_gradients(ctx, gy):
    """The gradient of each row's loss."""
    if ctx.divisor is None:
        return gy
    return ctx.engine.broadcast_to(ctx.engine.binary_fwd("div", gy, ctx.divisor), ctx.shape)


class Rows(Op):
    """``N x C x d1 ..`` as a matrix with rows of ``C`` elements; an input ``C`` is one row.

    An input that is channels-last in memory is not copied.
    """

    @staticmethod
    def forward(ctx, x):
        ctx.axes = (0, *range(2, x.ndim), 1) if x.ndim > 1 else (0,)
        last = ctx.engine.permute(x, ctx.axes)
        ctx.shape = last.shape
        return ctx.engine.reshape(last, (prod(last.shape[:-1]), last.shape[-1]))

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.permute(
            ctx.engine.reshape(gy, ctx.shape), tuple(map(ctx.axes.index, range(len(ctx.axes))))
        )


class CrossEntropy(Op):
    """Rows of logits -> one loss per row, or their sum divided by a divisor."""

    @staticmethod
    def forward(ctx, logits, target, weight, divisor, ignore_index, label_smoothing):
        losses, prob = ctx.engine.cross_entropy_fwd(logits, target, weight, ignore_index, label_smoothing)
        ctx.options = (ignore_index, label_smoothing)
        ctx.save(prob, target, weight)
        return _reduced_rows(ctx, losses, divisor)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.cross_entropy_bwd(_row_gradients(ctx, gy), *ctx.saved, *ctx.options)


class MeanOfLabels(Op):
    """Rows and their labels -> the mean of the loss ``name``, by an optional op of the engine, which also
    checks the labels."""

    @staticmethod
    def forward(ctx, x, target, weight, name, ignore_index, **options):
        mean_fwd = getattr(ctx.engine, f"{name}_mean_fwd")
        loss, saved = mean_fwd(x, target, weight, ignore_index, *options.values())
        if loss is None:  # raises an error that names the label
            check_labels(LABEL_LOSSES[name], Tensor(target), x.shape[1], ignore_index)
        ctx.name = name
        ctx.save(*saved)
        return loss

    @staticmethod
    def backward(ctx, gy):
        return getattr(ctx.engine, f"{ctx.name}_mean_bwd")(gy, ctx.saved)


class NegativeLogLikelihood(Op):
    """Rows of log-probabilities -> one loss per row, or their sum divided by a divisor."""

    @staticmethod
    def forward(ctx, logp, target, weight, divisor, ignore_index):
        e, t = ctx.engine, ctx.engine.to_host(target)[:, None]
        kept = t != ignore_index
        whole = bool(kept.all())
        t = t if whole else np.where(kept, t, 0)
        ctx.labels, ctx.in_shape = e.asarray(t), logp.shape
        picked, factor = e.gather(logp, ctx.labels, 1), -1.0
        if weight is not None:
            factor = e.unary_fwd("neg", e.getitem(weight, t))
        if not whole:  # 0 times infinity would be NaN
            picked = e.ternary_fwd("where", e.asarray(kept), picked, 0.0)
            factor = e.binary_fwd("mul", e.asarray(kept.astype(logp.dtype)), factor)
        ctx.factor = factor
        losses = e.binary_fwd("mul", picked, factor)
        return _reduced_rows(ctx, e.reshape(losses, target.shape), divisor)

    @staticmethod
    def backward(ctx, gy):
        e, gy = ctx.engine, _row_gradients(ctx, gy)
        gx = e.zeros(ctx.in_shape, gy.dtype)
        picked = e.binary_fwd("mul", e.reshape(gy, ctx.labels.shape), ctx.factor)
        e.scatter("set", gx, ctx.labels, picked, 1)
        return gx


def _label_loss(
    name: str,
    function: type[Op],
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    **options: Any,
) -> Tensor:
    """The loss of ``N x C [x d1 ..]`` against integer labels ``N [x d1 ..]``; ``function`` works on rows."""
    classes = x.shape[min(x.ndim - 1, 1)]
    where = (*x.shape[:1], *x.shape[2:]) if x.ndim > 1 else ()
    # A recorded step cannot read labels on the host; its kernels give NaN for a label out of range. With
    # class weights, the host reads the labels all the same, because it selects the weights below.
    labels = (
        None
        if backends.recording.get() and weight is None
        else check_labels(name, target, classes, ignore_index)
    )
    check_shape(
        name, "target", target.shape, where, f"the input's {shape_str(x.shape)} without its class axis"
    )
    if x.ndim != 2:
        x, target = Rows.apply(x), target.reshape(target.numel())
    if reduction == "mean" and labels is None:
        divisor = (target != ignore_index).astype(x.dtype).sum()
    elif reduction == "mean" and labels is not None:
        kept = labels != ignore_index
        divisor = float(np.count_nonzero(kept)) if weight is None else weight.detach()[labels[kept]].sum()
    else:
        divisor = 1.0 if reduction == "sum" else None
    target = target if target.dtype == INT64 else target.astype(INT64)
    out = function.apply(x, target, weight, divisor, ignore_index=ignore_index, **options)
    return out.reshape(where) if reduction == "none" else out


def _one_op(name: str, x: Tensor, target: Tensor, reduction: str) -> bool:
    """Whether the engine has one op for the mean of the rows' losses. An observer sees the ops of the
    contract."""
    return (
        reduction == "mean"
        and x.ndim == 2
        and target.shape == x.shape[:1]
        and target.dtype == INT64
        and backends.observer.get() is None
        and hasattr(x.engine, f"{name}_mean_fwd")
    )


def _check_classes(name: str, x: TensorLike, weight: TensorLike | None) -> tuple[Tensor, Tensor | None]:
    """The input and the class weights as Tensors, checked."""
    check_float(name, ("weight",), input=x, weight=weight)
    x = argument(name, "input", x)
    check_rank(name, "input", x.shape, range(1, 6), "C, or N x C and any more")
    if weight is not None:
        weight = argument(name, "weight", weight)
        check_shape(name, "weight", weight.shape, x.shape[:2][-1:], "one entry per class")
    return x, weight


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of softmax(``input``) against labels or class probabilities.

    Parameters
    ----------
    input : Tensor or array of logits, ``C``, ``N x C`` or ``N x C x d1 ..``, float32 or float64
    target : integer labels of the shape of ``input`` without ``C``, or probabilities of its shape and dtype
    weight : (C,), optional
        Weight of each class.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    ignore_index : int
        Elements with this label do not count. It has no effect on probabilities.
    reduction : {"mean", "sum", "none"}
        With labels, the mean divides by the sum of the class weights of the labels that count, or by their
        number if there are no weights. With probabilities, it divides by ``N * d1 * ..``.
    label_smoothing : float in [0, 1]
        This fraction of the target is spread evenly over all classes (Szegedy et al. 2016).

    Returns
    -------
    Tensor
        One number; with ``reduction="none"`` a number for each label.

    Raises
    ------
    ValueError
        If a label is out of range, or shapes do not fit.
    TypeError
        If the input is not float, or the target is neither integers nor probabilities of the input's shape
        and dtype.

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.functional.cross_entropy(fc.zeros(2, 10), fc.tensor([3, 7])).item(), 4)
    2.3026
    """
    name = "cross_entropy"
    check_reduction(name, reduction, size_average, reduce)
    input, weight = _check_classes(name, input, weight)
    target = argument(name, "target", target)
    label_smoothing = number(name, "label_smoothing", label_smoothing, 0, 1)
    ignore_index = _index(name, ignore_index)
    if _one_op("cross_entropy", input, target, reduction):
        return MeanOfLabels.apply(
            *(input, target, weight),
            name="cross_entropy",
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
    if target.dtype.kind != "f":
        return _label_loss(
            name,
            CrossEntropy,
            input,
            target,
            weight,
            ignore_index,
            reduction,
            label_smoothing=label_smoothing,
        )
    check(
        target.shape == input.shape,
        name,
        f"target must be labels (integers) or probabilities of the input's shape {shape_str(input.shape)}, "
        f"got {target.dtype} of shape {shape_str(target.shape)}",
        TypeError,
    )
    check_float(name, input=input, target=target)
    axis = min(input.ndim - 1, 1)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[axis]
    losses = -log_softmax(input, axis) * target
    if weight is not None:
        losses = losses * weight.reshape(-1, *(1,) * (input.ndim - 1 - axis))
    return reduced(losses.sum(axis), reduction)


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of log-probabilities.

    Parameters
    ----------
    input : Tensor or array of log-probabilities, ``C``, ``N x C`` or ``N x C x d1 ..``, float32 or float64
    target : integer labels of the shape of ``input`` without ``C``
    weight, size_average, ignore_index, reduce, reduction : as in :func:`cross_entropy` with labels

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.nll_loss(fc.tensor([[-0.5, -1.0]]), fc.tensor([1])).item()
    1.0
    """
    check_reduction("nll_loss", reduction, size_average, reduce)
    input, weight = _check_classes("nll_loss", input, weight)
    target, ignore_index = argument("nll_loss", "target", target), _index("nll_loss", ignore_index)
    if _one_op("nll", input, target, reduction):
        return MeanOfLabels.apply(input, target, weight, name="nll", ignore_index=ignore_index)
    return _label_loss("nll_loss", NegativeLogLikelihood, input, target, weight, ignore_index, reduction)
