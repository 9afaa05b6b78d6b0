"""Argument checks, and the words of error messages.

Every message begins with the name of the public function. It says what was expected, what came, and where
possible how to mend it. Functions here raise it; ``name`` is always the function's name and ``what`` the
argument's.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

#: Names of the spatial dimensions, by their number.
DIMS = {1: ("W",), 2: ("H", "W"), 3: ("D", "H", "W")}


#: Elements of the largest array, and the largest extent, stride or padding. More is a mistake.
LIMIT = 1 << 40


def shape_str(shape: Iterable[int]) -> str:
    """A shape as messages write it; that of a scalar is ``"scalar"``.

    >>> shape_str((8, 1, 224, 224))
    '8x1x224x224'
    """
    return "x".join(str(int(s)) for s in shape) or "scalar"


def check(ok: Any, name: str, message: str, error: type[Exception] = ValueError) -> None:
    """Raise ``error`` with ``"<name>: <message>"`` unless ``ok``.

    The ops of a training step use ``if`` and ``raise`` instead, because ``message`` is made on every call,
    and making it takes longer than the check.
    """
    if not ok:
        raise error(f"{name}: {message}")


def check_call(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Arguments bound to ``signature``, or a TypeError that shows it under the public ``name``."""
    try:
        unknown = [k for k in kwargs if k not in signature.parameters]
        check(
            not unknown,
            name,
            f"got an unexpected keyword argument {', '.join(map(repr, unknown))}",
            TypeError,
        )
        return signature.bind(*args, **kwargs)
    except TypeError as e:
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        raise TypeError(f"{name}{inspect.Signature(plain)}: {e}") from None


def check_rank(name: str, what: str, shape: Sequence[int], ranks: int | Sequence[int], layout: str) -> None:
    """Refuse an array of the wrong rank. ``layout`` names the axes expected, e.g. ``"N x C x H x W"``."""
    ranks = (ranks,) if isinstance(ranks, int) else ranks
    if len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ValueError(
            f"{name}: {what} must have {wanted} dimensions ({layout}), got {len(shape)} ({shape_str(shape)})"
        )


def channels_last_hint(x_shape: Sequence[int], channels: int) -> str:
    """The cure for an input that should have ``channels`` in its second axis and has them in its last one.

    Returns
    -------
    str
        The end of a message; empty where the last axis has another extent.
    """
    n = len(x_shape) - 2
    if n < 1 or x_shape[-1] != channels:
        return ""
    order = ", ".join(map(str, range(1, n + 1)))
    one = f" (without the batch: .permute({n}, {', '.join(map(str, range(n)))}))" if x_shape[0] == 1 else ""
    return f"; is it N x {' x '.join(DIMS[n])} x C? Then give it as .permute(0, {n + 1}, {order}){one}"


def check_float(name: str, optional: Sequence[str] = (), **arrays: Any) -> None:
    """Refuse arrays that are not all float32 or all float64; None passes for the names in ``optional``."""
    given: list[Any] = [a for what, a in arrays.items() if a is not None or what not in optional]
    kinds = {a.dtype.char if hasattr(a, "dtype") else "" for a in given}
    if kinds == {"f"} or kinds == {"d"}:  # nearly every call ends here, before any text is made
        return
    first: tuple[str, str] | None = None
    for what, a in arrays.items():
        if a is None and what in optional:
            continue
        kind = str(getattr(a, "dtype", type(a).__name__))
        if kind not in ("float32", "float64"):
            advice = "; convert it with .astype('float32')" if hasattr(a, "dtype") else ""
            got = "None" if a is None else kind
            raise TypeError(f"{name}: {what} must be a float32 or float64 array, got {got}{advice}")
        first = first or (what, kind)
        if kind != first[1]:
            advice = f"convert one of them, e.g. .astype('{first[1]}')"
            raise TypeError(f"{name}: {what} is {kind} but {first[0]} is {first[1]}; {advice}")


def check_shape(name: str, what: str, got: Iterable[int], expected: Iterable[int], why: str) -> None:
    """Refuse ``got`` unless it equals ``expected``; ``why`` says where the expectation comes from."""
    got, expected = tuple(got), tuple(expected)
    if got != expected:
        raise ValueError(
            f"{name}: {what} must have shape {shape_str(expected)} ({why}), got {shape_str(got)}"
        )


def check_axis(name: str, axis: Any, ndim: int) -> int:
    """One axis as a number ``0 <= axis < ndim``; negative ones count from the end."""
    try:
        axis = operator.index(axis)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: dim must be an int, got {type(axis).__name__} ({axis!r})") from None
    n = max(ndim, 1)
    if not -n <= axis < n:
        raise IndexError(
            f"{name}: dim {axis} is out of range for {ndim} dimensions (expected {-n} to {n - 1})"
        )
    return axis % n


def check_count(name: str, what: str, shape: Sequence[int]) -> None:
    """Refuse an array of absurd size before anything is allocated or looped over."""
    if prod(shape) >= LIMIT:
        raise ValueError(
            f"{name}: {what} would have the shape {shape_str(shape)}, which is 2^40 elements or more"
        )


def number(name: str, what: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """A real number as a float, between ``low`` and ``high`` if these are given."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: {what} must be a number, got {value!r:.60}") from None
    if low is not None and high is not None:
        check(low <= result <= high, name, f"{what} must be between {low:g} and {high:g}, got {value!r:.60}")
    elif low is not None:
        check(low <= result, name, f"{what} must be at least {low:g}, got {value!r:.60}")
    return result


def is_number(value: Any) -> bool:
    """Whether ``value`` is a real number. A bool is none: it is nearly always meant for another argument."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def flag(name: str, what: str, value: Any) -> bool:
    """A bool, or a TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: {what} must be True or False, got {value!r:.60}")
    return bool(value)


def one_of(name: str, what: str, value: Any, words: Iterable[str]) -> None:
    """Refuse a value that is not one of ``words``."""
    words = list(words)
    if not isinstance(value, str) or value not in words:
        *first, last = [repr(w) for w in words]
        raise ValueError(f"{name}: {what} must be {', '.join(first)} or {last}, got {value!r:.60}")


def int_tuple(name: str, what: str, value: Any, n: int, minimum: int) -> tuple[int, ...]:
    """An int or a sequence of ``n`` ints as a tuple of ``n`` ints, each at least ``minimum``.

    >>> int_tuple("conv2d", "stride", 2, 2, 1)
    (2, 2)
    """
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(items) == 1:
        items *= n
    wanted = "an int" if n == 1 else f"an int or {n} ints"
    check(len(items) == n, name, f"{what} must be {wanted}, got {value!r:.60}")
    try:
        items = tuple(operator.index(i) for i in items)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: {what} must be {wanted}, got {value!r:.60}") from None
    check(
        min(items, default=minimum) >= minimum,
        name,
        f"{what} must be at least {minimum} in each dimension, got {value!r}",
    )
    check(max(items, default=0) < LIMIT, name, f"{what} must be below 2^40 in each dimension, got {value!r}")
    return items


def shape_argument(name: str, args: Sequence[Any], size: Any = None) -> tuple[int, ...]:
    """The shape of a new tensor, which was given as ints, as one sequence or by the name ``size``.

    >>> shape_argument("zeros", (2, 3)), shape_argument("zeros", ((2, 3),)), shape_argument("zeros", (), 4)
    ((2, 3), (2, 3), (4,))
    """
    if size is None:
        size = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    else:
        check(not args, name, "give size once, not twice", TypeError)
    size = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    size = int_tuple(name, "size", size, len(size), 0) if size else ()
    check_count(name, "the tensor", size)
    return size
