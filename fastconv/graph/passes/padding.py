"""Zeros around an image become the padding of the convolution or average pooling that reads it.

::

    conv(pad(x, zeros))                          ->  conv(x) with more padding, on each side as much as needed
    avg_pool(pad(x, zeros)), counting padding    ->  avg_pool(x) with more padding
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...spec import PoolSpec
from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution
from .rewriting import Rewriting

Pairs = tuple[tuple[int, int], ...]


def padding(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with zeros around images in the specs of convolutions and average pooling."""
    work = Rewriting(program)
    for call in program.calls:
        conv = Convolution.of(call)
        if conv is not None:
            while (found := _zeros(work.producers.get(conv.x))) is not None:
                x, pairs = found
                spec = replace(conv.spec, in_size=x.shape[2:], padding=_sum(conv.spec.padding, pairs))
                conv = conv._replace(x=x, spec=spec)
            if conv.x is not call.args[0]:
                work.replace(call, conv.call(call.result))
        elif call.op == "avg_pool_fwd" and (found := _zeros(work.producers.get(call.args[0]))) is not None:
            x, pairs = found
            if (spec := _pooling(call.args[1], x, pairs)) is not None:
                work.replace(call, Call("avg_pool_fwd", (x, spec), call.result))
    return work.done()


def _zeros(call: Call | None) -> tuple[Value, Pairs] | None:
    """What is padded and by how much, if ``call`` pads nothing but the pixels, with zeros."""
    if call is None or call.op != "pad_fwd":
        return None
    x, pairs, mode, value = call.args
    pairs = tuple((int(a), int(b)) for a, b in pairs)
    plain = mode == "constant" and value == 0 and min(map(min, pairs)) >= 0
    images = x.ndim > 2 and 0 not in x.shape and not any(map(any, pairs[:2]))
    return (x, pairs[2:]) if plain and images else None


def _sum(a: Pairs, b: Pairs) -> Pairs:
    return tuple((m + p, n + q) for (m, n), (p, q) in zip(a, b, strict=True))


def _pooling(spec: PoolSpec, x: Value, pairs: Pairs) -> PoolSpec | None:
    """The pooling of the image without the zeros, or None.

    What the sum of a window is divided by counted the zeros, so it has to count all padding; and at most half
    of a window may be padding, as in every pooling.
    """
    counted = spec.count_include_pad or spec.divisor is not None or not any(map(any, spec.padding))
    total = _sum(spec.padding, pairs)
    extents = [d * (k - 1) + 1 for k, d in zip(spec.kernel, spec.dilation)]
    if not counted or any(2 * max(pair) > e for pair, e in zip(total, extents)):
        return None
    return replace(spec, in_size=x.shape[2:], padding=total, count_include_pad=True)
