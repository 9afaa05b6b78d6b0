"""Losses of rankings and distances. Most are 0 where the right result is better by a margin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.checks import check, check_float, check_rank, check_shape, number, shape_str
from fastconv.creation import argument, as_tensor
from fastconv.ops import Binary
from fastconv.spec import broadcast_shape
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from ..distance import cosine_similarity, pairwise_distance
from ..labels import check_labels
from .base import check_reduction, pair, pair_loss, reduced


def soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target * input))``, computed without overflow.

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    target : 1 or -1, broadcast to the input's shape; integers are converted
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.functional.soft_margin_loss(fc.zeros(2), fc.tensor([1, -1])).item(), 4)
    0.6931
    """
    check_reduction("soft_margin_loss", reduction, size_average, reduce)
    input, target = pair("soft_margin_loss", input, target)
    check(
        broadcast_shape("soft_margin_loss", input.shape, target.shape) == input.shape,
        "soft_margin_loss",
        f"target must broadcast to the input's {shape_str(input.shape)}, got {shape_str(target.shape)}",
    )
    return pair_loss("soft_margin_loss", "soft_margin", input, target, reduction)


def hinge_embedding_loss(
    input: TensorLike,
    target: TensorLike,
    margin: float = 1.0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where the target is 1 (similar pairs), ``max(0, margin - input)`` where it is -1.

    Parameters
    ----------
    input : Tensor or array of distances, float32 or float64
    target : 1 or -1; both broadcast, and integers are converted
    margin : float
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> x, t = fc.tensor([0.25, 0.25]), fc.tensor([1, -1])
    >>> fc.nn.functional.hinge_embedding_loss(x, t, reduction="none").tolist()
    [0.25, 0.75]
    """
    name = "hinge_embedding_loss"
    check_reduction(name, reduction, size_average, reduce)
    margin = number(name, "margin", margin)
    input, target = pair(name, input, target)
    return pair_loss(name, "hinge_embedding", input, target, reduction, margin)


def margin_ranking_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``.

    Parameters
    ----------
    input1, input2 : Tensor or array, float32 or float64
    target : 1 where ``input1`` should be larger, -1 where ``input2`` should be larger
        Integers are converted. The three have the same number of dimensions and broadcast.
    margin : float
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> F = fc.nn.functional
    >>> F.margin_ranking_loss(fc.tensor([1.0, 2.0]), fc.tensor([3.0, 1.0]), fc.tensor([1, 1])).item()
    1.0
    """
    name = "margin_ranking_loss"
    check_reduction(name, reduction, size_average, reduce)
    margin = number(name, "margin", margin)
    input1, target = pair(name, input1, target, ("input1", "target"))
    input2 = argument(name, "input2", input2)
    check_float(name, input1=input1, input2=input2)
    check(
        input1.ndim == input2.ndim == target.ndim,
        name,
        "input1, input2 and target must have the same number of dimensions, got "
        f"{shape_str(input1.shape)}, {shape_str(input2.shape)} and {shape_str(target.shape)}",
    )
    _fit(name, input1, input2)
    return pair_loss(name, "margin_ranking", input1 - input2, target, reduction, margin)


def cosine_embedding_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos`` of similar pairs (target 1), ``max(0, cos - margin)`` of other pairs (target -1).

    ``cos`` is the cosine of the angle between the two vectors.

    Parameters
    ----------
    input1, input2 : Tensor or array of vectors, ``N x D`` or ``D``, float32 or float64
    target : 1 or -1, ``N`` or a scalar; integers are converted
    margin : float
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> a = fc.tensor([[1.0, 0.0]])
    >>> fc.nn.functional.cosine_embedding_loss(a, a, fc.tensor([-1]), margin=0.5).item()
    0.5
    """
    name = "cosine_embedding_loss"
    check_reduction(name, reduction, size_average, reduce)
    margin = number(name, "margin", margin)
    input1, target = pair(name, input1, target, ("input1", "target"))
    input2 = argument(name, "input2", input2)
    check_float(name, input1=input1, input2=input2)
    check_rank(name, "input1", input1.shape, (1, 2), "N x D or D")
    check_shape(name, "input2", input2.shape, input1.shape, "that of input1")
    check_shape(name, "target", target.shape, input1.shape[:-1], "one number for each pair of vectors")
    cosine = cosine_similarity(input1, input2, -1, 1e-12 if input1.dtype == np.float64 else 1e-8)
    return pair_loss(name, "cosine_embedding", cosine, target, reduction, margin)


def _fit(name: str, a: Tensor, b: Tensor) -> None:
    """Raise a ValueError that names the loss if the shapes do not broadcast."""
    broadcast_shape(name, a.shape, b.shape)


def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, where ``d`` is the p-norm distance.

    Balntas et al., Learning shallow convolutional feature descriptors with triplet losses, 2016.

    Parameters
    ----------
    anchor, positive, negative : Tensor or array of vectors, ``(..., D)``, float32 or float64
    margin : float above 0
    p, eps : float
        As in :func:`pairwise_distance`.
    swap : bool
        Use the smaller one of the distances of ``negative`` from ``anchor`` and from ``positive``.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> a = fc.zeros(1, 2)
    >>> round(fc.nn.functional.triplet_margin_loss(a, a, a + 1, margin=2.0).item(), 2)
    0.59
    """
    name = "triplet_margin_loss"
    check_reduction(name, reduction, size_average, reduce)
    p, eps = number(name, "p", p), number(name, "eps", eps)
    three = _triplet(name, anchor, positive, negative)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet_loss(name, three, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """:func:`triplet_margin_loss` with a distance function of the user.

    Parameters
    ----------
    anchor, positive, negative : Tensor or array, float32 or float64
    distance_function : function of two Tensors, optional
        By default :func:`pairwise_distance`.
    margin : float above 0
    swap : bool
        Use the smaller one of the distances of ``negative`` from ``anchor`` and from ``positive``.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> a, l1 = fc.zeros(1, 2), lambda a, b: (a - b).abs().sum(-1)
    >>> F = fc.nn.functional
    >>> F.triplet_margin_with_distance_loss(a, a + 1, a + 2, distance_function=l1).item()
    0.0
    """
    name = "triplet_margin_with_distance_loss"
    check_reduction(name, reduction)
    check(
        distance_function is None or callable(distance_function),
        name,
        f"distance_function must be a function of two tensors, got {type(distance_function).__name__}",
        TypeError,
    )
    three = _triplet(name, anchor, positive, negative)
    return _triplet_loss(name, three, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(name: str, *values: TensorLike) -> tuple[Tensor, ...]:
    """Anchor, positive and negative as Tensors, checked."""
    words = ("anchor", "positive", "negative")
    three = tuple(argument(name, w, v) for w, v in zip(words, values))
    check_float(name, **dict(zip(words, three)))
    check(
        three[0].ndim == three[1].ndim == three[2].ndim > 0,
        name,
        "anchor, positive and negative must have the same number of dimensions, at least 1, got "
        f"{shape_str(three[0].shape)}, {shape_str(three[1].shape)} and {shape_str(three[2].shape)}",
    )
    for a, b in ((three[0], three[1]), (three[0], three[2])):
        _fit(name, a, b)
    return three


def _triplet_loss(
    name: str,
    three: tuple[Tensor, ...],
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: Any,
    swap: bool,
    reduction: str,
) -> Tensor:
    margin = number(name, "margin", margin)
    check(margin > 0, name, f"margin must be above 0, got {margin}")
    anchor, positive, negative = three
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = Binary.apply(far, distance(positive, negative), name="minimum")
    return reduced((near - far + margin).clamp(min=0.0), reduction)


def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """A loss that asks for the score of the right class to be the highest, by at least ``margin``.

    It is the sum over the other classes of ``max(0, margin - input[target] + input[other]) ** p``, divided by
    the number of classes (Crammer and Singer 2001, for ``p=1``).

    Parameters
    ----------
    input : Tensor or array of scores, ``N x C`` or ``C``, float32 or float64
    target : integer labels of shape ``N``; for an input ``C``, one label as a scalar or a vector
    p : {1, 2}
    margin : float
    weight : (C,), optional
        Weight of each class.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.multi_margin_loss(fc.tensor([[0.0, 1.0]]), fc.tensor([0])).item()
    1.0
    """
    name = "multi_margin_loss"
    check_reduction(name, reduction, size_average, reduce)
    check(isinstance(p, (int, float)) and p in (1, 2), name, f"p must be 1 or 2, got {p!r:.60}")
    margin = number(name, "margin", margin)
    input, target = argument(name, "input", input), argument(name, "target", target)
    check_float(name, ("weight",), input=input, weight=weight)
    check_rank(name, "input", input.shape, (0, 1, 2), "N x C or C")
    where = input.shape[:-1] if input.ndim == 2 else target.shape if target.numel() == 1 else ()
    check(
        target.ndim <= 1, name, f"target must be a label or a vector of labels, got {shape_str(target.shape)}"
    )
    check_shape(name, "target", target.shape, where, "one label for each row of the input")
    rows = input if input.ndim == 2 else input.reshape(1, -1)
    classes = rows.shape[1]
    check(classes > 0, name, f"input must have at least one class, got {shape_str(input.shape)}")
    labels = check_labels(name, target, classes).reshape(-1)
    own = rows[np.arange(len(labels)), labels].unsqueeze(1)
    others = as_tensor((labels[:, None] != np.arange(classes)).astype(rows.dtype)).to(rows.device)
    losses = (rows - own + margin).clamp(min=0.0) * others
    losses = losses * losses if p == 2 else losses
    if weight is not None:
        weight = argument(name, "weight", weight)
        check_shape(name, "weight", weight.shape, (classes,), "one entry per class")
        losses = losses * weight[labels].unsqueeze(1)
    losses = losses.mean(1).reshape(where)
    return reduced(losses, reduction)


def multilabel_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """A loss that asks for the scores of all right classes to be higher than the others, by at least 1.

    It is the sum over all pairs of a right and another class of ``max(0, 1 - input[right] + input[other])``,
    divided by the number of classes.

    Parameters
    ----------
    input : Tensor or array of scores, ``N x C`` or ``C``, float32 or float64
    target : integer labels of the input's shape
        A row holds the right classes, then -1; labels after the first -1 do not count.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.multilabel_margin_loss(fc.tensor([[0.0, 1.0]]), fc.tensor([[0, -1]])).item()
    1.0
    """
    name = "multilabel_margin_loss"
    check_reduction(name, reduction, size_average, reduce)
    input, target = argument(name, "input", input), argument(name, "target", target)
    check_float(name, input=input)
    check_rank(name, "input", input.shape, (0, 1, 2), "N x C or C")
    check_shape(name, "target", target.shape, input.shape, "the input's")
    rows = input if input.ndim == 2 else input.reshape(1, -1)
    classes = rows.shape[1]
    labels = check_labels(name, target, classes, -1)
    labels = labels.reshape(rows.shape)
    counts = np.logical_and.accumulate(labels >= 0, axis=1)  # a label counts if no -1 is before it
    most = int(counts.sum(axis=1).max(initial=0))  # the largest number of right classes in a row
    counts, labels = counts[:, :most], np.where(counts, labels, 0)[:, :most]
    right = np.zeros(rows.shape, bool)
    n, k = np.nonzero(counts)
    right[n, labels[n, k]] = True
    matter = as_tensor((counts[:, :, None] & ~right[:, None, :]).astype(rows.dtype)).to(rows.device)
    own = rows[np.arange(len(labels))[:, None], labels].unsqueeze(2)
    losses = ((1 - own + rows.unsqueeze(1)).clamp(min=0.0) * matter).sum((1, 2)) / max(classes, 1)
    return reduced(losses.reshape(input.shape[:-1]), reduction)
