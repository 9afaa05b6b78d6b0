"""Batches from a data set: shuffled, augmented and prefetched, repeatable from a seed and a position."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnnecessaryIsInstance=false

from __future__ import annotations

import contextlib
import operator
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import random
from ..checks import check, shape_str
from ..table import Table, number
from ..typing import Array
from . import collate
from .datasets import ImageSet, to_float
from .transforms import Transform

PREFETCH = 2  # batches made ahead of the consumer
END: Any = object()  # follows the last batch in the queue


def _integer(name: str, what: str, value: Any, least: int) -> int:
    check(hasattr(value, "__index__"), name, f"{what} must be an int, got {value!r}", TypeError)
    check(value >= least, name, f"{what} must be at least {least}, got {value}")
    return operator.index(value)


def _arrays(dataset: Any) -> tuple[Array, ...] | None:
    """The arrays of a data set that consists of arrays with one row per example, else None."""
    if isinstance(dataset, ImageSet):
        return dataset.images, dataset.labels
    if _is_array(dataset):
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
    return arrays


def _is_array(dataset: object) -> bool:
    return hasattr(dataset, "shape") and hasattr(dataset, "__array__")


def _check_dataset(dataset: Any) -> None:
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
            f"a {kind}, which can be gone through once, and each epoch does so; give list(...) of "
            "it, or an object whose __iter__ starts anew",
        ),
        (not _is_sized(dataset) and not hasattr(dataset, "__iter__"), kind),
    ]
    for wrong, got in refused:
        check(not wrong, "DataLoader", f"{expected}, got {got}", TypeError)


def _is_sized(dataset: Any) -> bool:
    """Whether the data set returns items by number.

    PyTorch's IterableDataset has a ``__getitem__`` too, but it only raises.
    """
    iterable = any(c.__name__ == "IterableDataset" for c in type(dataset).__mro__)
    return not iterable and hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


class DataLoader:
    """Iterate over a data set in batches of Tensors, mostly ``(X, y)``.

    Parameters
    ----------
    dataset
        A pair of arrays ``(X, y)`` with one row per example, a tuple of any number of such arrays, or one
        array. Or an object with ``__len__`` and ``__getitem__(i)``. Or an object with ``__iter__``, which
        gives its items in its own order.

        An item is one array, or a tuple or dict of arrays, numbers, strings and inner tuples and dicts; most
        often it is ``(array, int)``. A batch has the form of its items. X (the first part of a tuple, or the
        one array) becomes float32; its values stay. The parts behind it become float32, or int64 if they are
        integers. In dicts and inner tuples, floats become float32 and all others keep their dtype. Strings
        become a list.
    batch_size : int
    shuffle : bool
        Take a new order in each epoch. A data set that only has ``__iter__`` cannot be shuffled.
    seed : int, optional
        Order and augmentation of batch b in epoch e depend on (seed, e, b) alone. By default a seed is drawn
        once, from the generator of ``fc.manual_seed``.
    drop_last : bool
        Leave an incomplete last batch out.
    transform : callable, optional
        ``(batch, rng) -> batch`` on X, a float32 array, e.g. from :mod:`fastconv.data.transforms`.

    Raises
    ------
    ValueError
        The data set is empty, its arrays differ in length, or a number is out of range.
    TypeError
        ``dataset`` cannot be a data set; the message says what to give.

    Notes
    -----
    Each ``iter(loader)`` is one epoch, and the next one starts the next epoch. One background thread makes
    the batches. It ends with the iterator, and its exceptions are raised where the batch is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import data
    >>> [tuple(x.shape) for x, y in data.DataLoader((np.zeros((5, 3)), np.arange(5)), batch_size=2)]
    [(2, 3), (2, 3), (1, 3)]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        transform: Transform | None = None,
    ) -> None:
        name = "DataLoader"
        self._arrays = _arrays(dataset)
        if self._arrays is None:
            _check_dataset(dataset)
        self._single = _is_array(dataset)  # then a batch is one array
        self._stream = self._arrays is None and not _is_sized(dataset)
        check(
            not (self._stream and shuffle),
            name,
            "shuffle needs __getitem__ and __len__; a data set that only has __iter__ "
            "gives its items in its own order",
        )
        self.dataset, self.shuffle, self.drop_last, self.transform = dataset, shuffle, drop_last, transform
        sized = self._arrays is not None or hasattr(dataset, "__len__")
        # the number of examples; None if it is not known
        self.n: int | None = len(dataset if self._arrays is None else self._arrays[0]) if sized else None
        check(self.n != 0, name, "the data set is empty")
        self.batch_size = _integer(name, "batch_size", batch_size, 1)
        check(
            transform is None or callable(transform),
            name,
            f"transform must be callable, got {transform!r}",
            TypeError,
        )
        self.seed_given = seed is not None  # for train.fit, which compares only a seed that the user gave
        self.seed = _integer(name, "seed", random.next_seed() if seed is None else seed, 0)
        self._next = (0, 0)  # epoch and batch where the next iterator starts
        self._position = [0, 0]  # epoch and batch of the iterator that was started last

    def __len__(self) -> int:
        """Batches per epoch; TypeError if the data set does not say how long it is."""
        if self.n is None:
            raise TypeError(
                "DataLoader: the number of batches is not known, because the data set only has __iter__; "
                "train.fit needs it: give the data set a __len__"
            )
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def _shown(self) -> dict[str, str]:
        """The options as words, with a question mark for an unknown number."""
        source, known = type(self.dataset).__name__, self.n is not None
        if isinstance(self.dataset, ImageSet):
            source = repr(self.dataset)
        elif self._arrays is not None:
            source = " and ".join(shape_str(np.shape(a)) for a in self._arrays)
        transform = getattr(self.transform, "__qualname__", type(self.transform).__name__).partition(
            ".<locals>"
        )[0]
        return {
            "data": source,
            "examples": "?" if self.n is None else number(self.n),
            "batches": number(len(self)) if known else "?",
            "batch size": str(self.batch_size),
            "shuffle": str(self.shuffle),
            "drop_last": str(self.drop_last),
            "seed": str(self.seed),
            "transform": "None" if self.transform is None else transform,
        }

    def __repr__(self) -> str:
        shown = self._shown()
        keys = ["shuffle", "drop_last", "transform"] + ["seed"] * (self.shuffle or self.transform is not None)
        text = "".join(f", {k}={shown[k]}" for k in keys if shown[k] not in ("False", "None"))
        return f"DataLoader({shown['data']}, {shown['batches']} batches of {shown['batch size']}{text})"

    def _repr_html_(self) -> str:
        """The options as a table, for notebooks."""
        shown = self._shown()
        return Table(list(shown), [list(shown.values())], "l" + "r" * (len(shown) - 1), "DataLoader").html()

    def state_dict(self) -> dict[str, int]:
        """``epoch``, ``batch`` (how many of this epoch were handed out) and ``seed``."""
        return {"epoch": self._position[0], "batch": self._position[1], "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next ``iter(loader)`` continue at ``state``, with bit-identical batches.

        Raises a ValueError if ``state`` is none of :meth:`state_dict`, or lies beyond the end of an epoch.
        """
        name = "DataLoader.load_state_dict"
        check(
            set(state) == {"epoch", "batch", "seed"},
            name,
            f"expected epoch, batch, seed, got {', '.join(state)}",
        )
        epoch, batch, seed = (_integer(name, k, state[k], 0) for k in ("epoch", "batch", "seed"))
        if self.n is not None:
            check(
                batch <= len(self),
                name,
                f"batch {batch} is beyond the {len(self)} of an epoch; use the data set "
                "and batch_size the state was taken with",
            )
        self.seed, self._next, self._position = seed, (epoch, batch), [epoch, batch]

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._next
        self._next, self._position = (epoch + 1, 0), [epoch, start]
        return self._run(epoch, start, self._position)

    def _run(self, epoch: int, start: int, position: list[int]) -> Iterator[Any]:
        """The batches of an epoch; ``slots`` counts those that may still be made ahead."""
        slots, stop = threading.Semaphore(PREFETCH), threading.Event()
        ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        thread = threading.Thread(
            target=self._produce, args=(epoch, start, slots, ready, stop), name="fastconv-loader", daemon=True
        )
        thread.start()
        process = os.getpid()
        try:
            while (batch := self._in_process(process, ready)) is not END:
                slots.release()
                if isinstance(batch, BaseException):
                    raise batch
                position[1] += 1
                yield collate.tensors(batch)
            position[:] = epoch + 1, 0
        finally:
            # The child of a fork does not have the thread, and locks that it held may stay locked there.
            if os.getpid() == process:
                stop.set()
                slots.release()
                # RuntimeError: Python shuts down, or the garbage collector runs this inside that thread
                with contextlib.suppress(RuntimeError):
                    thread.join(
                        1.0
                    )  # with a limit, because at Python's shutdown a daemon thread may never end

    @staticmethod
    def _in_process(process: int, ready: queue.SimpleQueue[Any]) -> Any:
        """The next batch; refused in a process that does not have the thread which makes them."""
        check(
            os.getpid() == process,
            "DataLoader",
            "this epoch began before the process was forked, and the thread that "
            "makes its batches is not in the child; start a new iteration there",
            RuntimeError,
        )
        return ready.get()

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        """Random numbers: stream 0 is for the order of the epoch, stream b + 1 for batch b."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, stream)))

    def _produce(
        self,
        epoch: int,
        start: int,
        slots: threading.Semaphore,
        ready: queue.SimpleQueue[Any],
        stop: threading.Event,
    ) -> None:
        """What the thread runs: make batches, and put them or an exception into ``ready``."""
        try:
            chunks: Iterator[Any] = (self._streamed if self._stream else self._indexed)(epoch, start)
            b = start
            while slots.acquire() and not stop.is_set():
                if (chunk := next(chunks, END)) is END:
                    break
                index, items = chunk
                ready.put(self._batch(index, items, self._rng(epoch, b + 1)))
                b += 1
            ready.put(END)
        except BaseException as e:  # the consumer raises it again
            ready.put(e)

    def _indexed(self, epoch: int, start: int) -> Iterator[tuple[Array, list[Any] | None]]:
        """For each batch from ``start`` on: the numbers of its examples, and its items (arrays have none)."""
        n = self.n or 0
        order = self._rng(epoch, 0).permutation(n) if self.shuffle else np.arange(n)
        for b in range(start, len(self)):
            index = order[b * self.batch_size : (b + 1) * self.batch_size]
            yield index, None if self._arrays is not None else [self._item(int(i)) for i in index]

    def _streamed(self, epoch: int, start: int) -> Iterator[tuple[range, list[Any]]]:
        """The same for a data set that only has ``__iter__``; the items before ``start`` are skipped."""
        items, at = iter(self.dataset), start * self.batch_size
        for _ in islice(items, at):
            pass
        while True:
            chunk: list[Any] = []
            try:
                chunk.extend(islice(items, self.batch_size))
            except Exception as e:
                self._note(e, at + len(chunk))
                raise
            if not chunk or (self.drop_last and len(chunk) < self.batch_size):
                return
            yield range(at, at + len(chunk)), chunk
            at += len(chunk)

    def _item(self, i: int) -> Any:
        try:
            return self.dataset[i]
        except Exception as e:
            self._note(e, i)
            raise

    def _note(self, e: Exception, i: int) -> None:
        """Add to an exception which item raised it; Python 3.10 has no notes."""
        if (add_note := getattr(e, "add_note", None)) is not None:
            add_note(f"DataLoader: item {i} of {type(self.dataset).__name__}")

    def make_batch(self, index: Sequence[int] | Array, rng: np.random.Generator) -> Any:
        """The batch of the examples ``index``, in NumPy arrays, with ``rng`` for the transform.

        The background thread does this for each batch; here it can be called, and timed, alone.
        """
        items = None if self._arrays is not None else [self._item(int(i)) for i in index]
        return self._batch(index, items, rng)

    def _batch(self, index: Sequence[int] | Array, items: list[Any] | None, rng: np.random.Generator) -> Any:
        """The batch of ``items``, or of the rows ``index`` of the arrays, with X transformed."""
        if self._arrays is None:
            batch = collate.batch(items or [], index)
        else:
            x, *others = (a[index] for a in self._arrays)
            x = to_float(x) if isinstance(self.dataset, ImageSet) else collate.as_images(x)
            batch = x if self._single else (x, *map(collate.as_targets, others))
        x = collate.first_of(batch)
        if self.transform is not None:
            check(
                isinstance(x, np.ndarray),
                "DataLoader",
                "transform needs items that are arrays, or tuples that begin with "
                f"one, got a {type(x).__name__}; transform them in the data set",
                TypeError,
            )
            x = self.transform(x, rng)
            check(
                isinstance(x, np.ndarray) and len(x) == len(index),
                "DataLoader",
                f"transform must return an array of {len(index)} images, got {type(x).__name__}",
            )
        return collate.with_first(batch, collate.channels_last(x)) if isinstance(x, np.ndarray) else batch
