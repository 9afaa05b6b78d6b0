"""Reductions, scans, positions of extrema, sorted elements."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ...functions.joining import cat
from ...tensor import Tensor
from ..node import Node, Operator, ints, row

#: ``(x, axes, keepdims) -> result``
Reduce = Callable[[Tensor, list[int], bool], Tensor]


def reduction(compute: Reduce, before: Callable[[Tensor], Tensor] = lambda x: x) -> Operator:
    """The row of a reduction of ``before(x)``.

    The axes are an attribute before opset 18 (13 for ReduceSum), then an input. No axes means all of them, or
    with ``noop_with_empty_axes`` none.
    """

    def function(node: Node, x: Tensor, axes: np.ndarray | None = None) -> Tensor:
        over = node.get("axes") if axes is None else ints(axes)
        if not over and node.get("noop_with_empty_axes", 0):
            return before(x)
        over = [a % x.ndim for a in over] if over else list(range(x.ndim))
        y = compute(before(x), over, bool(node.get("keepdims", 1)))
        return y if y.dtype == x.dtype else y.astype(x.dtype)

    return row(function, host=(1,))


def _sum(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return x.sum(dim=axes, keepdim=keepdim) if axes else x


def _mean(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    real = x if x.dtype.kind == "f" else x.astype(np.float64)
    return real.mean(dim=axes, keepdim=keepdim) if axes else x


def _prod(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


def _extremum(name: str, of_nothing: Callable[[np.dtype[Any]], Any]) -> Reduce:
    """amax or amin; of no elements it is the number ``of_nothing(dtype)``."""

    def compute(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
        if 0 in [x.shape[a] for a in axes]:
            return x.sum(dim=axes, keepdim=keepdim).astype(x.dtype) + of_nothing(x.dtype)
        if not axes:
            return x
        whole = x.astype(np.uint8) if x.dtype == np.bool_ else x
        return getattr(whole, name)(dim=axes, keepdim=keepdim)

    return compute


def _lowest(dtype: np.dtype[Any]) -> Any:
    return -inf if dtype.kind == "f" else 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _highest(dtype: np.dtype[Any]) -> Any:
    return inf if dtype.kind == "f" else 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _norm_2(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return _real(_sum(x * x, axes, keepdim)).sqrt()


def _log_sum(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return _real(_sum(x, axes, keepdim)).log()


def _log_sum_exp(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    if not axes:
        return x
    if 0 in [x.shape[a] for a in axes]:
        return _log_sum(x, axes, keepdim)  # log(0)
    return _real(x).logsumexp(axes, keepdim=keepdim)


def _real(x: Tensor) -> Tensor:
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def arg_extremum(name: str) -> Operator:
    """The row of ArgMax or ArgMin."""

    def function(node: Node, x: Tensor) -> Tensor:
        axis, keepdim = node.get("axis", 0) % x.ndim, bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return getattr(x, name)(axis, keepdim=keepdim)
        return x.shape[axis] - 1 - getattr(x.flip(axis), name)(axis, keepdim=keepdim)

    return row(function)


def cumulative(name: str, start: int) -> Operator:
    """The row of CumSum or CumProd; an exclusive scan begins with ``start``."""

    def function(node: Node, x: Tensor, axis: np.ndarray) -> Tensor:
        along = int(axis.reshape(-1)[0]) % x.ndim
        y = x.flip(along) if node.get("reverse", 0) else x
        if node.get("exclusive", 0):
            first = y.narrow(along, 0, 1) * 0 + start
            y = cat([first, y.narrow(along, 0, y.shape[along] - 1)], along)
        y = getattr(y, name)(along)
        y = y if y.dtype == x.dtype else y.astype(x.dtype)
        return y.flip(along) if node.get("reverse", 0) else y

    return row(function, host=(1,))


def top_k(node: Node, x: Tensor, k: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
    """TopK."""
    count = node.get("k") if k is None else int(k.reshape(-1)[0])
    found = x.topk(count, node.get("axis", -1), largest=bool(node.get("largest", 1)))
    return found.values, found.indices


OPERATORS: dict[str, Operator] = {
    "ArgMax": arg_extremum("argmax"),
    "ArgMin": arg_extremum("argmin"),
    "CumProd": cumulative("cumprod", 1),
    "CumSum": cumulative("cumsum", 0),
    "ReduceL1": reduction(_sum, lambda x: x.abs()),
    "ReduceL2": reduction(_norm_2),
    "ReduceLogSum": reduction(_log_sum),
    "ReduceLogSumExp": reduction(_log_sum_exp),
    "ReduceMax": reduction(_extremum("amax", _lowest)),
    "ReduceMean": reduction(_mean),
    "ReduceMin": reduction(_extremum("amin", _highest)),
    "ReduceProd": reduction(_prod),
    "ReduceSum": reduction(_sum),
    "ReduceSumSquare": reduction(_sum, lambda x: x * x),
    "TopK": row(top_k, host=(1,)),
}
