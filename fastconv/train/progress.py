"""The progress of a run: one bar with numbers in a terminal or a notebook, elsewhere a few plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import ceil
from time import monotonic
from typing import Any, TypeAlias

LINES = 10  # a run of many epochs leaves about so many lines
REDRAW = 0.1  # seconds between two drawings of the bar
Standing: TypeAlias = Callable[[], dict[str, Any]]


class Progress:
    """Shows how far a run of ``epochs`` epochs is; with ``show=False`` it shows nothing.

    ``standing``, a parameter of its methods, is a function that is called only when something is shown. It
    returns a dict: ``epoch`` (from 1), ``share`` of the run that is done, ``loss``, ``accuracy``,
    ``test_accuracy``, ``speed`` in images per second, ``left`` in seconds. Values of None are not shown.
    """

    def __init__(self, show: bool, epochs: int):
        self.bar: Any = _bar() if show and redraws(sys.stderr) else None
        self.plain = show and self.bar is None
        self.epochs, self.every = epochs, max(1, ceil(epochs / LINES))  # a line every so many epochs
        self._next = 0.0  # the time of the next drawing

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        elif self.plain:
            print(line, flush=True)

    def step(self, standing: Standing) -> None:
        """A step was done."""
        if self.bar is not None and monotonic() >= self._next:
            self._draw(standing())

    def point(self, standing: Standing) -> None:
        """The history got a point inside an epoch; without a bar, a run of few epochs shows these too."""
        if self.plain and self.epochs < LINES / 2:
            self.say(self._words(standing()))

    def epoch(self, epoch: int, standing: Standing) -> None:
        """``epoch`` (from 1) and its evaluation were done."""
        if epoch % self.every == 0 or epoch == self.epochs:
            if self.bar is not None or self.plain:
                self.say(self._words(standing()))
        elif self.bar is not None:
            self._draw(standing())

    def close(self) -> None:
        """The run has ended."""
        if self.bar is not None:
            self.bar.close()

    def _draw(self, where: dict[str, Any]) -> None:
        self.bar.n = where["share"]
        self.bar.set_description_str(
            f"epoch {where['epoch']}/{self.epochs} {', '.join(_numbers(where, short=True))}"
        )
        self._next = monotonic() + REDRAW

    def _words(self, where: dict[str, Any]) -> str:
        where = where | {"left": None} if self.bar is not None else where  # the bar shows the time left
        return f"epoch {where['epoch']}/{self.epochs}: " + ", ".join(_numbers(where))


def _bar() -> Any:
    """tqdm's bar, to the right of the numbers and as long as they leave room; None without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(
        total=1.0, file=sys.stderr, leave=False, dynamic_ncols=True, bar_format="{desc} |{bar}|", delay=1e-9
    )


def _numbers(where: dict[str, Any], short: bool = False) -> list[str]:
    """Each number with its word; ``short``: all fit in 80 columns."""
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
    """Three decimals, or three digits where the number is too small or too large for that."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    """``1:05``, ``2:00:00``."""
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{s:02}" if minutes >= 60 else f"{minutes}:{s:02}"


def redraws(stream: Any) -> bool:
    """Whether ``stream`` is a terminal or a notebook, where ``\\r`` goes back to the start of the line."""
    return type(stream).__module__.startswith("ipykernel.") or bool(getattr(stream, "isatty", bool)())
