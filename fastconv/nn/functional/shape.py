"""Padding, resizing, windows as columns, and labels as one-hot vectors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from math import prod
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from fastconv.autograd import Function
from fastconv.checks import (
    check,
    check_call,
    check_count,
    check_float,
    check_rank,
    int_tuple,
    number,
    shape_str,
)
from fastconv.creation import arange, argument
from fastconv.dtypes import INT64
from fastconv.errors import names_memory, shorten
from fastconv.spec import conv_spec, interpolate_spec, pad_pairs
from fastconv.tensor import Tensor
from fastconv.typing import Floats, Ints, Padding, TensorLike

P = ParamSpec("P")
R = TypeVar("R")


def batched(name: str, ndim: int, run, x, /, *args, **options):
    """``run(x, ...)``; a single example (``ndim`` dimensions) gets a batch axis for the call and loses it
    afterwards."""
    x = argument(name, "input", x)
    if x.ndim != ndim:
        return run(x, *args, **options)
    out = run(x.unsqueeze(0), *args, **options)
    return tuple(o.squeeze(0) for o in out) if isinstance(out, tuple) else out.squeeze(0)


def named(name: str, function: Callable[Concatenate[str, P], R]) -> Callable[P, R]:
    """``function``, whose first parameter is the public name of what it computes, under that name: one
    definition serves 1-D, 2-D and 3-D."""
    signature = inspect.signature(function)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(name, *args, **kwargs)
        except Exception as e:
            if isinstance(e, TypeError):
                check_call(name, signature, args, kwargs)
            shorten(e)
            raise

    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = name
    return call


class SpatialMap(Function):
    """A linear op that a spec describes; its derivative is the adjoint op with the same spec."""

    @staticmethod
    def forward(ctx, x, op, adjoint, spec):
        ctx.adjoint, ctx.spec = adjoint, spec
        return getattr(ctx.engine, op)(x, spec)

    @staticmethod
    def backward(ctx, gy):
        return getattr(ctx.engine, ctx.adjoint)(gy, ctx.spec)


class Pad(Function):
    @staticmethod
    def forward(ctx, x, pairs, mode, value):
        ctx.pairs, ctx.mode, ctx.shape = pairs, mode, x.shape
        return ctx.engine.pad_fwd(x, pairs, mode, value)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.pad_bwd(gy, ctx.pairs, ctx.mode, ctx.shape)


def pad(input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """Pad or crop the last dimensions.

    Parameters
    ----------
    input : Tensor or array
    pad : sequence of int
        ``(before, after)`` of the last dimension, then of the one before it, and so on; negative numbers
        crop.
    mode : {"constant", "reflect", "replicate", "circular"}
    value : float
        The constant.
    """
    check(isinstance(pad, (tuple, list)), "pad", f"pad must be a sequence of ints, got {pad!r}", TypeError)
    input = argument("pad", "input", input)
    value = number("pad", "value", value)
    return Pad.apply(input, pairs=pad_pairs(input.shape, pad, mode), mode=mode, value=value)


def interpolate(
    input: TensorLike,
    size: Ints | None = None,
    scale_factor: Floats | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """Resize images.

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W``, float32 or float64
    size : int or (H_out, W_out)
    scale_factor : float or one per dimension
        Instead of ``size``.
    mode : {"nearest", "bilinear"}
    align_corners : bool
        Bilinear: map the corner pixels' centres onto each other, instead of the images' edges.
    """
    check_float("interpolate", input=input)
    spec = interpolate_spec(input.shape, size, scale_factor, mode, align_corners)
    return SpatialMap.apply(input, op="interpolate_fwd", adjoint="interpolate_bwd", spec=spec)


def unfold(
    input: TensorLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1
) -> Tensor:
    """Windows as columns (im2col).

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W`` or ``C x H x W``, float32 or float64
    kernel_size, dilation, padding, stride : as in :func:`conv2d`

    Returns
    -------
    Tensor, ``N x (C kH kW) x (H_out W_out)``; the rows run over channel, kernel row, kernel column
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
    """The adjoint of :func:`unfold`: columns ``N x (C kH kW) x windows`` added up to ``N x C x
    output_size``."""
    kernel = int_tuple("fold", "kernel_size", kernel_size, 2, 1)
    size = int_tuple("fold", "output_size", output_size, 2, 1)

    def run(x):
        check_float("fold", input=x)
        check_rank("fold", "input", x.shape, 3, "N x C kH kW x windows")
        channels, rest = divmod(x.shape[1], prod(kernel))
        check(
            rest == 0 and channels > 0,
            "fold",
            f"{x.shape[1]} rows (input {shape_str(x.shape)}) must be a multiple of the kernel's {prod(kernel)} "
            f"positions (kernel_size {kernel})",
        )
        shape = (x.shape[0], channels, *size)
        check_count("fold", "the output", shape)
        spec = conv_spec("fold", shape, (1, channels, *kernel), stride, padding, dilation)
        check(
            prod(spec.out_size) == x.shape[2],
            "fold",
            f"output_size {size} has {prod(spec.out_size)} windows, input has {x.shape[2]} ({shape_str(x.shape)})",
        )
        return SpatialMap.apply(x, op="fold", adjoint="unfold", spec=spec)

    return batched("fold", 2, run, input)


def check_labels(name: str, labels: Tensor, classes: int, ignore_index: int | None = None) -> np.ndarray:
    """Labels as a host int64 array, all in ``0..classes-1`` or equal to ``ignore_index``."""
    t = labels.numpy()
    check(
        t.dtype.kind in "iu",
        name,
        f"labels must be integers, got {t.dtype}; convert them with .astype('int64')",
        TypeError,
    )
    t = t.astype(np.int64, copy=False)
    if not (t.view(np.uint64) >= classes).any():  # one comparison finds negative labels too
        return t
    wrong = (t < 0) | (t >= classes)
    if ignore_index is not None:
        wrong &= t != ignore_index
    if wrong.any():
        also = "" if ignore_index is None else f" or ignore_index {ignore_index}"
        raise ValueError(
            f"{name}: labels must be in 0..{classes - 1} ({classes} classes){also}, got {t[wrong][0]}"
        )
    return t


@names_memory
def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Integer labels ``(...)`` as int64 vectors ``(..., num_classes)``; -1: as many as the largest label
    needs."""
    tensor = argument("one_hot", "tensor", tensor)
    num_classes = int_tuple("one_hot", "num_classes", num_classes, 1, -1)[0]
    if num_classes == -1:
        check(tensor.numel() > 0, "one_hot", "give num_classes: there are no labels to tell it from")
        num_classes = int(tensor.numpy().max()) + 1
    check_count("one_hot", "the output", (*tensor.shape, num_classes))
    check_labels("one_hot", tensor, num_classes)
    return (tensor.unsqueeze(-1) == arange(num_classes, device=tensor.device)).astype(INT64)
