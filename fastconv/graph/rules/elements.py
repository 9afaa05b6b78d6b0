"""Rules of pointwise ops, reductions, scans and sorts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from ...backends import load
from ...backends.common.pointwise import BINARY, TERNARY
from ...backends.common.reduce import REDUCTIONS
from ...backends.common.unary import UNARY
from ...spec import broadcast_shape
from ..values import Value
from .expect import array, axes, axis, expect, flag, kept, number, sample


def pointwise(op: str, names: Any, name: Any, *operands: Any) -> Any:
    """The rule of a pointwise op; its dtype is that of the reference for one element."""
    expect(isinstance(name, str) and name in names, f"there is no {op} {name!r:.60}")
    arrays = [array(v) for v in operands if isinstance(v, Value)]
    expect(arrays, f"{op} needs an array")
    for v in operands:
        if not isinstance(v, Value):
            number(v)
    same = {v.dtype for v in (arrays[1:] if name == "where" and arrays[0] is operands[0] else arrays)}
    expect(len(same) == 1, f"the operands of {name} have different dtypes")
    shape = reduce(partial(broadcast_shape, name), [v.shape for v in arrays])
    engine: Any = load("numpy")
    with np.errstate(all="ignore"):
        return [(shape, getattr(engine, op)(name, *map(sample, operands)).dtype)]


def unary_fwd(name: Any, x: Any, p: Any = None, q: Any = None) -> Any:
    """The rule of this op."""
    expect(isinstance(name, str) and name in UNARY, f"there is no unary op {name!r:.60}")
    number(p, optional=True)
    number(q, optional=True)
    x = array(x)
    if x.dtype.kind == "f":
        return [(x.shape, np.dtype(bool) if UNARY[name].kind == "bool" else x.dtype)]
    engine: Any = load("numpy")
    return [(x.shape, engine.unary_fwd(name, sample(x), p, q).dtype)]


def _reduce(name: Any, x: Any, over: Any, keepdims: Any, param: Any = None) -> Any:
    expect(isinstance(name, str) and name in REDUCTIONS, f"there is no reduction {name!r:.60}")
    x = array(x)
    number(param, optional=True)
    dropped = axes(over, x.ndim)
    engine: Any = load("numpy")
    dtype = engine.reduce_fwd(name, sample(x), dropped, False, param).dtype
    return [(kept(x.shape, dropped, keepdims), dtype)]


def _place(x: Any, over: Any, keepdims: Any) -> Any:
    x = array(x)
    dropped = tuple(range(x.ndim)) if over is None else (axis(over, x.ndim),)
    return [(kept(x.shape, dropped, keepdims), np.dtype(np.int64))]


def _logsumexp(x: Any, over: Any, keepdims: Any) -> Any:
    x = array(x, kinds="f")
    return [(kept(x.shape, axes(over, x.ndim), keepdims), x.dtype)]


def _moments(x: Any, over: Any) -> Any:
    x = array(x, kinds="f")
    shape = kept(x.shape, axes(over, x.ndim), True)
    return [(shape, x.dtype), (shape, x.dtype)]


def _softmax(x: Any, over: Any, log: Any) -> Any:
    x = array(x, kinds="f")
    axis(over, x.ndim)
    flag(log)
    return [(x.shape, x.dtype)]


def _sort(x: Any, over: Any, descending: Any) -> Any:
    x = array(x)
    axis(over, x.ndim)
    flag(descending)
    return [(x.shape, x.dtype), (x.shape, np.dtype(np.int64))]


def _topk(x: Any, k: Any, over: Any, largest: Any) -> Any:
    x = array(x)
    flag(largest)
    at = axis(over, x.ndim)
    expect(type(k) is int and 0 < k <= x.shape[at], f"topk of {k!r:.60} elements")
    shape = (*x.shape[:at], k, *x.shape[at + 1 :])
    return [(shape, x.dtype), (shape, np.dtype(np.int64))]


def _scan(name: Any, x: Any, over: Any, reverse: Any = False, factor: Any = None) -> Any:
    expect(name in ("cumsum", "cumprod", "logcumsumexp"), f"there is no scan {name!r:.60}")
    x = array(x)
    axis(over, x.ndim)
    flag(reverse)
    expect(factor is None, "a scan with factors is not supported")
    return [(x.shape, x.dtype if x.dtype.kind == "f" else np.dtype(np.int64))]


RULES: dict[str, Callable[..., Any]] = {
    "unary_fwd": unary_fwd,
    "binary_fwd": lambda name, a, b: pointwise("binary_fwd", BINARY, name, a, b),
    "ternary_fwd": lambda name, a, b, c, p=0.0: pointwise("ternary_fwd", TERNARY, name, a, b, c),
    "reduce_fwd": _reduce,
    "argmax": _place,
    "argmin": _place,
    "logsumexp": _logsumexp,
    "moments": _moments,
    "softmax_fwd": _softmax,
    "sort": _sort,
    "topk": _topk,
    "scan": _scan,
}
