"""How much memory the results of a program need at the same time.

::

    call        results that something still reads          bytes
    conv_fwd    x, %1                                       ...
    conv_fwd    x, %1, %2       <- the peak: x is a shortcut
    binary_fwd  x, %2, %3

A view has no memory of its own, and keeps the array that it is a view of. Scratch memory inside of ops is not
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .values import Call, Value, values_in

#: Ops whose result may be a view of their first argument, or a part of it that they have written.
VIEWS = frozenset(
    ("as_strided", "broadcast_to", "concatenate_into", "getitem", "permute", "reshape", "result_into")
)

#: Ops to whose results other calls write, so every call has to make one of its own.
WRITTEN_LATER = frozenset(("empty",))


class Memory(NamedTuple):
    """What the values of a program need.

    Attributes
    ----------
    peak : int
        The most bytes that inputs and results take at the same time.
    at : int or None
        The number of the call during which they do; None for a program without calls.
    constants : int
        The bytes of all constants.
    """

    peak: int
    at: int | None
    constants: int

    def __str__(self) -> str:
        return f"values {_size(self.peak)} at the peak, constants {_size(self.constants)}"


def memory(inputs: Sequence[Value], calls: Sequence[Call], output: Any) -> Memory:
    """The memory of a program that releases every array after its last use."""
    base: dict[Value, Value] = {}
    constants: set[Value] = {v for v in values_in(output) if v.constant is not None}
    last: dict[Value, int] = {}
    for i, call in enumerate(calls):
        constants.update(v for v in call.inputs if v.constant is not None)
        results = list(values_in(call.result))
        if call.op in VIEWS and call.inputs:
            source: Any = call.args[0]
            for v in results:
                base[v] = base[source] if source in base else source
        for v in (*call.inputs, *results):
            last[base.get(v, v)] = i
    for v in values_in(output):
        last[base.get(v, v)] = len(calls)
    used = sum(v.nbytes for v in inputs)
    peak, at = used, None
    for i, call in enumerate(calls):
        results = [v for v in values_in(call.result) if v not in base]
        used += sum(v.nbytes for v in results)
        if used > peak or at is None:
            peak, at = used, i
        touched = {base.get(v, v) for v in (*call.inputs, *values_in(call.result))}
        used -= sum(v.nbytes for v in touched if last[v] == i and v.constant is None)
    return Memory(peak, at, sum(v.nbytes for v in constants))


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MB" if count >= 2**20 else f"{count / 2**10:,.1f} kB"
