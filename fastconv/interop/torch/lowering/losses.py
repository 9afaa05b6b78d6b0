"""Softmax and the negative log likelihood of classes."""

from __future__ import annotations

from typing import Any

from .table import Lowering

NONE, MEAN, SUM = range(3)  # aten's numbers of the reductions


def _softmax(engine: Any, x: Any, axis: int, to_float: bool) -> Any:
    return engine.softmax_fwd(x, axis, False)


def _log_softmax(engine: Any, x: Any, axis: int, to_float: bool) -> Any:
    return engine.softmax_fwd(x, axis, True)


def _softmax_backward(engine: Any, gy: Any, y: Any, axis: int, dtype: Any) -> Any:
    return engine.softmax_bwd(gy, y, axis, False)


def _log_softmax_backward(engine: Any, gy: Any, y: Any, axis: int, dtype: Any) -> Any:
    return engine.softmax_bwd(gy, y, axis, True)


def _factors(engine: Any, logp: Any, target: Any, weight: Any, ignored: int) -> tuple[Any, Any, Any]:
    """Which rows count; the class of each row as an index of ``gather``; what its loss is multiplied by."""
    counted = engine.binary_fwd("ne", target, ignored)
    classes = engine.binary_fwd("mul", target, engine.cast(counted, target.dtype))
    factors = engine.cast(counted, logp.dtype)
    if weight is not None:
        factors = engine.binary_fwd("mul", factors, engine.gather(weight, classes, 0))
    return counted, engine.reshape(classes, (len(target), 1)), factors


def _nll(engine: Any, logp: Any, target: Any, weight: Any, reduction: int, ignored: int) -> tuple[Any, Any]:
    """The loss and the sum of the weights; rows with the class ``ignored`` count 0."""
    counted, index, factors = _factors(engine, logp, target, weight, ignored)
    picked = engine.reshape(engine.gather(logp, index, 1), (len(target),))
    losses = engine.binary_fwd("mul", engine.unary_fwd("neg", picked), factors)
    losses = engine.ternary_fwd("where", counted, losses, 0.0)
    if reduction == NONE:
        return losses, engine.zeros((), logp.dtype)
    loss = engine.reduce_fwd("sum", losses, (0,), False)
    total = engine.reduce_fwd("sum", factors, (0,), False)
    return engine.binary_fwd("div", loss, total) if reduction == MEAN else loss, total


def _nll_backward(
    engine: Any,
    gy: Any,
    logp: Any,
    target: Any,
    weight: Any,
    reduction: int,
    ignored: int,
    total: Any,
) -> Any:
    _, index, factors = _factors(engine, logp, target, weight, ignored)
    scale = engine.binary_fwd("div", gy, total) if reduction == MEAN else gy
    rows = engine.binary_fwd("mul", engine.unary_fwd("neg", factors), scale)
    gx = engine.zeros(logp.shape, logp.dtype)
    engine.scatter("set", gx, index, engine.reshape(rows, (len(target), 1)), 1)
    return gx


def _float_result(x: Any, axis: int, to_float: bool) -> bool:
    return not to_float and x.ndim > 0


def _has_axes(gy: Any, y: Any, axis: int, dtype: Any) -> bool:
    return y.ndim > 0 and y.dtype == dtype


def _rows(logp: Any, *rest: Any) -> bool:
    return logp.ndim == 2


def _rows_backward(gy: Any, logp: Any, *rest: Any) -> bool:
    return logp.ndim == 2


OPS = {
    "aten._softmax.default": Lowering(_softmax, _float_result),
    "aten._log_softmax.default": Lowering(_log_softmax, _float_result),
    "aten._softmax_backward_data.default": Lowering(_softmax_backward, _has_axes),
    "aten._log_softmax_backward_data.default": Lowering(_log_softmax_backward, _has_axes),
    "aten.nll_loss_forward.default": Lowering(_nll, _rows),
    "aten.nll_loss_backward.default": Lowering(_nll_backward, _rows_backward),
}
