"""An entry of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


def any_arguments(*args: Any, **options: Any) -> bool:
    """Accepts every call."""
    return True


class Lowering(NamedTuple):
    """How the engine computes an aten op.

    Attributes
    ----------
    run : callable
        ``(engine, *args, **options)``, the arguments of the op with arrays in place of tensors.
    accepts : callable
        ``(*args, **options) -> bool``, called once per node of a graph. In place of a tensor it gets an
        object with its ``shape``, ``ndim`` and ``dtype``. Where it returns False, PyTorch computes the op.
    """

    run: Callable[..., Any]
    accepts: Callable[..., bool] = any_arguments


def each(numbers: Any, n: int) -> tuple[Any, ...]:
    """``numbers`` for ``n`` dimensions; a list of one number holds for all."""
    values = tuple(numbers)
    return values * n if len(values) == 1 else values


def pairs(padding: Any, n: int) -> tuple[tuple[int, int], ...]:
    """The same padding before and after, for ``n`` dimensions."""
    return tuple((p, p) for p in each(padding, n))
