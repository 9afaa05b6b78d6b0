"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
1998)."""

from __future__ import annotations

from .. import nn
from .builders import builder


@builder
def lenet5(num_classes: int = 10, in_channels: int = 1, modern: bool = False) -> nn.Sequential:
    """LeNet-5 for ``in_channels x 28 x 28`` images (61,706 parameters for one channel and 10 classes).

    Parameters
    ----------
    num_classes, in_channels : int
    modern : bool
        False: sigmoid, average pooling, Xavier-uniform weights. True: ReLU, max pooling, Kaiming-uniform
        weights.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.models.lenet5()(fc.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """
    act, pool = (nn.ReLU, nn.MaxPool2d) if modern else (nn.Sigmoid, nn.AvgPool2d)
    net = nn.Sequential(
        nn.Conv2d(in_channels, 6, kernel_size=5, padding=2),
        act(),
        pool(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        act(),
        pool(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        act(),
        nn.Linear(120, 84),
        act(),
        nn.Linear(84, num_classes),
    )

    def init_weights(m: nn.Module) -> None:
        if type(m) is nn.Linear or type(m) is nn.Conv2d:
            if modern:
                nn.init.kaiming_uniform_(m.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(m.weight)

    return net.apply(init_weights)
