"""Averages gradients over all ranks while the backward pass goes on.

::

    backward    | conv 5 | conv 4 | conv 3 | conv 2 | conv 1 |
    bucket 0         |--- sent ---|
    bucket 1                  |---- sent ----|
    bucket 2                                          |-- sent --|    waits for the rest

Gradients are complete in about the reverse order of the layers. A bucket is sent as soon as all gradients in
it are there and all buckets before it are sent, so all ranks send in one order. After the first backward pass
the buckets are made anew, in the order in which that pass made the gradients.

Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ... import distributed
from ...backends import between
from ...distributed.staging import on_host
from ...tape import hooks
from ...tensor import Tensor
from ...variable import Variable
from .bucket import Bucket, make_buckets


class Reduction(NamedTuple):
    """What one backward pass has sent.

    ``copied`` of the bytes were copied to their buckets; ops wrote the others there. ``seconds`` is the time
    from the first bucket that was sent to the end of the last one; for ``waited`` of these seconds the rank
    had nothing else to do.
    """

    bytes: int = 0
    copied: int = 0
    buckets: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Reducer:
    """The ``Sink`` of the gradients of ``params``.

    Parameters
    ----------
    params : sequence of (name, Tensor)
    comm : mpi4py.MPI.Intracomm
    mpi : module mpi4py.MPI
    first, cap : int
        Bytes of the first and the last bucket, and of the others.
    overlap : bool
        False: nothing is sent before the backward pass has ended.
    find_unused : bool
        Accept backward passes that do not reach all parameters.
    """

    def __init__(
        self,
        params: Sequence[tuple[str, Tensor]],
        comm: Any,
        mpi: Any,
        first: int,
        cap: int,
        overlap: bool,
        find_unused: bool,
    ):
        self.names: dict[Variable, str] = {p: name for name, p in params}
        self.numbers: dict[Variable, int] = {p: i for i, (_, p) in enumerate(params)}
        self.comm, self.mpi, self.first, self.cap = comm, mpi, first, cap
        self.overlap, self.find_unused = overlap, find_unused
        self.active = False  # a backward pass will be reduced
        self.divisor = distributed.world_size()
        self.root = 0  # the rank that decides on the order of the buckets
        self.last, self._copied = Reduction(), 0
        self._order: list[int] | None = []  # of the gradients in the first backward pass; None after it
        self._arrange([p for _, p in reversed(params)])
        self._flying: deque[Bucket] = deque()
        self._next = 0  # the number of the bucket to be sent next
        self._waiting = False  # finish() is called at the end of the walk that runs
        self._began = 0.0
        for _, p in params:
            hooks.of(p).sink = self

    def _arrange(self, params: Sequence[Tensor]) -> None:
        self.buckets = make_buckets(params, self.first, self.cap)
        self._places: dict[Variable, tuple[Bucket, int]] = {
            p: (bucket, i) for bucket in self.buckets for i, p in enumerate(bucket.params)
        }

    def prepare(self) -> None:
        """The next backward pass is to be reduced."""
        self.active, self._next, self._copied = True, 0, 0
        for bucket in self.buckets:
            bucket.clear()

    # ------------------------------------------------------------------------------------- during the walk
    def memory(self, leaf: Variable) -> Any:
        """The place of the gradient in its bucket, if it can be written there now."""
        if not self.active or leaf.grad is not None or not isinstance(leaf.array, np.ndarray):
            return None
        bucket, i = self._places[leaf]
        return bucket.parts[i]

    def ready(self, leaf: Variable) -> None:
        """Put the gradient in its bucket, and send the buckets that are full."""
        if not self.active:
            return
        ends = hooks.at_end.get()
        if not self._waiting and ends is not None:
            self._waiting = True
            ends.append(self._finish)
        bucket, i = self._places[leaf]
        if bucket.done[i]:
            raise RuntimeError(
                f"DistributedDataParallel: the gradient of {self.names[leaf]} is complete a second time in "
                "one backward pass; call the wrapped net once per backward pass"
            )
        if self._order is not None:
            self._order.append(self.numbers[leaf])
        self._put(leaf, bucket, i)
        if self.overlap:
            self._send_full(leaf.engine)

    def _put(self, leaf: Variable, bucket: Bucket, i: int) -> None:
        """Copy the gradient to its place, unless it was written there; on the host it stays there."""
        bucket.done[i], view = True, bucket.views[i]
        bucket.missing -= 1
        engine: Any = leaf.engine
        if leaf.grad is None:
            view.fill(0)
        elif not isinstance(leaf.array, np.ndarray):
            np.copyto(view, on_host(leaf.grad.array))
            self._copied += view.nbytes
        elif not _is_at(leaf.grad.array, view):
            engine.setitem(view, ..., leaf.grad.array)
            self._copied += view.nbytes
            leaf.grad = Tensor(view)

    def _send_full(self, engine: Any) -> None:
        while self._next < len(self.buckets) and not self.buckets[self._next].missing:
            between.call(engine, self._sender(self._next))
            self._next += 1

    def _sender(self, number: int) -> Any:
        """The function that sends bucket ``number``."""

        def send(live: bool) -> None:
            if not live:
                return
            bucket = self.buckets[number]
            if not number:
                self._began = perf_counter()
            bucket.request = self.comm.Iallreduce(self.mpi.IN_PLACE, bucket.flat, self.mpi.SUM)
            self._flying.append(bucket)
            between.local.work = self._progress

        return send

    def _progress(self) -> None:
        """Let MPI move data; called between kernels."""
        while self._flying:
            if not self._flying[0].request.Test():
                return
            self._average(self._flying.popleft())
        between.local.work = None

    def _average(self, bucket: Bucket) -> None:
        bucket.request = None
        np.divide(bucket.flat, self.divisor, out=bucket.flat)

    # --------------------------------------------------------------------------------- at the end of the walk
    def _finish(self) -> None:
        """Send what is left, and wait until all gradients are averaged."""
        self._waiting = self.active = False
        engine: Any = self.buckets[0].params[0].engine
        missing = [p for b in self.buckets for p, done in zip(b.params, b.done) if not done]
        used = self._used(missing)
        for p in missing:
            self._put(p, *self._places[p])
        self._send_full(engine)
        between.call(engine, self._wait)
        for bucket in self.buckets:
            for p, view in zip(bucket.params, bucket.views):
                if not isinstance(p.array, np.ndarray):
                    if used[self.numbers[p]]:
                        p.grad = Tensor(engine.asarray(view))
                elif p.grad is None and used[self.numbers[p]]:
                    p.grad = Tensor(view)
        if self._order is not None:
            self._arrange_as(self._order)

    def _used(self, missing: list[Tensor]) -> np.ndarray[Any, Any]:
        """For each parameter, how many ranks have a gradient for it."""
        used = np.ones(len(self.names), np.float64)
        used[[self.numbers[p] for p in missing]] = 0
        if self.find_unused:
            return distributed.all_reduce(used)
        if missing:
            names = ", ".join(self.names[p] for p in missing[:5]) + ", ..." * (len(missing) > 5)
            raise RuntimeError(
                f"DistributedDataParallel: the backward pass did not reach {len(missing)} parameters "
                f"({names}); use them in forward, switch requires_grad off, or give "
                "find_unused_parameters=True"
            )
        return used

    def _wait(self, live: bool) -> None:
        if not live:
            return
        start = perf_counter()
        while self._flying:
            self._flying[0].request.Wait()
            self._average(self._flying.popleft())
        between.local.work = None
        end = perf_counter()
        size = sum(b.flat.nbytes for b in self.buckets)
        self.last = Reduction(size, self._copied, len(self.buckets), end - self._began, end - start)

    def _arrange_as(self, order: list[int]) -> None:
        """Make the buckets anew, in the order of rank ``root``; parameters that it lacks are at the end."""
        order = distributed.broadcast_object(order, self.root)
        self._order = None
        params = list(self.numbers)
        left = [i for i in range(len(params)) if i not in set(order)]
        if [*order, *left] != [self.numbers[p] for b in self.buckets for p in b.params]:
            self._arrange([params[i] for i in (*order, *left)])  # type: ignore[misc]

    # ------------------------------------------------------------------------------------ a rank without data
    def shadow(self) -> None:
        """Take part in the reduction of the other ranks' gradients with zeros."""
        if self.find_unused:
            distributed.all_reduce(np.zeros(len(self.names)))
        for number, bucket in enumerate(self.buckets):
            bucket.flat.fill(0)
            self._sender(number)(True)
        self._wait(True)
        if self._order is not None:
            self._arrange_as(self._order)


def _is_at(array: Any, view: np.ndarray[Any, Any]) -> bool:
    """Whether ``array`` is the memory of ``view`` in the same order."""
    return array.ctypes.data == view.ctypes.data and array.strides == view.strides
