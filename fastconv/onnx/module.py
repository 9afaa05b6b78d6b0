"""The module that runs a graph: shapes and numbers in host arrays, everything else in tensors.

What is computed of shapes alone (extents, indices, sizes to resize to) stays on the host, in NumPy arrays. It
is never on the tape, and the captured program of the net has only the calls that compute tensors. For that,
the graph is divided when it is loaded: ``_static`` finds the values that depend on constants and shapes only,
``_needed`` those of them that other nodes must read as numbers.
"""

from __future__ import annotations

import contextlib
import keyword
import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import numpy as np

from .. import backends
from ..checks import check, shape_str
from ..creation import as_tensor
from ..nn import Buffer, Module, Parameter
from ..tape import no_grad
from ..tensor import Tensor
from .node import Node, Operator, Value, names_in
from .operators import OPERATORS
from .reader import Graph, Input

#: Operators whose results are shapes.
OF_SHAPES = ("Shape", "Size")


class OnnxModule(Module):
    """A loaded graph; :func:`fastconv.onnx.load` makes it.

    Call it with tensors in the order of ``inputs``. It returns a tensor, or a tuple if the graph has several
    results. Float initialisers are parameters, under their ONNX names with ``_`` for what no Python name may
    contain (``conv1.weight`` becomes ``net.conv1_weight``). Running statistics and scales of quantised
    numbers are buffers. BatchNorm and dropout compute what the file says, in training mode too.

    Attributes
    ----------
    inputs : tuple of Input
        Name, dtype and shape of each input.
    outputs : tuple of str
        The names of the results.
    nodes : list of Node
        Without those of constants, which have run.
    opset : int
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inputs, self.outputs, self.opset = tuple(graph.inputs), tuple(graph.outputs), graph.opset
        static = _static(graph)
        needed = _needed(graph, static)
        trained = _trained(graph.nodes)
        self._host: dict[str, np.ndarray] = {}  # ONNX name -> constant
        self._names: dict[str, str] = {}  # ONNX name -> attribute
        for name, values in graph.initialisers.items():
            if values.dtype.kind != "f" or name in needed:
                self._host[name] = values
            elif name in trained:
                self._own(name, Parameter(values))
            else:
                self._own(name, Buffer(values))
        self.nodes = self._folded(graph.nodes)
        used = names_in(self.nodes) | set(self.outputs)
        for name in list(self._host):
            values = self._host[name]
            if name not in used:
                del self._host[name]
            elif values.dtype.kind == "f" and values.size > 1 and name not in needed:
                del self._host[name]
                self._own(name, Buffer(values, persistent=False))
        self._released = _released(self.nodes, self.outputs)

    def _own(self, name: str, tensor: Parameter | Buffer) -> None:
        """Register a tensor under a name that an attribute can have."""
        base = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not base[:1].isalpha() or keyword.iskeyword(base):
            base = "_" + base
        attribute, n = base, 1
        while hasattr(self, attribute):
            n += 1
            attribute = f"{base}_{n}"
        setattr(self, attribute, tensor)
        self._names[name] = attribute

    def _folded(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes without those of constants, which run now."""
        left: list[Node] = []
        for node in nodes:
            if all(name in self._host for name in node.inputs if name):
                self._host.update({k: np.asarray(v) for k, v in run(node, self._host).items()})
            else:
                left.append(node)
        return left

    def forward(self, *inputs: Tensor) -> Any:
        """The results of the graph."""
        values: dict[str, Value] = dict(self._host)
        for name, attribute in self._names.items():
            values[name] = getattr(self, attribute)
        given = _checked(self.inputs, inputs)
        values.update(given)
        for node, released in zip(self.nodes, self._released):
            values.update(run(node, values))
            for name in released:
                values.pop(name, None)
        like = next(iter(given.values()), None)
        results = tuple(_tensor(values[name], like) for name in self.outputs)
        return results[0] if len(results) == 1 else results

    def extra_repr(self) -> str:
        """Inputs, results and the number of nodes."""
        given = ", ".join(f"{i.name}: {_declared(i)}" for i in self.inputs)
        return f"{given} -> {', '.join(self.outputs)}, {len(self.nodes)} nodes"


# ------------------------------------------------------------------------------------------------- the graph
def _static(graph: Graph) -> set[str]:
    """The values that depend on constants and shapes only."""
    found = set(graph.initialisers)
    for node in graph.nodes:
        if node.op in OF_SHAPES or all(name in found for name in node.inputs if name):
            found.update(node.outputs)
    return found


