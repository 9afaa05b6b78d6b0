"""A graph of torch.fx as :class:`Steps`: which node runs where, and what is converted between them."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

from .fusion import FLOATS, FUSED, is_node, value_of
from .lowering import OPS
from .steps import ENGINE, Step, Steps
from .tensors import (
    as_int64,
    collected,
    collected_arrays,
    item,
    item_of_op,
    to_array,
    to_tensor,
    with_strides,
)

#: What a node's value is: a tensor of PyTorch, an array of the engine, or neither (numbers, several results).
TENSOR, ARRAY, OTHER = "tensor", "array", "other"
#: Ops of aten that look at the strides of their inputs.
STRIDED = (
    "aten.as_strided.default",
    "aten.as_strided_scatter.default",
    "aten.view.default",
    "aten.view.dtype",
    "aten._unsafe_view.default",
)
#: Dtypes of the tensors that an op of the engine may have beside its floats.
INDICES = ("torch.int32", "torch.int64")


def build(graph: Any, user_outputs: int, boundary: str = TENSOR) -> Steps:
    """The steps of a graph.

    Parameters
    ----------
    graph : torch.fx.Graph
        Functional aten ops, and the merged ones of :mod:`fusion`.
    user_outputs : int
        How many of the outputs are seen by code outside. These get the strides and dtypes that they were
        traced with; the others are for the backward pass.
    boundary : {"tensor", "array"}
        What inputs and outputs are. With arrays, nothing is converted and outputs have any strides.
    """
    return _Builder(graph, boundary).steps(user_outputs)


def lowering_of(node: Any) -> Any:
    """The function of the engine that computes ``node``; None if PyTorch does."""
    if node.target in FUSED:
        return node.target
    found = OPS.get(str(node.target))
    if found is None or not all(map(_is_known, node.all_input_nodes)):
        return None
    values = [value_of(a) for a in node.all_input_nodes]
    tensors = [v for v in values if hasattr(v, "dtype")]
    kinds = {str(v.dtype) for v in tensors}
    floats = kinds.intersection(FLOATS)
    if kinds - {*FLOATS, *INDICES} or len(floats) != 1 or str(tensors[0].dtype) not in floats:
        return None
    options = {k: v for k, v in node.kwargs.items() if k != "memory_format"}
    if any(is_node(v) for v in options.values()) or not found.accepts(*_traced(node.args), **options):
        return None
    return partial(found.run, **options) if options else found.run


def _is_known(node: Any) -> bool:
    """Whether the value of a node is a plain tensor in the memory of the host, or a number."""
    value = value_of(node)
    if not hasattr(value, "dtype"):
        return not isinstance(value, (tuple, list))
    return value.device.type == "cpu" and str(value.layout) == "torch.strided"


def _traced(structure: Any) -> Any:
    if is_node(structure):
        return value_of(structure)
    if isinstance(structure, (tuple, list)):
        return tuple(map(_traced, structure))
    return structure


def _plain(structure: Any) -> Any:
    """Lists of torch.fx as tuples, for pickles without PyTorch."""
    return tuple(map(_plain, structure)) if isinstance(structure, (tuple, list)) else structure


class _Builder:
    def __init__(self, graph: Any, boundary: str):
        import torch

        self.graph, self.boundary = graph, boundary
        self.to_tensor = partial(to_tensor, torch.from_numpy)
        self.count_change = torch.autograd.graph.increment_version
        self.template: list[Any] = [None]
        self.found: list[Step] = []
        self.places: dict[Any, int] = {}  # node -> place of its value
        self.kinds: dict[Any, str] = {}
        self.converted: dict[tuple[Any, str], int] = {}
        self.constants: dict[Any, int] = {}
        self.lowered = {n: lowering_of(n) for n in graph.nodes if n.op == "call_function"}

    # -------------------------------------------------------------------------------------------- places
    def place(self, value: Any = None) -> int:
        """A new place with ``value`` in it."""
        self.template.append(value)
        return len(self.template) - 1

    def step(self, run: Any, places: Any, name: str = "") -> int:
        """A new step; the place of its result."""
        result = self.place()
        self.found.append(Step(run, tuple(places), result, name))
        return result

    def node(self, node: Any, kind: str) -> int:
        """The place of a node's value as a tensor or an array."""
        if self.kinds[node] in (OTHER, kind):
            return self.places[node]
        if (node, kind) not in self.converted:
            run = to_array if kind == ARRAY else self.to_tensor
            self.converted[node, kind] = self.step(run, [self.places[node]])
        return self.converted[node, kind]

    def argument(self, value: Any, kind: str) -> int:
        """The place of an argument."""
        if is_node(value):
            return self.node(value, kind)
        if isinstance(value, (tuple, list)) and any(map(is_node, value)):
            places = [self.argument(v, kind) for v in value]
            if kind == ARRAY:
                return self.step(collected_arrays, [ENGINE, *places])
            return self.step(collected, places)
        return self.constant(_plain(value) if kind == ARRAY else value)

    def constant(self, value: Any) -> int:
        """The place of a constant."""
        if not (value is None or isinstance(value, (bool, int, float, str))):
            return self.place(value)
        key = type(value), repr(value)
        if key not in self.constants:
            self.constants[key] = self.place(value)
        return self.constants[key]

    # -------------------------------------------------------------------------------------------- nodes
    def steps(self, user_outputs: int) -> Steps:
        """The steps of all nodes."""
        inputs = [n for n in self.graph.nodes if n.op == "placeholder"]
        places = [self.place() for _ in inputs]
        for node, place in zip(inputs, places):
            self.define(node, place, self.boundary)
        outputs: list[int] = []
        for node in self.graph.nodes:
            if node.op == "get_attr":
                value = operator.attrgetter(node.target)(self.graph.owning_module)
                self.define(node, self.place(value), TENSOR)
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                outputs = [self.output(v, i < user_outputs) for i, v in enumerate(node.args[0])]
        return Steps(self.template, len(inputs), self.found, outputs)

    def define(self, node: Any, place: int, kind: str) -> None:
        """A node's value is in ``place``.

        A tensor that the engine reads becomes an array at once, so that steps of the engine stay together.
        """
        self.places[node], self.kinds[node] = place, kind if _is_tensor(node) else OTHER
        if self.kinds[node] == TENSOR and any(self.lowered.get(user) for user in node.users):
            self.node(node, ARRAY)

    def call(self, node: Any) -> None:
        """The step of an op or a function."""
        lowered, source = self.lowered[node], node.args[0] if node.args else None
        if node.target is operator.getitem and self.kinds.get(source) == OTHER:
            places = [self.places[source], self.constant(node.args[1])]
            if self.lowered.get(source):
                self.define(node, self.step(item_of_op, [ENGINE, *places]), ARRAY)
            else:
                self.define(node, self.step(item, places), TENSOR)
        elif lowered is not None:
            name = node.target.__name__ if node.target in FUSED else str(node.target)
            places = [ENGINE, *(self.argument(a, ARRAY) for a in node.args)]
            self.define(node, self.step(lowered, places, name), ARRAY)
            for index in FUSED.get(node.target, ()):
                if node.args[index] is not None:
                    self.step(self.count_change, [self.node(node.args[index], TENSOR)])
        else:
            self.fallback(node)

    def fallback(self, node: Any) -> None:
        """An op of PyTorch itself, or a function of numbers."""
        target, name = node.target, str(node.target)
        values = [*node.args, *node.kwargs.values()]
        strided = name in STRIDED or not name.startswith("aten.")  # ops of other libraries may
        places = [self.as_traced(v, self.argument(v, TENSOR), strided) for v in values]
        if node.kwargs:
            target = partial(_with_options, target, len(node.args), tuple(node.kwargs))
        is_op = hasattr(node.target, "overloadpacket")
        self.define(node, self.step(target, places, name if is_op else ""), TENSOR)

    def as_traced(self, value: Any, place: int, strides: bool = True) -> int:
        """The place of a tensor with the dtype, and if ``strides`` the strides, that it was traced with."""
        if not _is_tensor(value):
            return place
        traced = value_of(value)
        if str(traced.dtype) == "torch.int64":
            place = self.step(as_int64, [place])
        return self.step(partial(with_strides, *_strides(traced)), [place]) if strides else place

    def output(self, value: Any, seen_by_user: bool) -> int:
        """The place of an output."""
        if not is_node(value):
            return self.constant(value)
        place = self.node(value, self.boundary)
        return self.as_traced(value, place) if seen_by_user and value.op != "placeholder" else place


def _is_tensor(value: Any) -> bool:
    return is_node(value) and hasattr(value_of(value), "dtype")


def _with_options(target: Any, count: int, names: tuple[str, ...], *values: Any) -> Any:
    """``target`` with the last values as keywords."""
    return target(*values[:count], **dict(zip(names, values[count:])))


def _strides(traced: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The axes in the order of memory, and the strides if they are the same for every batch size."""
    strides = traced.stride()
    known = all(type(s) is int for s in strides)
    hints = [s if type(s) is int else s.node.hint for s in strides]
    order = tuple(sorted(range(len(hints)), key=lambda i: (-hints[i], i)))
    return order, tuple(strides) if known else None
