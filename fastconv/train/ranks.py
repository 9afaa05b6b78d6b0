"""What the ranks of a distributed run share: gradients, sums, and when to stop."""

# Data sets and their items are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import distributed, nn, random
from ..checks import check
from ..data import DataLoader, source
from ..data.distributed import divides
from ..nn.parallel import DistributedDataParallel

T = TypeVar("T")

#: Why a run stops, from the least to the most urgent: if ranks have several reasons, the last one counts.
REASONS = (None, "callback", "time limit", "interrupted", "terminated")
SAMPLES = 64  # items of a data set that are compared


class Ranks:
    """The ranks of a run; where there is one, nothing is sent and everything stays as it is.

    Parameters
    ----------
    on : bool
        Whether the caller asked for a distributed run.

    Attributes
    ----------
    size, rank : int
    main : bool
        Whether this rank writes files and shows progress.
    """

    def __init__(self, on: bool):
        if on:
            distributed.init()
        self.size = distributed.world_size() if on else 1
        self.rank = distributed.rank() if on else 0
        self.main = self.rank == 0

    def wrapped(self, net: nn.Module) -> nn.Module:
        """``net``, whose backward pass averages gradients if there are several ranks."""
        if self.size == 1 or isinstance(net, DistributedDataParallel):
            return net
        return DistributedDataParallel(net)

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over all ranks of each value."""
        if self.size == 1:
            return list(values)
        return distributed.all_reduce(np.array(values, np.float64)).tolist()

    def agree(self, reason: str | None) -> str | None:
        """The most urgent reason to stop that a rank has; None if no rank has any."""
        if self.size == 1:
            return reason
        number = np.array([REASONS.index(reason)], np.float64)
        return REASONS[int(distributed.all_reduce(number, "max")[0])]

    def of_main(self, make: Callable[[], T]) -> T:
        """What ``make()`` returns on rank 0; the others do not call it."""
        if self.size == 1:
            return make()
        return distributed.broadcast_object(make() if self.main else None)  # type: ignore[return-value]

    def all(self, value: T) -> list[T]:
        """``value`` of each rank."""
        return [value] if self.size == 1 else distributed.all_gather_object(value)

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            distributed.barrier()

    # ------------------------------------------------------------------------------------------------- data
    def check(self, loader: Any, settings: dict[str, Any]) -> None:
        """Refuse a loader that gives all ranks the same items, and ranks with different data or settings.

        ``settings`` are those of ``config.describe``.
        """
        if self.size == 1:
            return
        divided = divides(loader)
        check(
            not isinstance(loader, DataLoader) or divided is not None,
            "fit",
            "every rank would train on all items; divide them: DataLoader(dataset, batch_size, "
            "sampler=data.DistributedSampler(dataset))",
        )
        check(
            divided is None or (divided.num_replicas, divided.rank) == (self.size, self.rank),
            "fit",
            f"the DistributedSampler is for rank {divided and divided.rank} of "
            f"{divided and divided.num_replicas}, this is rank {self.rank} of {self.size}; leave out "
            "num_replicas and rank",
        )
        own = {**settings, "batches per epoch": len(loader), "data set": fingerprint(loader)}
        first, *others = self.all(own)
        for rank, other in enumerate(others, 1):
            for key in (k for k in first if other[k] != first[k]):
                raise ValueError(
                    f"fit: all ranks must train the same; rank {rank} has another {key} than rank 0: "
                    f"{_different(other[key], first[key])}"
                )

    # -------------------------------------------------------------------------------------- random numbers
    def spread(self) -> None:
        """Let each rank draw other numbers, for example for dropout; rank 0 draws as if it were alone."""
        if self.size == 1:
            return
        random.set_state(distributed.broadcast_object(random.get_state()))
        if self.rank:
            random.manual_seed((random.next_seed() + self.rank) % 2**63)

    def same_seed(self, loader: Any) -> None:
        """Give the loaders of all ranks the seed of rank 0."""
        if self.size > 1 and isinstance(loader, DataLoader):
            loader.load_state_dict(distributed.broadcast_object(loader.state_dict()))


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the sampler of a divided data set which epoch begins."""
    if (divided := divides(loader)) is not None:
        divided.set_epoch(epoch)


def _different(a: Any, b: Any) -> str:
    """Two values in words; of two dicts the first entry that differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        key = next(k for k in (*b, *a) if a.get(k) != b.get(k))
        return f"{key or 'the net'} is {a.get(key)!r:.80}, there {b.get(key)!r:.80}"
    return f"{a!r:.80}, there {b!r:.80}"


# ------------------------------------------------------------------------------------------------ data sets
def fingerprint(loader: Any) -> dict[str, Any]:
    """What can be compared of a data set without reading all of it: kind, length, classes, some items."""
    return _fingerprint(getattr(loader, "dataset", None))


def _fingerprint(dataset: Any) -> dict[str, Any]:
    arrays = source.of_arrays(dataset)
    found: dict[str, Any] = {"kind": type(dataset).__name__}
    if arrays is not None:
        return found | {"length": len(arrays), "items": [_sum(a) for a in arrays.arrays]}
    if hasattr(dataset, "__len__"):
        found["length"] = len(dataset)
    if hasattr(dataset, "classes"):
        found["classes"] = [str(c) for c in dataset.classes]
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # a Subset
        found |= {"indices": _sum(dataset.indices), "of": _fingerprint(dataset.dataset)}
    for name in ("images", "labels", "targets", "samples", "tensors"):
        value = getattr(dataset, name, None)
        if isinstance(value, tuple):
            found[name] = [_sum(v) for v in value]
        elif hasattr(value, "__len__") and hasattr(value, "__getitem__"):
            found[name] = _sum(value)
    return found


def _sum(rows: Any) -> int:
    """A checksum of some rows, spread over all."""
    step = max(1, len(rows) // SAMPLES)
    total = 0
    for i in range(0, len(rows), step):
        row = rows[i]
        data = np.asarray(row).tobytes() if hasattr(row, "dtype") else repr(row).encode()
        total = zlib.crc32(data, total)
    return total
