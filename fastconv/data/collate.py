"""Items of a data set, put together to one batch of arrays."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..checks import check, shape_str
from ..creation import from_numpy
from ..tensor import Tensor

NAME = "DataLoader"
#: The numbers of the items of a batch.
Index: TypeAlias = Sequence[int] | np.ndarray


# ------------------------------------------------------------------------------------------------- dtypes
def channels_last(a: np.ndarray) -> np.ndarray:
    """A 4-D array as channels-last memory, as the kernels read it; copied here, outside the training loop."""
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if a.ndim == 4 else a


def as_images(a: np.ndarray) -> np.ndarray:
    """float32; the values stay."""
    return a.astype(np.float32, copy=False)


def as_targets(a: np.ndarray) -> np.ndarray:
    """Floats as float32, all others as int64."""
    return a.astype(np.float32 if a.dtype.kind == "f" else np.int64, copy=False)


def as_found(a: np.ndarray) -> np.ndarray:
    """Floats as float32; all others keep their dtype."""
    return channels_last(as_images(a)) if a.dtype.kind == "f" else a


# ------------------------------------------------------------------------------------------------- batches
def batch(items: Sequence[Any], index: Index) -> Any:
    """Stack ``items``, whose numbers in the data set are ``index``.

    Tuples and lists become a tuple of batches, dicts become a dict of batches. The first part of a tuple
    holds images and the others targets. An item that is one array is an image.
    """
    if not isinstance(items[0], (tuple, list)):
        return _merge(items, index, "", as_images)
    columns = _columns(items, index, "")
    rules = (as_images, *(as_targets,) * (len(columns) - 1))
    return _like(
        items[0], [_merge(c, index, f"[{i}]", rule) for i, (c, rule) in enumerate(zip(columns, rules))]
    )


def _merge(items: Sequence[Any], index: Index, where: str, rule: Callable[[np.ndarray], np.ndarray]) -> Any:
    """One part of all items as a batch; ``where`` is its place in an item, for messages."""
    first = items[0]
    if isinstance(first, Mapping):
        for k, item in zip(index, items):
            if not isinstance(item, Mapping) or item.keys() != first.keys():
                raise ValueError(
                    f"{NAME}: item {k}{where} has the keys {_keys(item)}, "
                    f"item {index[0]}{where} {_keys(first)}"
                )
        return {
            key: _merge([item[key] for item in items], index, f"{where}[{key!r}]", as_found) for key in first
        }
    if isinstance(first, tuple):
        columns = _columns(items, index, where)
        return _like(first, [_merge(c, index, f"{where}[{i}]", as_found) for i, c in enumerate(columns)])
    if isinstance(first, (str, bytes)):
        return list(items)
    return rule(_stack(items, index, where))


def _columns(items: Sequence[Any], index: Index, where: str) -> list[Any]:
    """Tuples of one length, transposed: all first parts, all second parts, ..."""
    n = len(items[0])
    check(n > 0, NAME, f"item {index[0]}{where} is an empty {type(items[0]).__name__}")
    for k, item in zip(index, items):
        if not isinstance(item, (tuple, list)) or len(item) != n:
            got = f"{len(item)} parts" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
            raise ValueError(f"{NAME}: item {k}{where} is {got}, item {index[0]}{where} has {n} parts")
    return list(zip(*items))


def first_of(value: Any) -> Any:
    """The images of a batch: the first part of a tuple, or all of it."""
    return value[0] if isinstance(value, tuple) else value


def with_first(value: Any, x: np.ndarray) -> Any:
    """The batch with other images."""
    return _like(value, [x, *value[1:]]) if isinstance(value, tuple) else x


def _like(first: Any, parts: list[Any]) -> tuple[Any, ...]:
    """``parts`` as a tuple, or as the named tuple that ``first`` is."""
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def _keys(item: object) -> str:
    return str(list(item)) if isinstance(item, Mapping) else f"of no dict (a {type(item).__name__})"


def _stack(items: Sequence[Any], index: Index, where: str) -> np.ndarray:
    if type(items[0]) in (bool, int, float) and len(set(map(type, items))) == 1:
        return np.asarray(items)  # faster than an array for each number
    arrays = [_array(item, k, where) for k, item in zip(index, items)]
    shape = arrays[0].shape
    for k, a in zip(index, arrays):
        if a.shape != shape:
            raise ValueError(
                f"{NAME}: items of one batch differ in shape: item {index[0]}{where} is {shape_str(shape)}, "
                f"item {k}{where} is {shape_str(a.shape)}; resize or crop them"
            )
    return np.stack(arrays)


def _array(item: Any, k: int, where: str) -> np.ndarray:
    if type(item) is np.ndarray and item.dtype.kind in "fiub":
        return item
    try:
        a = item.detach().numpy() if isinstance(item, Tensor) else np.asarray(item)
    except ValueError:  # lists of different lengths
        a = None
    if a is None or a.dtype.kind not in "fiub":
        raise TypeError(
            f"{NAME}: item {k}{where} is a {type(item).__name__}{'' if a is None else f' ({a.dtype})'}; "
            "expected arrays, numbers, strings, or tuples and dicts of them"
        )
    return a


def tensors(value: Any) -> Any:
    """A batch with Tensors for its arrays."""
    if isinstance(value, np.ndarray):
        return from_numpy(value)
    if isinstance(value, tuple):
        return _like(value, [tensors(v) for v in value])
    if isinstance(value, dict):
        return {k: tensors(v) for k, v in value.items()}
    return value


def pairs(name: str, batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, each checked to be a pair ``(X, y)``; ``name`` is the function that needs pairs."""
    batches = iter(batches)
    return (_pair(name, b) for b in batches)


def _pair(name: str, value: Any) -> Any:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        got = f"a {type(value).__name__}" + (
            f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
        )
        raise TypeError(
            f"{name}: expected batches (X, y), got {got}; give a loader of pairs, or write the loop "
            "yourself: out = net(X); loss(out, y).backward(); optimizer.step()"
        )
    return value
