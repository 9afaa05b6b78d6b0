"""Programs as files: the format safetensors, with the calls as JSON in its metadata.

::

    arrays      the constants, by the names of the parameters and buffers that they are
    metadata    "fastconv.program": {"version": 1, "inputs": [["8x3x32x32", "float32"], ...],
                 "constants": [name, ...], "calls": [[op, arguments, number of results], ...], "output": ...}

Values are numbered: inputs, constants, and then the results of the calls. Any program that reads safetensors
can read the weights. Nothing in a file is executed. The arguments of every call are checked by its rule
(``rules/``), which also says what the results are, so that a damaged or hostile file is refused.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import variable
from .._version import __version__
from ..backends.contract import OPTIONAL
from ..checks import check
from ..io import safetensors
from ..io.atomic import replacing
from ..typing import PathLike
from .encoding import DTYPES, Ref, decoded, encoded
from .rules import results
from .rules.expect import expect, extents
from .values import Call, Value, replaced, values_in

KEY, VERSION = "fastconv.program", 1


class Contents(NamedTuple):
    """What a file holds: the attributes of a program."""

    inputs: list[Value]
    calls: list[Call]
    output: Any


# ------------------------------------------------------------------------------------------------- writing
def write(path: PathLike, inputs: Sequence[Value], calls: Sequence[Call], output: Any) -> None:
    """Write a program; ``Program.save`` says what is raised."""
    name = "Program.save"
    where = os.fsdecode(path)
    constants = dict.fromkeys(
        v
        for part in (*(call.args for call in calls), output)
        for v in values_in(part)
        if v.constant is not None
    )
    numbers = {v: i for i, v in enumerate((*inputs, *constants))}
    lines = []
    for call in calls:
        try:
            _check_results(call, results(call.op, call.args))
            args = encoded(replaced(call.args, lambda v: Ref(numbers[v])))
        except (TypeError, ValueError) as e:
            cure = f"; {_CURE}" if call.op in OPTIONAL else ""
            raise ValueError(f"{name}: {call.op} cannot be written: {e}{cure}") from None
        found = list(values_in(call.result))
        numbers.update({v: i for i, v in enumerate(found, len(numbers))})
        lines.append([call.op, args, len(found)])
    arrays = _named(constants)
    text = {
        "version": VERSION,
        "fastconv": __version__,
        "inputs": [[list(v.shape), v.dtype.name] for v in inputs],
        "constants": list(arrays),
        "calls": lines,
        "output": encoded(replaced(output, lambda v: Ref(numbers[v]))),
    }
    with replacing(name, where) as f:
        safetensors.write(f, arrays, json.dumps(text), KEY)


_CURE = "save what graph.trace returns, or graph.optimize(program, without=graph.FOR_ENGINE)"


def _check_results(call: Call, expected: Any) -> None:
    found = list(values_in(call.result))
    alike = len(found) == len(expected) and all(
        v.shape == shape and dtype in (None, v.dtype) for v, (shape, dtype) in zip(found, expected)
    )
    expect(alike, f"its results {found} are not {expected}")


def _named(constants: Any) -> dict[str, np.ndarray]:
    """The constants by different names."""
    arrays: dict[str, np.ndarray] = {}
    for i, v in enumerate(constants):
        check(hasattr(v.constant, "strides"), "Program.save", f"weights are packed for an engine; {_CURE}")
        name = v.name or f"constant_{i}"
        while name in arrays or name == "__metadata__":
            name += "_"
        arrays[name] = variable.tensor_class(v.constant).numpy()
    return arrays


# ------------------------------------------------------------------------------------------------- reading
def read(path: PathLike) -> Contents:
    """Read a program; ``load`` says what is raised."""
    where = os.fsdecode(path)
    with open(where, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        try:
            arrays, metadata = safetensors.contents(f, size)
            expect(isinstance(metadata.get(KEY), str), f"its metadata have no text {KEY!r}")
            text = json.loads(metadata[KEY])
            expect(isinstance(text, dict), "the program is no JSON object")
            expect(
                text.get("version") == VERSION,
                f"the program has the version {text.get('version')!r:.60}, and {VERSION} is read; use the "
                f"fastconv that wrote it ({text.get('fastconv')!r:.60}) or a newer one",
            )
            return _program(text, arrays)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as e:
            raise ValueError(
                f"graph.load: expected a file that Program.save wrote, got {where} with {size} bytes ({e}); "
                "it is damaged, incomplete or of another kind. Nothing in it was executed"
            ) from e


def _program(text: Any, arrays: dict[str, np.ndarray]) -> Contents:
    inputs = [Value(extents(shape), _dtype(name)) for shape, name in text["inputs"]]
    names = text["constants"]
    expect(sorted(names) == sorted(arrays), "the names of the constants are not those of the arrays")
    values = [*inputs, *[_constant(arrays[name], name) for name in names]]
    positions: set[Value] = set()  # results whose dtype an engine chooses
    calls: list[Call] = []
    for op, args, count in text["calls"]:
        args = _resolved(decoded(args), values)
        expect(isinstance(args, tuple), "the arguments of a call are no tuple")
        try:
            found = results(op, args)
        except (ValueError, TypeError, AttributeError) as e:
            raise ValueError(f"call {len(calls)}, {op!r:.60}: {e}") from None
        free = op == "cast" or positions.isdisjoint(values_in(args))
        expect(free, f"call {len(calls)}, {op}: reads positions of maxima, which only a cast may read")
        expect(
            len(found) == count, f"call {len(calls)}, {op}: {count} results, but {len(found)} are expected"
        )
        made = [Value(shape, np.dtype(np.int64) if dtype is None else dtype) for shape, dtype in found]
        values += made
        positions.update(v for v, (_, dtype) in zip(made, found) if dtype is None)
        calls.append(Call(op, args, made[0] if len(made) == 1 else tuple(made)))
    return Contents(inputs, calls, _resolved(decoded(text["output"]), values))


def _dtype(name: Any) -> np.dtype[Any]:
    expect(isinstance(name, str) and name in DTYPES, f"{name!r:.60} is no dtype of programs")
    return np.dtype(name)


def _constant(array: np.ndarray, name: str) -> Value:
    _dtype(array.dtype.name)
    return Value(array.shape, array.dtype, array, name)


def _resolved(x: Any, values: Sequence[Value]) -> Any:
    """``x`` with Values in place of references."""
    if isinstance(x, Ref):
        expect(0 <= x.number < len(values), f"value {x.number} is used before it is computed")
        return values[x.number]
    if type(x) in (tuple, list):
        return type(x)([_resolved(v, values) for v in x])
    return {k: _resolved(v, values) for k, v in x.items()} if isinstance(x, dict) else x
