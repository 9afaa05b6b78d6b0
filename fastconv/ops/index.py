"""Indexing: parts of a tensor, read and replaced."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastconv.checks import shape_str
from fastconv.spec import is_basic
from fastconv.tape import Op
from fastconv.variable import Node, Variable

from .pointwise import unbroadcast


class GetItem(Op):
    """``x[key]``."""

    accumulates = True

    @staticmethod
    def forward(ctx: Node, x: Any, key: Any) -> Any:
        ctx.key, ctx.shape = _copied_key(key) if ctx.needs[0] else key, x.shape
        try:
            return ctx.engine.getitem(x, key)
        except (IndexError, ValueError, TypeError) as e:
            raise _refused("index", e, x) from None

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e = ctx.engine
        gx = e.zeros(ctx.shape, gy.dtype) if ctx.accumulated is None else e.copy(ctx.accumulated)
        e.index_add(gx, ctx.key, gy)
        return gx

    @staticmethod
    def written(source: Variable, view: Variable, key: Any) -> Any:
        return ReplaceItem.apply(source, view, key=key)

    @staticmethod
    def strides(shape: tuple[int, ...], strides: tuple[int, ...], key: Any) -> tuple[int, ...] | None:
        if not is_basic(key):
            return None
        parts = key if isinstance(key, tuple) else (key,)
        # a stand-in of one element, no other of which is read: NumPy computes the strides
        shadow = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), shape, strides)
        return shadow[parts if Ellipsis in parts else (*parts, Ellipsis)].strides


class ReplaceItem(Op):
    """``x`` after ``x[key] = value``, where the memory has been written already: on the tape, x before and x
    after are two tensors."""

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, key: Any) -> Any:
        ctx.key, ctx.value_shape = _copied_key(key) if True in ctx.needs else key, getattr(value, "shape", ())
        return x

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        gvalue = None
        if ctx.needs[1]:
            gvalue = unbroadcast(ctx.engine, ctx.engine.getitem(gy, ctx.key), ctx.value_shape)
        if not ctx.needs[0]:
            return None, gvalue
        gx = ctx.engine.copy(gy)
        ctx.engine.setitem(gx, ctx.key, 0)
        return gx, gvalue


class SetItem(ReplaceItem):
    """``x[key] = value`` in place."""

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, key: Any) -> Any:
        try:
            ctx.engine.setitem(x, key, value)
        except (IndexError, ValueError, TypeError) as e:
            raise _refused("item assignment", e, x) from None
        return ReplaceItem.forward(ctx, x, value, key)


def plain_key(key: Any) -> Any:
    """An index expression with tensors replaced by host arrays, and by ints where they are one integer.

    A key without tensors and lists is returned as the same object: ``inplace.assign`` recognises by it that
    ``x[key] += 1`` assigns a view to its own place.
    """
    if isinstance(key, tuple):
        parts = tuple([plain_key(k) for k in key])
        return key if all(map(operator.is_, parts, key)) else parts
    if isinstance(key, Variable):
        key = key.numpy()
    elif isinstance(key, list):
        key = np.asarray(key)
    return int(key) if isinstance(key, np.ndarray) and key.ndim == 0 and key.dtype.kind in "iu" else key


def _copied_key(key: Any) -> Any:
    """The key with copies of its arrays, because these may change before the backward pass."""
    if isinstance(key, tuple):
        return tuple(map(_copied_key, key))
    return key.copy() if isinstance(key, np.ndarray) else key


def _refused(name: str, e: Exception, x: Any) -> Exception:
    """NumPy's message about a key or a value that does not fit, with the op's name in front and the tensor's
    shape behind."""
    kind = next(k for k in (IndexError, ValueError, TypeError) if isinstance(e, k))
    return kind(f"{name}: {e} (the tensor is {shape_str(x.shape)})")
