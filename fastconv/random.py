"""The one random generator behind ``rand``, initialisation and dropout; its state goes into checkpoints."""

from __future__ import annotations

import operator
import os
import threading
from typing import Any

import numpy as np

_lock = threading.Lock()
_generator = np.random.default_rng()

# No other thread may draw while this process forks, because the child would wait for its lock for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def manual_seed(seed: int) -> None:
    """Seed every random number that fastconv draws from now on (data loaders have a seed of their own).

    Raises
    ------
    TypeError, ValueError
        If ``seed`` is no int or is negative.

    Examples
    --------
    >>> fc.manual_seed(0); a = fc.rand(3)
    >>> fc.manual_seed(0); bool((fc.rand(3) == a).numpy().all())
    True
    """
    global _generator
    try:
        seed = operator.index(seed)
    except (TypeError, ValueError):
        raise TypeError(f"manual_seed: seed must be an int, got {seed!r:.60}") from None
    if seed < 0:
        raise ValueError(f"manual_seed: seed must be at least 0, got {seed}")
    with _lock:
        _generator = np.random.default_rng(seed)


def draw(distribution: str, *args: Any) -> np.ndarray[Any, Any]:
    """Numbers from a method of the generator, e.g. ``draw("standard_normal", shape, dtype)``."""
    with _lock:
        return getattr(_generator, distribution)(*args)


def next_seed() -> int:
    """A new 63-bit seed, e.g. for one dropout mask."""
    with _lock:
        return int(_generator.integers(2**63))


def get_state() -> dict[str, Any]:
    """The generator's state as plain numbers, for checkpoints."""
    with _lock:
        return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Continue from a state taken by :func:`get_state`."""
    with _lock:
        _generator.bit_generator.state = state
