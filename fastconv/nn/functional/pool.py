"""Max, average and adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, overload

from fastconv.checks import check_float
from fastconv.dtypes import INT64
from fastconv.spec import adaptive_pool_spec, pool_spec
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, Padding, TensorLike

from .base import SpatialMap, batched, named

#: One extent for both dimensions, or two; None keeps the extent of the input.
OutputSize: TypeAlias = int | None | Sequence[int | None]


class MaxPool(Op):
    """Maxima and their positions; backward needs the positions only."""

    @staticmethod
    def forward(ctx, x, op, spec):
        y, index = getattr(ctx.engine, f"{op}_fwd")(x, spec)
        ctx.spec = spec
        ctx.save(index)
        return y, index

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.max_pool_bwd(gy, ctx.saved[0], ctx.spec)


def _max(
    name: str, x: TensorLike, make_spec: Callable[..., Any], return_indices: bool, *geometry: Any
) -> Any:
    def run(x: Tensor) -> Any:
        check_float(name, input=x)
        return MaxPool.apply(x, op=name[:-2], spec=make_spec(name, x.shape, *geometry))

    out = batched(name, int(name[-2]) + 1, run, x)
    return (out[0], out[1].astype(INT64)) if return_indices else out[0]


def _avg(name: str, x: TensorLike, make_spec: Callable[..., Any], *geometry: Any) -> Tensor:
    def run(x: Tensor) -> Any:
        check_float(name, input=x)
        op = name[:-2]
        return SpatialMap.apply(
            x, op=f"{op}_fwd", adjoint=f"{op}_bwd", spec=make_spec(name, x.shape, *geometry)
        )

    return batched(name, int(name[-2]) + 1, run, x)


@overload
def _max_pool(
    name: str,
    input: TensorLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def _max_pool(
    name: str,
    input: TensorLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def _max_pool(
    name: str,
    input: TensorLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Maximum over windows in one, two or three spatial dimensions.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial`` or ``C x spatial``, float32 or float64
    kernel_size : int or one per dimension
    stride : int or one per dimension, default ``kernel_size``
    padding : int, one int or one ``(before, after)`` pair per dimension, at most half of the window
    dilation : int or one per dimension
    ceil_mode : bool
        Round the output size up: the last window may reach over the edge.
    return_indices : bool
        Also return the flat positions (int64) of the maxima in each plane. Of equal values the first one
        counts, and it receives the gradient.

    Returns
    -------
    Tensor, ``N x C x spatial``, or a pair of Tensors with ``return_indices``

    Raises
    ------
    ValueError
        Windows that do not fit the input, or padding larger than half of the window.
    TypeError
        An input that is not float.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.max_pool2d(fc.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).tolist()
    [[[[4.0]]]]
    """
    return _max(name, input, pool_spec, return_indices, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    name: str,
    input: TensorLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean over windows in one, two or three spatial dimensions.

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode
        As in ``max_pool1d``, ``max_pool2d`` and ``max_pool3d``.
    count_include_pad : bool
        Whether zeros of the padding count as elements of a window.
    divisor_override : int, optional
        Divide the sum of every window by this number.

    Returns
    -------
    Tensor, ``N x C x spatial``

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.avg_pool2d(fc.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).tolist()
    [[[[2.5]]]]
    """
    return _avg(
        name,
        input,
        pool_spec,
        kernel_size,
        stride,
        padding,
        1,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


max_pool1d = named("max_pool1d", _max_pool)
max_pool2d = named("max_pool2d", _max_pool)
max_pool3d = named("max_pool3d", _max_pool)
avg_pool1d = named("avg_pool1d", _avg_pool)
avg_pool2d = named("avg_pool2d", _avg_pool)
avg_pool3d = named("avg_pool3d", _avg_pool)


def adaptive_avg_pool2d(input: TensorLike, output_size: OutputSize) -> Tensor:
    """Mean over windows chosen such that the output has a given size.

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W`` or ``C x H x W``, float32 or float64
    output_size : int or (H_out, W_out)
        None instead of a number keeps the extent of the input.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.adaptive_avg_pool2d(fc.zeros(2, 8, 7, 5), 1).shape
    (2, 8, 1, 1)
    """
    return _avg("adaptive_avg_pool2d", input, adaptive_pool_spec, output_size)


@overload
def adaptive_max_pool2d(
    input: TensorLike, output_size: OutputSize, return_indices: Literal[False] = False
) -> Tensor: ...
@overload
def adaptive_max_pool2d(
    input: TensorLike, output_size: OutputSize, return_indices: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def adaptive_max_pool2d(
    input: TensorLike, output_size: OutputSize, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Maximum over windows chosen such that the output has a given size.

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W`` or ``C x H x W``, float32 or float64
    output_size : int or (H_out, W_out)
        None instead of a number keeps the extent of the input.
    return_indices : bool
        Also return the flat positions (int64) of the maxima in each plane.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.adaptive_max_pool2d(fc.zeros(2, 8, 7, 5), (3, None)).shape
    (2, 8, 3, 5)
    """
    return _max("adaptive_max_pool2d", input, adaptive_pool_spec, return_indices, output_size)
