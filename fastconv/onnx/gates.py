"""Activations that a file writes as several nodes, because old opsets have no operator for them.

::

    x * Sigmoid(x)           Swish
    x * HardSigmoid(x)       HardSwish, if the slope is 1/6
    x * Tanh(Softplus(x))    Mish

As one operator they need less memory, and a convolution before them computes them too in optimized nets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from .node import Node


def joined(nodes: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """The nodes with such products as one node, if nothing else needs the factor."""
    uses = Counter(name for n in nodes for name in n.inputs)
    producers = {name: n for n in nodes for name in n.outputs}
    gone: set[str] = set()  # results of nodes that are part of another one now
    result: list[Node] = []
    for node in nodes:
        found = None
        if node.op == "Mul":
            a, b = node.inputs
            found = _gate(a, b, producers) or _gate(b, a, producers)
        if found is not None:
            op, x, parts = found
            inner = [name for n in parts for name in n.outputs]
            if all(uses[name] == 1 and name not in outputs for name in inner):
                gone.update(inner)
                node = replace(node, op=op, inputs=(x,), attributes={})
        result.append(node)
    return [n for n in result if not gone.intersection(n.outputs)]


def _gate(x: str, factor: str, producers: dict[str, Node]) -> tuple[str, str, list[Node]] | None:
    """The operator that ``x * factor`` is, x, and the nodes that compute the factor of x; None for others."""
    last = producers.get(factor)
    if last is None:
        return None
    if last.op == "Tanh":
        first = producers.get(last.inputs[0])
        of_x = first is not None and first.op == "Softplus" and first.inputs == (x,)
        return ("Mish", x, [first, last]) if first is not None and of_x else None
    if last.inputs != (x,):
        return None
    if last.op == "Sigmoid":
        return "Swish", x, [last]
    slope, shift = last.get("alpha", 0.2), last.get("beta", 0.5)
    is_sixth = abs(slope - 1 / 6) < 1e-7 and shift == 0.5
    return ("HardSwish", x, [last]) if last.op == "HardSigmoid" and is_sixth else None
