"""Losses of predicted distributions: cross-entropy of probabilities, divergence, negative log-likelihoods."""

from __future__ import annotations

import warnings
from math import log, pi

import numpy as np

from fastconv import backends
from fastconv.checks import check, check_float, number, shape_str
from fastconv.creation import argument
from fastconv.spec import broadcast_shape
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from .base import check_reduction, pair, pair_loss, reduced, same_shape, weighted


def _probabilities(name: str, loss: Tensor, **tensors: Tensor) -> None:
    """Raise a ValueError if a tensor has a number outside of 0 to 1. On a GPU nothing is checked.

    The loss of such a number is NaN. So the tensors are searched only if the loss has a NaN.
    """
    if loss.device == "cuda" or backends.recording.get() or not loss.numel():
        return
    if np.isnan(loss.array.max()):
        for what, tensor in tensors.items():
            x = tensor.array
            wrong = x[(x < 0) | (x > 1)]
            check(not wrong.size, name, f"{what} must be probabilities from 0 to 1, got {wrong[:1]}")


def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of probabilities, ``-(target * log(input) + (1 - target) * log(1 - input))``.

    Logarithms below -100 count as -100, so that the loss is finite.
    :func:`binary_cross_entropy_with_logits` is more accurate.

    Parameters
    ----------
    input : Tensor or array of probabilities, float32 or float64
    target : probabilities, of the input's shape and dtype
        A number outside of 0 to 1 in ``input`` or ``target`` raises a ValueError on the CPU; on a GPU its
        loss is NaN.
    weight : broadcastable, optional
        Weight of each element.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.functional.binary_cross_entropy(fc.tensor([0.5]), fc.tensor([1.0])).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy"
    check_reduction(name, reduction, size_average, reduce)
    input, target = (argument(name, w, v) for w, v in (("input", input), ("target", target)))
    check_float(name, input=input, target=target)
    same_shape(name, input, target)
    loss = pair_loss(name, "bce", input, target, reduction if weight is None else "none")
    _probabilities(name, loss, input=input, target=target)
    return loss if weight is None else weighted(name, loss, weight, reduction)


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """Cross-entropy of sigmoid(``input``) against probabilities of the same shape, computed without overflow.

    Parameters
    ----------
    input, target : Tensor or array of one shape, float32 or float64
        A target of integers is converted.
    weight : broadcastable, optional
        Weight of each element.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}
    pos_weight : broadcastable, optional
        Weight of the term ``target * log(sigmoid(input))``, for example one number per class.

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.functional.binary_cross_entropy_with_logits(fc.zeros(2), fc.ones(2)).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction, size_average, reduce)
    input, target = pair(name, input, target)
    same_shape(name, input, target)
    if weight is None and pos_weight is None:
        return pair_loss(name, "bce_with_logits", input, target, reduction)
    if pos_weight is None:
        losses = pair_loss(name, "bce_with_logits", input, target, "none")
    else:
        pos_weight = argument(name, "pos_weight", pos_weight)
        check_float(name, input=input, pos_weight=pos_weight)
        check(
            broadcast_shape(f"{name}: pos_weight", pos_weight.shape, input.shape) == input.shape,
            name,
            f"pos_weight must broadcast to the input's {shape_str(input.shape)}, "
            f"got {shape_str(pos_weight.shape)}",
        )
        losses = pair_loss(name, "bce_positive", input, target, "none") * pos_weight
        losses = losses + pair_loss(name, "bce_negative", input, target, "none")
    return reduced(losses, reduction) if weight is None else weighted(name, losses, weight, reduction)


def multilabel_soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of :func:`binary_cross_entropy_with_logits`, for each example.

    Parameters
    ----------
    input, target : Tensor or array of one shape, ``(..., C)``, float32 or float64
        The target has 1 for the classes that apply and 0 for the others; integers are converted.
    weight : broadcastable, optional
        Weight of each class.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> loss = fc.nn.functional.multilabel_soft_margin_loss(fc.zeros(2, 3), fc.ones(2, 3), reduction="none")
    >>> [round(v, 4) for v in loss.tolist()]
    [0.6931, 0.6931]
    """
    name = "multilabel_soft_margin_loss"
    check_reduction(name, reduction, size_average, reduce)
    input, target = pair(name, input, target)
    same_shape(name, input, target)
    check(input.ndim > 0, name, "input must have a dimension of classes, got a scalar")
    losses = pair_loss(name, "bce_with_logits", input, target, "none")
    if weight is not None:
        losses = weighted(name, losses, weight, "none")
    return reduced(losses.mean(-1), reduction)


