"""Convolution and transposed convolution, forward and backward.

A transposed convolution is the backward-data pass of a convolution, so its own backward-data pass is that
convolution's forward pass::

                 convolution        transposed convolution
    forward      conv_fwd           conv_bwd_data
    gx           conv_bwd_data      conv_fwd
    gw           conv_bwd_weight    conv_bwd_weight, with x and gy exchanged
"""

from __future__ import annotations

from typing import Any

from fastconv.spec import ConvSpec, conv_spec, conv_transpose_spec

from .table import Lowering, each, pairs


def _spec(
    x: Any,
    w: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> ConvSpec:
    n = x.ndim - 2
    if transposed:
        return conv_transpose_spec(
            f"conv_transpose{n}d",
            x.shape,
            w.shape,
            each(stride, n),
            pairs(padding, n),
            each(output_padding, n),
            groups,
            each(dilation, n),
        )
    return conv_spec(
        f"conv{n}d", x.shape, w.shape, each(stride, n), pairs(padding, n), each(dilation, n), groups
    )


def convolution(
    engine: Any,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    """``y`` of aten.convolution."""
    spec = _spec(x, w, stride, padding, dilation, transposed, output_padding, groups)
    if not transposed:
        return engine.conv_fwd(x, w, bias, spec)
    y = engine.conv_bwd_data(x, w, spec)
    if bias is None:
        return y
    return engine.binary_fwd("add", y, engine.reshape(bias, (1, spec.c_in, *(1,) * spec.ndim)))


def convolution_backward(
    engine: Any,
    gy: Any,
    x: Any,
    w: Any,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    mask: Any,
    other: Any = None,
    order: tuple[int, ...] | None = None,
) -> tuple[Any, Any, Any]:
    """``gx, gw, gbias`` of aten.convolution_backward, None where ``mask`` says so.

    ``other`` is a second gradient of ``x``, which is added to ``gx``. ``order`` is the memory order of the
    parameter; autograd copies a gradient in another order.
    """
    spec = _spec(x, w, stride, padding, dilation, transposed, output_padding, groups)
    gx = gw = None
    if mask[1]:
        gw = engine.conv_bwd_weight(gy, x, spec) if transposed else engine.conv_bwd_weight(x, gy, spec)
        if order is not None:
            gw = engine.in_memory_order(gw, order)
    if mask[0] and transposed:
        gx = engine.conv_fwd(gy, w, None, spec)
    elif mask[0]:
        gx = engine.conv_bwd_data(gy, w, spec, None, other)
    return gx, gw, engine.channel_sum(gy) if mask[2] else None


def arrange(engine: Any, w: Any) -> Any:
    """``w`` with its memory in the engine's order, once for the passes forward and backward."""
    return engine.conv_arrange(w)


def _accepts(x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any) -> bool:
    return 3 <= x.ndim <= 5 and min(padding) >= 0


def _accepts_backward(
    gy: Any, x: Any, w: Any, sizes: Any, stride: Any, padding: Any, dilation: Any, *rest: Any
) -> bool:
    return 3 <= x.ndim <= 5 and min(padding) >= 0


OPS = {
    "aten.convolution.default": Lowering(convolution, _accepts),
    "aten.convolution_backward.default": Lowering(convolution_backward, _accepts_backward),
}
