"""The same elements under another shape or order, and several tensors joined."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv import dtypes
from fastconv.checks import check, check_axis, int_tuple, shape_str
from fastconv.spec import reshaped_strides
from fastconv.tape import Op
from fastconv.variable import Node, Variable


class Reshape(Op):
    """The elements in logical order under another shape."""

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


def reshape(x: Variable, shape: Sequence[Any]) -> Any:
    """``x`` under ``shape``: ints, of which one may be -1, or one sequence of them."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    extents = list(int_tuple("reshape", "shape", shape, len(shape), -1)) if shape else []
    if extents.count(-1) > 1:
        raise ValueError(f"reshape: bad shape {tuple(extents)}")
    n = prod(x.shape)
    if -1 in extents and (known := -prod(extents)):
        extents[extents.index(-1)] = n // known
    if prod(extents) != n or -1 in extents:
        raise ValueError(f"reshape: {n} elements ({shape_str(x.shape)}) do not fit shape {tuple(extents)}")
    return Reshape.apply(x, shape=tuple(extents))


def flatten(x: Variable, start_dim: int, end_dim: int) -> Any:
    """``x`` with the dimensions ``start_dim`` to ``end_dim`` merged into one."""
    if x.ndim == 0:
        return reshape(x, (1,))
    a, b = check_axis("flatten", start_dim, x.ndim), check_axis("flatten", end_dim, x.ndim)
    check(a <= b, "flatten", f"start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, (*x.shape[:a], prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


def permute(x: Variable, axes: Sequence[Any]) -> Any:
    """``x`` with its dimensions in the order ``axes``: ints, or one sequence of them."""
    if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
        axes = tuple(axes[0])
    axes = tuple(check_axis("permute", a, x.ndim) for a in axes)
    check(
        sorted(axes) == list(range(x.ndim)),
        "permute",
        f"expected every dimension of {shape_str(x.shape)} once, got {axes}",
    )
    return Permute.apply(x, axes=axes)


def transpose(x: Variable, dim0: int, dim1: int) -> Any:
    """``x`` with two dimensions exchanged."""
    axes = list(range(x.ndim))
    a, b = check_axis("transpose", dim0, x.ndim), check_axis("transpose", dim1, x.ndim)
    axes[a], axes[b] = axes[b], axes[a]
    return permute(x, axes)


def squeeze(x: Variable, dim: int | None) -> Any:
    """``x`` without its dimensions of extent 1, or without ``dim`` if that has extent 1."""
    which = range(x.ndim) if dim is None else (check_axis("squeeze", dim, x.ndim),)
    return reshape(x, tuple(s for i, s in enumerate(x.shape) if not (i in which and s == 1)))


def unsqueeze(x: Variable, dim: Any) -> Any:
    """``x`` with a dimension of extent 1 inserted at ``dim``."""
    dim = check_axis("unsqueeze", dim, x.ndim + 1)
    return reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))
