"""The aten ops that the engine computes: tables by subject, from the name of an op to a :class:`Lowering`.

A function takes the engine and the arguments of the aten op in their order, with arrays in place of tensors.
It computes with ops of the engine contract only. So it runs on any engine, and ``graph.capture`` can note
what it does.
"""

from __future__ import annotations

from . import convolution, dense, losses, norm, pointwise, pooling, resize, shape
from .table import Lowering as Lowering

#: Name of an aten op, such as ``aten.convolution.default`` -> how the engine computes it.
OPS: dict[str, Lowering] = {
    name: lowering
    for subject in (convolution, dense, losses, norm, pointwise, pooling, resize, shape)
    for name, lowering in subject.OPS.items()
}
