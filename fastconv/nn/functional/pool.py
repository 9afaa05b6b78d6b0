"""Max, average, adaptive and power-average pooling, and the reverse of max pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import copysign, isinf, prod
from typing import Any, Literal, TypeAlias, overload

from fastconv import backends
from fastconv.checks import check, check_float, number, shape_str
from fastconv.creation import argument
from fastconv.dtypes import INT64
from fastconv.spec import adaptive_pool_spec, pool_spec, unpool_spec
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, Padding, TensorLike

from .activation import relu
from .base import SpatialMap, batched, named

#: One extent for all spatial dimensions, or one for each; None keeps the extent of the input.
OutputSize: TypeAlias = int | None | Sequence[int | None]


class MaxPool(Op):
    """Maxima and their positions. Backward needs only the positions."""

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
        Round the output size up, so that the last window may extend past the edge.
    return_indices : bool
        Also return the positions of the maxima as int64: flat indices into the spatial dimensions. Of equal
        values the first one counts, and it receives the gradient.

    Returns
    -------
    Tensor, ``N x C x spatial``, or a pair of Tensors with ``return_indices``

    Raises
    ------
    ValueError
        If windows do not fit the input, or the padding is larger than half of the window.
    TypeError
        If the input is not float.

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
        Whether the zeros of the padding count as elements of a window.
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


# ------------------------------------------------------------------------------------------------- adaptive
def _adaptive_avg_pool(name: str, input: TensorLike, output_size: OutputSize) -> Tensor:
    """Mean over windows chosen such that the output has a given size.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial`` or ``C x spatial``, float32 or float64
    output_size : int or one per spatial dimension
        None in place of a number keeps the extent of the input.

    Returns
    -------
    Tensor, ``N x C x output_size``

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.adaptive_avg_pool2d(fc.zeros(2, 8, 7, 5), 1).shape
    (2, 8, 1, 1)
    """
    return _avg(name, input, adaptive_pool_spec, output_size)


@overload
def _adaptive_max_pool(
    name: str, input: TensorLike, output_size: OutputSize, return_indices: Literal[False] = False
) -> Tensor: ...
@overload
def _adaptive_max_pool(
    name: str, input: TensorLike, output_size: OutputSize, return_indices: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def _adaptive_max_pool(
    name: str, input: TensorLike, output_size: OutputSize, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Maximum over windows chosen such that the output has a given size.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial`` or ``C x spatial``, float32 or float64
    output_size : int or one per spatial dimension
        None in place of a number keeps the extent of the input.
    return_indices : bool
        Also return the positions of the maxima as int64: flat indices into the spatial dimensions.

    Returns
    -------
    Tensor, ``N x C x output_size``, or a pair of Tensors with ``return_indices``

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.adaptive_max_pool2d(fc.zeros(2, 8, 7, 5), (3, None)).shape
    (2, 8, 3, 5)
    """
    return _max(name, input, adaptive_pool_spec, return_indices, output_size)


adaptive_avg_pool1d = named("adaptive_avg_pool1d", _adaptive_avg_pool)
adaptive_avg_pool2d = named("adaptive_avg_pool2d", _adaptive_avg_pool)
adaptive_avg_pool3d = named("adaptive_avg_pool3d", _adaptive_avg_pool)
adaptive_max_pool1d = named("adaptive_max_pool1d", _adaptive_max_pool)
adaptive_max_pool2d = named("adaptive_max_pool2d", _adaptive_max_pool)
adaptive_max_pool3d = named("adaptive_max_pool3d", _adaptive_max_pool)


