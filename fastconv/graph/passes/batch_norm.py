"""The scale and shift of a BatchNorm go into the weights and the bias of the layer before it.

::

    (w * x + b - mean) * s + t  =  (w * s) * x  +  (b - mean) * s + t       s = invstd * weight, per channel
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution
from .norm import Norm, constant, host
from .rewriting import Rewriting


def batch_norm(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each constant BatchNorm after a convolution or dense layer folded into it."""
    work = Rewriting(program)
    for call in program.calls:
        norm = Norm.of(call)
        if norm is None or not norm.constant or (before := work.only_reader(norm.x)) is None:
            continue
        conv = Convolution.of(before)
        if conv is not None and conv.constant and conv.residual is None and conv.activation is None:
            w, b = _folded(engine, constants, conv.weight, conv.bias, norm)
            merged = conv._replace(weight=w, bias=b, residual=norm.residual, activation=norm.activation)
            work.merge(before, call, merged.call(call.result))
        elif before.op == "linear_fwd" and norm.alone:
            x, w, b = before.args
            if w.constant is not None and (b is None or b.constant is not None):
                w, b = _folded(engine, constants, w, b, norm)
                work.merge(before, call, Call("linear_fwd", (x, w, b), call.result))
    return work.done()


def _folded(engine: Any, constants: Constants, w: Value, b: Value | None, norm: Norm) -> tuple[Value, Value]:
    return constants.computed(
        "batch_norm", (w, b, *norm.vectors), partial(_weight_and_bias, engine, w, b, norm)
    )


def _weight_and_bias(engine: Any, w: Value, b: Value | None, norm: Norm) -> tuple[Value, Value]:
    """Weight and bias with the norm in them."""
    scale, shift = norm.scale_and_shift(engine)
    if b is not None:
        shift = shift + host(engine, b) * scale
    scaled = host(engine, w) * scale.reshape(-1, *(1,) * (w.ndim - 1))
    return constant(engine, scaled, w), constant(engine, shift, w)
