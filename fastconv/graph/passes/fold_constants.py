"""Calls whose arguments are all constants are computed now."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..constants import Constants
from ..memory import WRITTEN_LATER
from ..program import Call, Program, Value, replaced, values_in


def fold_constants(program: Program, engine: Any, constants: Constants) -> Program:
    """The program without calls that do not depend on its inputs."""
    known: dict[Value, Value] = {}

    def now(v: Value) -> Value:
        return known.get(v, v)

    calls = []
    for call in program.calls:
        args = replaced(call.args, now)
        if call.op in WRITTEN_LATER or any(v.constant is None for v in values_in(args)):
            calls.append(Call(call.op, args, call.result))
            continue
        found = constants.computed(
            call.op, (repr(args), *values_in(args)), partial(_results, engine, call.op, args)
        )
        known.update(zip(values_in(call.result), found, strict=True))
    return Program(program.inputs, calls, replaced(program.output, now))


def _results(engine: Any, op: str, args: Any) -> list[Value]:
    result = getattr(engine, op)(*replaced(args, lambda v: v.constant))
    found = result if isinstance(result, tuple) else (result,)
    return [Value.of(a) for a in found if hasattr(a, "shape")]
