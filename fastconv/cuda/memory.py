"""How much memory of the GPU is used."""

from __future__ import annotations

from typing import Any

from .. import backends
from . import devices


def _memory(name: str, device: Any = None) -> Any:
    devices.check_current(name, device)
    return backends.load("cuda").memory


def memory_stats(device: Any = None) -> dict[str, int]:
    """Blocks taken from the pool, blocks that had to be allocated, and bytes free, in use and at the peak.

    Examples
    --------
    >>> sorted(fc.cuda.memory_stats())
    ['free_bytes', 'fresh', 'peak_bytes', 'taken', 'used_bytes']
    """
    return _memory("memory_stats", device).statistics()


def empty_cache() -> None:
    """Give the memory that the pool keeps for reuse back to the driver, for other programs to use.

    Examples
    --------
    >>> fc.cuda.empty_cache()
    >>> fc.cuda.memory_stats()["free_bytes"]
    0
    """
    _memory("empty_cache").trim()


def memory_allocated(device: Any = None) -> int:
    """Bytes of the GPU's memory that tensors occupy.

    Blocks of memory have certain sizes, so this is up to 12.5 % more than the sum of ``nbytes`` of large
    tensors.

    Parameters
    ----------
    device : int or str, optional
        The current device.

    Raises
    ------
    ValueError
        If ``device`` is not the current device, because a process computes on one.
    RuntimeError
        If there is no GPU.

    Examples
    --------
    >>> before = fc.cuda.memory_allocated()
    >>> x = fc.zeros(1024, device="cuda")
    >>> fc.cuda.memory_allocated() - before
    4096
    """
    return _memory("memory_allocated", device).in_use()["allocated"]


def max_memory_allocated(device: Any = None) -> int:
    """The most that :func:`memory_allocated` has been since the start, or since
    :func:`reset_peak_memory_stats`.

    A recorded training step has memory of its own. Its peak is added to that of all other tensors, so the
    sum may be more than what was in use at one time.

    Examples
    --------
    >>> fc.cuda.max_memory_allocated() >= fc.cuda.memory_allocated()
    True
    """
    return _memory("max_memory_allocated", device).in_use()["peak"]


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let :func:`max_memory_allocated` count from now on.

    Examples
    --------
    >>> fc.cuda.reset_peak_memory_stats()
    >>> fc.cuda.max_memory_allocated() == fc.cuda.memory_allocated()
    True
    """
    _memory("reset_peak_memory_stats", device).reset_peak()


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the driver: those of tensors, and those that the pool keeps for reuse.

    Examples
    --------
    >>> fc.cuda.memory_reserved() >= fc.cuda.memory_allocated()
    True
    """
    return _memory("memory_reserved", device).in_use()["reserved"]
