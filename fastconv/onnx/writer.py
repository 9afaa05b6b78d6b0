"""From a captured program to an ONNX graph: each call of the engine contract becomes one or several nodes."""

# protobuf's classes have no types
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import check
from ..graph.program import Call, Program, Value, values_in
from .package import DTYPES

NAME = "onnx.export"
#: dtype -> ONNX element type.
ELEMENT_TYPES = {DTYPES[number]: number for number in (1, 2, 3, 5, 6, 7, 9, 11)}


class Writer:
    """The nodes and constants of a graph that is being written.

    Parameters
    ----------
    onnx : module
    engine : Engine
        The one that the program was captured from, whose arrays its constants are.
    program : Program
    names : dict
        ``id`` of an array -> the name of the parameter that it is.
    varying : dict
        Value -> for each of its axes, whether the extent depends on the size of the batch.

    Attributes
    ----------
    nodes, initialisers : list
        What protobuf holds of a graph.
    call : Call
        The call that is written now.
    """

    def __init__(
        self,
        onnx: Any,
        engine: Any,
        program: Program,
        names: dict[int, str],
        varying: dict[Value, tuple[bool, ...]],
    ) -> None:
        self._onnx, self._engine, self._parameters, self._varying = onnx, engine, names, varying
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []
        self.call: Call | None = None
        self._names: dict[Value, str] = {}
        self._constants: dict[Any, str] = {}
        self._taken = set(names.values())
        self._read = {v for call in program.calls for v in call.inputs} | set(values_in(program.output))

    # ---- names
    def fresh(self, base: str) -> str:
        """A name that nothing else has."""
        name, n = base, 1
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        return name

    def bind(self, value: Value, name: str) -> None:
        """Call ``value`` by ``name``."""
        self._names[value] = name

    def __getitem__(self, value: Value) -> str:
        """The name of a value; a constant becomes an initialiser when it is first used."""
        if value not in self._names:
            check(value.constant is not None, NAME, "a value is used that no call has computed", RuntimeError)
            self._names[value] = self.constant(self.host(value), self._parameters.get(id(value.constant)))
        return self._names[value]

    def host(self, value: Value) -> np.ndarray:
        """The numbers of a constant."""
        return np.asarray(self._engine.to_host(value.constant))

    def is_read(self, value: Any) -> bool:
        """Whether a call or the output reads ``value``."""
        return value in self._read

    def varies(self, value: Value) -> tuple[bool, ...]:
        """For each axis, whether its extent depends on the size of the batch."""
        return self._varying.get(value, (False,) * value.ndim)

    # ---- parts of the graph
    def constant(self, array: Any, name: str | None = None) -> str:
        """The name of an initialiser with these numbers; the same one for the same numbers."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = name or (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            name = name or self.fresh("constant")
            self._constants[key] = name
            self.initialisers.append(self._onnx.numpy_helper.from_array(array, name))
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """The name of a constant list of int64."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, number: Any, like: Value) -> str:
        """The name of a constant number in the type of ``like``."""
        return self.constant(np.array(number, like.dtype))

    def operand(self, value: Any, like: Value) -> str:
        """The name of a value or of a number."""
        return self[value] if isinstance(value, Value) else self.scalar(value, like)

    def node(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node of one result; its name."""
        return self.several(op, inputs, [name or self.fresh(op.lower())], **attributes)[0]

    def several(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Add a node with these results."""
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(self._onnx.helper.make_node(op, list(inputs), list(outputs), outputs[0], **given))
        return outputs

    # ---- shapes
    def reshape(self, name: str, shape: Sequence[int], varying: Sequence[bool] = ()) -> str:
        """Reshape; an extent that depends on the batch is left to be computed."""
        free = [i for i, v in enumerate(varying) if v]
        check(
            len(free) <= 1,
            NAME,
            f"a reshape to {tuple(shape)} has several extents that depend on the batch; "
            "export with dynamic_batch=False",
        )
        return self.node("Reshape", name, self.ints(*(-1 if i in free else n for i, n in enumerate(shape))))

    def flat(self, name: str, value: Value, keep: int) -> tuple[str, int]:
        """``value`` with all axes from ``keep`` on as one, and its extent."""
        count = math.prod(value.shape[keep:])
        return self.reshape(name, (*value.shape[:keep], count), self.varies(value)[:keep]), count
