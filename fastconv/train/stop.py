"""When a run stops: Ctrl-C, the time limit, or the callback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from ..backends import compiling


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that does not wait for the end of the step."""


class Stop:
    """Why to stop after the current step.

    Ctrl-C is noted only, so that no step is cut in half; a second Ctrl-C raises KeyboardInterrupt. While
    kernels compile, which may take much longer than a step, the first one raises :class:`Interrupted` at
    once.

    Parameters
    ----------
    seconds : float or None
        The time limit.
    """

    def __init__(self, seconds: float | None):
        self.deadline = None if seconds is None else perf_counter() + seconds
        self.interrupted = self.by_callback = False
        self.before: tuple[Any, Callable[[], None] | None] | None = None

    @property
    def reason(self) -> str | None:
        """``"interrupted"``, ``"callback"``, ``"time limit"``, or None to go on."""
        if self.interrupted:
            return "interrupted"
        if self.by_callback:
            return "callback"
        return "time limit" if self.deadline is not None and perf_counter() > self.deadline else None

    def unless_interrupted(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The batches of an evaluation, which may take long: Ctrl-C raises at the next batch."""
        for batch in loader:
            self._check()
            yield batch

    def _check(self) -> None:
        if self.interrupted:
            raise Interrupted

    def _note(self, *args: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __enter__(self) -> Stop:
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(handler):
            self.before = signal.signal(signal.SIGINT, self._note), compiling.check
            compiling.check = self._check
        return self

    def __exit__(self, *exc: object) -> None:
        if self.before is not None:
            handler, compiling.check = self.before
            signal.signal(signal.SIGINT, handler)
