"""Numba's simulator, extended so that it can run whole networks.

Where no thread of a kernel waits for another, the threads run one after the other in one thread of the
operating system. In other kernels a thread that waits at a barrier sleeps, and the last to arrive wakes the
rest; Numba's own threads poll. Arithmetic gives NaN and infinity, as on a device, where Python raises. An
access outside of an array is an error, and so is an index below zero, which NumPy would count from the end.
"""

from __future__ import annotations

import math
import threading
from types import FunctionType, ModuleType, SimpleNamespace

import numpy as np
from numba import cuda
from numba.cuda.simulator import kernel as simulated


class Module:
    """``numba.cuda`` as kernels see it: inside a kernel the names belong to its thread."""

    def __getattr__(self, name):
        return getattr(simulated._get_kernel_context() or cuda, name)


def _ieee(function):
    """A function of ``math`` that returns NaN or infinity where Python raises, in its argument's type."""

    def call(x):
        try:
            return type(x)(function(x))
        except OverflowError:
            return type(x)(np.inf)
        except ValueError:
            return type(x)(np.nan)

    return call


#: The functions of ``math`` that kernels call.
MATH = SimpleNamespace(
    exp=np.exp,
    expm1=np.expm1,
    log=np.log,
    log1p=np.log1p,
    log2=np.log2,
    log10=np.log10,
    sqrt=np.sqrt,
    pow=np.power,
    fabs=abs,
    sin=np.sin,
    cos=np.cos,
    tanh=np.tanh,
    floor=np.floor,
    fmod=np.fmod,
    ceil=np.ceil,
    trunc=np.trunc,
    isnan=np.isnan,
    erf=_ieee(math.erf),
    erfc=_ieee(math.erfc),
    inf=math.inf,
    nan=math.nan,
)


def _waits(function, seen) -> bool:
    """Whether a thread of this kernel, or a function it calls, waits for other threads."""
    names = function.__code__.co_names
    if function in seen:
        return False
    seen.add(function)
    if "syncthreads" in names or "barrier" in names:
        return True
    values = [function.__globals__.get(name) for name in names] + [
        c.cell_contents for c in function.__closure__ or ()
    ]
    values += [
        getattr(value, name, None) for value in values if isinstance(value, ModuleType) for name in names
    ]
    return any(_waits(value, seen) for value in values if isinstance(value, FunctionType))


class _Barrier:
    """A barrier for the threads of a block; it does not wait for threads that have returned."""

    def __init__(self, count: int):
        self.alive, self.waiting, self.turn, self.failed = count, 0, 0, False
        self.condition = threading.Condition()

    def _release(self):
        self.waiting, self.turn = 0, self.turn + 1
        self.condition.notify_all()

    def wait(self):
        with self.condition:
            self.waiting += 1
            if self.waiting == self.alive:
                return self._release()
            turn = self.turn
            self.condition.wait_for(lambda: self.turn != turn or self.failed)
            if self.failed:
                raise threading.BrokenBarrierError

    def leave(self, failed: bool):
        with self.condition:
            self.alive -= 1
            self.failed |= failed
            if failed:
                self.condition.notify_all()
            elif self.alive and self.waiting == self.alive:
                self._release()


def _run(self, grid_point, *args):
    """Run one block: ``BlockManager.run`` of numba's simulator."""
    error = []

    def thread(point):
        return simulated.BlockThread(None, self, grid_point, point, False)

    def quietly(work):
        with np.errstate(all="ignore"):
            try:
                work()
            except threading.BrokenBarrierError:
                pass
            except Exception as e:
                error.append(e)

    if not _waits(self._f, set()):
        one = thread((0, 0, 0))

        def everyone():
            for one.thread_id, point in enumerate(np.ndindex(*self._block_dim[::-1])):
                one.threadIdx = simulated.Dim3(*point[::-1])
                self._f(*args)

        one.run = lambda: quietly(everyone)
        threads = [one]
    else:
        threads = [thread(point) for point in np.ndindex(*self._block_dim)]
        barrier = _Barrier(len(threads))

        def participate():
            quietly(lambda: self._f(*args))
            barrier.leave(bool(error))

        for t in threads:
            t.syncthreads, t.run = barrier.wait, participate
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if error:
        raise error[0]


simulated.BlockManager.run = _run
