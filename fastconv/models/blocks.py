"""Blocks that several networks share, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from fastconv import nn
from fastconv.checks import check
from fastconv.creation import ones
from fastconv.nn import functional as F
from fastconv.tensor import Tensor

Layer: TypeAlias = Callable[..., nn.Module]


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` that is at least ``divisor`` and at least ``0.9 * channels``."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_norm(
    c_in: int,
    c_out: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    norm: Layer = nn.BatchNorm2d,
    activation: Layer | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution without bias, a norm and an activation; with stride 1 the size of the image stays."""
    padding = (kernel - 1) // 2 * dilation
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, norm(c_out), *([] if activation is None else [activation()]))


def init_convs(net: nn.Module, linear: Callable[[nn.Linear], Any]) -> None:
    """Set the first weights: of convolutions normal with variance 2 / fan-out, of dense layers by calling
    ``linear``; biases are 0."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.Linear):
            linear(m)
        else:
            continue
        if m.bias is not None:
            nn.init.zeros_(m.bias)


class SqueezeExcitation(nn.Module):
    """Scales channels by a function of their means (Hu, Shen and Sun, "Squeeze-and-excitation networks",
    2018).

    Parameters
    ----------
    input_channels, squeeze_channels : int
        Channels of the input, and between the two 1x1 convolutions.
    activation, scale_activation : callable that returns a Module
        The activation after the first and after the second convolution.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Layer = nn.ReLU,
        scale_activation: Layer = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.scale_activation = scale_activation()

    def forward(self, x: Tensor) -> Tensor:
        """``N x C x H x W -> N x C x H x W``."""
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return x * self.scale_activation(scale)


class StochasticDepth(nn.Module):
    """In training, replaces its input by zeros with probability ``p``, and else divides it by ``1 - p``
    (Huang et al., "Deep networks with stochastic depth", 2016).

    Parameters
    ----------
    p : float in [0, 1]
    mode : {"batch", "row"}
        Whether one random number decides for the whole batch, or one for each example.

    Raises
    ------
    ValueError
        ``p`` or ``mode`` is not one of these.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        check(0 <= p <= 1, "StochasticDepth", f"p must be between 0 and 1, got {p}")
        check(mode in ("batch", "row"), "StochasticDepth", f"mode must be 'batch' or 'row', got {mode!r}")
        self.p, self.mode = p, mode

    def forward(self, x: Tensor) -> Tensor:
        """``x`` may have any shape whose first dimension is that of the examples."""
        if not self.training or self.p == 0:
            return x
        shape = (x.shape[0] if self.mode == "row" else 1, *[1] * (x.ndim - 1))
        return x * F.dropout(ones(*shape, dtype=x.dtype, device=x.device), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"
