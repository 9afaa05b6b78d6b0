"""The geometry that convolutions and pools share: kernel, strides, dilations and padding of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...tensor import Tensor
from ..node import Node


@dataclass(frozen=True)
class Window:
    """Kernel, stride and dilation, one int per spatial dimension; padding, one pair ``(before, after)``."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Input rows from the first to the last element of a window."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    def out_size(self, ceil_mode: bool = False) -> tuple[int, ...]:
        """Windows along each dimension.

        With ``ceil_mode`` the last window may reach beyond the padding, but it begins before it.
        """
        result = []
        for i, e, s, (before, after) in zip(self.size, self.extent, self.stride, self.padding):
            span = i + before + after - e
            count = (-(-span // s) if ceil_mode else span // s) + 1
            result.append(count - (ceil_mode and (count - 1) * s >= i + before))
        return tuple(result)


def spatial(node: Node, x: Tensor) -> int:
    """The number of spatial dimensions, 1 to 3."""
    n = x.ndim - 2
    node.check(1 <= n <= 3, f"expected an input N x C x 1 to 3 spatial dimensions, got {x.ndim} dimensions")
    return n


def per_dimension(node: Node, key: str, n: int) -> tuple[int, ...]:
    """An attribute with one int for each spatial dimension; 1 by default."""
    values = tuple(node.get(key, (1,) * n))
    node.check(len(values) == n, f"{key} must have {n} numbers, one per spatial dimension, got {values}")
    node.check(min(values) > 0, f"{key} must be positive, got {values}")
    return values


def pairs(node: Node, key: str, n: int) -> tuple[tuple[int, int], ...]:
    """Padding as pairs; a file lists all numbers before, then all after."""
    pads = tuple(node.get(key, (0,) * (2 * n)))
    node.check(len(pads) == 2 * n, f"{key} must have {2 * n} numbers, got {pads}")
    return tuple(zip(pads[:n], pads[n:]))


def window(node: Node, x: Tensor, kernel: Sequence[int]) -> Window:
    """The geometry of ``node`` for the input ``x``; ``auto_pad`` becomes numbers."""
    n = spatial(node, x)
    kernel = tuple(kernel)
    node.check(len(kernel) == n, f"the kernel must have {n} spatial dimensions, got {len(kernel)}")
    stride, dilation = per_dimension(node, "strides", n), per_dimension(node, "dilations", n)
    size = x.shape[2:]
    auto = node.get("auto_pad", "NOTSET")
    padding = pairs(node, "pads", n) if auto == "NOTSET" else ((0, 0),) * n
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, k, s, d in zip(size, kernel, stride, dilation)
        ]
        padding = tuple(split_padding(total, auto) for total in totals)
    return Window(size, kernel, stride, dilation, padding)


def split_padding(total: int, auto: str) -> tuple[int, int]:
    """``(before, after)``; the larger half of an odd total is at the end for SAME_UPPER."""
    half = total // 2
    return (half, total - half) if auto == "SAME_UPPER" else (total - half, half)


def flat(padding: Sequence[tuple[int, int]]) -> list[int]:
    """Pairs in the order in which ``F.pad`` takes them: the last dimension first."""
    return [p for pair in reversed(padding) for p in pair]
