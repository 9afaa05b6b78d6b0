"""Errors as users see them: short tracebacks, and memory errors that name the op.

An error that fastconv raises on purpose says everything in its message, so it is shown at the user's own
line, without the frames inside fastconv. ``FASTCONV_FULL_TRACEBACK=1`` keeps every frame. Python 3.10 also
keeps them, because it cannot remove frames from an error on its way up.
"""

from __future__ import annotations

import dis
import functools
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from .checks import shape_str

P = ParamSpec("P")
R = TypeVar("R")

FULL = "FASTCONV_FULL_TRACEBACK"
_HINT = f" ({FULL}=1 shows the frames inside fastconv)"
_PACKAGE = os.path.dirname(__file__) + os.sep


def _inside(tb: TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def _on_purpose(error: Exception) -> bool:
    """Whether the error comes from a ``raise`` statement of fastconv.

    Errors that no one raised on purpose keep all their frames.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if (
        last is None
        or not _inside(last)
        or not isinstance(error, (ValueError, TypeError, IndexError, RuntimeError))
    ):
        return False
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def shorten(error: Exception, module: Any = None) -> None:
    """Remove the frames of fastconv from the traceback of ``error``, and note the module it comes from.

    The caller, whose own frame is removed too, is about to raise ``error`` again. Every caller on the way up
    removes the frames between itself and the caller below.

    Parameters
    ----------
    error : Exception
    module : Module, optional
        The caller, if it is a module: a note says which of the modules inside it raised the error.
    """
    if os.environ.get(FULL, "0") not in ("", "0"):
        return
    if not hasattr(error, "short"):
        if not _on_purpose(error):
            return
        # the id of the last module on the way, and the path from there
        error.short = None, ""  # type: ignore[attr-defined]
    kept, tb = [], error.__traceback__
    while tb is not None:
        if not _inside(tb):
            kept.append(tb)
        tb = tb.tb_next
    short: TracebackType | None = None
    for tb in reversed(kept):
        short = TracebackType(short, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    error.__traceback__ = short
    if module is not None:
        _note(error, module)


def _note(error: Any, module: Any) -> None:
    """Add ``module`` to the path that the error's note shows."""
    inner, path = error.short
    name = next((n for n, m in module.named_modules() if id(m) == inner), "")
    if not name:  # the first module on the way, or one that is no child of the module that calls it
        path = f"({type(module).__name__})"
    else:
        path = name + (" " if path[0] == "(" else ".") + path
    error.short = id(module), path
    if hasattr(error, "add_note"):
        of = "" if path[0] == "(" else f" of {type(module).__name__}"
        notes = [n for n in getattr(error, "__notes__", ()) if not n.endswith(_HINT)]
        error.__notes__ = [*notes, f"in {path}{of}{_HINT}"]


# ------------------------------------------------------------------------------------------------- memory
def name_memory_error(error: MemoryError, op: str, arrays: Sequence[Any]) -> MemoryError:
    """What to raise in place of ``error``: NumPy's memory errors, a class of their own, do not name the
    op."""
    if type(error) is MemoryError:
        return error
    shapes = ", ".join(shape_str(a.shape) for a in arrays if isinstance(getattr(a, "shape", None), tuple))
    return MemoryError(f"{op} of {shapes}: {error}; smaller inputs or batches need less")


def names_memory(make: Callable[P, R]) -> Callable[P, R]:
    """``make``, whose memory errors begin with its name."""

    @functools.wraps(make)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return make(*args, **options)
        except MemoryError as e:
            raise MemoryError(f"{make.__name__}: {e}") from None

    return call