def _needed(graph: Graph, static: set[str]) -> set[str]:
    """The static values that a node must read as numbers, and those that these are computed of."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        whole = node.op not in OF_SHAPES and any(name in found for name in node.outputs)
        host = OPERATORS[node.op].host
        found.update(name for i, name in enumerate(node.inputs) if name in static and (whole or i in host))
    return found


def _trained(nodes: Iterable[Node]) -> set[str]:
    """The values that some node reads as weights."""
    return {name for n in nodes for i, name in enumerate(n.inputs) if i not in OPERATORS[n.op].fixed}


def _released(nodes: list[Node], outputs: Iterable[str]) -> list[tuple[str, ...]]:
    """For each node the values that no later one reads."""
    kept, result = set(outputs), []
    for node in reversed(nodes):
        last = {name for name in (*node.inputs, *node.outputs) if name and name not in kept}
        kept |= last
        result.append(tuple(last))
    return result[::-1]


# ------------------------------------------------------------------------------------------------- one node
def run(node: Node, values: Mapping[str, Value]) -> dict[str, Value]:
    """The results of ``node``: on the host if all its inputs are there, else tensors."""
    row = OPERATORS[node.op]
    inputs = [values[name] if name else None for name in node.inputs]
    like = next((v for v in inputs if isinstance(v, Tensor)), None)
    try:
        with contextlib.nullcontext() if like is not None else _on_host():
            result = row.function(node, *_arguments(row, inputs, like))
            results = result if isinstance(result, tuple) else (result,)
            if like is None:
                results = tuple(v.numpy() if isinstance(v, Tensor) else v for v in results)
    except (ValueError, TypeError, IndexError, ArithmeticError) as e:
        if str(e).startswith(str(node)):
            raise
        kind = type(e) if type(e) in (TypeError, IndexError) else ValueError
        raise kind(f"{node}: {e}") from e
    node.check(
        len(results) >= len(node.outputs), f"computes {len(results)} results, {len(node.outputs)} are wanted"
    )
    return {name: v for name, v in zip(node.outputs, results) if name}


@contextlib.contextmanager
def _on_host() -> Generator[None]:
    """Ops of host arrays: by the reference engine, which has no kernels; not observed and not on the tape."""
    token = backends.observer.set(None)
    try:
        with backends.backend("numpy"), no_grad():
            yield
    finally:
        backends.observer.reset(token)


def _arguments(row: Operator, inputs: list[Value | None], like: Tensor | None) -> list[Any]:
    """The inputs in the form in which the operator takes them."""
    ndim = max((v.ndim for v in inputs if isinstance(v, Tensor)), default=-1)
    result: list[Any] = []
    for i, v in enumerate(inputs):
        if v is None or i in row.as_is:
            result.append(v)
        elif i in row.host:
            result.append(v.detach().numpy() if isinstance(v, Tensor) else v)
        elif row.numbers and isinstance(v, np.ndarray) and v.size == 1 and v.ndim <= ndim:
            result.append(v.item())
        else:
            result.append(_tensor(v, like))
    return result


def _tensor(v: Value, like: Tensor | None) -> Tensor:
    if isinstance(v, Tensor):
        return v
    return as_tensor(v, device=None if like is None else like.device)


# ------------------------------------------------------------------------------------------------- inputs
def _declared(i: Input) -> str:
    """The declared shape and type, as messages write them."""
    if i.shape is None:
        return str(i.dtype)
    return f"{'x'.join('?' if n is None else str(n) for n in i.shape) or 'scalar'} {i.dtype}"


def _checked(declared: tuple[Input, ...], given: tuple[Any, ...]) -> dict[str, Tensor]:
    """The inputs by name, if they are as the graph declares them."""
    name = "onnx module"
    check(
        len(given) == len(declared),
        name,
        f"expected {len(declared)} inputs ({', '.join(i.name for i in declared)}), got {len(given)}",
        TypeError,
    )
    sizes: dict[str, int] = {}
    for i, x in zip(declared, given):
        check(
            isinstance(x, Tensor),
            name,
            f"input {i.name!r} must be a Tensor or an array, got {type(x).__name__}",
            TypeError,
        )
        check(
            x.dtype == i.dtype,
            name,
            f"input {i.name!r} must be {i.dtype}, got {x.dtype}; convert it with .astype('{i.dtype}')",
            TypeError,
        )
        if i.shape is None:
            continue
        fits = x.ndim == len(i.shape) and all(
            n is None or (n if isinstance(n, int) else sizes.setdefault(n, m)) == m
            for n, m in zip(i.shape, x.shape)
        )
        known = ", ".join(f"{k} = {v}" for k, v in sizes.items())
        check(
            fits,
            name,
            f"input {i.name!r} must be {_declared(i)}, got {shape_str(x.shape)}"
            + (f" ({known})" if known else "")
            + "; give it in this shape, or export the model with dynamic extents",
        )
    return dict(zip((i.name for i in declared), given))
