"""Max, average and adaptive pooling."""

from __future__ import annotations

from ...autograd import Function
from ...spec import adaptive_pool_spec, check_float, pool_spec
from ...tensor import Tensor
from .conv import batched


class MaxPool(Function):
    @staticmethod
    def forward(ctx, x, op, spec):
        y, index = getattr(ctx.engine, f"{op}_fwd")(x, spec)
        ctx.in_size = spec.in_size
        ctx.save(index)
        return y, index

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.max_pool_bwd(gy, ctx.saved[0], ctx.in_size)


class AvgPool(Function):
    @staticmethod
    def forward(ctx, x, op, spec):
        ctx.op, ctx.spec = op, spec
        return getattr(ctx.engine, f"{op}_fwd")(x, spec)

    @staticmethod
    def backward(ctx, gy):
        return getattr(ctx.engine, f"{ctx.op}_bwd")(gy, ctx.spec)


def _max(name, x, make_spec, return_indices, *geometry):
    def run(x):
        check_float(name, input=x)
        return MaxPool.apply(x, op=name[:-2], spec=make_spec(name, x.shape, *geometry))

    out = batched(int(name[-2]) + 1, x, run)
    return out if return_indices else out[0]


def _avg(name, x, make_spec, *geometry):
    def run(x):
        check_float(name, input=x)
        return AvgPool.apply(x, op=name[:-2], spec=make_spec(name, x.shape, *geometry))

    return batched(int(name[-2]) + 1, x, run)


def max_pool1d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """Maximum over windows of ``N x C x W`` (or ``C x W``); see :func:`max_pool2d`."""
    return _max("max_pool1d", x, pool_spec, return_indices, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """Maximum over windows.

    Parameters
    ----------
    x : Tensor or array, ``N x C x H x W`` or ``C x H x W``, float32 or float64
    kernel_size : int or one per dimension
    stride : int or one per dimension, default ``kernel_size``
    padding : int, one int or one ``(before, after)`` pair per dimension, at most half of the window; never the maximum
    dilation : int or one per dimension
    ceil_mode : bool
        Round the output size up: a last window may reach over the edge.
    return_indices : bool
        Also return the flat positions (int64) of the maxima in each plane; the first of equal values counts, and it
        receives the gradient.

    Returns
    -------
    Tensor, or (Tensor, Tensor) with ``return_indices``
    """
    return _max("max_pool2d", x, pool_spec, return_indices, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """Maximum over windows of ``N x C x D x H x W`` (or ``C x D x H x W``); see :func:`max_pool2d`."""
    return _max("max_pool3d", x, pool_spec, return_indices, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    x, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean over windows of ``N x C x W`` (or ``C x W``); see :func:`avg_pool2d`."""
    return _avg("avg_pool1d", x, pool_spec, kernel_size, stride, padding, 1, ceil_mode, count_include_pad,
                divisor_override)  # fmt: skip


def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean over windows; the arguments of :func:`max_pool2d`, and

    Parameters
    ----------
    count_include_pad : bool
        Whether padding zeros count as elements of a window's mean.
    divisor_override : int, optional
        Divide every window's sum by this instead.
    """
    return _avg("avg_pool2d", x, pool_spec, kernel_size, stride, padding, 1, ceil_mode, count_include_pad,
                divisor_override)  # fmt: skip


def avg_pool3d(
    x, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean over windows of ``N x C x D x H x W`` (or ``C x D x H x W``); see :func:`avg_pool2d`."""
    return _avg("avg_pool3d", x, pool_spec, kernel_size, stride, padding, 1, ceil_mode, count_include_pad,
                divisor_override)  # fmt: skip


def adaptive_avg_pool2d(x, output_size) -> Tensor:
    """Mean over windows chosen such that the output is ``output_size`` (int or 2 ints, None keeps an extent)."""
    return _avg("adaptive_avg_pool2d", x, adaptive_pool_spec, output_size)


def adaptive_max_pool2d(x, output_size, return_indices: bool = False):
    """Maximum over windows chosen such that the output is ``output_size`` (int or 2 ints, None keeps an extent)."""
    return _max("adaptive_max_pool2d", x, adaptive_pool_spec, return_indices, output_size)
