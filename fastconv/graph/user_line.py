"""The line of a user's code that runs now, for messages."""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType

from .. import variable

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def caller(until: CodeType) -> tuple[str, str]:
    """What of fastconv a user's code has called, and where: ``"Tensor.item", "net.py:12: n = x.item()"``.

    Both are "" if no frame of a user's code is above the frame of ``until``.
    """
    frame, below = sys._getframe(1), None  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code is not until:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            where = f"{code.co_filename}:{frame.f_lineno}"
            return ("" if below is None else _named(below)), (f"{where}: {line}" if line else where)
        below, frame = frame, frame.f_back
    return "", ""


def _named(frame: FrameType) -> str:
    """The function of a frame; a method with its class, a call of a module as the module's class."""
    name, known = frame.f_code.co_name, frame.f_locals
    me = known.get("self")
    if "name" in frame.f_code.co_freevars:  # of a method that was made from another one
        name = str(known["name"])
    elif "make" in frame.f_code.co_freevars:  # of a function around another one
        name = known["make"].__name__
    if isinstance(me, variable.Variable):
        return f"Tensor.{name}"
    if me is None:
        return name
    return type(me).__name__ if name == "__call__" else f"{type(me).__name__}.{name}"
