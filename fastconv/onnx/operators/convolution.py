"""Convolutions."""

from __future__ import annotations

from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, row
from .windows import flat, pairs, per_dimension, spatial, split_padding, window

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv."""
    w = window(node, x, weight.shape[2:])
    return CONV[spatial(node, x)](x, weight, bias, w.stride, w.padding, w.dilation, node.get("group", 1))


def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose. Negative padding and long output padding add elements that only the bias reaches."""
    n = spatial(node, x)
    stride, dilation = per_dimension(node, "strides", n), per_dimension(node, "dilations", n)
    extra = tuple(node.get("output_padding", (0,) * n))
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    natural = [
        (i - 1) * s + d * (k - 1) + 1 for i, s, d, k in zip(x.shape[2:], stride, dilation, weight.shape[2:])
    ]
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [i * s for i, s in zip(x.shape[2:], stride)]
    if wanted is not None:
        totals = [m + e - o for m, e, o in zip(natural, extra, list(wanted)[-n:])]
        padding = [split_padding(total, auto) for total in totals]
    else:
        padding = list(pairs(node, "pads", n)) if auto == "NOTSET" else [(0, 0)] * n
    inner = [(max(before, 0), max(after, 0)) for before, after in padding]
    outer = [(max(-before, 0), max(-after, 0) + e) for (before, after), e in zip(padding, extra)]
    group = node.get("group", 1)
    at_end = all(b == 0 and a < max(s, d) for (b, a), s, d in zip(outer, stride, dilation))
    if at_end:
        longer = tuple(a for _, a in outer)
        return CONV_TRANSPOSE[n](x, weight, bias, stride, inner, longer, group, dilation)
    y = F.pad(CONV_TRANSPOSE[n](x, weight, None, stride, inner, 0, group, dilation), flat(outer))
    return y if bias is None else y + bias.reshape(-1, *(1,) * n)


OPERATORS: dict[str, Operator] = {"Conv": row(conv), "ConvTranspose": row(conv_transpose)}
