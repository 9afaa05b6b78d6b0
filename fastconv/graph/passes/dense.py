"""A dense layer with constant weights is a 1x1 convolution, whose weights can be packed.

Its rows are the pixels of one image::

    x  rows x C   ->  permute  C x rows   ->  reshape  1 x C x H x W       H * W = rows
    y  rows x K   <-  permute  K x rows   <-  reshape  1 x K x H x W
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ...spec import conv_spec
from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution

WIDTH = 128


def dense(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with a convolution in the place of each such layer."""
    calls: list[Call] = []
    for call in program.calls:
        weight = call.args[1] if call.op == "linear_fwd" else None
        if weight is None or weight.constant is None or 0 in call.args[0].shape:
            calls.append(call)
            continue
        x, w, b = call.args
        size, y = _image(x.shape[0]), call.result
        turned, image = Value(x.shape[::-1], x.dtype), Value((1, x.shape[1], *size), x.dtype)
        result, turned_back = Value((1, y.shape[1], *size), y.dtype), Value(y.shape[::-1], y.dtype)
        kernel = constants.computed("dense", (w,), partial(_as_kernel, engine, w))
        spec = conv_spec("linear", image.shape, kernel.shape)
        calls += [
            Call("permute", (x, (1, 0)), turned),
            Call("reshape", (turned, image.shape), image),
            Convolution(image, kernel, b, spec).call(result),
            Call("reshape", (result, turned_back.shape), turned_back),
            Call("permute", (turned_back, (1, 0)), y),
        ]
    return Program(program.inputs, calls, program.output)


def _image(rows: int) -> tuple[int, int]:
    """Height and width of an image of so many pixels: lines of at most WIDTH pixels, where that is possible.

    Threads share lines, and a line of many pixels is what kernels compute fastest.
    """
    width = max(n for n in range(1, min(rows, WIDTH) + 1) if rows % n == 0)
    return rows // width, width


def _as_kernel(engine: Any, w: Value) -> Value:
    return Value.of(engine.reshape(w.constant, (*w.shape, 1, 1)))
