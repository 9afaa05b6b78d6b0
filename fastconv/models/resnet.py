"""Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016).

Parameters are named and shaped as torchvision's, so its state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import nn
from ..tensor import Tensor


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)


class _Block(nn.Module):
    """Convolutions, each with BatchNorm and ReLU; a shortcut is added before the last ReLU."""

    expansion: int

    def __init__(
        self, c_in: int, width: int, stride: int, shapes: Sequence[tuple[int, int, int, int]]
    ) -> None:
        super().__init__()
        c_out = width * self.expansion
        for i, (channels_in, channels_out, kernel, step) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", _conv(channels_in, channels_out, kernel, step))
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels_out, activation="relu"))
        self.depth = len(shapes)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(_conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        y = x
        for i in range(1, self.depth):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
        y = getattr(self, f"conv{self.depth}")(y)
        carried = x if self.downsample is None else self.downsample(x)
        return getattr(self, f"bn{self.depth}")(y, carried)

    def residual_form(self) -> tuple[tuple[nn.Module, ...], nn.Module | None]:
        """What ``forward`` computes, for ``optimize_for_inference``: ``body(x) + shortcut(x)``.

        The last module of the body gets the result of the shortcut as its second argument.
        """
        pairs = range(1, self.depth + 1)
        return tuple(getattr(self, f"{name}{i}") for i in pairs for name in ("conv", "bn")), self.downsample


class BasicBlock(_Block):
    """A block of two 3x3 convolutions."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__(c_in, width, stride, [(c_in, width, 3, stride), (width, width, 3, 1)])


class Bottleneck(_Block):
    """A block of three convolutions: 1x1, 3x3 with the stride, and 1x1 to four times the width."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__(
            c_in, width, stride, [(c_in, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        )


class ResNet(nn.Module):
    """A stem, four stages of blocks, global average pooling and a dense layer.

    Parameters
    ----------
    block : type
        :class:`BasicBlock` or :class:`Bottleneck`.
    layers : sequence of four int
        Blocks per stage.
    num_classes, in_channels : int
    small_input : bool
        For images of about 32x32: the stem is a 3x3 convolution with stride 1. The default is a 7x7
        convolution with stride 2 and max pooling.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.models.resnet18(num_classes=10, small_input=True).eval()(fc.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    in_sequence = (("conv1", "bn1"),)  # see optimize_for_inference

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        small_input: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, 64, 3) if small_input else _conv(in_channels, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64, activation="relu")
        self.maxpool = nn.Identity() if small_input else nn.MaxPool2d(3, stride=2, padding=1)
        c_in = 64
        for stage, count in enumerate(layers):
            width = 64 << stage
            blocks: list[nn.Module] = []
            for i in range(count):
                blocks.append(block(c_in, width, 2 if stage and i == 0 else 1))
                c_in = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        x = self.maxpool(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(num_classes: int = 1000, in_channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-18 (11,689,512 parameters for 1000 classes)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels, small_input)


def resnet34(num_classes: int = 1000, in_channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-34 (21,797,672 parameters for 1000 classes)."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels, small_input)


def resnet50(num_classes: int = 1000, in_channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-50 (25,557,032 parameters for 1000 classes)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels, small_input)
