"""A program while a pass changes it."""

from __future__ import annotations

from ..program import Call, Program, Value, values_in


def needed(program: Program) -> Program:
    """The program without calls on whose results its output does not depend."""
    read: set[Value] = set(values_in(program.output))
    calls = []
    for call in reversed(program.calls):
        if read.intersection(values_in(call.result)):
            calls.append(call)
            read.update(call.inputs)
    return Program(program.inputs, calls[::-1], program.output)


class Rewriting:
    """The calls of a program while a pass changes them.

    Attributes
    ----------
    producers, readers : dict
        Of each value the call that computes it, and how often it is read.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.calls: list[Call | None] = list(program.calls)
        self.readers = {v: len(users) for v, users in program.users().items()}
        self.producers: dict[Value, Call] = program.producers()
        self._places = {id(call): i for i, call in enumerate(program.calls)}

    def only_reader(self, value: Value) -> Call | None:
        """The call that computes ``value``, if the value is read once."""
        return self.producers.get(value) if self.readers.get(value) == 1 else None

    def merge(self, before: Call, call: Call, merged: Call) -> None:
        """Put ``merged`` in the place of ``call`` and leave out ``before``."""
        self.drop(before)
        self.replace(call, merged)

    def drop(self, call: Call) -> None:
        """Leave out ``call``."""
        self.calls[self._places[id(call)]] = None

    def replace(self, call: Call, other: Call) -> None:
        """Put ``other``, which has a result of its own or that of ``call``, in the place of ``call``."""
        place = self._places[id(call)]
        self.calls[place] = other
        self._places[id(other)] = place
        self.producers.update(dict.fromkeys(values_in(other.result), other))

    def done(self) -> Program:
        """The program with the calls that are left and that something reads."""
        calls = [call for call in self.calls if call is not None]
        return needed(Program(self._program.inputs, calls, self._program.output))
