"""Normalisation over the last dimensions, groups of channels, single channels and neighbouring channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv.checks import check, check_float, check_rank, check_shape, int_tuple, number, shape_str
from fastconv.creation import argument
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, TensorLike

from .batch_norm import BatchNorm, check_per_channel, check_running, move_running


def _check_vectors(name: str, shape: tuple[int, ...], why: str, **vectors: Any) -> None:
    for what, v in vectors.items():
        if v is not None:
            check_shape(name, what, v.shape, shape, why)


class LayerNorm(Op):
    @staticmethod
    def forward(ctx, x, weight, bias, normalized_shape, eps, centered, name):
        e = ctx.engine
        check_float(name, ("weight", "bias"), input=x, weight=weight, bias=bias)
        n = len(normalized_shape)
        check(
            n > 0 and x.shape[-n:] == normalized_shape,
            name,
            f"input must end in normalized_shape {normalized_shape}, got {shape_str(x.shape)}",
        )
        _check_vectors(name, normalized_shape, "normalized_shape", weight=weight, bias=bias)
        ctx.rows, ctx.inner = (prod(x.shape[:-n]), prod(normalized_shape)), normalized_shape
        ctx.centered = centered
        weight, bias = (v if v is None else e.reshape(v, (-1,)) for v in (weight, bias))
        y, mean, invstd = e.layer_norm_fwd(e.reshape(x, ctx.rows), weight, bias, eps, centered)
        ctx.save(x, mean, invstd, weight)
        return e.reshape(y, x.shape)

    @staticmethod
    def backward(ctx, gy):
        (x, *rest), e = ctx.saved, ctx.engine
        rows = e.reshape(gy, ctx.rows), e.reshape(x, ctx.rows)
        gx, gw, gb = e.layer_norm_bwd(*rows, *rest, ctx.centered)
        return e.reshape(gx, x.shape), e.reshape(gw, ctx.inner), e.reshape(gb, ctx.inner)


def extents(name: str, normalized_shape: Ints) -> tuple[int, ...]:
    """``normalized_shape`` as a tuple of at least one int."""
    shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    check(len(shape) > 0, name, f"normalized_shape must name at least one extent, got {normalized_shape!r}")
    return int_tuple(name, "normalized_shape", shape, len(shape), 1)


def layer_norm(
    input: TensorLike,
    normalized_shape: Ints,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each example over its last dimensions (Ba et al. 2016).

    Parameters
    ----------
    input : Tensor or array, ``(..., *normalized_shape)``, float32 or float64
    normalized_shape : int or tuple of int
    weight, bias : of ``normalized_shape``, optional
    eps : float

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.layer_norm(fc.tensor([[1.0, 3.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    shape = extents("layer_norm", normalized_shape)
    eps = number("layer_norm", "eps", eps)
    return LayerNorm.apply(
        input, weight, bias, normalized_shape=shape, eps=eps, centered=True, name="layer_norm"
    )


def rms_norm(
    input: TensorLike, normalized_shape: Ints, weight: TensorLike | None = None, eps: float | None = None
) -> Tensor:
    """Divide each example by the root of its mean square over its last dimensions (Zhang and Sennrich 2019).

    Parameters
    ----------
    input : Tensor or array, ``(..., *normalized_shape)``, float32 or float64
    normalized_shape : int or tuple of int
    weight : of ``normalized_shape``, optional
    eps : float, optional
        Added to the mean square; by default the machine epsilon of the input's dtype.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.rms_norm(fc.tensor([[4.0, -4.0]]), 2, eps=0.0).tolist()
    [[1.0, -1.0]]
    """
    name = "rms_norm"
    shape = extents(name, normalized_shape)
    input = argument(name, "input", input)
    check_float(name, ("weight",), input=input, weight=weight)
    eps = float(np.finfo(input.dtype).eps) if eps is None else number(name, "eps", eps)
    return LayerNorm.apply(input, weight, None, normalized_shape=shape, eps=eps, centered=False, name=name)


class GroupNorm(Op):
    """Returns the normalised input, and the mean and ``1 / sqrt(var + eps)`` of each example's groups."""

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, name):
        check_float(name, ("weight", "bias"), input=x, weight=weight, bias=bias)
        check_rank(name, "input", x.shape, (2, 3, 4, 5), "N x C and up to 3 spatial dimensions")
        check(
            x.shape[1] % groups == 0,
            name,
            f"{x.shape[1]} channels (input {shape_str(x.shape)}) must be divisible by num_groups {groups}",
        )
        check_per_channel(name, x, weight=weight, bias=bias)
        y, mean, invstd = ctx.engine.group_norm_fwd(x, groups, weight, bias, eps)
        ctx.groups = groups
        ctx.save(x, mean, invstd, weight)
        return y, mean, invstd

    @staticmethod
    def backward(ctx, gy):
        x, *rest = ctx.saved
        return ctx.engine.group_norm_bwd(gy, x, ctx.groups, *rest)


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each example over groups of channels (Wu and He 2018).

    Parameters
    ----------
    input : Tensor or array, ``N x C`` or ``N x C x spatial``, float32 or float64
    num_groups : int
        Divides ``C``.
    weight, bias : (C,), optional
    eps : float

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.group_norm(fc.zeros(1, 4, 5, 5), num_groups=2).shape
    (1, 4, 5, 5)
    """
    groups = int_tuple("group_norm", "num_groups", num_groups, 1, 1)[0]
    eps = number("group_norm", "eps", eps)
    return GroupNorm.apply(input, weight, bias, groups=groups, eps=eps, name="group_norm")[0]


def instance_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each example (Ulyanov, Vedaldi and Lempitsky 2016).

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial``, float32 or float64
    running_mean, running_var : (C,), optional
        With ``use_input_stats`` they are updated in place: each becomes ``(1 - momentum) * old + momentum *
        new``, where ``new`` is the mean or the unbiased variance of a channel, averaged over the batch.
        Without it, they are used to normalise.
    weight, bias : (C,), optional
    use_input_stats : bool
        Normalise with the mean and the biased variance of each channel of each example.
    momentum : float
    eps : float
        Added to the variance.

    Raises
    ------
    ValueError
        If shapes do not fit, a channel has only one spatial element, or there are no statistics.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.instance_norm(fc.tensor([[[1.0, 3.0]]]), eps=0.0).tolist()
    [[[-1.0, 1.0]]]
    """
    name = "instance_norm"
    momentum, eps = number(name, "momentum", momentum), number(name, "eps", eps)
    input = argument(name, "input", input)
    check_rank(name, "input", input.shape, (3, 4, 5), "N x C x spatial")
    check(
        (running_mean is None) == (running_var is None), name, "give running_mean and running_var, or neither"
    )
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_float(name, tuple(vectors), input=input, **vectors)
    check_per_channel(name, input, **vectors)
    if not use_input_stats:
        check(running_mean is not None, name, "without use_input_stats, give running_mean and running_var")
        return BatchNorm.apply(
            input,
            weight,
            bias,
            None,
            running_mean,
            running_var,
            training=False,
            momentum=momentum,
            eps=eps,
            activation=None,
            in_place=False,
            name=name,
        )[0]
    count = prod(input.shape[2:])
    check(
        count != 1, name, f"needs more than 1 spatial element per channel, got input {shape_str(input.shape)}"
    )
    check_running(name, running_mean, running_var)
    y, mean, invstd = GroupNorm.apply(input, weight, bias, groups=max(input.shape[1], 1), eps=eps, name=name)
    if running_mean is not None and input.numel():
        variance = (1 / (invstd * invstd) - eps).mean(0)
        move_running(running_mean, mean.mean(0), 1 - momentum, momentum)
        move_running(running_var, variance, 1 - momentum, momentum * count / (count - 1))
    return y


