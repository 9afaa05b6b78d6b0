"""Normalisation over batches, groups, the last dimensions, and neighbouring channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...checks import check, check_count, check_rank, int_tuple, number
from ...creation import argument, as_tensor, ones, zeros
from ...tensor import Tensor
from ...typing import Ints, TensorLike
from .. import functional as F
from ..functional.norm import extents, move_running
from ..module import Module, Parameter
from .base import FunctionLayer, own_init, shown


class _Norm(Module):
    """A weight of ones and a bias of zeros, both of ``shape``; both None without ``affine``."""

    weight: Any  # Parameter or None
    bias: Any

    def __init__(self, shape: int | tuple[int, ...], eps: float, affine: bool) -> None:
        super().__init__()
        name = type(self).__name__
        self.eps = number(name, "eps", eps)
        check_count(name, "weight", shape if isinstance(shape, tuple) else (shape,))
        self.register_parameter("weight", Parameter(ones(shape)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(shape)) if affine else None)


class _BatchNorm(_Norm):
    """Batch normalisation of inputs with one of the numbers of dimensions in ``ranks``."""

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
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        activation: str | None = None,
    ) -> None:
        num_features = int_tuple(type(self).__name__, "num_features", num_features, 1, 1)[0]
        super().__init__(num_features, eps, affine)
        self.num_features, self.momentum, self.activation = num_features, momentum, activation
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_buffer("running_mean", zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features) if track_running_stats else None)
        self.register_buffer(
            "num_batches_tracked", as_tensor(np.zeros((), np.int64)) if track_running_stats else None
        )

    def forward(self, x: TensorLike, residual: TensorLike | None = None) -> Tensor:
        """``activation((x - mean) / sqrt(var + eps) * weight + bias + residual)``."""
        x = argument(type(self).__name__, "input", x)
        check_rank(type(self).__name__, "input", x.shape, self.ranks, "N x C and the spatial dimensions")
        momentum, mean, var = self.momentum or 0.0, self.running_mean, self.running_var
        batch_statistics = self.training or mean is None
        # The option may have been switched off later: the statistics then stay as they are.
        if self.training and not self.track_running_stats:
            mean = var = None
        if self.training and mean is not None:
            move_running(self.num_batches_tracked, 1, 1, 1)
            if self.momentum is None:  # the average of all batches so far
                momentum = 1 / self.num_batches_tracked.item()
        return F.batch_norm(
            x,
            mean,
            var,
            self.weight,
            self.bias,
            batch_statistics,
            momentum,
            self.eps,
            activation=self.activation,
            residual=residual,
        )

    def extra_repr(self) -> str:
        """The options."""
        text = shown(
            eps=self.eps,
            momentum=self.momentum,
            affine=self.affine,
            track_running_stats=self.track_running_stats,
        )
        return f"{self.num_features}, {text}" + (
            f", activation={self.activation!r}" if self.activation else ""
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``N x C`` or ``N x C x W``; the options of :class:`BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
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
        Share of the newest batch in the running statistics; None: the average of all batches.
    affine : bool
        Learn a weight and a bias per channel.
    track_running_stats : bool
        Keep running statistics. With False, evaluation normalises with those of the batch too.
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


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``N x C x D x H x W``; the options of :class:`BatchNorm2d`."""

    ranks = (5,)


class GroupNorm(_Norm):
    """Normalises each example over groups of channels (Wu and He 2018).

    Parameters
    ----------
    num_groups : int
        Divides ``num_channels``.
    num_channels : int
        ``C`` of the input, ``N x C`` or ``N x C x spatial``.
    eps : float
        Added to the variance.
    affine : bool
        Learn a weight and a bias per channel.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.GroupNorm(2, 8)(fc.zeros(1, 8, 5, 5)).shape
    (1, 8, 5, 5)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        num_groups, num_channels = (
            int_tuple("GroupNorm", what, v, 1, 1)[0]
            for what, v in (("num_groups", num_groups), ("num_channels", num_channels))
        )
        super().__init__(num_channels, eps, affine)
        check(
            num_channels % num_groups == 0,
            "GroupNorm",
            f"num_channels {num_channels} must be divisible by num_groups {num_groups}",
        )
        self.num_groups, self.num_channels, self.affine = num_groups, num_channels, affine

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` normalised over groups of channels."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_groups}, {self.num_channels}, {shown(eps=self.eps, affine=self.affine)}"


class LayerNorm(_Norm):
    """Normalises each example over its last dimensions (Ba, Kiros and Hinton 2016).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The extents of the last dimensions of the input, ``(..., *normalized_shape)``.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Learn a weight and a bias per element of ``normalized_shape``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.LayerNorm(16)(fc.zeros(2, 10, 16)).shape
    (2, 10, 16)
    """

    def __init__(self, normalized_shape: Ints, eps: float = 1e-5, elementwise_affine: bool = True) -> None:
        shape = extents("LayerNorm", normalized_shape)
        super().__init__(shape, eps, elementwise_affine)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` normalised over its last dimensions."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, {shown(eps=self.eps, elementwise_affine=self.elementwise_affine)}"


class LocalResponseNorm(FunctionLayer, function=F.local_response_norm):
    """Divides by a power of the squares in neighbouring channels (Krizhevsky et al. 2012).

    Computes ``x / (k + alpha / size * sum of squares over size channels) ** beta`` of ``N x C x spatial``.

    Attributes
    ----------
    size : int
        Channels in the sum.
    alpha, beta, k : float
    """
