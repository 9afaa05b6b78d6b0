"""What happens to the other ranks when one of them ends too early.

An error is printed, and MPI ends all ranks. A rank that is killed (by the system where memory is short, by a
crash, by a user) can print nothing, and some launchers name only its process. So one small process per host
watches the ranks there (``watcher.py``).
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from . import watcher

PATIENCE = 1.0  # seconds in which rank 0 may report an error that all ranks have


def end_all(comm: Any, before: Callable[..., Any]) -> Callable[..., Any]:
    """An ``excepthook`` that prints the error as ``before`` does, names the rank, and ends all ranks."""

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        wait_for_rank_0(comm)
        if issubclass(kind, KeyboardInterrupt):
            traceback.print_exception(kind, error, where)
        else:
            before(kind, error, where)
        abort(comm, f"rank {comm.Get_rank()} of {comm.Get_size()} ended with {kind.__name__}", 1)

    return hook


def wait_for_rank_0(comm: Any) -> None:
    """Let rank 0 report an error first, because one report is enough if all ranks have the same error."""
    time.sleep(PATIENCE if comm.Get_rank() else 0)


def abort(comm: Any, why: str, status: int) -> None:
    """Print ``why`` and end all ranks."""
    print(f"fastconv: {why}; all ranks end", file=sys.stderr, flush=True)
    _say(watcher.ABORTS)
    comm.Abort(status)


_line: int | None = None  # the end of the pipe that this rank holds


def watch(local: Any, rank: int, host: str) -> None:
    """Start the watcher of this host, which all ranks in the communicator ``local`` must call for."""
    global _line
    if not hasattr(os, "mkfifo"):
        return
    folder = tempfile.mkdtemp(prefix="fastconv-ranks-") if local.Get_rank() == 0 else None
    folder = Path(local.bcast(folder, 0))
    members = local.allgather((rank, os.getpid()))
    if local.Get_rank() == 0:
        for number, _ in members:
            os.mkfifo(folder / str(number))
        listed = [f"{number}:{pid}" for number, pid in members]
        # A session of its own, because launchers kill the group of a rank.
        subprocess.Popen(
            [sys.executable, "-I", "-S", watcher.__file__, str(folder), host, *listed],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    local.Barrier()
    _line = os.open(folder / str(rank), os.O_WRONLY)  # waits for the watcher
    os.set_inheritable(_line, False)
    atexit.register(_say, watcher.LEAVES)


def _say(word: bytes) -> None:
    """Tell the watcher how this rank ends."""
    global _line
    if _line is not None:
        line, _line = _line, None
        try:
            os.write(line, word)
            os.close(line)
        except OSError:  # there is no watcher any more
            pass
