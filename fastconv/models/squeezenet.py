"""SqueezeNet (Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from fastconv import nn
from fastconv.checks import check
from fastconv.functions.joining import cat
from fastconv.tensor import Tensor

from .builders import builder


class _Fire(nn.Module):
    """A 1x1 convolution to few channels; then a 1x1 and a 3x3 convolution of these, concatenated."""

    def __init__(self, c_in: int, squeeze: int, each: int) -> None:
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(c_in, squeeze, 1), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeeze, each, 1), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeeze, each, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x (2 * each) x H x W``."""
        x = self.squeeze_activation(self.squeeze(x))
        return cat(
            (self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))), 1
        )


# Channels of the fire modules (input, squeeze, each of the two branches); 0 stands for pooling.
_FIRES = ((64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128))
_WIDE = ((256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256))
_FEATURES = {
    "1_0": ((96, 7), ((96, 16, 64), *_FIRES[1:3], 0, _FIRES[3], *_WIDE[:3], 0, _WIDE[3])),
    "1_1": ((64, 3), (*_FIRES[:2], 0, *_FIRES[2:], 0, *_WIDE)),
}


class SqueezeNet(nn.Module):
    """A stem, fire modules, and a 1x1 convolution to the classes.

    Parameters
    ----------
    version : {"1_0", "1_1"}
        Version 1.1 computes less, with the same accuracy.
    num_classes, in_channels : int
    dropout : float
        Probability of the dropout before the last convolution.
    """

    def __init__(
        self, version: str = "1_0", num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5
    ) -> None:
        super().__init__()
        check(version in _FEATURES, "SqueezeNet", f"version must be '1_0' or '1_1', got {version!r}")
        (stem, kernel), fires = _FEATURES[version]
        features: list[nn.Module] = [nn.Conv2d(in_channels, stem, kernel, stride=2), nn.ReLU()]
        for channels in (0, *fires):
            pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            features.append(_Fire(*channels) if isinstance(channels, tuple) else pool)
        self.features = nn.Sequential(*features)
        last = nn.Conv2d(512, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                if m is last:
                    nn.init.normal_(m.weight, 0.0, 0.01)
                else:
                    nn.init.kaiming_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``."""
        return self.classifier(self.features(x)).flatten(1)


@builder
def squeezenet1_0(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.0 (1,248,424 parameters for 1000 classes)."""
    return SqueezeNet("1_0", num_classes, in_channels, dropout)


@builder
def squeezenet1_1(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.1 (1,235,496 parameters for 1000 classes)."""
    return SqueezeNet("1_1", num_classes, in_channels, dropout)
