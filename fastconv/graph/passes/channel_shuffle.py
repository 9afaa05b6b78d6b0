"""Two arrays joined, and their channels shuffled in two groups, are one op, where the engine has it.

::

    a, b  ->  concatenate   N x 2C          ->  interleave(a, b)
              reshape       N x 2 x C
              permute       N x C x 2
              reshape       N x 2C
"""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Call, Program
from .rewriting import Rewriting


def channel_shuffle(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with ``interleave`` in the place of each such run of calls."""
    if not hasattr(engine, "interleave"):
        return program
    work = Rewriting(program)
    for call in program.calls:
        chain = _chain(work, call)
        if chain is None:
            continue
        joined = chain[0]
        work.merge(chain[-2], call, Call("interleave", joined.args[0], call.result))
        for other in chain[:-2]:
            work.drop(other)
    return work.done()


def _chain(work: Rewriting, call: Call) -> list[Call] | None:
    """The four calls that end with ``call``, if they are such a run."""
    calls = [call]
    for op in ("permute", "reshape", "concatenate"):
        before = work.only_reader(calls[0].args[0]) if calls[0].op in ("reshape", "permute") else None
        if before is None or before.op != op:
            return None
        calls.insert(0, before)
    joined, split, moved, _ = calls
    parts, axis = joined.args
    if axis != 1 or len(parts) != 2 or parts[0].shape != parts[1].shape or parts[0].dtype != parts[1].dtype:
        return None
    n, c, *size = parts[0].shape
    order = (0, 2, 1, *range(3, len(size) + 3))
    alike = split.result.shape == (n, 2, c, *size) and tuple(moved.args[1]) == order
    return calls if alike and call.result.shape == (n, 2 * c, *size) else None
