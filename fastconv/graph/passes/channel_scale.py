"""A product with a constant for each channel goes into the weights and the bias of the layer before it.

::

    (w * x + b) * s  =  (w * s) * x  +  b * s          s: one number for each output channel

So does the layer scale of ConvNeXt, behind a dense layer whose result is permuted (Liu et al.: A ConvNet for
the 2020s, 2022).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution
from .rewriting import Rewriting


def channel_scale(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such product folded into the layer before it."""
    work = Rewriting(program)
    for call in program.calls:
        if call.op != "binary_fwd" or call.args[0] != "mul":
            continue
        for product, scale in (call.args[1:], call.args[:0:-1]):
            if isinstance(product, Value) and isinstance(scale, Value) and scale.constant is not None:
                _fold(work, call, product, scale, engine, constants)
                break
    return work.done()


def _fold(
    work: Rewriting, call: Call, product: Value, scale: Value, engine: Any, constants: Constants
) -> None:
    axis = _axis(product.shape, scale.shape)
    if axis is None or product.shape != call.result.shape or product.dtype != scale.dtype:
        return
    layer = moved = work.only_reader(product)
    while layer is not None and axis is not None and layer.op in ("reshape", "permute"):
        axis = _axis_before(layer, axis)
        layer = work.only_reader(layer.args[0])
    if layer is None or moved is None or axis is None:
        return
    conv = Convolution.of(layer)
    if conv is not None:
        plain = conv.constant and axis == 1 and conv.residual is None and conv.activation is None
        weight, bias = conv.weight, conv.bias
    elif layer.op == "linear_fwd":
        _, weight, bias = layer.args
        plain = weight.constant is not None and (bias is None or bias.constant is not None) and axis == 1
    else:
        return
    if not plain:
        return
    w, b = constants.computed(
        "channel_scale", (weight, bias, scale), partial(_scaled, engine, weight, bias, scale)
    )
    args = (layer.args[0], w, b, *layer.args[3:])
    if moved is layer:
        work.merge(layer, call, Call(layer.op, args, call.result))
    else:
        work.replace(layer, Call(layer.op, args, layer.result))
        work.merge(moved, call, Call(moved.op, moved.args, call.result))


def _axis(shape: tuple[int, ...], scale: tuple[int, ...]) -> int | None:
    """The axis of ``shape`` that ``scale`` has a number for each place of; None if there is no such axis."""
    if len(scale) > len(shape):
        return None
    wide = [i for i, n in enumerate(scale) if n != 1]
    axis = wide[0] + len(shape) - len(scale) if len(wide) == 1 else -1
    return axis if axis >= 0 and shape[axis] == scale[wide[0]] else None


def _axis_before(move: Call, axis: int) -> int | None:
    """Which axis of what ``move`` reads becomes ``axis`` of its result; None if that is no whole axis."""
    source = move.args[0].shape
    if move.op == "permute":
        return int(move.args[1][axis])
    last = axis == move.result.ndim - 1 and source[-1:] == move.result.shape[-1:]
    return len(source) - 1 if last else None


def _scaled(engine: Any, w: Value, b: Value | None, scale: Value) -> tuple[Value, Value | None]:
    """Weight and bias times the scale, computed in float64."""
    factor = engine.to_host(scale.constant).astype(np.float64).reshape(-1)

    def times(v: Value) -> Value:
        values = engine.to_host(v.constant).astype(np.float64)
        return Value.of(engine.asarray((values.T * factor).T.astype(v.dtype)))

    return times(w), None if b is None else times(b)
