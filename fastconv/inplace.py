"""Changes of a tensor's own memory, and what the tape knows afterwards.

A change is computed like any other op and then written over the old values, so aliases, views and NumPy
arrays on the same memory see it. Three things follow:

* A derivative that needs the old values gets a copy of them.
* The version of the memory is raised. An op that has saved the old values without a copy refuses to go
  backward.
* The tensor takes over the history of the new values. If it is a view, so does what it is a view of, and all
  other views of
  that memory look up their history again when they are next used (``autograd.View``)::

      y = x * 2          y's history: Binary(x)
      row = y[0]         row is a view of y, made by GetItem
      row += v           row's history: Binary(GetItem(y), v);    y's history: ReplaceItem(y as it was, row)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import backends
from .autograd import is_grad_enabled
from .checks import check, shape_str
from .dtypes import CATEGORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tensor import Tensor

_LINEAR = ("add_", "sub_", "neg_")  # their derivatives do not need the old values


def begin(t: Tensor, name: str, others: tuple[Any, ...]) -> bool:
    """Whether the tape records that op ``name`` changes ``t`` in place; raises where ``t`` must not be
    changed."""
    # The arrays of ``summary`` are read-only stand-ins, which no engine writes to.
    check(
        t._array.flags.writeable or backends.observer.get() is not None,
        name,
        "the tensor's memory is read-only (a NumPy array with writeable=False, or broadcast values); "
        "change a .clone()",
        RuntimeError,
    )
    if not is_grad_enabled():
        return False
    tracked = t.requires_grad or any(getattr(o, "requires_grad", False) for o in others)
    source, what = t, "a leaf that requires gradients"
    while True:
        check(
            not tracked or not source.requires_grad or source._node is not None,
            name,
            f"autograd cannot follow a change in place of {what}; to change the values only, do it under "
            "fc.no_grad(), or change a .clone()",
            RuntimeError,
        )
        view = source._view
        if view is None:
            return tracked
        check(
            view.followed or not (tracked or view.source.requires_grad),
            name,
            "autograd cannot follow a change of this view, which was made under no_grad() or by an op that shares its "
            "input's memory; change a .clone()",
            RuntimeError,
        )
        source, what = view.source, "a view of a leaf that requires gradients"


def update(t: Tensor, name: str, op: Callable[..., Any], *others: Any) -> Any:
    """``t = op(t, *others)`` in the memory of ``t``; NotImplemented where ``op`` says so."""
    tracked = begin(t, name, others)
    operands = (t, *others)
    if tracked and name not in _LINEAR:
        operands = [o.clone() if getattr(o, "_cell", None) is t._cell else o for o in operands]
    y = op(*operands)
    if y is NotImplemented:
        return y
    if y.shape != t.shape:
        raise ValueError(
            f"{name}: the result has shape {shape_str(y.shape)}, which does not fit the tensor that is changed, "
            f"{shape_str(t.shape)}; write a = a + b, not a += b, to get a new tensor"
        )
    if y.dtype != t.dtype:
        check(
            CATEGORY[y.dtype.kind] <= CATEGORY[t.dtype.kind],
            name,
            f"the result is {y.dtype}, which a tensor of {t.dtype} cannot hold; convert it first, e.g. with "
            f".astype('{y.dtype}')",
            RuntimeError,
        )
        y = y.astype(t.dtype)
    t._engine.setitem(t._array, ..., y._array)
    changed(t, y if tracked else None)
    return t


def changed(t: Tensor, new: Tensor | None) -> None:
    """Note that the memory of ``t`` has been written to; on the tape it is now ``new``."""
    t._cell[0] += 1
    source = t
    while (view := source._view) is not None:
        if view.version is not None:
            engine, view.version = source._engine, t._cell[0]
            engine.setitem(view.source._array, ..., engine.reshape(source._array, view.source.shape))
        source = view.source
    if new is None:
        return
    while (view := t._view) is not None:
        t, new = view.source, view.function.written(view.source, new, **view.options)
    t.requires_grad, t._node = new.requires_grad, new._node
    t._cell[1] += 1
