"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...backends.select import check_name, forced
from ...checks import check, check_count, int_tuple, one_of, shape_str
from ...creation import argument, zeros
from ...spec import conv_spec, parse_padding, window_options
from ...tensor import Tensor
from ...typing import DType, Ints, Padding, TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from ..module import Module, Parameter
from .base import default_init, float_dtype, own_init, shown


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
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: DType | None = None,
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
        one_of(name, "padding_mode", padding_mode, ("zeros", "reflect", "replicate", "circular"))
        self.padding_mode = padding_mode
        check_name(algorithm, name)
        self.algorithm = algorithm
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        check_count(name, "weight", (first, second // groups, *self.kernel_size))
        # In memory the first axis is innermost, because it is the vector axis of the kernels, which read
        # weights in this order.
        dtype = float_dtype(name, dtype)
        hwio = zeros(*self.kernel_size, second // groups, first, dtype=dtype, device=device)
        self.weight = Parameter(hwio.permute(n + 1, n, *range(n)))
        vector = Parameter(zeros(out_channels, dtype=dtype, device=device)) if bias else None
        self.register_parameter("bias", vector)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, uniform in ``[-b, b)`` with ``b = 1 / sqrt(fan_in)``."""
        default_init(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        """The convolution of ``x``."""
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x), 0
        return self.function(
            x,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            algorithm=self.algorithm,
        )

    def _padded(self, x: TensorLike) -> Tensor:
        """``x`` padded by ``padding_mode``. An input of a wrong rank is returned as it is."""
        name, n = type(self).__name__, self.ndim
        x = argument(name, "input", x)
        if x.ndim not in (n + 1, n + 2):
            return x
        pairs = parse_padding(name, self.padding, x.shape[-n:], self.kernel_size, self.stride, self.dilation)
        return F.pad(x, [p for pair in reversed(pairs) for p in pair], self.padding_mode)

    def extra_repr(self) -> str:
        """The options that differ from the defaults."""
        size = shown(kernel_size=self.kernel_size, stride=self.stride)
        text = f"{self.in_channels}, {self.out_channels}, {size}"
        one, none = (1,) * self.ndim, (0,) * self.ndim
        for name, default in (("padding", none), ("output_padding", none), ("dilation", one), ("groups", 1)):
            if getattr(self, name, default) != default:
                text += f", {name}={getattr(self, name)!r}"
        text += ", bias=False" * (self.bias is None)
        return text + f", padding_mode={self.padding_mode}" * (self.padding_mode != "zeros")


class Conv1d(_Conv):
    """1-D convolution of ``N x C x W`` or ``C x W``; same options as :class:`Conv2d`.

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
        It divides both numbers of channels. Each group of input channels has its own filters.
    bias : bool
        Add a learned bias per output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        The values in the padding; see :func:`fastconv.nn.functional.pad`.
    device, dtype : optional
        Device and dtype of the parameters; by default ``"cpu"`` and float32.
    algorithm : str, optional
        Forces an algorithm; see :func:`fastconv.nn.functional.conv2d`.

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
        """One convolution. None if an algorithm is forced or padding is not zeros; chains support neither."""
        if forced(self.algorithm) or self.padding_mode != "zeros":
            return None
        bias = None if self.bias is None else self.bias.shape
        spec = conv_spec(
            "conv2d", shape, self.weight.shape, self.stride, self.padding, self.dilation, self.groups, bias
        )
        return [("conv", spec)], spec.y_shape, (self.weight, self.bias)


class Conv3d(_Conv):
    """3-D convolution of ``N x C x D x H x W`` or ``C x D x H x W``; same options as :class:`Conv2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Conv3d(1, 4, kernel_size=(1, 3, 3))(fc.zeros(1, 1, 5, 8, 8)).shape
    (1, 4, 5, 6, 6)
    """

    ndim, function = 3, staticmethod(F.conv3d)


class _ConvTranspose(_Conv):
    """A transposed convolution with ``ndim`` spatial dimensions."""

    transposed = True

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
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: DType | None = None,
        *,
        algorithm: str | None = None,
    ) -> None:
        name = type(self).__name__
        check(not isinstance(padding, str), name, f"padding must be numbers, got {padding!r}")
        check(
            padding_mode == "zeros",
            name,
            f"padding_mode must be 'zeros' in a transposed convolution, got {padding_mode!r:.60}",
        )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            algorithm=algorithm,
        )
        self.output_padding = int_tuple(name, "output_padding", output_padding, self.ndim, 0)

    def forward(self, x: TensorLike, output_size: Sequence[int] | None = None) -> Tensor:
        """The transposed convolution of ``x``.

        ``output_size`` is the spatial size or the shape of the result. If it is given, it replaces the
        layer's ``output_padding``.
        """
        extra = self.output_padding if output_size is None else self._output_padding(x, output_size)
        return self.function(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
            algorithm=self.algorithm,
        )

    def _output_padding(self, x: TensorLike, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives ``output_size``: its difference from the smallest possible size."""
        name, n = type(self).__name__, self.ndim
        x = argument(name, "input", x)
        check(x.ndim in (n + 1, n + 2), name, f"input must have {n + 1} or {n + 2} dimensions, got {x.ndim}")
        good = isinstance(output_size, (tuple, list)) and len(output_size) in (n, x.ndim)
        check(good, name, f"output_size must have {n} or {x.ndim} numbers, got {output_size!r:.60}")
        size = int_tuple(name, "output_size", output_size[-n:], n, 1)
        kernel = self.kernel_size
        pairs = parse_padding(name, self.padding, x.shape[-n:], kernel, self.stride, self.dilation)
        smallest = tuple(
            (i - 1) * s - sum(pair) + d * (k - 1) + 1
            for i, s, pair, d, k in zip(x.shape[-n:], self.stride, pairs, self.dilation, kernel)
        )
        largest = tuple(i + s - 1 for i, s in zip(smallest, self.stride))
        check(
            all(low <= o <= high for low, o, high in zip(smallest, size, largest)),
            name,
            f"output_size {size} must be between {smallest} and {largest} (input {shape_str(x.shape)})",
        )
        return tuple(o - low for o, low in zip(size, smallest))


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution of ``N x C x W`` or ``C x W``; same options as :class:`ConvTranspose2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ConvTranspose1d(8, 3, kernel_size=2, stride=2)(fc.zeros(1, 8, 16)).shape
    (1, 3, 32)
    """

    ndim, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution of ``N x C x H x W`` or ``C x H x W``.

    It is the adjoint of :class:`Conv2d` with the same geometry and has its options, but ``padding_mode`` is
    always ``"zeros"``; see :func:`fastconv.nn.functional.conv_transpose2d`. Called with ``output_size``, it
    chooses the output padding that gives a result of that size.

    Parameters
    ----------
    output_padding : int or one per dimension
        Extra rows and columns at the end, fewer than the larger of stride and dilation.

    Attributes
    ----------
    weight : Parameter, ``in_channels x out_channels/groups x kH x kW``
    bias : Parameter ``(out_channels,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> layer = fc.nn.ConvTranspose2d(8, 3, kernel_size=3, stride=2, padding=1)
    >>> layer(fc.zeros(1, 8, 16, 16), output_size=(32, 31)).shape
    (1, 3, 32, 31)
    """

    ndim, function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution of ``N x C x D x H x W``, or without ``N``; see :class:`ConvTranspose2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ConvTranspose3d(4, 2, kernel_size=2, stride=2)(fc.zeros(1, 4, 3, 4, 5)).shape
    (1, 2, 6, 8, 10)
    """

    ndim, function = 3, staticmethod(F.conv_transpose3d)
