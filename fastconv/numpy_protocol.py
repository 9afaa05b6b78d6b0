"""What NumPy's own functions do with Tensors (NEP 13 and NEP 18).

The tape follows arithmetic and the reductions below. Every other function gets the values as arrays. If its
result would have had a gradient, the call is refused, because the gradient would be lost silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import inplace
from .checks import check
from .tape import is_grad_enabled
from .variable import Variable, argument

#: ufunc -> the operator of a Tensor on the left, and of one on the right of something else.
_OPERATORS = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "floor_divide": ("__floordiv__", "__rfloordiv__"),
    "remainder": ("__mod__", "__rmod__"),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
    "power": ("__pow__", "__rpow__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
}


def _reduction(method: str, several: str) -> Callable[..., Any]:
    """NumPy's function as the method of a Tensor, whose argument ``several`` takes any number of axes."""

    def reduce(a: Any, axis: Any = None, *rest: Any, keepdims: Any = False, **others: Any) -> Any:
        if rest or any(v is not None for v in others.values()) or not hasattr(a, method):
            return NotImplemented
        return getattr(a, method)(keepdim=keepdims is True, **{several: axis})

    return reduce


_FUNCTIONS = {
    np.sum: _reduction("sum", "dim"),
    np.mean: _reduction("mean", "dim"),
    np.argmax: _reduction("argmax", "dim"),
    np.argmin: _reduction("argmin", "dim"),
    np.max: _reduction("max", "dims"),
    np.amax: _reduction("max", "dims"),
    np.min: _reduction("min", "dims"),
    np.amin: _reduction("min", "dims"),
    np.shape: lambda a: getattr(a, "shape", NotImplemented),
    np.ndim: lambda a: getattr(a, "ndim", NotImplemented),
}
#: Functions whose result does not depend on the values.
_CONSTANT = (np.zeros_like, np.ones_like, np.empty_like, np.full_like)
#: Functions that write to their first argument.
_WRITES = (np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)


def ufunc(f: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_ufunc__``."""
    if method == "__call__" and not kwargs and f.__name__ in _OPERATORS:
        left, right = _OPERATORS[f.__name__]
        return (
            getattr(inputs[0], left)(inputs[1])
            if isinstance(inputs[0], Variable)
            else getattr(inputs[1], right)(inputs[0])
        )
    call, out = getattr(f, method), kwargs.get("out", ())
    result = _on_arrays(f.__name__, call, inputs, kwargs, inputs[:1] if method == "at" else out)
    if result is None or out:
        return out[0] if len(out) == 1 else out or None
    device = next(x.device for x in inputs if isinstance(x, Variable))
    results = [argument(f.__name__, "result", np.asarray(r), device) for r in _several(result)]
    return tuple(results) if isinstance(result, tuple) else results[0]


def function(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Tensor.__array_function__``."""
    result = _FUNCTIONS[f](*args, **kwargs) if f in _FUNCTIONS else NotImplemented
    if result is not NotImplemented:
        return result
    out = kwargs.get("out")
    written = args[:1] if f in _WRITES else out if isinstance(out, tuple) else (out,)
    result = _on_arrays(f.__name__, f, args, kwargs, written)
    return result if out is None else out


def _several(result: Any) -> Sequence[Any]:
    return result if isinstance(result, (tuple, list)) else (result,)


def _on_arrays(
    name: str, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], written: Sequence[Any]
) -> Any:
    """``call`` on the values of all Tensors; those it writes to get their new values in place, as by
    ``copy_``."""
    tracked: list[bool] = []
    copies = {id(t): t.numpy().copy() for t in written if isinstance(t, Variable)}

    def plain(x: Any) -> Any:
        if isinstance(x, Variable):
            tracked.append(x.requires_grad and is_grad_enabled())
            return copies[id(x)] if id(x) in copies else x.numpy()
        if type(x) in (list, tuple):
            return type(x)(map(plain, x))
        return x

    result = call(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
    # Floats could have had a gradient; positions, comparisons and shapes could not.
    results = [*_several(result), *written]
    floats = any(getattr(r, "dtype", np.dtype(bool)).kind in "fc" for r in results)
    check(
        not (floats and any(tracked)) or call in _CONSTANT,
        f"np.{name}",
        "the result would lose the gradient of a tensor that requires one; use the methods of Tensor, or "
        "give it .detach() where no gradient is wanted",
        RuntimeError,
    )
    for t in written:
        if isinstance(t, Variable):
            inplace.assign(t, ..., copies[id(t)])
    return result
