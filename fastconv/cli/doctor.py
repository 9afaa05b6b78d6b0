"""``fastconv doctor``: show versions, processor, threads, kernel cache, GPU and MPI."""

# The version is set by the build.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backends, cuda, distributed
from .._version import __version__
from ..backends import settings
from . import mpi, versions
from .options import command

EXTRAS = ("tqdm", "pooch", "matplotlib")


def add(commands: Any) -> None:
    """Declare the command."""
    command(commands, "doctor", run, "show versions, processor, threads, kernel cache, GPU and MPI")


def run(args: argparse.Namespace) -> int:
    """Print what fastconv runs on; a part that is missing or broken is a line, never an error."""
    rows: dict[str, str] = {
        "fastconv": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "numpy": np.__version__,
    }
    for name in ("numba", "llvmlite"):
        rows[name] = versions.version(name) or f"not installed: the cpu backend needs it, pip install {name}"
    for name in EXTRAS:
        rows[name] = versions.version(name) or 'not installed (optional: pip install "fastconv[train]")'
    rows["backend"] = _or_why(backends.get_backend)
    rows["threads"] = _or_why(
        lambda: f"{settings.get_num_threads()} of {settings.available_cpus()} processors{_efficiency_cores()}"
    )
    if versions.version("numba"):
        rows |= _cpu_rows()
    if version := versions.version("numba-cuda"):
        rows["numba-cuda"] = version
    rows["GPU"] = _or_why(cuda.describe)
    try:
        rows |= mpi.rows()
    except Exception as e:
        rows["MPI"] = f"not available: {type(e).__name__}: {e}"
    if distributed.rank():
        return 0
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:{width}}  {text}")
    return 0


def _or_why(look: Callable[[], str]) -> str:
    """What ``look`` returns, or why it cannot: any error is worth a line, because the machine is broken."""
    try:
        return look()
    except Exception as e:
        return f"not available: {type(e).__name__}: {e}"


def _efficiency_cores() -> str:
    slow = len(settings.allowed_cpus()) - len(settings.performance_cpus())
    return f", of which {slow} are efficiency cores, not used by default" if slow else ""


def _cpu_rows() -> dict[str, str]:
    """The rows of the cpu engine, or one that says why it cannot be imported."""
    try:
        from ..backends.cpu.runtime import machine
    except Exception as e:
        return {"cpu backend": f"not available: {type(e).__name__}: {e}"}
    looks = {
        "CPU": machine.processor,
        "vector unit": machine.vector_unit,
        "caches": machine.caches,
        "threading layer": machine.threading_layer,
        "kernel cache": machine.cache,
        "buffer pool": machine.pool,
    }
    return {name: _or_why(look) for name, look in looks.items()}
