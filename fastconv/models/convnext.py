"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastconv import nn
from fastconv.checks import check, int_tuple
from fastconv.creation import full
from fastconv.tensor import Tensor

from .blocks import StochasticDepth
from .builders import builder


class _Permute(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """The dimensions in another order."""
        return x.permute(*self.dims)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.dims))


class _LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of images."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """``N x C x H x W``."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """A 7x7 depthwise convolution, layer norm and two dense layers over the channels; the input is added."""

    def __init__(self, channels: int, layer_scale: float, drop: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(full((channels, 1, 1), layer_scale))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            _Permute(0, 3, 1, 2),
        )
        self.stochastic_depth = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        """``N x C x H x W -> N x C x H x W``."""
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(nn.Module):
    """A stem of 4x4 patches, four stages, pooling, layer norm and a dense layer.

    Parameters
    ----------
    layers : sequence of int
        Blocks per stage.
    widths : sequence of int
        Channels per stage.
    num_classes, in_channels : int
    stochastic_depth_prob : float
        In training, block i of n (from 0) is left out with probability
        ``stochastic_depth_prob * i / (n - 1)``.
    layer_scale : float
        First value of the learned factors, one per channel, on the result of each block.

    Raises
    ------
    ValueError, TypeError
        ``layers`` and ``widths`` are not lists of positive ints of the same length.
    """

    def __init__(
        self,
        layers: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        name = "ConvNeXt"
        for what, value in (("layers", layers), ("widths", widths)):
            check(
                isinstance(value, (tuple, list)) and len(value) > 0,
                name,
                f"{what} must be a list with one int per stage, got {value!r:.60}",
                TypeError if not isinstance(value, (tuple, list)) else ValueError,
            )
            int_tuple(name, what, value, len(value), 1)
        check(
            len(layers) == len(widths),
            name,
            f"layers and widths must have one int per stage, got {len(layers)} and {len(widths)} ints",
        )
        stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 4, stride=4), _LayerNorm2d(widths[0], eps=1e-6)
        )
        features: list[nn.Module] = [stem]
        done, c_in = 0, widths[0]
        for count, width in zip(layers, widths):
            if done:
                shrink = nn.Conv2d(c_in, width, 2, stride=2)
                features.append(nn.Sequential(_LayerNorm2d(c_in, eps=1e-6), shrink))
            drops = [stochastic_depth_prob * i / max(sum(layers) - 1, 1) for i in range(done, done + count)]
            features.append(nn.Sequential(*(_Block(width, layer_scale, drop) for drop in drops)))
            done, c_in = done + count, width
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            _LayerNorm2d(c_in, eps=1e-6), nn.Flatten(), nn.Linear(c_in, num_classes)
        )
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                # torchvision truncates the normal distribution at 100 standard deviations: no difference
                nn.init.normal_(m.weight, 0.0, 0.02)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.avgpool(self.features(x)))


def _by_size(name: str, blocks: int, width: int, usual: float, parameters: int) -> Callable[..., ConvNeXt]:
    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        stochastic_depth_prob: float = usual,
        layer_scale: float = 1e-6,
    ) -> ConvNeXt:
        widths = [width << i for i in range(4)]
        return ConvNeXt(
            (3, 3, blocks, 3), widths, num_classes, in_channels, stochastic_depth_prob, layer_scale
        )

    build.__name__ = build.__qualname__ = f"convnext_{name}"
    build.__doc__ = f"ConvNeXt-{name.capitalize()} ({parameters:,} parameters for 1000 classes)."
    return builder(build)


convnext_tiny = _by_size("tiny", 9, 96, 0.1, 28_589_128)
convnext_small = _by_size("small", 27, 96, 0.4, 50_223_688)
convnext_base = _by_size("base", 27, 128, 0.5, 88_591_464)
