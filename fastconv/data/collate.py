"""Combining items of a data set to one batch of arrays."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import backends
from ..checks import check, shape_str
from ..creation import from_numpy
from ..devices import default_device
from ..tensor import Tensor

#: The numbers of the items of a batch.
Index: TypeAlias = Sequence[Any] | np.ndarray


# ------------------------------------------------------------------------------------------------- dtypes
# These rules are for arrays and numbers. Tensors keep their dtype.
def channels_last(a: np.ndarray) -> np.ndarray:
    """A 4-D array in channels-last memory, as kernels read it; the copy is made in the loader's thread."""
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if a.ndim == 4 else a


def as_inputs(a: np.ndarray) -> np.ndarray:
    """Floats and images of integers (N x C x H x W) as float32; the values stay. Others keep their dtype."""
    return a.astype(np.float32, copy=False) if a.dtype.kind == "f" or a.ndim >= 4 else a


def as_targets(a: np.ndarray) -> np.ndarray:
    """Floats as float32, all others as int64."""
    return a.astype(np.float32 if a.dtype.kind == "f" else np.int64, copy=False)


def as_alone(a: np.ndarray) -> np.ndarray:
    """Floats as float32; all others keep their dtype."""
    return a.astype(np.float32, copy=False) if a.dtype.kind == "f" else a


def as_found(a: np.ndarray) -> np.ndarray:
    """The result of :func:`as_alone`, with float images in channels-last memory."""
    return channels_last(as_alone(a)) if a.dtype.kind == "f" else a


# ------------------------------------------------------------------------------------------------- batches
def as_is(a: np.ndarray) -> np.ndarray:
    """The array itself."""
    return a


def batch(items: Sequence[Any], index: Index, raw: bool) -> Any:
    """Stack ``items``, whose numbers in the data set are ``index``.

    Tuples and lists become a tuple of batches, dicts become a dict of batches. The first part of a tuple
    holds inputs and the others targets. ``raw``: inputs keep their dtype, because a transform comes next.
    """
    return _Batch("DataLoader", index).of(items, raw)


def of_rows(rows: Sequence[np.ndarray], single: bool, raw: bool) -> Any:
    """The same for the rows of arrays. ``single``: there is one array, and items are not tuples."""
    x = rows[0] if raw else as_alone(rows[0]) if single else as_inputs(rows[0])
    return x if single else (x, *map(as_targets, rows[1:]))


def default_collate(batch: Sequence[Any]) -> Any:
    """Combine the items of a data set to one batch, as a ``DataLoader`` without ``collate_fn`` does.

    Parameters
    ----------
    batch : sequence
        Items of one form: tensors, arrays, numbers, strings, or tuples and dicts of them.

    Returns
    -------
    Tensor, list of str, or tuple or dict of them
        Tensors keep their dtype. NumPy and Python floats become float32. ``DataLoader`` describes the rules
        for the other dtypes.

    Raises
    ------
    TypeError, ValueError
        The items differ in form or shape, or an item is of another type.

    Examples
    --------
    >>> from fastconv import data
    >>> data.default_collate([([0.5, 1.0], 3), ([1.5, 2.0], 4)])
    (tensor([[0.5, 1. ],
            [1.5, 2. ]]), tensor([3, 4]))
    """
    name = "default_collate"
    listed = isinstance(batch, (list, tuple))
    check(listed, name, f"batch must be a list of items, got {type(batch).__name__}", TypeError)
    check(len(batch) > 0, name, "batch has no items")
    return tensors(_Batch(name, range(len(batch))).of(batch))


def default_convert(data: Any) -> Any:
    """``data`` with its arrays and NumPy numbers as Tensors of the same dtype; other values are not changed.

    A ``DataLoader`` with ``batch_size=None`` calls this for each item.

    Examples
    --------
    >>> from fastconv import data
    >>> data.default_convert({"x": np.arange(2), "name": "cat"})
    {'x': tensor([0, 1]), 'name': 'cat'}
    """
    if isinstance(data, (np.ndarray, np.generic)):
        a = np.asarray(data)
        return from_numpy(a) if a.dtype.kind in "fiub" else data
    if isinstance(data, Mapping):
        return {k: default_convert(v) for k, v in data.items()}
    if isinstance(data, (tuple, list)):
        parts = [default_convert(v) for v in data]
        return parts if isinstance(data, list) else _like(data, parts)
    return data


