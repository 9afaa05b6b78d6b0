"""GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015), with BatchNorm as torchvision has it.

Parameters have torchvision's names and shapes, so torchvision's state dicts load without conversion.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv import nn
from fastconv.creation import tensor
from fastconv.functions.joining import cat
from fastconv.nn import functional as F
from fastconv.tensor import Tensor

from .builders import builder


class GoogLeNetOutputs(NamedTuple):
    """The result of GoogLeNet in training: the logits, and those of the two auxiliary classifiers.

    Each is a Tensor ``N x num_classes``.
    """

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


class _Conv(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x C_out x H' x W'``."""
        return self.bn(self.conv(x))


class _Inception(nn.Module):
    """Four branches, concatenated: 1x1, 3x3 and 3x3 convolutions, and pooling.

    As in torchvision, the third branch has a 3x3 convolution, where the paper has 5x5.
    """

    def __init__(self, c_in: int, c1: int, c3_in: int, c3: int, c5_in: int, c5: int, c_pool: int) -> None:
        super().__init__()
        self.branch1 = _Conv(c_in, c1, 1)
        self.branch2 = nn.Sequential(_Conv(c_in, c3_in, 1), _Conv(c3_in, c3, 3))
        self.branch3 = nn.Sequential(_Conv(c_in, c5_in, 1), _Conv(c5_in, c5, 3))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), _Conv(c_in, c_pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``N x C_in x H x W -> N x (c1 + c3 + c5 + c_pool) x H x W``."""
        return cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class _Auxiliary(nn.Module):
    def __init__(self, c_in: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = _Conv(c_in, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes``."""
        x = F.relu(self.fc1(self.conv(self.avgpool(x)).flatten(1)))
        return self.fc2(self.dropout(x))


class GoogLeNet(nn.Module):
    """A stem, nine inception modules, pooling and a dense layer.

    Parameters
    ----------
    num_classes, in_channels : int
    aux_logits : bool
        Add two auxiliary classifiers, which are computed in training only.
    transform_input : bool
        Expect images that are normalised with torchvision's means and standard deviations, and rescale them
        from that to [-1, 1].
    init_weights : bool or None
        None or True: normal weights with standard deviation 0.01. False: the usual initialisation of the
        layers.
    dropout, dropout_aux : float
        Probabilities of the dropout before the last dense layer, and in the auxiliary classifiers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        self.aux_logits, self.transform_input = aux_logits, transform_input
        self.conv1 = _Conv(in_channels, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2, self.conv3 = _Conv(64, 64, 1), _Conv(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = _Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = _Inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = _Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = _Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = _Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = _Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = _Inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = _Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = _Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = _Auxiliary(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = _Auxiliary(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights in (None, True):
            for m in self.modules():
                if isinstance(m, (nn.Conv2d, nn.Linear)):
                    # torchvision truncates the normal distribution at 200 standard deviations: no difference
                    nn.init.normal_(m.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Any:
        """Logits ``N x num_classes`` of images ``N x in_channels x H x W``; in training, if ``aux_logits`` is
        True, a :class:`GoogLeNetOutputs`."""
        if self.transform_input:
            means, deviations = tensor([0.485, 0.456, 0.406]), tensor([0.229, 0.224, 0.225])
            scale, shift = (
                v.reshape(1, 3, 1, 1).to(x.device) for v in (deviations / 0.5, (means - 0.5) / 0.5)
            )
            x = x * scale + shift
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        early = x
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        late = x
        x = self.inception5a(self.maxpool4(self.inception4e(x)))
        logits = self.fc(self.dropout(self.avgpool(self.inception5b(x)).flatten(1)))
        if not self.training or self.aux1 is None or self.aux2 is None:
            return logits
        aux1 = self.aux1(early)  # aux1 before aux2, because dropout draws random numbers in this order
        return GoogLeNetOutputs(logits, self.aux2(late), aux1)


@builder
def googlenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    aux_logits: bool = True,
    transform_input: bool = False,
    init_weights: bool | None = None,
    dropout: float = 0.2,
    dropout_aux: float = 0.7,
) -> GoogLeNet:
    """GoogLeNet (6,624,904 parameters for 1000 classes, 13,004,888 with the auxiliary classifiers)."""
    return GoogLeNet(
        num_classes, in_channels, aux_logits, transform_input, init_weights, dropout, dropout_aux
    )
