"""Elements selected by masks, and triangles of matrices."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv.checks import check, int_tuple, number, shape_str
from fastconv.dtypes import array
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.variable import Node, Variable, argument

from .convert import astype
from .gather import index_select
from .index import GetItem
from .shape import reshape
from .ternary import Where
from .views import expand


class Triangle(Op):
    """Matrices with zeros where ``mask``, which has the shape of one matrix, is true."""

    @staticmethod
    def forward(ctx: Node, x: Any, mask: np.ndarray) -> Any:
        ctx.mask = mask
        return Triangle._cleared(ctx.engine, x, mask)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return Triangle._cleared(ctx.engine, gy, ctx.mask)

    @staticmethod
    def _cleared(engine: Any, x: Any, mask: np.ndarray) -> Any:
        return engine.ternary_fwd("where", engine.asarray(mask), x.dtype.type(0).item(), x)


# ------------------------------------------------------------------------------------------------- arguments
def _mask(name: str, mask: Any, x: Variable) -> Any:
    mask = argument(name, "mask", mask, x.device)
    check(
        mask.dtype == bool,
        name,
        f"mask must be a bool tensor, got {mask.dtype}; convert it with .bool(), or compare, as in mask != 0",
        TypeError,
    )
    return mask


def masked_fill(x: Variable, mask: Any, value: Any) -> Any:
    """``x`` with ``value``, a number or a tensor without dimensions, where ``mask`` is true."""
    mask = _mask("masked_fill", mask, x)
    broadcast_shape("masked_fill", x.shape, mask.shape)
    if isinstance(value, Variable):
        check(
            value.ndim == 0,
            "masked_fill",
            f"value must be a number or a tensor of no dimensions, got {shape_str(value.shape)}; for a "
            "tensor of values use where",
        )
        value = astype(value, x.dtype)
    else:
        number("masked_fill", "value", value)
        value = array(value, x.dtype, "masked_fill", "value").item()
    return Where.apply(mask, value, x)


def masked_select(x: Variable, mask: Any) -> Any:
    """The elements of ``x`` where ``mask`` is true."""
    mask = _mask("masked_select", mask, x)
    shape = broadcast_shape("masked_select", x.shape, mask.shape)
    where = np.flatnonzero(np.broadcast_to(mask.numpy(), shape))
    return index_select(reshape(expand("masked_select", x, (shape,)), (-1,)), 0, where)


def masked_scatter(x: Variable, mask: Any, source: Any) -> Any:
    """A copy of ``x`` with the first elements of ``source``, in order, where ``mask`` is true."""
    name = "masked_scatter"
    mask, source = _mask(name, mask, x), argument(name, "source", source, x.device)
    check(
        source.dtype == x.dtype,
        name,
        f"source must have the tensor's dtype, {x.dtype}, got {source.dtype}; convert it with "
        f".astype('{x.dtype}')",
        TypeError,
    )
    shape = broadcast_shape(name, x.shape, mask.shape)
    key = np.broadcast_to(mask.numpy(), shape)
    wanted = int(np.count_nonzero(key))
    check(
        prod(source.shape) >= wanted,
        name,
        f"the mask is true for {wanted} elements, and source has only {prod(source.shape)}",
    )
    y = expand(name, x, (shape,)).clone()
    y[key] = GetItem.apply(reshape(source, (-1,)), key=slice(0, wanted))
    return y


def triangle(name: str, x: Variable, diagonal: int) -> Any:
    """``tril`` or ``triu`` of the matrices in the last two dimensions."""
    check(x.ndim >= 2, name, f"expected at least two dimensions, got {x.ndim} ({shape_str(x.shape)})")
    (k,) = int_tuple(name, "diagonal", diagonal, 1, -(1 << 40))
    rows, columns = (np.arange(n) for n in x.shape[-2:])
    last = rows[:, None] + k  # the column of each row that is on the diagonal
    return Triangle.apply(x, mask=columns > last if name == "tril" else columns < last)
