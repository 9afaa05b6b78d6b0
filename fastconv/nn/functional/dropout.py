"""Dropout: elements or whole channels are zeroed at random."""

from __future__ import annotations

import warnings
from math import sqrt

from fastconv import random
from fastconv.checks import check, check_float, check_rank, number, one_of, shape_str
from fastconv.creation import argument
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from .base import batched

# The limit of SELU for large negative inputs: minus the product of its two constants (Klambauer et al.:
# Self-normalizing neural networks, 2017). Alpha dropout gives dropped elements this value.
SELU_LEAST = -1.7580993408473766


class Dropout(Op):
    """Dropout of elements or channels. Backward draws the same mask from the seed, so no mask is stored."""

    @staticmethod
    def forward(ctx, x, p, scale, seed, channels, name):
        ctx.mask = (p, scale, seed, channels)
        return ctx.engine.dropout(x, p, scale, seed, channels)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.dropout(gy, *ctx.mask)


def _arguments(name: str, input: TensorLike, p: float) -> tuple[Tensor, float]:
    """The input as a Tensor and the probability as a float, checked."""
    input = argument(name, "input", input)
    check_float(name, input=input)
    return input, number(name, "p", p, 0, 1)


def dropped(name: str, x: Tensor, p: float, scale: float, channels: bool) -> Tensor:
    """``x`` with elements or channels zeroed with probability ``p``, and the others times ``scale``."""
    return Dropout.apply(x, p=p, scale=scale, seed=random.next_seed(), channels=channels, name=name)


def dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    mode: str = "upscale_in_train",
) -> Tensor:
    """Zero each element with probability ``p`` (Srivastava et al. 2014).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    p : float in [0, 1]
    training : bool
        Whether elements are zeroed.
    inplace : bool
        No effect: ``input`` is never changed.
    mode : {"upscale_in_train", "downgrade_in_infer"}
        ``"upscale_in_train"`` divides the kept elements by ``1 - p`` in training, and returns ``input``
        itself in evaluation. ``"downgrade_in_infer"`` does not scale in training, and multiplies by ``1 - p``
        in evaluation.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.dropout(fc.ones(3), p=0.5, training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    input, p = _arguments("dropout", input, p)
    one_of("dropout", "mode", mode, ("upscale_in_train", "downgrade_in_infer"))
    upscale = mode == "upscale_in_train"
    if not training and not upscale:
        return input * (1.0 - p)
    if not training or p == 0:
        return input
    return dropped("dropout", input, p, 1.0 / (1.0 - p) if upscale and p < 1 else 1.0, False)


def _channel_dropout(name: str, x: Tensor, p: float, training: bool) -> Tensor:
    """Zero whole channels of ``N x C x ...``."""
    if not training or p == 0:
        return x
    return dropped(name, x, p, 1.0 / (1.0 - p) if p < 1 else 1.0, True)


def dropout1d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel with probability ``p`` (Tompson et al. 2015).

    Parameters
    ----------
    input : Tensor or array, ``N x C x W`` or ``C x W``, float32 or float64
    p : float in [0, 1]
    training : bool
        In evaluation, the result is the input itself.
    inplace : bool
        No effect: ``input`` is never changed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.dropout1d(fc.ones(2, 3, 5), p=1.0).sum().item()
    0.0
    """
    input, p = _arguments("dropout1d", input, p)
    check_rank("dropout1d", "input", input.shape, (2, 3), "N x C x W or C x W")
    return batched("dropout1d", 2, lambda x: _channel_dropout("dropout1d", x, p, training), input)


def dropout2d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel with probability ``p`` (Tompson et al. 2015).

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W``, float32 or float64
        An input of three dimensions is treated as ``N x C x W``, with a warning, as in PyTorch. To pass a
        single image, add the batch dimension with ``unsqueeze(0)``.
    p : float in [0, 1]
    training : bool
        In evaluation, the result is the input itself.
    inplace : bool
        No effect: ``input`` is never changed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.dropout2d(fc.ones(2, 3, 5, 5), p=1.0).sum().item()
    0.0
    """
    input, p = _arguments("dropout2d", input, p)
    check_rank("dropout2d", "input", input.shape, (3, 4), "N x C x H x W")
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: an input of 3 dimensions is taken as N x C x W, not as a single image C x H x W; use "
            "dropout1d for the first, unsqueeze(0) for the second",
            stacklevel=2,
        )
    return _channel_dropout("dropout2d", input, p, training)


def dropout3d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel with probability ``p`` (Tompson et al. 2015).

    Parameters
    ----------
    input : Tensor or array, ``N x C x D x H x W`` or ``C x D x H x W``, float32 or float64
    p : float in [0, 1]
    training : bool
        In evaluation, the result is the input itself.
    inplace : bool
        No effect: ``input`` is never changed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.dropout3d(fc.ones(2, 3, 5, 5, 5), p=1.0).sum().item()
    0.0
    """
    input, p = _arguments("dropout3d", input, p)
    check_rank("dropout3d", "input", input.shape, (4, 5), "N x C x D x H x W or C x D x H x W")
    return batched("dropout3d", 4, lambda x: _channel_dropout("dropout3d", x, p, training), input)


def _alpha_dropout(name: str, x: Tensor, p: float, training: bool, channels: bool) -> Tensor:
    """Dropped elements get SELU's smallest value; then all elements are scaled and shifted.

    If the input has mean 0 and variance 1, the result has them too.
    """
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    scale = 1 / sqrt((1 - p) * (1 + p * SELU_LEAST**2))
    # zeroing x - SELU_LEAST and adding that again is the same as writing SELU_LEAST
    return dropped(name, x - SELU_LEAST, p, scale, channels) + scale * SELU_LEAST * (1 - p)


def alpha_dropout(input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks with SELU (Klambauer et al. 2017).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    p : float in [0, 1]
        The probability that an element gets SELU's smallest value, before all are scaled and shifted.
    training : bool
        In evaluation, which is the default here, the result is the input itself.
    inplace : bool
        No effect: ``input`` is never changed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.alpha_dropout(fc.ones(2), p=0.5).tolist()
    [1.0, 1.0]
    """
    input, p = _arguments("alpha_dropout", input, p)
    return _alpha_dropout("alpha_dropout", input, p, training, False)


def feature_alpha_dropout(
    input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """:func:`alpha_dropout` of whole channels.

    Parameters
    ----------
    input : Tensor or array, ``N x C`` or ``N x C x ...``, float32 or float64
    p : float in [0, 1]
        The probability that a channel gets SELU's smallest value, before all are scaled and shifted.
    training : bool
        In evaluation, which is the default here, the result is the input itself.
    inplace : bool
        No effect: ``input`` is never changed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.feature_alpha_dropout(fc.ones(1, 2), p=0.5).tolist()
    [[1.0, 1.0]]
    """
    name = "feature_alpha_dropout"
    input, p = _arguments(name, input, p)
    drops = training and 0 < p < 1
    check(
        input.ndim > 1 or not drops, name, f"input must be N x C or N x C x ..., got {shape_str(input.shape)}"
    )
    return _alpha_dropout(name, input, p, training, True)
