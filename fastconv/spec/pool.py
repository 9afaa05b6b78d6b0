"""Geometry of pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ..checks import DIMS, check, check_count, check_rank, check_shape, int_tuple, number, shape_str
from .windows import Pairs, Windows, hashable, parse_padding


@dataclass(frozen=True)
class PoolSpec(Windows):
    """One pooling call, 1-D, 2-D or 3-D: a window per output element.

    Attributes
    ----------
    batch, channels : int
    in_size, kernel, stride, dilation, out_size : tuple of int, one per spatial dimension
    padding : tuple of (before, after), one per spatial dimension
    count_include_pad : bool
        Whether average pooling divides by the number of all elements of a window, padding included.
    divisor : float or None
        The fixed divisor of average pooling (``divisor_override``), if there is one.
    """

    batch: int
    channels: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs
    out_size: tuple[int, ...]
    count_include_pad: bool = True
    divisor: float | None = None

    __hash__ = Windows.__hash__

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.in_size)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.out_size)


@lru_cache(maxsize=4096)
def _pool_spec(
    name: str,
    x_shape: tuple[int, ...],
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: float | None,
) -> PoolSpec:
    n = int(name[-2])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {' x '.join(DIMS[n])}")
    kernel = int_tuple(name, "kernel_size", kernel, n, 1)
    stride = kernel if stride in (None, ()) else int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    check(divisor is None or divisor != 0, name, "divisor_override must not be zero")
    size = x_shape[2:]
    pads = parse_padding(name, padding, size, kernel, stride, dilation)
    out = []
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads):
        extent = d * (k - 1) + 1
        # A window that holds only padding would have no maximum and no mean.
        check(
            before < extent and after < extent and (padding == "same" or max(before, after) <= extent // 2),
            name,
            f"padding {padding!r} must be at most half of the kernel's extent {extent} "
            f"(kernel_size {kernel})",
        )
        span = i + before + after - extent
        check(
            span >= 0 and i > 0,
            name,
            f"kernel_size {kernel} spans {extent} but the padded input has only {i + before + after} "
            f"(input {shape_str(x_shape)}, padding {padding!r})",
        )
        o = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (o - 1) * s >= i + before:  # the last window must start inside input or left padding
            o -= 1
        check(
            d == 1 or all(any(0 <= j * s - before + t * d < i for t in range(k)) for j in range(o)),
            name,
            f"with dilation {dilation} a window of kernel_size {kernel} meets padding alone "
            f"(input {shape_str(x_shape)}, padding {padding!r}); use less padding or dilation",
        )
        out.append(o)
    check_count(name, "the output", (*x_shape[:2], *out))
    return PoolSpec(
        x_shape[0],
        x_shape[1],
        tuple(size),
        kernel,
        stride,
        dilation,
        pads,
        tuple(out),
        count_include_pad,
        divisor,
    )


def pool_spec(
    name: str,
    x_shape: Sequence[int],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> PoolSpec:
    """Validate a pooling call and return its :class:`PoolSpec`.

    A ``stride`` of None or ``()`` means ``kernel_size``.

    >>> pool_spec("max_pool2d", (1, 8, 28, 28), 2).y_shape
    (1, 8, 14, 14)
    """
    return _pool_spec(
        name,
        tuple(x_shape),
        hashable(name, "kernel_size", kernel_size),
        hashable(name, "stride", stride),
        hashable(name, "padding", padding),
        hashable(name, "dilation", dilation),
        bool(ceil_mode),
        bool(count_include_pad),
        None if divisor_override is None else number(name, "divisor_override", divisor_override),
    )


@dataclass(frozen=True)
class AdaptivePoolSpec:
    """Adaptive pooling: output ``i`` covers input rows ``floor(i*in/out) .. ceil((i+1)*in/out)``."""

    batch: int
    channels: int
    in_size: tuple[int, ...]
    out_size: tuple[int, ...]

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.out_size)

    def windows(self, dim: int) -> list[tuple[int, int]]:
        """``(start, stop)`` of every window along spatial dimension ``dim``."""
        i, o = self.in_size[dim], self.out_size[dim]
        return [(j * i // o, -(-(j + 1) * i // o)) for j in range(o)]


def adaptive_pool_spec(name: str, x_shape: Sequence[int], output_size: Any) -> AdaptivePoolSpec:
    """Validate an adaptive pooling call; ``None`` in ``output_size`` keeps that extent.

    >>> adaptive_pool_spec("adaptive_avg_pool3d", (1, 8, 6, 7, 5), (2, None, 1)).y_shape
    (1, 8, 2, 7, 1)
    """
    n = int(name[-2])
    layout = " x ".join(DIMS[n])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {layout}")
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    wanted = "an int" if n == 1 else f"an int or {n} ints"
    check(len(sizes) == n, name, f"output_size must be {wanted}, got {output_size!r:.60}")
    kept = [i if s is None else s for i, s in zip(x_shape[2:], sizes)]
    sizes = int_tuple(name, "output_size", kept, n, 1)
    check(min(x_shape[2:]) > 0, name, f"input must not be empty in {layout}, got {shape_str(x_shape)}")
    check_count(name, "the output", (*x_shape[:2], *sizes))
    return AdaptivePoolSpec(x_shape[0], x_shape[1], tuple(x_shape[2:]), sizes)


@dataclass(frozen=True)
class UnpoolSpec:
    """Max unpooling: the elements of ``N x C x in_size`` go to places of ``N x C x out_size``."""

    batch: int
    channels: int
    in_size: tuple[int, ...]
    out_size: tuple[int, ...]

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input and of the indices: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.out_size)


def unpool_spec(
    name: str,
    x_shape: Sequence[int],
    index_shape: Sequence[int],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> UnpoolSpec:
    """Validate a max unpooling call; ``stride=None`` means ``kernel_size``.

    ``output_size`` is one of the sizes that the pooling maps to the input's, with or without batch and
    channels; None takes the smallest.

    >>> unpool_spec("max_unpool2d", (1, 8, 4, 4), (1, 8, 4, 4), 2).y_shape
    (1, 8, 8, 8)
    """
    n = int(name[-2])
    layout = f"N x C x {' x '.join(DIMS[n])}"
    check_rank(name, "input", x_shape, n + 2, layout)
    check_shape(name, "indices", index_shape, x_shape, "that of input")
    kernel = int_tuple(name, "kernel_size", kernel_size, n, 1)
    stride = kernel if stride is None else int_tuple(name, "stride", stride, n, 1)
    padding = int_tuple(name, "padding", padding, n, 0)
    smallest = tuple((i - 1) * s + k - 2 * p for i, s, k, p in zip(x_shape[2:], stride, kernel, padding))
    size = smallest
    if output_size is not None:
        size = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
        size = int_tuple(name, "output_size", size[2:] if len(size) == n + 2 else size, n, 1)
        for o, i, s in zip(size, smallest, stride):
            check(
                i - s < o < i + s,
                name,
                f"output_size {size} must be less than stride {stride} away from {smallest} "
                f"(input {shape_str(x_shape)}, kernel_size {kernel}, padding {padding})",
            )
    check(
        min(size) > 0 and min(x_shape[1:]) > 0,
        name,
        f"neither input ({shape_str(x_shape)}) nor output ({shape_str(size)}) may be empty",
    )
    check_count(name, "the output", (*x_shape[:2], *size))
    return UnpoolSpec(x_shape[0], x_shape[1], tuple(x_shape[2:]), size)
