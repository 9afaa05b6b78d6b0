"""When a run stops: Ctrl-C, SIGTERM, the time limit, or the callback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from ..backends import compiling
from ..data.distributed import divides
from .ranks import Ranks

AGAIN = 1.0  # seconds after which another Ctrl-C is a second one, with several ranks


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that does not wait for the end of the step."""


class Stop:
    """Why to stop after the current step.

    Ctrl-C is noted only, so that no step is cut in half; a second Ctrl-C raises KeyboardInterrupt. While
    kernels compile, which may take much longer than a step, the first one raises :class:`Interrupted` at
    once. SIGTERM, which a scheduler sends before it ends a job, is noted too, unless the program handles it
    itself.

    Parameters
    ----------
    seconds : float or None
        The time limit.
    ranks : Ranks
        All ranks stop after the same step. So with several ranks nothing is cut off while kernels compile.

    Attributes
    ----------
    reason : str or None
        ``"terminated"``, ``"interrupted"``, ``"time limit"``, ``"callback"``, or None to go on; as of the
        last :meth:`settle`.
    """

    def __init__(self, seconds: float | None, ranks: Ranks):
        self.deadline = None if seconds is None else perf_counter() + seconds
        self.ranks = ranks
        self.interrupted = self.terminated = self.by_callback = False
        self.reason: str | None = None
        self._noted = 0.0  # when Ctrl-C came
        self._before: list[tuple[signal.Signals, Any]] = []
        self._check_before: Callable[[], None] | None = None

    def settle(self) -> str | None:
        """The reason to stop, on which all ranks agree; they call this at the same places."""
        self.reason = self.ranks.agree(self.own())
        return self.reason

    def own(self) -> str | None:
        """The reason that this rank has."""
        if self.terminated:
            return "terminated"
        if self.interrupted:
            return "interrupted"
        if self.deadline is not None and perf_counter() > self.deadline:
            return "time limit"
        return "callback" if self.by_callback else None

    def unless_interrupted(self, loader: Iterable[Any]) -> Iterator[Any]:
        """This rank's batches of an evaluation, which may take long: Ctrl-C raises at the next batch.

        A rank gets each ``size``-th batch, or all if the loader divides them already. The ranks ask each
        other before each batch, so all end at once.
        """
        size, rank = self.ranks.size, self.ranks.rank
        if size == 1:
            for batch in loader:
                self._check()
                yield batch
            return
        turn = size if divides(loader) is None else 1
        rounds = -(-max(self.ranks.all(len(loader))) // turn)  # type: ignore[arg-type]
        batches = iter(loader)
        for _ in range(rounds):
            if self.ranks.agree(self._signal()):
                raise Interrupted
            batch = [next(batches, None) for _ in range(turn)][rank % turn]
            if batch is not None:
                yield batch

    def _signal(self) -> str | None:
        return self.own() if self.interrupted or self.terminated else None

    def _check(self) -> None:
        if self.ranks.size == 1 and (self.interrupted or self.terminated):
            raise Interrupted

    def _note(self, *args: Any) -> None:
        # mpiexec passes Ctrl-C on to ranks that may have got it from the terminal too
        if self.interrupted and (self.ranks.size == 1 or perf_counter() - self._noted > AGAIN):
            raise KeyboardInterrupt
        if not self.interrupted:
            self.interrupted, self._noted = True, perf_counter()

    def _note_end(self, *args: Any) -> None:
        self.terminated = True

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            if callable(signal.getsignal(signal.SIGINT)):
                self._before.append((signal.SIGINT, signal.signal(signal.SIGINT, self._note)))
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                self._before.append((signal.SIGTERM, signal.signal(signal.SIGTERM, self._note_end)))
        if self._before:
            self._check_before, compiling.check = compiling.check, self._check
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before:
            compiling.check = self._check_before
        for number, handler in self._before:
            signal.signal(number, handler)
