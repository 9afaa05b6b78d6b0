"""Max, average, adaptive and power-average pooling, and the reverse of max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from ...spec import pool_spec
from ...tensor import Tensor
from ...typing import TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from .base import FunctionLayer

_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel_size", "stride", "padding")


class MaxPool1d(FunctionLayer, function=F.max_pool1d, shown=_MAX):
    """Maximum over windows of ``N x C x W`` or ``C x W``; same options as :class:`MaxPool2d`."""


class MaxPool2d(FunctionLayer, function=F.max_pool2d, shown=_MAX):
    """Maximum over windows of ``N x C x H x W`` or ``C x H x W``.

    Attributes
    ----------
    kernel_size : int or one per dimension
    stride : int or one per dimension, default ``kernel_size``
    padding : int, one int or one ``(before, after)`` pair per dimension, at most half of the window
    dilation : int or one per dimension
    ceil_mode : bool
        Round the output size up, so that the last window may extend past the edge.
    return_indices : bool
        Also return the positions of the maxima as int64: flat indices into the spatial dimensions.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.MaxPool2d(2)(fc.zeros(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
    """

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """One step. None with ``return_indices``, because a chain has only one result."""
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
    """Maximum over windows of ``N x C x D x H x W``, or without ``N``; same options as :class:`MaxPool2d`."""


class AvgPool1d(FunctionLayer, function=F.avg_pool1d, shown=_AVG):
    """Mean over windows of ``N x C x W`` or ``C x W``; same options as :class:`AvgPool2d`."""


class AvgPool2d(FunctionLayer, function=F.avg_pool2d, shown=_AVG):
    """Mean over windows of ``N x C x H x W`` or ``C x H x W``.

    The options ``kernel_size``, ``stride``, ``padding`` and ``ceil_mode`` are those of :class:`MaxPool2d`.

    Attributes
    ----------
    count_include_pad : bool
        Whether the zeros of the padding count as elements of a window.
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
    """Mean over windows of ``N x C x D x H x W``, or without ``N``; same options as :class:`AvgPool2d`."""


class AdaptiveAvgPool1d(FunctionLayer, function=F.adaptive_avg_pool1d):
    """Mean over windows of ``N x C x W`` or ``C x W``; same options as :class:`AdaptiveAvgPool2d`."""


class AdaptiveAvgPool2d(FunctionLayer, function=F.adaptive_avg_pool2d):
    """Mean over windows chosen such that ``N x C x H x W`` becomes ``N x C x output_size``.

    Attributes
    ----------
    output_size : int or (H_out, W_out)
        None in place of a number keeps the extent of the input.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.AdaptiveAvgPool2d(1)(fc.zeros(2, 8, 7, 5)).shape
    (2, 8, 1, 1)
    """


class AdaptiveAvgPool3d(FunctionLayer, function=F.adaptive_avg_pool3d):
    """Mean over windows of ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`AdaptiveAvgPool2d`."""


class AdaptiveMaxPool1d(FunctionLayer, function=F.adaptive_max_pool1d, shown=("output_size",)):
    """Maximum over windows of ``N x C x W`` or ``C x W``; same options as :class:`AdaptiveMaxPool2d`."""


class AdaptiveMaxPool2d(FunctionLayer, function=F.adaptive_max_pool2d, shown=("output_size",)):
    """Maximum over windows chosen such that ``N x C x H x W`` becomes ``N x C x output_size``.

    Attributes
    ----------
    output_size : int or (H_out, W_out)
        None in place of a number keeps the extent of the input.
    return_indices : bool
        Also return the positions of the maxima as int64: flat indices into the spatial dimensions.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.AdaptiveMaxPool2d((3, None))(fc.zeros(2, 8, 7, 5)).shape
    (2, 8, 3, 5)
    """


class AdaptiveMaxPool3d(FunctionLayer, function=F.adaptive_max_pool3d, shown=("output_size",)):
    """Maximum over windows of ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`AdaptiveMaxPool2d`."""


class LPPool1d(FunctionLayer, function=F.lp_pool1d):
    """Norm of windows of ``N x C x W`` or ``C x W``; same options as :class:`LPPool2d`."""


class LPPool2d(FunctionLayer, function=F.lp_pool2d):
    """Norm ``(sum of x^p)^(1/p)`` of windows of ``N x C x H x W`` or ``C x H x W``.

    The options ``kernel_size``, ``stride`` and ``ceil_mode`` are those of :class:`MaxPool2d`.

    Attributes
    ----------
    norm_type : float
        The exponent ``p``, not 0. Infinity gives the largest magnitude, minus infinity the smallest one.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.LPPool2d(2, (1, 2))(fc.tensor([[[[3.0, 4.0]]]])).tolist()
    [[[[5.0]]]]
    """


class LPPool3d(FunctionLayer, function=F.lp_pool3d):
    """Norm of windows of ``N x C x D x H x W``, or without ``N``; same options as :class:`LPPool2d`."""


class _MaxUnpool(FunctionLayer):
    """Unpooling, which gets the output size when it is called."""

    def forward(
        self, input: TensorLike, indices: TensorLike, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """A tensor of ``output_size`` with the maxima ``input`` at the positions ``indices``."""
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool, function=F.max_unpool1d, inputs=2, without=("output_size",)):
    """Puts the maxima of ``N x C x W`` or ``C x W`` back; same options as :class:`MaxUnpool2d`."""


class MaxUnpool2d(_MaxUnpool, function=F.max_unpool2d, inputs=2, without=("output_size",)):
    """Puts the maxima that :class:`MaxPool2d` found back at their positions, and zeros elsewhere.

    It is called with the maxima, their indices and, optionally, the output size, which is by default the
    smallest that fits. See :func:`fastconv.nn.functional.max_unpool2d`.

    Attributes
    ----------
    kernel_size, stride, padding : those of the pooling

    Examples
    --------
    >>> import fastconv as fc
    >>> y, indices = fc.nn.MaxPool2d(2, return_indices=True)(fc.tensor([[[1.0, 4.0], [3.0, 2.0]]]))
    >>> fc.nn.MaxUnpool2d(2)(y, indices).tolist()
    [[[0.0, 4.0], [0.0, 0.0]]]
    """


class MaxUnpool3d(_MaxUnpool, function=F.max_unpool3d, inputs=2, without=("output_size",)):
    """Puts the maxima of ``N x C x D x H x W``, or without ``N``, back; see :class:`MaxUnpool2d`."""
