"""The dense layer and the bilinear layer."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv.checks import check, check_float, check_rank, check_shape, shape_str
from fastconv.creation import argument
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


class Linear(Op):
    """The dense layer. The engine computes it on a matrix, so the leading axes are merged."""

    offers = 1

    @staticmethod
    def forward(ctx, x, w, b):
        name, e = "linear", ctx.engine
        check_float(name, ("bias",), input=x, weight=w, bias=b)
        check_rank(name, "weight", w.shape, 2, "out x in")
        if not x.ndim or x.shape[-1] != w.shape[1]:
            raise ValueError(
                f"{name}: weight expects {w.shape[1]} input features (weight {shape_str(w.shape)}), "
                f"input has {x.shape[-1] if x.ndim else 'none'} ({shape_str(x.shape)})"
            )
        if b is not None:
            check_shape(name, "bias", b.shape, w.shape[:1], "one entry per output feature")
        ctx.save(x, w)
        y = e.linear_fwd(_rows(e, x), w, b)
        return y if x.ndim == 2 else e.reshape(y, (*x.shape[:-1], w.shape[0]))

    @staticmethod
    def backward(ctx, gy):
        (x, w), e = ctx.saved, ctx.engine
        gy = _rows(e, gy)
        gx = e.linear_bwd_data(gy, w) if ctx.needs[0] else None
        return (
            gx if gx is None or x.ndim == 2 else e.reshape(gx, x.shape),
            e.linear_bwd_weight(gy, _rows(e, x), ctx.offered) if ctx.needs[1] else None,
            e.channel_sum(gy) if ctx.needs[2] else None,
        )


def _rows(e: Any, x: Any) -> Any:
    """``x`` as a matrix: all axes but the last are merged into one."""
    return x if x.ndim == 2 else e.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """Dense layer ``input @ weight.T + bias``.

    Parameters
    ----------
    input : Tensor or array, ``(..., in)``, float32 or float64
    weight : ``(out, in)``, same dtype
    bias : ``(out,)``, optional

    Returns
    -------
    Tensor, ``(..., out)``

    Raises
    ------
    ValueError
        If shapes do not fit.
    TypeError
        If arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.linear(fc.ones(2, 3), fc.ones(4, 3)).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    return Linear.apply(input, weight, bias)


def bilinear(
    input1: TensorLike, input2: TensorLike, weight: TensorLike, bias: TensorLike | None = None
) -> Tensor:
    """``y[o] = input1 @ weight[o] @ input2 + bias[o]`` on the last dimensions of the inputs.

    Parameters
    ----------
    input1, input2 : Tensor or array, ``(..., in1)`` and ``(..., in2)``, float32 or float64
        The leading dimensions of both must be the same.
    weight : ``(out, in1, in2)``, same dtype
    bias : ``(out,)``, optional

    Returns
    -------
    Tensor, ``(..., out)``

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.bilinear(fc.ones(1, 2), fc.ones(1, 3), fc.ones(4, 2, 3)).tolist()
    [[6.0, 6.0, 6.0, 6.0]]
    """
    name = "bilinear"
    input1, input2, weight = (
        argument(name, what, v) for what, v in (("input1", input1), ("input2", input2), ("weight", weight))
    )
    check_float(name, ("bias",), input1=input1, input2=input2, weight=weight, bias=bias)
    check_rank(name, "weight", weight.shape, 3, "out x in1 x in2")
    out, in1, in2 = weight.shape
    given = input1.shape[-1:] + input2.shape[-1:]
    check(
        given == (in1, in2),
        name,
        f"weight expects {in1} and {in2} input features (weight {shape_str(weight.shape)}), the inputs are "
        f"{shape_str(input1.shape)} and {shape_str(input2.shape)}",
    )
    lead = input1.shape[:-1]
    check_shape(name, "input2", input2.shape, (*lead, in2), "input1's except the features")
    rows = prod(lead)
    # one product of matrices for input1 and all outputs, then a product with input2 for each row
    wide = input1.reshape(rows, in1) @ weight.permute(1, 0, 2).reshape(in1, out * in2)
    y = (wide.reshape(rows, out, in2) @ input2.reshape(rows, in2, 1)).reshape(*lead, out)
    if bias is None:
        return y
    bias = argument(name, "bias", bias)
    check_shape(name, "bias", bias.shape, (out,), "one entry per output feature")
    return y + bias
