"""Calls in a few words, as tables and pictures show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..checks import shape_str
from .values import Call, Value

#: Ops whose first argument is the name of what they compute.
NAMED = frozenset(("binary_fwd", "reduce_fwd", "scan", "ternary_fwd", "unary_fwd"))


def _each(numbers: Iterable[int]) -> str:
    """One number if all are equal, else all of them."""
    numbers = list(numbers)
    return str(numbers[0]) if len(set(numbers)) == 1 else shape_str(numbers)


def spec_words(spec: Any) -> str:
    """The main numbers of a spec: ``3x3, stride 2, padding 1``; "" for what has none.

    >>> from fastconv.spec import conv_spec
    >>> spec_words(conv_spec("conv2d", (1, 8, 9, 9), (8, 1, 3, 3), stride=2, padding=1, groups=8))
    '3x3, stride 2, padding 1, groups 8'
    """
    if hasattr(spec, "kernel"):
        words = [shape_str(spec.kernel)]
        if set(spec.stride) != {1}:
            words.append(f"stride {_each(spec.stride)}")
        pads = spec.padding
        if any(map(any, pads)):
            symmetric = all(before == after for before, after in pads)
            shown = _each(b for b, _ in pads) if symmetric else ", ".join(f"{b}+{a}" for b, a in pads)
            words.append(f"padding {shown}")
        if set(spec.dilation) != {1}:
            words.append(f"dilation {_each(spec.dilation)}")
        if getattr(spec, "groups", 1) != 1:
            words.append(f"groups {spec.groups}")
        return ", ".join(words)
    if hasattr(spec, "out_size"):
        mode = getattr(spec, "mode", "")
        return f"to {shape_str(spec.out_size)}{', ' * bool(mode)}{mode}"
    return ""


def call_words(call: Call) -> tuple[str, str]:
    """The op of a call, with the name of what it computes, and the rest of it in a few words.

    A convolution that adds a residual and applies an activation is ``conv_fwd + add + relu``.
    """
    if call.op in NAMED:
        numbers = [f"{a:g}" for a in call.args[1:] if isinstance(a, (int, float)) and not isinstance(a, bool)]
        return str(call.args[0]), ", ".join(numbers)
    title = call.op.removesuffix("_fwd")
    if call.op in ("conv_bwd_data", "conv_transpose_fwd"):
        title = "transposed conv"
    specs = [spec_words(a) for a in call.args if not isinstance(a, (Value, tuple, list, str, int, float))]
    if call.op in ("conv_fwd", "batch_norm_fwd"):
        residual, activation = (*call.args, None, None)[5:7]
        title += " + add" if residual is not None else ""
        if activation is not None:
            title += f" + {activation if isinstance(activation, str) else activation[0]}"
    return title, ", ".join(filter(None, specs))
