"""Pointwise ops, reductions, sorts and softmax. Names of operators come from the tables of the ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backends.common.pointwise import BINARY_ONNX
from ...backends.common.unary import CUBIC, ROOT_8_OVER_PI, UNARY
from ...checks import check
from ...graph.program import Value
from ..writer import ELEMENT_TYPES, NAME, Writer


# ------------------------------------------------------------------------------------------ one operand
def _clip(w: Writer, x: Value, low: float, high: float) -> str:
    bounds = ["" if math.isinf(b) else w.scalar(b, x) for b in (low, high)]
    while bounds and not bounds[-1]:
        bounds.pop()
    return w.node("Clip", w[x], *bounds)


def _gelu(w: Writer, x: Value, p: Any, q: Any) -> str:
    """``x * Phi(x)``; the operator Gelu came in opset 20."""
    gate = w.node("Erf", w.node("Mul", w[x], w.scalar(math.sqrt(0.5), x)))
    half = w.node("Mul", w[x], w.scalar(0.5, x))
    return w.node("Mul", half, w.node("Add", gate, w.scalar(1, x)))


def _gelu_tanh(w: Writer, x: Value, p: Any, q: Any) -> str:
    cube = w.node("Mul", w.node("Mul", w[x], w[x]), w[x])
    inner = w.node("Add", w[x], w.node("Mul", cube, w.scalar(CUBIC, x)))
    return w.node("Mul", w[x], w.node("Sigmoid", w.node("Mul", inner, w.scalar(ROOT_8_OVER_PI, x))))


def _softplus(w: Writer, x: Value, p: float, q: float) -> str:
    if p == 1:
        return w.node("Softplus", w[x])
    return w.node("Div", w.node("Softplus", w.node("Mul", w[x], w.scalar(p, x))), w.scalar(p, x))


def _trunc(w: Writer, x: Value, p: Any, q: Any) -> str:
    return w.node("Mul", w.node("Sign", w[x]), w.node("Floor", w.node("Abs", w[x])))


def _isfinite(w: Writer, x: Value, p: Any, q: Any) -> str:
    wrong = w.node("Or", w.node("IsNaN", w[x]), w.node("IsInf", w[x]))
    return w.node("Not", wrong)


#: Unary ops that are no operator of opset 18, or that have numbers: ``(writer, x, p, q) -> name``.
UNARIES: dict[str, Callable[[Writer, Value, Any, Any], str]] = {
    "celu": lambda w, x, p, q: w.node("Celu", w[x], alpha=p),
    "clamp": _clip,
    "elu": lambda w, x, p, q: w.node("Elu", w[x], alpha=p),
    "expm1": lambda w, x, p, q: w.node("Sub", w.node("Exp", w[x]), w.scalar(1, x)),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardshrink": lambda w, x, p, q: w.node("Shrink", w[x], lambd=p),
    "hardsigmoid": lambda w, x, p, q: w.node("HardSigmoid", w[x], alpha=1 / 6, beta=0.5),
    "hardtanh": _clip,
    "isfinite": _isfinite,
    "leaky_relu": lambda w, x, p, q: w.node("LeakyRelu", w[x], alpha=p),
    "log10": lambda w, x, p, q: w.node("Mul", w.node("Log", w[x]), w.scalar(1 / math.log(10), x)),
    "log1p": lambda w, x, p, q: w.node("Log", w.node("Add", w[x], w.scalar(1, x))),
    "log2": lambda w, x, p, q: w.node("Mul", w.node("Log", w[x]), w.scalar(1 / math.log(2), x)),
    "logsigmoid": lambda w, x, p, q: w.node("Neg", w.node("Softplus", w.node("Neg", w[x]))),
    "pow": lambda w, x, p, q: w.node("Pow", w[x], w.scalar(p, x)),
    "rsqrt": lambda w, x, p, q: w.node("Reciprocal", w.node("Sqrt", w[x])),
    "silu": lambda w, x, p, q: w.node("Mul", w[x], w.node("Sigmoid", w[x])),
    "softplus": _softplus,
    "softshrink": lambda w, x, p, q: w.node("Shrink", w[x], lambd=p, bias=p),
    "tanhshrink": lambda w, x, p, q: w.node("Sub", w[x], w.node("Tanh", w[x])),
    "threshold": lambda w, x, p, q: w.node(
        "Where", w.node("Greater", w[x], w.scalar(p, x)), w[x], w.scalar(q, x)
    ),
    "trunc": _trunc,
}


def unary(w: Writer, name: str, x: Value, p: float | None = None, q: float | None = None) -> str:
    """``unary_fwd``."""
    if name in UNARIES:
        return UNARIES[name](w, x, p, q)
    operator = UNARY[name].onnx
    check(operator is not None, NAME, f"{name} has no operator in ONNX")
    return w.node(str(operator), w[x])


# ------------------------------------------------------------------------------------------ two operands
def _remainder(w: Writer, a: str, b: str, kind: str) -> str:
    if kind != "f":
        return w.node("Mod", a, b)
    return w.node("Sub", a, w.node("Mul", w.node("Floor", w.node("Div", a, b)), b))


#: Binary ops that are several operators: ``(writer, a, b, kind of dtype) -> name``.
BINARIES: dict[str, Callable[[Writer, str, str, str], str]] = {
    "floor_divide": lambda w, a, b, kind: w.node("Floor", w.node("Div", a, b)),
    "fmod": lambda w, a, b, kind: w.node("Mod", a, b, fmod=1),
    "glu": lambda w, a, b, kind: w.node("Mul", a, w.node("Sigmoid", b)),
    "ne": lambda w, a, b, kind: w.node("Not", w.node("Equal", a, b)),
    "remainder": _remainder,
}
#: The operators of bools, where those of integers have other names.
OF_BOOLS = {"BitwiseAnd": "And", "BitwiseOr": "Or", "BitwiseXor": "Xor"}


def binary(w: Writer, name: str, a: Any, b: Any) -> str:
    """``binary_fwd``."""
    like: Value = a if isinstance(a, Value) else b
    first, second = w.operand(a, like), w.operand(b, like)
    check(name != "floor_divide" or like.dtype.kind == "f", NAME, "floor_divide of integers has no operator")
    if name in BINARIES:
        return BINARIES[name](w, first, second, like.dtype.kind)
    operator = BINARY_ONNX.get(name)
    check(operator is not None, NAME, f"{name} has no operator in ONNX")
    operator = str(operator)
    return w.node(OF_BOOLS.get(operator, operator) if like.dtype.kind == "b" else operator, first, second)


def ternary(w: Writer, name: str, a: Any, b: Any, c: Any, param: float = 0.0) -> str:
    """``ternary_fwd``."""
    arrays = [v for v in (b, c) if isinstance(v, Value)]
    like: Value = arrays[0] if arrays else a
    first, second, third = (w.operand(v, like) for v in (a, b, c))
    if name == "where":
        return w.node("Where", first, second, third)
    if name == "lerp":
        return w.node("Add", first, w.node("Mul", third, w.node("Sub", second, first)))
    check(name in ("addcmul", "addcdiv"), NAME, f"{name} has no operator in ONNX")
    second = second if param == 1 else w.node("Mul", second, w.scalar(param, like))
    return w.node("Add", first, w.node("Mul" if name == "addcmul" else "Div", second, third))


# ------------------------------------------------------------------------------------------ reductions
REDUCTIONS = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "prod": "ReduceProd",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "norm_1": "ReduceL1",
    "norm_2": "ReduceL2",
}
#: Reductions of the absolute values.
OF_ABSOLUTE = {"norm_inf": "ReduceMax", "norm_-inf": "ReduceMin"}
#: Reductions of whether elements are not zero.
OF_NONZERO = {"any": "ReduceMax", "all": "ReduceMin", "count_nonzero": "ReduceSum", "norm_0": "ReduceSum"}


def reduce(
    w: Writer,
    name: str,
    x: Value,
    axes: Sequence[int],
    keepdims: bool,
    param: float | None = None,
) -> str:
    """``reduce_fwd``."""
    options: dict[str, Any] = {"keepdims": int(keepdims), "noop_with_empty_axes": 1}
    result = w.call.result if w.call else x
    if name in OF_NONZERO:
        truth = w.node("Cast", w[x], to=ELEMENT_TYPES[np.dtype(bool)])
        count = w.node("Cast", truth, to=ELEMENT_TYPES[np.dtype(np.int64)])
        y = w.node(OF_NONZERO[name], count, w.ints(*axes), **options)
        return w.node("Cast", y, to=ELEMENT_TYPES[result.dtype])
    if name in OF_ABSOLUTE:
        return w.node(OF_ABSOLUTE[name], w.node("Abs", w[x]), w.ints(*axes), **options)
    check(name in REDUCTIONS, NAME, f"the reduction {name} has no operator in ONNX")
    same = x.dtype == result.dtype
    source = w[x] if same else w.node("Cast", w[x], to=ELEMENT_TYPES[result.dtype])
    return w.node(REDUCTIONS[name], source, w.ints(*axes), **options)


def logsumexp(w: Writer, x: Value, axes: Sequence[int], keepdims: bool) -> str:
    """``logsumexp``."""
    return w.node("ReduceLogSumExp", w[x], w.ints(*axes), keepdims=int(keepdims))


def arg_extremum(operator: str) -> Callable[[Writer, Value, int | None, bool], str]:
    """``argmax`` or ``argmin``."""

    def lower(w: Writer, x: Value, axis: int | None, keepdims: bool) -> str:
        if axis is not None:
            return w.node(operator, w[x], axis=axis, keepdims=int(keepdims))
        flat = w.node(operator, w.node("Reshape", w[x], w.ints(-1)), axis=0, keepdims=0)
        return w.reshape(flat, (1,) * x.ndim) if keepdims else flat

    return lower


def scan(
    w: Writer, name: str, x: Value, axis: int, reverse: bool = False, factor: Value | None = None
) -> str:
    """``scan``: CumSum."""
    check(name == "cumsum" and factor is None, NAME, f"{name} has no operator in opset 18")
    result = w.call.result if w.call else x
    same = x.dtype == result.dtype
    source = w[x] if same else w.node("Cast", w[x], to=ELEMENT_TYPES[result.dtype])
    return w.node("CumSum", source, w.constant(np.array(axis, np.int64)), reverse=int(reverse))


def topk(w: Writer, x: Value, k: int, axis: int, largest: bool) -> tuple[str, str]:
    """``topk``."""
    values, index = w.several(
        "TopK",
        [w[x], w.ints(k)],
        [w.fresh("topk"), w.fresh("topk_index")],
        axis=axis,
        largest=int(largest),
    )
    return values, index


def sort(w: Writer, x: Value, axis: int, descending: bool) -> tuple[str, str]:
    """``sort``."""
    check(not w.varies(x)[axis], NAME, "a sort along the batch has no operator; use dynamic_batch=False")
    return topk(w, x, x.shape[axis], axis, descending)


def softmax(w: Writer, x: Value, axis: int, log: bool) -> str:
    """``softmax_fwd``."""
    return w.node("LogSoftmax" if log else "Softmax", w[x], axis=axis)


LOWERINGS: dict[str, Callable[..., Any]] = {
    "argmax": arg_extremum("ArgMax"),
    "argmin": arg_extremum("ArgMin"),
    "binary_fwd": binary,
    "logsumexp": logsumexp,
    "reduce_fwd": reduce,
    "scan": scan,
    "softmax_fwd": softmax,
    "sort": sort,
    "ternary_fwd": ternary,
    "topk": topk,
    "unary_fwd": unary,
}
