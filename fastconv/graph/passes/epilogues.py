"""What follows a convolution and is computed by its kernel: a sum with another result, then an activation.

::

    y = conv(x)      r      conv(x, residual=r, activation="relu")
         \\          /
          y + r              (a sum counts only where both have one shape, and y is read nowhere else)
            |
          relu

The convolution moves to the place of the last call that it takes in, where all that it reads is there.
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution
from .rewriting import Rewriting

#: Ops that give the same numbers in another shape, so that an activation may as well come before them.
MOVES = ("reshape", "permute")


def epilogues(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with sums and activations after convolutions, and activations after norms, taken in."""
    work = Rewriting(program)
    for call in program.calls:
        if call.op == "binary_fwd" and call.args[0] == "add":
            _sum(work, call)
        elif call.op == "unary_fwd":
            _activation(work, call, engine)
    return work.done()


def _sum(work: Rewriting, call: Call) -> None:
    _, *operands = call.args
    if not all(isinstance(v, Value) and v.shape == call.result.shape for v in operands):
        return
    for v, other in (operands, operands[::-1]):
        before = work.only_reader(v)
        conv = Convolution.of(before)
        if before is None or conv is None or conv.residual is not None or conv.activation is not None:
            continue
        if v.dtype == other.dtype:
            work.merge(before, call, conv._replace(residual=other).call(call.result))
            return


def activation_of(call: Call, engine: Any) -> str | tuple[str, float, float] | None:
    """A ``unary_fwd`` as the activation of a convolution; None if the engine cannot end one with it."""
    name, _, *numbers = call.args
    if name == "relu":
        return name
    p, q = ((*(0.0 if n is None else float(n) for n in numbers), 0.0, 0.0))[:2]
    return (name, p, q) if name in getattr(engine, "CONV_ACTIVATIONS", frozenset()) else None


def _activation(work: Rewriting, call: Call, engine: Any) -> None:
    before = work.only_reader(call.args[1])
    if before is None:
        return
    last = before if before.op in MOVES else None
    while before is not None and before.op in MOVES:
        before = work.only_reader(before.args[0])
    if before is None:
        return
    activation, conv = activation_of(call, engine), Convolution.of(before)
    if conv is not None and conv.activation is None and activation is not None:
        merged = conv._replace(activation=activation)
        if last is None:
            work.merge(before, call, merged.call(call.result))
        else:  # as after a dense layer, whose rows are an image
            work.replace(before, merged.call(before.result))
            work.merge(last, call, Call(last.op, last.args, call.result))
    elif last is None and before.op == "batch_norm_fwd" and before.args[-1] is None and activation == "relu":
        work.merge(before, call, Call(before.op, (*before.args[:-1], activation), call.result))
