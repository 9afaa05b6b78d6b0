"""Convolutions (cross-correlations), the mathematical convolution and the transposed convolution."""

from __future__ import annotations

from fastconv.backends.select import forced
from fastconv.checks import check_float, check_rank
from fastconv.creation import argument
from fastconv.spec import conv_spec, conv_transpose_spec
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Ints, Padding, TensorLike

from .base import batched, named


class Conv(Op):
    """A convolution; the engine picks the algorithm of each pass unless one is forced."""

    accumulates = True
    offers = 1

    @staticmethod
    def forward(ctx, x, w, b, name, stride, padding, dilation, groups, algorithm):
        check_float(name, ("bias",), input=x, weight=w, bias=b)
        bias_shape = None if b is None else b.shape
        ctx.spec = conv_spec(name, x.shape, w.shape, stride, padding, dilation, groups, bias_shape)
        ctx.algorithm = forced(algorithm)  # kept, because backward may run outside ``with conv_algorithm``
        ctx.save(x if ctx.needs[1] else None, w if ctx.needs[0] else None)
        return ctx.engine.conv_fwd(x, w, b, ctx.spec, ctx.algorithm)

    @staticmethod
    def backward(ctx, gy):
        (x, w), e, spec = ctx.saved, ctx.engine, ctx.spec
        return (
            e.conv_bwd_data(gy, w, spec, ctx.algorithm, ctx.accumulated) if ctx.needs[0] else None,
            e.conv_bwd_weight(x, gy, spec, ctx.algorithm, ctx.offered) if ctx.needs[1] else None,
            e.channel_sum(gy) if ctx.needs[2] else None,
        )


class ConvTranspose(Op):
    """The adjoint of a convolution: forward is the convolution's backward-data pass, and vice versa."""

    offers = 1

    @staticmethod
    def forward(ctx, x, w, b, name, stride, padding, output_padding, groups, dilation, algorithm):
        check_float(name, ("bias",), input=x, weight=w, bias=b)
        ctx.spec = conv_transpose_spec(
            name,
            x.shape,
            w.shape,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            None if b is None else b.shape,
        )
        ctx.algorithm = forced(algorithm)
        ctx.save(x if ctx.needs[1] else None, w if ctx.needs[0] else None)
        y = ctx.engine.conv_bwd_data(x, w, ctx.spec, ctx.algorithm)
        if b is None:
            return y
        return ctx.engine.binary_fwd("add", y, ctx.engine.reshape(b, (1, -1, *(1,) * ctx.spec.ndim)))

    @staticmethod
    def backward(ctx, gy):
        (x, w), e, spec = ctx.saved, ctx.engine, ctx.spec
        return (
            e.conv_fwd(gy, w, None, spec, ctx.algorithm) if ctx.needs[0] else None,
            e.conv_bwd_weight(gy, x, spec, ctx.algorithm, ctx.offered) if ctx.needs[1] else None,
            e.channel_sum(gy) if ctx.needs[2] else None,
        )


def _conv(
    name: str,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
) -> Tensor:
    """Cross-correlation in one, two or three spatial dimensions.

    Parameters
    ----------
    input : Tensor or array, ``N x C_in x spatial`` or ``C_in x spatial``, float32 or float64
    weight : ``C_out x C_in/groups x kernel``, same dtype
    bias : ``(C_out,)``, optional
    stride, dilation : int or one per dimension
    padding : int, one int or one ``(before, after)`` pair per dimension, or a name
        ``"same"``, ``"valid"`` or ``"full"``.
    groups : int
    algorithm : {"auto", "depthwise", "direct", "im2col", "implicit_gemm", "winograd"}, optional
        Forces an algorithm for this call and its gradients.

    Returns
    -------
    Tensor, ``N x C_out x spatial``, without ``N`` if the input has none
        Each spatial extent is ``floor((size + pads - dilation * (kernel - 1) - 1) / stride) + 1``, where
        ``pads`` is the padding on both sides together.

    Raises
    ------
    ValueError
        If shapes, padding or stride do not fit, or a forced algorithm does not apply.
    TypeError
        If arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.conv2d(fc.ones(1, 3, 8, 8), fc.ones(4, 3, 3, 3), padding=1).shape
    (1, 4, 8, 8)
    """
    return batched(
        name,
        int(name[-2]) + 1,
        Conv.apply,
        input,
        weight,
        bias,
        name=name,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        algorithm=algorithm,
    )


conv1d = named("conv1d", _conv)
conv2d = named("conv2d", _conv)
conv3d = named("conv3d", _conv)


def convolve2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
) -> Tensor:
    """The mathematical 2-D convolution: :func:`conv2d` with the kernel rotated by 180 degrees.

    Parameters, results and errors are those of :func:`conv2d`.

    Examples
    --------
    >>> import fastconv as fc
    >>> image, kernel = fc.tensor([[[[0.0, 1.0, 0.0]]]]), fc.tensor([[[[1.0, 2.0]]]])
    >>> fc.nn.functional.convolve2d(image, kernel).tolist()
    [[[[1.0, 2.0]]]]
    """
    weight = argument("convolve2d", "weight", weight)
    check_rank("convolve2d", "weight", weight.shape, 4, "C_out x C_in/groups x H x W")
    flipped = weight[:, :, ::-1, ::-1]
    return _conv("convolve2d", input, flipped, bias, stride, padding, dilation, groups, algorithm=algorithm)


def _conv_transpose(
    name: str,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str | None = None,
) -> Tensor:
    """Transposed convolution in one, two or three spatial dimensions.

    It is the adjoint of ``conv1d``, ``conv2d`` or ``conv3d`` with the same geometry.

    Parameters
    ----------
    input : Tensor or array, ``N x C_in x spatial`` or ``C_in x spatial``, float32 or float64
    weight : ``C_in x C_out/groups x kernel``, same dtype
    bias : ``(C_out,)``, optional
    stride, padding, dilation, groups : those of the convolution whose adjoint this is
        The padding must be numbers, not a name.
    output_padding : int or one per dimension
        Extra positions at the end, fewer than the larger of stride and dilation. A strided convolution maps
        several input sizes to one output size; this argument chooses one of them.
    algorithm : str, optional
        As in ``conv2d``.

    Returns
    -------
    Tensor, ``N x C_out x spatial``, without ``N`` if the input has none
        Each spatial extent is ``(size - 1) * stride - pads + dilation * (kernel - 1) + output_padding + 1``,
        where ``pads`` is the padding on both sides together.

    Raises
    ------
    ValueError
        If shapes, padding or stride do not fit, or a forced algorithm does not apply.
    TypeError
        If arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.conv_transpose2d(fc.ones(1, 8, 4, 4), fc.ones(8, 3, 2, 2), stride=2).shape
    (1, 3, 8, 8)
    """
    return batched(
        name,
        int(name[-2]) + 1,
        ConvTranspose.apply,
        input,
        weight,
        bias,
        name=name,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
        algorithm=algorithm,
    )


conv_transpose1d = named("conv_transpose1d", _conv_transpose)
conv_transpose2d = named("conv_transpose2d", _conv_transpose)
conv_transpose3d = named("conv_transpose3d", _conv_transpose)
