"""Layers and losses: the functions of ``nn.functional`` with their parameters and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import prod, sqrt
from types import FunctionType
from typing import Any

import numpy as np

from ..backends.select import check_name
from ..checks import check, check_call, check_count, check_rank, int_tuple, number
from ..creation import argument, as_tensor, ones, zeros
from ..spec import window_options
from ..tensor import Tensor
from ..typing import Ints, Padding, TensorLike
from . import functional as F
from . import init
from .functional.norm import extents, move_running
from .modules import Module, Parameter


def _shown(**options) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in options.items())


class _Layer(Module):
    """A function as a layer without parameters: constructed with the function's options, called with its
    inputs.

    The options become attributes; ``weight`` and ``pos_weight`` of losses become buffers.
    """

    function: Callable[..., Any]
    options: tuple[str, ...]  # the function's parameters behind its inputs
    shown: tuple[str, ...]  # those in the repr
    ndim: int  # spatial dimensions, 0 where there are none
    __signature__: inspect.Signature

    def __init_subclass__(
        cls,
        function: Callable[..., Any] | None = None,
        inputs: int = 1,
        shown: tuple[str, ...] | None = None,
        inplace: bool = False,
        **kwargs: Any,
    ) -> None:
        """``inputs``: how many of the function's first parameters are no options. ``shown``: all options by
        default. ``inplace``: accept PyTorch's option of that name; it does nothing, because results are
        always new."""
        super().__init_subclass__(**kwargs)
        if function is None:  # a user's subclass of a layer
            return
        options = list(inspect.signature(function).parameters.values())[inputs:]
        cls.function, cls.options = staticmethod(function), tuple(o.name for o in options)
        cls.ndim = int(function.__name__[-2]) if function.__name__[-2].isdigit() else 0
        cls.shown = cls.options if shown is None else shown
        if inplace:
            options.append(
                inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
            )
        cls.__signature__ = inspect.Signature(options)
        cls.__doc__ = cls.__doc__ or function.__doc__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        bound = check_call(type(self).__name__, self.__signature__, args, kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, None if value is None else as_tensor(value))
            else:
                setattr(self, name, value)
        if "kernel_size" in self.options:
            name, dilation = type(self).__name__, getattr(self, "dilation", 1)
            if self.stride is None:
                self.stride = self.kernel_size
            window_options(name, self.ndim, self.kernel_size, self.stride, self.padding, dilation)

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs, **{o: getattr(self, o) for o in self.options})

    def extra_repr(self) -> str:
        return _shown(**{o: getattr(self, o) for o in self.shown})


_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel_size", "stride", "padding")


# fmt: off
class ReLU(_Layer, function=F.relu, inplace=True): ...
class LeakyReLU(_Layer, function=F.leaky_relu, inplace=True): ...
class SiLU(_Layer, function=F.silu, inplace=True): ...
class Sigmoid(_Layer, function=F.sigmoid): ...
class Tanh(_Layer, function=F.tanh): ...
class GELU(_Layer, function=F.gelu): ...
class Softmax(_Layer, function=F.softmax): ...

class MaxPool1d(_Layer, function=F.max_pool1d, shown=_MAX): ...
class MaxPool2d(_Layer, function=F.max_pool2d, shown=_MAX): ...
class MaxPool3d(_Layer, function=F.max_pool3d, shown=_MAX): ...
class AvgPool1d(_Layer, function=F.avg_pool1d, shown=_AVG): ...
class AvgPool2d(_Layer, function=F.avg_pool2d, shown=_AVG): ...
class AvgPool3d(_Layer, function=F.avg_pool3d, shown=_AVG): ...
class AdaptiveAvgPool2d(_Layer, function=F.adaptive_avg_pool2d): ...
class AdaptiveMaxPool2d(_Layer, function=F.adaptive_max_pool2d, shown=("output_size",)): ...
class LocalResponseNorm(_Layer, function=F.local_response_norm): ...
class Upsample(_Layer, function=F.interpolate): ...

class MSELoss(_Layer, function=F.mse_loss, inputs=2, shown=()): ...
class CrossEntropyLoss(_Layer, function=F.cross_entropy, inputs=2, shown=()): ...
class NLLLoss(_Layer, function=F.nll_loss, inputs=2, shown=()): ...
class BCEWithLogitsLoss(_Layer, function=F.binary_cross_entropy_with_logits, inputs=2, shown=()): ...
# fmt: on


class Identity(Module):
    """Returns its input; constructor arguments are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: TensorLike) -> Tensor:
        return x


class Flatten(Module):
    """Merges the dimensions ``start_dim`` to ``end_dim``; the batch stays by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: TensorLike) -> Tensor:
        return argument("Flatten", "input", x).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return _shown(start_dim=self.start_dim, end_dim=self.end_dim)


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training; ``inplace`` is ignored."""

    def __init__(self, p: float = 0.5, inplace: bool = False, mode: str = "upscale_in_train") -> None:
        super().__init__()
        F.dropout(zeros(1), p, False, mode)  # refuses bad options now, not at the first batch
        self.p, self.mode = p, mode

    def forward(self, x: TensorLike) -> Tensor:
        return F.dropout(x, self.p, self.training, self.mode)

    def extra_repr(self) -> str:
        return _shown(p=self.p, mode=self.mode)


def _own_init(cls: type[Module]) -> None:
    """Give ``cls`` an inherited ``__init__`` under its own name: Python's messages about arguments name a
    function, and a user wrote ``Conv2d(1, 4)``, not the private base's name."""
    if "__init__" not in cls.__dict__:
        base: Any = cls.__init__
        init = FunctionType(base.__code__, base.__globals__, "__init__", base.__defaults__, base.__closure__)
        init.__kwdefaults__, init.__annotations__ = base.__kwdefaults__, base.__annotations__
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        cls.__init__ = init


