"""Arrays joined along their channels are written to their places by the ops that compute them.

::

    a = conv(x)   b = pool(x)              m = empty(N x 5)
         \\        /                         a = m[:, 0:3] <- conv(x)
      y = concatenate(a, b)        ->       b = m[:, 3:5] <- pool(x)
                                            y = m                               (nothing is copied)

Others may read ``a`` as well; they find it in a slice of the channels of ``m``. A result that is joined again
is such a slice itself. So the layers of a block of DenseNet, each of which adds channels to all before it,
write to one array. What its op cannot write to a slice, or what has readers that need it dense, is copied to
its place as before.

G. Pleiss et al.: Memory-efficient implementation of DenseNets, 2017.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..constants import Constants
from ..program import Call, Program, Value, values_in


class _Place(NamedTuple):
    """Channels of an array that several ops write to, from ``first`` on."""

    whole: Value
    first: int

    def of(self, value: Value) -> tuple[int, int]:
        """The range of the channels that ``value`` has here."""
        return self.first, self.first + value.shape[1]


def concatenations(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with every such ``concatenate`` replaced, where the engine has the ops for it."""
    if not hasattr(engine, "result_into"):
        return program
    places = _places(program, engine)
    made: set[Value] = set()
    calls: list[Call] = []
    for call in program.calls:
        place = places.get(call.result) if isinstance(call.result, Value) else None
        if place is None:
            calls.append(call)
            continue
        if place.whole not in made:
            made.add(place.whole)
            calls.append(Call("empty", (place.whole.shape, place.whole.dtype), place.whole))
        where = place.whole, place.of(call.result)
        if call.op == "concatenate":
            calls.append(Call("concatenate_into", (*where, tuple(call.args[0])), call.result))
        else:
            calls.append(Call("result_into", (*where, call.op, tuple(call.args)), call.result))
    return Program(program.inputs, calls, program.output)


def _places(program: Program, engine: Any) -> dict[Value, _Place]:
    """Where to write what is joined, and the joined arrays themselves.

    The last ``concatenate`` comes first, because its result may have those of others in it.
    """
    places: dict[Value, _Place] = {}
    producers, users = program.producers(), program.users()
    outputs = set(values_in(program.output))

    def movable(value: Value) -> bool:
        """Whether the op that computes ``value`` can write it to a slice, and the others can read it."""
        call = producers.get(value)
        if call is None or call.result is not value or value in outputs or value in places:
            return False
        writes = call.op in engine.WRITES_SLICES or _joins_channels(call)
        return writes and all(user.op in engine.READS_SLICES for user in users[value])

    for call in reversed(program.calls):
        if not _joins_channels(call):
            continue
        parts, joined = call.args[0], call.result
        if joined not in places and (start := _neighbours(parts, places)) is not None:
            places[joined] = start
            continue
        if joined not in places:
            if not any(map(movable, parts)):
                continue
            places[joined] = _Place(Value(joined.shape, joined.dtype), 0)
        whole, first = places[joined]
        for v in parts:
            if movable(v):
                places[v] = _Place(whole, first)
            first += v.shape[1]
    return places


def _joins_channels(call: Call) -> bool:
    """Whether ``call`` joins images of one dtype along their channels."""
    if call.op != "concatenate" or call.args[1] != 1 or call.result.ndim < 3:
        return False
    return all(isinstance(v, Value) and v.dtype == call.result.dtype for v in call.args[0])


def _neighbours(parts: Any, places: dict[Value, _Place]) -> _Place | None:
    """The place of ``parts`` if they lie in one array, one behind the other."""
    start = places.get(parts[0])
    at = start
    for v in parts:
        if at is None or places.get(v) != at:
            return None
        at = at._replace(first=at.first + v.shape[1])
    return start
