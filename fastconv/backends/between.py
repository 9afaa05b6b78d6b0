"""Work beside the kernels: a function that this thread calls between two launches, and after each op of a
backward pass.

A transfer over MPI only moves while a function of MPI runs, so a transfer that was started during a backward
pass needs such calls until it is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Local(threading.local):
    """What each thread has for itself; ``work`` is the function, or None."""

    work: Callable[[], None] | None = None


local = Local()
