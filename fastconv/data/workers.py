"""Threads that make the batches of an epoch ahead of time, in order."""

# Batches are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from ..checks import check

END: Any = object()  # what ``read`` returns after the last job


class WorkerInfo(NamedTuple):
    """Data about a worker thread of a ``DataLoader``: the result of :func:`get_worker_info`.

    Attributes
    ----------
    id : int
        0 to ``num_workers - 1``.
    num_workers : int
    seed : int
        The loader's seed plus ``id``.
    dataset
        The loader's data set, which all workers share.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Local(threading.local):
    info: WorkerInfo | None = None


_local = _Local()


def get_worker_info() -> WorkerInfo | None:
    """Data about the worker thread of a ``DataLoader`` in which this is called.

    Returns
    -------
    WorkerInfo or None
        None outside of worker threads and with ``num_workers=0``. Also None while an iterable data set is
        read, because one thread at a time reads it for all workers.
    """
    return _local.info


@contextlib.contextmanager
def working_as(info: WorkerInfo | None) -> Generator[None, None, None]:
    """Inside the ``with`` block, :func:`get_worker_info` returns ``info`` in this thread."""
    before, _local.info = _local.info, info
    try:
        yield
    finally:
        _local.info = before


def in_order(
    read: Callable[[], Any],
    make: Callable[[int, Any], Any],
    begin: Callable[[int], object],
    workers: int,
    ahead: int,
    timeout: float | None,
) -> Generator[Any, None, None]:
    """The results of ``make(worker, job)`` for the jobs that ``read()`` returns, in the order of the jobs.

    Parameters
    ----------
    read : callable
        Returns the next job, or ``END``. Called by one thread at a time.
    make : callable
        ``(worker, job) -> result``. Called by several threads at once.
    begin : callable
        Called with the number of the worker, in each thread, before its first job.
    workers, ahead : int
        The number of threads, and the number of results that they make before these are asked for.
    timeout : float or None
        Seconds to wait for a result; None waits without a limit.

    Raises
    ------
    RuntimeError
        No result within ``timeout``, or the process was forked after the threads were started.
    BaseException
        An exception of ``read``, ``make`` or ``begin`` is raised in place of the result, with its traceback.
    """
    slots, turn, stop = threading.Semaphore(ahead), threading.Lock(), threading.Event()
    ready: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    taken, ended = 0, False

    def work(worker: int) -> None:
        """Take a job and make its result, until the jobs end or the caller stops."""
        nonlocal taken, ended
        begun = False
        while slots.acquire() and not stop.is_set():
            with turn:
                if ended:
                    return
                number, taken = taken, taken + 1
                job: Any = END
                error: BaseException | None = None
                try:
                    job = read()
                except BaseException as e:  # the consumer raises it
                    error = e
                ended = job is END
            if job is not END:
                try:
                    if not begun:
                        begin(worker)
                        begun = True
                    job = make(worker, job)
                except BaseException as e:
                    error = e
            ready.put((number, job, error))

    threads = [
        threading.Thread(target=work, args=(i,), name="fastconv-loader", daemon=True) for i in range(workers)
    ]
    for thread in threads:
        thread.start()
    process, early = os.getpid(), dict[int, tuple[Any, BaseException | None]]()
    try:
        wanted = 0
        while True:
            while wanted not in early:
                number, *found = _next(process, ready, timeout)
                early[number] = (found[0], found[1])
            result, error = early.pop(wanted)
            slots.release()
            wanted += 1
            if error is not None:
                raise error
            if result is END:
                return
            yield result
    finally:
        # A forked child does not have these threads, and locks that they held may stay locked in it.
        if os.getpid() == process:
            stop.set()
            for _ in threads:
                slots.release()
            for thread in threads:
                # RuntimeError: Python shuts down, or the garbage collector runs this code in that thread.
                # The limit of 1 s: while Python shuts down, a daemon thread may never end.
                with contextlib.suppress(RuntimeError):
                    thread.join(1.0)


def _next(process: int, ready: queue.SimpleQueue[Any], timeout: float | None) -> Any:
    """The next result; a RuntimeError in a forked child, which does not have the worker threads."""
    check(
        os.getpid() == process,
        "DataLoader",
        "this epoch began before the process was forked, and the thread that "
        "makes its batches is not in the child; start a new iteration there",
        RuntimeError,
    )
    try:
        return ready.get(timeout=timeout)
    except queue.Empty:
        raise RuntimeError(
            f"DataLoader: no batch within {timeout:g} s; give a longer timeout=, or more num_workers="
        ) from None
