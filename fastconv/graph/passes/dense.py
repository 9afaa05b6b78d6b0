"""A dense layer with constant weights is a 1x1 convolution of 1x1 images, whose weights can be packed."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...spec import conv_spec
from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution


def dense(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with a convolution in the place of each such layer."""
    calls: list[Call] = []
    for call in program.calls:
        weight = call.args[1] if call.op == "linear_fwd" else None
        if weight is None or weight.constant is None or 0 in call.args[0].shape:
            calls.append(call)
            continue
        x, w, b = call.args
        image = Value((*x.shape, 1, 1), x.dtype)
        kernel = constants.computed("dense", (w,), partial(_as_kernel, engine, w))
        y = Value((x.shape[0], w.shape[0], 1, 1), x.dtype)
        spec = conv_spec("linear", image.shape, kernel.shape)
        calls += [
            Call("reshape", (x, image.shape), image),
            Convolution(image, kernel, b, spec).call(y),
            Call("reshape", (y, call.result.shape), call.result),
        ]
    return Program(program.inputs, calls, program.output)


def _as_kernel(engine: Any, w: Value) -> Value:
    return Value.of(engine.reshape(w.constant, (*w.shape, 1, 1)))
