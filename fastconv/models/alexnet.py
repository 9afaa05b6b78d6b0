"""AlexNet in its one-column form (Krizhevsky, "One weird trick for parallelizing convolutional neural
networks", 2014)."""

from __future__ import annotations

from .. import nn
from ..tensor import Tensor
from .builders import builder


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, for ``in_channels x 224 x 224`` images.

    Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.

    Parameters
    ----------
    num_classes, in_channels : int
    dropout : float
        Probability of the dropout before each of the first two dense layers.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes`` of images ``N x in_channels x 224 x 224``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@builder
def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet:
    """AlexNet (61,100,840 parameters for 1000 classes)."""
    return AlexNet(num_classes, in_channels, dropout)
