"""Batch, group and layer norm."""

from __future__ import annotations

from typing import Any

from .table import Lowering


def _invstd(engine: Any, variance: Any, eps: float) -> Any:
    return engine.unary_fwd("pow", engine.binary_fwd("add", variance, eps), -0.5)


def train_fwd(
    engine: Any,
    x: Any,
    weight: Any,
    bias: Any,
    residual: Any,
    running_mean: Any,
    running_var: Any,
    relu: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, Any, Any]:
    """``y, mean, invstd``; running statistics move in place.

    ``y`` is the normalised ``x`` plus ``residual``, after ReLU if ``relu``.
    """
    activation = "relu" if relu else None
    running = None if running_mean is None else (running_mean, running_var)
    if hasattr(engine, "batch_norm_train_fwd"):
        y, saved = engine.batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum)
        return y, *engine.batch_norm_train_stats(saved)
    mean, variance = engine.batch_norm_stats(x)
    invstd = _invstd(engine, variance, eps)
    if running is not None:
        count = x.size // x.shape[1]
        engine.running_step(running_mean, mean, 1 - momentum, momentum)
        engine.running_step(running_var, variance, 1 - momentum, momentum * count / (count - 1))
    return engine.batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation), mean, invstd


def train_bwd(
    engine: Any, gy: Any, x: Any, y: Any, weight: Any, mean: Any, invstd: Any, with_residual: bool
) -> tuple[Any, Any, Any, Any]:
    """``gx, gweight, gbias, gresidual``; ``y`` is the result of :func:`train_fwd` if ReLU followed."""
    activation = None if y is None else "relu"
    return engine.batch_norm_bwd(gy, x, y, mean, invstd, weight, True, activation, with_residual)


def _functional(
    engine: Any,
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, ...]:
    """Training; the running statistics of the result are new arrays."""
    mean, variance = (None if r is None else engine.copy(r) for r in (running_mean, running_var))
    moved = mean, variance
    return *train_fwd(engine, x, weight, bias, None, mean, variance, False, momentum, eps), *moved


def _evaluation(
    engine: Any,
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
) -> tuple[Any, Any, Any]:
    y = engine.batch_norm_fwd(x, running_mean, _invstd(engine, running_var, eps), weight, bias, None, None)
    empty = engine.zeros((0,), x.dtype)  # PyTorch saves nothing here
    return y, empty, empty


def _backward(
    engine: Any,
    gy: Any,
    x: Any,
    weight: Any,
    running_mean: Any,
    running_var: Any,
    mean: Any,
    invstd: Any,
    training: bool,
    eps: float,
    mask: Any,
) -> tuple[Any, Any, Any]:
    if not training:
        mean, invstd = running_mean, _invstd(engine, running_var, eps)
    return engine.batch_norm_bwd(gy, x, None, mean, invstd, weight, training, None, False)[:3]


def _group(
    engine: Any, x: Any, weight: Any, bias: Any, n: int, c: int, pixels: int, groups: int, eps: float
) -> tuple[Any, Any, Any]:
    return engine.group_norm_fwd(x, groups, weight, bias, eps)


def _group_backward(
    engine: Any,
    gy: Any,
    x: Any,
    mean: Any,
    invstd: Any,
    weight: Any,
    n: int,
    c: int,
    pixels: int,
    groups: int,
    mask: Any,
) -> tuple[Any, Any, Any]:
    return engine.group_norm_bwd(gy, x, groups, mean, invstd, weight)


def _rows(engine: Any, x: Any, normalized: Any) -> Any:
    size = 1
    for extent in normalized:
        size *= extent
    return engine.reshape(x, (x.size // max(size, 1), size))


def _layer(engine: Any, x: Any, normalized: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, ...]:
    flat = [None if v is None else engine.reshape(v, (-1,)) for v in (weight, bias)]
    y, mean, invstd = engine.layer_norm_fwd(_rows(engine, x, normalized), *flat, eps)
    kept = (*x.shape[: x.ndim - len(normalized)], *(1,) * len(normalized))
    return engine.reshape(y, x.shape), engine.reshape(mean, kept), engine.reshape(invstd, kept)


def _layer_backward(
    engine: Any,
    gy: Any,
    x: Any,
    normalized: Any,
    mean: Any,
    invstd: Any,
    weight: Any,
    bias: Any,
    mask: Any,
) -> tuple[Any, ...]:
    rows = [_rows(engine, a, normalized) for a in (gy, x)]
    mean, invstd = (engine.reshape(v, (-1,)) for v in (mean, invstd))
    flat = None if weight is None else engine.reshape(weight, (-1,))
    gx, gw, gb = engine.layer_norm_bwd(*rows, mean, invstd, flat)
    shape = tuple(normalized)
    return engine.reshape(gx, x.shape), engine.reshape(gw, shape), engine.reshape(gb, shape)


def _is_image(x: Any, *rest: Any) -> bool:
    return 2 <= x.ndim <= 5


def _trains(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *rest: Any) -> bool:
    return _is_image(x) and training is True


def _has_statistics(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> bool:
    return _is_image(x) and mean is not None


OPS = {
    "aten._native_batch_norm_legit_functional.default": Lowering(_functional, _trains),
    "aten._native_batch_norm_legit_no_training.default": Lowering(_evaluation, _has_statistics),
    "aten.native_batch_norm_backward.default": Lowering(_backward, _is_image),
    "aten.native_group_norm.default": Lowering(_group, _is_image),
    "aten.native_group_norm_backward.default": Lowering(_group_backward, _is_image),
    "aten.native_layer_norm.default": Lowering(_layer),
    "aten.native_layer_norm_backward.default": Lowering(_layer_backward),
}
