"""Starts programs under ``mpiexec``: ``run(2, "reduce.py")`` runs tests/distributed/programs/reduce.py on two
ranks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
LIMIT = 240  # seconds; kernels may have to be compiled


def mpiexec():
    """The ``mpiexec`` beside this Python, else that of the system; None if there is none."""
    own = Path(sys.executable).with_name("mpiexec")
    return str(own) if own.exists() else shutil.which("mpiexec")


needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or mpiexec() is None,
    reason='needs mpi4py and mpiexec: pip install "fastconv[mpi]"',
)


def start(ranks, program, *args, threads=1, launcher=(), **environment):
    """A process of ``mpiexec`` with ``ranks`` ranks of a program; its output is text."""
    command = [
        mpiexec(),
        *launcher,
        "-n",
        str(ranks),
        sys.executable,
        str(PROGRAMS / program),
        *map(str, args),
    ]
    own = {"FASTCONV_NUM_THREADS": str(threads)} if threads else {}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **own, **environment},
    )


def run(ranks, program, *args, **options):
    """What the program prints on standard output; it must succeed."""
    process = start(ranks, program, *args, **options)
    try:
        out, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, f"status {process.returncode}\n{out}\n{errors}"
    return out
