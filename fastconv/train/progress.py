"""What a run shows of itself: a line that is redrawn in a terminal or a notebook, elsewhere a few plain lines."""

from __future__ import annotations

import os
import sys
from math import ceil
from time import monotonic

LINES = 10  # about how many lines a run leaves behind, however many epochs it has
REDRAW = 0.1  # seconds between two drawings of the line
BAR = 4, 30  # least and greatest width of the bar, which takes the room that the numbers leave


class Progress:
    """Shows where a run of ``epochs`` epochs stands; with ``show=False`` nothing.

    ``standing``, an argument below, is a function that is called only when something is shown. It returns a dict:
    ``epoch`` (from 1), ``share`` of the run that is done, ``loss``, ``accuracy``, ``test_accuracy``, ``speed`` in images
    per second, seconds ``left``. What is None is left out.
    """

    def __init__(self, show: bool, epochs: int):
        self.live = show and _redraws(sys.stderr)
        self.plain = show and not self.live
        self.epochs, self.every = epochs, max(1, ceil(epochs / LINES))  # one epoch in so many leaves a line
        self._drawn, self._next = 0, 0.0  # columns on the screen; when to draw again

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self.live:
            print("\r" + line.ljust(self._drawn), file=sys.stderr, flush=True)
            self._drawn = 0
        elif self.plain:
            print(line, flush=True)

    def step(self, standing) -> None:
        """A step was done."""
        if self.live and monotonic() >= self._next:
            self._draw(standing())

    def point(self, standing) -> None:
        """The history has got a point inside an epoch: where no line is redrawn, a run of few epochs shows these too."""
        if self.plain and self.epochs < LINES / 2:
            self.say(self._words(standing()))

    def epoch(self, epoch: int, standing) -> None:
        """``epoch`` (from 1) and its evaluation were done."""
        if epoch % self.every == 0 or epoch == self.epochs:
            if self.live or self.plain:
                self.say(self._words(standing()))
        elif self.live:
            self._draw(standing())

    def close(self) -> None:
        """The run has ended: what was drawn last stays."""
        if self._drawn:
            print(file=sys.stderr, flush=True)
            self._drawn = 0

    def _draw(self, where) -> None:
        line = self._line(where, _columns(sys.stderr) - 1)
        print("\r" + line.ljust(self._drawn), end="", file=sys.stderr, flush=True)
        self._drawn, self._next = len(line), monotonic() + REDRAW

    def _line(self, where, width: int) -> str:
        """Epoch, bar and numbers in ``width`` columns; numbers that do not fit are left out, the last one first."""
        head, numbers = f"epoch {where['epoch']}/{self.epochs} ", _numbers(where, short=True)
        while len(head) + len(", ".join(numbers)) > width and len(numbers) > 1:
            numbers.pop()
        text = ", ".join(numbers)
        room = min(width - len(head) - len("[] ") - len(text), BAR[1])
        if room < BAR[0]:
            return (head + text)[:width]
        done = int(room * where["share"])
        return f"{head}[{'#' * done}{'.' * (room - done)}] {text}"

    def _words(self, where) -> str:
        where = where | {"left": None} if self.live else where  # which the line shows that is being redrawn
        return f"epoch {where['epoch']}/{self.epochs}: " + ", ".join(_numbers(where))


def _numbers(where, short: bool = False) -> list[str]:
    """Each number with its word; ``short``: 80 columns hold them all, and a bar."""
    accuracy, test, speed, left = (where[k] for k in ("accuracy", "test_accuracy", "speed", "left"))
    text = [f"loss {_loss(where['loss'])}"]
    if accuracy is not None:
        text.append(f"acc {accuracy:.3f}" if short else f"train acc {accuracy:.3f}")
        if test is not None and short:
            text[-1] += f" (test {test:.3f})"
        elif test is not None:
            text.append(f"test acc {test:.3f}")
    if speed is not None:
        text.append(f"{speed:.0f} img/s" if short else f"{speed:.0f} images/s")
    if left is not None:
        text.append(f"{_clock(left)} left")
    return text


def _loss(value: float) -> str:
    """Three decimals, or as many digits where that would say nothing."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    """``1:05``, ``2:00:00``."""
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{s:02}" if minutes >= 60 else f"{minutes}:{s:02}"


def _redraws(stream) -> bool:
    """Whether ``stream`` is a terminal or a notebook's, where ``\\r`` goes back to the start of the line."""
    return type(stream).__module__.startswith("ipykernel.") or bool(getattr(stream, "isatty", bool)())


def _columns(stream) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):  # a notebook, or something that only says it is a terminal
        return 80