# ------------------------------------------------------------------------------------------------- norms
def _lp_pool(
    name: str,
    input: TensorLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The norm ``(sum of x^p)^(1/p)`` of windows in one, two or three spatial dimensions.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial`` or ``C x spatial``, float32 or float64
    norm_type : float
        The exponent ``p``, not 0. Infinity gives the largest magnitude, minus infinity the smallest one.
    kernel_size, stride, ceil_mode
        As in ``max_pool1d``, ``max_pool2d`` and ``max_pool3d``. If a window extends past the edge, the mean
        of ``x^p`` over its elements is multiplied by the size of a full window.

    Returns
    -------
    Tensor, ``N x C x spatial``
        Where the sum is 0 the gradient is 0.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.lp_pool1d(fc.tensor([[3.0, 4.0, 6.0, 8.0]]), 2, kernel_size=2).tolist()
    [[5.0, 10.0]]
    """
    p = number(name, "norm_type", norm_type)
    check(p != 0, name, "norm_type must not be 0")

    def run(x: Tensor) -> Any:
        check_float(name, input=x)
        spec = pool_spec(name, x.shape, kernel_size, stride, 0, 1, ceil_mode)
        if isinf(p):
            return copysign(1, p) * MaxPool.apply(copysign(1, p) * x.abs(), op="max_pool", spec=spec)[0]
        mean = SpatialMap.apply(x**p, op="avg_pool_fwd", adjoint="avg_pool_bwd", spec=spec)
        # the root has an infinite derivative at 0; relu, whose derivative is 0 there, makes the gradient 0
        total = (relu(mean) - relu(-mean)) * prod(spec.kernel)
        return total.sqrt() if p == 2 else total ** (1 / p)

    return batched(name, int(name[-2]) + 1, run, input)


lp_pool1d = named("lp_pool1d", _lp_pool)
lp_pool2d = named("lp_pool2d", _lp_pool)
lp_pool3d = named("lp_pool3d", _lp_pool)


# ------------------------------------------------------------------------------------------------- unpooling
class MaxUnpool(Op):
    @staticmethod
    def forward(ctx, x, index, name, options):
        check_float(name, input=x)
        check(
            index.dtype == INT64,
            name,
            f"indices must be int64, as max_pool returns them, got {index.dtype}",
            TypeError,
        )
        ctx.spec, e = unpool_spec(name, x.shape, index.shape, *options), ctx.engine
        if index.size and not backends.recording.get():  # a recorded step reads no values on the host
            axes = tuple(range(index.ndim))
            low, high = (int(e.to_host(e.reduce_fwd(r, index, axes, False))) for r in ("min", "max"))
            check(
                low >= 0 and high < prod(ctx.spec.out_size),
                name,
                f"indices must be positions in planes of {shape_str(ctx.spec.out_size)}, "
                f"got {low} to {high}; does output_size fit the pooling?",
            )
        ctx.save(index)
        return e.max_unpool_fwd(x, index, ctx.spec)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.max_unpool_bwd(gy, ctx.saved[0], ctx.spec), None


def _max_unpool(
    name: str,
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put the maxima back at the positions from which max pooling took them, and zeros elsewhere.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial`` or ``C x spatial``, float32 or float64
    indices : int64, of input's shape
        The positions that the pooling returned with ``return_indices=True``. If several elements have the
        same position, the last one stays.
    kernel_size, stride, padding : those of the pooling
    output_size : sequence of int, optional
        The shape or the spatial extents of the pooling's input. By default the smallest that fits.

    Returns
    -------
    Tensor, ``N x C x output_size``

    Raises
    ------
    ValueError
        If an index is out of range, or the pooling does not map ``output_size`` to the size of ``input``.
    TypeError
        If the indices are not int64.

    Examples
    --------
    >>> import fastconv as fc
    >>> F = fc.nn.functional
    >>> y, indices = F.max_pool1d(fc.tensor([[1.0, 4.0, 3.0, 2.0]]), 2, return_indices=True)
    >>> F.max_unpool1d(y, indices, 2).tolist()
    [[0.0, 4.0, 3.0, 0.0]]
    """
    n = int(name[-2])
    input, indices = argument(name, "input", input), argument(name, "indices", indices)
    single = input.ndim == n + 1 and indices.ndim == n + 1
    if single:
        input, indices = input.unsqueeze(0), indices.unsqueeze(0)
    y = MaxUnpool.apply(input, indices, name=name, options=(kernel_size, stride, padding, output_size))
    return y.squeeze(0) if single else y


max_unpool1d = named("max_unpool1d", _max_unpool)
max_unpool2d = named("max_unpool2d", _max_unpool)
max_unpool3d = named("max_unpool3d", _max_unpool)
