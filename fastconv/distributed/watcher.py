"""A program of its own: it watches the ranks of a host, and names one that ends without a word.

``python watcher.py FOLDER HOST RANK:PID ...``. Each rank holds one end of a named pipe in FOLDER, and writes
a byte to it before it ends: LEAVES, or ABORTS if it ends all ranks. When a process dies, the system closes
its end. So an end without a byte means that the rank was killed or has crashed. This imports nothing of
fastconv, because it must start fast and be small.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Iterable

GRACE = 2.0  # seconds that the launcher has to end the other ranks
LEAVES, ABORTS = b"l", b"a"


def main(folder: str, host: str, *ranks: str) -> None:
    """Watch until all ranks have ended."""
    pids = {int(rank): int(pid) for rank, pid in (text.split(":") for text in ranks)}
    pipes = selectors.DefaultSelector()
    for rank in pids:  # each waits for its rank, which opens the other end
        pipes.register(os.open(os.path.join(folder, str(rank)), os.O_RDONLY), selectors.EVENT_READ, rank)
    shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    left = dict(pids)
    while left:
        for key, _ in pipes.select():
            pipes.unregister(key.fd)
            pid = left.pop(key.data)
            word = os.read(key.fd, 1)
            if word == LEAVES:
                continue
            if word != ABORTS:
                _tell(key.data, pid, host)
            time.sleep(GRACE)
            _end(left.values())
            return


def _tell(rank: int, pid: int, host: str) -> None:
    text = (
        f"fastconv: rank {rank} (process {pid} on {host}) was killed or has crashed; all ranks end. "
        "With a checkpoint, the same command continues from it\n"
    )
    try:
        os.write(sys.stderr.fileno(), text.encode())
    except OSError:  # the launcher has gone
        pass


def _end(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
