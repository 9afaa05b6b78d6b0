"""From a file to a :class:`Graph`: nodes, constants and inputs, all of them checked.

Nothing in a file is executed, and of other files only weights are read that lie in the folder of the model.
"""

# protobuf's classes have no types
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import LIMIT, check, shape_str
from ..typing import PathLike
from .node import Node
from .operators import OPERATORS
from .package import DTYPES, package, type_name

NAME = "onnx.load"
#: The versions of the default operator set that are supported.
OLDEST, NEWEST = 7, 28
#: The names of ONNX's own domain.
DOMAINS = ("", "ai.onnx")
CURE = "onnx.checker.check_model shows what is wrong; export the model again"


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes
    ----------
    name : str
    dtype : numpy.dtype
        The type that fastconv computes it in.
    shape : tuple of int, str or None, or None
        Extents; a name stands for one that is the same wherever the name occurs, None for any. None alone:
        the rank is not known.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None


@dataclass
class Graph:
    """A checked graph: nodes are in order, ``outputs`` are the names of the results."""

    opset: int
    nodes: list[Node]
    inputs: list[Input]
    outputs: list[str]
    initialisers: dict[str, np.ndarray]


def read(source: PathLike | bytes | Any) -> Graph:
    """The graph in a file, in the bytes of one, or in a ``ModelProto``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TypeError
        ``source`` is none of these, or a type of numbers is not supported.
    ValueError
        The file is damaged or not ONNX, an operator or an opset is not supported, or data lie outside the
        folder of the model.
    """
    onnx = package(NAME)
    model, folder, what = _model(onnx, source)
    opset = _opset(model, what)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    _known(graph, what)
    _wired(graph, what)
    _valid(onnx, model, what)
    check(not graph.sparse_initializer, NAME, f"{what} has sparse weights, which are not supported")
    initialisers = {t.name: array(onnx, t, folder, what) for t in graph.initializer}
    nodes = [_node(onnx, n, opset, folder, what) for n in graph.node]
    inputs = [_input(i) for i in graph.input if i.name not in initialisers]
    outputs = [o.name for o in graph.output]
    return Graph(opset, nodes, inputs, outputs, initialisers)


