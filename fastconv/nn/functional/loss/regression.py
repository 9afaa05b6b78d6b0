"""Losses of predicted numbers: absolute and squared errors."""

from __future__ import annotations

from fastconv.checks import check, check_shape, number
from fastconv.creation import argument
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from .base import check_reduction, pair, pair_loss, warn_of_broadcasting, weighted


def _weighted_mean(
    name: str, losses: Tensor, weight: TensorLike, reduction: str, by_weights: bool = True
) -> Tensor:
    """The losses times a weight of the same shape, reduced. With ``by_weights``, the mean divides by the sum
    of the weights."""
    weight = argument(name, "weight", weight)
    check_shape(name, "weight", weight.shape, losses.shape, "the input's")
    if reduction == "mean" and by_weights:
        return weighted(name, losses, weight, "sum") / weight.sum()
    return weighted(name, losses, weight, reduction)


def l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """Absolute differences, ``|input - target|``.

    Parameters
    ----------
    input, target : Tensor or array, float32 or float64
        Shapes that differ are broadcast, with a warning. A target of integers is converted.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}
    weight : Tensor of the input's shape, optional
        Weight of each element. The mean then divides by the sum of the weights.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.l1_loss(fc.tensor([1.0, -3.0]), fc.zeros(2)).item()
    2.0
    """
    check_reduction("l1_loss", reduction, size_average, reduce)
    input, target = pair("l1_loss", input, target)
    warn_of_broadcasting("l1_loss", input, target)
    if weight is None:
        return pair_loss("l1_loss", "l1", input, target, reduction)
    losses = pair_loss("l1_loss", "l1", input, target, "none")
    return _weighted_mean("l1_loss", losses, weight, reduction)


def mse_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """Squared differences, ``(input - target) ** 2``.

    Parameters
    ----------
    input, target : Tensor or array, float32 or float64
        Shapes that differ are broadcast, with a warning. A target of integers is converted.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}
    weight : Tensor of the input's shape, optional
        Weight of each element. The mean then divides by the sum of the weights.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.mse_loss(fc.tensor([1.0, 3.0]), fc.zeros(2)).item()
    5.0
    """
    check_reduction("mse_loss", reduction, size_average, reduce)
    input, target = pair("mse_loss", input, target)
    warn_of_broadcasting("mse_loss", input, target)
    if weight is None:
        return pair_loss("mse_loss", "mse", input, target, reduction)
    losses = pair_loss("mse_loss", "mse", input, target, "none")
    return _weighted_mean("mse_loss", losses, weight, reduction)


def smooth_l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """A loss that is quadratic for small differences and linear for large ones (Girshick 2015).

    With ``d = |input - target|``: ``d ** 2 / (2 * beta)`` where ``d < beta``, else ``d - beta / 2``.

    Parameters
    ----------
    input, target : Tensor or array, float32 or float64
        Shapes that differ are broadcast, with a warning. A target of integers is converted.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}
    beta : float, at least 0
        0 gives :func:`l1_loss`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.smooth_l1_loss(fc.tensor([0.5, 3.0]), fc.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    check_reduction("smooth_l1_loss", reduction, size_average, reduce)
    beta = number("smooth_l1_loss", "beta", beta, 0)
    input, target = pair("smooth_l1_loss", input, target)
    warn_of_broadcasting("smooth_l1_loss", input, target)
    return pair_loss("smooth_l1_loss", "smooth_l1", input, target, reduction, beta)


def huber_loss(
    input: TensorLike,
    target: TensorLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: TensorLike | None = None,
) -> Tensor:
    """A loss that is quadratic for small differences and linear for large ones (Huber 1964).

    With ``d = |input - target|``: ``d ** 2 / 2`` where ``d <= delta``, else ``delta * (d - delta / 2)``.

    Parameters
    ----------
    input, target : Tensor or array, float32 or float64
        Shapes that differ are broadcast, with a warning. A target of integers is converted.
    reduction : {"mean", "sum", "none"}
    delta : float above 0
    weight : Tensor of the input's shape, optional
        Weight of each element. The mean still divides by the number of elements.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.huber_loss(fc.tensor([1.0, 4.0]), fc.zeros(2), reduction="none", delta=2.0).tolist()
    [0.5, 6.0]
    """
    check_reduction("huber_loss", reduction)
    delta = number("huber_loss", "delta", delta)
    check(delta > 0, "huber_loss", f"delta must be above 0, got {delta}")
    input, target = pair("huber_loss", input, target)
    warn_of_broadcasting("huber_loss", input, target)
    if weight is None:
        return pair_loss("huber_loss", "huber", input, target, reduction, delta)
    losses = pair_loss("huber_loss", "huber", input, target, "none", delta)
    return _weighted_mean("huber_loss", losses, weight, reduction, by_weights=False)
