"""Work of the host between the kernels, such as transfers over MPI.

``local.work`` is a function that this thread calls between two launches, and after each op of a backward
pass. A transfer over MPI only moves while a function of MPI runs, so a transfer that was started during a
backward pass needs such calls until it is complete.

:func:`call` calls a function that must run in its place among the ops, also in each replay of a recorded
step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Local(threading.local):
    """What each thread has for itself; ``work`` is the function, or None."""

    work: Callable[[], None] | None = None


local = Local()


def call(engine: Any, function: Callable[..., None], *arrays: Any) -> None:
    """``function(True, *arrays)``; ``function(False, *arrays)`` while ``engine`` records a step.

    See ``host_call`` of the contract, which an engine without recordings does not have.
    """
    op = getattr(engine, "host_call", None)
    if op is None:
        function(True, *arrays)
    else:
        op(function, *arrays)
