"""Padding, and conversion between images and columns of windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fastconv.checks import check, check_count, check_float, check_rank, int_tuple, number, shape_str
from fastconv.creation import argument
from fastconv.dtypes import array
from fastconv.spec import conv_spec, pad_pairs
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, Padding, TensorLike

from .base import SpatialMap, batched


class Pad(Op):
    @staticmethod
    def forward(ctx, x, pairs, mode, value):
        ctx.pairs, ctx.mode, ctx.shape = pairs, mode, x.shape
        return ctx.engine.pad_fwd(x, pairs, mode, value)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.pad_bwd(gy, ctx.pairs, ctx.mode, ctx.shape)


def pad(input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad or crop the last dimensions.

    Parameters
    ----------
    input : Tensor or array of any rank and dtype
    pad : sequence of int
        The padding before and after the last dimension, then before and after the one before it, and so on.
        Negative numbers crop.
    mode : {"constant", "reflect", "replicate", "circular"}
    value : float, optional
        The constant, by default 0. It must be left out in other modes.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If there is more padding than the mode has elements for, or a value is given in another mode.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.pad(fc.ones(1, 2), (1, 2)).tolist()
    [[0.0, 1.0, 1.0, 0.0, 0.0]]
    """
    check(isinstance(pad, (tuple, list)), "pad", f"pad must be a sequence of ints, got {pad!r}", TypeError)
    input = argument("pad", "input", input)
    value = number("pad", "value", 0 if value is None else value)
    array(value, input.dtype, "pad", "value")  # refuses what an integer dtype cannot hold
    pairs = pad_pairs(input.shape, pad, mode)
    check(mode == "constant" or value == 0, "pad", f"mode {mode!r} takes no value; leave it out")
    return Pad.apply(input, pairs=pairs, mode=mode, value=value)


def unfold(
    input: TensorLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1
) -> Tensor:
    """The windows of a convolution as columns of a matrix (im2col).

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W`` or ``C x H x W``, float32 or float64
    kernel_size, dilation, padding, stride : as in :func:`conv2d`

    Returns
    -------
    Tensor, ``N x (C kH kW) x (H_out W_out)``
        Each column is a window. The rows are in the order channel, kernel row, kernel column.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.unfold(fc.zeros(1, 3, 8, 8), kernel_size=3).shape
    (1, 27, 36)
    """
    kernel = int_tuple("unfold", "kernel_size", kernel_size, 2, 1)

    def run(x):
        check_float("unfold", input=x)
        check_rank("unfold", "input", x.shape, 4, "N x C x H x W")
        spec = conv_spec("unfold", x.shape, (1, x.shape[1], *kernel), stride, padding, dilation)
        check_count("unfold", "the output", (*x.shape[:2], *kernel, *spec.out_size))
        return SpatialMap.apply(x, op="unfold", adjoint="fold", spec=spec)

    return batched("unfold", 3, run, input)


def fold(
    input: TensorLike,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
) -> Tensor:
    """Add columns of windows to images (col2im): the adjoint of :func:`unfold`.

    Parameters
    ----------
    input : Tensor or array, ``N x (C kH kW) x windows`` or without ``N``, float32 or float64
    output_size : int or (H, W)
    kernel_size, dilation, padding, stride : as in :func:`conv2d`

    Returns
    -------
    Tensor, ``N x C x output_size``
        An element that lies in several windows is the sum over these windows.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.fold(fc.ones(1, 4, 1), (2, 2), kernel_size=2).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    kernel = int_tuple("fold", "kernel_size", kernel_size, 2, 1)
    size = int_tuple("fold", "output_size", output_size, 2, 1)

    def run(x):
        check_float("fold", input=x)
        check_rank("fold", "input", x.shape, 3, "N x C kH kW x windows")
        channels, rest = divmod(x.shape[1], prod(kernel))
        check(
            rest == 0 and channels > 0,
            "fold",
            f"{x.shape[1]} rows (input {shape_str(x.shape)}) must be a multiple of the kernel's "
            f"{prod(kernel)} positions (kernel_size {kernel})",
        )
        shape = (x.shape[0], channels, *size)
        check_count("fold", "the output", shape)
        spec = conv_spec("fold", shape, (1, channels, *kernel), stride, padding, dilation)
        check(
            prod(spec.out_size) == x.shape[2],
            "fold",
            f"output_size {size} has {prod(spec.out_size)} windows, input has {x.shape[2]} "
            f"({shape_str(x.shape)})",
        )
        return SpatialMap.apply(x, op="fold", adjoint="unfold", spec=spec)

    return batched("fold", 2, run, input)
