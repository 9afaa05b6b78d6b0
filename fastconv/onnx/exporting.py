"""``fc.onnx.export``: a network is captured as a program, and its calls become the nodes of an ONNX file."""

# protobuf's classes have no types
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import backends
from .._version import __version__
from ..checks import check, flag, shape_str
from ..creation import argument
from ..graph import CannotCapture, Constants, Program, Value, capture
from ..graph.passes.dead_calls import dead_calls
from ..graph.passes.fold_constants import fold_constants
from ..graph.program import Call, values_in
from ..nn import Module
from ..typing import PathLike, TensorLike
from .lowering import LOWERINGS
from .package import package
from .writer import ELEMENT_TYPES, NAME, Writer

OPSET, IR_VERSION = 18, 8
#: Calls with the shape of their result among the arguments; it may depend on the batch.
OF_SHAPES = ("broadcast_to", "reshape")
#: protobuf's limit for one message, in bytes.
LARGEST = (1 << 31) - 1


def export(
    net: Module,
    x: TensorLike | Sequence[TensorLike],
    path: PathLike,
    *,
    dynamic_batch: bool = False,
) -> None:
    """Write a network as an ONNX file (opset 18), as it computes in evaluation mode.

    The network runs once, and what it asks of the engine is written. So Python code in it (loops, branches)
    is written as it ran for ``x``.

    Parameters
    ----------
    net : Module
        It is not changed.
    x : Tensor, array, or tuple of these
        Inputs of the shapes and types that the file is for.
    path : str or os.PathLike
        Written atomically: after an error, an older file is unchanged.
    dynamic_batch : bool
        Leave the first extent of all inputs open. The network runs a second time, with twice the batch, to
        show which shapes depend on it.

    Raises
    ------
    ImportError
        The package ``onnx`` is not installed.
    ValueError
        The network computes something that opset 18 has no operator for, reads the numbers of a tensor, or,
        with ``dynamic_batch``, computes in another way for another batch.

    Examples
    --------
    >>> net = fc.models.lenet5()
    >>> fc.onnx.export(net, fc.zeros(1, 1, 28, 28), "lenet.onnx", dynamic_batch=True)  # doctest: +SKIP
    """
    onnx = package(NAME)
    check(isinstance(net, Module), NAME, f"expected a Module, got {type(net).__name__}", TypeError)
    flag(NAME, "dynamic_batch", dynamic_batch)
    given = x if isinstance(x, (tuple, list)) else (x,)
    tensors = [argument(NAME, "x", t) for t in given]
    devices = {t.device for t in (*tensors, *net.parameters(), *net.buffers())}
    check(devices <= {"cpu"}, NAME, "a network on the GPU is not written; give net.cpu() and x.cpu()")
    arrays: list[Any] = [t.array for t in tensors]
    engine: Any = backends.engine_of("cpu")
    with _evaluation(net):
        program = _captured(net, engine, arrays)
        varying = _varying(program, _captured(net, engine, _doubled(arrays))) if dynamic_batch else {}
    names = {id(t.array): name for name, t in (*net.named_parameters(), *net.named_buffers())}
    writer = Writer(onnx, engine, program, names, varying)
    _write(_model(onnx, program, writer), path)


@contextlib.contextmanager
def _evaluation(net: Module) -> Generator[None]:
    """``net`` in evaluation mode, and then as it was."""
    training = [m for m in net.modules() if m.training]
    net.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _captured(net: Module, engine: Any, arrays: Sequence[Any]) -> Program:
    """The calls that the results need, without those of constants."""
    try:
        program = capture(net, arrays)[0]
    except CannotCapture as e:
        raise ValueError(f"{NAME}: {type(net).__name__} cannot be written as a graph: {e}") from None
    constants = Constants()
    for run in (fold_constants, dead_calls):
        program = run(program, engine, constants)
    return program


# ------------------------------------------------------------------------------------------------- the batch
def _doubled(arrays: Sequence[Any]) -> list[Any]:
    """The inputs with twice the batch."""
    sizes = {a.shape[:1] for a in arrays}
    check(
        len(sizes) == 1 and all(a.ndim and a.shape[0] for a in arrays),
        NAME,
        "dynamic_batch: all inputs must have the same first extent, which is not 0, got "
        f"{', '.join(shape_str(a.shape) for a in arrays)}",
    )
    return [np.concatenate([np.asarray(a)] * 2) for a in arrays]


