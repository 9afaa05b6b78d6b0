"""The scale and shift of a BatchNorm go into the weights and the bias of the layer before it.

::

    (w * x + b - mean) * s  =  (w * s) * x  +  (b - mean) * s          s = invstd * weight, per channel
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution, Rewriting


def batch_norm(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each constant BatchNorm after a convolution or dense layer folded into it."""
    work = Rewriting(program)
    for call in program.calls:
        if call.op != "batch_norm_fwd":
            continue
        x, mean, invstd, weight, bias, residual, activation = call.args
        before = work.only_reader(x)
        vectors = [v for v in (mean, invstd, weight, bias) if v is not None]
        if before is None or any(v.constant is None for v in vectors):
            continue
        conv = Convolution.of(before)
        if conv is not None and conv.constant and conv.residual is None and conv.activation is None:
            sources = conv.weight, conv.bias, mean, invstd, weight, bias
            w, b = constants.computed("batch_norm", sources, partial(_folded, engine, *sources))
            merged = conv._replace(weight=w, bias=b, residual=residual, activation=activation)
            work.merge(before, call, merged.call(call.result))
        elif before.op == "linear_fwd" and residual is None and activation is None:
            x, w, b = before.args
            if w.constant is not None and (b is None or b.constant is not None):
                sources = w, b, mean, invstd, weight, bias
                folded = constants.computed("batch_norm", sources, partial(_folded, engine, *sources))
                work.merge(before, call, Call("linear_fwd", (x, *folded), call.result))
    return Program(program.inputs, work.done(), program.output)


def _folded(
    engine: Any,
    w: Value,
    b: Value | None,
    mean: Value,
    invstd: Value,
    weight: Value | None,
    bias: Value | None,
) -> tuple[Value, Value]:
    """Weight and bias with the norm in them, computed in float64."""

    def host(v: Value) -> np.ndarray[Any, Any]:
        return engine.to_host(v.constant).astype(np.float64)

    scale = host(invstd) * (1.0 if weight is None else host(weight))
    shift = (0.0 if b is None else host(b)) - host(mean)
    new_b = shift * scale + (0.0 if bias is None else host(bias))
    new_w = host(w) * scale.reshape(-1, *(1,) * (w.ndim - 1))
    return Value.of(engine.asarray(new_w.astype(w.dtype))), Value.of(engine.asarray(new_b.astype(w.dtype)))
