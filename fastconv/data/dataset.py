"""Data sets: base classes, combinations of data sets, and random splits.

A data set that keeps its examples in arrays also has ``gather``, which returns the rows of a whole batch at
once. A loader uses it if :func:`gathers` returns True.
"""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import bisect
import math
import operator
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from .. import random
from ..checks import check, number, shape_str
from ..creation import as_tensor
from ..tensor import Tensor
from ..typing import Array


class Dataset:
    """A data set whose items have numbers; a subclass defines ``__getitem__`` and ``__len__``.

    ``a + b`` is the :class:`ConcatDataset` of both. A data set need not inherit from this class: a loader
    takes any object with these two methods.

    Examples
    --------
    >>> from fastconv import data
    >>> class Squares(data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return i, i * i
    >>> [y.tolist() for x, y in data.DataLoader(Squares(), batch_size=2)]
    [[0, 1], [4, 9]]
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: a data set needs __getitem__(i)")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any:
        """``Dataset[tuple[Tensor, int]]``, as type annotations write it, is the class itself."""
        return cls


class IterableDataset(Dataset):
    """A data set that gives its items in its own order; a subclass defines ``__iter__``.

    The workers of a loader share one iterator, which one thread at a time reads. So each item comes once,
    whatever ``num_workers`` is.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__}: an iterable data set needs __iter__()")

    def __add__(self, other: Any) -> ChainDataset:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return ChainDataset([self, other])


def gathers(dataset: Any) -> bool:
    """Whether ``dataset.gather(index)`` gives the same as the single items ``dataset[i]``.

    It does not if a subclass overrides ``__getitem__`` but not ``gather``.
    """
    if not getattr(dataset, "gathers", False):
        return False
    owners = [next(c for c in type(dataset).__mro__ if m in vars(c)) for m in ("gather", "__getitem__")]
    return owners[0] is owners[1]


class TensorDataset(Dataset):
    """The rows of tensors of one length: item ``i`` is the tuple of row ``i`` of each tensor.

    Parameters
    ----------
    *tensors : Tensor or array

    Raises
    ------
    ValueError
        There are no tensors, a tensor has no dimensions, or the tensors differ in length.

    Examples
    --------
    >>> from fastconv import data
    >>> data.TensorDataset(fc.zeros(5, 2), fc.arange(5))[3]
    (tensor([0., 0.]), tensor(3))
    """

    gathers = True

    def __init__(self, *tensors: Any) -> None:
        check(len(tensors) > 0, "TensorDataset", "expected at least one tensor")
        self.tensors: tuple[Tensor, ...] = tuple(map(as_tensor, tensors))
        shapes = [t.shape for t in self.tensors]
        check(
            all(shapes) and len({s[0] for s in shapes}) == 1,
            "TensorDataset",
            f"tensors need one row per example, got {' and '.join(map(shape_str, shapes))}",
        )

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def gather(self, index: Array) -> tuple[Array, ...]:
        """The rows ``index`` of all tensors."""
        return tuple(t.detach().numpy()[index] for t in self.tensors)


class Subset(Dataset):
    """Some items of a data set.

    Parameters
    ----------
    dataset
    indices : sequence of int
        Item ``i`` is ``dataset[indices[i]]``.
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        check(
            hasattr(indices, "__len__") and hasattr(indices, "__getitem__"),
            "Subset",
            f"indices must be a sequence, got {type(indices).__name__}; give list(...) of it",
            TypeError,
        )
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    @property
    def gathers(self) -> bool:
        """Whether the data set itself gathers."""
        return gathers(self.dataset)

    def gather(self, index: Array) -> tuple[Array, ...]:
        """The rows of the items ``index`` of this subset, gathered from the data set."""
        return self.dataset.gather(np.asarray(self.indices)[index])

    def __repr__(self) -> str:
        return f"Subset({len(self):,} of {self.dataset!r:.80})"


class ConcatDataset(Dataset):
    """Data sets one after the other.

    Parameters
    ----------
    datasets : sequence of data sets with a length

    Raises
    ------
    ValueError
        ``datasets`` is empty.
    TypeError
        A data set has only ``__iter__``; :class:`ChainDataset` takes such data sets.

    Examples
    --------
    >>> from fastconv import data
    >>> data.ConcatDataset([range(3), range(10, 12)])[-1]
    11
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = _several("ConcatDataset", datasets)
        for d in self.datasets:
            check(
                hasattr(d, "__len__") and hasattr(d, "__getitem__") and not isinstance(d, IterableDataset),
                "ConcatDataset",
                f"expected data sets with __len__ and __getitem__, got {type(d).__name__}; "
                "ChainDataset takes iterable ones",
                TypeError,
            )
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        n, i = len(self), operator.index(index)
        check(-n <= i < n, "ConcatDataset", f"item {i} is out of range for {n} items", IndexError)
        i %= n
        k = bisect.bisect_right(self.cumulative_sizes, i)
        return self.datasets[k][i - (self.cumulative_sizes[k - 1] if k else 0)]


