"""Several processes, the ranks, that train one net together: data-parallel training over MPI.

``mpiexec -n 4 python script.py`` starts a script four times; :func:`init` makes one world of the processes.
The transport is MPI by way of mpi4py (``pip install "fastconv[mpi]"``). Without a launcher there is one rank,
and nothing here needs MPI.

    launcher.py      what the launcher says; the import of mpi4py
    world.py         init(), and who the ranks are
    staging.py       arrays of a device in host memory
    collectives.py   all_reduce, broadcast, all_gather, barrier
    faults.py        what happens to the other ranks when one ends too early; watcher.py sees it

Nets are wrapped by :class:`fastconv.nn.parallel.DistributedDataParallel`, data sets are divided by
:class:`fastconv.data.DistributedSampler`, and ``train.fit(..., distributed=True)`` does the rest.
"""

from .collectives import (
    ReduceOp,
    all_gather,
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    broadcast_object,
)
from .world import init, is_initialized, local_rank, rank, world_size

__all__ = [
    "ReduceOp",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_object",
    "init",
    "is_initialized",
    "local_rank",
    "rank",
    "world_size",
]
