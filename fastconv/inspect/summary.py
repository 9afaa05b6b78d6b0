"""Shapes, parameters, multiply-adds, memory and receptive field of every layer, found without arithmetic."""

# The arguments of an op are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from .. import backends
from ..backends.contract import Engine
from ..checks import check, int_tuple, shape_str
from ..dtypes import FLOAT32
from ..nn import Module
from ..spec import AdaptivePoolSpec, ConvSpec, PoolSpec, receptive_field
from ..table import Shown, Table
from ..tape import no_grad
from ..tensor import Tensor
from .observe import VIEWS, Observer, kind, macs, parts


@dataclass
class LayerSummary:
    """One call of a layer.

    Attributes
    ----------
    name, type : str
        Dotted name and class.
    output_shape : tuple of int
    params : int
        The layer's own parameters; those that an earlier row has counted are left out.
    macs : int
        Multiply-adds of convolutions and matrix products.
    activation_bytes : int
        Memory of the output; 0 if the output is a view of the input.
    receptive_field : int, tuple of int or None
        Extent of the input that one position of the output depends on; a tuple where the dimensions differ.
        None behind Flatten, where there are no positions, and where positions differ in it.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] = ()
    params: int = 0
    macs: int = 0
    activation_bytes: int = 0
    receptive_field: int | tuple[int, ...] | None = None


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """What :func:`summary` found; shown as a table.

    Attributes
    ----------
    name : str
        The network's class.
    input_shape : tuple of int
    layers : list of LayerSummary
        In the order of the calls.
    total_params, total_macs, total_flops : int
        ``total_flops`` is ``2 * total_macs``.
    param_bytes, activation_bytes : int
        Memory of the parameters, and of the outputs of all layers together.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: list[LayerSummary]
    total_params: int
    total_macs: int
    total_flops: int
    param_bytes: int
    activation_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for ``json``."""
        return asdict(self)

    def table(self) -> Table:
        """The layers as a table; ``print`` and notebooks show it."""
        head = ("layer", "type", "output shape", "parameters", "multiply-adds", "bytes", "sees")
        rows: list[tuple[str, ...]] = []
        for x in self.layers:
            field = x.receptive_field
            sees = "" if field is None else shape_str(field if isinstance(field, tuple) else (field,))
            counts = [f"{n:,}" if n else "" for n in (x.params, x.macs, x.activation_bytes)]
            rows.append((x.name or "(top)", x.type, shape_str(x.output_shape), *counts, sees))
        total = (
            f"{self.total_params:,} parameters ({self.param_bytes / 2**20:,.1f} MB), "
            f"{self.total_macs:,} multiply-adds = {self.total_flops:,} FLOPs, "
            f"activations {self.activation_bytes / 2**20:,.1f} MB"
        )
        return Table(head, rows, "lllrrrr", f"{self.name}, input {shape_str(self.input_shape)}", total)


def summary(net: Module, input_shape: Sequence[int]) -> Summary:
    """Count a network layer by layer.

    The network's ``forward`` runs once, in evaluation mode, on arrays that have a shape and no memory of
    their own. Convolutions, pooling and dense layers compute shapes only, so even a large batch of a large
    network takes milliseconds.

    Parameters
    ----------
    net : Module
    input_shape : sequence of int
        With the batch: ``(1, 3, 224, 224)``.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError, TypeError
        ``net`` is no module, ``input_shape`` is no shape, or a layer refuses an input of this shape.

    Examples
    --------
    >>> import fastconv as fc
    >>> from fastconv import nn
    >>> fc.summary(nn.Linear(3, 2), (1, 3)).total_params
    8
    """
    is_module = isinstance(net, Module)  # pyright: ignore[reportUnnecessaryIsInstance]
    check(is_module, "summary", f"expected an nn.Module, got {type(net).__name__}", TypeError)
    check(
        isinstance(input_shape, (tuple, list)) and len(input_shape) > 0,
        "summary",
        f"input_shape must be a sequence of ints, the batch included, got {input_shape!r}",
        TypeError,
    )
    shape = int_tuple("summary", "input_shape", input_shape, len(input_shape), 1)
    params = list(net.parameters())
    dtype = next((t.dtype for t in (*params, *net.buffers()) if t.dtype.kind == "f"), FLOAT32)
    x = Tensor(_blank(shape, dtype))
    observer = _Shapes(net, x)
    training = [(m, m.training) for m in net.modules()]
    kept = [(t, t.array) for t in (*params, *net.buffers())]
    with ExitStack() as after:
        for m, mode in training:
            after.callback(setattr, m, "training", mode)
        for t, array in kept:  # nothing is read from or written to the network's own memory, wherever it is
            after.callback(setattr, t, "array", array)
            t.array = _blank(array.shape, array.dtype)
        net.eval()
        for manager in (backends.backend("numpy"), no_grad(), np.errstate(all="ignore"), observer):
            after.enter_context(manager)
        net(x)
    # A module that has others inside has a row only if it does work of its own.
    layers = [row for (m, _), row in observer.rows.items() if row.params or row.macs or not any(m.children())]
    total = sum(row.macs for row in layers)
    return Summary(
        type(net).__name__,
        shape,
        layers,
        sum(p.numel() for p in params),
        total,
        2 * total,
        sum(p.numel() * p.element_size() for p in params),
        sum(row.activation_bytes for row in layers),
    )


def _blank(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Zeros of any shape in the memory of one element."""
    return np.broadcast_to(np.zeros((), dtype), shape)


