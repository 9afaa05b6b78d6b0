"""Normalisation over batches, groups, layers and neighbouring channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import backends, dtypes
from fastconv.checks import (
    channels_last_hint,
    check,
    check_float,
    check_rank,
    check_shape,
    int_tuple,
    number,
    shape_str,
)
from fastconv.devices import default_device
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, TensorLike


def _check_vectors(name: str, shape: tuple[int, ...], why: str, **vectors: Any) -> None:
    for what, v in vectors.items():
        if v is not None:
            check_shape(name, what, v.shape, shape, why)


def _check_per_channel(name: str, x: Any, **vectors: Any) -> None:
    for what, v in vectors.items():
        if v is not None and v.shape != x.shape[1:2]:
            hint = channels_last_hint(x.shape, v.shape[0]) if v.ndim == 1 else ""
            check_shape(
                name,
                what,
                v.shape,
                x.shape[1:2],
                f"one entry per channel of input {shape_str(x.shape)}{hint}",
            )


class BatchNorm(Op):
    """Returns the normalised input, and the mean and (biased) variance that it used.

    An engine with ``batch_norm_train_fwd`` moves the running statistics itself; then only the normalised
    input is returned.
    """

    @staticmethod
    def forward(
        ctx,
        x,
        weight,
        bias,
        residual,
        running_mean,
        running_var,
        training,
        momentum,
        eps,
        activation,
        in_place,
    ):
        name, e = "batch_norm", ctx.engine
        vectors = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        check_float(name, ("residual", *vectors), input=x, residual=residual, **vectors)
        check_rank(name, "input", x.shape, (2, 3, 4, 5), "N x C and up to 3 spatial dimensions")
        _check_per_channel(name, x, **vectors)
        check(
            (running_mean is None) == (running_var is None),
            name,
            "give running_mean and running_var, or neither",
        )
        check(
            training or running_mean is not None,
            name,
            "evaluation needs running_mean and running_var, got None",
        )
        if training and prod(x.shape[2:], start=x.shape[0]) == 1:
            raise ValueError(
                f"{name}: training needs more than 1 value per channel, got input {shape_str(x.shape)}"
            )
        if activation not in (None, "relu"):
            raise ValueError(f"{name}: activation must be None or 'relu', got {activation!r}")
        if residual is not None:
            check_shape(name, "residual", residual.shape, x.shape, "the input's")
        ctx.training, ctx.activation = training, activation
        # An observer sees the ops of the contract.
        whole = (
            training
            and in_place
            and backends.observer.get() is None
            and getattr(e, "batch_norm_train_fwd", None)
        )
        ctx.whole = bool(whole)
        if whole:
            running = None if running_mean is None else (running_mean, running_var)
            y, saved = whole(x, weight, bias, residual, eps, activation, running, momentum)
            ctx.save(*saved)
            return y
        mean, var = e.batch_norm_stats(x) if training else (running_mean, running_var)
        invstd = e.unary_fwd("pow", e.binary_fwd("add", var, eps), -0.5)
        y = e.batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation)
        ctx.save(x, y if activation else None, mean, invstd, weight)
        return y, mean, var

    @staticmethod
    def backward(ctx, gy):
        if ctx.whole:
            return ctx.engine.batch_norm_train_bwd(gy, ctx.saved, ctx.needs[3])
        return ctx.engine.batch_norm_bwd(gy, *ctx.saved, ctx.training, ctx.activation, ctx.needs[3])


def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    residual: TensorLike | None = None,
) -> Tensor:
    """Batch normalisation (Ioffe and Szegedy 2015), with the end of a residual block as an option.

    Parameters
    ----------
    input : Tensor or array, ``N x C`` or ``N x C x spatial``, float32 or float64
    running_mean, running_var : (C,) or None
        Used in evaluation. Training moves them in place by ``momentum`` towards the mean and the unbiased
        variance of the batch.
    weight, bias : (C,), optional
    training : bool
        Normalise with the batch's mean and biased variance.
    momentum, eps : float
    activation : {None, "relu"}
        Applied to the result.
    residual : Tensor of the shape of ``input``, optional
        Added before the activation.

    Raises
    ------
    ValueError
        Shapes that do not fit, evaluation without running statistics, or training with one value per channel.
    TypeError
        Arrays that are not float or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.batch_norm(fc.ones(4, 2), fc.zeros(2), fc.ones(2), eps=0.0).shape
    (4, 2)
    """
    momentum = number("batch_norm", "momentum", momentum)
    if training:
        for what, r in (("running_mean", running_mean), ("running_var", running_var)):
            dtypes.check_writable("batch_norm", what, r.array if isinstance(r, Tensor) else r)
    # If the op runs on a GPU, a host array is a copy by now, and moving it would change nothing outside.
    in_place = default_device() == "cpu" or not any(
        isinstance(r, np.ndarray) for r in (running_mean, running_var)
    )
    out = BatchNorm.apply(
        input,
        weight,
        bias,
        residual,
        running_mean,
        running_var,
        training=bool(training),
        momentum=momentum,
        eps=number("batch_norm", "eps", eps),
        activation=activation,
        in_place=in_place,
    )
    if isinstance(out, Tensor):
        for running in (running_mean, running_var):
            if isinstance(running, Tensor):
                running.memory.version += 1  # autograd notices that it changed
        return out
    y, mean, var = out
    count = prod(input.shape[2:], start=input.shape[0])
    if training and running_mean is not None and count:
        move_running(running_mean, mean, 1 - momentum, momentum)
        move_running(running_var, var, 1 - momentum, momentum * count / (count - 1))
    return y


def move_running(running: Any, value: Any, keep: float, gain: float) -> None:
    """``running = keep * running + gain * value``, in place and outside the tape."""
    # An array is on the host, and the Tensor shares its memory.
    running = running if isinstance(running, Tensor) else Tensor(running)
    value = value.to(running.device).array if isinstance(value, Tensor) else value
    engine: Any = backends.engine_of(running.device)
    engine.running_step(running.array, value, keep, gain)
    running.memory.version += 1  # autograd notices that it changed


class LayerNorm(Op):
    @staticmethod
    def forward(ctx, x, weight, bias, normalized_shape, eps):
        name, e = "layer_norm", ctx.engine
        check_float(name, ("weight", "bias"), input=x, weight=weight, bias=bias)
        n = len(normalized_shape)
        check(
            n > 0 and x.shape[-n:] == normalized_shape,
            name,
            f"input must end in normalized_shape {normalized_shape}, got {shape_str(x.shape)}",
        )
        _check_vectors(name, normalized_shape, "normalized_shape", weight=weight, bias=bias)
        ctx.rows, ctx.inner = (prod(x.shape[:-n]), prod(normalized_shape)), normalized_shape
        weight, bias = (v if v is None else e.reshape(v, (-1,)) for v in (weight, bias))
        y, mean, invstd = e.layer_norm_fwd(e.reshape(x, ctx.rows), weight, bias, eps)
        ctx.save(x, mean, invstd, weight)
        return e.reshape(y, x.shape)

    @staticmethod
    def backward(ctx, gy):
        (x, *rest), e = ctx.saved, ctx.engine
        gx, gw, gb = e.layer_norm_bwd(e.reshape(gy, ctx.rows), e.reshape(x, ctx.rows), *rest)
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
    return LayerNorm.apply(input, weight, bias, normalized_shape=shape, eps=number("layer_norm", "eps", eps))


class GroupNorm(Op):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        name = "group_norm"
        check_float(name, ("weight", "bias"), input=x, weight=weight, bias=bias)
        check_rank(name, "input", x.shape, (2, 3, 4, 5), "N x C and up to 3 spatial dimensions")
        check(
            x.shape[1] % groups == 0,
            name,
            f"{x.shape[1]} channels (input {shape_str(x.shape)}) must be divisible by num_groups {groups}",
        )
        _check_per_channel(name, x, weight=weight, bias=bias)
        y, mean, invstd = ctx.engine.group_norm_fwd(x, groups, weight, bias, eps)
        ctx.groups = groups
        ctx.save(x, mean, invstd, weight)
        return y

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
    return GroupNorm.apply(input, weight, bias, groups=groups, eps=number("group_norm", "eps", eps))


class LocalResponseNorm(Op):
    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        check_float("local_response_norm", input=x)
        check_rank("local_response_norm", "input", x.shape, (3, 4, 5), "N x C x spatial")
        # A larger window holds all channels too, and the time of the kernels grows with the window.
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
    """``input / (k + alpha / size * sum of input^2 over channels) ** beta`` (Krizhevsky et al. 2012).

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial``, float32 or float64
    size : int
        Neighbouring channels in the sum.
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
