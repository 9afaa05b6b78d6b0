"""The product of an image with a gate for each channel goes into the 1x1 convolution that reads it.

::

    x     gate (N x C x 1 x 1)
     \\     /
      x * gate     ->    gated_conv_fwd(x, gate, layer)        squeeze and excitation
         |
      conv 1x1
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import pointwise_layer
from .rewriting import Rewriting


def gates(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such pair of calls as one, where the engine says that this is faster."""
    if not hasattr(engine, "gated_conv_pays"):
        return program
    work = Rewriting(program)
    for call in program.calls:
        conv = pointwise_layer(call)
        before = work.only_reader(conv.x) if conv is not None else None
        if conv is None or before is None or before.op != "binary_fwd" or before.args[0] != "mul":
            continue
        found = _gated(before.args[1:], conv.x)
        if found is not None and engine.gated_conv_pays(conv.spec, conv.x.dtype):
            layer = conv.weight, conv.bias, conv.spec, conv.activation
            work.merge(before, call, Call("gated_conv_fwd", (*found, layer, conv.residual), call.result))
    return work.done()


def _gated(operands: Any, product: Value) -> tuple[Value, Value] | None:
    """The image and the gate among the operands of a product."""
    channels = (*product.shape[:2], *(1 for _ in product.shape[2:]))
    for x, gate in (operands, operands[::-1]):
        values = isinstance(x, Value) and isinstance(gate, Value) and x.dtype == gate.dtype == product.dtype
        if values and x.shape == product.shape != channels == gate.shape:
            return x, gate
    return None