# ------------------------------------------------------------------------------------------------- the file
def _model(onnx: Any, source: Any) -> tuple[Any, Path | None, str]:
    """The model, the folder of its file, and how messages call it."""
    if isinstance(source, onnx.ModelProto):
        return source, None, "the model"
    folder, what = None, "the model"
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    else:
        check(
            isinstance(source, (str, os.PathLike)),
            NAME,
            f"expected a path, bytes or an onnx.ModelProto, got {type(source).__name__}",
            TypeError,
        )
        path = Path(os.fsdecode(source))
        data, folder, what = path.read_bytes(), path.resolve().parent, str(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as e:  # protobuf's DecodeError
        raise ValueError(
            f"{NAME}: expected an ONNX file, got {what} with {len(data)} bytes ({e}); it is damaged, "
            "incomplete or of another kind"
        ) from None
    check(
        model.ir_version > 0 and (model.graph.node or model.graph.output),
        NAME,
        f"expected an ONNX file, got {what} with {len(data)} bytes, which holds no graph; it is "
        "damaged, incomplete or of another kind",
    )
    return model, folder, what


def _opset(model: Any, what: str) -> int:
    versions = [v.version for v in model.opset_import if v.domain in DOMAINS]
    check(versions, NAME, f"{what} does not name its version of ONNX's operators (opset_import); {CURE}")
    check(
        OLDEST <= versions[0] <= NEWEST,
        NAME,
        f"expected opset {OLDEST} to {NEWEST}, got {what} with opset {versions[0]}; convert it with "
        "onnx.version_converter, or export it with another opset",
    )
    return versions[0]


def _known(graph: Any, what: str) -> None:
    """Refuse operators that are not in the table."""
    missing: dict[str, str] = {}
    for n in graph.node:
        if n.domain not in DOMAINS or n.op_type not in OPERATORS:
            operator = n.op_type if n.domain in DOMAINS else f"{n.domain}.{n.op_type}"
            missing.setdefault(operator, _name(n))
    named = ", ".join(f"{op} (node {name!r})" for op, name in missing.items())
    check(
        not missing,
        NAME,
        f"{what} has operators that fastconv does not have: {named}; simplify the model before it is "
        "exported",
    )


def _wired(graph: Any, what: str) -> None:
    """Refuse nodes whose inputs are computed later (then the graph may have a cycle) or nowhere."""
    known = {"", *(i.name for i in graph.input), *(t.name for t in graph.initializer)}
    later = {name for n in graph.node for name in n.output}
    for n in graph.node:
        for name in n.input:
            if name in known:
                continue
            why = (
                "which is computed after it, or in a cycle"
                if name in later
                else "which no node computes and no initialiser holds"
            )
            raise ValueError(
                f"{NAME}: node {_name(n)!r} ({n.op_type}) of {what} needs {name!r}, {why}; {CURE}"
            )
        known.update(n.output)
    lost = [o.name for o in graph.output if o.name not in known]
    check(not lost, NAME, f"nothing in {what} computes the output {', '.join(map(repr, lost))}; {CURE}")


def _valid(onnx: Any, model: Any, what: str) -> None:
    """ONNX's own check: attributes, numbers of inputs, names. Inputs stand in for the weights."""
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name or "graph"
    for field in ("node", "input", "output"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    inputs = {i.name for i in model.graph.input}
    for t in model.graph.initializer:
        if t.name not in inputs:
            light.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    for value in (*light.graph.input, *light.graph.output):
        if value.type.HasField("tensor_type"):  # the check wants a shape, which many files leave out
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(light)
    except onnx.checker.ValidationError as e:
        raise ValueError(f"{NAME}: {what} is not valid: {str(e).strip()}; {CURE}") from None


# ------------------------------------------------------------------------------------------------- parts
def array(onnx: Any, tensor: Any, folder: Path | None, what: str) -> np.ndarray:
    """A tensor of the file as an array of its own; data in another file are read from ``folder`` only."""
    name, shape = tensor.name, tuple(tensor.dims)
    check(
        all(n >= 0 for n in shape) and prod(shape) < LIMIT,
        NAME,
        f"tensor {name!r} of {what} has the impossible shape {list(shape)}; {CURE}",
    )
    check(
        tensor.data_type in DTYPES,
        NAME,
        f"tensor {name!r} of {what} holds numbers of type {type_name(tensor.data_type)}, which is not "
        "supported",
        TypeError,
    )
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor = _external(onnx, tensor, folder, what)
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as e:
        raise ValueError(
            f"{NAME}: tensor {name!r} of {what} does not hold the {shape_str(shape)} numbers that it "
            f"declares ({e}); the file is damaged or incomplete"
        ) from None
    if values.dtype == np.uint64:
        check(
            values.size == 0 or values.max() < 1 << 63,
            NAME,
            f"tensor {name!r} of {what} holds unsigned numbers beyond int64, which are not supported",
        )
    return np.array(values, DTYPES[tensor.data_type])


def _external(onnx: Any, tensor: Any, folder: Path | None, what: str) -> Any:
    """A copy of ``tensor`` with the bytes that it names in another file."""
    about = {e.key: e.value for e in tensor.external_data}
    location, name = about.get("location", ""), tensor.name
    check(
        folder is not None,
        NAME,
        f"tensor {name!r} of {what} is in another file ({location!r:.80}); give the path of the model, "
        "whose folder is searched",
    )
    assert folder is not None
    path = Path(os.path.realpath(folder / location))
    check(
        location and path.is_relative_to(folder) and path != folder,
        NAME,
        f"tensor {name!r} of {what} names the file {location!r:.80}, which is outside the folder of the "
        "model and is not read; move it there, and correct the path in the model",
    )
    try:
        begin, size = int(about.get("offset", 0)), int(about.get("length", -1))
        regular = stat.S_ISREG(path.stat().st_mode)
        there = path.stat().st_size
    except (OSError, ValueError) as e:
        raise ValueError(f"{NAME}: the data of tensor {name!r} of {what} cannot be read: {e}") from None
    size = there - begin if "length" not in about else size
    check(
        regular and begin >= 0 and 0 <= size <= there - begin,
        NAME,
        f"tensor {name!r} of {what} needs {size} bytes from byte {begin} of {location!r:.80}, which has "
        f"{there}; the file is damaged or incomplete",
    )
    with open(path, "rb") as f:
        f.seek(begin)
        data = f.read(size)
    copy = onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
    copy.raw_data = data
    return copy


def _name(proto: Any) -> str:
    return proto.name or next((o for o in proto.output if o), "without a name")


def _node(onnx: Any, proto: Any, opset: int, folder: Path | None, what: str) -> Node:
    attributes = {a.name: _attribute(onnx, a, folder, what) for a in proto.attribute}
    return Node(proto.op_type, _name(proto), opset, tuple(proto.input), tuple(proto.output), attributes)


def _attribute(onnx: Any, proto: Any, folder: Path | None, what: str) -> Any:
    kinds = onnx.AttributeProto
    value = onnx.helper.get_attribute_value(proto)
    if proto.type == kinds.TENSOR:
        return array(onnx, value, folder, what)
    if proto.type == kinds.STRING:
        return value.decode("utf-8", "replace")
    if proto.type in (kinds.INT, kinds.FLOAT):
        return value
    check(
        proto.type in (kinds.INTS, kinds.FLOATS),
        NAME,
        f"attribute {proto.name!r} in {what} is neither numbers, a string nor a tensor, and is not supported",
        TypeError,
    )
    return list(value)


def _input(proto: Any) -> Input:
    kind = proto.type.tensor_type
    is_tensor = proto.type.HasField("tensor_type")
    got = type_name(kind.elem_type) if is_tensor else proto.type.WhichOneof("value")
    check(
        is_tensor and kind.elem_type in DTYPES,
        NAME,
        f"input {proto.name!r} must be a tensor of real numbers, got {got}",
        TypeError,
    )
    shape = tuple(map(_extent, kind.shape.dim)) if kind.HasField("shape") else None
    return Input(proto.name, DTYPES[kind.elem_type], shape)


def _extent(dim: Any) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
