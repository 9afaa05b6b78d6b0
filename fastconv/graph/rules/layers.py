"""Rules of ops with weights or windows. A spec is built again from its options, which checks all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...backends.common.unary import UNARY
from ...spec import (
    AdaptivePoolSpec,
    ConvSpec,
    PoolSpec,
    adaptive_pool_spec,
    broadcast_shape,
    conv_spec,
    pool_spec,
)
from ..values import Value
from .elements import unary_fwd
from .expect import array, expect, flag, number, shaped


def _images(x: Any) -> tuple[Value, int]:
    """``x``, which must be images, and the number of their dimensions."""
    x = array(x, kinds="f")
    expect(3 <= x.ndim <= 5, f"images have 3 to 5 dimensions, got {x.ndim}")
    return x, x.ndim - 2


def _same(spec: Any, built: Any) -> None:
    expect(repr(spec) == repr(built), f"{spec!r:.300} does not describe these arrays")


def _algorithm(name: Any) -> None:
    expect(name is None, "a file must not choose algorithms")


def _conv(
    x: Any,
    w: Any,
    b: Any,
    spec: Any,
    algorithm: Any = None,
    residual: Any = None,
    activation: Any = None,
) -> Any:
    (x, n), w = _images(x), array(w, kinds="f")
    expect(
        isinstance(spec, ConvSpec) and w.dtype == x.dtype, "conv_fwd needs a ConvSpec and arrays of one dtype"
    )
    options = spec.stride, spec.padding, spec.dilation, spec.groups
    _same(spec, conv_spec(f"conv{n}d", x.shape, w.shape, *options))
    shaped(b, (spec.c_out,), x.dtype, optional=True)
    shaped(residual, spec.y_shape, x.dtype, optional=True)
    _algorithm(algorithm)
    if activation is not None and activation != "relu":
        expect(isinstance(activation, tuple) and len(activation) == 3, f"activation {activation!r:.60}")
        name, p, q = activation
        expect(
            isinstance(name, str) and name in UNARY and UNARY[name].kind != "bool", f"activation {name!r:.60}"
        )
        unary_fwd(name, x, p, q)
    return [(spec.y_shape, x.dtype)]


def _conv_transposed(gy: Any, w: Any, spec: Any, algorithm: Any = None, residual: Any = None) -> Any:
    (gy, n), w = _images(gy), array(w, kinds="f")
    expect(isinstance(spec, ConvSpec) and w.dtype == gy.dtype, "conv_bwd_data needs a ConvSpec")
    built = conv_spec(
        f"conv{n}d", spec.x_shape, w.shape, spec.stride, spec.padding, spec.dilation, spec.groups
    )
    # The last rows of the result may have no row of gy.
    expect(
        all(0 < o <= most for o, most in zip(spec.out_size, built.out_size, strict=True)), f"{spec!r:.300}"
    )
    _same(spec, replace(built, out_size=gy.shape[2:]))
    shaped(gy, spec.y_shape, w.dtype)
    shaped(residual, spec.x_shape, w.dtype, optional=True)
    _algorithm(algorithm)
    return [(spec.x_shape, gy.dtype)]


def _pool(x: Any, spec: Any) -> Value:
    x, n = _images(x)
    expect(isinstance(spec, PoolSpec), "pooling needs a PoolSpec")
    options = spec.kernel, spec.stride, spec.padding, spec.dilation
    for ceil in (False, True):
        built = pool_spec(f"pool{n}d", x.shape, *options, ceil, spec.count_include_pad, spec.divisor)
        if repr(built) == repr(spec):
            break
    _same(spec, built)
    return x


def _avg_pool(x: Any, spec: Any) -> Any:
    x = _pool(x, spec)
    flag(spec.count_include_pad)
    number(spec.divisor, optional=True)
    return [(spec.y_shape, x.dtype)]


def _max_pool(x: Any, spec: Any) -> Any:
    x = _pool(x, spec)
    return [(spec.y_shape, x.dtype), (spec.y_shape, None)]


def _adaptive(x: Any, spec: Any) -> Value:
    x, n = _images(x)
    expect(isinstance(spec, AdaptivePoolSpec), "adaptive pooling needs an AdaptivePoolSpec")
    _same(spec, adaptive_pool_spec(f"adaptive_pool{n}d", x.shape, spec.out_size))
    return x


def _batch_norm(
    x: Any, mean: Any, invstd: Any, weight: Any, bias: Any, residual: Any = None, activation: Any = None
) -> Any:
    x = array(x, kinds="f")
    expect(x.ndim > 1, "batch_norm_fwd needs channels")
    for v, optional in ((mean, False), (invstd, False), (weight, True), (bias, True)):
        shaped(v, x.shape[1:2], x.dtype, optional)
    shaped(residual, x.shape, x.dtype, optional=True)
    expect(activation in (None, "relu"), f"activation {activation!r:.60}")
    return [(x.shape, x.dtype)]


def _layer_norm(x: Any, weight: Any, bias: Any, eps: Any, centered: Any = True) -> Any:
    x = array(x, 2, "f")
    for v in (weight, bias):
        shaped(v, x.shape[1:], x.dtype, optional=True)
    number(eps)
    flag(centered)
    return [(x.shape, x.dtype), (x.shape[:1], x.dtype), (x.shape[:1], x.dtype)]


def _group_norm(x: Any, groups: Any, weight: Any, bias: Any, eps: Any) -> Any:
    x = array(x, kinds="f")
    expect(x.ndim > 1 and type(groups) is int and groups > 0 and x.shape[1] % groups == 0, "group_norm_fwd")
    for v in (weight, bias):
        shaped(v, x.shape[1:2], x.dtype, optional=True)
    number(eps)
    stats = (x.shape[0], groups)
    return [(x.shape, x.dtype), (stats, x.dtype), (stats, x.dtype)]


def _local_response_norm(x: Any, size: Any, alpha: Any, beta: Any, k: Any) -> Any:
    x = array(x, kinds="f")
    expect(x.ndim > 1 and type(size) is int and size > 0, "local_response_norm_fwd")
    for v in (alpha, beta, k):
        number(v)
    return [(x.shape, x.dtype), (x.shape, x.dtype)]


def _matmul(a: Any, b: Any) -> Any:
    a, b = array(a), array(b)
    expect(a.ndim > 1 and b.ndim > 1 and a.dtype == b.dtype and a.shape[-1] == b.shape[-2], "matmul")
    lead = broadcast_shape("matmul", a.shape[:-2], b.shape[:-2])
    return [((*lead, a.shape[-2], b.shape[-1]), a.dtype)]


def _linear(x: Any, w: Any, b: Any) -> Any:
    x, w = array(x, 2, "f"), array(w, 2, "f")
    shaped(w, (w.shape[0], x.shape[1]), x.dtype)
    shaped(b, w.shape[:1], x.dtype, optional=True)
    return [((x.shape[0], w.shape[0]), x.dtype)]


RULES: dict[str, Callable[..., Any]] = {
    "conv_fwd": _conv,
    "conv_bwd_data": _conv_transposed,
    "avg_pool_fwd": _avg_pool,
    "max_pool_fwd": _max_pool,
    "adaptive_avg_pool_fwd": lambda x, spec: [(spec.y_shape, _adaptive(x, spec).dtype)],
    "adaptive_max_pool_fwd": lambda x, spec: [
        (spec.y_shape, _adaptive(x, spec).dtype),
        (spec.y_shape, None),
    ],
    "batch_norm_fwd": _batch_norm,
    "layer_norm_fwd": _layer_norm,
    "group_norm_fwd": _group_norm,
    "local_response_norm_fwd": _local_response_norm,
    "matmul": _matmul,
    "linear_fwd": _linear,
}
