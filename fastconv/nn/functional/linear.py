"""The dense layer."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv.checks import check_float, check_rank, check_shape, shape_str
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


class Linear(Op):
    """The dense layer on rows: leading axes are merged for the engine."""

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
            e.linear_bwd_weight(gy, _rows(e, x)) if ctx.needs[1] else None,
            e.channel_sum(gy) if ctx.needs[2] else None,
        )


def _rows(e: Any, x: Any) -> Any:
    """``x`` with all leading axes as one."""
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
        Shapes that do not fit.
    TypeError
        Arrays that are not float or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.linear(fc.ones(2, 3), fc.ones(4, 3)).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    return Linear.apply(input, weight, bias)
