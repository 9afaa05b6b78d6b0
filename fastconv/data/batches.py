"""How one batch of a data set is made: its items are read, combined and transformed."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import random
from ..checks import check
from ..tensor import Tensor
from ..typing import Array
from . import collate
from .dataset import gathers
from .source import ArrayDataset
from .transforms import Mixing, Transform


class Batches:
    """Makes the batches of a loader.

    Parameters
    ----------
    dataset
        With ``__getitem__`` or ``__iter__``.
    shown : str
        The name of the data set, for error messages.
    batched : bool
        False: a "batch" is a single item.
    collate_fn, transform : callable or None
        As in ``DataLoader``.
    """

    def __init__(
        self,
        dataset: Any,
        shown: str,
        batched: bool,
        collate_fn: Callable[[Any], Any] | None,
        transform: Callable[..., Any] | None,
    ) -> None:
        self.dataset, self.shown, self.batched = dataset, shown, batched
        self.collate_fn, self.transform = collate_fn, transform

    def make(self, index: Sequence[Any] | Array, items: list[Any] | None, rng: np.random.Generator) -> Any:
        """The batch of ``items``, or, if that is None, of the items ``index``; ``rng`` draws the numbers."""
        raw = isinstance(self.transform, Transform)
        with random.drawing_from(rng):
            if self.batched and self.collate_fn is None and items is None and gathers(self.dataset):
                rows = self.dataset.gather(_numbers(index, len(self.dataset)))
                arrays = isinstance(self.dataset, ArrayDataset)
                batch = collate.of_rows(rows, self.dataset.single, raw) if arrays else rows
            else:
                items = self._items(list(index)) if items is None else items
                if not self.batched:
                    return (self.collate_fn or collate.default_convert)(items[0])
                put_together = self.collate_fn
                batch = put_together(items) if put_together else collate.batch(items, index, raw)
            return self._transformed(batch, len(index), rng)

    def streamed(self, start: int, size: int, drop_last: bool) -> Iterator[tuple[int, range, list[Any]]]:
        """The batches from ``start`` on of a data set that has only ``__iter__``: the number of the batch,
        the numbers of its items, and the items. Earlier items are read and skipped."""
        items, b = iter(self.dataset), start
        for _ in islice(items, start * size):
            pass
        while True:
            chunk: list[Any] = []
            try:
                chunk.extend(islice(items, size))
            except Exception as e:
                self._note(e, b * size + len(chunk))
                raise
            if not chunk or (drop_last and len(chunk) < size):
                return
            yield b, range(b * size, b * size + len(chunk)), chunk
            b += 1

    def _items(self, index: list[Any]) -> list[Any]:
        """The items ``index``; a data set may have PyTorch's ``__getitems__``, which returns several."""
        several = getattr(self.dataset, "__getitems__", None)
        return [self._item(i) for i in index] if several is None else several(index)

    def _item(self, i: Any) -> Any:
        try:
            return self.dataset[i]
        except Exception as e:
            self._note(e, i)
            raise

    def _note(self, e: Exception, i: Any) -> None:
        """Add to an exception which item raised it; Python 3.10 has no notes."""
        if (add_note := getattr(e, "add_note", None)) is not None:
            add_note(f"DataLoader: item {i} of {self.shown}")

    def _transformed(self, batch: Any, count: int, rng: np.random.Generator) -> Any:
        """The batch with X transformed."""
        x, transform = collate.first_of(batch), self.transform
        if transform is not None:
            x = x.detach().numpy() if isinstance(x, Tensor) else x
            check(
                isinstance(x, np.ndarray),
                "DataLoader",
                "transform needs items that are arrays, or tuples that begin with "
                f"one, got a {type(x).__name__}; transform them in the data set",
                TypeError,
            )
            if isinstance(transform, Mixing):
                pair = isinstance(batch, (tuple, list)) and len(batch) == 2
                check(pair, "DataLoader", f"transform {transform!r} needs batches (X, y)", TypeError)
                x, y = transform(x, batch[1], rng)
                batch = (x, y)
            else:  # an object of ``transforms`` gets the dtype of the data set
                x = transform(
                    x if isinstance(transform, Transform) else x.astype(np.float32, copy=False), rng
                )
            check(
                isinstance(x, np.ndarray) and len(x) == count,
                "DataLoader",
                f"transform must return an array of {count} images, got {type(x).__name__}",
            )
            x = collate.as_inputs(x)
        return collate.with_first(batch, collate.channels_last(x)) if isinstance(x, np.ndarray) else batch


def _numbers(index: Sequence[Any] | Array, n: int) -> Array:
    """The numbers of a batch as an array; an IndexError if the data set has no such item."""
    found = np.asarray(index)
    if not found.size:
        return found.astype(np.intp)
    kind, low, high = found.dtype.kind, found.min(), found.max()
    check(kind in "iu", "DataLoader", f"a sampler must give ints, got {index!r:.60}", TypeError)
    check(
        -n <= low and high < n,
        "DataLoader",
        f"the sampler asks for item {low if low < -n else high}, but the data set has {n} items",
        IndexError,
    )
    return found
