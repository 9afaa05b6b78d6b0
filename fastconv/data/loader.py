"""Batches from a data set: shuffled, augmented and prefetched, replayable from a seed and a position."""

from __future__ import annotations

import operator
import queue
import threading
from collections.abc import Iterator

import numpy as np

from .. import random
from ..spec import check, shape_str
from ..tensor import Tensor, from_numpy
from .datasets import ImageSet, to_float

PREFETCH = 2  # batches made ahead of the consumer


def _integer(name: str, what: str, value, least: int) -> int:
    check(hasattr(value, "__index__"), name, f"{what} must be an int, got {value!r}", TypeError)
    check(value >= least, name, f"{what} must be at least {least}, got {value}")
    return operator.index(value)


class DataLoader:
    """Iterate over a data set in batches of ``(X, y)`` Tensors.

    Parameters
    ----------
    dataset
        Any object with ``__len__`` and ``__getitem__(i) -> (array, int)``, or a pair of arrays ``(X, y)`` with one
        row per example. X becomes float32 (its values unchanged), integer labels int64.
    batch_size : int
    shuffle : bool
        A new order in each epoch.
    seed : int, optional
        Order and augmentation of batch b in epoch e depend on (seed, e, b) alone. Drawn once if None
        (``fc.manual_seed`` fixes it).
    drop_last : bool
        Leave an incomplete last batch out.
    transform : callable, optional
        ``(batch, rng) -> batch`` on float32 arrays, e.g. from :mod:`fastconv.data.transforms`.

    Notes
    -----
    Each ``iter(loader)`` is one epoch, and the next one starts the next epoch. One background thread makes the
    batches; it ends with the iterator, and its exceptions are raised where the batch was asked for.
    """

    def __init__(self, dataset, batch_size: int = 1, shuffle: bool = False, seed: int | None = None,
                 drop_last: bool = False, transform=None):  # fmt: skip
        name = "DataLoader"
        self._arrays = None
        if isinstance(dataset, ImageSet):
            self._arrays = dataset.images, dataset.labels
        elif isinstance(dataset, (tuple, list)) and len(dataset) == 2 and all(hasattr(a, "shape") for a in dataset):
            x, y = self._arrays = tuple(np.asarray(a) for a in dataset)
            check(x.ndim > 0 and y.ndim > 0 and len(x) == len(y), name,
                  f"X and y need one row per example, got {shape_str(x.shape)} and {shape_str(y.shape)}")  # fmt: skip
        else:
            check(hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"), name, "dataset must be a pair of "
                  f"arrays or have __len__ and __getitem__, got {type(dataset).__name__}", TypeError)  # fmt: skip
        self.dataset, self.shuffle, self.drop_last, self.transform = dataset, shuffle, drop_last, transform
        self.n = len(dataset if self._arrays is None else self._arrays[0])
        check(self.n > 0, name, "the data set is empty")
        self.batch_size = _integer(name, "batch_size", batch_size, 1)
        check(transform is None or callable(transform), name, f"transform must be callable, got {transform!r}",
              TypeError)  # fmt: skip
        self.seed_given = seed is not None  # train.fit asks: a seed that was drawn is no wish
        self.seed = _integer(name, "seed", random.next_seed() if seed is None else seed, 0)
        self._next = (0, 0)  # epoch and batch where the next iterator starts
        self._position = [0, 0]  # of the iterator started last

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def state_dict(self) -> dict:
        """``epoch``, ``batch`` (how many of that epoch were handed out) and ``seed``."""
        return {"epoch": self._position[0], "batch": self._position[1], "seed": self.seed}

    def load_state_dict(self, state: dict) -> None:
        """Make the next ``iter(loader)`` continue where ``state`` was taken, bit-identically."""
        name = "DataLoader.load_state_dict"
        check(set(state) == {"epoch", "batch", "seed"}, name, f"expected epoch, batch, seed, got {', '.join(state)}")
        epoch, batch, seed = (_integer(name, k, state[k], 0) for k in ("epoch", "batch", "seed"))
        check(batch <= len(self), name, f"batch {batch} is beyond the {len(self)} of an epoch; use the data set "
              "and batch_size the state was taken with")  # fmt: skip
        self.seed, self._next, self._position = seed, (epoch, batch), [epoch, batch]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self._next
        self._next, self._position = (epoch + 1, 0), [epoch, start]
        return self._run(epoch, start, self._position)

    def _run(self, epoch, start, position):
        slots, ready, stop = threading.Semaphore(PREFETCH), queue.SimpleQueue(), threading.Event()
        args = (self._rng(epoch, 0), range(start, len(self)), epoch, slots, ready, stop)
        thread = threading.Thread(target=self._produce, args=args, name="fastconv-loader", daemon=True)
        thread.start()
        try:
            for b in range(start, len(self)):
                batch = ready.get()
                slots.release()
                if isinstance(batch, BaseException):
                    raise batch
                position[1] = b + 1
                yield tuple(from_numpy(a) for a in batch)
            position[:] = epoch + 1, 0
        finally:
            stop.set()
            slots.release()
            try:
                thread.join(1.0)  # bounded: while Python shuts down a daemon thread may never end
            except RuntimeError:  # shutting down, or closed by the garbage collector inside that very thread
                pass

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        """Stream 0 is the epoch's order, stream b + 1 belongs to batch b."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, stream)))

    def _produce(self, rng, batches, epoch, slots, ready, stop):
        try:
            order = rng.permutation(self.n) if self.shuffle else np.arange(self.n)
            for b in batches:
                slots.acquire()
                if stop.is_set():
                    return
                ready.put(self._batch(order[b * self.batch_size : (b + 1) * self.batch_size], self._rng(epoch, b + 1)))
        except BaseException as e:  # raised again by the consumer
            ready.put(e)

    def _batch(self, index, rng) -> tuple[np.ndarray, np.ndarray]:
        if self._arrays is None:
            items = [self.dataset[int(i)] for i in index]
            shapes = sorted({np.shape(x) for x, _ in items})
            check(len(shapes) == 1, "DataLoader", f"items of one batch differ in shape: {shapes}; resize or crop them")
            x, y = np.stack([x for x, _ in items]), np.asarray([y for _, y in items])
        else:
            x, y = (a[index] for a in self._arrays)
        x = to_float(x) if isinstance(self.dataset, ImageSet) else x.astype(np.float32, copy=False)
        y = y.astype(np.float32 if y.dtype.kind == "f" else np.int64, copy=False)
        if self.transform is not None:
            x = self.transform(x, rng)
            check(isinstance(x, np.ndarray) and len(x) == len(y), "DataLoader",
                  f"transform must return an array of {len(y)} images, got {type(x).__name__}")  # fmt: skip
        if x.ndim == 4:  # channels-last memory, as the kernels want it: better copied here than in the training loop
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return x, y
