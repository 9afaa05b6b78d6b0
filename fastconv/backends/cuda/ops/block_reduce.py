"""Reductions inside a block of threads: a team of threads per row or channel.

::

    a block of 256 threads:   team 0 | team 1 | ...        8 threads each for short rows, 256 for long ones
    lane 0 1 2 .. 7           each has a value of its own
         |/  |/ ...           a tree in shared memory halves their number until lane 0 has the result

The order of the operations depends on the size of the team alone, so results repeat to the bit.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from fastconv.backends.common.pointwise import BINARY_FORMULAS

from ..runtime import layout
from ..runtime.array import DeviceArray
from ..runtime.launch import THREADS, body, cuda


class OptionalArray(NamedTuple):
    """An array that may be missing, as a kernel takes it: some array in any case, and whether it is meant."""

    array: DeviceArray
    given: bool


def optional(array: DeviceArray | None, stand_in: DeviceArray) -> OptionalArray:
    """``array`` as a kernel takes it, or ``stand_in``, which is not read, if it is None."""
    return OptionalArray(stand_in, False) if array is None else OptionalArray(layout.dense(array), True)


@functools.cache
def team_reducer(name: str) -> Any:
    """The device function ``(shared, value, team) -> result`` that reduces each team's values by op ``name``.

    All threads of the block must call it; ``shared`` has room for a value of each.
    """
    op = body(BINARY_FORMULAS[name])

    @body
    def reduce_team(shared, value, team):
        t = cuda.threadIdx.x
        lane = t % team
        shared[t] = value
        cuda.syncthreads()
        half = team // 2
        while half > 0:
            if lane < half:
                shared[t] = op(shared[t], shared[t + half])
            cuda.syncthreads()
            half = half // 2
        result = shared[t - lane]
        cuda.syncthreads()
        return result

    return reduce_team


def teams(rows: int, n: int) -> tuple[int, int]:
    """Blocks, and threads per team, for ``rows`` rows of ``n`` elements."""
    team = 1
    while team < THREADS and 4 * team < n:
        team *= 2
    return -(-rows // (THREADS // team)), team
