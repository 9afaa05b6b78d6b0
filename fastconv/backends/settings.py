"""Settings the engines read and users set: threads per kernel, and how exact float32 has to be."""

from __future__ import annotations

import functools
import operator
import os

PRECISIONS = ("highest", "high", "medium")

_threads: int | None = None
_environment = os.environ.get("FASTCONV_NUM_THREADS")  # as fastconv was imported: every kernel asks
_precision = "high"


@functools.cache  # every kernel call asks
def available_cpus() -> int:
    """Processors this process may run on, as it started."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_num_threads() -> int:
    """Threads per kernel: ``set_num_threads``, else ``FASTCONV_NUM_THREADS``, else every available processor."""
    if _threads is not None:
        return _threads
    return check_threads(_environment, "FASTCONV_NUM_THREADS") if _environment else available_cpus()


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


def get_float32_precision() -> str:
    """The precision in force: ``"highest"``, ``"high"`` (default) or ``"medium"``."""
    return _precision


def set_float32_precision(precision: str) -> None:
    """Say how exact float32 convolutions have to be.

    ``"highest"``: every algorithm is as accurate as direct summation. ``"high"``: algorithms with a larger, bounded
    rounding error may run (on the CPU Winograd F(4x4, 3x3), F(3x3, 4x4) and F(2x2, 5x5)). ``"medium"`` allows shorter
    formats where an engine has them; the CPU treats it as ``"high"``. On the GPU the three modes multiply float32 numbers,
    numbers rounded to TF32 (10 bits of mantissa), and to bfloat16 (7 bits); sums are float32 in every mode.

    On the CPU errors, relative to the largest value of the result and against float64, stay below 1e-5 for ``"highest"``
    (direct, im2col and Winograd F(2x2, 3x3); most layers are near 1e-6) and below 5e-5 for the other forms of Winograd,
    which are near 1e-5. ``tests/test_precision.py`` holds these bounds on random layers of real sizes.
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(f"set_float32_precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    _precision = precision