#: The (kernel, stride) steps along one dimension.
Path: TypeAlias = tuple[tuple[int, int], ...]


class _Shapes(Observer):
    """Computes shapes, and follows the receptive field of every position."""

    faithful = False

    def __init__(self, net: Module, x: Tensor):
        super().__init__(net)
        self.counted: set[Tensor] = set()
        # id of an op's result -> the result, which is kept because another array could get its id
        self.new: dict[int, Any] = {}
        # id of an array -> the array, and for each dimension the steps that lead to it
        self.paths: dict[int, tuple[Any, list[Path]]] = {id(x.array): (x.array, [()] * (x.ndim - 2))}

    def row(self, name: str, module: Module) -> LayerSummary:
        own = {p: None for m in parts(module) for p in m.parameters(recurse=False) if p not in self.counted}
        self.counted.update(own)
        return LayerSummary(name, kind(module), params=sum(p.numel() for p in own))

    def returned(self, row: LayerSummary, module: Module, out: Any) -> None:
        if isinstance(out, Tensor):
            row.output_shape = out.shape
            if self.new.pop(id(out.array), None) is not None:
                row.activation_bytes = prod(out.shape) * out.element_size()
            fields = [
                receptive_field(path)[-1] if path else 1
                for path in self.paths.get(id(out.array), ((), ()))[1]
            ]
            row.receptive_field = (fields[0] if len(set(fields)) == 1 else tuple(fields)) if fields else None

    def run(
        self,
        row: LayerSummary | None,
        engine: Engine,
        op: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        if op in ("setitem", "index_add", "scatter"):
            # a whole array gets new values, and with them their receptive field
            if args[1] is Ellipsis and id(args[2]) in self.paths:
                self.paths[id(args[0])] = args[0], self.paths[id(args[2])][1]
            return None
        if row is not None:
            row.macs += macs(op, args)
        spec: Any = next((a for a in args if isinstance(a, (ConvSpec, PoolSpec, AdaptivePoolSpec))), None)
        everything = (*args, *options.values())
        arrays = [
            a
            for arg in everything
            for a in (arg if isinstance(arg, list) else [arg])
            if isinstance(a, np.ndarray)
        ]
        if op == "conv_bwd_data":
            y = _blank(spec.x_shape, args[0].dtype)
        elif spec is not None and op.endswith("_fwd"):
            y: Any = _blank(spec.y_shape, args[0].dtype)
            y = (y, _blank(spec.y_shape, np.int64)) if "max" in op else y
        elif op == "linear_fwd":
            y = _blank((args[0].shape[0], args[1].shape[0]), args[0].dtype)
        elif op == "unary_fwd" or op == "batch_norm_fwd":
            y = _blank(arrays[0].shape, arrays[0].dtype)
        elif op in VIEWS:
            y = getattr(engine, op)(*args, **options)
        else:
            y = getattr(engine, op)(*args, **options)
            y = (
                tuple(_blank(a.shape, a.dtype) for a in y)
                if isinstance(y, tuple)
                else _blank(y.shape, y.dtype)
            )
        first = y[0] if isinstance(y, tuple) else y
        if op not in VIEWS:
            self.new[id(first)] = first
        steps = self._follow(op, spec, arrays, first)
        if steps is not None:
            self.paths[id(first)] = first, steps
        return y

    def _follow(self, op: str, spec: Any, arrays: list[Any], y: Any) -> list[Path] | None:
        """The steps to ``y``: those to the argument with the largest receptive field, and this op's own."""
        known = [self.paths[id(a)][1] for a in arrays if id(a) in self.paths]
        if not known or op == "conv_bwd_data" or op in VIEWS:
            return None
        longest = [max(paths, key=lambda p: receptive_field(p)[-1] if p else 1) for paths in zip(*known)]
        if isinstance(spec, AdaptivePoolSpec):
            if any(i % o for i, o in zip(spec.in_size, spec.out_size)):
                return None
            return [(*p, (i // o, i // o)) for p, i, o in zip(longest, spec.in_size, spec.out_size)]
        if spec is not None:
            extents = [d * (k - 1) + 1 for k, d in zip(spec.kernel, spec.dilation)]
            return [(*p, step) for p, step in zip(longest, zip(extents, spec.stride))]
        return longest if y.shape[2:] == arrays[0].shape[2:] else None
