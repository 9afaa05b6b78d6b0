"""Calls that no result needs are left out."""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Program, Value, values_in


def dead_calls(program: Program, engine: Any, constants: Constants) -> Program:
    """The program without calls on whose results its output does not depend."""
    needed: set[Value] = set(values_in(program.output))
    calls = []
    for call in reversed(program.calls):
        if needed.intersection(values_in(call.result)):
            calls.append(call)
            needed.update(call.inputs)
    return Program(program.inputs, calls[::-1], program.output)
