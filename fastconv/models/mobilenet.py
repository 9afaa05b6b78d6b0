"""MobileNetV2 (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018) and
MobileNetV3 (Howard et al., "Searching for MobileNetV3", 2019).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from fastconv import nn
from fastconv.checks import check
from fastconv.tensor import Tensor

from .blocks import Layer, SqueezeExcitation, conv_norm, init_convs, round_channels
from .builders import builder


def _init_dense(m: nn.Linear) -> None:
    nn.init.normal_(m.weight, 0, 0.01)


class _InvertedResidual(nn.Module):
    """A 1x1 convolution to more channels, a depthwise one, and a 1x1 one to ``c_out`` channels.

    The input is added if the result has its shape.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, expand_ratio: float, norm: Layer) -> None:
        super().__init__()
        hidden = round(c_in * expand_ratio)
        expand = [conv_norm(c_in, hidden, 1, norm=norm, activation=nn.ReLU6)] if expand_ratio != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, 3, stride, groups=hidden, norm=norm, activation=nn.ReLU6),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            norm(c_out),
        )
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        return x + self.conv(x) if self.adds else self.conv(x)


#: Stages of MobileNetV2: expansion, channels, blocks, stride.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nn.Module):
    """A stem, stages of inverted residuals, a 1x1 convolution, pooling and a dense layer.

    Parameters
    ----------
    num_classes, in_channels : int
    width_mult : float
        Factor on the number of channels.
    inverted_residual_setting : sequence of (expansion, channels, blocks, stride), optional
        One entry per stage; by default those of the paper.
    round_nearest : int
        Numbers of channels are rounded to multiples of this.
    norm_layer : callable ``(channels) -> Module``, optional
        BatchNorm2d by default.
    dropout : float
        Probability of the dropout before the dense layer.

    Raises
    ------
    ValueError
        ``inverted_residual_setting`` is empty, or an entry does not have four numbers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        norm_layer: Layer | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        stages = _STAGES if inverted_residual_setting is None else inverted_residual_setting
        check(
            len(stages) > 0 and all(len(s) == 4 for s in stages),
            "MobileNetV2",
            "inverted_residual_setting must be a list of four numbers each (expansion, channels, blocks, "
            f"stride), got {inverted_residual_setting}",
        )
        norm = norm_layer or nn.BatchNorm2d
        c_in = round_channels(32 * width_mult, round_nearest)
        last = round_channels(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [conv_norm(in_channels, c_in, 3, 2, norm=norm, activation=nn.ReLU6)]
        for expand_ratio, channels, count, stride in stages:
            c_out = round_channels(channels * width_mult, round_nearest)
            for i in range(count):
                features.append(_InvertedResidual(c_in, c_out, 1 if i else stride, expand_ratio, norm))
                c_in = c_out
        features.append(conv_norm(c_in, last, 1, norm=norm, activation=nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        init_convs(self, _init_dense)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@builder
def mobilenet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    width_mult: float = 1.0,
    inverted_residual_setting: Sequence[Sequence[int]] | None = None,
    round_nearest: int = 8,
    norm_layer: Layer | None = None,
    dropout: float = 0.2,
) -> MobileNetV2:
    """MobileNetV2 (3,504,872 parameters for 1000 classes)."""
    return MobileNetV2(
        num_classes, in_channels, width_mult, inverted_residual_setting, round_nearest, norm_layer, dropout
    )


class _Row(NamedTuple):
    """The settings of a block of MobileNetV3."""

    kernel: int
    hidden: int  # channels of the depthwise convolution
    c_out: int
    excite: bool  # with squeeze and excitation
    hard: bool  # hardswish instead of relu
    stride: int
    dilation: int = 1


class _Block(nn.Module):
    """As :class:`_InvertedResidual`, with optional squeeze and excitation, and relu or hardswish."""

    def __init__(self, c_in: int, row: _Row, norm: Layer) -> None:
        super().__init__()
        activation, hidden = nn.Hardswish if row.hard else nn.ReLU, row.hidden
        layer = partial(conv_norm, norm=norm, activation=activation)
        layers: list[nn.Module] = [layer(c_in, hidden, 1)] if hidden != c_in else []
        stride = 1 if row.dilation > 1 else row.stride
        layers.append(layer(hidden, hidden, row.kernel, stride, groups=hidden, dilation=row.dilation))
        if row.excite:
            squeeze = round_channels(hidden // 4)
            layers.append(SqueezeExcitation(hidden, squeeze, scale_activation=nn.Hardsigmoid))
        layers.append(conv_norm(hidden, row.c_out, 1, norm=norm, activation=None))
        self.block = nn.Sequential(*layers)
        self.adds = row.stride == 1 and c_in == row.c_out

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        return x + self.block(x) if self.adds else self.block(x)


# The tables of the paper: kernel, hidden, c_out, excite, hard, stride (see _Row).
_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class MobileNetV3(nn.Module):
    """A stem, inverted residuals, a 1x1 convolution, pooling and two dense layers.

    Parameters
    ----------
    config : {"small", "large"}
    num_classes, in_channels : int
    width_mult : float
        Factor on the number of channels.
    reduced_tail : bool
        Use half as many channels in the last layers.
    dilated : bool
        Use dilation 2 instead of the last stride.
    norm_layer : callable ``(channels) -> Module``, optional
        BatchNorm2d with eps 0.001 and momentum 0.01 by default.
    dropout : float
        Probability of the dropout before the last dense layer.
    """

    def __init__(
        self,
        config: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        reduced_tail: bool = False,
        dilated: bool = False,
        norm_layer: Layer | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check(
            config in ("small", "large"), "MobileNetV3", f"config must be 'small' or 'large', got {config!r}"
        )
        norm = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        tail = 2 if reduced_tail else 1
        table, last = (_SMALL, 1024) if config == "small" else (_LARGE, 1280)
        c_in = round_channels(16 * width_mult)
        stem = conv_norm(in_channels, c_in, 3, 2, norm=norm, activation=nn.Hardswish)
        features: list[nn.Module] = [stem]
        for i, (kernel, hidden, c_out, excite, hard, stride) in enumerate(table):
            ending = i - len(table) + 3  # 0, 1, 2 for the last three blocks
            row = _Row(
                kernel,
                round_channels((hidden // tail if ending > 0 else hidden) * width_mult),
                round_channels((c_out // tail if ending >= 0 else c_out) * width_mult),
                excite,
                hard,
                stride,
                2 if dilated and ending >= 0 else 1,
            )
            features.append(_Block(c_in, row, norm))
            c_in = row.c_out
        features.append(conv_norm(c_in, 6 * c_in, 1, norm=norm, activation=nn.Hardswish))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        wide = round_channels(last // tail * width_mult)
        self.classifier = nn.Sequential(
            nn.Linear(6 * c_in, wide), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(wide, num_classes)
        )
        init_convs(self, _init_dense)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _v3(config: str, parameters: int) -> Callable[..., MobileNetV3]:
    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        reduced_tail: bool = False,
        dilated: bool = False,
        norm_layer: Layer | None = None,
        dropout: float = 0.2,
    ) -> MobileNetV3:
        return MobileNetV3(
            config, num_classes, in_channels, width_mult, reduced_tail, dilated, norm_layer, dropout
        )

    build.__name__ = build.__qualname__ = f"mobilenet_v3_{config}"
    build.__doc__ = f"MobileNetV3 {config} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


mobilenet_v3_small = _v3("small", 2_542_856)
mobilenet_v3_large = _v3("large", 5_483_032)
