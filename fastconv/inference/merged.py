"""The calls of a program as modules that name the layers which they compute, for ``fc.profile``.

Passes keep the result of the last call that they merge. So the layers of a call are found by its result: they
made the calls that this result depends on in the program before the passes::

    before     conv_fwd -> %1    batch_norm_fwd -> %2    unary_fwd relu -> %3
    after      conv_fwd -> %3                            Conv2d+BatchNorm2d+ReLU
"""

from __future__ import annotations

from typing import Any

from .. import backends, nn
from ..graph import Call, Program, Value
from ..graph.program import values_in
from ..tensor import Tensor

#: Passes that make one op of several convolutions or dense layers.
SEVERAL = ("chains", "gates", "separable")


class Merged(nn.Module):
    """A part of a program.

    Attributes
    ----------
    layers : tuple of Module
        The modules whose calls are in it.
    part : Program
    """

    def __init__(self, layers: tuple[nn.Module, ...], part: Program) -> None:
        super().__init__()
        self.layers, self.part = layers, part
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        """The results of the part; a tuple if there are several."""
        engine = backends.engine_of(inputs[0].device)
        results = [Tensor(a) for a in self.part.run(engine, *[x.array for x in inputs])]
        return results[0] if len(results) == 1 else tuple(results)


def run(modules: list[Merged], inputs: dict[Value, Tensor], output: list[Value]) -> list[Tensor]:
    """The values of ``output``; each is released after its last use."""
    held = dict(inputs)
    last = {v: m for m in modules for v in m.part.inputs}
    for m in modules:
        result = m(*[held[v] for v in m.part.inputs])
        held.update(zip(m.part.output, result if isinstance(result, tuple) else (result,)))
        for v in m.part.inputs:
            if last[v] is m and v not in output:
                del held[v]
    return [Tensor(v.constant) if v.constant is not None else held[v] for v in output]


def parts(net: nn.Module, plain: Program, program: Program) -> list[Merged]:
    """The calls of ``program``, which passes have made of ``plain``, that of ``net``, as modules in order."""
    producers, users = plain.producers(), program.users()
    order = {id(call): i for i, call in enumerate(plain.calls)}
    done: set[int] = set()
    found: list[tuple[tuple[nn.Module, ...], list[Call]]] = []
    calls: list[Call] = []
    for call in program.calls:
        calls.append(call)
        todo = [producers[v] for v in values_in(call.result) if v in producers]
        if not todo:
            continue  # only a later call has a result that the net has too
        sources: list[Call] = []
        while todo:
            source = todo.pop()
            if id(source) not in done:
                done.add(id(source))
                sources.append(source)
                todo += [producers[v] for v in source.inputs if v in producers]
        sources.sort(key=lambda c: order[id(c)])
        layers = tuple(dict.fromkeys(c.caller or net for c in sources))
        if found and found[-1][0] == layers:
            found[-1][1].extend(calls)
        else:
            found.append((layers, calls))
        calls = []
    return [Merged(layers, _part(calls, users)) for layers, calls in found]


def _part(calls: list[Call], users: dict[Value, list[Call]]) -> Program:
    """A program of ``calls``, with what they read, and what other calls read of them."""
    results = dict.fromkeys(v for c in calls for v in values_in(c.result))
    read = dict.fromkeys(v for c in calls for v in c.inputs if v.constant is None and v not in results)
    needed = [v for v in results if any(user not in calls for user in users.get(v, ()))]
    return Program(list(read), calls, needed)
