"""Shapes and strides: broadcasting, reshape, indexing, receptive fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from ..checks import check, shape_str


def broadcast_shape(name: str, a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """NumPy broadcasting of two shapes, or a ValueError that names both.

    >>> broadcast_shape("add", (4, 1), (3,))
    (4, 3)
    """
    a, b = tuple(a), tuple(b)
    if a == b or not b:  # nearly every call ends here
        return a
    out = []
    n = max(len(a), len(b))
    for p, q in zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b):
        check(p == q or p == 1 or q == 1, name, f"shapes {shape_str(a)} and {shape_str(b)} do not broadcast")
        out.append(q if p == 1 else p)
    return tuple(out)


def is_basic(key: Any) -> bool:
    """Whether ``x[key]`` is a view that holds no element twice.

    That is so if the key consists of integers, slices, None and Ellipsis.
    """
    kinds = (Integral, slice, type(None), type(...))
    return all(
        isinstance(k, kinds) and not isinstance(k, bool) for k in (key if isinstance(key, tuple) else (key,))
    )


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Elements between neighbours along each axis, where the last axis runs fastest.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def reshaped_strides(
    shape: Sequence[int], strides: Sequence[int], new_shape: Sequence[int]
) -> tuple[int, ...] | None:
    """The strides of the same memory under ``new_shape``, None where elements would have to move.

    Neighbouring axes form one run of elements where a step along the outer one is the whole extent of the
    inner one. New axes must divide such runs.
    """
    if 0 in shape:
        return contiguous_strides(new_shape)
    runs: list[tuple[int, int]] = []  # (elements, stride of the last one)
    for extent, stride in zip(shape, strides):
        if extent == 1:
            continue
        if runs and runs[-1][1] == extent * stride:
            runs[-1] = runs[-1][0] * extent, stride
        else:
            runs.append((extent, stride))
    found, left, step = [], 1, 1
    for extent in reversed(new_shape):
        if extent == 1:
            found.append(step)
            continue
        if left == 1:
            left, step = runs.pop()
        if left % extent:
            return None
        found.append(step)
        left, step = left // extent, step * extent
    return tuple(reversed(found))


def receptive_field(layers: Iterable[tuple[int, int]]) -> list[int]:
    """Extent of the input that one output position depends on, after each of ``layers``.

    ``R_j = R_(j-1) + (kernel_j - 1) * stride_1 * ... * stride_(j-1)``, starting from ``R_0 = 1``; each layer
    is a pair ``(kernel, stride)``.

    >>> receptive_field([(3, 1), (3, 2), (3, 1)])
    [3, 5, 9]
    """
    field, jump, found = 1, 1, []
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
        found.append(field)
    return found
