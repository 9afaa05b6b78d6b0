"""U-Net (Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation",
2015)."""

from __future__ import annotations

from fastconv import nn
from fastconv.checks import check, shape_str
from fastconv.functions.joining import cat
from fastconv.nn import functional as F
from fastconv.tensor import Tensor

from .blocks import conv_norm
from .builders import builder


def _double(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm(c_in, c_out), *conv_norm(c_out, c_out))


class _Up(nn.Module):
    """Doubles the size, concatenates the result of the same size from the way down, and convolves twice."""

    def __init__(self, c_in: int, c_out: int, bilinear: bool) -> None:
        super().__init__()
        self.up = (
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(c_in, c_out, 1))
            if bilinear
            else nn.ConvTranspose2d(c_in, c_out, 2, stride=2)
        )
        self.conv = _double(2 * c_out, c_out)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """``N x C_in x H x W`` and ``N x C_out x H' x W'`` to ``N x C_out x H' x W'``."""
        x = self.up(x)
        # pooling has dropped the last row or column of an odd size
        rows, columns = (n - m for n, m in zip(beside.shape[2:], x.shape[2:]))
        if rows or columns:
            x = F.pad(x, (0, columns, 0, rows))
        return self.conv(cat((beside, x), 1))


class UNet(nn.Module):
    """Convolutions at decreasing, then increasing sizes of the image, which predict a class for every pixel.

    At each size, the result from the way down is concatenated on the way up. Different from the paper, but as
    is usual today, convolutions are padded, so the result has the size of the image, and BatchNorm follows
    each convolution.

    Parameters
    ----------
    in_channels, num_classes : int
    width : int
        Channels at the full size; each smaller size has twice as many.
    depth : int
        How many times the size is halved. Images must have at least ``2 ** depth`` rows and columns.
    bilinear : bool
        Double the size by bilinear interpolation and a 1x1 convolution instead of a transposed convolution.

    Raises
    ------
    ValueError
        ``width`` or ``depth`` is not positive, or, when called, the images are too small.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        width: int = 64,
        depth: int = 4,
        bilinear: bool = False,
    ) -> None:
        super().__init__()
        check(depth >= 1 and width >= 1, "unet", f"width and depth must be positive, got {width} and {depth}")
        widths = [width << i for i in range(depth + 1)]
        self.first = _double(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(_double(a, b) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(_Up(b, a, bilinear) for a, b in zip(widths[-2::-1], widths[:0:-1]))
        self.last = nn.Conv2d(width, num_classes, 1)
        for m in self.modules():
            if isinstance(m, nn.Conv2d) and m is not self.last:
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``N x num_classes x H x W`` of images ``N x in_channels x H x W``."""
        smallest = 1 << len(self.down)
        check(
            x.ndim == 4 and min(x.shape[2:]) >= smallest,
            "unet",
            f"expected images N x C x H x W of at least {smallest}x{smallest}, got {shape_str(x.shape)}",
        )
        kept = [self.first(x)]
        for down in self.down:
            kept.append(down(self.pool(kept[-1])))
        x = kept.pop()
        for up in self.up:
            x = up(x, kept.pop())
        return self.last(x)


@builder
def unet(
    in_channels: int = 3, num_classes: int = 1, width: int = 64, depth: int = 4, bilinear: bool = False
) -> UNet:
    """U-Net (31,037,633 parameters for three channels and one class).

    >>> fc.models.unet(1, 2, width=4, depth=2).eval()(fc.zeros(1, 1, 12, 10)).shape
    (1, 2, 12, 10)
    """
    return UNet(in_channels, num_classes, width, depth, bilinear)
