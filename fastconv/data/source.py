"""What a loader accepts as a data set."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnnecessaryIsInstance=false

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import check, shape_str
from ..typing import Array
from .dataset import Dataset


class ArrayDataset(Dataset):
    """Arrays with one row per example.

    Attributes
    ----------
    arrays : tuple of arrays
    single : bool
        There is only one array, and an item is one of its rows, not a tuple.
    """

    gathers = True

    def __init__(self, arrays: tuple[Array, ...], single: bool) -> None:
        self.arrays, self.single = arrays, single

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> Any:
        return self.arrays[0][index] if self.single else tuple(a[index] for a in self.arrays)

    def gather(self, index: Array) -> tuple[Array, ...]:
        """The rows ``index`` of all arrays."""
        return tuple(a[index] for a in self.arrays)


def of_arrays(dataset: Any) -> ArrayDataset | None:
    """A data set that consists of arrays with one row per example, else None."""
    single = hasattr(dataset, "shape") and hasattr(dataset, "__array__")
    if single:
        dataset = (dataset,)
    elif not (isinstance(dataset, tuple) or (isinstance(dataset, list) and len(dataset) == 2)):
        return None  # a list of arrays is a list of examples, except that [X, y] may stand for (X, y)
    if not dataset or not all(hasattr(a, "shape") for a in dataset):
        return None
    arrays = tuple(np.asarray(a) for a in dataset)
    check(
        all(a.ndim > 0 for a in arrays) and len({len(a) for a in arrays}) == 1,
        "DataLoader",
        f"arrays need one row per example, got {' and '.join(shape_str(a.shape) for a in arrays)}",
    )
    for a in arrays:
        cure = (
            "number the classes: np.unique(labels, return_inverse=True)"
            if a.dtype.kind in "US"
            else "convert them"
        )
        check(
            a.dtype.kind in "fiub",
            "DataLoader",
            f"arrays must hold numbers, got {a.dtype}; {cure}",
            TypeError,
        )
    return ArrayDataset(arrays, single)


def check_dataset(dataset: Any) -> None:
    """Refuse an object that cannot be a data set, before the first epoch."""
    kind = type(dataset).__name__
    expected = "dataset must be a pair of arrays or have __len__ and __getitem__, or __iter__"
    refused = [
        (
            isinstance(dataset, type),
            f"the class {getattr(dataset, '__name__', '')}; make one: "
            f"{getattr(dataset, '__name__', '')}(...)",
        ),
        (isinstance(dataset, (str, bytes)), f"a {kind}; read it first, e.g. with np.load"),
        (isinstance(dataset, dict) and 0 not in dataset, "a dict; give its arrays as a tuple, (X, y)"),
        (
            hasattr(dataset, "__next__"),
            f"a {kind}, which can be iterated over only once, and each epoch does so; give list(...) of "
            "it, or an object whose __iter__ starts again",
        ),
        (not is_sized(dataset) and not hasattr(dataset, "__iter__"), kind),
    ]
    for wrong, got in refused:
        check(not wrong, "DataLoader", f"{expected}, got {got}", TypeError)


def is_sized(dataset: Any) -> bool:
    """Whether the data set returns items by number.

    PyTorch's IterableDataset has a ``__getitem__`` too, but it only raises.
    """
    iterable = any(c.__name__ == "IterableDataset" for c in type(dataset).__mro__)
    return not iterable and hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
