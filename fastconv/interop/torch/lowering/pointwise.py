"""Pointwise ops: the rows of ``backends/common/unary.py`` under their names in aten, and binary ops."""

from __future__ import annotations

from functools import partial
from typing import Any

from .table import Lowering


def _unary(name: str, engine: Any, x: Any) -> Any:
    return engine.unary_fwd(name, x)


def _with_numbers(name: str, engine: Any, x: Any, *numbers: float) -> Any:
    return engine.unary_fwd(name, x, *map(float, numbers))


def _unary_bwd(name: str, engine: Any, gy: Any, saved: Any) -> Any:
    return engine.unary_bwd(name, gy, saved)


def _with_numbers_bwd(name: str, engine: Any, gy: Any, saved: Any, *numbers: Any) -> Any:
    return engine.unary_bwd(name, gy, saved, *map(float, numbers))


def _hardtanh(engine: Any, x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    return engine.unary_fwd("hardtanh", x, float(low), float(high))


def _leaky_relu(engine: Any, x: Any, slope: float = 0.01) -> Any:
    return engine.unary_fwd("leaky_relu", x, float(slope))


def _leaky_relu_bwd(engine: Any, gy: Any, x: Any, slope: float, of_result: bool) -> Any:
    return engine.unary_bwd("leaky_relu", gy, x, float(slope))


def _clamp(engine: Any, x: Any, low: float | None = None, high: float | None = None) -> Any:
    low, high = (-float("inf") if low is None else low, float("inf") if high is None else high)
    return engine.unary_fwd("clamp", x, float(low), float(high))


def _elu(engine: Any, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    return engine.unary_fwd("elu", x, float(alpha))


def _softplus(engine: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return engine.unary_fwd("softplus", x, float(beta), float(threshold))


def _gelu(engine: Any, x: Any, approximate: str = "none") -> Any:
    return engine.unary_fwd("gelu_tanh" if approximate == "tanh" else "gelu", x)


def _gelu_bwd(engine: Any, gy: Any, x: Any, approximate: str = "none") -> Any:
    return engine.unary_bwd("gelu_tanh" if approximate == "tanh" else "gelu", gy, x)


def _relu_bwd(engine: Any, gy: Any, y: Any, threshold: float) -> Any:
    return engine.unary_bwd("relu", gy, y)


def _binary(name: str, engine: Any, a: Any, b: Any) -> Any:
    return engine.binary_fwd(name, a, b)


def _reversed(name: str, engine: Any, a: Any, b: Any) -> Any:
    return engine.binary_fwd(name, b, a)


def _has_axes(*args: Any, **options: Any) -> bool:
    """0-d tensors are left to PyTorch: a launch for one number would be waste."""
    return not options and all(a.ndim > 0 for a in args if hasattr(a, "ndim"))


def _approximates(*args: Any, **options: Any) -> bool:
    return _has_axes(*args) and options.keys() <= {"approximate"}


def _plain_elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> bool:
    return _has_axes(x) and scale == 1 and input_scale == 1


def _of_zero(gy: Any, y: Any, threshold: float) -> bool:
    return _has_axes(gy, y) and threshold == 0


def _of_input(gy: Any, x: Any, slope: float, of_result: bool) -> bool:
    return _has_axes(gy, x) and not of_result


def _real(a: Any, b: Any, **options: Any) -> bool:
    """Both operands float tensors, or one of them a number."""
    kinds = [isinstance(v, (int, float)) for v in (a, b)]
    return _has_axes(a, b, **options) and not any(isinstance(v, bool) for v in (a, b)) and not all(kinds)


#: Ops without numbers that have the name of their row, and those whose row has another name.
SAME = (
    *("relu", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "silu", "hardswish", "hardsigmoid"),
    *("mish", "neg", "abs", "sin", "cos", "erf", "floor", "ceil", "round", "reciprocal", "log1p", "expm1"),
)
#: aten's name of a backward op -> row; what it saves is what the row says.
BACKWARD = {
    "sigmoid_backward": "sigmoid",
    "tanh_backward": "tanh",
    "silu_backward": "silu",
    "mish_backward": "mish",
    "hardswish_backward": "hardswish",
    "hardsigmoid_backward": "hardsigmoid",
}

OPS: dict[str, Lowering] = {
    **{f"aten.{n}.default": Lowering(partial(_unary, n), _has_axes) for n in SAME},
    **{f"aten.{a}.default": Lowering(partial(_unary_bwd, n), _has_axes) for a, n in BACKWARD.items()},
    "aten.threshold_backward.default": Lowering(_relu_bwd, _of_zero),
    "aten.hardtanh.default": Lowering(_hardtanh, _has_axes),
    "aten.hardtanh_backward.default": Lowering(partial(_with_numbers_bwd, "hardtanh"), _has_axes),
    "aten.clamp.default": Lowering(_clamp, _has_axes),
    "aten.leaky_relu.default": Lowering(_leaky_relu, _has_axes),
    "aten.leaky_relu_backward.default": Lowering(_leaky_relu_bwd, _of_input),
    "aten.elu.default": Lowering(_elu, _plain_elu),
    "aten.softplus.default": Lowering(_softplus, _has_axes),
    "aten.softplus_backward.default": Lowering(partial(_with_numbers_bwd, "softplus"), _has_axes),
    "aten.gelu.default": Lowering(_gelu, _approximates),
    "aten.gelu_backward.default": Lowering(_gelu_bwd, _approximates),
    "aten.pow.Tensor_Scalar": Lowering(partial(_with_numbers, "pow"), _has_axes),
    **{
        f"aten.{n}.{kind}": Lowering(partial(_binary, n), _real)
        for n in ("add", "sub", "mul", "div")
        for kind in ("Tensor", "Scalar")
    },
    "aten.rsub.Scalar": Lowering(partial(_reversed, "sub"), _real),
    "aten.maximum.default": Lowering(partial(_binary, "maximum"), _real),
    "aten.minimum.default": Lowering(partial(_binary, "minimum"), _real),
}
