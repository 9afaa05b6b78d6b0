"""The functions ``fc.NAME`` that are methods of Tensor too: the methods, for arrays and numbers as well.

The methods in ``methods`` have the documentation. A name that is not a method (``zeros``, ``cat``, ``where``)
is in ``creation.py``, or where its subject is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from .checks import check
from .tensor import Tensor
from .typing import Operand
from .variable import argument

P = ParamSpec("P")
R = TypeVar("R")


def _function(method: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Operand, P], R]:
    """The method as a function, whose first argument, ``input``, may be an array or a number."""
    name = method.__name__
    signature = inspect.signature(method)
    first, *others = signature.parameters.values()
    signature = signature.replace(parameters=[first.replace(name="input"), *others])

    @functools.wraps(method)
    def function(*args: Any, **kwargs: Any) -> R:
        if "input" in kwargs and not args:  # by name, as many examples write it
            args = (kwargs.pop("input"),)
        check(len(args) > 0, name, f"missing 'input'; the arguments are {signature}", TypeError)
        return method(argument(name, "input", args[0]), *args[1:], **kwargs)

    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


# One block per file of ``methods``, names in alphabetical order.
# ---- pointwise
abs = _function(Tensor.abs)
clamp = _function(Tensor.clamp)

# ---- reduce

# ---- shape

# ---- index

# ---- matrix

# ---- sort
