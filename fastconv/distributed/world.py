"""The ranks of a run: how many there are, which one this process is, and who is on the same host."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

from ..backends import processors, settings
from ..checks import check
from . import faults
from .launcher import launched, load_mpi


@dataclass(frozen=True)
class Neighbour:
    """What every rank knows of every other one."""

    rank: int
    host: str
    pid: int
    cores: frozenset[int]


@dataclass(frozen=True)
class World:
    """All ranks.

    Attributes
    ----------
    rank, size : int
    local_rank, local_size : int
        The same among the ranks on this host.
    comm : mpi4py.MPI.Intracomm or None
        A communicator of fastconv's own; None in a world of one.
    ranks : tuple of Neighbour
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    comm: Any = field(default=None, repr=False)
    ranks: tuple[Neighbour, ...] = field(default=(), repr=False)


_world: World | None = None


def init() -> None:
    """Join the ranks that ``mpiexec`` (or Slurm's ``srun``) has started.

    Every rank must call it, before anything else of this module. A second call does nothing. In a process
    that no launcher has started, there is one rank, and MPI is not needed.

    In a world of several ranks three things change. The default number of threads becomes this rank's share
    of the processors that it may use. An error that ends one rank ends all ranks. If a rank is killed, a
    message names it and the other ranks end.

    Raises
    ------
    ImportError
        A launcher has started several ranks, and mpi4py or MPI is not installed.
    RuntimeError
        ``mpiexec`` belongs to another MPI than the one that mpi4py has loaded.

    Examples
    --------
    >>> fc.distributed.init()
    >>> fc.distributed.rank(), fc.distributed.world_size()
    (0, 1)
    """
    global _world
    if _world is not None:
        return
    count = launched()
    if count is None or count == 1:
        _world = World()
        return
    mpi = load_mpi("distributed.init")
    size = mpi.COMM_WORLD.Get_size()
    library = _name(mpi)
    check(
        size > 1 or count < 2,
        "distributed.init",
        f"{count} ranks were started, but the MPI library of mpi4py ({library}) sees only this one, because "
        "mpiexec belongs to another MPI; use the mpiexec of that library",
        RuntimeError,
    )
    if size == 1:
        _world = World()
        return
    comm = mpi.COMM_WORLD.Dup()
    mine = Neighbour(comm.Get_rank(), socket.gethostname(), os.getpid(), frozenset(settings.allowed_cpus()))
    ranks: tuple[Neighbour, ...] = tuple(comm.allgather(mine))
    local = comm.Split_type(mpi.COMM_TYPE_SHARED)
    _world = World(mine.rank, size, local.Get_rank(), local.Get_size(), comm, ranks)
    settings.share_processors(_threads(mine, [ranks[r] for r in local.allgather(mine.rank)]))
    faults.watch(local, mine.rank, mine.host)
    local.Free()
    sys.excepthook = faults.end_all(comm, sys.excepthook)


def _threads(mine: Neighbour, local: list[Neighbour]) -> int:
    """This rank's share of the processors: each is divided among the ranks of this host that may use it.
    Efficiency cores do not count, unless a rank has no others."""
    ranks = [processors.performance_cpus(other.cores) for other in local]
    share = sum(1 / sum(core in cores for cores in ranks) for core in processors.performance_cpus(mine.cores))
    limit = settings.available_cpus()  # a container may allow less
    return max(1, int(min(share, limit) + 1e-6))


def world() -> World:
    """The ranks as :func:`init` found them; before that, a world of one."""
    return World() if _world is None else _world


def is_initialized() -> bool:
    """Whether :func:`init` was called."""
    return _world is not None


def rank() -> int:
    """The number of this rank, from 0."""
    return world().rank


def world_size() -> int:
    """The number of ranks."""
    return world().size


def local_rank() -> int:
    """The number of this rank among those on its host, from 0; for example that of its GPU."""
    return world().local_rank


def report(text: str, status: int) -> None:
    """Print an error that ends this rank. With several ranks all end; if all have it, it is printed once."""
    comm = world().comm
    if comm is None:
        print(text, file=sys.stderr)
        return
    faults.wait_for_rank_0(comm)
    print(text, file=sys.stderr)
    faults.abort(comm, f"rank {comm.Get_rank()} of {comm.Get_size()} ended with an error", status)


def library() -> str | None:
    """The name and version of the MPI library in use; None in a world of one."""
    if world().comm is None:
        return None
    return _name(load_mpi("distributed"))


def _name(mpi: Any) -> str:
    """``MPICH 4.2``, from the first line of what the library says."""
    words = mpi.Get_library_version().strip("\0").splitlines()[0].replace("Version:", "").split()
    return " ".join(words).split(",")[0]
