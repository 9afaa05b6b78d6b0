"""EfficientNet (Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
2019).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, sqrt

from fastconv import nn
from fastconv.tensor import Tensor

from .blocks import Layer, SqueezeExcitation, StochasticDepth, conv_norm, init_convs, round_channels
from .builders import builder


class _MBConv(nn.Module):
    """A 1x1 convolution to more channels, a depthwise one, squeeze and excitation, and a 1x1 convolution to
    ``c_out`` channels; the input is added if the result has its shape."""

    def __init__(
        self, c_in: int, c_out: int, expand: int, kernel: int, stride: int, drop: float, norm: Layer
    ) -> None:
        super().__init__()
        hidden, layer = round_channels(c_in * expand), partial(conv_norm, norm=norm, activation=nn.SiLU)
        layers: list[nn.Module] = [layer(c_in, hidden, 1)] if hidden != c_in else []
        layers += [
            layer(hidden, hidden, kernel, stride, groups=hidden),
            SqueezeExcitation(hidden, max(1, c_in // 4), activation=nn.SiLU),
            conv_norm(hidden, c_out, 1, norm=norm, activation=None),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop, "row")
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        return x + self.stochastic_depth(self.block(x)) if self.adds else self.block(x)


#: Stages of EfficientNet-B0: expansion, kernel, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNet(nn.Module):
    """A stem, stages of inverted residuals with squeeze and excitation, pooling and a dense layer.

    Parameters
    ----------
    width_mult, depth_mult : float
        Factors on the number of channels and of blocks.
    dropout : float
        Probability of the dropout before the dense layer.
    num_classes, in_channels : int
    stochastic_depth_prob : float
        In training, block i of n (from 0) is left out with probability ``stochastic_depth_prob * i / n``.
    norm_layer : callable ``(channels) -> Module``, optional
        BatchNorm2d by default.
    """

    def __init__(
        self,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        stochastic_depth_prob: float = 0.2,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        norm = norm_layer or nn.BatchNorm2d
        counts = [ceil(count * depth_mult) for *_, count in _STAGES]
        c_in, done = round_channels(32 * width_mult), 0
        features: list[nn.Module] = [conv_norm(in_channels, c_in, 3, 2, norm=norm, activation=nn.SiLU)]
        for (expand, kernel, stride, channels, _), count in zip(_STAGES, counts):
            blocks, c_out = nn.Sequential(), round_channels(channels * width_mult)
            for i in range(count):
                drop = stochastic_depth_prob * done / sum(counts)
                blocks.append(_MBConv(c_in, c_out, expand, kernel, 1 if i else stride, drop, norm))
                c_in, done = c_out, done + 1
            features.append(blocks)
        features.append(conv_norm(c_in, 4 * c_in, 1, norm=norm, activation=nn.SiLU))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * c_in, num_classes))
        bound = 1 / sqrt(num_classes)
        init_convs(self, lambda m: nn.init.uniform_(m.weight, -bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _scaled(
    name: str, width_mult: float, depth_mult: float, usual: float, parameters: int
) -> Callable[..., EfficientNet]:
    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = usual,
        stochastic_depth_prob: float = 0.2,
        norm_layer: Layer | None = None,
    ) -> EfficientNet:
        return EfficientNet(
            width_mult, depth_mult, dropout, num_classes, in_channels, stochastic_depth_prob, norm_layer
        )

    build.__name__ = build.__qualname__ = f"efficientnet_{name}"
    build.__doc__ = f"EfficientNet-{name.upper()} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


efficientnet_b0 = _scaled("b0", 1.0, 1.0, 0.2, 5_288_548)
efficientnet_b1 = _scaled("b1", 1.0, 1.1, 0.2, 7_794_184)
efficientnet_b2 = _scaled("b2", 1.1, 1.2, 0.3, 9_109_994)
