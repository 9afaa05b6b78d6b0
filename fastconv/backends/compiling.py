"""What a user sees of compilation: a line on stderr that explains the wait, and an answer to Ctrl-C."""

from __future__ import annotations

import _thread
import contextlib
import functools
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter, sleep
from types import FrameType
from typing import Any, NoReturn

PATIENCE = 1.0  # seconds of compilation that need no explanation

#: Called before a kernel compiles, and after Ctrl-C during compilation; it may raise to end the compilation.
#: A signal handler that does not raise sets it, because its user would otherwise wait for the compiler:
#: ``train.fit`` finishes the step after Ctrl-C, and one compilation may take longer than many steps.
check: Callable[[], None] | None = None

shown = True  # whether this process shows the line
_silent: ContextVar[bool] = ContextVar("fastconv_compiling_silent", default=False)


@dataclass
class State:
    """What this process has compiled so far.

    Attributes
    ----------
    seconds, count : float, int
        Time that compilation took, and how many kernels were compiled.
    depth : int
        1 while a kernel compiles.
    said : bool
        Whether the line was written to a stream that is no terminal.
    """

    seconds: float = 0.0
    count: int = 0
    depth: int = 0
    said: bool = False


state = State()


@contextlib.contextmanager
def silent() -> Generator[None, None, None]:
    """Write no line inside the block, because the caller shows progress itself."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def watched(compile: Callable[..., Any], text: Callable[[], str]) -> Callable[..., Any]:
    """``compile``, which writes the line ``text()`` to stderr where it takes long, and which Ctrl-C ends.

    A terminal shows the line with a count while a kernel compiles, and removes it afterwards. Any other
    stream gets the line once.
    """

    @functools.wraps(compile)
    def call(*args: Any) -> Any:
        if state.depth:  # a function that a kernel calls is compiled with the kernel
            return compile(*args)
        start, state.depth = perf_counter(), 1
        erase = _say(text)
        try:
            with _interruptible():
                return compile(*args)
        finally:
            state.depth = 0
            state.seconds += perf_counter() - start
            state.count += 1
            erase()

    return call


def _say(text: Callable[[], str]) -> Callable[[], None]:
    """Write the line if compilation has taken long enough; returns a function that removes it."""
    screen = sys.stderr
    if shown and not _silent.get() and screen is not None and state.seconds > PATIENCE:
        with contextlib.suppress(OSError, ValueError):  # stderr is closed
            if screen.isatty():
                width = shutil.get_terminal_size().columns - 1
                line = f"fastconv: {text()}: {state.count} done"[:width]
                screen.write(f"\r{line:{width}}")  # over a progress bar, which draws itself again later
                screen.flush()
                return functools.partial(_erase, screen, width)
            if not state.said:
                state.said = True
                bars = sys.modules.get("tqdm")  # its write() begins a new line below an unfinished bar
                write = bars.tqdm.write if bars else print
                write(f"fastconv: {text()}", file=screen)
                screen.flush()
    return lambda: None


def _erase(screen: Any, width: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        screen.write(f"\r{'':{width}}\r")
        screen.flush()


@contextlib.contextmanager
def _interruptible() -> Generator[None, None, None]:
    """Ctrl-C ends the block with the exception that its handler raises.

    An exception is printed and lost if it is raised in a function that C calls: LLVM calls one at the end of
    its long work, weak references call others. So :class:`_Interrupts` raises it again and again until the
    block has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if check is not None:
        check()
    old = signal.getsignal(signal.SIGINT)
    if not callable(old):  # the signal is ignored, or its handler is not a Python function
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
        raise type(first)(*first.args) from None  # the compiler's traceback has a hundred lines


class _Interrupts:
    """A handler of Ctrl-C: it raises the exception of the handler ``old`` again until :meth:`end`."""

    def __init__(self, old: Callable[[int, FrameType | None], Any]):
        self.old, self.over = old, False
        self.raised: list[BaseException] = []
        self.turn = threading.Lock()
        self.hook: Callable[[Any], Any] | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
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

    def _raise(self, e: BaseException) -> NoReturn:
        self.raised.append(e)
        raise e

    def _lost(self, what: Any) -> None:
        """In place of ``sys.unraisablehook``: do not print exceptions that are raised again."""
        if self.hook is not None and not any(e is what.exc_value for e in self.raised):
            self.hook(what)

    def _repeat(self) -> None:
        while True:
            sleep(0.1)
            with self.turn:
                if self.over:
                    return
                _thread.interrupt_main()

    def end(self) -> None:
        """Raise nothing from now on."""
        self.over = True
        with self.turn:  # after this, the repeating thread has seen ``over``
            pass
        if self.hook is not None:
            sys.unraisablehook = self.hook
