"""A node of a graph, as operators get it: names and attributes, without protobuf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..checks import check
from ..tensor import Tensor

#: What flows between nodes: tensors, and host arrays for constants and for what is computed of shapes.
Value: TypeAlias = Tensor | np.ndarray


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes
    ----------
    op : str
        The name of the operator, such as ``Conv``.
    name : str
        The node's name in the file, or that of its first output.
    opset : int
        The version of the operator set, which decides between variants of an operator.
    inputs, outputs : tuple of str
        Names of values; an empty name is an optional one that is left out.
    attributes : dict
        Numbers, strings, lists of these, and arrays.
    """

    op: str
    name: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute, or ``default`` if the file leaves it out."""
        return self.attributes.get(key, default)

    def wants(self, output: int) -> bool:
        """Whether the graph uses the node's result number ``output``."""
        return len(self.outputs) > output and self.outputs[output] != ""

    def check(self, ok: Any, message: str, error: type[Exception] = ValueError) -> None:
        """Raise ``error`` with the node and ``message`` unless ``ok``."""
        check(ok, str(self), message, error)

    def __str__(self) -> str:
        return f"onnx node {self.name!r} ({self.op})"


@dataclass(frozen=True)
class Operator:
    """How an operator is computed.

    Attributes
    ----------
    function : callable
        ``(node, *inputs) -> value or tuple of values``. Inputs that are left out are None.
    host : frozenset of int
        The inputs that are numbers, such as the shape for Reshape: the function gets host arrays.
    fixed : frozenset of int
        The inputs whose initialisers are not trained, such as running statistics.
    as_is : frozenset of int
        The inputs that come as they are, tensors or host arrays. All others are tensors.
    numbers : bool
        Whether scalar constants come as Python numbers.
    """

    function: Callable[..., Any]
    host: frozenset[int] = frozenset()
    fixed: frozenset[int] = frozenset()
    as_is: frozenset[int] = frozenset()
    numbers: bool = False


def row(
    function: Callable[..., Any],
    host: Sequence[int] = (),
    fixed: Sequence[int] = (),
    as_is: Sequence[int] = (),
    numbers: bool = False,
) -> Operator:
    """An entry of a table of operators; see :class:`Operator`."""
    return Operator(function, frozenset(host), frozenset(fixed), frozenset(as_is), numbers)


def ints(values: Any) -> list[int]:
    """The integers of a host array."""
    return [int(v) for v in np.asarray(values).reshape(-1)]


def names_in(nodes: Iterable[Node]) -> set[str]:
    """The values that nodes read."""
    return {name for n in nodes for name in n.inputs if name}
