"""Convolutions and the transposed convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backends.select import check_name, forced
from ...checks import check, check_count, int_tuple
from ...creation import zeros
from ...spec import conv_spec, window_options
from ...tensor import Tensor
from ...typing import Ints, Padding, TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from ..module import Module, Parameter
from .base import default_init, own_init, shown


class _Conv(Module):
    """A convolution with ``ndim`` spatial dimensions."""

    ndim: int
    function: Callable[..., Tensor]
    transposed = False
    weight: Parameter
    bias: Any  # Parameter or None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own_init(cls)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        algorithm: str | None = None,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.ndim
        for what, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            setattr(self, what, int_tuple(name, what, value, 1, 1)[0])
        for what, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
            setattr(self, what, int_tuple(name, what, value, n, 1))
        check(
            in_channels % groups == 0 and out_channels % groups == 0,
            name,
            f"in_channels {in_channels} and out_channels {out_channels} must be divisible by groups {groups}",
        )
        window_options(name, n, kernel_size, stride, padding, dilation)
        self.padding: Any = (padding,) * n if isinstance(padding, int) else padding
        check_name(algorithm, name)
        self.algorithm = algorithm
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        check_count(name, "weight", (first, second // groups, *self.kernel_size))
        # In memory the first axis is innermost, because it is the vector axis of the kernels, which read
        # weights in this order.
        hwio = zeros(*self.kernel_size, second // groups, first)
        self.weight = Parameter(hwio.permute(n + 1, n, *range(n)))
        self.register_parameter("bias", Parameter(zeros(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, uniform within ``1 / sqrt(fan_in)``."""
        default_init(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        """The convolution of ``x``."""
        return self.function(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            algorithm=self.algorithm,
        )

    def extra_repr(self) -> str:
        """The options that differ from the defaults."""
        size = shown(kernel_size=self.kernel_size, stride=self.stride)
        text = f"{self.in_channels}, {self.out_channels}, {size}"
        one, none = (1,) * self.ndim, (0,) * self.ndim
        for name, default in (("padding", none), ("output_padding", none), ("dilation", one), ("groups", 1)):
            if getattr(self, name, default) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + ", bias=False" * (self.bias is None)


class Conv1d(_Conv):
    """1-D convolution of ``N x C x W`` or ``C x W``; the options of :class:`Conv2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Conv1d(3, 8, kernel_size=3)(fc.zeros(2, 3, 10)).shape
    (2, 8, 8)
    """

    ndim, function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """2-D convolution of ``N x C x H x W`` or ``C x H x W``; see :func:`fastconv.nn.functional.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (kH, kW)
    stride, dilation : int or one per dimension
    padding : int, one int or one ``(before, after)`` pair per dimension, or a name
        ``"same"``, ``"valid"`` or ``"full"``.
    groups : int
        Divides both numbers of channels; each group of input channels has its own filters.
    bias : bool
        Add a learned bias per output channel.
    algorithm : str, optional
        Forces an algorithm, as the function does.

    Attributes
    ----------
    weight : Parameter, ``out_channels x in_channels/groups x kH x kW``
    bias : Parameter ``(out_channels,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)(fc.zeros(1, 3, 32, 32)).shape
    (1, 8, 16, 16)
    """

    ndim, function = 2, staticmethod(F.conv2d)

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """One convolution; None where an algorithm is forced, because a chain has its own."""
        if forced(self.algorithm):
            return None
        bias = None if self.bias is None else self.bias.shape
        spec = conv_spec(
            "conv2d", shape, self.weight.shape, self.stride, self.padding, self.dilation, self.groups, bias
        )
        return [("conv", spec)], spec.y_shape, (self.weight, self.bias)


class Conv3d(_Conv):
    """3-D convolution of ``N x C x D x H x W`` or ``C x D x H x W``; the options of :class:`Conv2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Conv3d(1, 4, kernel_size=(1, 3, 3))(fc.zeros(1, 1, 5, 8, 8)).shape
    (1, 4, 5, 6, 6)
    """

    ndim, function = 3, staticmethod(F.conv3d)


class ConvTranspose2d(_Conv):
    """2-D transposed convolution of ``N x C x H x W`` or ``C x H x W``.

    It is the adjoint of :class:`Conv2d` with the same geometry and has its options; see
    :func:`fastconv.nn.functional.conv_transpose2d`.

    Parameters
    ----------
    output_padding : int or one per dimension
        Extra rows and columns at the end, smaller than stride or dilation.

    Attributes
    ----------
    weight : Parameter, ``in_channels x out_channels/groups x kH x kW``
    bias : Parameter ``(out_channels,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ConvTranspose2d(8, 3, kernel_size=2, stride=2)(fc.zeros(1, 8, 16, 16)).shape
    (1, 3, 32, 32)
    """

    ndim, transposed = 2, True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        *,
        algorithm: str | None = None,
    ) -> None:
        check(not isinstance(padding, str), "ConvTranspose2d", f"padding must be numbers, got {padding!r}")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            algorithm=algorithm,
        )
        self.output_padding = int_tuple("ConvTranspose2d", "output_padding", output_padding, 2, 0)

    def forward(self, x: TensorLike) -> Tensor:
        """The transposed convolution of ``x``."""
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            algorithm=self.algorithm,
        )