# -------------------------------------------------------------------------------------------------
# convolution, dense
def _default_init(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default: both uniform within ``1 / sqrt(fan_in)``."""
    init.kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """``x @ weight.T + bias`` with ``weight`` of shape ``(out_features, in_features)``."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = int_tuple("Linear", "in_features", in_features, 1, 1)[0]
        self.out_features = int_tuple("Linear", "out_features", out_features, 1, 1)[0]
        check_count("Linear", "weight", (out_features, in_features))
        # In memory the first axis is innermost, as in convolutions.
        self.weight = Parameter(zeros(in_features, out_features).permute(1, 0))
        self.register_parameter("bias", Parameter(zeros(out_features)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        _default_init(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return _shown(
            in_features=self.in_features, out_features=self.out_features, bias=self.bias is not None
        )


class _Conv(Module):
    """Convolution of ``ndim`` spatial dimensions."""

    ndim: int
    transposed = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _own_init(cls)

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
        self.padding = (padding,) * n if isinstance(padding, int) else padding
        check_name(algorithm, name)
        self.algorithm = algorithm
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        check_count(name, "weight", (first, second // groups, *self.kernel_size))
        # In memory the first axis is innermost: it is the vector axis of the kernels, which read weights in
        # this order.
        inside_out = zeros(*self.kernel_size, second // groups, first)
        self.weight = Parameter(inside_out.permute(n + 1, n, *range(n)))
        self.register_parameter("bias", Parameter(zeros(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        _default_init(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
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
        text = f"{self.in_channels}, {self.out_channels}, {_shown(kernel_size=self.kernel_size, stride=self.stride)}"
        one, none = (1,) * self.ndim, (0,) * self.ndim
        for name, default in (("padding", none), ("output_padding", none), ("dilation", one), ("groups", 1)):
            if getattr(self, name, default) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + ", bias=False" * (self.bias is None)


class Conv1d(_Conv):
    """1-D convolution layer; see :func:`fastconv.nn.functional.conv1d` for the options."""

    ndim, function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """2-D convolution layer; see :func:`fastconv.nn.functional.conv2d` for the options.

    Attributes
    ----------
    weight : Parameter, ``out_channels x in_channels/groups x kH x kW``
    bias : Parameter ``(out_channels,)``, or None
    """

    ndim, function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """3-D convolution layer; see :func:`fastconv.nn.functional.conv3d` for the options."""

    ndim, function = 3, staticmethod(F.conv3d)


class ConvTranspose2d(_Conv):
    """2-D transposed convolution layer; see :func:`fastconv.nn.functional.conv_transpose2d` for the
    options."""

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


# -------------------------------------------------------------------------------------------------
# normalisation
class _Norm(Module):
    """Weight and bias of ``shape`` (or None), one and zero at first."""

    def __init__(self, shape: Ints, eps: float, affine: bool) -> None:
        super().__init__()
        name = type(self).__name__
        self.eps = number(name, "eps", eps)
        check_count(name, "weight", shape if isinstance(shape, (tuple, list)) else (shape,))
        self.register_parameter("weight", Parameter(ones(shape)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(shape)) if affine else None)


class _BatchNorm(_Norm):
    ranks: tuple[int, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _own_init(cls)

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
        x = argument(type(self).__name__, "input", x)
        check_rank(type(self).__name__, "input", x.shape, self.ranks, "N x C and the spatial dimensions")
        momentum, mean, var = self.momentum or 0.0, self.running_mean, self.running_var
        batch_statistics = self.training or mean is None
        if self.training and not self.track_running_stats:  # switched off later: they stay as they are
            mean = var = None
        if self.training and mean is not None:
            move_running(self.num_batches_tracked, 1, 1, 1)
            if self.momentum is None:  # the plain average of all batches so far
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
        text = _shown(
            eps=self.eps,
            momentum=self.momentum,
            affine=self.affine,
            track_running_stats=self.track_running_stats,
        )
        return f"{self.num_features}, {text}" + (
            f", activation={self.activation!r}" if self.activation else ""
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``N x C`` or ``N x C x W``; see :class:`BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``N x C x H x W`` with running statistics for evaluation.

    Parameters
    ----------
    num_features : int
        ``C``.
    eps : float
    momentum : float or None
        Share of the newest batch in the running statistics; None: the average of all batches.
    affine : bool
        Learn a weight and a bias per channel.
    track_running_stats : bool
        Without, evaluation normalises with the batch's own statistics too.
    activation : {None, "relu"}
        Applied to the result. ``bn(x, residual)`` adds ``residual`` before it.
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``N x C x D x H x W``; see :class:`BatchNorm2d`."""

    ranks = (5,)


class GroupNorm(_Norm):
    """Normalises each example over groups of channels; weight and bias per channel."""

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
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, {_shown(eps=self.eps, affine=self.affine)}"


class LayerNorm(_Norm):
    """Normalises each example over its last dimensions ``normalized_shape``."""

    def __init__(self, normalized_shape: Ints, eps: float = 1e-5, elementwise_affine: bool = True) -> None:
        shape = extents("LayerNorm", normalized_shape)
        super().__init__(shape, eps, elementwise_affine)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine

    def forward(self, x: TensorLike) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, {_shown(eps=self.eps, elementwise_affine=self.elementwise_affine)}"
