"""A 1x1 layer, a depthwise layer and a 1x1 layer are one op, where the engine says that this is faster.

::

    x -> conv 1x1 -> depthwise conv -> conv 1x1 (+ residual)      the inverted residual of MobileNets
         (either 1x1 layer may be missing; each may end with an activation)
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program
from .convolution import Convolution, constant_layer, pointwise_layer
from .rewriting import Rewriting


def separable(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such run of calls as one call of ``separable_fwd``."""
    if not hasattr(engine, "separable_pays"):
        return program
    work, users = Rewriting(program), program.users()
    for call in program.calls:
        middle = constant_layer(call)
        if middle is None or not _is_depthwise(middle):
            continue
        before = work.only_reader(middle.x)
        after = users[call.result][0] if len(users.get(call.result, ())) == 1 else None
        first, last = pointwise_layer(before), pointwise_layer(after)
        if first is None or first.residual is not None:
            before = first = None
        if last is None or last.x is not call.result or middle.residual is not None:
            after = last = None
        for start, end in ((first, last), (None, last), (first, None)):
            specs = start and start.spec, middle.spec, end and end.spec
            if (start or end) and engine.separable_pays(*specs, middle.x.dtype):
                _merge(work, before if start else None, call, after if end else None)
                break
    return work.done()


def _merge(work: Rewriting, before: Call | None, call: Call, after: Call | None) -> None:
    stages = [_stage(Convolution.of(c)) for c in (before, call, after)]
    ends = Convolution.of(after or call)
    x = (before or call).args[0]
    assert ends is not None
    merged = Call("separable_fwd", (x, *stages, ends.residual), (after or call).result)
    chain = [c for c in (before, call, after) if c is not None]
    work.merge(chain[-2], chain[-1], merged)
    if len(chain) == 3:
        work.drop(chain[0])


def _stage(conv: Convolution | None) -> tuple[Any, ...] | None:
    return None if conv is None else (conv.weight, conv.bias, conv.spec, conv.activation)


def _is_depthwise(conv: Convolution) -> bool:
    return conv.spec.ndim == 2 and conv.spec.depthwise and conv.spec.c_out == conv.spec.c_in
