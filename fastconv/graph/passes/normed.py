"""A BatchNorm, and the ReLU after it, go into the 1x1 convolution that reads them.

::

    x -> batch_norm (+ relu) -> conv 1x1       ->       normed_conv_fwd(x, norm, layer)      DenseNet

A norm without ReLU is in the weights already (``batch_norm_before.py``).
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program
from .convolution import pointwise_layer
from .norm import Norm
from .rewriting import Rewriting


def normed(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such pair of calls as one, where the engine says that this is faster."""
    if not hasattr(engine, "normed_conv_pays"):
        return program
    work = Rewriting(program)
    for call in program.calls:
        conv = pointwise_layer(call)
        before = work.only_reader(conv.x) if conv is not None else None
        norm = Norm.of(before)
        if conv is None or before is None or norm is None or norm.residual is not None:
            continue
        if norm.x.dtype == conv.x.dtype and engine.normed_conv_pays(conv.spec, conv.x.dtype):
            layer = conv.weight, conv.bias, conv.spec, conv.activation
            given = norm.x, (*norm.vectors, norm.activation), layer, conv.residual
            work.merge(before, call, Call("normed_conv_fwd", given, call.result))
    return work.done()
