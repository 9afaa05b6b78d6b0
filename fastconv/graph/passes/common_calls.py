"""Calls that compute the same from the same arguments run once (common subexpressions).

Two results of the net stay two arrays, because the caller may change one of them in place. So do arrays of
which a result may be a view.
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..memory import VIEWS, WRITTEN_LATER
from ..program import Call, Program, Value, replaced, values_in


def common_calls(program: Program, engine: Any, constants: Constants) -> Program:
    """The program without calls that repeat an earlier one."""
    results = set(values_in(program.output))
    for call in reversed(program.calls):
        if call.op in VIEWS and call.result in results:
            results.add(call.args[0])
    first: dict[Any, Call] = {}
    same: dict[Value, Value] = {}
    calls: list[Call] = []
    for call in program.calls:
        call = Call(call.op, replaced(call.args, lambda v: same.get(v, v)), call.result)
        if call.op in WRITTEN_LATER:
            calls.append(call)
            continue
        earlier = first.setdefault((call.op, _key(call.args)), call)
        mine, theirs = list(values_in(call.result)), list(values_in(earlier.result))
        if earlier is call or any(a in results and b in results for a, b in zip(mine, theirs)):
            calls.append(call)
            continue
        same.update(zip(mine, theirs))
        results.update(b for a, b in zip(mine, theirs) if a in results)
    return Program(program.inputs, calls, replaced(program.output, lambda v: same.get(v, v)))


def _key(argument: Any) -> Any:
    """An argument as part of a key; 1, 1.0 and True are different, and so are 0.0 and -0.0."""
    if type(argument) in (tuple, list):
        return type(argument), tuple(map(_key, argument))
    if isinstance(argument, slice):
        return slice, _key((argument.start, argument.stop, argument.step))
    if isinstance(argument, (int, float)):
        return type(argument), repr(argument)
    return argument
