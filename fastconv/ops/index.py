"""Indexing: parts of a tensor, read and replaced.

A key has the meaning that it has in PyTorch. That is NumPy's meaning, with one exception. If a key has ints
and arrays, PyTorch applies the ints first, while NumPy treats an int as one more array of indices::

    x of shape 2x3x4      x[0, :, [1, 2]] has the shape 3x2 in PyTorch, and 2x3 in NumPy

Therefore such a key is applied in two steps (:func:`_steps`): the ints give a view, which the arrays index.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from fastconv.checks import shape_str
from fastconv.spec import is_basic
from fastconv.tape import Op
from fastconv.variable import Node, Variable, argument, host_array

from .convert import Copy
from .pointwise import unbroadcast

_SMALL = 1 << 12  # for results up to this number of elements, getitem is faster than the gather kernel


class GetItem(Op):
    """``x[key]``."""

    accumulates = True

    @staticmethod
    def forward(ctx: Node, x: Any, key: Any) -> Any:
        ctx.key, ctx.shape = _copied_key(key) if ctx.needs[0] else key, x.shape
        try:
            return read(ctx.engine, x, key)
        except (IndexError, ValueError, TypeError) as e:
            raise refused("index", e, x) from None

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e = ctx.engine
        gx = e.zeros(ctx.shape, gy.dtype) if ctx.accumulated is None else e.copy(ctx.accumulated)
        add(e, gx, ctx.key, gy)
        return gx

    @staticmethod
    def written(source: Variable, view: Variable, key: Any) -> Any:
        return ReplaceItem.apply(source, view, key=key)

    @staticmethod
    def strides(shape: tuple[int, ...], strides: tuple[int, ...], key: Any) -> tuple[int, ...] | None:
        if not is_basic(key):
            return None
        parts = key if isinstance(key, tuple) else (key,)
        # NumPy computes the strides on an array of this shape over one byte; no element is read
        shadow = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), shape, strides)
        return shadow[parts if Ellipsis in parts else (*parts, Ellipsis)].strides


class ReplaceItem(Op):
    """``x`` after ``x[key] = value``, for the tape only: the memory has been written already.

    On the tape, ``x`` before the assignment and ``x`` after it are two tensors.
    """

    takes_numbers = True

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, key: Any) -> Any:
        ctx.key, ctx.value_shape = _copied_key(key) if True in ctx.needs else key, getattr(value, "shape", ())
        return x

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        gvalue = None
        if ctx.needs[1]:
            gvalue = unbroadcast(ctx.engine, read(ctx.engine, gy, ctx.key), ctx.value_shape)
        if not ctx.needs[0]:
            return None, gvalue
        gx = ctx.engine.copy(gy)
        write(ctx.engine, gx, ctx.key, 0)
        return gx, gvalue


class SetItem(ReplaceItem):
    """``x[key] = value`` in place."""

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, key: Any) -> Any:
        try:
            write(ctx.engine, x, key, value)
        except (IndexError, ValueError, TypeError) as e:
            raise refused("item assignment", e, x) from None
        return ReplaceItem.forward(ctx, x, value, key)


class PutAdd(Op):
    """A copy of ``x`` with ``value`` added to ``x[key]``; an index that occurs twice adds twice."""

    @staticmethod
    def forward(ctx: Node, x: Any, value: Any, key: Any) -> Any:
        ctx.key, ctx.value_shape = _copied_key(key), value.shape
        y = ctx.engine.copy(x)
        try:
            add(ctx.engine, y, key, value)
        except (IndexError, ValueError, TypeError) as e:
            raise refused("index_put", e, x) from None
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        if not ctx.needs[1]:
            return gy, None
        return gy, unbroadcast(ctx.engine, read(ctx.engine, gy, ctx.key), ctx.value_shape)


# ------------------------------------------------------------------------------------------------- engines
def read(engine: Any, x: Any, key: Any) -> Any:
    """``x[key]``."""
    x, key = _steps(engine, x, key)
    along = _along_axis(engine, x, key)
    if along is None:
        return engine.getitem(x, key)
    index, axis, shape = along
    return engine.reshape(engine.gather(x, index, axis), (*x.shape[:axis], *shape, *x.shape[axis + 1 :]))


def write(engine: Any, x: Any, key: Any, value: Any) -> None:
    """``x[key] = value``."""
    x, key = _steps(engine, x, key)
    engine.setitem(x, key, value)


def add(engine: Any, x: Any, key: Any, value: Any) -> None:
    """``x[key] += value``; an index that occurs twice adds twice."""
    x, key = _steps(engine, x, key)
    along = _along_axis(engine, x, key)
    if along is None:
        return engine.index_add(x, key, value)
    index, axis, shape = along
    wanted = *x.shape[:axis], *shape, *x.shape[axis + 1 :]
    value = value if value.shape == wanted else engine.broadcast_to(value, wanted)
    value = engine.reshape(value, (*x.shape[:axis], prod(shape), *x.shape[axis + 1 :]))
    engine.scatter("add", x, index, value, axis)


def _steps(engine: Any, x: Any, key: Any) -> tuple[Any, Any]:
    """A view of ``x`` and a key without ints; the view indexed with this key is ``x[key]``."""
    parts = key if isinstance(key, tuple) else (key,)
    if not (any(isinstance(p, np.ndarray) for p in parts) and any(map(_is_int, parts))):
        return x, key
    first: list[Any] = []  # the ints, and a full slice for each axis that another part takes
    for p in parts:
        if _is_int(p) or p is Ellipsis:
            first.append(p)
        elif isinstance(p, np.ndarray):
            first += [slice(None)] * (p.ndim if p.dtype == bool else 1)
        elif isinstance(p, slice):
            first.append(slice(None))
    return engine.getitem(x, tuple(first)), tuple(p for p in parts if not _is_int(p))


def _is_int(part: Any) -> bool:
    return isinstance(part, (int, np.integer)) and not isinstance(part, bool)


def _along_axis(engine: Any, x: Any, key: Any) -> tuple[Any, int, tuple[int, ...]] | None:
    """The arguments of ``gather`` for a key that is one array of indices, besides full slices.

    These are the array on the device, in a shape that broadcasts with ``x``, the axis, and the array's own
    shape. None for other keys, and for results that are too small for a kernel (``_SMALL``).
    """
    parts = key if isinstance(key, tuple) else (key,)
    arrays = [p for p in parts if isinstance(p, np.ndarray)]
    full = all(p is Ellipsis or p == slice(None) for p in parts if not isinstance(p, np.ndarray))
    if len(arrays) != 1 or not full or arrays[0].dtype.kind not in "iu":
        return None
    index, at = arrays[0], next(i for i, p in enumerate(parts) if isinstance(p, np.ndarray))
    axis = at if Ellipsis not in parts[:at] else x.ndim - (len(parts) - at)
    if not 0 <= axis < x.ndim or x.size // max(x.shape[axis], 1) * index.size <= _SMALL:
        return None
    n = x.shape[axis]
    wrong = (index < -n) | (index >= n)
    if wrong.any():
        raise IndexError(f"index {index[wrong][0]} is out of bounds for axis {axis} with size {n}")
    flat = index.astype(np.int64).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return engine.asarray(np.where(flat < 0, flat + n, flat)), axis, index.shape


# ------------------------------------------------------------------------------------------------- keys
def plain_key(key: Any) -> Any:
    """An index expression with each tensor and list replaced by a host array, or by an int if it is one int.

    A key without tensors and lists is returned as the same object. ``inplace.assign`` relies on it to
    recognise that ``x[key] += 1`` assigns a view to its own place.
    """
    if isinstance(key, tuple):
        parts = tuple([_part(k) for k in key])
        return key if all(map(operator.is_, parts, key)) else parts
    # PyTorch treats a list that contains sequences or slices as a tuple
    if isinstance(key, list) and any(isinstance(k, _NO_NUMBERS) for k in key):
        return plain_key(tuple(key))
    return _part(key)


_NO_NUMBERS = (list, tuple, slice, Variable, np.ndarray, type(None), type(...))


def _part(part: Any) -> Any:
    """One part of a key: a tensor or sequence becomes an array, and an array of one int becomes an int."""
    if isinstance(part, Variable):
        part = part.numpy()
    elif isinstance(part, (list, tuple)):
        part = host_array(part, name="index", what="an index") if part else np.empty(0, np.int64)
    if not isinstance(part, np.ndarray):
        return part
    if part.dtype == np.uint8:  # PyTorch's masks were of uint8 before it had bool tensors
        return part.astype(bool)
    return int(part) if part.ndim == 0 and part.dtype.kind in "iu" else part


def _copied_key(key: Any) -> Any:
    """The key with copies of its arrays, because the arrays may change before the backward pass."""
    if isinstance(key, tuple):
        return tuple(map(_copied_key, key))
    return key.copy() if isinstance(key, np.ndarray) else key


def refused(name: str, e: Exception, x: Any) -> Exception:
    """NumPy's error about a key or value, with the op's name and the tensor's shape added."""
    kind = next(k for k in (IndexError, ValueError, TypeError) if isinstance(e, k))
    return kind(f"{name}: {e} (the tensor is {shape_str(x.shape)})")


def put(x: Variable, indices: Any, values: Any, accumulate: bool) -> Any:
    """A copy of ``x`` with ``values`` written to ``copy[indices]``, or added to it (``accumulate``)."""
    if not isinstance(indices, (tuple, list)):
        raise TypeError(f"index_put: indices must be a tuple of tensors, got {type(indices).__name__}")
    values, key = argument("index_put", "values", values, x.device), plain_key(tuple(indices))
    if values.dtype != x.dtype:
        raise TypeError(
            f"index_put: values must have the tensor's dtype, {x.dtype}, got {values.dtype}; convert them "
            f"with .astype('{x.dtype}')"
        )
    if accumulate:
        return PutAdd.apply(x, values, key=key)
    y = Copy.apply(x)
    y[key] = values
    return y
