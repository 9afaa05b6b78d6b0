"""Max, average and adaptive pooling."""

from __future__ import annotations

from ...spec import pool_spec
from .. import functional as F
from ..fused_chain import FusionSteps
from .base import FunctionLayer

_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel_size", "stride", "padding")


class MaxPool1d(FunctionLayer, function=F.max_pool1d, shown=_MAX):
    """Maximum over windows of ``N x C x W`` or ``C x W``; the options of :class:`MaxPool2d`."""


class MaxPool2d(FunctionLayer, function=F.max_pool2d, shown=_MAX):
    """Maximum over windows of ``N x C x H x W`` or ``C x H x W``.

    Attributes
    ----------
    kernel_size : int or one per dimension
    stride : int or one per dimension, default ``kernel_size``
    padding : int, one int or one ``(before, after)`` pair per dimension, at most half of the window
    dilation : int or one per dimension
    ceil_mode : bool
        Round the output size up: the last window may reach over the edge.
    return_indices : bool
        Also return the flat positions (int64) of the maxima in each plane.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.MaxPool2d(2)(fc.zeros(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
    """

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """One step; None where positions are wanted, because a chain has one result."""
        if self.return_indices:
            return None
        spec = pool_spec(
            "max_pool2d",
            shape,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            True,
            None,
        )
        return [("max_pool", spec)], spec.y_shape, ()


class MaxPool3d(FunctionLayer, function=F.max_pool3d, shown=_MAX):
    """Maximum over windows of ``N x C x D x H x W``, or without ``N``; the options of :class:`MaxPool2d`."""


class AvgPool1d(FunctionLayer, function=F.avg_pool1d, shown=_AVG):
    """Mean over windows of ``N x C x W`` or ``C x W``; the options of :class:`AvgPool2d`."""


class AvgPool2d(FunctionLayer, function=F.avg_pool2d, shown=_AVG):
    """Mean over windows of ``N x C x H x W`` or ``C x H x W``.

    The options ``kernel_size``, ``stride``, ``padding`` and ``ceil_mode`` are those of :class:`MaxPool2d`.

    Attributes
    ----------
    count_include_pad : bool
        Whether zeros of the padding count as elements of a window.
    divisor_override : int, optional
        Divide the sum of every window by this number.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.AvgPool2d(2)(fc.ones(1, 1, 4, 4)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        spec = pool_spec(
            "avg_pool2d",
            shape,
            self.kernel_size,
            self.stride,
            self.padding,
            1,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
        return [("avg_pool", spec)], spec.y_shape, ()


class AvgPool3d(FunctionLayer, function=F.avg_pool3d, shown=_AVG):
    """Mean over windows of ``N x C x D x H x W``, or without ``N``; the options of :class:`AvgPool2d`."""


class AdaptiveAvgPool2d(FunctionLayer, function=F.adaptive_avg_pool2d):
    """Mean over windows chosen such that ``N x C x H x W`` becomes ``N x C x output_size``.

    Attributes
    ----------
    output_size : int or (H_out, W_out)
        None instead of a number keeps the extent of the input.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.AdaptiveAvgPool2d(1)(fc.zeros(2, 8, 7, 5)).shape
    (2, 8, 1, 1)
    """


class AdaptiveMaxPool2d(FunctionLayer, function=F.adaptive_max_pool2d, shown=("output_size",)):
    """Maximum over windows chosen such that ``N x C x H x W`` becomes ``N x C x output_size``.

    Attributes
    ----------
    output_size : int or (H_out, W_out)
        None instead of a number keeps the extent of the input.
    return_indices : bool
        Also return the flat positions (int64) of the maxima in each plane.
    """
