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
    here, frame, op = str(Path(__file__).parents[1]), sys._getframe(1), None
    while frame is not None:
        code = frame.f_code
        if code.co_name in (CONTRACT | OPTIONAL) and code.co_filename.startswith(here):
            op = frame
        frame = frame.f_back
    if op is None:
        return "tensor"
    names = op.f_code.co_varnames[: op.f_code.co_argcount]
    return described(op.f_code.co_name, names, map(op.f_locals.get, names))


def described(op: str, names: Iterable[str], values: Iterable[Any]) -> str:
    """A call of an op as text: its strings, and the shapes of its arrays."""
    shown = [
        v if isinstance(v, str) else f"{name} {shape_str(v.shape)}"
        for name, v in zip(names, values)
        # a class, as NumPy's float32, has these attributes too, but not their values
        if isinstance(v, str) or (hasattr(v, "dtype") and isinstance(getattr(v, "shape", None), tuple))
    ]
    return f"{op}({', '.join(shown)})"
