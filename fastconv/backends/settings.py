"""Settings that users change and engines read: threads per kernel, and how exact float32 has to be."""

from __future__ import annotations

import functools
import math
import operator
import os
import warnings
from pathlib import Path
from typing import Any

from . import processors

PRECISIONS = ("highest", "high", "medium")


def environment(name: str) -> str | None:
    """The value of an environment variable; None where it is not set or empty."""
    return os.environ.get(name, "").strip() or None


#: Variables as they were when fastconv was imported. Each is checked when it is first used, so ``import
#: fastconv`` never fails because of one, and the error names it.
ENVIRONMENT: dict[str, str | None] = {
    name: environment(name)
    for name in (
        "FASTCONV_BACKEND",
        "FASTCONV_NUM_THREADS",
        "FASTCONV_CONV_ALGORITHM",
        "FASTCONV_CUDA_POISON",
        "FASTCONV_CUDA_SYNC",
        "FASTCONV_TUNE",
    )
}


def one_of(choices: tuple[str, ...], value: Any, name: str) -> str:
    """``value`` if it is one of ``choices``, else a ValueError.

    ``name`` is the function or the variable that got it.
    """
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def switch(name: str, default: bool) -> bool:
    """Whether an environment variable says ``1``, not ``0``; ``default`` where it is not set."""
    text = ENVIRONMENT[name]
    return default if text is None else one_of(("0", "1"), text, name) == "1"


def container_cpus(root: Path = Path("/sys/fs/cgroup")) -> float:
    """How many processors' time a container may use (``docker run --cpus 2``); infinity without a limit.

    ``root`` is the folder of the control groups, of version 2 or version 1.
    """
    for quota, period in (("cpu.max", "cpu.max"), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            allowed, per = (
                int((root / quota).read_text().split()[0]),
                int((root / period).read_text().split()[-1]),
            )
            return allowed / per if allowed > 0 else math.inf
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such file, or it says "max"
            continue
    return math.inf


def allowed_cpus() -> set[int]:
    """The processors that this process may run on. A launcher may have bound it to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


@functools.cache
def available_cpus() -> int:
    """Processors that this process may use: its affinity (at the first call), its container's limit."""
    count = len(allowed_cpus())
    return max(1, min(count, math.ceil(min(container_cpus(), count))))


@functools.cache
def performance_cpus() -> frozenset[int]:
    """The processors that kernels use by default: those of :func:`allowed_cpus` that hold no other up."""
    return frozenset(processors.performance_cpus(allowed_cpus()))


@functools.cache
def l2_bytes() -> int:
    """Bytes of a core's second-level cache, for blocks that should stay in it."""
    return processors.l2_bytes(performance_cpus())


#: What ``set_num_threads`` chose for the process; None where it was not called.
chosen_threads: int | None = None
_precision = "high"


def _numba_threads() -> int:
    """What ``NUMBA_NUM_THREADS`` allows (joblib sets it in its workers).

    The cpu engine calls :func:`limit_threads` with Numba's own number when it is loaded.
    """
    text = environment("NUMBA_NUM_THREADS") or ""
    return int(text) if text.isdecimal() and int(text) else available_cpus()


_most = min(available_cpus(), _numba_threads())
#: Threads where the user has chosen none; None: one for each performance core.
_share: int | None = None


def limit_threads(most: int) -> None:
    """Never use more than ``most`` threads, the size of Numba's pool."""
    global _most
    _most = min(available_cpus(), most)


def share_processors(threads: int) -> None:
    """Use ``threads`` by default, because other ranks of a distributed run use the other processors."""
    global _share
    _share = threads


def get_num_threads() -> int:
    """Threads per kernel.

    That is what ``set_num_threads`` was given, else ``FASTCONV_NUM_THREADS``, else every available processor,
    which the ranks of a distributed run on one host share. Efficiency cores do not count, because threads get
    equal shares of the work, and the fast ones would wait.
    """
    if chosen_threads is not None:
        return min(chosen_threads, _most)
    text = ENVIRONMENT["FASTCONV_NUM_THREADS"]
    if text is not None:
        return min(_from_environment(text), _most)
    return min(len(performance_cpus()) if _share is None else _share, _most)


@functools.cache  # every kernel call asks
def _from_environment(text: str) -> int:
    return check_threads(text, "FASTCONV_NUM_THREADS")


def set_num_threads(n: int) -> None:
    """Use ``n`` threads per kernel, in the whole process.

    Parameters
    ----------
    n : int
        1 or more. A number above that of the processors (or above what Numba may use) is reduced to it, with
        a warning.

    Raises
    ------
    ValueError
        ``n`` is not a whole number of at least 1.
    """
    global chosen_threads
    chosen_threads = check_threads(n, "set_num_threads")


def check_threads(n: Any, name: str) -> int:
    """``n`` as a number of threads, reduced to what there is (with a warning), or a ValueError.

    ``name`` is the function or the variable that got it.
    """
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
    """Say how exact float32 convolutions have to be, in the whole process.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        ``"highest"``: every algorithm is as accurate as direct summation. ``"high"`` (the default):
        algorithms with a larger, bounded rounding error may run. On the CPU these are Winograd F(4x4, 3x3),
        F(4x6, 3x3), F(5x5, 4x4), F(4x4, 5x5) and smaller ones. ``"medium"`` allows shorter
        formats where an engine has them; the CPU treats it as ``"high"``. The GPU multiplies float32 numbers
        in the first mode, numbers rounded to TF32 (10 bits of mantissa) in the second and to bfloat16
        (7 bits) in the third; sums are float32 in every mode.

    Raises
    ------
    ValueError
        There is no such mode.

    Notes
    -----
    Errors on the CPU, relative to the largest value of the result and against float64, are below 1e-5 for
    ``"highest"`` (direct, im2col and Winograd F(2x2, 3x3); most layers are near 1e-6) and below 5e-5 for the
    other forms of Winograd: near 2e-6 with six points, as F(4x4, 3x3), and near 1e-5 with eight.
    ``tests/ops/test_precision.py`` checks these bounds on random layers of real sizes.
    """
    global _precision
    _precision = one_of(PRECISIONS, precision, "set_float32_precision")
