"""Layers and losses: the functions of ``nn.functional`` with their parameters and options."""

from __future__ import annotations

import inspect
from math import prod, sqrt

import numpy as np

from ..spec import check, check_rank, int_tuple
from ..tensor import as_tensor, ones, zeros
from . import functional as F
from . import init
from .functional.norm import move_running
from .modules import Module, Parameter


def _shown(**options) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in options.items())


class _Layer(Module):
    """A function as a layer without parameters: constructed with the function's options, called with its inputs.

    The options become attributes; ``weight`` and ``pos_weight`` of losses become buffers.
    """

    def __init__(self, *args, **kwargs):
        super().__init__()
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{type(self).__name__}{self.__signature__}: {e}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, None if value is None else as_tensor(value))
            else:
                setattr(self, name, value)
        if "stride" in self.options and self.stride is None:
            self.stride = self.kernel_size

    def forward(self, *inputs):
        return self.function(*inputs, **{o: getattr(self, o) for o in self.options})

    def extra_repr(self):
        return _shown(**{o: getattr(self, o) for o in self.shown})


def _layer(name: str, function, *, inputs: int = 1, shown=None, inplace: bool = False) -> type[_Layer]:
    """The layer class ``name`` of ``function``, whose first ``inputs`` parameters are not options.

    ``shown``: the options in its repr (all by default). ``inplace``: accept PyTorch's option of that name, and ignore
    it, as results are always new.
    """
    options = list(inspect.signature(function).parameters.values())[inputs:]
    names = tuple(o.name for o in options)
    if inplace:
        options.append(inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False))
    return type(name, (_Layer,), {
        "__module__": __name__, "__doc__": function.__doc__, "__signature__": inspect.Signature(options),
        "function": staticmethod(function), "options": names, "shown": names if shown is None else shown,
    })  # fmt: skip


ReLU = _layer("ReLU", F.relu, inplace=True)
LeakyReLU = _layer("LeakyReLU", F.leaky_relu, inplace=True)
SiLU = _layer("SiLU", F.silu, inplace=True)
Sigmoid = _layer("Sigmoid", F.sigmoid)
Tanh = _layer("Tanh", F.tanh)
GELU = _layer("GELU", F.gelu)
Softmax = _layer("Softmax", F.softmax)

_shown_max = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
MaxPool1d = _layer("MaxPool1d", F.max_pool1d, shown=_shown_max)
MaxPool2d = _layer("MaxPool2d", F.max_pool2d, shown=_shown_max)
MaxPool3d = _layer("MaxPool3d", F.max_pool3d, shown=_shown_max)
AvgPool1d = _layer("AvgPool1d", F.avg_pool1d, shown=_shown_max[:3])
AvgPool2d = _layer("AvgPool2d", F.avg_pool2d, shown=_shown_max[:3])
AvgPool3d = _layer("AvgPool3d", F.avg_pool3d, shown=_shown_max[:3])
AdaptiveAvgPool2d = _layer("AdaptiveAvgPool2d", F.adaptive_avg_pool2d)
AdaptiveMaxPool2d = _layer("AdaptiveMaxPool2d", F.adaptive_max_pool2d, shown=("output_size",))
LocalResponseNorm = _layer("LocalResponseNorm", F.local_response_norm)
Upsample = _layer("Upsample", F.interpolate)

