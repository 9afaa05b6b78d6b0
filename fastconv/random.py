"""The one random generator behind ``rand``, initialisation and dropout; its state goes into checkpoints.

A thread may have a generator of its own instead (:func:`drawing_from`), as those of a data loader do: then
what it draws depends on the batch alone, and no other thread sees that it drew.
"""

from __future__ import annotations

import contextlib
import operator
import os
import secrets
import threading
from collections.abc import Generator as Yields
from typing import Any

import numpy as np

from .checks import check

_lock = threading.Lock()
_generator = np.random.default_rng()


class _Local(threading.local):
    generator: np.random.Generator | None = None  # that of this thread, instead of the process's


_local = _Local()

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
    seed = _seed("manual_seed", seed)
    with _lock:
        _generator = np.random.default_rng(seed)


def _seed(name: str, seed: Any) -> int:
    try:
        seed = operator.index(seed)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: seed must be an int, got {seed!r:.60}") from None
    if seed < 0:
        raise ValueError(f"{name}: seed must be at least 0, got {seed}")
    return seed


class Generator:
    """A source of random numbers beside the one that :func:`manual_seed` seeds.

    ``rand`` and its like, samplers, ``data.random_split`` and ``data.DataLoader`` take one.

    Parameters
    ----------
    device : str
        ``"cpu"``, because random numbers are made on the host.

    Examples
    --------
    >>> from fastconv import data
    >>> [list(part.indices) for part in data.random_split(range(4), [3, 1], fc.Generator().manual_seed(0))]
    [[0, 2, 3], [1]]
    """

    def __init__(self, device: str = "cpu") -> None:
        check(str(device) == "cpu", "Generator", f"device must be 'cpu', got {device!r}")
        self.device = "cpu"
        self.manual_seed(67280421310721)  # PyTorch's: a generator that nobody seeds repeats its numbers

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an int of at least 0; returns the generator itself."""
        self._initial = _seed("Generator.manual_seed", seed)
        self._numbers = np.random.default_rng(self._initial)
        return self

    def initial_seed(self) -> int:
        """The seed it started from."""
        return self._initial

    def seed(self) -> int:
        """Start again from a seed that differs in each call; returns it."""
        self.manual_seed(secrets.randbits(63))
        return self._initial

    def next_seed(self) -> int:
        """A new 63-bit seed, drawn from its numbers."""
        return int(self._numbers.integers(2**63))

    def draw(self, distribution: str, *args: Any) -> np.ndarray[Any, Any]:
        """Numbers from a method of NumPy's generator, e.g. ``draw("random", shape)``."""
        return getattr(self._numbers, distribution)(*args)

    def get_state(self) -> dict[str, Any]:
        """Its state as plain numbers."""
        return dict(self._numbers.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state taken by :meth:`get_state`."""
        self._numbers.bit_generator.state = state

    def __repr__(self) -> str:
        return f"Generator(seed={self._initial})"


def check_generator(name: str, generator: Any) -> None:
    """Refuse what is neither None nor a :class:`Generator`; ``name`` is the function that was given it."""
    check(
        generator is None or isinstance(generator, Generator),
        name,
        f"generator must be a fastconv.Generator, got {type(generator).__name__}; "
        "fastconv.Generator().manual_seed(0) makes one",
        TypeError,
    )


@contextlib.contextmanager
def drawing_from(generator: np.random.Generator) -> Yields[None, None, None]:
    """Inside the ``with`` block this thread draws from ``generator``."""
    before, _local.generator = _local.generator, generator
    try:
        yield
    finally:
        _local.generator = before


def draw(distribution: str, *args: Any, generator: Generator | None = None) -> np.ndarray[Any, Any]:
    """Numbers from a method of the generator, e.g. ``draw("standard_normal", shape, dtype)``."""
    if generator is not None:
        return generator.draw(distribution, *args)
    if _local.generator is not None:
        return getattr(_local.generator, distribution)(*args)
    with _lock:
        return getattr(_generator, distribution)(*args)


def drawn(name: str, generator: Generator | None, distribution: str, *args: Any) -> np.ndarray[Any, Any]:
    """:func:`draw` from ``generator``, which the function ``name`` was given, if it is not None."""
    check_generator(name, generator)
    if generator is None:
        return draw(distribution, *args)
    return getattr(numbers(generator), distribution)(*args)


def next_seed() -> int:
    """A new 63-bit seed, e.g. for one dropout mask."""
    return int(draw("integers", 2**63))


def numbers(generator: Generator | None = None) -> np.random.Generator:
    """Where a transform or a sampler takes its numbers from.

    In a thread of a data loader, the generator of the batch. Else a new one, whose seed comes from
    ``generator``, or from the one that :func:`manual_seed` seeds.
    """
    if _local.generator is not None:
        return _local.generator
    return np.random.default_rng(next_seed() if generator is None else generator.next_seed())


def get_state() -> dict[str, Any]:
    """The generator's state as plain numbers, for checkpoints."""
    with _lock:
        return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Continue from a state taken by :func:`get_state`."""
    with _lock:
        _generator.bit_generator.state = state
