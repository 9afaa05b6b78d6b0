"""Checks that rules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...checks import LIMIT, shape_str
from ..values import Value


def expect(ok: object, message: str) -> None:
    """Raise a ValueError with ``message`` unless ``ok``."""
    if not ok:
        raise ValueError(message)


def array(v: Any, ndim: int | None = None, kinds: str = "fiub") -> Value:
    """``v``, which must be an array with this number of dimensions and a dtype of one of these kinds."""
    expect(isinstance(v, Value), f"an argument must be an array, got {type(v).__name__}")
    expect(ndim is None or v.ndim == ndim, f"an array must have {ndim} dimensions, got {v.ndim}")
    expect(v.dtype.kind in kinds, f"an array has the dtype {v.dtype}")
    return v


def shaped(v: Any, shape: Sequence[int], dtype: Any, optional: bool = False) -> None:
    """``v`` must be an array of this shape and dtype, or None if that is allowed."""
    if v is None and optional:
        return
    v = array(v)
    expect(
        v.shape == tuple(shape) and v.dtype == dtype,
        f"an array of {shape_str(shape)} {dtype} was expected, got {shape_str(v.shape)} {v.dtype}",
    )


def number(x: Any, optional: bool = False) -> None:
    """``x`` must be a number, or None if that is allowed."""
    expect(isinstance(x, (int, float)) or optional and x is None, f"a number was expected, got {x!r:.60}")


def flag(x: Any) -> None:
    """``x`` must be True or False."""
    expect(isinstance(x, bool), f"True or False was expected, got {x!r:.60}")


def axis(x: Any, ndim: int) -> int:
    """``x``, which must be the number of an axis."""
    expect(type(x) is int and -ndim <= x < ndim, f"{x!r:.60} is no axis of {ndim} dimensions")
    return x % ndim


def axes(xs: Any, ndim: int) -> tuple[int, ...]:
    """``xs``, which must be different axes."""
    expect(isinstance(xs, (tuple, list)), f"axes were expected, got {xs!r:.60}")
    found = tuple([axis(x, ndim) for x in xs])
    expect(len(set(found)) == len(found), f"an axis occurs twice in {xs!r:.60}")
    return found


def extents(xs: Any) -> tuple[int, ...]:
    """``xs``, which must be a shape."""
    ok = isinstance(xs, (tuple, list)) and all(type(n) is int and 0 < n < LIMIT for n in xs)
    expect(ok and len(xs) <= 32, f"a shape was expected, got {xs!r:.60}")
    size = 1
    for n in xs:
        size *= n
    expect(size < LIMIT, f"an array of {size} elements is too large")
    return tuple(xs)


def kept(shape: Sequence[int], dropped: Sequence[int], keepdims: Any) -> tuple[int, ...]:
    """``shape`` after a reduction over the axes ``dropped``."""
    flag(keepdims)
    if keepdims:
        return tuple([1 if i in dropped else n for i, n in enumerate(shape)])
    return tuple([n for i, n in enumerate(shape) if i not in dropped])


def sample(v: Any) -> Any:
    """One element for an array, with its rank and dtype; anything else as it is."""
    return np.ones((1,) * v.ndim, v.dtype) if isinstance(v, Value) else v
