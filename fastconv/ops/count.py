"""Functions that find and count values.

NumPy computes them on the host, also for tensors on a GPU, because the shapes of most results depend on the
values. The results have no gradient and are on the device of the input.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastconv.checks import check, check_axis, check_float, check_rank, number, one_of, shape_str
from fastconv.dtypes import INT64
from fastconv.variable import Variable, argument


def _tensor(a: Any, like: Variable) -> Any:
    return argument("as_tensor", "data", np.asarray(a, order="C"), str(like.device))


def _results(found: Any, like: Variable, inverse_shape: tuple[int, ...], inverse: bool, counts: bool) -> Any:
    """The values, with the inverse indices and the counts if they are wanted."""
    values, where, often = found
    results = [_tensor(values, like)]
    if inverse:
        results.append(_tensor(where.reshape(inverse_shape), like))
    if counts:
        results.append(_tensor(often, like))
    return tuple(results) if len(results) > 1 else results[0]


def unique(x: Variable, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """The different elements, or the different slices along ``dim``, sorted."""
    a, axis = x.numpy(), None if dim is None else check_axis("unique", dim, x.ndim)
    a, axis = (a.reshape(1), 0) if not x.ndim and axis is not None else (a, axis)
    found = np.unique(a, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    return _results(found, x, x.shape if axis is None else (-1,), return_inverse, return_counts)


def unique_consecutive(x: Variable, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """The elements, or the slices along ``dim``, that differ from the one before them."""
    a = x.numpy()
    axis = 0 if dim is None else check_axis("unique_consecutive", dim, x.ndim)
    rows = a.reshape(-1) if dim is None or not a.ndim else np.moveaxis(a, axis, 0)
    n = len(rows)
    new = np.ones(n, bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=tuple(range(1, rows.ndim)))
    values = rows[new] if dim is None else np.moveaxis(rows[new], 0, axis)
    starts = np.flatnonzero(new)
    found = values, np.cumsum(new) - 1, np.diff(np.append(starts, n))
    return _results(found, x, x.shape if dim is None else (-1,), return_inverse, return_counts)


def bincount(x: Variable, weights: Any, minlength: Any) -> Any:
    """How often each of 0, 1, ... occurs in ``x``, or the sums of its weights."""
    check_rank("bincount", "input", x.shape, 1, "a vector of counted numbers")
    a = x.numpy()
    check(
        a.dtype.kind in "iu" and not (a < 0).any(),
        "bincount",
        f"input must hold integers that are not negative, got {a.dtype}"
        + (f" with a smallest element of {a.min()}" if a.size and a.dtype.kind == "i" else ""),
        TypeError if a.dtype.kind not in "iu" else ValueError,
    )
    try:
        minlength = operator.index(minlength)
    except TypeError:
        raise TypeError(f"bincount: minlength must be an int, got {minlength!r:.60}") from None
    check(0 <= minlength < 1 << 40, "bincount", f"minlength must be between 0 and 2^40, got {minlength}")
    check(a.size == 0 or int(a.max()) < 1 << 40, "bincount", "input has an element of 2^40 or more")
    if weights is None:
        return _tensor(np.bincount(a.astype(np.int64), minlength=minlength).astype(np.int64), x)
    w = argument("bincount", "weights", weights).numpy()
    check(
        w.shape == a.shape,
        "bincount",
        f"weights must have shape {shape_str(a.shape)}, got {shape_str(w.shape)}",
    )
    total = np.bincount(a.astype(np.int64), w.astype(np.float64), minlength)
    return _tensor(total.astype(np.float32 if w.dtype == np.float32 else np.float64), x)


def histc(x: Variable, bins: Any, low: Any, high: Any) -> Any:
    """The number of elements in each of ``bins`` equal intervals between ``low`` and ``high``."""
    check_float("histc", input=x)
    try:
        bins = operator.index(bins)
    except TypeError:
        raise TypeError(f"histc: bins must be an int, got {bins!r:.60}") from None
    check(0 < bins < 1 << 40, "histc", f"bins must be between 1 and 2^40, got {bins}")
    low, high, a = number("histc", "min", low), number("histc", "max", high), x.numpy().reshape(-1)
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    check(np.isfinite([low, high]).all(), "histc", f"the range from {low} to {high} is not finite")
    check(low < high, "histc", f"max must be larger than min, got {high:g} and {low:g}")
    inside = a[(a >= low) & (a <= high)]
    place = ((inside - a.dtype.type(low)) / (high - low) * bins).astype(np.int64)
    return _tensor(np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(a.dtype), x)


def nonzero(x: Variable, as_tuple: bool) -> Any:
    """The indices of the elements that are not 0."""
    a = x.numpy()
    if as_tuple:
        return tuple(_tensor(i.astype(np.int64), x) for i in np.nonzero(np.atleast_1d(a)))
    return _tensor(np.argwhere(a).astype(np.int64), x)


def searchsorted(
    name: str, sequence: Any, values: Any, out_int32: bool, right: bool, side: str | None, sorter: Any
) -> Any:
    """The indices at which ``values`` would be inserted into the sorted rows of ``sequence``."""
    s, v = (argument(name, what, t) for what, t in (("sorted_sequence", sequence), ("input", values)))
    if side is not None:
        one_of(name, "side", side, ("left", "right"))
        check(not right or side == "right", name, "side and right contradict each other")
    side = "right" if right or side == "right" else "left"
    check(s.ndim > 0, name, "the sorted sequence must have a dimension, got a scalar")
    rows, wanted = s.numpy(), v.numpy()
    if sorter is not None:
        order = argument(name, "sorter", sorter).numpy()
        check(
            order.shape == rows.shape and order.dtype == INT64,
            name,
            f"sorter must be int64 of shape {shape_str(rows.shape)}, got {order.dtype} of "
            f"{shape_str(order.shape)}",
        )
        check(
            not order.size or (0 <= order.min() and order.max() < rows.shape[-1]),
            name,
            f"sorter must hold indices below {rows.shape[-1]}",
            IndexError,
        )
        rows = np.take_along_axis(rows, order, -1)
    if rows.ndim == 1:
        found = np.searchsorted(rows, wanted, side)
    else:
        check(
            rows.shape[:-1] == wanted.shape[:-1],
            name,
            "all dimensions but the last must be equal, got a sequence of "
            f"{shape_str(rows.shape)} and values of {shape_str(wanted.shape)}",
        )
        found = np.empty(wanted.shape, np.int64)
        for i in np.ndindex(rows.shape[:-1]):
            found[i] = np.searchsorted(rows[i], wanted[i], side)
    return _tensor(np.asarray(found, np.int32 if out_int32 else np.int64), v)
