"""DenseNet (Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", 2017).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastconv import nn
from fastconv.checks import check
from fastconv.functions.joining import cat
from fastconv.nn import functional as F
from fastconv.tensor import Tensor

from .builders import builder


class _DenseLayer(nn.Module):
    """Computes ``growth_rate`` new channels from all channels so far."""

    def __init__(self, c_in: int, growth_rate: int, bn_size: int, drop_rate: float) -> None:
        super().__init__()
        hidden = bn_size * growth_rate
        self.norm1 = nn.BatchNorm2d(c_in, activation="relu")
        self.conv1 = nn.Conv2d(c_in, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden, activation="relu")
        self.conv2 = nn.Conv2d(hidden, growth_rate, 3, padding=1, bias=False)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x growth_rate x H x W``."""
        y = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return F.dropout(y, self.drop_rate, self.training) if self.drop_rate else y


class _DenseBlock(nn.Module):
    """Layers whose results are all concatenated to the input."""

    def __init__(self, count: int, c_in: int, growth_rate: int, bn_size: int, drop_rate: float) -> None:
        super().__init__()
        for i in range(count):
            layer = _DenseLayer(c_in + i * growth_rate, growth_rate, bn_size, drop_rate)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x (C_in + count * growth_rate) x H x W``."""
        for layer in self.children():
            x = cat((x, layer(x)), 1)
        return x


def _named(**layers: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


class DenseNet(nn.Module):
    """A stem, four dense blocks with transitions between them, pooling and a dense layer.

    Parameters
    ----------
    growth_rate : int
        Channels that each layer adds.
    block_config : sequence of int
        Layers per block.
    num_init_features : int
        Channels of the stem.
    bn_size : int
        The number of channels between the two convolutions of a layer is ``bn_size * growth_rate``.
    drop_rate : float
        Probability of dropout after each layer.
    num_classes, in_channels : int
    memory_efficient : bool
        Must be False; computing layers again in the backward pass is not supported.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0,
        num_classes: int = 1000,
        in_channels: int = 3,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        check(
            not memory_efficient,
            "DenseNet",
            "memory_efficient=True is not supported, because results are not computed twice; leave it out",
        )
        channels = num_init_features
        self.features = _named(
            conv0=nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        for i, count in enumerate(block_config, 1):
            block = _DenseBlock(count, channels, growth_rate, bn_size, drop_rate)
            self.features.add_module(f"denseblock{i}", block)
            channels += count * growth_rate
            if i < len(block_config):
                transition = _named(
                    norm=nn.BatchNorm2d(channels),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                    pool=nn.AvgPool2d(2),
                )
                self.features.add_module(f"transition{i}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels, activation="relu"))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _by_depth(
    depth: int, growth_rate: int, block_config: Sequence[int], stem: int, parameters: int
) -> Callable[..., DenseNet]:
    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        bn_size: int = 4,
        drop_rate: float = 0,
        memory_efficient: bool = False,
    ) -> DenseNet:
        sizes = growth_rate, block_config, stem, bn_size
        return DenseNet(*sizes, drop_rate, num_classes, in_channels, memory_efficient)

    build.__name__ = build.__qualname__ = f"densenet{depth}"
    build.__doc__ = f"DenseNet-{depth} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


densenet121 = _by_depth(121, 32, (6, 12, 24, 16), 64, 7_978_856)
densenet161 = _by_depth(161, 48, (6, 12, 36, 24), 96, 28_681_000)
densenet169 = _by_depth(169, 32, (6, 12, 32, 32), 64, 14_149_480)
densenet201 = _by_depth(201, 32, (6, 12, 48, 32), 64, 20_013_928)
