"""What calls accept and return: ``RULES``, op -> function.

Engines do not check their arguments, because the functions above them do. A program from a file has not come
through these functions, so each of its calls is checked here: a rule gets the arguments of a call, raises a
ValueError or TypeError for those that an engine must not get, and returns the shape and the dtype of every
result. Ops without a rule (those that write to arguments, backward passes, random numbers) are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..values import values_in
from . import elements, layers, moving

#: Shapes and dtypes of the results. A dtype is None where engines differ in it.
Results = list[tuple[tuple[int, ...], "np.dtype[Any] | None"]]

RULES: dict[str, Callable[..., Results]] = {**elements.RULES, **layers.RULES, **moving.RULES}


def results(op: str, args: Sequence[Any]) -> Results:
    """The shapes and dtypes of the results of a call, which is checked."""
    if op not in RULES:
        raise ValueError(f"the op {op!r:.60} is not one that programs in files may call")
    found = RULES[op](*args)
    if any(0 in v.shape for v in values_in(args)) or any(0 in shape for shape, _ in found):
        raise ValueError("empty arrays are not supported")
    return found
