"""What the program that started this process says: how many ranks there are. And the import of mpi4py."""

from __future__ import annotations

from typing import Any

from ..backends.settings import environment

#: Variables with the number of ranks, set by: MPICH and its relatives, Open MPI, MVAPICH, Slurm's srun.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
#: Variables that are only set in a rank, for launchers that do not say how many there are.
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK")


def launched() -> int | None:
    """How many ranks ``mpiexec`` or ``srun`` has started; 0 if that is not known, None without a launcher."""
    for name in SIZES:
        text = environment(name) or ""
        if text.isdecimal() and int(text):
            return int(text)
    return 0 if any(environment(name) for name in RANKS) else None


def load_mpi(name: str) -> Any:
    """``mpi4py.MPI``, which starts MPI when it is imported.

    Raises
    ------
    ImportError
        mpi4py, or the MPI library that it needs, is not installed. The message begins with ``name``.
    """
    try:
        from mpi4py import MPI
    except ImportError as e:
        missing = isinstance(e, ModuleNotFoundError) and e.name == "mpi4py"
        what = "mpi4py is not installed" if missing else f"mpi4py cannot be loaded ({e})"
        cure = 'pip install "fastconv[mpi]" installs it together with MPICH'
        raise ImportError(
            f"{name}: {what}; {cure}. On a cluster load its MPI module first, and install mpi4py alone"
        ) from None
    except RuntimeError as e:  # mpi4py's wheels look for an MPI library when they are imported
        raise ImportError(
            f"{name}: mpi4py found no MPI library ({str(e).splitlines()[0]}); install one, for example with "
            'pip install "fastconv[mpi]", or load the MPI module of the cluster'
        ) from None
    return MPI
