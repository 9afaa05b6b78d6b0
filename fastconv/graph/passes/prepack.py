"""Constant weights of convolutions in the form that the engine packs them into."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution


def prepack(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with the weights packed; weights that several calls share are packed once."""

    def packed(w: Value) -> Value:
        return constants.computed("prepack", (w,), partial(_packed, engine, w))

    calls: list[Call] = []
    for call in program.calls:
        conv = Convolution.of(call)
        if conv is not None and conv.weight.constant is not None:
            call = conv._replace(weight=packed(conv.weight)).call(call.result)
        elif call.op == "conv_transpose_fwd":
            x, w, *others = call.args
            call = Call(call.op, (x, packed(w), *others), call.result)
        elif call.op == "separable_fwd":
            x, *stages, residual = call.args
            stages = [s and (packed(s[0]), *s[1:]) for s in stages]
            call = Call(call.op, (x, *stages, residual), call.result)
        elif call.op in ("gated_conv_fwd", "normed_conv_fwd"):
            x, before, (w, *others), residual = call.args
            call = Call(call.op, (x, before, (packed(w), *others), residual), call.result)
        calls.append(call)
    return Program(program.inputs, calls, program.output)


def _packed(engine: Any, w: Value) -> Value:
    return Value(w.shape, w.dtype, engine.conv_prepack(w.constant))
