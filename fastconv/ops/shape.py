"""The same elements in another shape or with reordered dimensions, and concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv import dtypes
from fastconv.checks import check, check_axis, int_tuple, shape_str
from fastconv.spec import reshaped_strides
from fastconv.tape import Op
from fastconv.variable import Node, Variable, pytorch_strides


class Reshape(Op):
    """The elements, in logical order, in another shape."""

    reshapes = True

    @staticmethod
    def forward(ctx: Node, x: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        return ctx.engine.reshape(x, shape)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return ctx.engine.reshape(gy, ctx.shape)

    @staticmethod
    def written(source: Variable, view: Variable, shape: tuple[int, ...]) -> Any:
        return Reshape.apply(view, shape=source.shape)

    @staticmethod
    def strides(
        old_shape: tuple[int, ...], strides: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        return reshaped_strides(old_shape, strides, shape)


class Permute(Op):
    """The dimensions in another order."""

    @staticmethod
    def forward(ctx: Node, x: Any, axes: tuple[int, ...]) -> Any:
        ctx.inverse = Permute._inverse(axes)
        return ctx.engine.permute(x, axes)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return ctx.engine.permute(gy, ctx.inverse)

    @staticmethod
    def written(source: Variable, view: Variable, axes: tuple[int, ...]) -> Any:
        return Permute.apply(view, axes=Permute._inverse(axes))

    @staticmethod
    def strides(shape: tuple[int, ...], strides: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(strides[a] for a in axes)

    @staticmethod
    def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(i) for i in np.argsort(axes))


class Concatenate(Op):
    """Tensors joined along an existing axis."""

    @staticmethod
    def forward(ctx: Node, *xs: Any, axis: int) -> Any:
        ctx.axis, ctx.sizes = axis, [x.shape[axis] for x in xs]
        return ctx.engine.concatenate(dtypes.together("cat", xs, ctx.engine.cast), axis)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        grads, start = [], 0
        for size in ctx.sizes:
            key = (slice(None),) * ctx.axis + (slice(start, start + size),)
            grads.append(ctx.engine.getitem(gy, key))
            start += size
        return tuple(grads)


class Stack(Op):
    """Equally shaped tensors joined along a new axis."""

    @staticmethod
    def forward(ctx: Node, *xs: Any, axis: int) -> Any:
        ctx.axis, ctx.count, shape = axis, len(xs), xs[0].shape
        parts = dtypes.together("stack", xs, ctx.engine.cast)
        shape = (*shape[:axis], 1, *shape[axis:])
        return ctx.engine.concatenate([ctx.engine.reshape(x, shape) for x in parts], axis)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        before = (slice(None),) * ctx.axis
        return tuple(ctx.engine.getitem(gy, (*before, i)) for i in range(ctx.count))


def several(args: Sequence[Any], given: Any = None, name: str = "", what: str = "") -> tuple[Any, ...]:
    """Numbers as a tuple. They were passed one by one, or as one sequence, or by name: ``what=given``."""
    if given is not None:
        check(not args, name, f"give {what} once, not twice", TypeError)
        return tuple(given) if isinstance(given, (tuple, list)) else (given,)
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else tuple(args)


def _extents(name: str, x: Variable, shape: Sequence[Any]) -> tuple[int, ...]:
    """The new shape of ``x``, checked; an extent of -1 is replaced by the one that fits."""
    shape = several(shape)
    extents = list(int_tuple(name, "shape", shape, len(shape), -1)) if shape else []
    if extents.count(-1) > 1:
        raise ValueError(f"{name}: only one extent can be -1, got {tuple(extents)}")
    n = prod(x.shape)
    if -1 in extents and (known := -prod(extents)):
        extents[extents.index(-1)] = n // known
    if prod(extents) != n or -1 in extents:
        raise ValueError(f"{name}: {n} elements ({shape_str(x.shape)}) do not fit shape {tuple(extents)}")
    return tuple(extents)


def reshape(x: Variable, shape: Sequence[Any]) -> Any:
    """``x`` in another ``shape``: ints, of which one may be -1, or one sequence of them."""
    return Reshape.apply(x, shape=_extents("reshape", x, shape))


def view(x: Variable, shape: Sequence[Any]) -> Any:
    """:func:`reshape` in the cases in which PyTorch has a view; a ValueError in other cases."""
    extents = _extents("view", x, shape)
    strides = pytorch_strides(x)
    if strides is not None and Reshape.strides(x.shape, strides, extents) is None:
        raise ValueError(
            f"view: the elements of this tensor ({shape_str(x.shape)}) do not lie in the order of shape "
            f"{shape_str(extents)}; use .reshape(...), which copies them where it must"
        )
    return Reshape.apply(x, shape=extents)


def flatten(x: Variable, start_dim: int, end_dim: int) -> Any:
    """``x`` with the dimensions ``start_dim`` to ``end_dim`` merged into one."""
    if x.ndim == 0:
        for dim in (start_dim, end_dim):
            check_axis("flatten", dim, 0)
        return reshape(x, (1,))
    a, b = check_axis("flatten", start_dim, x.ndim), check_axis("flatten", end_dim, x.ndim)
    check(a <= b, "flatten", f"start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, ((*x.shape[:a], prod(x.shape[a : b + 1]), *x.shape[b + 1 :]),))


def unflatten(x: Variable, dim: int, sizes: Any) -> Any:
    """``x`` with one dimension divided into several; one of ``sizes`` may be -1."""
    axis = check_axis("unflatten", dim, x.ndim)
    extents = list(int_tuple("unflatten", "sizes", sizes, len(several((sizes,))), -1))
    n = x.shape[axis] if x.ndim else 1
    known = prod(s for s in extents if s != -1)
    if extents.count(-1) == 1 and known and n % known == 0:
        extents[extents.index(-1)] = n // known
    check(
        -1 not in extents and prod(extents) == n,
        "unflatten",
        f"sizes {tuple(extents)} do not multiply to the extent {n} of dimension {axis} "
        f"({shape_str(x.shape)})",
    )
    return reshape(x, ((*x.shape[:axis], *extents, *x.shape[axis + 1 :]),))


def permute(x: Variable, axes: Sequence[Any]) -> Any:
    """``x`` with its dimensions in the order ``axes``: ints, or one sequence of them."""
    axes = tuple(check_axis("permute", a, x.ndim) for a in several(axes))
    check(
        sorted(axes) == list(range(x.ndim)),
        "permute",
        f"expected every dimension of {shape_str(x.shape)} once, got {axes}",
    )
    return Permute.apply(x, axes=axes)


def transpose(x: Variable, dim0: int, dim1: int, name: str = "transpose") -> Any:
    """``x`` with two dimensions exchanged."""
    axes = list(range(x.ndim))
    a, b = check_axis(name, dim0, x.ndim), check_axis(name, dim1, x.ndim)
    if x.ndim:
        axes[a], axes[b] = axes[b], axes[a]
    return Permute.apply(x, axes=tuple(axes))


def movedim(name: str, x: Variable, source: Any, destination: Any) -> Any:
    """``x`` with the dimensions ``source`` at the positions ``destination``, the others in their order."""
    places = []
    for dims in (source, destination):
        found = [check_axis(name, d, x.ndim) for d in several((dims,))]
        check(len({*found}) == len(found), name, f"expected different dimensions, got {dims}")
        places.append(found)
    from_, to = places
    check(
        len(from_) == len(to),
        name,
        f"source and destination must be of one length, got {source} and {destination}",
    )
    order = [d for d in range(x.ndim) if d not in from_]
    for place, dim in sorted(zip(to, from_)):
        order.insert(place, dim)
    return Permute.apply(x, axes=tuple(order))


def squeeze(x: Variable, dim: Any) -> Any:
    """``x`` without its dimensions of extent 1, or without those of ``dim`` that have extent 1."""
    which = range(x.ndim) if dim is None else [check_axis("squeeze", d, x.ndim) for d in several((dim,))]
    check(len({*which}) == len(which), "squeeze", f"expected different dimensions, got {dim}")
    return reshape(x, (tuple(s for i, s in enumerate(x.shape) if not (i in which and s == 1)),))


def unsqueeze(x: Variable, dim: Any) -> Any:
    """``x`` with a dimension of extent 1 inserted at ``dim``."""
    dim = check_axis("unsqueeze", dim, x.ndim + 1)
    return reshape(x, ((*x.shape[:dim], 1, *x.shape[dim:]),))
