"""Parts of a tensor along one dimension, which are views."""

from __future__ import annotations

from typing import Any

from fastconv.checks import check, check_axis, int_tuple, shape_str
from fastconv.variable import Variable

from .index import GetItem
from .shape import several


def _slice(x: Variable, axis: int, start: int, stop: int) -> Any:
    return GetItem.apply(x, key=(*(slice(None),) * axis, slice(start, stop)))


def _axis(name: str, x: Variable, dim: Any) -> int:
    check(x.ndim > 0, name, "a scalar has no dimension to be divided")
    return check_axis(name, dim, x.ndim)


def _index(name: str, what: str, value: Any) -> int:
    return int_tuple(name, what, value, 1, -(1 << 40))[0]


def select(x: Variable, dim: int, index: Any) -> Any:
    """Slice ``index`` along ``dim``, without that dimension."""
    axis, place = _axis("select", x, dim), _index("select", "index", index)
    n = x.shape[axis]
    if not -n <= place < n:
        raise IndexError(
            f"select: index {place} is out of range for extent {n} of dimension {axis} ({shape_str(x.shape)})"
        )
    return GetItem.apply(x, key=(*(slice(None),) * axis, place % n))


def narrow(x: Variable, dim: int, start: Any, length: Any) -> Any:
    """``length`` slices along ``dim`` from ``start`` on."""
    axis, first = _axis("narrow", x, dim), _index("narrow", "start", start)
    (count,) = int_tuple("narrow", "length", length, 1, 0)
    n = x.shape[axis]
    if not -n <= first <= n:
        raise IndexError(f"narrow: start {first} is out of range for extent {n} of dimension {axis}")
    first += n * (first < 0)
    check(
        first + count <= n,
        "narrow",
        f"start {first} and length {count} exceed the extent {n} of dimension {axis} ({shape_str(x.shape)})",
    )
    return _slice(x, axis, first, first + count)


def _cut(x: Variable, axis: int, ends: list[int]) -> tuple[Any, ...]:
    return tuple(_slice(x, axis, start, end) for start, end in zip([0, *ends], ends))


def split(name: str, x: Variable, sizes: Any, dim: int) -> tuple[Any, ...]:
    """Parts of the given ``sizes``, or of one size; then the last part may be smaller."""
    axis = _axis(name, x, dim)
    n = x.shape[axis]
    if isinstance(sizes, (tuple, list)):
        lengths = int_tuple(name, "split sizes", sizes, len(sizes), 0) if sizes else ()
        check(
            sum(lengths) == n,
            name,
            f"the sizes {tuple(lengths)} must add up to the extent {n} of dimension {axis} "
            f"({shape_str(x.shape)})",
        )
        return _cut(x, axis, [sum(lengths[: i + 1]) for i in range(len(lengths))])
    (size,) = int_tuple(name, "split_size", sizes, 1, 0)
    check(size > 0 or n == 0, name, f"split_size must be at least 1 for a dimension of extent {n}, got 0")
    return _cut(x, axis, [min(i + size, n) for i in range(0, n, max(size, 1))] or [0])


def chunk(x: Variable, chunks: int, dim: int) -> tuple[Any, ...]:
    """At most ``chunks`` parts of one size; the last part may be smaller."""
    axis = _axis("chunk", x, dim)
    (count,) = int_tuple("chunk", "chunks", chunks, 1, 1)
    size = -(-x.shape[axis] // count)
    if size == 0:  # as many empty parts as were asked for
        return _cut(x, axis, [0] * count)
    return split("chunk", x, size, dim)


def tensor_split(x: Variable, indices_or_sections: Any, dim: int) -> tuple[Any, ...]:
    """Parts that begin at the indices in a list, or as many parts as an int says, of nearly equal sizes."""
    name, axis = "tensor_split", _axis("tensor_split", x, dim)
    n = x.shape[axis]
    if isinstance(indices_or_sections, Variable):
        check(
            indices_or_sections.ndim < 2 and indices_or_sections.dtype.kind in "iu",
            name,
            "a tensor of indices or sections must have integers and at most one dimension, got "
            f"{indices_or_sections.dtype} {shape_str(indices_or_sections.shape)}",
        )
        indices_or_sections = indices_or_sections.numpy().tolist()
    if isinstance(indices_or_sections, (tuple, list)):
        places = [_index(name, "indices", i) for i in several((indices_or_sections,))]
        places = [min(max(p + n * (p < 0), 0), n) for p in places]
        bounds = zip([0, *places], [*places, n])
        return tuple(_slice(x, axis, start, max(start, end)) for start, end in bounds)
    (count,) = int_tuple(name, "sections", indices_or_sections, 1, 1)
    size, longer = divmod(n, count)
    return _cut(x, axis, [size * (i + 1) + min(i + 1, longer) for i in range(count)])


def unbind(x: Variable, dim: int) -> tuple[Any, ...]:
    """All slices along ``dim``, without that dimension."""
    axis = _axis("unbind", x, dim)
    return tuple(GetItem.apply(x, key=(*(slice(None),) * axis, i)) for i in range(x.shape[axis]))
