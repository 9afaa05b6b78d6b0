"""A transposed convolution, its bias and its activation are one op, where the engine has it.

::

    conv_bwd_data(x, w)      b (N x C x 1 x 1)
              \\             /
                 y + b            ->     conv_transpose_fwd(x, w, b, spec, activation)      U-Net, decoders
                   |
              activation
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from ...spec import ConvSpec
from ..constants import Constants
from ..program import Call, Program, Value
from .batch_norm_transposed import bias_of
from .epilogues import activation_of
from .rewriting import Rewriting


class Transposed(NamedTuple):
    """The arguments of a call of ``conv_transpose_fwd``, in the contract's order."""

    x: Value
    weight: Value
    bias: Value | None
    spec: ConvSpec
    activation: Any = None


def transposed(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such run of calls as one, where the engine says that this is faster."""
    if not hasattr(engine, "conv_transpose_pays"):
        return program
    work = Rewriting(program)
    for call in program.calls:
        if call.op == "conv_bwd_data":
            x, w, spec, *others = call.args
            plain = w.constant is not None and x.dtype == w.dtype and not any(o is not None for o in others)
            if plain and engine.conv_transpose_pays(spec, x.dtype):
                work.replace(call, Call("conv_transpose_fwd", Transposed(x, w, None, spec), call.result))
        elif (found := bias_of(call)) is not None:
            y, b = found
            before, layer = _layer(work, y)
            if before is not None and layer is not None and layer.bias is layer.activation is None:
                bias = constants.computed("transposed", (b,), partial(_vector, engine, b))
                work.merge(before, call, Call(before.op, layer._replace(bias=bias), call.result))
        elif call.op == "unary_fwd":
            before, layer = _layer(work, call.args[1])
            activation = activation_of(call, engine)
            if before is not None and layer is not None and layer.activation is None and activation:
                merged = layer._replace(activation=activation)
                work.merge(before, call, Call(before.op, merged, call.result))
    return work.done()


def _layer(work: Rewriting, value: Value) -> tuple[Call | None, Transposed | None]:
    """The call that computes ``value``, and its arguments, if it is such a layer, read only once."""
    before = work.only_reader(value)
    if before is None or before.op != "conv_transpose_fwd":
        return None, None
    return before, Transposed(*before.args)


def _vector(engine: Any, b: Value) -> Value:
    return Value.of(engine.reshape(b.constant, (b.constant.size,)))
