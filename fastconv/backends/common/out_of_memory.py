"""The text of errors when no memory is left: the op, the shapes of its arrays, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastconv.checks import shape_str

from ..contract import CONTRACT, OPTIONAL

CURE = "use a smaller batch, or no_grad() where no gradient is needed"


def running_op() -> str:
    """The outermost op of the contract that this thread is computing, as text for error messages."""
    here, frame, op = str(Path(__file__).parents[1]), sys._getframe(1), "tensor"
    while frame is not None:
        code = frame.f_code
        if code.co_name in (CONTRACT | OPTIONAL) and code.co_filename.startswith(here):
            names = code.co_varnames[: code.co_argcount]
            op = described(code.co_name, names, map(frame.f_locals.get, names))
        frame = frame.f_back
    return op


def described(op: str, names: Iterable[str], values: Iterable[Any]) -> str:
    """A call of an op as text: its strings, and the shapes of its arrays."""
    shown = [
        v if isinstance(v, str) else f"{name} {shape_str(v.shape)}"
        for name, v in zip(names, values)
        if isinstance(v, str) or (hasattr(v, "dtype") and hasattr(v, "shape"))
    ]
    return f"{op}({', '.join(shown)})"
