"""A program: calls of the engine contract in the order in which they run.

::

    %0 = input 8x3x32x32
    %1 = conv_fwd(%0, constant 16x3x3x3, constant 16, ...)      a call has arguments and results
    %2 = unary_fwd('silu', %1)
    return %2

An argument is a :class:`Value` or anything else that the contract takes: a spec, a number, a name, None, or a
tuple or list of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..checks import shape_str
from ..table import Shown, Table


class Value:
    """An array of a program: an input, a result of a call, or a constant.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    constant : array or None
        The array itself, or weights that an engine has packed; None for inputs and results.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], constant: Any = None) -> None:
        self.shape, self.dtype, self.constant = shape, dtype, constant

    @staticmethod
    def of(constant: Any) -> Value:
        """A constant."""
        return Value(tuple(constant.shape), np.dtype(constant.dtype), constant)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

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
    """

    def __init__(self, op: str, args: Sequence[Any], result: Any) -> None:
        self.op, self.args, self.result = op, tuple(args), result

    @property
    def inputs(self) -> list[Value]:
        """The Values among the arguments."""
        return list(values_in(self.args))


class Program(Shown):
    """Calls in order, from ``inputs`` to ``output``.

    Attributes
    ----------
    inputs : list of Value
    calls : list of Call
    output : Value, or tuples, lists and dicts of Values and other things
    """

    def __init__(self, inputs: Sequence[Value], calls: Sequence[Call], output: Any) -> None:
        self.inputs, self.calls, self.output = list(inputs), list(calls), output

    def users(self) -> dict[Value, list[Call]]:
        """For each value the calls that read it, once for each time; the output counts as one more entry."""
        found: dict[Value, list[Any]] = {}
        for call in self.calls:
            for v in call.inputs:
                found.setdefault(v, []).append(call)
        for v in values_in(self.output):
            found.setdefault(v, []).append(None)
        return found

    def producers(self) -> dict[Value, Call]:
        """For each result the call that computes it."""
        return {v: call for call in self.calls for v in values_in(call.result)}

    def run(self, engine: Any, *arrays: Any) -> Any:
        """The output for these inputs, by the ops of ``engine``. An array is released after its last use."""
        last: dict[Value, int] = {}
        for i, call in enumerate(self.calls):
            for v in (*call.inputs, *values_in(call.result)):
                last[v] = i
        for v in values_in(self.output):
            last[v] = len(self.calls)
        held: dict[Value, Any] = dict(zip(self.inputs, arrays, strict=True))

        def array(v: Value) -> Any:
            return held[v] if v.constant is None else v.constant

        for i, call in enumerate(self.calls):
            result = getattr(engine, call.op)(*replaced(call.args, array))
            _hold(held, call.result, result)
            del result
            for v in {*call.inputs, *values_in(call.result)}:
                if last[v] == i:
                    held.pop(v, None)
        return replaced(self.output, array)

    def table(self) -> Table:
        """A row for each call; ``print`` and notebooks show it."""
        names = {v: f"%{i}" for i, v in enumerate(self._named())}

        def text(v: Value) -> Any:
            return _Text(names.get(v) or f"constant {shape_str(v.shape)}")

        rows = [(names[v], "input", "", _described(v)) for v in self.inputs]
        for call in self.calls:
            results = list(values_in(call.result))
            arguments = ", ".join(_shown(a) for a in replaced(call.args, text))
            rows.append(
                (
                    ", ".join(names[v] for v in results),
                    call.op,
                    arguments,
                    ", ".join(map(_described, results)),
                )
            )
        after = f"return {replaced(self.output, text)!r}"
        return Table(("value", "call", "arguments", "result"), rows, "llll", "", after)

    def _named(self) -> Iterator[Value]:
        yield from self.inputs
        for call in self.calls:
            yield from values_in(call.result)


class _Text(str):
    """Text that ``repr`` shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _shown(argument: Any) -> str:
    """An argument in the table; of a spec or a plan its name only."""
    if type(argument) in (tuple, list):
        return f"({', '.join(map(_shown, argument))})"
    plain = isinstance(argument, (str, int, float, slice, type(None), type(Ellipsis), np.dtype))
    return repr(argument) if plain else type(argument).__name__


def _described(v: Value) -> str:
    return f"{shape_str(v.shape)} {v.dtype}"


def _hold(held: dict[Value, Any], structure: Any, result: Any) -> None:
    if isinstance(structure, Value):
        held[structure] = result
    elif type(structure) in (tuple, list):
        for s, r in zip(structure, result, strict=True):
            _hold(held, s, r)
