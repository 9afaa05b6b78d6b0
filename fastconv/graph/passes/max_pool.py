"""Max pooling whose positions nothing reads computes the maxima alone, where the engine has such an op."""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program


def max_pool(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with ``max_pool_values`` in the place of each such call."""
    if not hasattr(engine, "max_pool_values"):
        return program
    users, calls = program.users(), []
    for call in program.calls:
        if call.op in ("max_pool_fwd", "adaptive_max_pool_fwd") and not users.get(call.result[1]):
            call = Call("max_pool_values", call.args, call.result[0])
        calls.append(call)
    return Program(program.inputs, calls, program.output)
