"""Batch normalisation."""

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
    number,
    shape_str,
)
from fastconv.devices import default_device
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


def check_per_channel(name: str, x: Any, **vectors: Any) -> None:
    """Raise a ValueError if a vector does not have one entry per channel of ``x``."""
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

    In training, an engine with ``batch_norm_train_fwd`` also updates the running statistics. Then the result
    is only the normalised input.
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
        name,
    ):
        e = ctx.engine
        vectors = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        check_float(name, ("residual", *vectors), input=x, residual=residual, **vectors)
        check_rank(name, "input", x.shape, (2, 3, 4, 5), "N x C and up to 3 spatial dimensions")
        check_per_channel(name, x, **vectors)
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
        if residual is not None:
            check_shape(name, "residual", residual.shape, x.shape, "the input's")
        ctx.training, ctx.activation = training, activation
        # An observer must see the required ops of the engine contract, so this optional op is not used then.
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
    """Batch normalisation (Ioffe and Szegedy 2015), optionally with the end of a residual block.

    The result is ``activation((input - mean) / sqrt(var + eps) * weight + bias + residual)``.

    Parameters
    ----------
    input : Tensor or array, ``N x C`` or ``N x C x spatial``, float32 or float64
    running_mean, running_var : (C,) or None
        Used in evaluation. Training updates them in place: each becomes ``(1 - momentum) * old + momentum *
        new``, where ``new`` is the mean or the unbiased variance of the batch.
    weight, bias : (C,), optional
    training : bool
        Normalise with the mean and the biased variance of the batch.
    momentum : float
    eps : float
        Added to the variance.
    activation : {None, "relu"}
        Applied to the result.
    residual : Tensor of the shape of ``input``, optional
        Added before the activation.

    Returns
    -------
    Tensor of the shape of ``input``

    Raises
    ------
    ValueError
        If shapes do not fit, in evaluation without running statistics, or in training with one value per
        channel.
    TypeError
        If arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.batch_norm(fc.ones(4, 2), fc.zeros(2), fc.ones(2), eps=0.0).shape
    (4, 2)
    """
    if activation not in (None, "relu"):
        raise ValueError(f"batch_norm: activation must be None or 'relu', got {activation!r}")
    return batch_norm_then(
        input, running_mean, running_var, weight, bias, training, momentum, eps, activation, residual
    )


def batch_norm_then(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None,
    bias: TensorLike | None,
    training: bool,
    momentum: float,
    eps: float,
    activation: str | tuple[Any, ...] | None,
    residual: TensorLike | None,
) -> Tensor:
    """:func:`batch_norm`. In training ``activation`` may also be ``(name, p, q)``, where ``name`` is among
    the engine's ``BATCH_NORM_ACTIVATIONS``; then there is no residual."""
    momentum = number("batch_norm", "momentum", momentum)
    if training:
        check_running("batch_norm", running_mean, running_var)
    # If the op runs on a GPU, it works on copies of host arrays; updating a copy would not change the array.
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
        name="batch_norm",
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


def check_running(name: str, running_mean: Any, running_var: Any) -> None:
    """Raise an error if the running statistics cannot be written."""
    for what, r in (("running_mean", running_mean), ("running_var", running_var)):
        dtypes.check_writable(name, what, r.array if isinstance(r, Tensor) else r)


def move_running(running: Any, value: Any, keep: float, gain: float) -> None:
    """``running = keep * running + gain * value``, in place and outside the tape."""
    # An array is on the host, and the Tensor shares its memory.
    running = running if isinstance(running, Tensor) else Tensor(running)
    value = value.to(running.device).array if isinstance(value, Tensor) else value
    engine: Any = backends.engine_of(running.device)
    engine.running_step(running.array, value, keep, gain)
    running.memory.version += 1  # autograd notices that it changed