class ChainDataset(IterableDataset):
    """Iterable data sets one after the other.

    Parameters
    ----------
    datasets : iterable of data sets with ``__iter__``
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = _several("ChainDataset", datasets)
        for d in self.datasets:
            check(
                hasattr(d, "__iter__"),
                "ChainDataset",
                f"expected data sets with __iter__, got {type(d).__name__}",
                TypeError,
            )

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.datasets)

    def __len__(self) -> int:
        return sum(map(len, self.datasets))


class StackDataset(Dataset):
    """Data sets side by side: item ``i`` is the tuple of item ``i`` of each, or a dict if they have names.

    Parameters
    ----------
    *args, **kwargs : data sets of one length
        Either all without names (the items are tuples) or all with names (the items are dicts).

    Raises
    ------
    ValueError
        There are no data sets, some have names and others do not, or they differ in length.

    Examples
    --------
    >>> from fastconv import data
    >>> data.StackDataset(image=range(3), label="abc")[1]
    {'image': 1, 'label': 'b'}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        check(
            bool(args) != bool(kwargs),
            "StackDataset",
            "expected data sets either as tuple (without names) or as dict (with names), "
            f"got {'both' if args else 'none'}",
        )
        self.datasets: Any = args or kwargs
        lengths = [len(d) for d in (args or kwargs.values())]
        check(len(set(lengths)) == 1, "StackDataset", f"the data sets differ in length: {lengths}")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {k: d[index] for k, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)


def _several(name: str, datasets: Any) -> list[Any]:
    check(
        hasattr(datasets, "__iter__"), name, f"expected a list of data sets, got {datasets!r:.60}", TypeError
    )
    found = list(datasets)
    check(len(found) > 0, name, "expected at least one data set, got none")
    return found


def random_split(
    dataset: Any, lengths: Sequence[float], generator: random.Generator | None = None
) -> list[Subset]:
    """Split a data set at random into parts that have no item in common.

    Parameters
    ----------
    dataset
        With ``__len__`` and ``__getitem__``.
    lengths : sequence of int, or of fractions that add up to 1
        If fractions do not divide the items evenly, the first parts get one item more.
    generator : Generator, optional
        Gives the random order; by default the generator that ``fc.manual_seed`` seeds.

    Returns
    -------
    list of Subset

    Raises
    ------
    ValueError
        The lengths do not add up to the length of the data set or to 1.

    Examples
    --------
    >>> from fastconv import data
    >>> [len(part) for part in data.random_split(range(11), [0.5, 0.3, 0.2])]
    [6, 3, 2]
    """
    name = "random_split"
    random.check_generator(name, generator)
    check(
        hasattr(dataset, "__len__"), name, f"dataset needs __len__, got {type(dataset).__name__}", TypeError
    )
    check(hasattr(lengths, "__iter__"), name, f"lengths must be a sequence, got {lengths!r:.60}", TypeError)
    n, parts = len(dataset), list(lengths)
    for part in parts:
        number(name, "lengths", part, 0)
    if math.isclose(sum(parts), 1):
        sizes = [math.floor(n * p) for p in parts]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
        if 0 in sizes:
            warnings.warn(f"random_split: {parts} of {n} items leaves a part empty: {sizes}", stacklevel=2)
    else:
        sizes = parts
    check(
        sum(sizes) == n and all(s == int(s) for s in sizes),
        name,
        f"lengths must add up to the {n} items of the data set, or to 1 as fractions, got {parts}",
    )
    order: list[int] = random.numbers(generator).permutation(n).tolist()
    ends = list(accumulate(int(s) for s in sizes))
    return [Subset(dataset, order[a:b]) for a, b in zip([0, *ends], ends)]
