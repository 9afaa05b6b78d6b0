"""Settings the engines read and users set: threads per kernel, and how exact float32 has to be."""

from __future__ import annotations

import functools
import math
import operator
import os
import warnings
from pathlib import Path

PRECISIONS = ("highest", "high", "medium")


def environment(name: str) -> str | None:
    """The value of an environment variable, None where it is not set or empty.

    Variables are read once, when fastconv is imported, and checked when they are first used: ``import
    fastconv`` never fails because of one, and the error names it.
    """
    return os.environ.get(name, "").strip() or None


def one_of(choices: tuple[str, ...], value, name: str):
    """``value``, or a ValueError where it is not one of ``choices``; ``name`` is the function or variable it
    was given to."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors' worth of time that a container may use (``docker run --cpus 2``); infinity without a
    limit."""
    # cgroup 2, cgroup 1
    for quota, period in (("cpu.max", "cpu.max"), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            allowed, per = (
                int((root / quota).read_text().split()[0]),
                int((root / period).read_text().split()[-1]),
            )
            return allowed / per if allowed > 0 else math.inf
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # not there, or "max"
            continue
    return math.inf


@functools.cache
def available_cpus() -> int:
    """Processors this process may use, as it started: its affinity, and the limit of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, math.ceil(min(_quota(), count))))


_threads: int | None = None
_environment = environment("FASTCONV_NUM_THREADS")
_precision = "high"


def _numba_threads() -> int:
    """What ``NUMBA_NUM_THREADS`` allows (joblib sets it in its workers); the cpu engine corrects it when it
    is loaded."""
    text = environment("NUMBA_NUM_THREADS") or ""
    return int(text) if text.isdecimal() and int(text) else available_cpus()


_most = min(available_cpus(), _numba_threads())


def limit_threads(most: int) -> None:
    """Never use more than ``most`` threads: what Numba's pool will have."""
    global _most
    _most = min(available_cpus(), most)


def get_num_threads() -> int:
    """Threads per kernel: ``set_num_threads``, else ``FASTCONV_NUM_THREADS``, else every available
    processor."""
    if _threads is not None:
        return min(_threads, _most)
    return _most if _environment is None else min(_from_environment(_environment), _most)


@functools.cache  # every kernel call asks
def _from_environment(text: str) -> int:
    return check_threads(text, "FASTCONV_NUM_THREADS")


def set_num_threads(n: int) -> None:
    """Use ``n`` threads per kernel; more than there are processors (or than Numba may use) are cut to that,
    with a warning."""
    global _threads
    _threads = check_threads(n, "set_num_threads")


def check_threads(n, name: str) -> int:
    """``n`` as a number of threads, cut to what there is, with a warning; a ValueError where it is no such
    number."""
    try:
        value = int(n) if isinstance(n, str) else operator.index(n)
    except (TypeError, ValueError):
        value = 0
    if value < 1:
        raise ValueError(f"{name}: expected a number of threads, 1 or more, got {n!r}")
    if value > _most:
        why = f"{available_cpus()} processors" if _most == available_cpus() else f"NUMBA_NUM_THREADS={_most}"
        warnings.warn(f"{name}: {value} threads asked for, {_most} used ({why})", stacklevel=3)
    return min(value, _most)


def get_float32_precision() -> str:
    """The precision in force: ``"highest"``, ``"high"`` (default) or ``"medium"``."""
    return _precision


def set_float32_precision(precision: str) -> None:
    """Say how exact float32 convolutions have to be.

    ``"highest"``: every algorithm is as accurate as direct summation. ``"high"``: algorithms with a larger,
    bounded rounding error may run (on the CPU Winograd F(4x4, 3x3), F(3x3, 4x4) and F(2x2, 5x5)).
    ``"medium"`` allows shorter formats where an engine has them; the CPU treats it as ``"high"``. On the GPU
    the three modes multiply float32 numbers, numbers rounded to TF32 (10 bits of mantissa), and to bfloat16
    (7 bits); sums are float32 in every mode.

    On the CPU errors, relative to the largest value of the result and against float64, stay below 1e-5 for
    ``"highest"`` (direct, im2col and Winograd F(2x2, 3x3); most layers are near 1e-6) and below 5e-5 for the
    other forms of Winograd, which are near 1e-5. ``tests/test_precision.py`` holds these bounds on random
    layers of real sizes.
    """
    global _precision
    _precision = one_of(PRECISIONS, precision, "set_float32_precision")
