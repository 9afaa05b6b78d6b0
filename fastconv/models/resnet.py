"""Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016), with the
variants ResNeXt (Xie et al., "Aggregated residual transformations for deep neural networks", 2017) and Wide
ResNet (Zagoruyko and Komodakis, "Wide residual networks", 2016).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import nn
from ..checks import check, int_tuple
from ..tensor import Tensor
from .builders import builder


def _conv(
    c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    padding = kernel // 2 * dilation
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)


class _Block(nn.Module):
    """Convolutions, each with BatchNorm and ReLU; a shortcut is added before the last ReLU."""

    expansion: int

    def __init__(self, c_in: int, width: int, stride: int, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        c_out = width * self.expansion
        for i, (channels_in, channels_out, *others) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", _conv(channels_in, channels_out, *others))
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


class BasicBlock(_Block):
    """A block of two 3x3 convolutions."""

    expansion = 1

    def __init__(
        self,
        c_in: int,
        width: int,
        stride: int,
        groups: int = 1,
        width_per_group: int = 64,
        dilation: int = 1,
    ) -> None:
        check(
            (groups, width_per_group, dilation) == (1, 64, 1),
            "ResNet",
            "groups, width_per_group and replace_stride_with_dilation are for networks of Bottleneck blocks, "
            "such as resnet50",
        )
        super().__init__(c_in, width, stride, [(c_in, width, 3, stride), (width, width, 3, 1)])


class Bottleneck(_Block):
    """A block of three convolutions: 1x1, 3x3 with the stride, and 1x1 to four times the width."""

    expansion = 4

    def __init__(
        self,
        c_in: int,
        width: int,
        stride: int,
        groups: int = 1,
        width_per_group: int = 64,
        dilation: int = 1,
    ) -> None:
        inner = width * width_per_group // 64 * groups
        middle = (inner, inner, 3, stride, groups, dilation)
        super().__init__(c_in, width, stride, [(c_in, inner, 1), middle, (inner, 4 * width, 1)])


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
    zero_init_residual : bool
        Set the weight of the last BatchNorm of each block to 0, so that at first a block computes only its
        shortcut.
    groups, width_per_group : int
        Groups of the 3x3 convolutions, and channels per group in the first stage; only for Bottleneck blocks.
    replace_stride_with_dilation : three bool, optional
        Whether the second, third and fourth stage use dilation instead of a stride; only for Bottleneck
        blocks.

    Raises
    ------
    ValueError, TypeError
        ``layers`` are not four positive ints, an option for Bottleneck blocks is used with
        :class:`BasicBlock`, or ``replace_stride_with_dilation`` does not have three values.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.models.resnet18(num_classes=10, small_input=True).eval()(fc.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        small_input: bool = False,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        check(
            isinstance(layers, (tuple, list)) and len(layers) == 4,
            "ResNet",
            f"layers must be four ints, the blocks of each stage, got {layers!r:.60}",
            TypeError if not isinstance(layers, (tuple, list)) else ValueError,
        )
        int_tuple("ResNet", "layers", layers, 4, 1)
        dilate = (False, *(replace_stride_with_dilation or (False,) * 3))
        check(
            len(dilate) == 4,
            "ResNet",
            f"replace_stride_with_dilation must be three bools, got {replace_stride_with_dilation}",
        )
        self.conv1 = _conv(in_channels, 64, 3) if small_input else _conv(in_channels, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64, activation="relu")
        self.maxpool = nn.Identity() if small_input else nn.MaxPool2d(3, stride=2, padding=1)
        c_in, dilation = 64, 1
        for stage, count in enumerate(layers):
            width, stride = 64 << stage, 2 if stage else 1
            blocks: list[nn.Module] = []
            for i in range(count):
                step = stride if i == 0 and not dilate[stage] else 1
                blocks.append(block(c_in, width, step, groups, width_per_group, dilation))
                c_in = width * block.expansion
                if i == 0 and dilate[stage]:  # the first block has the dilation of the stage before
                    dilation *= stride
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(m, _Block):
                nn.init.zeros_(getattr(m, f"bn{m.depth}").weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        x = self.maxpool(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(self.avgpool(x).flatten(1))


def _by_depth(
    name: str,
    title: str,
    block: type[BasicBlock] | type[Bottleneck],
    layers: Sequence[int],
    parameters: int,
    groups: int = 1,
    width_per_group: int = 64,
) -> Callable[..., ResNet]:
    usual = groups, width_per_group

    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        small_input: bool = False,
        zero_init_residual: bool = False,
        groups: int = usual[0],
        width_per_group: int = usual[1],
        replace_stride_with_dilation: Sequence[bool] | None = None,
    ) -> ResNet:
        options = groups, width_per_group, replace_stride_with_dilation
        return ResNet(block, layers, num_classes, in_channels, small_input, zero_init_residual, *options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{title} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


resnet18 = _by_depth("resnet18", "ResNet-18", BasicBlock, (2, 2, 2, 2), 11_689_512)
resnet34 = _by_depth("resnet34", "ResNet-34", BasicBlock, (3, 4, 6, 3), 21_797_672)
resnet50 = _by_depth("resnet50", "ResNet-50", Bottleneck, (3, 4, 6, 3), 25_557_032)
resnet101 = _by_depth("resnet101", "ResNet-101", Bottleneck, (3, 4, 23, 3), 44_549_160)
resnet152 = _by_depth("resnet152", "ResNet-152", Bottleneck, (3, 8, 36, 3), 60_192_808)
resnext50_32x4d = _by_depth(
    "resnext50_32x4d", "ResNeXt-50 32x4d", Bottleneck, (3, 4, 6, 3), 25_028_904, 32, 4
)
resnext101_32x8d = _by_depth(
    "resnext101_32x8d", "ResNeXt-101 32x8d", Bottleneck, (3, 4, 23, 3), 88_791_336, 32, 8
)
resnext101_64x4d = _by_depth(
    "resnext101_64x4d", "ResNeXt-101 64x4d", Bottleneck, (3, 4, 23, 3), 83_455_272, 64, 4
)
wide_resnet50_2 = _by_depth(
    "wide_resnet50_2", "Wide ResNet-50-2", Bottleneck, (3, 4, 6, 3), 68_883_240, 1, 128
)
wide_resnet101_2 = _by_depth(
    "wide_resnet101_2", "Wide ResNet-101-2", Bottleneck, (3, 4, 23, 3), 126_886_696, 1, 128
)
