"""ShuffleNetV2 (Ma, Zhang, Zheng and Sun, "ShuffleNet V2: practical guidelines for efficient CNN architecture
design", 2018).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastconv import nn
from fastconv.checks import check
from fastconv.functions.joining import cat
from fastconv.nn import functional as F
from fastconv.tensor import Tensor

from .blocks import conv_norm
from .builders import builder


class _Unit(nn.Module):
    """With stride 1, half of the channels pass unchanged and the others go through convolutions.

    With a larger stride, two branches of convolutions read all channels. The results are concatenated, and
    the channels are shuffled.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half = c_out // 2
        check(stride > 1 or c_in == c_out, "ShuffleNetV2", f"a unit of stride 1 keeps its {c_in} channels")

        def depthwise(channels: int) -> list[nn.Module]:
            conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
            return [conv, nn.BatchNorm2d(channels)]

        strided = [*depthwise(c_in), *conv_norm(c_in, half, 1)]
        self.branch1 = nn.Sequential(*strided) if stride > 1 else nn.Sequential()
        entry = conv_norm(c_in if stride > 1 else half, half, 1)
        self.branch2 = nn.Sequential(*entry, *depthwise(half), *conv_norm(half, half, 1))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        passing, convolved = x.chunk(2, 1) if self.stride == 1 else (self.branch1(x), x)
        return F.channel_shuffle(cat((passing, self.branch2(convolved)), 1), 2)


class ShuffleNetV2(nn.Module):
    """A stem, three stages, a 1x1 convolution, pooling and a dense layer.

    Parameters
    ----------
    stages_repeats : sequence of three int
        Units per stage.
    stages_out_channels : sequence of five int
        Channels of the stem, of the stages and of the last convolution.
    num_classes, in_channels : int
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        for key, value, n in (
            ("stages_repeats", stages_repeats, 3),
            ("stages_out_channels", stages_out_channels, 5),
        ):
            check(len(value) == n, "ShuffleNetV2", f"{key} must be {n} numbers, got {value}")
        c_in, *widths, last = stages_out_channels
        self.conv1 = conv_norm(in_channels, c_in, 3, 2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, (count, c_out) in enumerate(zip(stages_repeats, widths), 2):
            units = [_Unit(c_in, c_out, 2), *(_Unit(c_out, c_out, 1) for _ in range(count - 1))]
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            c_in = c_out
        self.conv5 = conv_norm(c_in, last, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        x = self.maxpool(self.conv1(x))
        for stage in (self.stage2, self.stage3, self.stage4):
            x = stage(x)
        return self.fc(self.avgpool(self.conv5(x)).flatten(1))


def _by_width(name: str, widths: Sequence[int], parameters: int) -> Callable[..., ShuffleNetV2]:
    def build(num_classes: int = 1000, in_channels: int = 3) -> ShuffleNetV2:
        return ShuffleNetV2((4, 8, 4), widths, num_classes, in_channels)

    build.__name__ = build.__qualname__ = f"shufflenet_v2_{name}"
    build.__doc__ = f"ShuffleNetV2 {name} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


shufflenet_v2_x0_5 = _by_width("x0_5", (24, 48, 96, 192, 1024), 1_366_792)
shufflenet_v2_x1_0 = _by_width("x1_0", (24, 116, 232, 464, 1024), 2_278_604)
shufflenet_v2_x1_5 = _by_width("x1_5", (24, 176, 352, 704, 1024), 3_503_624)
shufflenet_v2_x2_0 = _by_width("x2_0", (24, 244, 488, 976, 2048), 7_393_996)