class _Batch:
    """Combines items to a batch; ``name`` (of the function) and the items' numbers are for error messages."""

    def __init__(self, name: str, index: Index) -> None:
        self.name, self.index = name, index

    def of(self, items: Sequence[Any], raw: bool = False) -> Any:
        if not isinstance(items[0], (tuple, list)):
            return self.merge(items, "", as_is if raw else as_alone)
        columns = self.columns(items, "")
        rules = (as_is if raw else as_inputs, *(as_targets,) * (len(columns) - 1))
        merged = [self.merge(c, f"[{i}]", rule) for i, (c, rule) in enumerate(zip(columns, rules))]
        return _like(items[0], merged)

    def merge(self, items: Sequence[Any], where: str, rule: Callable[[np.ndarray], np.ndarray]) -> Any:
        """One part of all items as a batch; ``where`` is its place in an item, such as ``[1]['label']``."""
        first = items[0]
        if isinstance(first, Mapping):
            for k, item in zip(self.index, items):
                if not isinstance(item, Mapping) or item.keys() != first.keys():
                    raise ValueError(
                        f"{self.name}: item {k}{where} has the keys {_keys(item)}, "
                        f"item {self.index[0]}{where} {_keys(first)}"
                    )
            return {
                key: self.merge([item[key] for item in items], f"{where}[{key!r}]", as_found) for key in first
            }
        if isinstance(first, tuple):
            columns = self.columns(items, where)
            return _like(first, [self.merge(c, f"{where}[{i}]", as_found) for i, c in enumerate(columns)])
        if isinstance(first, (str, bytes)):
            return list(items)
        stacked = self.stack(items, where)
        return stacked if isinstance(first, Tensor) else rule(stacked)

    def columns(self, items: Sequence[Any], where: str) -> list[Any]:
        """Tuples of one length, transposed: all first parts, all second parts, and so on."""
        n, head = len(items[0]), f"item {self.index[0]}{where}"
        check(n > 0, self.name, f"{head} is an empty {type(items[0]).__name__}")
        for k, item in zip(self.index, items):
            if not isinstance(item, (tuple, list)) or len(item) != n:
                got = f"{len(item)} parts" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
                raise ValueError(f"{self.name}: item {k}{where} is {got}, {head} has {n} parts")
        return list(zip(*items))

    def stack(self, items: Sequence[Any], where: str) -> np.ndarray:
        if type(items[0]) in (bool, int, float) and len(set(map(type, items))) == 1:
            return np.asarray(items)  # faster than an array for each number
        arrays = [self.array(item, f"item {k}{where}") for k, item in zip(self.index, items)]
        shape = arrays[0].shape
        for k, a in zip(self.index, arrays):
            if a.shape != shape:
                raise ValueError(
                    f"{self.name}: items of one batch differ in shape: item {self.index[0]}{where} is "
                    f"{shape_str(shape)}, item {k}{where} is {shape_str(a.shape)}; resize or crop them"
                )
        return np.stack(arrays)

    def array(self, item: Any, label: str) -> np.ndarray:
        if type(item) is np.ndarray and item.dtype.kind in "fiub":
            return item
        cure = "expected arrays, numbers, strings, or tuples and dicts of them"
        if hasattr(item, "getbands"):  # what only Pillow images have
            cure += "; give the data set transform=transforms.ToTensor()"
            raise TypeError(f"{self.name}: {label} is a Pillow image; {cure}")
        try:
            a = item.detach().numpy() if isinstance(item, Tensor) else np.asarray(item)
        except ValueError:  # lists of different lengths
            a = None
        if a is None or a.dtype.kind not in "fiub":
            kind = f"{type(item).__name__}{'' if a is None else f' ({a.dtype})'}"
            raise TypeError(f"{self.name}: {label} is a {kind}; {cure}")
        return a


def first_of(value: Any) -> Any:
    """The inputs of a batch: its first part if it is a tuple or list, else the batch itself."""
    return value[0] if isinstance(value, (tuple, list)) else value


def with_first(value: Any, x: Any) -> Any:
    """The batch with ``x`` in place of its inputs."""
    if not isinstance(value, (tuple, list)):
        return x
    return _like(value, [x, *value[1:]])


def _like(first: Any, parts: list[Any]) -> tuple[Any, ...]:
    """``parts`` as a tuple, or as the named tuple that ``first`` is."""
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def _keys(item: object) -> str:
    return str(list(item)) if isinstance(item, Mapping) else f"of no dict (a {type(item).__name__})"


def tensors(value: Any) -> Any:
    """The batch with its arrays as Tensors, on the default device."""

    def tensor(part: Any) -> Tensor:
        if isinstance(part, np.ndarray):
            return from_numpy(part)
        return part if part.device == default_device() else part.to(default_device())

    return _mapped(tensor, value)


def pinned(value: Any) -> Any:
    """The batch with its arrays, and its Tensors on the host, in page-locked memory."""

    def pin(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            return part if part.dtype.hasobject else backends.load("cuda").pinned.copy(part)
        return part.pin_memory() if part.device == "cpu" else part

    return _mapped(pin, value)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The batch with ``function`` applied to its arrays and Tensors."""
    if isinstance(value, (np.ndarray, Tensor)):
        return function(value)
    if isinstance(value, tuple):
        return _like(value, [_mapped(function, v) for v in value])
    if isinstance(value, dict):
        return {k: _mapped(function, v) for k, v in value.items()}
    return [_mapped(function, v) for v in value] if isinstance(value, list) else value


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
