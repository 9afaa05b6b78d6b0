"""VGG (Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015).

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import nn
from ..checks import check
from ..tensor import Tensor
from .builders import builder

# Table 1 of the paper: convolutions per stage; every stage ends with max pooling.
STAGES = {
    "A": (1, 1, 2, 2, 2),
    "A-LRN": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}
# Output channels per stage.
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Stages of 3x3 convolutions and three dense layers, for ``in_channels x 224 x 224`` images.

    Parameters
    ----------
    config : {"A", "A-LRN", "B", "C", "D", "E"}
        Column of table 1 of the paper. A-LRN has local response normalisation after the first layer. C has a
        1x1 convolution where D has the third 3x3 convolution of a stage.
    num_classes, in_channels : int
    batch_norm : bool
        Put BatchNorm after each convolution.
    dropout : float
        Probability of the dropout after each of the first two dense layers.

    Raises
    ------
    ValueError
        ``config`` is not one of these letters.
    """

    def __init__(
        self,
        config: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check(config in STAGES, "vgg", f"config must be one of {', '.join(STAGES)}, got {config!r}")
        layers: list[nn.Module] = []
        c_in = in_channels
        for stage, (width, count) in enumerate(zip(WIDTHS, STAGES[config])):
            for i in range(count):
                kernel = 1 if config == "C" and i == 2 else 3
                layers.append(nn.Conv2d(c_in, width, kernel, padding=kernel // 2))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU())
                # The options of the AlexNet paper; its alpha is 1e-4, because it does not divide by the size.
                if config == "A-LRN" and stage == 0:
                    layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
                c_in = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x 224 x 224``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@builder
def vgg(
    config: str = "D",
    num_classes: int = 1000,
    in_channels: int = 3,
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> VGG:
    """VGG by the column of the paper's table 1: A, A-LRN, B, C, D or E; see :class:`VGG`."""
    return VGG(config, num_classes, in_channels, batch_norm, dropout)


def _by_depth(depth: int, config: str, parameters: int) -> Callable[..., VGG]:
    def build(
        num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False, dropout: float = 0.5
    ) -> VGG:
        return VGG(config, num_classes, in_channels, batch_norm, dropout)

    build.__name__ = build.__qualname__ = f"vgg{depth}"
    build.__doc__ = f"VGG {config} ({parameters:,} parameters for 1000 classes, without BatchNorm)."
    return builder(build)


vgg11 = _by_depth(11, "A", 132_863_336)
vgg13 = _by_depth(13, "B", 133_047_848)
vgg16 = _by_depth(16, "D", 138_357_544)
vgg19 = _by_depth(19, "E", 143_667_240)
