"""A program: calls of the engine contract in the order in which they run.

::

    %0 = input 8x3x32x32
    %1 = conv_fwd(%0, constant 16x3x3x3, constant 16, ...)      a call has arguments and results
    %2 = unary_fwd('silu', %1)
    return %2

An argument is a :class:`Value` or anything else that the contract takes: a spec, a number, a name, None, or a
tuple or list of these. ``values.py`` has the classes of values and calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import backends, variable
from ..checks import check, shape_str
from ..table import Shown, Table
from ..tape import is_grad_enabled
from ..typing import PathLike, TensorLike
from . import files
from .memory import Memory, memory
from .picture import Picture
from .values import Call as Call
from .values import Value as Value
from .values import replaced as replaced
from .values import values_in as values_in
from .wording import spec_words


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

    def __call__(self, *inputs: TensorLike) -> Any:
        """The output for these inputs, as Tensors, by the engine of the current backend.

        Parameters
        ----------
        *inputs : Tensor or array
            Of the shapes and dtypes of ``self.inputs``.

        Raises
        ------
        ValueError
            The inputs have other shapes or dtypes.
        RuntimeError
            An input requires a gradient, which a program does not compute.
        """
        name = "Program"
        tensors = [variable.argument(name, f"input {i}", x) for i, x in enumerate(inputs)]
        check(
            len(tensors) == len(self.inputs), name, f"expected {len(self.inputs)} inputs, got {len(tensors)}"
        )
        for i, (v, x) in enumerate(zip(self.inputs, tensors)):
            check(
                x.shape == v.shape and x.dtype == v.dtype,
                name,
                f"input {i} must be {_described(v)}, got {shape_str(x.shape)} {x.dtype}; a program is for "
                "inputs of one shape and dtype, and graph.trace makes another one",
            )
            check(
                not (is_grad_enabled() and x.requires_grad),
                name,
                f"input {i} requires a gradient, and programs compute none; use no_grad() or the net itself",
                RuntimeError,
            )
        engine = backends.engine_of(tensors[0].device if tensors else "cpu")
        output = self.run(engine, *[x.array for x in tensors])
        return _tensors(output)

    @property
    def memory(self) -> Memory:
        """The most bytes that inputs and results need at the same time, and the bytes of the constants.

        An array is released after its last use. Scratch memory of the ops is not counted.
        """
        return memory(self.inputs, self.calls, self.output)

    def picture(self) -> Picture:
        """A picture of the calls, from the inputs at the top to the output; notebooks show it.

        Examples
        --------
        >>> x = fc.zeros(1, 1, 8, 8)
        >>> picture = fc.graph.trace(nn.Conv2d(1, 2, 3).eval(), x).picture()
        >>> picture.save("net.svg")  # doctest: +SKIP
        >>> picture.dot().splitlines()[0]
        'digraph program {'
        """
        return Picture(self.inputs, self.calls, self.output)

    def save(self, path: PathLike) -> None:
        """Write the program with its weights as one file, which :func:`fastconv.graph.load` reads.

        The file has the format safetensors: the arrays are the constants, by the names of the parameters and
        buffers that they are, and the calls are JSON in the metadata.

        Parameters
        ----------
        path : str or os.PathLike
            Written atomically: after an error, an older file is unchanged.

        Raises
        ------
        ValueError
            A call cannot be written: an op without a rule (``graph/rules/``), or weights that an engine has
            packed, which :func:`fastconv.graph.optimize` makes.

        Examples
        --------
        >>> program = fc.graph.trace(nn.Linear(3, 2).eval(), fc.zeros(1, 3))
        >>> program.save("layer.safetensors")  # doctest: +SKIP
        """
        files.write(path, self.inputs, self.calls, self.output)

    def table(self) -> Table:
        """A row for each call; ``print`` and notebooks show it."""
        names = {v: f"%{i}" for i, v in enumerate(self._named())}

        def text(v: Value) -> Any:
            return _Text(names.get(v) or f"{v.name or 'constant'} {shape_str(v.shape)}")

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
        after = f"return {replaced(self.output, text)!r}\n{self.memory}"
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
    """An argument in the table."""
    if type(argument) in (tuple, list):
        return f"({', '.join(map(_shown, argument))})"
    plain = isinstance(argument, (str, int, float, slice, type(None), type(Ellipsis), np.dtype))
    return repr(argument) if plain else f"{type(argument).__name__}({spec_words(argument)})"


def _tensors(structure: Any) -> Any:
    """``structure`` with Tensors in place of arrays."""
    if isinstance(structure, dict):
        return {k: _tensors(v) for k, v in structure.items()}
    if type(structure) in (tuple, list):
        return type(structure)([_tensors(v) for v in structure])
    return variable.tensor_class(structure) if hasattr(structure, "strides") else structure


def load(path: PathLike) -> Program:
    """Read a program that :meth:`Program.save` wrote.

    Nothing in the file is executed, and the arguments of every call are checked before any engine gets them.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Program
        It computes what the saved one did, on any engine; :func:`fastconv.graph.optimize` makes it faster.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is damaged, incomplete, of another kind, or of another version; the message says what is
        wrong.

    Examples
    --------
    >>> program = fc.graph.load("layer.safetensors")  # doctest: +SKIP
    >>> program(fc.zeros(1, 3)).shape  # doctest: +SKIP
    (1, 2)
    """
    return Program(*files.read(path))


def _described(v: Value) -> str:
    return f"{shape_str(v.shape)} {v.dtype}"


def _hold(held: dict[Value, Any], structure: Any, result: Any) -> None:
    if isinstance(structure, Value):
        held[structure] = result
    elif type(structure) in (tuple, list):
        for s, r in zip(structure, result, strict=True):
            _hold(held, s, r)
