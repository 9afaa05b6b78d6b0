"""Changes of a tensor's own memory, and what the tape knows afterwards.

A change is computed like any other op and then written over the old values, so aliases, views and NumPy
arrays on the same memory see it. Three things follow:

* A derivative that needs the old values gets a copy of them.
* The version of the memory is raised. An op that has saved the old values without a copy refuses to go
  backward.
* The tensor takes over the history of the new values. If it is a view, so does what it is a view of. All
  other views of that memory rebuild their history when they are next used (``variable.View``)::

      y = x * 2          y's history: Binary(x)
      row = y[0]         row is a view of y, made by GetItem
      row += v           row's history: Binary(GetItem(y), v);    y's history: ReplaceItem(y as it was, row)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from . import backends, dtypes, variable
from .checks import check, shape_str
from .dtypes import CATEGORY
from .ops import Cast, Copy, ReplaceItem, SetItem
from .ops.index import plain_key
from .tape import is_grad_enabled
from .variable import Variable, View, argument, take_history

V = TypeVar("V", bound=Variable)
_LINEAR = ("add_", "sub_")  # their derivatives do not need the old values


def begin(t: Variable, name: str, others: tuple[Any, ...]) -> bool:
    """Whether the tape records that op ``name`` changes ``t`` in place.

    Raises
    ------
    RuntimeError
        If ``t`` must not be changed.
    """
    # The arrays of ``summary`` are read-only stand-ins, which no engine writes to.
    check(
        t.array.flags.writeable or backends.observer.get() is not None,
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
            not tracked or not source.requires_grad or source.node is not None,
            name,
            f"autograd cannot follow a change in place of {what}; to change the values only, do it under "
            "fc.no_grad(), or change a .clone()",
            RuntimeError,
        )
        view = source.view_of
        if view is None:
            return tracked
        check(
            view.followed or not (tracked or view.source.requires_grad),
            name,
            "autograd cannot follow a change of this view, which was made under no_grad() or by an op that "
            "shares its input's memory; change a .clone()",
            RuntimeError,
        )
        source, what = view.source, "a view of a leaf that requires gradients"


def update(t: V, name: str, op: Callable[..., Any], *others: Any, **options: Any) -> V:
    """``t = op(t, *others, **options)`` in the memory of ``t``; NotImplemented where ``op`` returns that.

    Raises
    ------
    ValueError
        If the result has another shape than ``t``.
    RuntimeError
        If ``t`` cannot hold the type of the result, or must not be changed.
    """
    tracked = begin(t, name, (*others, *options.values()))
    operands = (t, *others)
    if tracked and not _needs_new_values_only(name):
        operands = [_apart(o, t) for o in operands]
        options = {k: _apart(o, t) for k, o in options.items()}
    y = op(*operands, **options)
    if y is NotImplemented:
        return y
    if y.shape != t.shape:
        raise ValueError(
            f"{name}: the result has shape {shape_str(y.shape)}, which does not fit the tensor that is "
            f"changed, {shape_str(t.shape)}; write a = a + b, not a += b, to get a new tensor"
        )
    if y.dtype != t.dtype:
        check(
            CATEGORY[y.dtype.kind] <= CATEGORY[t.dtype.kind],
            name,
            f"the result is {y.dtype}, which a tensor of {t.dtype} cannot hold; convert it first, e.g. with "
            f".astype('{y.dtype}')",
            RuntimeError,
        )
        y = Cast.apply(y, dtype=t.dtype)
    t.engine.setitem(t.array, ..., y.array)
    if tracked and not y.requires_grad:  # values without a derivative, such as those of a comparison
        y = ReplaceItem.apply(t, y, key=...)
    changed(t, y if tracked else None)
    return t


def _needs_new_values_only(name: str) -> bool:
    """Whether the derivative of op ``name`` does not need what the tensor held before."""
    row = backends.UNARY.get(name.removesuffix("_"))
    return name in _LINEAR or row is not None and row.saves != "x"


def _apart(operand: Any, t: Variable) -> Any:
    """``operand``, or a copy where it looks at the memory of ``t``."""
    return Copy.apply(operand) if getattr(operand, "memory", None) is t.memory else operand


def reshape(t: V, name: str, op: Callable[..., Any], *args: Any, **options: Any) -> V:
    """Give ``t`` the shape that ``op(t, *args, **options)`` has, which looks at the same memory."""
    tracked = begin(t, name, ())
    before = variable.tensor_class(t)
    before.tracked, before.node, before.view_of = t.tracked, t.node, t.view_of
    y = op(before, *args, **options)
    t.array = y.array
    if tracked or t.view_of is not None:
        t.view_of = y.view_of
        take_history(t, y)
    return t


def assign(t: Variable, key: Any, value: Any, name: str = "item assignment") -> None:
    """``t[key] = value``; ``value`` is a Tensor, an array, a number or a sequence."""
    key = plain_key(key)
    if isinstance(value, Variable):
        view = value.view_of
        # ``t[key] += 1`` has changed the view t[key] already, and now assigns it to its own place
        if view is not None and view.source is t and view.options.get("key") is key:
            return
    else:
        if t.dtype.kind in "iu" and not hasattr(value, "dtype"):
            value = dtypes.array(value, t.dtype, name, "value")  # refuses what this dtype cannot hold
        if not isinstance(value, (int, float)):
            value = argument(name, "value", value, t.device)
    tracked = begin(t, name, (value,))
    after = SetItem.apply(t, value, key=key)
    changed(t, after if tracked else None)


def changed(t: Variable, new: Variable | None) -> None:
    """Note that the memory of ``t`` has been written to; if tracked, ``new`` is its new history."""
    t.memory.version += 1
    _write_to_sources(t)
    if new is None:
        return
    while (view := t.view_of) is not None:
        t, new = view.source, _written(view, new)
    take_history(t, new)
    t.memory.recorded += 1


def _write_to_sources(t: Variable) -> None:
    """Write ``t`` to what it is a copy of, where it is a copy that stands for a view, or a view of one."""
    source = t
    while (view := source.view_of) is not None:
        if view.copied_version is not None:
            engine, view.copied_version = source.engine, t.memory.version
            engine.setitem(view.source.array, ..., engine.reshape(source.array, view.source.shape))
        source = view.source


def _written(view: View, new: Variable) -> Variable:
    """The source of ``view``, on the tape, after the view has become ``new``."""
    return view.function.written(view.source, new, **view.options)
