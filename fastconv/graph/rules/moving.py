"""Rules of ops that move elements."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ...spec import GridSampleSpec, InterpolateSpec, broadcast_shape, grid_sample_spec, interpolate_spec
from ..values import values_in
from .expect import array, axis, expect, extents, number


def _pad(x: Any, pairs: Any, mode: Any, value: Any) -> Any:
    x = array(x)
    number(value)
    ok = isinstance(pairs, (tuple, list)) and len(pairs) == x.ndim
    expect(ok and all(isinstance(p, (tuple, list)) and len(p) == 2 for p in pairs), f"padding {pairs!r:.60}")
    expect(all(type(n) is int for pair in pairs for n in pair), f"padding {pairs!r:.60}")
    for n, pair in zip(x.shape, pairs):
        least, most = min(pair), max(pair)
        allowed = {
            "constant": -n < least and n + min(pair[0], 0) + min(pair[1], 0) > 0,
            "reflect": least >= 0 and most < n,
            "replicate": least >= 0,
            "circular": least >= 0 and most <= n,
        }
        expect(
            isinstance(mode, str) and allowed.get(mode),
            f"padding {pair} of {n} elements in mode {mode!r:.60}",
        )
    return [(extents([n + a + b for n, (a, b) in zip(x.shape, pairs)]), x.dtype)]


def _interpolate(x: Any, spec: Any) -> Any:
    x = array(x, kinds="f")
    expect(isinstance(spec, InterpolateSpec), "interpolate_fwd needs an InterpolateSpec")
    size = spec.out_size if spec.scale is None else None
    built = interpolate_spec(x.shape, size, spec.scale, spec.mode, spec.align_corners or None)
    expect(spec.mode != "area" and repr(spec) == repr(built), f"{spec!r:.300} does not describe these arrays")
    return [(spec.y_shape, x.dtype)]


def _grid_sample(x: Any, grid: Any, spec: Any) -> Any:
    x, grid = array(x, kinds="f"), array(grid, kinds="f")
    expect(
        isinstance(spec, GridSampleSpec) and grid.dtype == x.dtype, "grid_sample_fwd needs a GridSampleSpec"
    )
    built = grid_sample_spec(x.shape, grid.shape, spec.mode, spec.padding_mode, spec.align_corners)
    expect(repr(spec) == repr(built), f"{spec!r:.300} does not describe these arrays")
    return [(spec.y_shape, x.dtype)]


def _getitem(x: Any, key: Any) -> Any:
    x = array(x)
    if next(values_in(key), None) is None:
        parts = key if isinstance(key, tuple) else (key,)
        ok = all(p is None or p is Ellipsis or type(p) is int or isinstance(p, slice) for p in parts)
        expect(ok, f"index {key!r:.60}")
        try:
            shape = np.broadcast_to(np.zeros((), np.int8), x.shape)[key].shape
        except IndexError as e:
            raise ValueError(str(e)) from None
        return [(shape, x.dtype)]
    *before, index = key if isinstance(key, tuple) else (key,)
    index = array(index, kinds="iu")
    expect(len(before) < x.ndim and all(p == slice(None) for p in before), f"index {key!r:.60}")
    at = len(before)
    return [(extents((*x.shape[:at], *index.shape, *x.shape[at + 1 :])), x.dtype)]


def _gather(x: Any, index: Any, over: Any) -> Any:
    x = array(x)
    index = array(index, x.ndim, "i")
    at = axis(over, x.ndim)
    ok = all(i in (1, n) or k == at for k, (i, n) in enumerate(zip(index.shape, x.shape)))
    expect(ok and index.dtype == np.int64, "gather")
    return [((*x.shape[:at], index.shape[at], *x.shape[at + 1 :]), x.dtype)]


def _concatenate(xs: Any, over: Any) -> Any:
    expect(isinstance(xs, (tuple, list)) and xs, "concatenate needs arrays")
    xs = [array(x) for x in xs]
    at = axis(over, xs[0].ndim)
    rest = {(x.dtype, x.shape[:at], x.shape[at + 1 :]) for x in xs}
    expect(len(rest) == 1, "concatenate: the arrays differ in another axis or in dtype")
    shape = xs[0].shape
    return [(extents((*shape[:at], sum(x.shape[at] for x in xs), *shape[at + 1 :])), xs[0].dtype)]


def _reshape(x: Any, shape: Any) -> Any:
    x = array(x)
    expect(isinstance(shape, (tuple, list)) and list(shape).count(-1) < 2, f"reshape to {shape!r:.60}")
    known = prod(n for n in shape if n != -1)
    shape = extents([max(prod(x.shape) // known, 1) if n == -1 and known > 0 else n for n in shape])
    expect(prod(shape) == prod(x.shape), f"reshape of {x.shape} to {shape}")
    return [(shape, x.dtype)]


def _permute(x: Any, order: Any) -> Any:
    x = array(x)
    ok = isinstance(order, (tuple, list)) and all(type(i) is int for i in order)
    expect(ok and sorted(order) == list(range(x.ndim)), f"permute of {x.ndim} axes to {order!r:.60}")
    return [(tuple([x.shape[i] for i in order]), x.dtype)]


def _broadcast(x: Any, shape: Any) -> Any:
    x, shape = array(x), extents(shape)
    expect(
        broadcast_shape("broadcast_to", x.shape, shape) == shape, f"{x.shape} does not broadcast to {shape}"
    )
    return [(shape, x.dtype)]


def _cast(x: Any, dtype: Any) -> Any:
    expect(isinstance(dtype, np.dtype), f"a dtype was expected, got {dtype!r:.60}")
    return [(array(x).shape, dtype)]


def _zeros(shape: Any, dtype: Any) -> Any:
    expect(isinstance(dtype, np.dtype), f"a dtype was expected, got {dtype!r:.60}")
    return [(extents(shape), dtype)]


def _copy(x: Any) -> Any:
    x = array(x)
    return [(x.shape, x.dtype)]


RULES: dict[str, Callable[..., Any]] = {
    "pad_fwd": _pad,
    "interpolate_fwd": _interpolate,
    "grid_sample_fwd": _grid_sample,
    "getitem": _getitem,
    "gather": _gather,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "permute": _permute,
    "broadcast_to": _broadcast,
    "cast": _cast,
    "zeros": _zeros,
    "copy": _copy,
    "asarray": _copy,  # of a host array
}
