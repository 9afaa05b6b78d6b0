"""What a user sees of compilation: a line that says why nothing happens, and an answer to Ctrl-C."""

from __future__ import annotations

import _thread
import contextlib
import functools
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from time import perf_counter, sleep

PATIENCE = 1.0  # seconds of compilation that need no word

#: Called when a kernel begins to compile and after Ctrl-C meanwhile; may raise to end it. For a signal
#: handler that does not raise itself, as that of ``train.fit``: it waits for the end of a step, and compiling
#: may take longer than many.
check: Callable[[], None] | None = None

shown = True  # whether anything is said
_seconds, _count, _depth, _said = 0.0, 0, 0, False


@contextlib.contextmanager
def silent():
    """Say nothing inside: the caller shows what goes on."""
    global shown
    before, shown = shown, False
    try:
        yield
    finally:
        shown = before


def watched(compile: Callable, text: Callable[[], str]) -> Callable:
    """``compile``, saying ``text()`` on stderr where it takes long in all, and interruptible.

    On a terminal the line stands there while a kernel compiles, with a count, and goes again; elsewhere it is
    written once.
    """

    @functools.wraps(compile)
    def call(*args):
        global _seconds, _count, _depth
        if _depth:  # what a kernel calls, compiled with it
            return compile(*args)
        start, _depth = perf_counter(), 1
        erase = _say(text)
        try:
            with _interruptible():
                return compile(*args)
        finally:
            _depth = 0
            _seconds += perf_counter() - start
            _count += 1
            erase()

    return call


def _say(text) -> Callable[[], None]:
    """Write the line where it is time to; returns what takes it away again."""
    global _said
    screen = sys.stderr
    if shown and screen is not None and _seconds > PATIENCE:
        with contextlib.suppress(OSError, ValueError):  # closed
            if screen.isatty():
                width = shutil.get_terminal_size().columns - 1
                line = f"fastconv: {text()}: {_count} done"[:width]
                screen.write(f"\r{line:{width}}")  # over a progress bar that stands there; it comes again
                screen.flush()
                return functools.partial(_erase, screen, width)
            if not _said:
                _said = True
                bars = sys.modules.get("tqdm")  # a bar without an end of line may stand there
                write = bars.tqdm.write if bars else print
                write(f"fastconv: {text()}", file=screen)
                screen.flush()
    return lambda: None


def _erase(screen, width):
    with contextlib.suppress(OSError, ValueError):
        screen.write(f"\r{'':{width}}\r")
        screen.flush()


@contextlib.contextmanager
def _interruptible():
    """Ctrl-C ends the block, with whatever its handler raises.

    An exception raised in a function that C calls (LLVM at the end of its long work, a weak reference) is
    printed and lost. So it is raised again and again, from :class:`_Interrupts`, until the block has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if check is not None:
        check()
    old = signal.getsignal(signal.SIGINT)
    if not callable(old):  # ignored, or not Python's
        yield
        return
    interrupts = _Interrupts(old)
    signal.signal(signal.SIGINT, interrupts.handle)
    try:
        try:
            yield
        finally:
            interrupts.over = True
    except BaseException:
        if not interrupts.raised:
            raise
    finally:
        interrupts.end()
        signal.signal(signal.SIGINT, old)
    if interrupts.raised:
        first = interrupts.raised[0]
        raise type(first)(*first.args) from None  # without the compiler's hundred lines


class _Interrupts:
    """A handler of Ctrl-C that raises what ``old`` raises until it is ``over``."""

    def __init__(self, old):
        self.old, self.over, self.raised = old, False, []
        self.turn, self.hook = threading.Lock(), None

    def handle(self, number, frame):
        if self.raised:
            if not self.over:
                self._raise(type(self.raised[0])(*self.raised[0].args))
            return
        try:
            self.old(number, frame)
            if check is not None:
                check()
        except BaseException as e:
            self.hook, sys.unraisablehook = sys.unraisablehook, self._lost
            _thread.start_new_thread(self._repeat, ())
            self._raise(e)

    def _raise(self, e):
        self.raised.append(e)
        raise e

    def _lost(self, what):
        if not any(e is what.exc_value for e in self.raised):
            self.hook(what)

    def _repeat(self):
        while True:
            sleep(0.1)
            with self.turn:
                if self.over:
                    return
                _thread.interrupt_main()

    def end(self):
        """Nothing is raised from here on."""
        self.over = True
        with self.turn:  # no repetition is on its way
            pass
        if self.hook is not None:
            sys.unraisablehook = self.hook