def _varying(program: Program, other: Program) -> dict[Value, tuple[bool, ...]]:
    """For each value of ``program`` which of its extents ``other``, of another batch, has changed."""
    check(_alike(program.calls, other.calls), NAME, _CHANGED)
    found: dict[Value, tuple[bool, ...]] = {}
    pairs = list(zip(program.inputs, other.inputs))
    for mine, theirs in zip(program.calls, other.calls):
        ours, others = list(values_in(mine.result)), list(values_in(theirs.result))
        check(len(ours) == len(others), NAME, _CHANGED)
        pairs += zip(ours, others)
    for a, b in pairs:
        check(a.ndim == b.ndim, NAME, _CHANGED)
        found[a] = tuple(m != n for m, n in zip(a.shape, b.shape))
    return found


_CHANGED = "the network computes in another way for another batch; export it with dynamic_batch=False"


def _alike(calls: Sequence[Call], others: Sequence[Call]) -> bool:
    """Whether both lists call the same ops with the same constants."""
    return len(calls) == len(others) and all(
        a.op == b.op
        and len(a.inputs) == len(b.inputs)
        and all(map(_same, a.inputs, b.inputs))
        and (a.op in OF_SHAPES or _options(a.args) == _options(b.args))
        for a, b in zip(calls, others)
    )


def _options(args: Any) -> Any:
    """The arguments of a call without values; specs without the batch."""
    if isinstance(args, (tuple, list)):
        return [_options(a) for a in args]
    if isinstance(args, Value):
        return None
    return dataclasses.replace(args, batch=0) if hasattr(args, "batch") else args


def _same(a: Value, b: Value) -> bool:
    if a.constant is None or b.constant is None or a.constant is b.constant:
        return (a.constant is None) == (b.constant is None)
    return a.shape == b.shape and np.array_equal(np.asarray(a.constant), np.asarray(b.constant))


# ------------------------------------------------------------------------------------------------- the file
def _model(onnx: Any, program: Program, writer: Writer) -> Any:
    """The ``ModelProto``, checked."""
    several = len(program.inputs) > 1
    for i, v in enumerate(program.inputs):
        writer.bind(v, writer.fresh(f"input_{i}" if several else "input"))
    for call in program.calls:
        _lower(writer, call)
    results = list(_named(program.output))
    outputs = []
    for name, v in results:
        # a result may be a constant, an input or another result, and needs a name of its own
        outputs.append((writer.node("Identity", writer[v], name=writer.fresh(name)), v))
    about = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        writer.nodes,
        "fastconv",
        [about(writer[v], ELEMENT_TYPES[v.dtype], _extents(writer, v)) for v in program.inputs],
        [about(name, ELEMENT_TYPES[v.dtype], _extents(writer, v)) for name, v in outputs],
        writer.initialisers,
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="fastconv",
        producer_version=__version__,
        ir_version=IR_VERSION,
    )
    check(model.ByteSize() < LARGEST, NAME, "the weights have 2 GB or more, which one ONNX file cannot hold")
    onnx.checker.check_model(model, full_check=True)
    return model


def _lower(writer: Writer, call: Call) -> None:
    """Add the nodes of ``call``, and name its results."""
    lower = LOWERINGS.get(call.op)
    check(lower is not None, NAME, f"the operation {call.op} has no operator in ONNX")
    assert lower is not None
    writer.call = call
    names = lower(writer, *call.args)
    values, names = (v if isinstance(v, tuple) else (v,) for v in (call.result, names))
    for value, name in zip(values, names):
        if name is not None:
            writer.bind(value, name)
        else:
            check(not writer.is_read(value), NAME, f"a second result of {call.op} has no operator in ONNX")


def _named(output: Any) -> list[tuple[str, Value]]:
    """The results with their names: those of a dict, else ``output`` or ``output_0``, ..."""
    if isinstance(output, dict) and all(isinstance(v, Value) for v in output.values()):
        return [(str(k), v) for k, v in output.items()]
    values = list(values_in(output))
    return [("output" if len(values) == 1 else f"output_{i}", v) for i, v in enumerate(values)]


def _extents(writer: Writer, v: Value) -> list[int | str | None]:
    """The declared shape; an extent that is the batch is called so."""
    return [
        ("batch" if i == 0 else None) if varies else n
        for i, (n, varies) in enumerate(zip(v.shape, writer.varies(v)))
    ]


def _write(model: Any, path: PathLike) -> None:
    target = Path(os.path.realpath(os.fsdecode(path)))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(model.SerializeToString())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