class LocalResponseNorm(Op):
    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        check_float("local_response_norm", input=x)
        check_rank("local_response_norm", "input", x.shape, (3, 4, 5), "N x C x spatial")
        # A window of twice the number of channels holds all of them already. A larger one is reduced to it,
        # because the time of the kernels grows with the window.
        if size > (every := 2 * max(x.shape[1], 1)):
            size, alpha = every, alpha * every / size
        y, scale = ctx.engine.local_response_norm_fwd(x, size, alpha, beta, k)
        ctx.options = (size, alpha, beta)
        ctx.save(x, scale)
        return y

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.local_response_norm_bwd(gy, *ctx.saved, *ctx.options)


def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``input / (k + alpha / size * s) ** beta`` (Krizhevsky et al. 2012).

    ``s`` is the sum of ``input ** 2`` over ``size`` neighbouring channels.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial``, float32 or float64
    size : int
        The number of channels in the sum.
    alpha, beta, k : float

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.local_response_norm(fc.zeros(1, 4, 5, 5), size=3).shape
    (1, 4, 5, 5)
    """
    size = int_tuple("local_response_norm", "size", size, 1, 1)[0]
    alpha, beta, k = (
        number("local_response_norm", what, v) for what, v in (("alpha", alpha), ("beta", beta), ("k", k))
    )
    return LocalResponseNorm.apply(input, size=size, alpha=alpha, beta=beta, k=k)
