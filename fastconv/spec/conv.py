"""Geometry of convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

from ..checks import (
    DIMS,
    channels_last_hint,
    check,
    check_count,
    check_rank,
    check_shape,
    int_tuple,
    shape_str,
)
from .windows import Pairs, Windows, hashable, parse_padding


@dataclass(frozen=True)
class ConvSpec(Windows):
    """One convolution (cross-correlation) layer call, 1-D, 2-D or 3-D.

    Attributes
    ----------
    batch, c_in, c_out, groups : int
    in_size, kernel, stride, dilation, out_size : tuple of int, one per spatial dimension
    padding : tuple of (before, after), one per spatial dimension
    """

    batch: int
    c_in: int
    c_out: int
    groups: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs
    out_size: tuple[int, ...]

    __hash__ = Windows.__hash__

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        """``N, C_in, [D,] [H,] W``."""
        return (self.batch, self.c_in, *self.in_size)

    @cached_property
    def w_shape(self) -> tuple[int, ...]:
        """``C_out, C_in / groups, [D,] [H,] W``."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """``N, C_out, [D,] [H,] W``."""
        return (self.batch, self.c_out, *self.out_size)

    @property
    def depthwise(self) -> bool:
        """Whether every input channel has its own filters."""
        return self.groups == self.c_in and self.groups > 1

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one forward pass; those on padding count, as is usual."""
        return prod(self.y_shape) * (self.c_in // self.groups) * prod(self.kernel)

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass without bias: ``2 * macs``."""
        return 2 * self.macs

    def bytes(self, itemsize: int = 4) -> int:
        """The least memory traffic of one pass: input, weight and output once each."""
        return itemsize * (prod(self.x_shape) + prod(self.w_shape) + prod(self.y_shape))


@lru_cache(maxsize=4096)
def _conv_spec(
    name: str,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> ConvSpec:
    n = int(name[-2]) if name[-2].isdigit() else 2  # unfold and fold slide over images
    layout = " x ".join(DIMS[n])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {layout}")
    check_rank(name, "weight", w_shape, n + 2, f"C_out x C_in/groups x {layout}")
    stride = int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    groups = int_tuple(name, "groups", groups, 1, 1)[0]
    batch, c_in, *size = x_shape
    c_out, c_in_group, *kernel = w_shape
    check(min(w_shape) > 0, name, f"weight must not be empty, got {shape_str(w_shape)}")
    expected = c_in_group * groups
    check(
        c_in == expected,
        name,
        f"weight expects {expected} input channels (weight {shape_str(w_shape)}, groups {groups}), "
        f"input has {c_in} ({shape_str(x_shape)})" + channels_last_hint(x_shape, expected),
    )
    check(
        c_out % groups == 0,
        name,
        f"{c_out} output channels (weight {shape_str(w_shape)}) must be divisible by groups {groups}",
    )
    pads = parse_padding(name, padding, size, kernel, stride, dilation)
    out = []
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads):
        extent = d * (k - 1) + 1
        check(
            i + before + after >= extent,
            name,
            f"kernel {shape_str(kernel)} with dilation {dilation} spans {extent} but the padded input has "
            f"only {i + before + after} (input {shape_str(x_shape)}, padding {padding!r}); "
            "use more padding or a smaller kernel",
        )
        out.append((i + before + after - extent) // s + 1)
    check_count(name, "the output", (batch, c_out, *out))
    return ConvSpec(
        batch, c_in, c_out, groups, tuple(size), tuple(kernel), stride, dilation, pads, tuple(out)
    )


def conv_spec(
    name: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    bias_shape: Sequence[int] | None = None,
) -> ConvSpec:
    """Validate a convolution call and return its :class:`ConvSpec`.

    Parameters
    ----------
    name : str
        The caller's name for messages; ends in ``1d``, ``2d`` or ``3d``, which fixes the rank.
    x_shape, w_shape : tuple of int
        ``N x C_in x spatial`` and ``C_out x C_in/groups x spatial``.
    stride, dilation : int or one int per spatial dimension
    padding : see :func:`parse_padding`
    groups : int
    bias_shape : tuple of int, optional
        Must be ``(C_out,)``.

    Raises
    ------
    ValueError, TypeError
        With the function's name, what was expected and what came.

    Examples
    --------
    >>> conv_spec("conv2d", (1, 3, 32, 32), (16, 3, 3, 3), padding=1).y_shape
    (1, 16, 32, 32)
    """
    spec = _conv_spec(
        name,
        tuple(x_shape),
        tuple(w_shape),
        hashable(name, "stride", stride),
        hashable(name, "padding", padding),
        hashable(name, "dilation", dilation),
        hashable(name, "groups", groups),
    )
    if bias_shape is not None:
        check_shape(name, "bias", bias_shape, (spec.c_out,), "one entry per output channel")
    return spec


def conv_transpose_spec(
    name: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
    bias_shape: Sequence[int] | None = None,
) -> ConvSpec:
    """The forward convolution whose backward-data pass IS this transposed convolution.

    ``w_shape`` is ``C_in x C_out/groups x spatial``. In the returned spec, ``y_shape`` is the shape of the
    transposed convolution's input, and ``x_shape`` that of its result.

    Raises
    ------
    ValueError, TypeError
        With the function's name, what was expected and what came.
    """
    n = int(name[-2])
    layout = " x ".join(DIMS[n])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {layout}")
    check_rank(name, "weight", w_shape, n + 2, f"C_in x C_out/groups x {layout}")
    stride = int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    extra = int_tuple(name, "output_padding", output_padding, n, 0)
    groups = int_tuple(name, "groups", groups, 1, 1)[0]
    check(min(w_shape) > 0, name, f"weight must not be empty, got {shape_str(w_shape)}")
    check(
        x_shape[1] == w_shape[0],
        name,
        f"weight expects {w_shape[0]} input channels (weight {shape_str(w_shape)}), "
        f"input has {x_shape[1]} ({shape_str(x_shape)})" + channels_last_hint(x_shape, w_shape[0]),
    )
    check(
        w_shape[0] % groups == 0,
        name,
        f"{w_shape[0]} input channels (weight {shape_str(w_shape)}) must be divisible by groups {groups}",
    )
    for e, s, d in zip(extra, stride, dilation):
        check(
            e < max(s, d),
            name,
            f"output_padding {output_padding!r} must be smaller than stride {stride} or dilation {dilation}",
        )
    kernel = tuple(w_shape[2:])
    check(not isinstance(padding, str), name, f"padding must be numbers, got {padding!r}")
    pads = parse_padding(name, padding, x_shape[2:], kernel, stride, dilation)
    size = tuple(
        (i - 1) * s - b - a + d * (k - 1) + e + 1
        for i, k, s, d, e, (b, a) in zip(x_shape[2:], kernel, stride, dilation, extra, pads)
    )
    check(
        min(size) > 0,
        name,
        f"output would be {shape_str(size)} (input {shape_str(x_shape)}, padding {padding!r}); "
        "use less padding",
    )
    c_out = w_shape[1] * groups
    check_count(name, "the output", (x_shape[0], c_out, *size))
    if bias_shape is not None:
        check_shape(name, "bias", bias_shape, (c_out,), "one entry per output channel")
    return ConvSpec(
        x_shape[0], c_out, x_shape[1], groups, size, kernel, stride, dilation, pads, tuple(x_shape[2:])
    )
