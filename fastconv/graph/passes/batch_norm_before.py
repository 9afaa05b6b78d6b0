"""The scale and shift of a BatchNorm go into the weights and the bias of the layer after it.

::

    w * (x * s + t) + b  =  (w * s) * x  +  (b + w * t)          s, t: scale and shift of the input channels

A convolution with padding is left as it is, because its padding is 0 after the norm, and not ``t``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution
from .norm import Norm, constant, host
from .rewriting import Rewriting


def batch_norm_before(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each constant BatchNorm before a convolution or dense layer folded into it."""
    work = Rewriting(program)
    for call in program.calls:
        conv = Convolution.of(call)
        if conv is not None:
            if not conv.constant or any(map(any, conv.spec.padding)):
                continue
            x, w, b, groups = conv.x, conv.weight, conv.bias, conv.spec.groups
        elif call.op == "linear_fwd":
            (x, w, b), groups = call.args, 1
            if w.constant is None or b is not None and b.constant is None:
                continue
        else:
            continue
        before = work.only_reader(x)
        norm = Norm.of(before)
        if before is None or norm is None or not norm.constant or not norm.alone:
            continue
        compute = partial(_weight_and_bias, engine, norm, w, b, groups)
        w, b = constants.computed("batch_norm_before", (*norm.vectors, w, b, groups), compute)
        if conv is not None:
            merged = conv._replace(x=norm.x, weight=w, bias=b).call(call.result)
        else:
            merged = Call("linear_fwd", (norm.x, w, b), call.result)
        work.merge(before, call, merged)
    return work.done()


def _weight_and_bias(engine: Any, norm: Norm, w: Value, b: Value | None, groups: int) -> tuple[Value, Value]:
    """Weight and bias with the norm in them."""
    scale, shift = norm.scale_and_shift(engine)
    # groups, filters of a group, channels that the filter reads, elements of the kernel
    old = host(engine, w).reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    each = (groups, 1, -1, 1)
    new = (old * scale.reshape(each)).reshape(w.shape)
    added: np.ndarray[Any, Any] = (old * shift.reshape(each)).sum((2, 3)).reshape(-1)
    if b is not None:
        added = added + host(engine, b)
    return constant(engine, new, w), constant(engine, added, w)
