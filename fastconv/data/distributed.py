"""The sampler that divides a data set among the ranks of a distributed run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import distributed
from ..checks import check
from .samplers import Sampler, boolean, integer, length


class DistributedSampler(Sampler):
    """The numbers of this rank's items: every ``num_replicas``-th one, from ``rank`` on.

    So batch k of all ranks together has the items of batch k of one process whose batches are as large as
    those of all ranks. With ``shuffle`` the order is also the one that ``DataLoader(..., shuffle=True)`` with
    this seed has in this epoch.

    Parameters
    ----------
    dataset
        The data set; all ranks must have the same.
    num_replicas, rank : int, optional
        By default those of ``fc.distributed``, whose ``init()`` is called.
    shuffle : bool
        A new order in each epoch, which :meth:`set_epoch` chooses. ``train.fit`` calls it.
    seed : int
        The same on all ranks.
    drop_last : bool
        All ranks get the same number of items. Where the data set cannot be divided evenly, True leaves out
        the last items, and False repeats the first ones.

    Raises
    ------
    ValueError
        ``rank`` is not from 0 to ``num_replicas - 1``, or ``drop_last`` leaves out everything.

    Examples
    --------
    >>> from fastconv import data
    >>> [list(data.DistributedSampler("abcde", 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        name = "DistributedSampler"
        if num_replicas is None or rank is None:
            distributed.init()
        size = distributed.world_size() if num_replicas is None else num_replicas
        self.dataset = dataset
        self.num_replicas = integer(name, "num_replicas", size, 1)
        self.rank = integer(name, "rank", distributed.rank() if rank is None else rank, 0)
        check(
            self.rank < self.num_replicas,
            name,
            f"rank must be from 0 to num_replicas - 1 = {self.num_replicas - 1}, got {rank}",
        )
        self.shuffle, self.drop_last = (
            boolean(name, "shuffle", shuffle),
            boolean(name, "drop_last", drop_last),
        )
        self.seed, self.epoch = integer(name, "seed", seed, 0), 0
        n = length(name, dataset)
        check(
            n >= self.num_replicas or not drop_last and n,
            name,
            f"the data set has {n} items, too few for {self.num_replicas} ranks",
        )

    @property
    def num_samples(self) -> int:
        """The number of items of each rank."""
        n = len(self.dataset)
        return n // self.num_replicas if self.drop_last else -(-n // self.num_replicas)

    @property
    def total_size(self) -> int:
        """The number of items of all ranks."""
        return self.num_samples * self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration: all ranks must be given the same number."""
        self.epoch = integer("DistributedSampler.set_epoch", "epoch", epoch, 0)

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:  # as DataLoader draws it
            sequence = np.random.SeedSequence(self.seed, spawn_key=(self.epoch, 0))
            order = np.random.default_rng(sequence).permutation(n)
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples


def divides(loader: Any) -> DistributedSampler | None:
    """The sampler by which ``loader`` divides a data set among ranks; None if it does not."""
    batches = getattr(loader, "batch_sampler", None)
    found = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    return next((s for s in found if isinstance(s, DistributedSampler)), None)
