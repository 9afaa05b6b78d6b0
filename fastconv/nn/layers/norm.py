"""Normalisation over groups of channels, the last dimensions, and neighbouring channels."""

from __future__ import annotations

from typing import Any

from ...autograd import no_grad
from ...checks import check, check_count, int_tuple, number
from ...creation import ones, zeros
from ...tensor import Tensor
from ...typing import DType, Ints, TensorLike
from .. import functional as F
from ..functional.norm import extents
from ..module import Module, Parameter
from .base import FunctionLayer, float_dtype, shown


class Norm(Module):
    """The base of norms, with a weight of ones and a bias of zeros, both of shape ``shape``.

    Without ``affine`` both are None. Without ``with_bias`` the bias is None.
    """

    weight: Any  # Parameter or None
    bias: Any

    def __init__(
        self,
        shape: int | tuple[int, ...],
        eps: float | None,
        affine: bool,
        with_bias: bool,
        device: str | None,
        dtype: DType | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.eps: Any = None if eps is None else number(name, "eps", eps)
        check_count(name, "weight", shape if isinstance(shape, tuple) else (shape,))
        dtype = float_dtype(name, dtype)
        weight = Parameter(ones(shape, dtype=dtype, device=device)) if affine else None
        bias = Parameter(zeros(shape, dtype=dtype, device=device)) if affine and with_bias else None
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias)

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros again."""
        with no_grad():
            if self.weight is not None:
                self.weight.fill_(1)
            if self.bias is not None:
                self.bias.fill_(0)


class GroupNorm(Norm):
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
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional
    bias : bool
        Whether ``affine`` includes a bias.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.GroupNorm(2, 8)(fc.zeros(1, 8, 5, 5)).shape
    (1, 8, 5, 5)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        num_groups, num_channels = (
            int_tuple("GroupNorm", what, v, 1, 1)[0]
            for what, v in (("num_groups", num_groups), ("num_channels", num_channels))
        )
        super().__init__(num_channels, eps, affine, bias, device, dtype)
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


class LayerNorm(Norm):
    """Normalises each example over its last dimensions (Ba, Kiros and Hinton 2016).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The extents of the last dimensions of the input, ``(..., *normalized_shape)``.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Learn a weight and a bias per element of ``normalized_shape``.
    bias : bool
        Whether ``elementwise_affine`` includes a bias.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.LayerNorm(16)(fc.zeros(2, 10, 16)).shape
    (2, 10, 16)
    """

    def __init__(
        self,
        normalized_shape: Ints,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        shape = extents("LayerNorm", normalized_shape)
        super().__init__(shape, eps, elementwise_affine, bias, device, dtype)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` normalised over its last dimensions."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, {shown(eps=self.eps, elementwise_affine=self.elementwise_affine)}"


class RMSNorm(Norm):
    """Divides each example by the root of its mean square over its last dimensions (Zhang and Sennrich 2019).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The extents of the last dimensions of the input, ``(..., *normalized_shape)``.
    eps : float, optional
        Added to the mean square; by default the machine epsilon of the input's dtype.
    elementwise_affine : bool
        Learn a weight per element of ``normalized_shape``.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.RMSNorm(16)(fc.zeros(2, 10, 16)).shape
    (2, 10, 16)
    """

    def __init__(
        self,
        normalized_shape: Ints,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        shape = extents("RMSNorm", normalized_shape)
        super().__init__(shape, eps, elementwise_affine, False, device, dtype)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` divided by the root of its mean square over its last dimensions."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, {shown(eps=self.eps, elementwise_affine=self.elementwise_affine)}"


class LocalResponseNorm(FunctionLayer, function=F.local_response_norm):
    """Normalises over neighbouring channels of ``N x C x spatial`` (Krizhevsky et al. 2012).

    Computes ``x / (k + alpha / size * s) ** beta``, where ``s`` is the sum of ``x ** 2`` over the channels.

    Attributes
    ----------
    size : int
        The number of neighbouring channels in the sum.
    alpha, beta, k : float
    """
