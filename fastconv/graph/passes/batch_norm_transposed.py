"""The scale of a BatchNorm goes into the weights of the transposed convolution before it.

::

    convT(x, w)   (+ b)   norm              ->  convT(x, w * s)   + (b - mean) * s + t
    convT(x, w)   + b     norm, then relu   ->  convT(x, w)       norm with mean - b, then relu

Engines have no bias for a transposed convolution, so the shift is a call of its own. Where a ReLU follows,
the norm computes shift and ReLU in one pass over memory; then it stays and takes in the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

from ...spec import ConvSpec
from ..constants import Constants
from ..program import Call, Program, Value
from .norm import Norm, constant, host
from .rewriting import Rewriting


def batch_norm_transposed(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each constant BatchNorm after a transposed convolution folded."""
    work, users = Rewriting(program), program.users()
    for call in program.calls:
        norm = Norm.of(call)
        if norm is None or not norm.constant or norm.residual is not None:
            continue
        before, bias, y = work.only_reader(norm.x), None, norm.x
        if before is not None and (added := bias_of(before)) is not None:
            y, bias = added
            before = work.only_reader(y)
        if before is None or before.op != "conv_bwd_data" or before.args[1].constant is None:
            continue
        x, w, spec, algorithm, residual = _five(*before.args)
        if residual is not None:
            continue
        if norm.activation or _is_relu(users.get(call.result, [])):
            if bias is not None:
                mean = partial(_shifted_mean, engine, norm, bias)
                merged = norm._replace(x=y, mean=constants.computed("norm_bias", (norm.mean, bias), mean))
                work.replace(call, merged.call(call.result))
            continue
        compute = partial(_weight_and_shift, engine, w, spec.groups, bias, norm)
        w, shift = constants.computed("batch_norm_transposed", (w, spec.groups, bias, *norm.vectors), compute)
        scaled = Value(y.shape, y.dtype)
        work.replace(before, Call("conv_bwd_data", (x, w, spec, algorithm, None), scaled))
        work.replace(call, Call("binary_fwd", ("add", scaled, shift), call.result))
    return work.done()


def _five(x: Value, w: Value, spec: ConvSpec, algorithm: Any = None, residual: Any = None) -> tuple[Any, ...]:
    """The arguments of ``conv_bwd_data``, with those that a call leaves out."""
    return x, w, spec, algorithm, residual


def _is_relu(readers: Sequence[Call | None]) -> bool:
    """Whether a ReLU is all that reads a value."""
    reader = readers[0] if len(readers) == 1 else None
    return reader is not None and reader.op == "unary_fwd" and reader.args[0] == "relu"


def bias_of(call: Call) -> tuple[Value, Value] | None:
    """The value and the bias, a constant per channel, if ``call`` adds these."""
    if call.op != "binary_fwd" or call.args[0] != "add":
        return None
    for y, b in (call.args[1:], call.args[:0:-1]):
        if isinstance(y, Value) and isinstance(b, Value) and y.ndim > 2 and y.shape == call.result.shape:
            per_channel = (1, y.shape[1], *(1,) * (y.ndim - 2))
            if b.constant is not None and b.shape in (per_channel, per_channel[1:]) and b.dtype == y.dtype:
                return y, b
    return None


def _shifted_mean(engine: Any, norm: Norm, bias: Value) -> Value:
    return constant(engine, host(engine, norm.mean) - host(engine, bias).reshape(-1), norm.mean)


def _weight_and_shift(
    engine: Any, w: Value, groups: int, bias: Value | None, norm: Norm
) -> tuple[Value, Value]:
    """The weights with the scale in them, and the shift as an image of one pixel."""
    scale, shift = norm.scale_and_shift(engine)
    if bias is not None:
        shift = shift + host(engine, bias).reshape(-1) * scale
    # groups, channels in and out of a group, elements of the kernel
    old = host(engine, w).reshape(groups, w.shape[0] // groups, w.shape[1], prod(w.shape[2:]))
    new = (old * scale.reshape(groups, 1, -1, 1)).reshape(w.shape)
    pixel = shift.reshape(1, -1, *(1,) * (w.ndim - 2))
    return constant(engine, new, w), constant(engine, pixel, w)
