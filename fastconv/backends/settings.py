"""Settings the engines read and users set: how many threads run a kernel."""

from __future__ import annotations

import operator
import os

_threads: int | None = None


def available_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_num_threads() -> int:
    """Threads per kernel: ``set_num_threads``, else ``FASTCONV_NUM_THREADS``, else every available processor."""
    if _threads is not None:
        return _threads
    text = os.environ.get("FASTCONV_NUM_THREADS")
    return check_threads(text, "FASTCONV_NUM_THREADS") if text else available_cpus()


def set_num_threads(n: int) -> None:
    """Use ``n`` threads per kernel (1 to the number of available processors)."""
    global _threads
    _threads = check_threads(n, "set_num_threads")


def check_threads(n, name: str) -> int:
    """``n`` as a thread count, or a ValueError that tells the range."""
    try:
        value = int(n) if isinstance(n, str) else operator.index(n)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a number of threads, got {n!r}") from None
    if not 1 <= value <= available_cpus():
        raise ValueError(f"{name}: expected 1 to {available_cpus()} threads (the available processors), got {n}")
    return value
