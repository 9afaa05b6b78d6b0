"""Samplers: the order in which a loader reads the items of a data set.

A sampler draws its numbers from its ``generator``, or from the one that ``fc.manual_seed`` seeds. In a
``DataLoader`` they depend only on the loader's seed and the epoch, so a loader can continue in the middle of
an epoch. A loader that was given no seed draws it from the sampler's generator, if the sampler has one.
"""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import random
from ..checks import check
from ..random import Generator


def integer(name: str, what: str, value: Any, least: int) -> int:
    """``value`` as an int of at least ``least``."""
    fine = hasattr(value, "__index__") and not isinstance(value, bool)
    check(fine, name, f"{what} must be an int, got {value!r:.60}", TypeError)
    check(value >= least, name, f"{what} must be at least {least}, got {value}")
    return operator.index(value)


def boolean(name: str, what: str, value: Any) -> bool:
    """``value``, which must be True or False."""
    check(
        isinstance(value, (bool, np.bool_)),
        name,
        f"{what} must be True or False, got {value!r:.60}",
        TypeError,
    )
    return bool(value)


def length(name: str, source: Any) -> int:
    """The length of a data set, or a TypeError if it has none."""
    check(
        hasattr(source, "__len__"),
        name,
        f"the data set must have __len__, got {type(source).__name__}",
        TypeError,
    )
    return len(source)


class Sampler:
    """Base class of samplers: a subclass defines ``__iter__``, which gives numbers of items, and usually
    ``__len__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__}: a sampler needs __iter__()")

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any:
        """``Sampler[int]``, as type annotations write it, is the class itself."""
        return cls


class SequentialSampler(Sampler):
    """The numbers of all items in order: 0, 1, 2, ...

    Parameters
    ----------
    data_source
        The data set.

    Examples
    --------
    >>> from fastconv import data
    >>> list(data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        length("SequentialSampler", data_source)
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """The numbers of the items in random order, a new one for each iteration.

    Parameters
    ----------
    data_source
        The data set.
    replacement : bool
        Draw each number independently, so that some come several times and others not at all.
    num_samples : int, optional
        How many numbers to draw; the length of the data set by default.
    generator : Generator, optional
        By default the generator that ``fc.manual_seed`` seeds.

    Examples
    --------
    >>> from fastconv import data
    >>> sorted(data.RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        name = "RandomSampler"
        length(name, data_source)
        random.check_generator(name, generator)
        self.data_source, self.generator = data_source, generator
        self.replacement = boolean(name, "replacement", replacement)
        self._num_samples = None if num_samples is None else integer(name, "num_samples", num_samples, 1)

    @property
    def num_samples(self) -> int:
        """The number of items that an iteration gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, count, rng = len(self.data_source), self.num_samples, random.numbers(self.generator)
        if self.replacement:
            yield from rng.integers(n, size=count).tolist()
            return
        while count > 0 and n:
            yield from rng.permutation(n)[:count].tolist()
            count -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given numbers in random order, a new one for each iteration.

    Parameters
    ----------
    indices : sequence of int
    generator : Generator, optional
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        length("SubsetRandomSampler", indices)
        random.check_generator("SubsetRandomSampler", generator)
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in random.numbers(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Random numbers of items, each with a probability in proportion to its weight.

    Parameters
    ----------
    weights : sequence of float
        One for each item, at least 0; they need not add up to 1.
    num_samples : int
        How many numbers an iteration gives.
    replacement : bool
        With False no item comes twice.
    generator : Generator, optional

    Raises
    ------
    ValueError
        A weight is negative or not finite, all are 0, or fewer than ``num_samples`` are above 0 and
        ``replacement`` is False.

    Examples
    --------
    >>> from fastconv import data
    >>> list(data.WeightedRandomSampler([0, 1, 0], 3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        name = "WeightedRandomSampler"
        random.check_generator(name, generator)
        try:
            found = np.asarray(weights, np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: weights must be numbers, got {weights!r:.60}") from None
        check(found.ndim == 1, name, f"weights must have 1 dimension, got {found.ndim}")
        fine = bool(np.isfinite(found).all() and (found >= 0).all() and found.sum() > 0)
        check(fine, name, "weights must be finite and at least 0, and one must be above 0")
        self.weights, self.generator = weights, generator
        self.num_samples = integer(name, "num_samples", num_samples, 1)
        self.replacement = boolean(name, "replacement", replacement)
        self._shares = found / found.sum()
        several = int((found > 0).sum())
        check(
            self.replacement or several >= self.num_samples,
            name,
            f"num_samples is {num_samples}, but only {several} weights are above 0; give replacement=True",
        )

    def __iter__(self) -> Iterator[int]:
        rng = random.numbers(self.generator)
        yield from rng.choice(len(self._shares), self.num_samples, self.replacement, self._shares).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """The numbers of another sampler in lists of ``batch_size``.

    Parameters
    ----------
    sampler : Sampler or iterable
    batch_size : int
    drop_last : bool
        Leave out the last list if it is incomplete.

    Examples
    --------
    >>> from fastconv import data
    >>> list(data.BatchSampler(data.SequentialSampler("abcde"), 2, False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        name = "BatchSampler"
        check(
            hasattr(sampler, "__iter__") or hasattr(sampler, "__getitem__"),
            name,
            f"sampler must be a Sampler or an iterable, got {type(sampler).__name__}",
            TypeError,
        )
        self.sampler = sampler
        self.batch_size = integer(name, "batch_size", batch_size, 1)
        self.drop_last = boolean(name, "drop_last", drop_last)

    def __iter__(self) -> Iterator[list[Any]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = length("BatchSampler", self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
