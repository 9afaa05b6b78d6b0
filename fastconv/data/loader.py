"""Batches from a data set: shuffled, augmented and prefetched, repeatable from a seed and a position."""

# The items of a data set are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import backends, cuda, random
from ..checks import check, one_of, shape_str
from ..checks import number as real
from ..table import Table, number
from ..typing import Array
from . import collate, source
from .batches import Batches
from .datasets import ImageSet
from .distributed import divides
from .samplers import BatchSampler, RandomSampler, SequentialSampler, boolean, integer
from .workers import END, WorkerInfo, in_order, working_as

#: The attributes that decide which items a batch has; they cannot be changed after ``__init__``.
FIXED = ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last")
PREFETCH = 2  # batches made ahead of the consumer, for each worker


class DataLoader:
    """Iterate over a data set in batches of Tensors, usually pairs ``(X, y)``.

    Parameters
    ----------
    dataset
        One of these: a pair of arrays ``(X, y)`` with one row per example; a tuple of any number of such
        arrays; one array; an object with ``__len__`` and ``__getitem__(i)``; an object with ``__iter__``,
        which gives its items in its own order.

        An item is one array, or a tuple or dict of arrays, numbers, strings and inner tuples and dicts; most
        often it is ``(array, int)``. A batch has the form of its items. Tensors keep their dtype. In arrays
        and numbers, floats become float32. Integers stay integers. In a tuple, the parts after the first
        become int64, and a first part that is an image of integers (C x H x W) becomes float32 with the same
        values. Strings become a list.
    batch_size : int or None
        With None, the loader returns single items, converted by :func:`default_convert`.
    shuffle : bool
        Use a new random order in each epoch. A data set that has only ``__iter__`` cannot be shuffled.
    sampler : Sampler or iterable of int, optional
        Gives the numbers of the items in their order; not together with ``shuffle``.
    batch_sampler : Sampler or iterable of lists of int, optional
        Gives the numbers of the items of each batch; not together with ``batch_size``, ``shuffle``,
        ``sampler`` or ``drop_last``.
    num_workers : int
        Number of threads that make batches; 0 uses one thread too. Workers are threads, not processes, so
        they share the data set. More of them make decoding of images, NumPy code and reading of files faster,
        but not a ``__getitem__`` that computes in Python code. The batches are the same with any number. A
        data set that has only ``__iter__`` is read by one thread at a time.
    collate_fn : callable, optional
        Makes a batch from the list of its items; :func:`default_collate` by default. Arrays in its result
        become Tensors.
    pin_memory : bool
        Put the batches into page-locked memory (see :meth:`Tensor.pin_memory`), from which ``to("cuda",
        non_blocking=True)`` does not wait. The threads that make the batches do it. It has no effect without
        a GPU. ``train.fit`` does not need it, because its upload has page-locked memory of its own.
    drop_last : bool
        Leave out the last batch if it is incomplete.
    timeout : float
        Seconds to wait for a batch; 0 waits without a limit.
    worker_init_fn : callable, optional
        Called with the worker's number in each worker thread, before its first item. It is not called with
        ``num_workers=0``.
    multiprocessing_context
        Must be None, because workers are threads.
    generator : Generator, optional
        The seed is drawn from it, once.
    prefetch_factor : int, optional
        Number of batches that each worker makes ahead of time, 2 by default; needs ``num_workers`` of at
        least 1.
    persistent_workers : bool
        Call ``worker_init_fn`` in the first epoch only. The threads are new in each epoch, because they start
        within microseconds.
    seed : int, optional
        Order and augmentation of batch b in epoch e depend only on (seed, e, b). This holds for the random
        numbers of samplers, of :mod:`fastconv.data.transforms` and of ``fc.rand`` and similar functions, but
        not for those of ``random`` and ``np.random``, which have their own state. By default a seed is drawn
        once, from the generator that ``fc.manual_seed`` seeds.
    transform : callable, optional
        A function ``(batch, rng) -> batch`` of X, a float32 array, or an object of
        :mod:`fastconv.data.transforms`, which gets X before it becomes float32. ``MixUp`` and ``CutMix`` get
        X and y.
    pin_memory_device : str
        Has no effect.
    in_order : bool
        Must be True: batches come in the order of the sampler.

    Raises
    ------
    ValueError
        The data set is empty, its arrays differ in length, a number is out of range, or options cannot be
        used together.
    TypeError
        ``dataset`` cannot be a data set, or an option has another type; the message says what to give.

    Notes
    -----
    Each ``iter(loader)`` starts the next epoch. Background threads make the batches and end with the
    iterator. An exception in a thread is raised again when its batch is asked for.

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
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        multiprocessing_context: None = None,
        generator: random.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        seed: int | None = None,
        transform: Callable[..., Any] | None = None,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        name = "DataLoader"
        self.dataset = dataset
        arrays = source.of_arrays(dataset)
        if arrays is None:
            source.check_dataset(dataset)
        self._source = dataset if arrays is None else arrays
        self._stream = arrays is None and not source.is_sized(dataset)
        self.shuffle = boolean(name, "shuffle", False if shuffle is None else shuffle)
        check(
            not (self._stream and shuffle),
            name,
            "shuffle needs __getitem__ and __len__ in the data set; shuffle inside its __iter__",
        )
        self.drop_last = boolean(name, "drop_last", drop_last)
        #: the number of examples; None if it is not known
        self.n: int | None = len(self._source) if not self._stream or hasattr(dataset, "__len__") else None
        check(self.n != 0, name, "the data set is empty")
        self.num_workers = integer(name, "num_workers", num_workers, 0)
        self.timeout = real(name, "timeout", timeout, 0, 1e9)
        self.pin_memory = boolean(name, "pin_memory", pin_memory)
        self.persistent_workers = boolean(name, "persistent_workers", persistent_workers)
        check(
            num_workers > 0 or not (persistent_workers or prefetch_factor),
            name,
            "persistent_workers and prefetch_factor need num_workers of at least 1",
        )
        self.prefetch_factor = (
            None if prefetch_factor is None else integer(name, "prefetch_factor", prefetch_factor, 1)
        )
        check(
            multiprocessing_context is None,
            name,
            "multiprocessing_context must be None, because workers are threads, "
            f"got {multiprocessing_context!r}",
        )
        check(
            in_order is True,
            name,
            f"in_order must be True, because batches keep their order, got {in_order!r}",
        )
        one_of(name, "pin_memory_device", pin_memory_device, ("", "cpu", "cuda"))
        calls = {"collate_fn": collate_fn, "worker_init_fn": worker_init_fn, "transform": transform}
        for what, call in calls.items():
            check(
                call is None or callable(call), name, f"{what} must be callable, got {call!r:.60}", TypeError
            )
        self.collate_fn, self.worker_init_fn, self.transform = collate_fn, worker_init_fn, transform
        self._begun = False  # worker_init_fn was called in an epoch before
        self._sample(batch_size, sampler, batch_sampler)
        self._seed(seed, generator)
        self._next = (0, 0)  # epoch and batch where the next iterator starts
        self._position = [0, 0]  # epoch and batch of the iterator that was started last
        self._fixed = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse changes of the attributes in ``FIXED``; others, such as ``transform``, may be changed."""
        check(
            not (name in FIXED and getattr(self, "_fixed", False)),
            "DataLoader",
            f"{name} cannot be changed; make another DataLoader",
        )
        super().__setattr__(name, value)

    def _sample(self, batch_size: int | None, sampler: Any, batch_sampler: Any) -> None:
        """Decide which items come when: ``sampler``, ``batch_sampler`` and ``batch_size``."""
        name, given = "DataLoader", sampler if batch_sampler is None else batch_sampler
        check(
            given is None or not self._stream,
            name,
            "a data set that only has __iter__ gives its items in its own order, so it has no sampler",
        )
        for what, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            kind, wanted = type(value).__name__, f"{what} must be a Sampler or an iterable"
            fine = value is None or hasattr(value, "__iter__") or hasattr(value, "__getitem__")
            check(fine, name, f"{wanted}, got {kind}", TypeError)
            once = f"got a {kind}, which can be iterated over only once; give list(...) of it"
            check(not hasattr(value, "__next__"), name, f"{wanted} that starts again, {once}", TypeError)
        check(sampler is None or not self.shuffle, name, "give either sampler or shuffle=True, not both")
        alone = batch_size == 1 and not self.shuffle and sampler is None and not self.drop_last
        check(
            batch_sampler is None or alone,
            name,
            "batch_sampler cannot be used with batch_size, shuffle, sampler or drop_last",
        )
        check(
            batch_size is not None or not (self.drop_last or self.transform),
            name,
            "batch_size=None makes no batches, so drop_last and transform cannot be used with it",
        )
        if batch_size is not None:
            batch_size = integer(name, "batch_size", batch_size, 1)
        if sampler is None and not self._stream:
            sampler = (RandomSampler if self.shuffle else SequentialSampler)(self._source)
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self.batch_size = batch_size if batch_sampler is None else None
        if batch_sampler is None and batch_size is not None and not self._stream:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, self.drop_last)
        self._batched, self._sampled = batch_size is not None, given is not None

    def _seed(self, seed: int | None, generator: random.Generator | None) -> None:
        """Take the seed, or draw one."""
        random.check_generator("DataLoader", generator)
        check(seed is None or generator is None, "DataLoader", "give either seed or generator, not both")
        self.generator = generator
        if generator is None:  # use the generator of the sampler, if it has one
            inner = getattr(self.batch_sampler, "sampler", None)
            found = (getattr(s, "generator", None) for s in (self.sampler, self.batch_sampler, inner))
            generator = next((g for g in found if isinstance(g, random.Generator)), None)
        self.seed_given = seed is not None  # for train.fit, which compares only a seed that the user gave
        if seed is None:
            seed = random.next_seed() if generator is None else generator.next_seed()
        self.seed = integer("DataLoader", "seed", seed, 0)

    @property
    def draws(self) -> bool:
        """Whether the batches are known to depend on the seed."""
        return self.shuffle or self.transform is not None or self._sampled

    def _count(self) -> int | None:
        """The number of batches per epoch, or None if it is not known."""
        if not self._stream:
            try:
                return len(self.batch_sampler if self._batched else self.sampler)
            except TypeError:  # a sampler without __len__
                return None
        size = self.batch_size or 1
        return self.n and (self.n // size if self.drop_last else -(-self.n // size))

    def __len__(self) -> int:
        """The number of batches per epoch; a TypeError if the data set (or the sampler) has no length."""
        if (count := self._count()) is None:
            why = "data set only has __iter__" if self._stream else "sampler has no __len__"
            raise TypeError(
                f"DataLoader: the number of batches is not known, because the {why}; "
                f"train.fit needs it: give the {why.partition(' has')[0].partition(' only')[0]} a __len__"
            )
        return count

    def _shown(self) -> dict[str, str]:
        """The options as text, with a question mark for an unknown number."""
        dataset, kind = type(self.dataset).__name__, type(self.transform)
        if isinstance(self.dataset, ImageSet):
            dataset = repr(self.dataset)
        elif isinstance(self._source, source.ArrayDataset):
            dataset = " and ".join(shape_str(a.shape) for a in self._source.arrays)
        count = self._count()
        transform = getattr(self.transform, "__qualname__", kind.__name__).partition(".<locals>")[0]
        return {
            "data": dataset,
            "examples": "?" if self.n is None else number(self.n),
            "batches": "?" if count is None else number(count),
            "batch size": str(self.batch_size),
            "shuffle": str(self.shuffle),
            "drop_last": str(self.drop_last),
            "seed": str(self.seed),
            "transform": "None" if self.transform is None else transform,
            "workers": f"{self.num_workers} threads" if self.num_workers else "None",
        }

    def __repr__(self) -> str:
        shown = self._shown()
        keys = ["shuffle", "drop_last", "transform", *["seed"] * self.draws, "workers"]
        text = "".join(f", {k}={shown[k]}" for k in keys if shown[k] not in ("False", "None"))
        of = f"batches of {self.batch_size}" if self.batch_size else "batches" if self._batched else "items"
        return f"DataLoader({shown['data']}, {shown['batches']} {of}{text})"

    def _repr_html_(self) -> str:
        """The options as a table, for notebooks."""
        shown = self._shown()
        return Table(list(shown), [list(shown.values())], "l" + "r" * (len(shown) - 1), "DataLoader").html()

    def state_dict(self) -> dict[str, int]:
        """A dict with ``epoch``, ``batch`` (the number of batches of this epoch that were returned) and
        ``seed``."""
        return {"epoch": self._position[0], "batch": self._position[1], "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next ``iter(loader)`` continue at ``state``, with bit-identical batches.

        Raises a ValueError if ``state`` is not a result of :meth:`state_dict`, or if its batch lies beyond
        the end of an epoch.
        """
        name = "DataLoader.load_state_dict"
        check(
            set(state) == {"epoch", "batch", "seed"},
            name,
            f"expected epoch, batch, seed, got {', '.join(state)}",
        )
        epoch, batch, seed = (integer(name, k, state[k], 0) for k in ("epoch", "batch", "seed"))
        count = self._count()
        check(
            count is None or batch <= count,
            name,
            f"batch {batch} is beyond the {count} of an epoch; use the data set "
            "and batch_size that the state was saved with",
        )
        self.seed, self._next, self._position = seed, (epoch, batch), [epoch, batch]

    # --------------------------------------------------------------------------------------------- an epoch
    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._next
        self._next, self._position = (epoch + 1, 0), [epoch, start]
        return self._run(epoch, start, self._position)

    def _run(self, epoch: int, start: int, position: list[int]) -> Iterator[Any]:
        """The batches of an epoch from ``start`` on."""
        batches, size = self._batches(), self.batch_size or 1
        jobs = batches.streamed(start, size, self.drop_last) if self._stream else self._indexed(start)
        order = self._rng(epoch, 0)
        backend, pin = backends.get_backend(), self.pin_memory and cuda.is_available()

        def read() -> Any:
            with random.drawing_from(order):
                return next(jobs, END)

        def make(worker: int, job: Any) -> Any:
            b, index, items = job
            with self._worker(worker, backend):
                batch = batches.make(index, items, self._rng(epoch, b + 1))
                return collate.pinned(batch) if pin else batch

        def begin(worker: int) -> None:
            if self.worker_init_fn is not None and self.num_workers and not skip:
                with self._worker(worker, backend):
                    self.worker_init_fn(worker)

        skip, self._begun = self._begun and self.persistent_workers, True
        workers = max(self.num_workers, 1)
        ahead = workers * (self.prefetch_factor or PREFETCH)
        for batch in in_order(read, make, begin, workers, ahead, self.timeout or None):
            position[1] += 1
            yield collate.tensors(batch)
        position[:] = epoch + 1, 0

    def _batches(self) -> Batches:
        """The object that makes the batches of an epoch."""
        kind = type(self.dataset).__name__
        return Batches(self._source, kind, self._batched, self.collate_fn, self.transform)

    @contextlib.contextmanager
    def _worker(self, worker: int, backend: str) -> Generator[None, None, None]:
        """In the ``with`` block: the worker's info, and the caller's backend (``cpu`` for ``cuda``)."""
        n, engine = self.num_workers, backend if backend in backends.HOST_BACKENDS else "cpu"
        info = WorkerInfo(worker, n, self.seed + worker, self.dataset) if n else None
        same = backends.get_backend() == engine
        with working_as(info), contextlib.nullcontext() if same else backends.backend(engine):
            yield

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        """Random numbers: stream 0 is for the order of the epoch, stream b + 1 for batch b.

        The batches of several ranks have different numbers; those of rank 0 are as without ranks.
        """
        divided = divides(self)
        rank = (divided.rank,) if divided is not None and divided.rank else ()
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, stream, *rank)))

    def _indexed(self, start: int) -> Iterator[tuple[int, Any, list[Any] | None]]:
        """For each batch from ``start`` on: its number, those of its examples, and None."""
        numbers: Any = self.batch_sampler if self._batched else self.sampler
        for b, index in enumerate(islice(iter(numbers), start, None), start):
            yield b, list(index) if self._batched else [index], None

    def make_batch(self, index: Sequence[int] | Array, rng: np.random.Generator) -> Any:
        """The batch of the examples ``index`` in NumPy arrays, with random numbers from ``rng``.

        The background threads compute the same for each batch. Call this method to time it alone.
        """
        return self._batches().make(index, None, rng)
