"""Views with other strides: expanded tensors, diagonals, sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fastconv.checks import check, check_axis, int_tuple, shape_str
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .pointwise import unbroadcast
from .shape import reshape, several

Shape = tuple[int, ...]


class Expand(Op):
    """The elements repeated along new axes and along those of extent 1, without a copy."""

    @staticmethod
    def forward(ctx: Node, x: Any, shape: Shape) -> Any:
        ctx.shape = x.shape
        return ctx.engine.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return unbroadcast(ctx.engine, gy, ctx.shape)

    @staticmethod
    def written(source: Variable, view: Variable, shape: Shape) -> Any:
        raise RuntimeError("expand: autograd cannot follow a change of repeated elements; change a .clone()")

    @staticmethod
    def strides(old_shape: Shape, strides: Shape, shape: Shape) -> Shape:
        lead = len(shape) - len(old_shape)
        kept = (0 if n == 1 != m else s for n, m, s in zip(old_shape, shape[lead:], strides))
        return (0,) * lead + tuple(kept)


class Diagonal(Op):
    """The elements ``x[..., i, ..., i + offset, ...]`` of axes ``a`` and ``b``; ``i`` is the last axis of the
    result."""

    @staticmethod
    def view(engine: Any, x: Any, offset: int, a: int, b: int) -> Any:
        """The diagonals of an array, as a view."""
        starts = {a: max(-offset, 0), b: max(offset, 0)}
        part = engine.getitem(x, tuple(slice(starts.get(i, 0), None) for i in range(x.ndim)))
        kept = [i for i in range(x.ndim) if i not in starts]
        return engine.as_strided(
            part,
            (*(x.shape[i] for i in kept), min(part.shape[a], part.shape[b])),
            Diagonal.strides(x.shape, x.strides, offset, a, b),
        )

    @staticmethod
    def forward(ctx: Node, x: Any, offset: int, a: int, b: int) -> Any:
        ctx.shape, ctx.where = x.shape, (offset, a, b)
        return Diagonal.view(ctx.engine, x, offset, a, b)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        gx = ctx.engine.zeros(ctx.shape, gy.dtype)
        ctx.engine.setitem(Diagonal.view(ctx.engine, gx, *ctx.where), ..., gy)
        return gx

    @staticmethod
    def written(source: Variable, view: Variable, offset: int, a: int, b: int) -> Any:
        return ReplaceDiagonal.apply(source, view, offset=offset, a=a, b=b)

    @staticmethod
    def strides(shape: Shape, strides: Shape, offset: int, a: int, b: int) -> Shape:
        return (*(s for i, s in enumerate(strides) if i not in (a, b)), strides[a] + strides[b])


class ReplaceDiagonal(Op):
    """``x`` with ``value`` on its diagonals, for the tape only: the memory has been written already."""

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, offset: int, a: int, b: int) -> Any:
        ctx.where = offset, a, b
        return x

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        gvalue = Diagonal.view(ctx.engine, gy, *ctx.where) if ctx.needs[1] else None
        if not ctx.needs[0]:
            return None, gvalue
        gx = ctx.engine.copy(gy)
        ctx.engine.setitem(Diagonal.view(ctx.engine, gx, *ctx.where), ..., 0)
        return gx, gvalue


class DiagEmbed(Op):
    """Zeros, with ``x`` on the diagonals of axes ``a`` and ``b`` of the result."""

    @staticmethod
    def forward(ctx: Node, x: Any, offset: int, a: int, b: int) -> Any:
        ctx.where, size = (offset, a, b), x.shape[-1] + abs(offset)
        shape = list(x.shape[:-1])
        for axis in sorted((a, b)):
            shape.insert(axis, size)
        y = ctx.engine.zeros(tuple(shape), x.dtype)
        ctx.engine.setitem(Diagonal.view(ctx.engine, y, offset, a, b), ..., x)
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return Diagonal.view(ctx.engine, gy, *ctx.where)


class SlidingWindows(Op):
    """Windows of ``size`` elements along ``axis``, ``step`` apart; the last axis runs through a window."""

    @staticmethod
    def forward(ctx: Node, x: Any, axis: int, size: int, step: int) -> Any:
        ctx.shape, ctx.where = x.shape, (axis, size, step)
        count = (x.shape[axis] - size) // step + 1
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
        y = ctx.engine.as_strided(x, shape, SlidingWindows.strides(x.shape, x.strides, axis, size, step))
        # broadcast_to makes the view read-only, because windows that overlap cannot be changed
        return ctx.engine.broadcast_to(y, y.shape) if step < size else y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        (axis, size, step), e = ctx.where, ctx.engine
        gx, count = e.zeros(ctx.shape, gy.dtype), gy.shape[axis]
        before = (slice(None),) * axis
        if size < count:  # for each position in the window, add the gradients of all windows at once
            for i in range(size):
                e.index_add(
                    gx, (*before, slice(i, i + (count - 1) * step + 1, step)), e.getitem(gy, (..., i))
                )
            return gx
        for i in range(count):
            window = e.getitem(gy, (*before, i))
            window = e.permute(window, (*range(axis), window.ndim - 1, *range(axis, window.ndim - 1)))
            e.index_add(gx, (*before, slice(i * step, i * step + size)), window)
        return gx

    @staticmethod
    def strides(shape: Shape, strides: Shape, axis: int, size: int, step: int) -> Shape:
        return (*strides[:axis], strides[axis] * step, *strides[axis + 1 :], strides[axis])


# ------------------------------------------------------------------------------------------------- arguments
def expand(name: str, x: Variable, sizes: Sequence[Any]) -> Any:
    """``x`` repeated to ``sizes``: ints, or one sequence of them; -1 keeps an extent."""
    sizes = several(sizes)
    target = int_tuple(name, "size", sizes, len(sizes), -1) if sizes else ()
    lead = len(target) - x.ndim
    check(
        lead >= 0,
        name,
        f"the size {target} has fewer dimensions than the tensor ({shape_str(x.shape)})",
    )
    check(-1 not in target[:lead], name, f"-1 keeps an extent, and a new dimension has none; got {target}")
    wanted = target[:lead] + tuple(n if m == -1 else m for n, m in zip(x.shape, target[lead:]))
    check(
        all(n in (1, m) for n, m in zip(x.shape, wanted[lead:])),
        name,
        f"only dimensions of extent 1 can be repeated: {shape_str(x.shape)} does not expand to "
        f"{shape_str(wanted)}",
    )
    if wanted == x.shape or prod(wanted) == prod(x.shape) != 0:  # nothing is repeated
        return reshape(x, (wanted,))
    return Expand.apply(x, shape=wanted)


def repeat(name: str, x: Variable, repeats: Sequence[Any]) -> Any:
    """``repeats`` copies of ``x`` side by side, a number for each dimension."""
    repeats = several(repeats)
    times = int_tuple(name, "repeats", repeats, len(repeats), 0) if repeats else ()
    check(
        len(times) >= x.ndim,
        name,
        f"expected a number for each of the {x.ndim} dimensions ({shape_str(x.shape)}), or more, got {times}",
    )
    shape = (1,) * (len(times) - x.ndim) + x.shape
    pairs = [m for pair in zip((1,) * len(times), shape) for m in pair]
    wide = [m for pair in zip(times, shape) for m in pair]
    spread = expand(name, reshape(x, (tuple(pairs),)), (tuple(wide),))
    y = reshape(spread, (tuple(t * n for t, n in zip(times, shape)),))
    return y.clone() if all(t == 1 for t in times) else y


def two_axes(name: str, x_ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    """Two dimensions as axes from 0 on; a ValueError if they are the same."""
    a, b = check_axis(name, dim1, x_ndim), check_axis(name, dim2, x_ndim)
    check(x_ndim > 1 and a != b, name, f"expected two different dimensions, got {dim1} and {dim2}")
    return a, b


def diagonal(x: Variable, offset: int, dim1: int, dim2: int) -> Any:
    """The diagonals of the matrices in ``dim1`` and ``dim2``."""
    (offset,) = int_tuple("diagonal", "offset", offset, 1, -(1 << 40))
    a, b = two_axes("diagonal", x.ndim, dim1, dim2)
    return Diagonal.apply(x, offset=offset, a=a, b=b)


def diag_embed(name: str, x: Variable, offset: int, dim1: int, dim2: int) -> Any:
    """Matrices of zeros with the last dimension of ``x`` on their diagonals."""
    check(x.ndim > 0, name, "expected at least one dimension, got a scalar")
    (offset,) = int_tuple(name, "offset", offset, 1, -(1 << 40))
    a, b = two_axes(name, x.ndim + 1, dim1, dim2)
    return DiagEmbed.apply(x, offset=offset, a=a, b=b)


def unfold(x: Variable, dimension: int, size: int, step: int) -> Any:
    """Windows of ``size`` along ``dimension``, ``step`` apart; the last dimension runs through a window."""
    axis = check_axis("unfold", dimension, x.ndim)
    (size,), (step,) = int_tuple("unfold", "size", size, 1, 0), int_tuple("unfold", "step", step, 1, 1)
    if x.ndim == 0:
        x = reshape(x, (1,))
        check(size <= 1, "unfold", f"size {size} is more than the 1 element of a scalar")
        return unfold(x, 0, size, step)[0]
    check(
        size <= x.shape[axis],
        "unfold",
        f"size {size} is more than the extent {x.shape[axis]} of dimension {axis} ({shape_str(x.shape)})",
    )
    return SlidingWindows.apply(x, axis=axis, size=size, step=step)