MSELoss = _layer("MSELoss", F.mse_loss, inputs=2, shown=())
CrossEntropyLoss = _layer("CrossEntropyLoss", F.cross_entropy, inputs=2, shown=())
NLLLoss = _layer("NLLLoss", F.nll_loss, inputs=2, shown=())
BCEWithLogitsLoss = _layer("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, inputs=2, shown=())


class Identity(Module):
    """Returns its input; constructor arguments are ignored."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, x):
        return x


class Flatten(Module):
    """Merges the dimensions ``start_dim`` to ``end_dim``; the batch stays by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return _shown(start_dim=self.start_dim, end_dim=self.end_dim)


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training; ``inplace`` is ignored."""

    def __init__(self, p: float = 0.5, inplace: bool = False, mode: str = "upscale_in_train"):
        super().__init__()
        F.dropout(zeros(1), p, False, mode)  # refuses bad options now, not at the first batch
        self.p, self.mode = p, mode

    def forward(self, x):
        return F.dropout(x, self.p, self.training, self.mode)

    def extra_repr(self):
        return _shown(p=self.p, mode=self.mode)


# ------------------------------------------------------------------------------------------------- convolution, dense
def _default_init(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default: both uniform within ``1 / sqrt(fan_in)``."""
    init.kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """``x @ weight.T + bias`` with ``weight`` of shape ``(out_features, in_features)``."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features = int_tuple("Linear", "in_features", in_features, 1, 1)[0]
        self.out_features = int_tuple("Linear", "out_features", out_features, 1, 1)[0]
        # In memory the first axis is innermost, as in convolutions.
        self.weight = Parameter(zeros(in_features, out_features).permute(1, 0))
        self.register_parameter("bias", Parameter(zeros(out_features)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        _default_init(self.weight, self.bias)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return _shown(in_features=self.in_features, out_features=self.out_features, bias=self.bias is not None)


class _Conv(Module):
    """Convolution of ``ndim`` spatial dimensions."""

    ndim: int
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, *, algorithm: str | None = None,
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self.ndim
        for what, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            setattr(self, what, int_tuple(name, what, value, 1, 1)[0])
        for what, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
            setattr(self, what, int_tuple(name, what, value, n, 1))
        check(in_channels % groups == 0 and out_channels % groups == 0, name,
              f"in_channels {in_channels} and out_channels {out_channels} must be divisible by groups {groups}")
        self.padding = (padding,) * n if isinstance(padding, int) else padding
        self.algorithm = algorithm
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        # In memory the first axis is innermost: it is the vector axis of the kernels, which read weights in this order.
        inside_out = zeros(*self.kernel_size, second // groups, first)
        self.weight = Parameter(inside_out.permute(n + 1, n, *range(n)))
        self.register_parameter("bias", Parameter(zeros(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        _default_init(self.weight, self.bias)

    def forward(self, x):
        return self.function(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
                             algorithm=self.algorithm)  # fmt: skip

    def extra_repr(self):
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
    """2-D transposed convolution layer; see :func:`fastconv.nn.functional.conv_transpose2d` for the options."""

    ndim, transposed = 2, True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, output_padding=0,
        groups: int = 1, bias: bool = True, dilation=1, *, algorithm: str | None = None,
    ):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
                         algorithm=algorithm)  # fmt: skip
        self.output_padding = int_tuple("ConvTranspose2d", "output_padding", output_padding, 2, 0)

    def forward(self, x):
        return F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                                  self.groups, self.dilation, algorithm=self.algorithm)  # fmt: skip


# ------------------------------------------------------------------------------------------------- normalisation
class _Norm(Module):
    """Weight and bias of ``shape`` (or None), one and zero at first."""

    def __init__(self, shape, eps: float, affine: bool):
        super().__init__()
        self.eps = eps
        self.register_parameter("weight", Parameter(ones(shape)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(shape)) if affine else None)


class _BatchNorm(_Norm):
    ranks: tuple[int, ...]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, activation: str | None = None,
    ):  # fmt: skip
        super().__init__(num_features, eps, affine)
        self.num_features, self.momentum, self.activation = num_features, momentum, activation
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_buffer("running_mean", zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", as_tensor(np.zeros((), np.int64)) if track_running_stats else None)

    def forward(self, x, residual=None):
        check_rank(type(self).__name__, "input", x.shape, self.ranks, "N x C and the spatial dimensions")
        momentum = self.momentum
        if self.training and self.track_running_stats:
            move_running(self.num_batches_tracked, 1, 1, 1)
            if momentum is None:  # the plain average of all batches so far
                momentum = 1 / self.num_batches_tracked.item()
        batch_statistics = self.training or not self.track_running_stats
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum,
                            self.eps, activation=self.activation, residual=residual)  # fmt: skip

    def extra_repr(self):
        text = _shown(eps=self.eps, momentum=self.momentum, affine=self.affine,
                        track_running_stats=self.track_running_stats)  # fmt: skip
        return f"{self.num_features}, {text}" + (f", activation={self.activation!r}" if self.activation else "")


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

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True):
        super().__init__(num_channels, eps, affine)
        check(num_groups > 0 and num_channels % num_groups == 0, "GroupNorm",
              f"num_channels {num_channels} must be divisible by num_groups {num_groups}")  # fmt: skip
        self.num_groups, self.num_channels, self.affine = num_groups, num_channels, affine

    def forward(self, x):
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, {_shown(eps=self.eps, affine=self.affine)}"


class LayerNorm(_Norm):
    """Normalises each example over its last dimensions ``normalized_shape``."""

    def __init__(self, normalized_shape, eps: float = 1e-5, elementwise_affine: bool = True):
        shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        super().__init__(shape, eps, elementwise_affine)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, {_shown(eps=self.eps, elementwise_affine=self.elementwise_affine)}"
