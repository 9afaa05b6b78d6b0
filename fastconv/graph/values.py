"""What programs are made of: values, and calls that compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..checks import shape_str


class Value:
    """An array of a program: an input, a result of a call, or a constant.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    constant : array or None
        The array itself, or weights that an engine has packed; None for inputs and results.
    name : str
        That of the parameter or buffer that a constant is; "" for others.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], constant: Any = None, name: str = ""
    ) -> None:
        self.shape, self.dtype, self.constant, self.name = shape, dtype, constant, name

    @staticmethod
    def of(constant: Any) -> Value:
        """A constant."""
        return Value(tuple(constant.shape), np.dtype(constant.dtype), constant)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The memory of its elements in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"Value({shape_str(self.shape)} {self.dtype}{' constant' * (self.constant is not None)})"


def replaced(structure: Any, found: Callable[[Value], Any]) -> Any:
    """``structure`` with ``found(value)`` in place of each Value; tuples, lists and dicts are searched."""
    if isinstance(structure, Value):
        return found(structure)
    if isinstance(structure, dict):
        return {k: replaced(v, found) for k, v in structure.items()}
    if type(structure) in (tuple, list):
        return type(structure)([replaced(v, found) for v in structure])
    return structure


def values_in(structure: Any) -> Iterator[Value]:
    """The Values in ``structure``."""
    if isinstance(structure, Value):
        yield structure
    elif isinstance(structure, dict):
        for v in structure.values():
            yield from values_in(v)
    elif type(structure) in (tuple, list):
        for v in structure:
            yield from values_in(v)


class Call:
    """A call of the contract's op ``op``.

    Attributes
    ----------
    op : str
    args : tuple
        Every argument by position.
    result : Value, or a tuple of Values and other things
    caller : Module or None
        Of a call that a capture has noted: the innermost module that made it.
    """

    def __init__(self, op: str, args: Sequence[Any], result: Any, caller: Any = None) -> None:
        self.op, self.args, self.result, self.caller = op, tuple(args), result, caller

    @property
    def inputs(self) -> list[Value]:
        """The Values among the arguments."""
        return list(values_in(self.args))