def kl_div(
    input: TensorLike,
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of a target from log-probabilities, ``target * (log(target) - input)``.

    Parameters
    ----------
    input : Tensor or array of log-probabilities, float32 or float64
    target : probabilities, of the same dtype; both broadcast
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    reduction : {"mean", "sum", "none", "batchmean"}
        ``"batchmean"`` divides the sum by the first extent, as the definition of the divergence does.
        ``"mean"`` divides by the number of elements, and gives a warning.
    log_target : bool
        Whether the target holds logarithms of probabilities too.

    Examples
    --------
    >>> import fastconv as fc
    >>> p = fc.tensor([[0.5, 0.5]])
    >>> fc.nn.functional.kl_div(p.log(), p, reduction="batchmean").item()
    0.0
    """
    name = "kl_div"
    check_reduction(name, reduction, size_average, reduce, also=("batchmean",))
    input, target = (argument(name, w, v) for w, v in (("input", input), ("target", target)))
    check_float(name, input=input, target=target)
    if reduction == "mean":
        warnings.warn(
            "kl_div: reduction='mean' divides by the number of elements; 'batchmean' divides by the batch "
            "size, as the definition of the divergence does",
            stacklevel=2,
        )
    row = "kl_div_log_target" if log_target else "kl_div"
    loss = pair_loss(name, row, input, target, "sum" if reduction == "batchmean" else reduction)
    return loss / input.shape[0] if reduction == "batchmean" and input.ndim else loss


def poisson_nll_loss(
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    size_average: None = None,
    eps: float = 1e-8,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts under a Poisson distribution.

    ``exp(input) - target * input``, or ``input - target * log(input + eps)`` without ``log_input``.

    Parameters
    ----------
    input : Tensor or array, float32 or float64
        The expected counts, or their logarithms with ``log_input``.
    target : counts; both broadcast, and integers are converted
    log_input : bool
        Whether ``input`` holds logarithms.
    full : bool
        Add Stirling's approximation of ``log(target!)`` where the target is above 1.
    size_average, reduce : None
        Deprecated in PyTorch, and not supported.
    eps : float
        Keeps the logarithm finite; used only without ``log_input``.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.poisson_nll_loss(fc.zeros(2), fc.tensor([1.0, 2.0])).item()
    1.0
    """
    name = "poisson_nll_loss"
    check_reduction(name, reduction, size_average, reduce)
    eps = number(name, "eps", eps)
    input, target = pair(name, input, target)
    row = "poisson_nll" + "_log_input" * bool(log_input) + "_full" * bool(full)
    return pair_loss(name, row, input, target, reduction, None if log_input else eps)


def gaussian_nll_loss(
    input: TensorLike,
    target: TensorLike,
    var: TensorLike | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of numbers under normal distributions (Nix and Weigend 1994).

    ``(log(v) + (input - target) ** 2 / v) / 2`` with ``v = max(var, eps)``. As in PyTorch, ``var`` gets the
    gradient of ``v`` also where it is below ``eps``.

    Parameters
    ----------
    input : Tensor or array of means, float32 or float64
    target : of the same dtype, broadcast with the input
    var : the variances: one number, or an array
        The array has the input's shape, or lacks its last dimension, or has an extent of 1 in one dimension.
    full : bool
        Add the constant ``log(2 pi) / 2``.
    eps : float above 0
        The smallest variance.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If a variance is negative (not checked on a GPU), or shapes do not fit.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.gaussian_nll_loss(fc.zeros(2), fc.tensor([1.0, 3.0]), fc.ones(2)).item()
    2.5
    """
    name = "gaussian_nll_loss"
    check_reduction(name, reduction)
    eps = number(name, "eps", eps)
    check(eps > 0, name, f"eps must be above 0, got {eps}")
    input, target = pair(name, input, target)
    if isinstance(var, (int, float)):
        var = argument(name, "var", number(name, "var", var)).astype(input.dtype).to(input.device)
    else:
        var = argument(name, "var", var)
        check_float(name, input=input, var=var)
        if var.shape != input.shape:
            ones = [i for i, n in enumerate(var.shape) if var.ndim == input.ndim and n != input.shape[i]]
            if var.shape == input.shape[:-1]:
                var = var.unsqueeze(-1)
            else:
                check(
                    len(ones) == 1 and var.shape[ones[0]] == 1,
                    name,
                    f"var must have the shape of the input ({shape_str(input.shape)}), without its last "
                    f"dimension or with one extent of 1, got {shape_str(var.shape)}",
                )
    if var.device != "cuda" and not backends.recording.get():
        values = var.array
        check(not (values < 0).any(), name, f"var must not be negative, got {values[values < 0][:1]}")
    losses = pair_loss(name, "gaussian_nll", input - target, var, "none" if full else reduction, eps)
    return reduced(losses + 0.5 * log(2 * pi), reduction) if full else losses
