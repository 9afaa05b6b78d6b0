"""What ``fastconv doctor`` says about MPI and, under ``mpiexec``, about the ranks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from .. import distributed
from ..backends import settings
from ..distributed.launcher import launched
from ..distributed.world import library, world
from .versions import version


def rows() -> dict[str, str]:
    """Labels and texts. All ranks must call it; it may raise any error if MPI is not whole."""
    found = version("mpi4py")
    if launched() is None:
        if found is None:
            return {"MPI": 'mpi4py is not installed (optional: pip install "fastconv[mpi]")'}
        beside = Path(sys.executable).with_name("mpiexec")
        launcher = str(beside) if beside.exists() else shutil.which("mpiexec") or "not found"
        return {"MPI": f"mpi4py {found}, mpiexec {launcher}; mpiexec -n 2 fastconv doctor shows ranks"}
    distributed.init()
    threads = distributed.all_gather_object(settings.get_num_threads())
    ranks = world().ranks
    hosts = {r.host for r in ranks}
    several = f"{len(ranks)} ranks on {len(hosts)} host{'s' * (len(hosts) > 1)}" if ranks else "1 rank"
    table = {"MPI": f"{library() or 'not needed'}, mpi4py {found}; {several}"}
    for r, count in zip(ranks, threads):
        also = sum(r.host == o.host and bool(r.cores & o.cores) for o in ranks)
        shared = f" shared by {also} ranks" if also > 1 else ""
        cores = f"core{'s' * (len(r.cores) > 1)} {ranges(r.cores)}{shared}"
        table[f"rank {r.rank}"] = f"{r.host}, {cores}, {count} thread{'s' * (count > 1)}"
    return table


def ranges(numbers: Iterable[int]) -> str:
    """``0-3, 8`` for 0, 1, 2, 3 and 8."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
