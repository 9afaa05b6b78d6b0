"""Normalisation of channels over the batch, or in each example, with running statistics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...checks import check_rank, int_tuple, number, shape_str
from ...creation import argument, as_tensor, ones, zeros
from ...tensor import Tensor
from ...typing import DType, TensorLike
from .. import functional as F
from ..functional.base import batched
from ..functional.batch_norm import batch_norm_then, move_running
from .base import float_dtype, own_init, shown
from .norm import Norm


class _Statistics(Norm):
    """The base of norms of channels that may keep running statistics.

    ``ranks`` are the numbers of dimensions that an input may have.
    """

    ranks: tuple[int, ...]
    running_mean: Any  # Tensor or None
    running_var: Any
    num_batches_tracked: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own_init(cls)

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: str | None,
        dtype: DType | None,
        bias: bool,
    ) -> None:
        name = type(self).__name__
        num_features = int_tuple(name, "num_features", num_features, 1, 1)[0]
        super().__init__(num_features, eps, affine, bias, device, dtype)
        self.num_features = num_features
        self.momentum = None if momentum is None else number(name, "momentum", momentum)
        self.affine, self.track_running_stats = affine, track_running_stats
        dtype = float_dtype(name, dtype)
        buffers = {
            "running_mean": zeros(num_features, dtype=dtype, device=device),
            "running_var": ones(num_features, dtype=dtype, device=device),
            "num_batches_tracked": as_tensor(np.zeros((), np.int64), device=device),
        }
        for what, buffer in buffers.items():
            self.register_buffer(what, buffer if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Set the running mean to zeros, the running variance to ones, and the count of batches to 0."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                buffer.fill_(value)

    def reset_parameters(self) -> None:
        """Reset the running statistics, the weight and the bias."""
        self.reset_running_stats()
        super().reset_parameters()

    def extra_repr(self) -> str:
        """The options."""
        text = shown(
            eps=self.eps,
            momentum=self.momentum,
            affine=self.affine,
            track_running_stats=self.track_running_stats,
        )
        return f"{self.num_features}, {text}"


class BatchNormBase(_Statistics):
    """Batch normalisation of inputs with one of the numbers of dimensions in ``ranks``."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
        activation: str | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)
        self.activation = activation

    def forward(self, x: TensorLike, residual: TensorLike | None = None) -> Tensor:
        """``activation((x - mean) / sqrt(var + eps) * weight + bias + residual)``."""
        return self.normalised(x, residual, self.activation, batch_norm_then)

    def forward_then(self, x: TensorLike, activation: str | tuple[Any, ...]) -> Tensor:
        """The result with a pointwise op behind it (see ``nn/norm_then.py``)."""
        return self.normalised(x, None, activation, batch_norm_then)

    def normalised(
        self,
        x: TensorLike,
        residual: TensorLike | None,
        activation: str | tuple[Any, ...] | None,
        function: Callable[..., Tensor],
    ) -> Tensor:
        """The result of ``function``, which has the parameters of ``batch_norm_then``."""
        x = argument(type(self).__name__, "input", x)
        check_rank(type(self).__name__, "input", x.shape, self.ranks, "N x C and the spatial dimensions")
        momentum, mean, var = self.momentum or 0.0, self.running_mean, self.running_var
        batch_statistics = self.training or mean is None
        # If the option was switched off after the construction, the running statistics are not updated.
        if self.training and not self.track_running_stats:
            mean = var = None
        if self.training and mean is not None:
            move_running(self.num_batches_tracked, 1, 1, 1)
            if self.momentum is None:  # then the statistics are the averages of all batches so far
                momentum = 1 / self.num_batches_tracked.item()
        return function(
            x,
            mean,
            var,
            self.weight,
            self.bias,
            batch_statistics,
            momentum,
            self.eps,
            activation,
            residual,
        )

    def extra_repr(self) -> str:
        """The options."""
        return super().extra_repr() + (f", activation={self.activation!r}" if self.activation else "")


class BatchNorm1d(BatchNormBase):
    """Batch normalisation of ``N x C`` or ``N x C x W``; same options as :class:`BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(BatchNormBase):
    """Batch normalisation of ``N x C x H x W`` (Ioffe and Szegedy 2015).

    Training normalises each channel with the mean and variance of the batch, evaluation with the running
    averages of both.

    Parameters
    ----------
    num_features : int
        ``C``.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the newest batch in the running statistics. None: they are the averages of all batches.
    affine : bool
        Learn a weight and a bias per channel.
    track_running_stats : bool
        Keep running statistics. With False, evaluation uses the statistics of the batch too.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional
    bias : bool
        Whether ``affine`` includes a bias.
    activation : {None, "relu"}
        Applied to the result. ``bn(x, residual)`` adds ``residual`` before it.

    Attributes
    ----------
    weight, bias : Parameter ``(C,)``, or None
    running_mean, running_var : Tensor ``(C,)``, or None
    num_batches_tracked : Tensor, one int64, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.BatchNorm2d(8, activation="relu")(fc.zeros(2, 8, 5, 5)).shape
    (2, 8, 5, 5)
    """

    ranks = (4,)


class BatchNorm3d(BatchNormBase):
    """Batch normalisation of ``N x C x D x H x W``; same options as :class:`BatchNorm2d`."""

    ranks = (5,)


class _InstanceNorm(_Statistics):
    """Normalisation of each channel of each example. ``ranks`` holds the rank without and with a batch."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, x: TensorLike) -> Tensor:
        """``(x - mean) / sqrt(var + eps) * weight + bias``."""
        name = type(self).__name__
        x = argument(name, "input", x)
        check_rank(name, "input", x.shape, self.ranks, "C and the spatial dimensions, or N x C and these")
        channels = x.shape[-(self.ranks[0])]
        if channels != self.num_features:
            text = f"{name}: expected num_features={self.num_features} channels, got {channels}"
            if self.affine or self.running_mean is not None:
                raise ValueError(f"{text} (input {shape_str(x.shape)})")
            warnings.warn(f"{text}; without affine nothing depends on num_features", stacklevel=2)
        return batched(
            name,
            self.ranks[0],
            F.instance_norm,
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum or 0.0,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of ``N x C x W`` or ``C x W``; same options as :class:`InstanceNorm2d`."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each example, ``N x C x H x W`` or ``C x H x W`` (Ulyanov et al. 2016).

    Parameters
    ----------
    num_features : int
        ``C``.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the newest batch in the running statistics. None: they do not change.
    affine : bool
        Learn a weight and a bias per channel.
    track_running_stats : bool
        Keep running statistics, and normalise with them in evaluation.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional
    bias : bool
        Whether ``affine`` includes a bias.

    Attributes
    ----------
    weight, bias : Parameter ``(C,)``, or None
    running_mean, running_var : Tensor ``(C,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.InstanceNorm2d(8)(fc.zeros(2, 8, 5, 5)).shape
    (2, 8, 5, 5)
    """

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of ``N x C x D x H x W`` or ``C x D x H x W``; same options as
    :class:`InstanceNorm2d`."""

    ranks = (4, 5)
