"""Layers that resize, and that move pixels to channels and back."""

from __future__ import annotations

from .. import functional as F
from .base import FunctionLayer


class Upsample(FunctionLayer, function=F.interpolate, without=("antialias",)):
    """Resizes signals (1-D), images or volumes; see :func:`fastconv.nn.functional.interpolate`.

    Attributes
    ----------
    size : int or one per spatial dimension
    scale_factor : float or one per spatial dimension
        Give either ``size`` or ``scale_factor``.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"}
    align_corners : bool, optional
        For the linear and cubic modes. True maps the centres of the corner pixels of input and output onto
        each other. By default the edges of both images are mapped onto each other.
    recompute_scale_factor : bool, optional
        True uses ``scale_factor`` for the output size only, and computes coordinates from the two sizes.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Upsample(scale_factor=2)(fc.zeros(1, 3, 8, 8)).shape
    (1, 3, 16, 16)
    """


class UpsamplingNearest2d(FunctionLayer, function=F.upsample_nearest):
    """:class:`Upsample` with ``mode="nearest"``."""


class UpsamplingBilinear2d(FunctionLayer, function=F.upsample_bilinear):
    """:class:`Upsample` with ``mode="bilinear", align_corners=True``."""


class PixelShuffle(FunctionLayer, function=F.pixel_shuffle):
    """Pixels from channels: ``N x C r^2 x H x W`` becomes ``N x C x H r x W r`` (Shi et al. 2016).

    Attributes
    ----------
    upscale_factor : int
        ``r``

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.PixelShuffle(2)(fc.zeros(1, 12, 4, 5)).shape
    (1, 3, 8, 10)
    """


class PixelUnshuffle(FunctionLayer, function=F.pixel_unshuffle):
    """Channels from pixels, the reverse of :class:`PixelShuffle`.

    Attributes
    ----------
    downscale_factor : int
    """


class ChannelShuffle(FunctionLayer, function=F.channel_shuffle):
    """Channels in another order: the first of each group, then the second of each (Zhang et al. 2018).

    Attributes
    ----------
    groups : int
    """
